"""Metadata columns, read from file names, tables and arrays.

A column is a list of N texts or an array of N numbers, one per image.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.store import format_shape

RESERVED = ("id", "folder")  # columns that the program adds itself

Columns = dict[str, Sequence]


@dataclass(frozen=True)
class JoinedTable:
    """A table brought into the order of the images.

    Attributes:
        columns: N texts each, empty if an image has no row.
        missing: images without a row.
        unknown: names in the table that are not images.
    """

    columns: Columns
    missing: list[str]
    unknown: list[str]


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
    literals = re.split(r"\{([^{}]*)\}", pattern)
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
    matches = [regex.fullmatch(str(PurePosixPath(name).with_suffix(""))) for name in ids]
    columns: Columns = {field: [match[field] if match else "" for match in matches] for field in fields}
    return columns, [name for name, match in zip(ids, matches, strict=True) if not match]


def read_csv(path: Path) -> dict[str, list[str]]:
    """Read a table with a header line, separated by commas, semicolons or tabs, into columns of texts.

    Raises:
        UserError: if the file is missing or not such a table.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        delimiter = max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows = [(reader.line_num, row) for row in reader if row]
    except OSError as error:
        raise UserError(f"the table {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"the table {path} is not UTF-8 text; save it as 'CSV UTF-8'") from error
    except csv.Error as error:
        raise UserError(f"the table {path} cannot be read: line {reader.line_num}: {error}") from error
    require(len(rows) > 1, f"the table {path} has no rows; it needs a header line and a row per image")
    names = [_unreserved(name.strip()) for name in rows[0][1]]
    require(
        all(names) and len(set(names)) == len(names),
        f"the table {path} needs a different name for each column; its first line reads {rows[0][1][:9]}",
    )
    for line, row in rows[1:]:
        require(
            len(row) == len(names), f"the table {path} has {len(names)} columns, but {len(row)} fields on line {line}"
        )
    return dict(zip(names, map(list, zip(*(row for _, row in rows[1:]), strict=True)), strict=True))


def join_table(path: Path, ids: list[str]) -> JoinedTable:
    """Read a table and bring its rows into the order of the images.

    The column that matches most images names them, by path, by file name, or by file name without ending.

    Args:
        path: a CSV file; its other columns become metadata.
        ids: paths with / between folders.

    Raises:
        UserError: if no column names images, or if a name is ambiguous.
    """
    table = read_csv(path)
    key, names = _match_names(path, table, ids)
    twice = _first_duplicate(names)
    require(twice is None, f"several images are called {twice}, so {path} must name images by their path")
    twice = _first_duplicate(table[key])
    require(twice is None, f"{path} has several rows for '{twice}'")
    row_of = {name: row for row, name in enumerate(table.pop(key))}
    rows = [row_of.get(name) for name in names]
    columns: Columns = {name: ["" if row is None else column[row] for row in rows] for name, column in table.items()}
    missing = [image for image, row in zip(ids, rows, strict=True) if row is None]
    return JoinedTable(columns, missing, unknown=sorted(set(row_of) - set(names)))


def _match_names(path: Path, table: dict[str, list[str]], ids: list[str]) -> tuple[str, list[str]]:
    """Return the column of a table that names images, and the name of each image in the same form."""
    paths = [PurePosixPath(name) for name in ids]
    forms = [ids, [one.name for one in paths], [one.stem for one in paths]]
    n_matches = {
        (key, form): len(known.intersection(column))
        for form, known in enumerate(map(set, forms))
        for key, column in table.items()
    }
    key, form = max(n_matches, key=lambda pair: n_matches[pair])
    require(
        n_matches[key, form] > 0,
        f"no column of {path} names images such as {ids[0]}; there are "
        + ", ".join(f"{name} ({column[0]})" for name, column in table.items()),
    )
    return key, forms[form]


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
    names = [_unreserved(name) for name in names or fields or [f"column_{i}" for i in range(len(parts))]]
    require(
        len(names) == len(parts) and len(set(names)) == len(names),
        f"{where} has {len(parts)} columns, but columns= names {len(names)}: {', '.join(names)}",
    )
    wrong = [name for name, part in zip(names, parts, strict=True) if part.ndim != 1 or part.dtype.kind not in "biufUS"]
    require(bool(parts), f"{where} has no columns")
    require(not wrong, f"{where}: {', '.join(wrong)} holds neither numbers nor text")
    try:
        return {name: _column(part) for name, part in zip(names, parts, strict=True)}
    except SystemError as error:  # raised by numpy for characters that do not exist
        raise UserError(f"{where} is damaged: its text is not valid") from error


def add_columns(
    columns: Columns, new: Columns, missing: list[str], reason: str, needed: Iterable[str | None]
) -> list[str]:
    """Add columns that have values for some or all images.

    Args:
        columns: gains the new columns, unless they have values for no image.
        new: the new columns.
        missing: the images without values.
        reason: why these have none; continues the phrase "3 of 9 images".
        needed: columns that must have a value for every image.

    Returns:
        Notes for the user.

    Raises:
        UserError: if a needed column lacks values, or a name exists already.
    """
    n_images = len(next(iter(columns.values())))
    message = f"{len(missing)} of {n_images} images {reason}:\n{listing(missing)}"
    incomplete = [column for column in needed if column in new]
    if missing and incomplete:
        raise UserError(f"{message}\nbut {' and '.join(incomplete)} must have a value for every image")
    if len(missing) == n_images:
        return [message.splitlines()[0].rstrip(":")]
    merge(columns, new)
    return [message] if missing else []


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


def as_texts(column: Sequence) -> list[str]:
    """Return a column as texts, whole numbers without a decimal point."""
    return column if isinstance(column, list) else [f"{value:.10g}" for value in column]


def require_columns(columns: Columns, names: Sequence[str]) -> None:
    """Raise UserError if --columns names a column that does not exist."""
    unknown = [name for name in names if name not in columns]
    require(not unknown, f"--columns: there is no {' or '.join(unknown)}; there are {', '.join(columns)}")


def as_numbers(column: Sequence, name: str) -> np.ndarray:
    """Return a column as (N,) numbers, NaN where it is empty.

    Raises:
        UserError: if it holds something other than numbers; quotes an example.
    """
    if not isinstance(column, list):
        return np.asarray(column)
    numbers = np.full(len(column), np.nan)
    for i, text in enumerate(column):
        try:
            numbers[i] = float(text) if text else np.nan
        except ValueError:
            raise UserError(f"the column '{name}' holds '{text}', which is not a number") from None
    return numbers


def _unreserved(name: str) -> str:
    """Return the name with _ added if it is reserved."""
    return f"{name}_" if name in RESERVED else name


def _column(values: np.ndarray) -> Any:
    if values.dtype.kind == "S":
        return [value.decode("latin-1") for value in values.tolist()]
    return values.tolist() if values.dtype.kind == "U" else values.astype(np.float64)


def _first_duplicate(names: list[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
