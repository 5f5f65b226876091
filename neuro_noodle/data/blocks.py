"""Order frames by the numbers in their names, and cut recordings into contiguous blocks."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

Key = list[tuple[int, tuple, str]]
NUMBER = re.compile(r"\d+(?:\.\d+)?[eE][-+]\d{1,3}(?!\d)|\d+(?:\.\d+)*")  # 1.5e-3, or 7, 0.25, 1.2.10
DATE = re.compile(r"(?<!\d)\d{1,2}([-._])\d{1,2}\1\d{4}(?!\d)")  # day or month first
N_SHOWN = 3  # names of the first frames
SIGNS = {"-": "-", "\u2212": "-", "+": "+"}


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


def natural_order(ids: list[str]) -> np.ndarray:
    """Return the (N,) indices that sort names by the numbers in them: frame9 before frame10, t-0.5 before t+0.25.

    A - is a sign where other names lack it in the same place. A point between two numbers is a decimal point, except
    where the second number is counted: 1.9 is before 1.10 but after 1.25. An exponent needs a sign: 5e-4.
    """
    return _Names(ids).order()


def describe_order(ids: list[str]) -> str:
    """Return in a sentence what gives the natural order of names, and the first three and the last of them."""
    names = _Names(ids)
    ordered = [ids[i] for i in names.order()]
    what = "the numbers in the names give" if names.differ_in_numbers else "the alphabetical order of the names gives"
    dates = ["dates that do not start with the year are not in order of time"] if any(map(DATE.search, ids)) else []
    rules = [*names.rules, *dates]
    shown = ordered if len(ordered) < N_SHOWN + 2 else [*ordered[:N_SHOWN], "...", ordered[-1]]
    return f"{what} the order of the frames: {', '.join(shown)}" + (f" ({'; '.join(rules)})" if rules else "")


@dataclass(frozen=True)
class _Number:
    """A number in a name.

    Attributes:
        before: the text between it and the number before it, without a sign at its end.
        sign: the character at the end of that text, if it is a sign.
        text: its digits, with points between them if there are some, and an exponent if there is one.
        place: what comes before it in the name, with # for each number; numbers in the same place belong together.
    """

    before: str
    sign: str
    text: str
    place: str


class _Names:
    """Names, and how the numbers in them are read.

    Attributes:
        differ_in_numbers: whether some names have different numbers in the same place.
        rules: the readings of signs and points that other names would not have.
    """

    def __init__(self, ids: list[str]) -> None:
        self._split = [_split(name) for name in ids]
        found: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
        for number in (number for numbers, _ in self._split for number in numbers):
            found[number.place].add((SIGNS.get(number.sign, ""), number.text))
        signs = {place: {sign for sign, _ in numbers} for place, numbers in found.items()}
        self._signed = {place for place, here in signs.items() if "-" in here and len(here) > 1}
        self._counted = {place for place, numbers in found.items() if _are_counted({text for _, text in numbers})}
        self.differ_in_numbers = any(len(numbers) > 1 for numbers in found.values())
        readings = {
            "a - before a number is its sign": self._signed,
            "a - that all names have is a separator, not a sign": [
                place
                for place, here in signs.items()
                if here == {"-"} and len(found[place]) > 1 and not place.endswith("#")
            ],
            "1.9 is before 1.10, as in counting": self._counted,
        }
        self.rules = [rule for rule, places in readings.items() if places]

    def order(self) -> np.ndarray:
        """Return the (N,) indices that sort the names."""
        keys = [self._key(*parts) for parts in self._split]
        return np.array(sorted(range(len(keys)), key=keys.__getitem__))

    def _key(self, numbers: list[_Number], rest: str) -> Key:
        pieces: Key = []
        for number in numbers:
            is_signed, is_counted = number.place in self._signed, number.place in self._counted
            before = number.before + ("" if is_signed else number.sign)
            sign = -1 if is_signed and SIGNS.get(number.sign) == "-" else 1
            pieces += [(0, (), before), (1, _value(number.text, sign, is_counted), "")]
        return [*pieces, (0, (), rest)]


def _split(name: str) -> tuple[list[_Number], str]:
    """Return the numbers in a name, and the text after the last of them."""
    numbers, place, end = [], "", 0
    for match in NUMBER.finditer(name):
        before = name[end : match.start()]
        sign = before[-1:] if before[-1:] in SIGNS else ""
        before = before.removesuffix(sign)
        place += before
        numbers.append(_Number(before, sign, match[0], place))
        place, end = f"{place}#", match.end()
    return numbers, name[end:]


def _are_counted(texts: set[str]) -> bool:
    """Return whether the numbers after points are counted, to 10 or more and with few gaps: 1.8, 1.9, 1.10."""
    fractions = {_fraction(text) for text in texts} - {""}
    if len(set(map(len, fractions))) < 2 or not any(len(text) > 1 and text.endswith("0") for text in fractions):
        return False
    numbers = set(map(int, fractions))
    return len(numbers) > (max(numbers) - min(numbers)) / 2


def _fraction(text: str) -> str:
    """Return the digits after the point of a number with exactly one and no exponent, else nothing."""
    return text.partition(".")[2] if text.replace(".", "", 1).isdigit() else ""


def _value(text: str, sign: int, is_counted: bool) -> tuple:
    """Return a number as a tuple that sorts: one decimal number, or the numbers between points."""
    if text.isdigit():
        return (sign * int(text),)
    if text.count(".") > 1 or (is_counted and _fraction(text)):
        return tuple(sign * int(part) for part in text.split("."))
    return (Decimal(text).copy_sign(Decimal(sign)),)
