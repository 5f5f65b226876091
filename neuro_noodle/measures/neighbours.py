"""Nearest neighbours: how much metadata differ between an image and the one that is represented most similarly."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Neighbours:
    """What an image shares with its nearest neighbour, and with a random other image."""

    nearest: float
    random: float


def distances(values: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Return the Euclidean distances (n, N) of some rows of values (N, D), given their indices (n,), to all.

    That of a row to itself is infinite, so that no image is its own neighbour.
    """
    from sklearn.metrics import pairwise_distances

    if not len(of):
        return np.empty((0, len(values)))
    found = pairwise_distances(values[of], values)
    found[np.arange(len(of)), of] = np.inf
    return found


def compare_neighbours(
    distances: np.ndarray, differences: np.ndarray, summarise: Callable[[np.ndarray], float]
) -> Neighbours:
    """Summarise the differences of images to their nearest neighbours, and to all others.

    Args:
        distances: (n, m) of n images to m others, infinite for one and the same.
        differences: (n, m) of the metadata, in any unit.
        summarise: for example np.mean or np.median.
    """
    nearest = differences[np.arange(len(distances)), distances.argmin(1)]
    return Neighbours(float(summarise(nearest)), float(summarise(differences[np.isfinite(distances)])))
