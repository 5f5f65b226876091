"""The image value of white: chosen by the type and range of the values, and checked against them."""

import math
from dataclasses import dataclass

import numpy as np

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.store import Mapped

CHUNK = 2**26  # values read at a time
DARK = 0.5  # images whose brightest value is below this share of white are noted
BLACK = 0.01  # and those below this share are refused
LARGEST = {"uint8": 255, "uint16": 65535}  # white, unless something else is known
N_CHECKED = 1000  # images of a mapped set of 8 bits whose range is read


def require_white(max_value: float | None) -> None:
    """Raise UserError unless the image value of white is above 0 and finite."""
    require(
        max_value is None or 0 < max_value < math.inf,
        f"max_value={max_value} must be above 0 and finite: it is the image value of white",
    )


def choose_white(images: np.ndarray, max_value: float | None, where: str) -> tuple[float, list[str]]:
    """Return the image value of white, and notes for the user.

    Args:
        images: numbers.
        max_value: the value that the user has set; None uses 1 for whole numbers that are all 0 or 1, 255 or 65535 for
            other numbers of 8 or 16 bits, and 1 for the rest.
        where: the source of the images, for errors.

    Raises:
        UserError: if a value is outside 0 to white, or all are nearly 0.
    """
    low, high = _range(images, max_value)
    kind = images.dtype
    require(math.isfinite(low) and math.isfinite(high), f"{where} holds values that are not finite (NaN or infinite)")
    is_mask = max_value is None and kind in (np.uint8, np.uint16) and high == 1
    white = max_value or (1 if is_mask else LARGEST.get(kind.name, 1))
    rounding = float(np.finfo(kind).eps) if kind.kind == "f" else 0  # 0.1 rounds up in float32
    likely = _likely_white(high)
    if low < 0 or high > white * (1 + rounding):
        advice = f"set the value of white by max_value=, such as {likely:.10g}"
        raise UserError(
            f"{where} holds values from {low:g} to {high:g}, outside 0 to {white:g}; "
            + (advice if low >= 0 else "images cannot be negative; add a constant first")
        )
    is_black = max_value is None and 0 < high < BLACK * white
    require(
        not is_black,
        f"{where} is nearly black: its brightest value is {high:g} of {white:g}; max_value={likely:.10g} makes "
        f"{likely:.10g} white, max_value={white:g} keeps the images as they are",
    )
    notes = ["all image values are 0 or 1, so 1 is white; max_value= sets another white"] * is_mask
    if max_value is None and 0 < high < DARK * white:
        notes.append(
            f"the brightest image value is {high:g} of {white:g}; max_value={likely:.10g} would make {likely:.10g} "
            "white"
        )
    return max(white, high), notes


@dataclass(frozen=True)
class KnownWhite:
    """The white of the training images, from which that of new images follows.

    Attributes:
        kind: the type of the training images.
        value: their white.
    """

    kind: np.dtype
    value: float

    def of_files(self, images: np.ndarray, where: str) -> float:
        """Return the image value of white in decoded image files; raises UserError if it is unclear."""
        return self._only(self.candidates(images.dtype), images, where)

    def of_array(self, images: np.ndarray, where: str) -> float:
        """Return the image value of white in an array; raises UserError if it is unclear, or if it is nearly black."""
        candidates, high = self.candidates(images.dtype), bounds(images)[1]
        if candidates and not 0 < high <= max(candidates):  # black in any case, or refused by `choose_white`
            return max(candidates)
        return self._only([white for white in candidates if BLACK * white <= high <= white], images, where)

    def candidates(self, kind: np.dtype) -> list[float]:
        """Return the values that can be white in images of a type."""
        if kind == self.kind or kind.kind == self.kind.kind == "f":
            return [self.value] if kind.kind != "f" or self._is(1) else [self.value, 1.0]
        if kind.kind in "fb":
            return [1.0]
        is_usual = kind.name in LARGEST and self._is(LARGEST.get(self.kind.name, 1))
        return [LARGEST[kind.name]] if is_usual else []

    def _only(self, candidates: list[float], images: np.ndarray, where: str) -> float:
        high = bounds(images)[1]
        likely = sorted({_likely_white(high), *self.candidates(images.dtype)})
        require(
            len(candidates) == 1,
            f"{where} holds {images.dtype} up to {high:g}, and it is unclear which value is white (the training images "
            f"are {self.kind}, and {self.value:g} is white); name it by max_value=, such as "
            f"{' or '.join(f'{one:.10g}' for one in likely)}",
        )
        return candidates[0]

    def _is(self, white: float) -> bool:
        return math.isclose(self.value, white, rel_tol=1e-3)  # the brightest value can be above 1 by rounding


def bounds(values: np.ndarray) -> tuple[float, float]:
    """Return the smallest and the largest value (NaN if any value is); reads large arrays in pieces."""
    rows = max(1, CHUNK // max(1, math.prod(values.shape[1:])))
    ends = []
    for start in range(0, len(values), rows):
        piece = values[start : start + rows]
        if isinstance(piece, Mapped):
            piece.read_ahead(range(len(piece)))
        ends.append((piece.min(), piece.max()))
    lows, highs = np.array(ends, np.float64).T
    return float(lows.min()), float(highs.max())


def _range(images: np.ndarray, max_value: float | None) -> tuple[float, float]:
    """Return the range of the values; of a mapped set that no value can make invalid, that of some images."""
    if isinstance(images, Mapped) and images.dtype == np.uint8 and max_value in (None, 255):
        low, high = bounds(np.asarray(images)[:: math.ceil(len(images) / N_CHECKED)])
        if high >= BLACK * 255:  # else a brighter image decides what white is
            return low, high
    return bounds(images)


def _likely_white(high: float) -> float:
    """Return the largest value of the usual number of bits that holds this value, else the value, rounded up."""
    if not float(high).is_integer():
        step = 10.0 ** (math.floor(math.log10(high)) - 3)
        high = math.ceil(high / step - 1e-6) * step
    return next((white for white in (255, 1023, 4095, 16383, 65535) if white / 2 < high <= white), high)
