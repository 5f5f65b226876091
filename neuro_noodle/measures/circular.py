"""Angles: their errors, means and spreads, and which metadata columns hold them."""

import re

import numpy as np

NAMES = {"angle", "direction", "heading", "orientation", "bearing", "azimuth", "phase", "theta"}


def difference_deg(angle, reference):
    """Return angle - reference, degrees from -180 to below 180; of numbers, arrays or tensors."""
    return (angle - reference + 180) % 360 - 180


def mean_deg(angles: np.ndarray) -> float:
    """Return the circular mean, degrees from -180 to 180."""
    return float(np.degrees(np.angle(_resultant(angles))))


def spread_deg(angles: np.ndarray) -> float:
    """Return the circular standard deviation, degrees.

    Source: Mardia & Jupp 2000, Directional Statistics, 2.3.
    """
    length = min(1.0, np.abs(_resultant(angles)))  # rounding can make it more
    return float(np.degrees(np.sqrt(-2 * np.log(length))))


def period(name: str, values: np.ndarray) -> float | None:
    """Return the full turn in the unit of a column that holds angles, going by its name and range; else None."""
    words = set(re.findall(r"[a-z]+", name.lower()))
    known = values[np.isfinite(values)]
    if not words & NAMES or not len(known):
        return None
    low, high = known.min(), known.max()
    turn = 360.0 if words & {"deg", "degrees"} or max(-low, high) > 2 * np.pi + 1e-6 else 2 * np.pi
    return turn if high - low <= turn * (1 + 1e-6) and low >= -turn else None


def _resultant(angles: np.ndarray) -> complex:
    return np.exp(1j * np.radians(angles)).mean()
