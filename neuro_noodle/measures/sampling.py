"""Sampling: choose a few of many items."""

import numpy as np


def evenly_spaced(indices: np.ndarray, n_max: int) -> np.ndarray:
    """Return at most n_max of the indices, evenly spaced from the first to the last.

    Args:
        indices: (n,) indices, or any other values.
        n_max: the largest number to return.

    Returns:
        (min(n, n_max),) of the indices, in their order.
    """
    return indices[np.linspace(0, len(indices) - 1, min(n_max, len(indices))).astype(int)]
