"""Order frames by the numbers in their names, and cut recordings into contiguous blocks."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

Key = list[tuple[int, tuple, str]]


def frame_blocks(ids: list[str], n_blocks: int, recordings: Sequence[str] | None) -> list[str]:
    """Cut frames into contiguous blocks of nearly equal length, none of which spans two recordings.

    Args:
        ids: N names; the numbers in them give the order of the frames.
        n_blocks: approximate total number of blocks; every recording has at least one.
        recordings: (N,) the recording of each frame, empty where it is missing, or None for a single recording.

    Returns:
        The block number of each frame as text, N in all; empty for a frame whose recording is missing.
    """
    order = natural_order(ids)
    recording = np.array(["0"] * len(ids) if recordings is None else recordings)
    block_of = [""] * len(ids)
    block_index = 0
    for one in np.unique(recording[recording != ""]):
        frames = order[recording[order] == one]
        n_here = min(len(frames), max(1, round(n_blocks * len(frames) / len(ids))))
        for block in np.array_split(frames, n_here):
            for frame in block:
                block_of[frame] = f"{block_index:03}"
            block_index += 1
    return block_of


@dataclass(frozen=True)
class _Number:
    """A number in a name.

    Attributes:
        before: the text between it and the number before it, without a minus sign at its end.
        text: its digits, with points between them if there are some.
        has_minus: whether a minus sign stands before it.
        place: what comes before it in the name, with # for each number; numbers in the same place belong together.
    """

    before: str
    text: str
    has_minus: bool
    place: str

    @property
    def fraction(self) -> str:
        """The digits after the point if there is exactly one, else nothing."""
        return self.text.partition(".")[2] if self.text.count(".") == 1 else ""


def natural_order(ids: list[str]) -> np.ndarray:
    """Return the (N,) indices that sort names by the numbers in them: frame9 before frame10, t-0.5 before t0.25.

    A - is a sign where other names lack it in the same place. A point between two numbers is a decimal point, except
    where the second number is counted: 1.9 is before 1.10 but after 1.25.
    """
    split = [_split(name) for name in ids]
    bare: set[str] = set()
    fractions: defaultdict[str, set[str]] = defaultdict(set)
    for number in (number for numbers, _ in split for number in numbers):
        bare |= set() if number.has_minus else {number.place}
        fractions[number.place] |= {number.fraction} - {""}
    counted = {place for place, found in fractions.items() if _are_counted(found)}

    def key(numbers: list[_Number], rest: str) -> Key:
        pieces: Key = []
        for number in numbers:
            is_signed = number.has_minus and number.place in bare
            before = number.before + "-" * (number.has_minus and not is_signed)
            pieces += [(0, (), before), (1, _value(number, is_signed, number.place in counted), "")]
        return [*pieces, (0, (), rest)]

    keys = [key(*parts) for parts in split]
    return np.array(sorted(range(len(ids)), key=keys.__getitem__))


def _split(name: str) -> tuple[list[_Number], str]:
    """Return the numbers in a name, and the text after the last of them."""
    numbers, place, end = [], "", 0
    for match in re.finditer(r"\d+(?:\.\d+)*", name):
        before = name[end : match.start()]
        has_minus = before.endswith("-")
        before = before.removesuffix("-")
        place += before
        numbers.append(_Number(before, match[0], has_minus, place))
        place, end = f"{place}#", match.end()
    return numbers, name[end:]


def _are_counted(fractions: set[str]) -> bool:
    """Return whether numbers after a point are counted: they differ in length, and one such as 10 ends with 0."""
    return len(set(map(len, fractions))) > 1 and any(len(text) > 1 and text.endswith("0") for text in fractions)


def _value(number: _Number, is_signed: bool, is_counted: bool) -> tuple:
    """Return a number as a tuple that sorts: one decimal number, or the numbers between points."""
    sign = -1 if is_signed else 1
    if number.fraction and not is_counted:
        return (sign * Decimal(number.text),)
    first, *others = map(int, number.text.split("."))
    return (sign * first, *others)
