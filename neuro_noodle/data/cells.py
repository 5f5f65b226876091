"""Cells of metadata: how their text is cleaned, which texts mean that a value is missing, and which are numbers."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

NOT_KNOWN = ("n/a", "#n/a", "<na>", "nan", "null", "#null!", "#div/0!", "#value!", "#ref!", "#name?", "#num!")
MISSING = frozenset(  # na, Nan and none can be names
    {"", "NA", "N.A.", "NaN", "None", "NONE", "-", "--", "\u2013", "\u2014", "."}
    | {*NOT_KNOWN, *map(str.upper, NOT_KNOWN)}
)
INVISIBLE = dict.fromkeys(map(ord, "\0\u00ad\u200b\u200e\u200f\u2060\ufeff"))  # zero width, marks of direction, ...

_MANTISSA_WITH_POINT = r"(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d{1,5})?"
_WHOLE_NUMBER = r"\d+(?:[eE][+-]\d{1,5})?"  # without a point, an exponent needs a sign: 12e1 is a name
_NUMBER = re.compile(f"[+-]?(?:{_MANTISSA_WITH_POINT}|{_WHOLE_NUMBER})", re.ASCII)
_INFINITE = re.compile("[+-]?inf(?:inity)?", re.IGNORECASE)
_COMMA_NUMBER = re.compile(r"[+-]?\d+(?:,\d+)?(?:[eE][+-]\d{1,5})?", re.ASCII)
_MAYBE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})?", re.ASCII)


def tidy(text: str) -> str:
    """Return a text without invisible characters and spaces at its ends, each accented letter as one character."""
    return unicodedata.normalize("NFC", text.translate(INVISIBLE)).strip()


def shortened(text: str, n_max: int = 40) -> str:
    """Return a text on one line, only its beginning if it is long."""
    text = " ".join(text.split())
    return text if len(text) <= n_max else text[: n_max - 3] + "..."


def quoted(text: str, n_max: int = 40) -> str:
    """Return a text in quotes, shortened."""
    return f"'{shortened(text, n_max)}'"


def clean_columns(columns: Mapping[str, Sequence]) -> tuple[dict[str, Sequence], list[str]]:
    """Return columns with tidy texts, without values that are missing: marks such as n/a, and infinite numbers.

    Args:
        columns: by name, N texts or N numbers each; numbers stay as they are.

    Returns:
        The columns, empty (texts) or NaN (numbers) where a value is missing; and notes for the user.
    """
    cleaned: dict[str, Any] = dict(columns)
    found = []
    for name, column in columns.items():
        if isinstance(column, list):
            texts = list(map(tidy, column))
            marks = frozenset() if name == "folder" else _marks(texts)  # the name of a folder is never missing
            cleaned[name] = ["" if text in marks else text for text in texts]
            counts = Counter(text for text in texts if text and text in marks)
        else:
            values = np.asarray(column)
            is_infinite = np.isinf(values) if values.dtype.kind == "f" else np.zeros(len(values), bool)
            counts = Counter(map(str, values[is_infinite].tolist()))
            cleaned[name] = np.where(is_infinite, np.nan, values) if counts else column
        found += [f"{n} {quoted(mark)} in {name}" for mark, n in counts.items()]
    return cleaned, [f"these cells count as missing: {', '.join(found)}"] if found else []


def _marks(texts: list[str]) -> frozenset[str]:
    """Return the texts that mean that a value is missing in this column."""
    marks = MISSING - {"-"} if "+" in texts else MISSING  # + and - are two classes
    infinite = {text for text in texts if _INFINITE.fullmatch(text)}
    others = set(texts) - infinite - marks
    return marks | infinite if infinite and others and all(number(text) is not None for text in others) else marks


def number(text: str) -> float | None:
    """Return the number that a text denotes in plain decimal notation, such as -2.5 or 1e-05; None if it is none."""
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


def with_decimal_points(column: Sequence[str]) -> list[str] | None:
    """Return a column of numbers with decimal commas as numbers with points; None if it is not clearly such a column.

    Every cell must be a number or missing, and at least one comma cannot separate thousands, as that of 1,234 could.
    """
    texts = [tidy(text) for text in column if tidy(text) not in MISSING]
    if not all(map(_COMMA_NUMBER.fullmatch, texts)) or all(map(_MAYBE_THOUSANDS.fullmatch, texts)):
        return None
    return [text.replace(",", ".") for text in column] if any("," in text for text in texts) else None
