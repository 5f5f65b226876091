"""Metadata: columns of what is known of each image, out of file names, tables and arrays.

A column is a list of N texts or an array of N numbers.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.store import told_shape

RESERVED = ("id", "folder")

Columns = dict[str, Sequence]


def read_names(ids: list[str], pattern: str) -> tuple[Columns, list[str]]:
    """Read columns out of file names.

    Args:
        ids: paths with / between folders.
        pattern: the last parts of a path without its ending; {field} becomes a column, {} stands for anything.

    Returns:
        A column of N texts per field, empty where a name does not fit; and the names that do not fit.

    Raises:
        UserError: for a pattern without a field or with one twice.
    """
    literals = re.split(r"\{([^{}]*)\}", pattern)
    fields = [field for field in literals[1::2] if field]
    reserved = set(RESERVED) & set(fields)
    if reserved:
        raise UserError(
            f"pattern={pattern}: a field cannot be called {' or '.join(reserved)}, which stands for another column"
        )
    if not fields or len(set(fields)) < len(fields) or not all(field.isidentifier() for field in fields):
        raise UserError(f"pattern={pattern} needs fields in braces, each once, such as {{person}}_{{emotion}}")
    groups = [f"(?P<{field}>[^/]+?)" if field else "[^/]*?" for field in literals[1::2]] + [""]
    parts = (re.escape(literal) + group for literal, group in zip(literals[::2], groups, strict=True))
    regex = re.compile(r"(?:.*/)?" + "".join(parts))
    matches = [regex.fullmatch(str(PurePosixPath(name).with_suffix(""))) for name in ids]
    columns = {field: [match[field] if match else "" for match in matches] for field in fields}
    return columns, [name for name, match in zip(ids, matches, strict=True) if not match]


def read_csv(path: Path) -> dict[str, list[str]]:
    """Read a table with a header line; fields are separated by commas, semicolons or tabs.

    Raises:
        UserError: for a file that is missing or no such table.
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
    names = [_free(name.strip()) for name in rows[0][1]]
    require(
        all(names) and len(set(names)) == len(names),
        f"the table {path} needs a name for each column, each once; its first line reads {rows[0][1][:9]}",
    )
    for line, row in rows[1:]:
        require(
            len(row) == len(names), f"the table {path} has {len(names)} columns, but {len(row)} fields on line {line}"
        )
    return dict(zip(names, map(list, zip(*(row for _, row in rows[1:]), strict=True)), strict=True))


def join_table(path: Path, ids: list[str]) -> tuple[Columns, list[str], list[str]]:
    """Bring a table's rows to the images that they name: by path, name, or name without ending.

    Returns:
        The columns beside the names, N texts each, empty where an image has no row; the images that have none; and
        what the rows name that is no image.

    Raises:
        UserError: where no column names images, or a name means several.
    """
    table = read_csv(path)
    paths = [PurePosixPath(name) for name in ids]
    views = [ids, [one.name for one in paths], [one.stem for one in paths]]
    matches = {
        (name, v): len(known.intersection(column))
        for v, known in enumerate(map(set, views))
        for name, column in table.items()
    }
    key, view = max(matches, key=matches.get)
    if not matches[key, view]:
        raise UserError(
            f"no column of {path} names images such as {ids[0]}; there are "
            + ", ".join(f"{name} ({column[0]})" for name, column in table.items())
        )
    twice = _first_twice(views[view])
    require(twice is None, f"several images are called {twice}, so {path} must name images by their path")
    twice = _first_twice(table[key])
    require(twice is None, f"{path} has several rows for '{twice}'")
    rows = {name: row for row, name in enumerate(table.pop(key))}
    found = [rows.get(name) for name in views[view]]
    columns = {name: ["" if row is None else column[row] for row in found] for name, column in table.items()}
    missing = [name for name, row in zip(ids, found, strict=True) if row is None]
    return columns, missing, sorted(set(rows) - set(views[view]))


def read_array_columns(values: np.ndarray, names: Sequence[str], where: str) -> Columns:
    """Return the columns of an array: (N,), (N, K), or (N,) with named fields.

    Args:
        names: K names; none takes the array's own, else column_0 and so on.
        where: what the array is, for errors.
    """
    require(values.ndim in (1, 2), f"{where} is {told_shape(values.shape)}, but a table is N rows by K columns")
    fields = values.dtype.names
    parts = [values[field] for field in fields] if fields else list(np.atleast_2d(values.T))
    names = [_free(name) for name in names or fields or [f"column_{i}" for i in range(len(parts))]]
    require(
        len(names) == len(parts) and len(set(names)) == len(names),
        f"{where} has {len(parts)} columns, but columns= names {len(names)}: {', '.join(names)}",
    )
    wrong = [name for name, part in zip(names, parts, strict=True) if part.ndim != 1 or part.dtype.kind not in "biufUS"]
    require(bool(parts), f"{where} has no columns")
    require(not wrong, f"{where}: {', '.join(wrong)} holds neither numbers nor texts")
    try:
        return {name: _column(part) for name, part in zip(names, parts, strict=True)}
    except SystemError as error:  # numpy's, of characters that do not exist
        raise UserError(f"{where} is damaged: its texts are none") from error


def adopt(columns: Columns, read: Columns, unfit: list[str], told: str, needed: Iterable[str | None]) -> list[str]:
    """Add columns that were read for most images.

    Args:
        columns: gains those of `read`, unless they were read for no image.
        unfit: the images for which there is nothing.
        told: what is the matter with those.
        needed: columns that must be there for each image.

    Returns:
        What the user should know.
    """
    n_images = len(next(iter(columns.values())))
    message = f"{len(unfit)} of {n_images} images {told}:\n{listing(unfit)}"
    wanted = [column for column in needed if column in read]
    if unfit and wanted:
        raise UserError(f"{message}\nbut {' and '.join(wanted)} must be known of each image")
    if len(unfit) == n_images:
        return [message.splitlines()[0].rstrip(":")]
    merge(columns, read)
    return [message] if unfit else []


def merge(columns: Columns, read: Columns) -> None:
    """Add columns; two of one name are an error."""
    twice = sorted(set(columns) & set(read))
    require(not twice, f"two sources give a column {' and '.join(twice)}; call one of them otherwise")
    columns |= read


def listing(lines: Iterable[str], most: int = 5) -> str:
    """Return the first lines, indented, and how many more there are."""
    lines = list(lines)
    more = [f"  ... and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([f"  {line}" for line in lines[:most]] + more)


def as_texts(column: Sequence) -> list[str]:
    """Return a column as texts; whole numbers without a decimal point."""
    return column if isinstance(column, list) else [f"{value:.10g}" for value in column]


def require_columns(columns: Columns, names: Sequence[str]) -> None:
    """Raise UserError where --columns names one that does not exist."""
    unknown = [name for name in names if name not in columns]
    require(not unknown, f"--columns: there is no {' or '.join(unknown)}; there are {', '.join(columns)}")


def as_numbers(column: Sequence, name: str) -> np.ndarray:
    """Return a column as (N,) numbers, NaN where it is empty.

    Raises:
        UserError: where it holds something else, with an example.
    """
    if not isinstance(column, list):
        return column
    numbers = np.full(len(column), np.nan)
    for i, text in enumerate(column):
        try:
            numbers[i] = float(text) if text else np.nan
        except ValueError:
            raise UserError(f"the column '{name}' holds '{text}', which is no number") from None
    return numbers


def _free(name: str) -> str:
    """Return a name for a column that stands for no other."""
    return f"{name}_" if name in RESERVED else name


def _column(values: np.ndarray) -> Sequence:
    if values.dtype.kind == "S":
        return [value.decode("latin-1") for value in values.tolist()]
    return values.tolist() if values.dtype.kind == "U" else values.astype(np.float64)


def _first_twice(names: list[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
