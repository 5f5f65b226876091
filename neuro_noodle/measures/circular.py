"""Circular statistics: differences, means and spreads of angles and axes, and which metadata columns hold angles."""

import re
from typing import Any

import numpy as np

AXIS_WORDS = {"orientation", "ori"}
ANGLE_WORDS = {"angle", "direction", "heading", "bearing", "azimuth", "phase", "theta"} | AXIS_WORDS


def difference_deg(angle: Any, reference: Any, period: float = 360) -> Any:
    """Return angle - reference, wrapped to the range from -180 to below 180 degrees, or half of it for axes.

    Args:
        angle: degrees; a number, an array or a tensor.
        reference: degrees; the same type and shape.
        period: 360, or 180 for axes.
    """
    return (angle - reference + period / 2) % period - period / 2


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
        360 for degrees, 2 pi for radians; half of it for axes, which are orientations from 0 to below 180 degrees; None
        if the column does not seem to hold angles.
    """
    words = set(re.findall(r"[a-z]+", name.lower()))
    finite = values[np.isfinite(values)]
    if not words & ANGLE_WORDS or not len(finite):
        return None
    low, high = finite.min(), finite.max()
    turn = 360.0 if words & {"deg", "degrees"} or max(-low, high) > 2 * np.pi + 1e-6 else 2 * np.pi
    if words & AXIS_WORDS and low >= 0 and high < turn / 2:
        return turn / 2
    return turn if high - low <= turn * (1 + 1e-6) and low >= -turn else None


def period_deg(period: float) -> float:
    """Return a period of `period` in degrees: 180 for axes, else 360."""
    return 180.0 if period in (180, np.pi) else 360.0


def _resultant(angles: np.ndarray) -> complex:
    return np.exp(1j * np.radians(angles)).mean()
