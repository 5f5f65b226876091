"""Doubts about columns: one name in two spellings, names that lost digits, codes that stand for a missing value."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal

import numpy as np

from neuro_noodle.data.cells import number, quoted
from neuro_noodle.data.columns import Columns, as_texts
from neuro_noodle.plain import counted

STAND_INS = {"unknown", "na", "?", "??", "none", "missing", "undefined", "not available", "not known", "void", "empty"}
CODES = [float("9" * n) for n in range(2, 10)]  # and their negatives
LAST_EXACT = 2**53  # above it, float64 skips whole numbers
N_SHOWN = 5  # groups of names in a note, and names in a group

_SHORTENED = re.compile(r"[1-9](?:[.,]\d+)?E\+(?:1[1-9]|[2-9]\d)|[1-9]\d{14}0{2,}")  # 9.82E+14, or zeros from digit 16
_DATE = re.compile(r"\d{1,4}([-/. ])(?:\d\d?|[A-Za-z]{3,9})\1\d{1,4}")


def naming_notes(columns: Columns, names: Iterable[str | None]) -> list[str]:
    """Return notes on names of classes or groups that may be one name in two spellings, or two that became one."""
    return [
        f"{name} {note}"
        for name in dict.fromkeys(name for name in names if name)
        for note in _doubts(columns[name], is_cells=name != "folder")
    ]


def _doubts(column: Sequence, is_cells: bool) -> Iterator[str]:
    """Yield what is doubtful about the names in a column; is_cells is False for names of folders."""
    if _is_rounded(column):
        yield "may hold rounded numbers, which makes two names one; save them as integers or text"
    counts = Counter(as_texts(column))
    if shortened := _matching(counts, _SHORTENED):
        yield (
            f"has {_cells(shortened)}: a spreadsheet may have shortened long numbers, which makes several names one; "
            "format the column as text before the numbers are entered or imported"
        )
    if lost := {text: n for text, n in counts.items() if "\ufffd" in text}:
        yield (
            f"has {_cells(lost)}: \ufffd stands for characters that were lost when the text was saved, which may "
            "make several names one"
        )
    if pairs := similar_names(counts):
        shown = "; ".join(_shortened_list(same, " and ") for same in pairs[:N_SHOWN])
        more = f" and {len(pairs) - N_SHOWN} more" if len(pairs) > N_SHOWN else ""
        yield f"has names that look alike but count as different: {shown}{more}"
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for text, n in _matching(counts, _DATE).items():
        spellings[re.sub(r"\d\d?", "d", re.sub(r"\d{3,4}", "Y", re.sub(r"[A-Za-z]+", "M", text)))][text] = n
    if len(spellings) > 1:
        yield f"writes dates in {len(spellings)} ways: {', '.join(map(_cells, spellings.values()))}; each is a name"
    stand_ins = {text: n for text, n in counts.items() if text.casefold() in STAND_INS}
    if stand_ins and is_cells:
        yield (
            f"has {', '.join(_cells({text: n}) for text, n in stand_ins.items())}, which is a name like any other; "
            "leave these cells empty if the value is missing"
        )


def _matching(counts: Counter[str], pattern: re.Pattern) -> dict[str, int]:
    return {text: n for text, n in counts.items() if pattern.fullmatch(text)}


def _cells(counts: dict[str, int] | Counter[str]) -> str:
    """Return the number of cells, and the text of the first."""
    n = sum(counts.values())
    return f"{counted(n, 'cell')} {'such as ' * (len(counts) > 1)}{quoted(next(iter(counts)))}"


def _shortened_list(names: list[str], separator: str) -> str:
    more = f"{separator}{len(names) - N_SHOWN} more" if len(names) > N_SHOWN else ""
    return separator.join(map(quoted, names[:N_SHOWN])) + more


def similar_names(names: Iterable[str]) -> list[list[str]]:
    """Return the names that differ only in case or spaces, or in how the same number is written, together."""
    alike = defaultdict(set)
    for name in names:
        alike[" ".join(name.casefold().split()) if number(name) is None else Decimal(name)].add(name)
    return [sorted(same) for same in alike.values() if len(same) > 1]


def _is_rounded(column: Sequence) -> bool:
    """Return whether numbers are so large for their type that neighbouring whole numbers are the same."""
    values = np.asarray(column)
    return values.dtype.kind == "f" and bool((np.abs(values) * np.finfo(values.dtype).eps >= 1).any())


def code_notes(values: np.ndarray, name: str) -> list[str]:
    """Return a note on (N,) numbers such as -999, far from all others, which may mean that a value is missing."""
    known, n_of_each = np.unique(values[np.isfinite(values)], return_counts=True)
    is_code = np.isin(np.abs(known), CODES)
    others = known[~is_code]
    if not len(others) or not is_code.any():
        return []
    low, high = others[0], others[-1]
    is_far = is_code & ((known < low - (high - low) / 2) | (known > high + (high - low) / 2))
    far = zip(known[is_far].tolist(), n_of_each[is_far].tolist(), strict=True)
    found = " and ".join(f"{value:.10g} ({counted(n, 'image')})" for value, n in far)
    note = f"{name} is {found}, far from its other values ({low:.10g} to {high:.10g}), and is predicted like these; "
    return [f"{note}leave these cells empty if the value is missing"] if found else []


def merged_notes(values: np.ndarray, name: str, column: Sequence) -> list[str]:
    """Return a note if the numbers (N,) of a column are so large that different ones have become the same."""
    is_large = np.abs(values) >= LAST_EXACT
    large = np.array(as_texts(column))[is_large].tolist()
    n_merged = len({Decimal(text) for text in large}) - len(set(values[is_large]))
    note = f"{counted(n_merged, 'value')} of {name} became equal to another, since numbers above 2^53 (9e15) are "
    return [f"{note}rounded; subtract a constant from all first"] if n_merged else []
