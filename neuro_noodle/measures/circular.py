"""Circular statistics: differences, means and spreads of angles, and which metadata columns hold angles."""

import re
from typing import Any

import numpy as np

ANGLE_WORDS = {"angle", "direction", "heading", "orientation", "bearing", "azimuth", "phase", "theta"}


def difference_deg(angle: Any, reference: Any) -> Any:
    """Return angle - reference, wrapped to the range from -180 to below 180 degrees.

    Args:
        angle: degrees; a number, an array or a tensor.
        reference: degrees; the same type and shape.
    """
    return (angle - reference + 180) % 360 - 180


def mean_deg(angles: np.ndarray) -> float:
    """Return the circular mean of angles in degrees, from -180 to 180."""
    return float(np.degrees(np.angle(_resultant(angles))))


def spread_deg(angles: np.ndarray) -> float:
    """Return the circular standard deviation of angles, both in degrees.

    Source: Mardia & Jupp 2000, Directional Statistics, 2.3.
    """
    length = min(1.0, np.abs(_resultant(angles)))  # rounding can make it larger than 1
    return float(np.degrees(np.sqrt(-2 * np.log(length))))


def period(name: str, values: np.ndarray) -> float | None:
    """Return the period of a metadata column that holds angles, judged by its name and range.

    Args:
        name: name of the column.
        values: (N,) numbers; those that are not finite are ignored.

    Returns:
        360 for degrees, 2 pi for radians; None if the column does not seem to hold angles.
    """
    words = set(re.findall(r"[a-z]+", name.lower()))
    finite = values[np.isfinite(values)]
    if not words & ANGLE_WORDS or not len(finite):
        return None
    low, high = finite.min(), finite.max()
    turn = 360.0 if words & {"deg", "degrees"} or max(-low, high) > 2 * np.pi + 1e-6 else 2 * np.pi
    return turn if high - low <= turn * (1 + 1e-6) and low >= -turn else None


def _resultant(angles: np.ndarray) -> complex:
    return np.exp(1j * np.radians(angles)).mean()
