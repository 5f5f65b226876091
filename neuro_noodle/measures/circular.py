"""Circular statistics: differences, means and spreads of angles and axes, and which metadata columns hold angles."""

import re
from typing import Any

import numpy as np

AXIS_WORDS = {"orientation", "ori"}
ANGLE_WORDS = {"angle", "direction", "heading", "bearing", "azimuth", "phase", "theta"} | AXIS_WORDS
TURN_OF_UNIT = dict.fromkeys(("deg", "degree", "degrees"), 360.0)
TURN_OF_UNIT |= dict.fromkeys(("rad", "radian", "radians"), 2 * np.pi)
SYMBOLS = {"pi": np.pi, "2pi": 2 * np.pi}


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

    The last word of the name decides, before a unit: `body_angle` and `heading (deg)` are angles, `heading_error` is
    not. Whole numbers up to 2 pi without a unit are no angles: 1, 2, 3 are conditions.

    Args:
        name: name of the column; may end with its period, see `split_name`.
        values: (N,) numbers; those that are not finite are ignored.

    Returns:
        360 for degrees, 2 pi for radians; half of it for orientations, unless their range is larger; None if the column
        does not seem to hold angles.
    """
    name, given = split_name(name)
    if given:
        return None if given == "number" else _as_period(given)
    *_, before, last = ["", "", *map(str.lower, re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name))]
    word = before if last in TURN_OF_UNIT else last
    finite = values[np.isfinite(values)]
    if word not in ANGLE_WORDS or not len(finite):
        return None
    low, high = finite.min(), finite.max()
    is_small = max(-low, high) <= 2 * np.pi + 1e-6
    if is_small and last not in TURN_OF_UNIT and (finite == np.round(finite)).all():
        return None
    turn = TURN_OF_UNIT.get(last, 2 * np.pi if is_small else 360.0)
    turns = [turn / 2, turn] if word in AXIS_WORDS else [turn]
    return next((turn for turn in turns if high - low <= turn * (1 + 1e-6) and low >= -turn), None)


def split_name(name: str) -> tuple[str, str]:
    """Split `orientation:180` into the name of a column and its period; the period is empty if there is none.

    A period is a number in the unit of the column, `pi`, `2pi`, or `number` for a column that holds no angles.
    """
    stem, _, end = name.rpartition(":")
    return (stem, end) if stem and (end == "number" or _as_period(end)) else (name, "")


def format_name(name: str, period: float | None) -> str:
    """Return the name of a column with the period of its angles: `orientation (180 deg)`, `angle (2pi rad)`."""
    name, _ = split_name(name)
    symbol = next((symbol for symbol, value in SYMBOLS.items() if value == period), None)
    if period is None:
        return name
    return f"{name} ({symbol} rad)" if symbol else f"{name} ({period:g}{' deg' if period in (180, 360) else ''})"


def period_deg(period: float) -> float:
    """Return a period of `period` in degrees: 180 for axes, else 360."""
    return 180.0 if period in (180, np.pi) else 360.0


def _as_period(text: str) -> float | None:
    """Return a period as a number; None if the text is none."""
    if text in SYMBOLS:
        return SYMBOLS[text]
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) and float(text) else None


def _resultant(angles: np.ndarray) -> complex:
    return np.exp(1j * np.radians(angles)).mean()
