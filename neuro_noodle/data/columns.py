"""Metadata columns, read from file names and arrays.

A column is a list of N texts or an array of N numbers, one per image.
"""

import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.cells import MISSING, number, quoted, tidy
from neuro_noodle.data.store import format_shape
from neuro_noodle.measures.circular import split_name

RESERVED = ("id", "folder")  # columns that the program adds itself

Columns = dict[str, Sequence]


def read_names(ids: list[str], pattern: str) -> tuple[Columns, list[str]]:
    """Read columns from file names.

    Args:
        ids: paths with / between folders.
        pattern: describes the last parts of a path without its ending; {field} becomes a column, {} matches anything.

    Returns:
        A column of N texts per field, empty if a name does not match; and the names that do not match.

    Raises:
        UserError: if the pattern has no field, or a field twice.
    """
    literals = re.split(r"\{([^{}]*)\}", tidy(pattern))
    fields = [field for field in literals[1::2] if field]
    reserved = set(RESERVED) & set(fields)
    require(
        not reserved,
        f"pattern={pattern}: a field cannot be called {' or '.join(reserved)}, which is the name of another column",
    )
    require(
        bool(fields) and len(set(fields)) == len(fields) and all(field.isidentifier() for field in fields),
        f"pattern={pattern} needs fields in braces, each once, such as {{person}}_{{emotion}}",
    )
    groups = [f"(?P<{field}>[^/]+?)" if field else "[^/]*?" for field in literals[1::2]] + [""]
    parts = (re.escape(literal) + group for literal, group in zip(literals[::2], groups, strict=True))
    regex = re.compile(r"(?:.*/)?" + "".join(parts))
    matches = [regex.fullmatch(tidy(str(PurePosixPath(name).with_suffix("")))) for name in ids]
    columns: Columns = {field: [match[field] if match else "" for match in matches] for field in fields}
    return columns, [name for name, match in zip(ids, matches, strict=True) if not match]


def read_array_columns(values: np.ndarray, names: Sequence[str], where: str) -> Columns:
    """Return the columns of an array: (N,), (N, K), or (N,) with named fields.

    Args:
        names: K names; by default those of its fields, or else column_0, column_1, ...
        where: a description of the array, for errors.

    Raises:
        UserError: if the array is not a table, or the number of names differs from the number of columns.
    """
    require(values.ndim in (1, 2), f"{where} is {format_shape(values.shape)}, but a table is N rows by K columns")
    fields = values.dtype.names
    parts = [values[field] for field in fields] if fields else list(np.atleast_2d(values.T))
    names = [unreserved(name) for name in names or fields or [f"column_{i}" for i in range(len(parts))]]
    require(
        len(names) == len(parts) and len(set(names)) == len(names),
        f"{where} has {len(parts)} columns, but columns= names {len(names)}: {', '.join(names)}",
    )
    wrong = [name for name, part in zip(names, parts, strict=True) if part.ndim != 1 or part.dtype.kind not in "biufUS"]
    require(bool(parts), f"{where} has no columns")
    require(not wrong, f"{where}: {', '.join(wrong)} holds neither numbers nor text")
    require(all(map(_is_valid_text, parts)), f"{where} is damaged: its text is not valid")
    return {name: _column(part) for name, part in zip(names, parts, strict=True)}


def add_columns(columns: Columns, new: Columns, missing: list[str], reason: str) -> list[str]:
    """Add columns that have values for some or all images.

    Args:
        columns: gains the new columns, unless they have values for no image.
        new: the new columns.
        missing: the images without values.
        reason: why these have none; continues the phrase "3 of 9 images".

    Returns:
        Notes for the user.

    Raises:
        UserError: if a name exists already.
    """
    n_images = len(next(iter(columns.values())))
    message = f"{len(missing)} of {n_images} images {reason}"
    if len(missing) == n_images:
        return [message]
    merge(columns, new)
    return [f"{message}:\n{listing(missing)}"] if missing else []


def merge(columns: Columns, new: Columns) -> None:
    """Add columns; raises UserError if a name exists already."""
    twice = sorted(set(columns) & set(new))
    require(not twice, f"two sources provide a column {' and '.join(twice)}; rename one of them")
    columns |= new


def listing(lines: Iterable[str], n_max: int = 5) -> str:
    """Return the first lines, indented, and how many more there are."""
    lines = list(lines)
    more = [f"  ... and {len(lines) - n_max} more"] if len(lines) > n_max else []
    return "\n".join([f"  {line}" for line in lines[:n_max]] + more)


def as_texts(column: Sequence | np.ndarray) -> list[str]:
    """Return a column as texts, empty where a number is missing; different numbers have different texts."""
    if isinstance(column, list):
        return column
    values = np.asarray(column)
    if values.dtype.kind != "f":
        return [str(value) for value in values.tolist()]
    return ["" if np.isnan(value) else np.format_float_positional(value, trim="-") for value in values]


def as_groups(column: Sequence, ids: Sequence[str]) -> list[str]:
    """Return a column as names of groups; each image without one is a group of its own."""
    return [name or f"image {image}" for name, image in zip(as_texts(column), ids, strict=True)]


def name_of_column(columns: Columns, name: str) -> str:
    """Return the name of a column without the period that may follow it, see `circular.split_name`."""
    return name if name in columns else split_name(name)[0]


def require_columns(columns: Columns, names: Sequence[str]) -> None:
    """Raise UserError if --columns names a column that does not exist."""
    unknown = [name for name in names if name_of_column(columns, name) not in columns]
    require(not unknown, f"--columns: there is no {' or '.join(unknown)}; there are {', '.join(columns)}")


def as_numbers(column: Sequence | np.ndarray, name: str, ids: Sequence[str] = ()) -> np.ndarray:
    """Return a column as (N,) numbers, NaN where it is empty.

    Args:
        ids: the images, for the error.

    Raises:
        UserError: if it holds something other than numbers; quotes an example.
    """
    if not isinstance(column, list):
        return np.asarray(column, np.float64)
    numbers = [np.nan if text in MISSING else number(text) for text in column]
    wrong = [index for index, value in enumerate(numbers) if value is None]
    if wrong:
        of = f" for image {ids[wrong[0]]}" if ids else ""
        raise UserError(
            f"the column '{name}' holds {quoted(column[wrong[0]])}{of}, which is not a number ({len(wrong)} of "
            f"{len(column)} cells are not numbers); numbers are written like -2.5 or 1e-05, and a missing value is an "
            "empty cell, n/a, NA, nan, null or -"
        )
    return np.array(numbers, np.float64)


def unreserved(name: str) -> str:
    """Return the tidy name of a column, with _ added if it is reserved."""
    name = tidy(name)
    return f"{name}_" if name in RESERVED else name


def _is_valid_text(values: np.ndarray) -> bool:
    """Return whether no character is one that does not exist; True for numbers."""
    if values.dtype.kind != "U" or not values.nbytes:
        return True
    codes = np.ascontiguousarray(values, values.dtype.newbyteorder("=")).view(np.uint32)
    return bool(codes.max() <= sys.maxunicode)


def _column(values: np.ndarray) -> Any:
    """Return texts as a list, and numbers as an array that holds them exactly."""
    if values.dtype.kind == "S":
        return [value.decode("latin-1") for value in values.tolist()]
    if values.dtype.kind == "U":
        return values.tolist()
    return values.astype(np.int64 if np.can_cast(values.dtype, np.int64) else values.dtype.newbyteorder("="))
