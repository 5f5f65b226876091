"""Tables in text files: read into columns, and brought into the order of the images."""

import csv
import io
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from neuro_noodle.choices import UserError, require, suggest
from neuro_noodle.data.cells import MISSING, quoted, shortened, tidy, with_decimal_points
from neuro_noodle.data.columns import Columns, unreserved
from neuro_noodle.data.table_text import read_table_text
from neuro_noodle.plain import counted

N_LISTED = 9  # columns in an error


@dataclass(frozen=True)
class Table:
    """A table with a row per image.

    Attributes:
        path: its file.
        columns: the cells by column; names are tidy, texts are as in the file.
        notes: what the user should know.
        index: the first column if it has no name in the file.
    """

    path: Path
    columns: Columns
    notes: tuple[str, ...] = ()
    index: str | None = None

    @property
    def n_rows(self) -> int:
        """The number of rows below the header."""
        return len(next(iter(self.columns.values())))

    def without_empty_rows(self) -> "Table":
        """Return the table without rows whose cells are all empty, with a note of their number."""
        kept = [row for row in zip(*self.columns.values(), strict=True) if any(map(str.strip, row))]
        n_empty = self.n_rows - len(kept)
        if not n_empty:
            return self
        note = f"left out {counted(n_empty, 'empty row')} of {self.path}"
        columns: Columns = {name: [row[i] for row in kept] for i, name in enumerate(self.columns)}
        return replace(self, columns=columns, notes=(*self.notes, note))

    def without_index(self) -> "Table":
        """Return the table without a first column that has no name, with a note."""
        if self.index is None:
            return self
        columns: Columns = {name: cells for name, cells in self.columns.items() if name != self.index}
        note = f"left out the first column of {self.path}, which has no name; to use it, name it in the first line"
        return Table(self.path, columns, (*self.notes, note))


@dataclass(frozen=True)
class JoinedTable:
    """A table brought into the order of the images.

    Attributes:
        columns: N texts each, empty if an image has no row.
        missing: images without a row.
        notes: what the user should know.
    """

    columns: Columns
    missing: list[str]
    notes: list[str]


def read_csv(path: Path) -> Table:
    """Read a table without a first column that has no name; see `read_table`."""
    return read_table(path).without_index()


def read_table(path: Path) -> Table:
    """Read a table with a header line, separated by commas, semicolons, tabs or bars.

    Numbers with decimal commas become numbers with points where a whole column shows that they are meant. A line
    without any text is a row of empty cells.

    Raises:
        UserError: if the file is missing or not such a table.
    """
    source = read_table_text(path)
    rows = []
    reader = csv.reader(io.StringIO(source.text, newline=""), delimiter=source.delimiter, strict=True)
    try:
        rows += [(reader.line_num, row if any(map(str.strip, row)) else []) for row in reader]
    except csv.Error as error:
        raise UserError(f"the table {path} cannot be read: line {reader.line_num}: {error}") from error
    filled = [index for index, (_, row) in enumerate(rows) if row]
    require(len(filled) > 1, f"the table {path} has no rows; it needs a header line and a row per image")
    cells = rows[filled[0] + 1 :]
    header = _complete_header(rows[filled[0]][1], [row for _, row in cells if row], source.text)
    for line, row in cells:
        require(
            len(row) in (0, len(header)),
            f"the table {path} has {len(header)} columns, but {len(row)} fields on line {line}",
        )
    whole = zip(*(row or [""] * len(header) for _, row in cells), strict=True)
    table = _name_columns(path, header, list(map(list, whole)))
    note = f"{path} has {len(header)} columns, separated by {source.delimiters}"
    table = replace(table, notes=(note, *table.notes)) if len(header) > 1 else table
    return table if source.delimiter == "," else _read_decimal_commas(table)


def _complete_header(header: list[str], rows: list[list[str]], text: str) -> list[str]:
    """Return the header with an empty name for a column that has none.

    All rows then have a field more: an empty one at their end; or, as R writes them, names of the rows at their start,
    which are numbers from 1 or in quotes.
    """
    if {len(row) for row in rows} != {len(header) + 1}:
        return header
    if not any(row[-1].strip() for row in rows):
        return [*header, ""]
    is_quoted = all(line.startswith('"') for line in text.lstrip().split("\n", 2)[:2])
    is_numbered = [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    return ["", *header] if is_quoted or is_numbered else header


def _name_columns(path: Path, header: list[str], columns: list[list[str]]) -> Table:
    """Return a table of columns by their names, without empty ones that have no name.

    Raises:
        UserError: if other columns than the first have no name, or if two have the same.
    """
    pairs = [(unreserved(name), cells) for name, cells in zip(header, columns, strict=True)]
    named = [(name, cells) for name, cells in pairs if name or any(map(str.strip, cells))]
    n_empty = len(pairs) - len(named)
    note = f"left out {counted(n_empty, 'empty column')} of {path} without a name"
    names = [name for name, _ in named]
    index = None
    if not names[0]:
        index = names[0] = "index_" if "index" in names else "index"
    require(
        all(names) and len(set(names)) == len(names),
        f"the table {path} needs a different name for each column; its first line reads "
        f"{[name[:40] for name in header[:N_LISTED]]}",
    )
    whole: Columns = dict(zip(names, (cells for _, cells in named), strict=True))
    return Table(path, whole, (note,) if n_empty else (), index)


def _read_decimal_commas(table: Table) -> Table:
    changed = {name: new for name, cells in table.columns.items() if (new := with_decimal_points(cells)) is not None}
    note = f"numbers with decimal commas in {table.path}: {', '.join(changed)}"
    return replace(table, columns=table.columns | changed, notes=(*table.notes, note)) if changed else table


@dataclass(frozen=True)
class MatchedTable:
    """A table of which each row belongs to an image or to none.

    Attributes:
        columns: the cells by column, without the key.
        rows: the numbers of the rows of each image.
        key: the column that names the images.
        notes: what the user should know.
    """

    columns: Columns
    rows: list[list[int]]
    key: str
    notes: list[str]


def join_table(path: Path, ids: list[str], key: str | None = None) -> JoinedTable:
    """Read a table and bring its rows into the order of the images; see `match_table`.

    Raises:
        UserError: if an image has several rows.
    """
    table = match_table(path, ids, key)
    twice = next((image for image, rows in zip(ids, table.rows, strict=True) if len(rows) > 1), None)
    require(twice is None, f"{path} has several rows for {quoted(twice or '')} in its column '{table.key}'")
    columns: Columns = {
        name: [column[rows[0]] if rows else "" for rows in table.rows] for name, column in table.columns.items()
    }
    missing = [image for image, rows in zip(ids, table.rows, strict=True) if not rows]
    return JoinedTable(columns, missing, table.notes)


def match_table(path: Path, ids: list[str], key: str | None = None) -> MatchedTable:
    """Read a table and find the rows of each image.

    Args:
        path: a CSV file.
        ids: paths with / between folders.
        key: the column that names the images, by path, by file name, or by file name without ending; None finds it.

    Raises:
        UserError: if no column names images, if several do, or if a name is ambiguous.
    """
    table = read_table(path).without_empty_rows()
    cells = {name: list(map(tidy, column)) for name, column in table.columns.items()}
    key = _find_key(path, cells, ids) if key is None else unreserved(key)
    require(key in cells, f"key={key} is no column of {path}; {suggest(key, cells)}")
    table = table if key == table.index else table.without_index()
    names = max(_forms(ids), key=lambda names: len(set(names) & set(cells[key])))
    require(
        bool(set(names) & set(cells[key])),
        f"key={key}: this column of {path} names no image; an image is called {ids[0]}, a cell reads "
        f"{quoted(cells[key][0])}",
    )
    twice = _first_duplicate(names)
    require(twice is None, f"several images are called {twice}, so {path} must name images by their path")
    rows_of: defaultdict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(cells[key]):
        rows_of[name].append(row)
    columns: Columns = {name: column for name, column in table.columns.items() if name != key}
    called = [f"the first column of {path} has no name and is called '{key}'"] if key == table.index else []
    notes = [*table.notes, *called, *_describe_join(path, key, cells[key], names)]
    return MatchedTable(columns, [rows_of[name] for name in names], key, notes)


def _describe_join(path: Path, key: str, cells: list[str], names: list[str]) -> list[str]:
    """Return notes on the column that names the images, and on rows and images that it does not join."""
    known, found = set(names), set(cells)
    notes = [f"the column '{key}' of {path} names the images; {len(known & found)} of {len(names)} images have a row"]
    unnamed = MISSING - known
    unknown = sorted(found - known - unnamed)
    if unknown:
        notes.append(f"{len(unknown)} of {len(cells)} rows of {path} name no image, such as {quoted(unknown[0])}")
    n_unnamed = sum(cell in unnamed for cell in cells)
    note = f"{n_unnamed} of {len(cells)} rows of {path} have no name in '{key}' and are left out"
    return [*notes, note] if n_unnamed else notes


def _forms(ids: list[str]) -> list[list[str]]:
    """Return the images as a table may name them: by path, by file name, and by file name without ending."""
    paths = [PurePosixPath(tidy(name)) for name in ids]
    return [list(map(str, paths)), [path.name for path in paths], [path.stem for path in paths]]


def _find_key(path: Path, cells: dict[str, list[str]], ids: list[str]) -> str:
    """Return the column that names images.

    Columns that name at least half as many images as the best one are candidates. A single candidate is the key; so is
    a single candidate that holds file names with their ending.

    Raises:
        UserError: if there is no candidate, or if there are several.
    """
    by_path, by_name, by_stem = (set(names) for names in _forms(ids))
    with_ending = {name: len((by_path | by_name) & set(column)) for name, column in cells.items()}
    n_named = {name: max(with_ending[name], len(by_stem & set(column))) for name, column in cells.items()}
    best = max(n_named.values())
    require(
        best > 0,
        f"no column of {path} names images such as {ids[0]}; there are "
        + ", ".join(f"{name} ({shortened(column[0])})" for name, column in list(cells.items())[:N_LISTED])
        + (f" and {len(cells) - N_LISTED} more" if len(cells) > N_LISTED else "")
        + _describe_near_names(cells, ids),
    )
    candidates = [name for name, n in n_named.items() if n >= best / 2]
    full = [name for name in candidates if with_ending[name] >= best / 2]
    chosen = full if len(full) == 1 else candidates
    require(
        len(chosen) == 1,
        f"several columns of {path} could name the images: "
        + ", ".join(f"{name} ({n_named[name]} images)" for name in chosen)
        + f"; choose one, such as --dataset folder metadata={path.name} key={chosen[0]}",
    )
    return chosen[0]


def _describe_near_names(cells: dict[str, list[str]], ids: list[str]) -> str:
    """Return which column would name images if folders, endings, case and leading zeros were as in their names."""
    images = {_bare(name): name for name in ids}
    for name, column in cells.items():
        found = [cell for cell in column if _bare(cell) in images]
        if len(found) > len(column) / 2:
            return (
                f"; without folders, endings, case and leading zeros, {name} names {len(found)} of them: "
                f"{quoted(found[0])} must read {quoted(images[_bare(found[0])])}"
            )
    return ""


def _bare(name: str) -> str:
    stem = PurePosixPath(tidy(name).replace("\\", "/")).stem.casefold()
    return stem.lstrip("0") or "0"


def _first_duplicate(names: list[str]) -> str | None:
    return next((name for name, count in Counter(names).items() if count > 1), None)
