"""Permutation tests: how often shuffled images give a value as high as the images themselves."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

N_SHUFFLES = 999


def shuffles(groups: np.ndarray, n: int = N_SHUFFLES, seed: int = 0) -> Iterator[np.ndarray]:
    """Yield n random orders (N,) of images for values that may depend on the group, or change slowly within it.

    Whole groups change places, and the images of each group are rotated by a random number of positions. So shuffled
    values are as smooth as before (frames of a film), and constant where they were (the person in a photograph).

    Args:
        groups: (N,) group of each image; if the values change slowly, the images of a group are in the order of time.
        n: number of orders.
        seed: of the orders.
    """
    generator = np.random.default_rng(seed)
    sizes = np.unique(groups, return_counts=True)[1]  # (G,)
    members, starts = by_group(groups), np.cumsum(sizes) - sizes
    for _ in range(n):
        order = generator.permutation(len(sizes))
        length = np.repeat(sizes[order], sizes[order])  # (N,) size of the group at each position
        position = np.arange(len(groups)) - np.repeat(np.cumsum(sizes[order]) - sizes[order], sizes[order])
        turn = np.repeat(generator.integers(sizes[order]), sizes[order])
        yield members[np.repeat(starts[order], sizes[order]) + (position + turn) % length]


@dataclass(frozen=True)
class Chance:
    """A statistic compared with its values for shuffled images.

    Attributes:
        p: the share of shuffles, the true order included, whose statistic is at least as high as the true one.
        level: the statistic that 95 % of the shuffles stay below.
    """

    p: float
    level: float


def permutation_test(
    statistic: Callable[[np.ndarray, np.ndarray], float], groups: np.ndarray, *, n: int = N_SHUFFLES, seed: int = 0
) -> Chance:
    """Compare a statistic with its values for shuffled images.

    Args:
        statistic: function of two orders (N,) in which images are paired, for example of predictions and true values;
            differences below 1e-9 are rounding errors.
        groups: (N,) group of each image.
        n: number of shuffles; the lowest p is 1 / (n + 1), and higher if there are few groups.
        seed: of the shuffles.
    """
    members = by_group(groups)
    shuffled = np.array([statistic(members, order) for order in shuffles(groups, n, seed)])
    as_high = int((shuffled >= statistic(members, members) - 1e-9).sum())
    return Chance((1 + as_high) / (1 + n), float(np.quantile(shuffled, 0.95)))


def by_group(groups: np.ndarray) -> np.ndarray:
    """Return the indices (N,) of images sorted by group, those of a group in their order."""
    return np.argsort(np.unique(groups, return_inverse=True)[1], kind="stable")
