"""Evenly spaced samples."""

import numpy as np


def evenly_spaced(indices: np.ndarray, n_max: int) -> np.ndarray:
    """Return at most n_max of the indices, evenly spaced from the first to the last.

    Args:
        indices: (n,) in the order in which they are spaced.
        n_max: the most that are returned.

    Returns:
        (min(n, n_max),).
    """
    return indices[np.linspace(0, len(indices) - 1, min(n_max, len(indices))).astype(int)]
