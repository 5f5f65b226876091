"""Values as every file, table and figure can hold them: numbers that are finite, texts that are valid."""

import json
import math
import os
import re
from collections.abc import Mapping
from typing import Any

LAUNCHER = "NEURO_NOODLE_LAUNCHER"  # set by run.sh to the way it was called


def first_line(error: Exception) -> str:
    """Return an error in one line: its reason if the system gives one, else its first line, else its kind."""
    return (getattr(error, "strerror", None) or str(error).strip() or type(error).__name__).splitlines()[0][:200]


def command_line(words: str) -> str:
    """Return a command line for a script of the project, which works when pasted where this process was started."""
    return f"{os.environ.get(LAUNCHER, 'python')} {words}"


def n_processes() -> int:
    """Return how many processes torchrun has started for this command; 1 without torchrun."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_follower() -> bool:
    """Return whether this process is one of those after the first, which prints and writes for all."""
    return n_processes() > 1 and os.environ.get("RANK", "0") != "0"


def format_bytes(n_bytes: float) -> str:
    """Return a number of bytes as text, such as 1.5 GiB."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"


def counted(n: int, noun: str) -> str:
    """Return a number with a noun, in the plural unless the number is 1: 1 image, 3 images, 2 classes."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}{'es' if noun.endswith('s') else 's'}"


def finite(value: float) -> float | None:
    """Return a number, None if it is not finite."""
    return float(value) if math.isfinite(value) else None


def finite_each(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Return numbers by name, None for those that are not finite."""
    return {name: finite(value) for name, value in numbers.items()}


def format_json(content: object, indent: int | None = None) -> str:
    """Return JSON, with null for numbers that are not finite, which JSON lacks."""
    finite_content = json.loads(json.dumps(content), parse_constant=lambda _: None)
    return json.dumps(finite_content, indent=indent, allow_nan=False)


def parse_json(content: bytes) -> Any:
    """Return what JSON describes; raises ValueError for NaN, infinity, and objects that have a key twice."""
    return json.loads(content, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("it has a key twice")
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def readable(text: str) -> str:
    """Return a text with an escape such as \\xe9 for each byte of a file name that is not text."""
    text = re.sub("[\udc80-\udcff]", lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", text)
    return text.encode(errors="backslashreplace").decode()


def printable(text: str) -> str:
    """Return a text with an escape such as \\x1b for each character that steers a terminal, except \\n and \\t."""
    steering = "[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
    return re.sub(steering, lambda found: found[0].encode("unicode_escape").decode(), text)


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
