"""Responses and single trials in arrays and tables; rows of a table are found by the names of image files."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuro_noodle.choices import require
from neuro_noodle.data.arrays import open_array, read_rows
from neuro_noodle.data.blocks import natural_order
from neuro_noodle.data.cells import MISSING, number, tidy
from neuro_noodle.data.columns import Columns, as_numbers, listing
from neuro_noodle.data.recorded import Values
from neuro_noodle.data.recording_files import Entry
from neuro_noodle.data.store import Store
from neuro_noodle.data.tables import join_table, match_table
from neuro_noodle.plain import counted

PRESENTATIONS = {"trial", "repeat", "repetition", "presentation"}  # names of columns that count them


@dataclass(frozen=True)
class Shown:
    """The images that responses belong to.

    Attributes:
        ids: n names.
        are_files: whether these are names of files, which a table can name; else rows are in the same order.
        key: the column of a table that names image files; None finds it.
        metadata: columns of a table that hold no responses, even if they hold numbers.
    """

    ids: list[str]
    are_files: bool
    key: str | None
    metadata: Collection[str]


def read_array(entry: Entry, shown: Shown, store: Store) -> Values:
    """Return the responses or trials in an array, whose images are in the order of the image files.

    Raises:
        UserError: if the order of the files is another one by alphabet than by the numbers in their names.
    """
    values = Values(np.asarray(open_array(entry.path, entry.array or None, store).images), entry.label)
    if not shown.are_files:
        return values
    first, last = shown.ids[0], shown.ids[-1]
    by_number = [shown.ids[i] for i in natural_order(shown.ids)]
    differing = next(((a, b) for a, b in zip(shown.ids, by_number, strict=True) if a != b), ("", ""))
    require(
        differing == ("", ""),
        f"{entry.label} has a row per image, but is {differing[0]} or {differing[1]} the earlier image? Save the "
        "responses as a table (CSV), one column of which names the files, or write the numbers in all names with as "
        "many digits (007)",
    )
    note = f"the images of {entry.label} are in the order of the file names, from {first} to {last}"
    return Values(values.values, values.where, notes=[note])


def read_responses(path: Path, shown: Shown) -> tuple[Values, Columns]:
    """Return the responses (n, K) in a table with a row per image, and its columns of text."""
    ids, notes = shown.ids, []
    if shown.are_files:
        joined = join_table(path, ids, shown.key)
        columns, notes = joined.columns, joined.notes
        if joined.missing:
            notes.append(
                f"{len(joined.missing)} of {len(ids)} images have no row in {path}:\n{listing(joined.missing)}"
            )
    else:
        table = read_rows(path, (), (len(ids),))
        columns, notes = _without_count(table.columns, path, list(table.notes))
    numbers, texts = _split(columns, path, ids, shown.metadata)
    if texts:
        notes.append(f"columns of {path} that hold metadata, not responses: {', '.join(texts)}")
    return Values(np.stack([*numbers.values()], 1), path.name, [*numbers], notes), texts


def read_trials(path: Path, shown: Shown) -> Values:
    """Return the trials (T, n, K) in a table with a row for each presentation of an image.

    Raises:
        UserError: if images are not files, which the rows could name.
    """
    require(
        shown.are_files,
        f"{path} is a table, but trials of images in an array are an array too, trials x images x neurons",
    )
    table = match_table(path, shown.ids, shown.key)
    numbers, texts = _split(table.columns, path, (), shown.metadata)
    rows = np.stack([*numbers.values()], 1)  # (presentations, K)
    trials = np.full((max(map(len, table.rows)), len(shown.ids), rows.shape[1]), np.nan)
    for image, presentations in enumerate(table.rows):
        trials[: len(presentations), image] = rows[presentations]
    left_out = [f"left out columns of {path} that are not responses: {', '.join(texts)}"] if texts else []
    return Values(trials, path.name, [*numbers], [*table.notes, *left_out])


def _split(
    columns: Columns, path: Path, ids: Sequence[str], metadata: Collection[str]
) -> tuple[Mapping[str, np.ndarray], Columns]:
    """Return the columns of numbers, and those of text, called like metadata or counting presentations."""
    left_out = {*metadata, *(name for name in columns if tidy(name).lower().rstrip("s") in PRESENTATIONS)}
    texts = {name: column for name, column in columns.items() if name in left_out or _is_text(column)}
    numbers = {name: as_numbers(column, name, ids) for name, column in columns.items() if name not in texts}
    require(bool(numbers), f"{path} has no column of numbers, so it holds no responses")
    return numbers, texts


def _is_text(column: Sequence[str]) -> bool:
    """Return whether no cell is a number; False if all are missing."""
    known = [cell for cell in map(tidy, column) if cell not in MISSING]
    return bool(known) and all(number(cell) is None for cell in known)


def _without_count(columns: Columns, path: Path, notes: list[str]) -> tuple[Columns, list[str]]:
    """Return columns without those that number the rows, and the notes with one on them.

    Raises:
        UserError: if such a column numbers rows in another order than theirs.
    """
    counting = [name for name, column in columns.items() if _counts(column)]
    for name in counting:
        require(
            list(map(float, columns[name])) == sorted(map(float, columns[name])),
            f"the column '{name}' of {path} numbers {counted(len(columns[name]), 'row')} in another order than theirs; "
            "sort the rows in the order of the images, then remove the column",
        )
    note = f"left out {', '.join(counting)} of {path}, which only counts the rows"
    kept = {name: column for name, column in columns.items() if name not in counting}
    return kept, [*notes, *([note] if counting else [])]


def _counts(column: Sequence[str]) -> bool:
    """Return whether a column holds each number from 0 or 1 to its length once."""
    numbers = [number(tidy(cell)) for cell in column]
    return len(numbers) > 1 and {*numbers} in ({*range(len(numbers))}, {*range(1, len(numbers) + 1)})
