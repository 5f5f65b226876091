"""The number below a map: what held-out images share with their nearest neighbours among all pixels or latents."""

import numpy as np

from neuro_noodle.measures.circular import difference_deg, period_deg
from neuro_noodle.measures.neighbours import compare_neighbours, distances
from neuro_noodle.plain import counted
from neuro_noodle.runs.metadata import Column
from neuro_noodle.views.texts import literal


class Neighbourhood:
    """The distances of held-out images to all others.

    Args:
        values: (N, D) pixels or latents.
        is_training, held_out: (N,) bool.
    """

    def __init__(self, values: np.ndarray, is_training: np.ndarray, held_out: np.ndarray) -> None:
        self.is_training, self.held_out = is_training, held_out
        self.distances = distances(values, np.flatnonzero(held_out))  # (n_held_out, N)

    def describe(self, name: str, column: Column) -> str:
        """Return as text how much a column differs between held-out images and their nearest training images.

        People who were kept apart are never in training: then it is the nearest other held-out image.
        """
        judged, others = (np.flatnonzero(part & column.is_known) for part in (self.held_out, self.is_training))
        part = "training"
        if column.is_class and not np.isin(column.values[judged], column.values[others]).any():
            part, others = "other held-out", judged
        if not len(judged) or len(others) < 2:
            return ""
        near = self.distances[column.is_known[self.held_out]][:, others]
        n = counted(len(judged), "held-out image")
        if column.is_class:
            same = (column.values[judged, None] == column.values[others]).astype(float)  # (n, m)
            found = compare_neighbours(near, same, np.mean)
            return (
                f"nearest {part} image has the same {literal(name)}: {found.nearest:.0%}\n"
                f"a random one: {found.random:.0%}; {n}"
            )
        found = compare_neighbours(near, _differences(column, judged, others), np.median)
        unit = "°" if column.period else ""
        return (
            f"{literal(name)} of the nearest {part} image differs by {found.nearest:.3g}{unit}\n"
            f"of a random one by {found.random:.3g}{unit}; median of {n}"
        )


def _differences(column: Column, judged: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the absolute differences (n, m) of numbers, or in degrees of angles."""
    a, b = column.values[judged, None], column.values[others]
    if not column.period:
        return np.abs(a - b)
    turn = period_deg(column.period)
    return np.abs(difference_deg(a * (turn / column.period), b * (turn / column.period), turn))
