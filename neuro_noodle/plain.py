"""Values as every file, table and figure can hold them: numbers that are finite, texts that are valid."""

import json
import math
import re
from typing import Any


def finite(value: float) -> float | None:
    """Return a number, None if it is not finite."""
    return float(value) if math.isfinite(value) else None


def format_json(content: object, indent: int | None = None) -> str:
    """Return JSON, with null for numbers that are not finite, which JSON lacks."""
    finite_content = json.loads(json.dumps(content), parse_constant=lambda _: None)
    return json.dumps(finite_content, indent=indent, allow_nan=False)


def readable(text: str) -> str:
    """Return a text with an escape such as \\xe9 for each byte of a file name that is not text."""
    text = re.sub("[\udc80-\udcff]", lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text)
    return text.encode(errors="backslashreplace").decode()


def cell(value: Any) -> Any:
    """Return a value as a cell of a table: empty if it is NaN, with an apostrophe before text that is like a formula.

    Spreadsheets run a text that starts with =, +, -, @, a tab or a carriage return, unless it is a number.
    """
    if not isinstance(value, str):
        return "" if value != value else value  # only NaN differs from itself
    text = readable(value)
    return f"'{text}" if text.startswith(tuple("=+-@\t\r")) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
