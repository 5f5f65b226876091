"""Which metadata columns colour maps: those asked for, or informative ones."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from neuro_noodle.data.columns import Columns, name_of_column, require_columns
from neuro_noodle.runs.metadata import Column, as_column


def informative_columns(columns: Mapping[str, Sequence], classes: Sequence[str] = ()) -> dict[str, Sequence]:
    """Return the columns worth a panel: numbers that differ, and classes that repeat; of equivalent ones the first.

    Args:
        columns: all columns by name.
        classes: names of those that hold classes even if they look like numbers.
    """
    informative: dict[str, Column] = {}
    groupings: list[tuple[int, ...]] = []
    for name, values in columns.items():
        column, grouping = as_column(name, values, classes), _grouping(values)
        n_different = len(set(grouping))
        repeats = n_different <= len(values) / 2
        is_known = grouping in groupings or any(column.is_equivalent(other) for other in informative.values())
        if n_different > 1 and (repeats or not column.is_class) and not is_known:
            informative[name] = column
            groupings += [grouping] * repeats
    return {name: columns[name] for name in informative}


def _grouping(values: Sequence) -> tuple[int, ...]:
    """Return for each value the index of the first that is equal."""
    first, codes = np.unique(values, return_index=True, return_inverse=True)[1:]
    return tuple(first[codes].tolist())


def choose_columns(
    columns: Columns,
    names: Sequence[str] = (),
    *,
    first: Iterable[str | None] = (),
    classes: Sequence[str] = (),
    n_max: int,
) -> dict[str, Sequence]:
    """Return the columns that colour maps: those asked for; if none were, informative ones.

    The latter are in the order `first`, angles, others; those that only count the images and `folder` come last. The
    column `part` is not among them: rings mark held-out images.

    Args:
        columns: all columns by name.
        names: the columns asked for; all are returned.
        first: columns that are preferred.
        classes: names of columns that hold classes even if they look like numbers.
        n_max: the most that are chosen.

    Raises:
        UserError: if a column asked for does not exist.
    """
    require_columns(columns, names)
    if names:
        return {name: columns[name_of_column(columns, name)] for name in names}
    known = {name: as_column(name, values, classes) for name, values in columns.items() if name != "part"}
    ranked = sorted(known, key=lambda name: (name == "folder", _counts(known[name]), known[name].kind != "angle"))
    order = dict.fromkeys([*(name for name in first if name in known), *ranked])
    chosen = informative_columns({name: columns[name] for name in order}, classes)
    return dict(list(chosen.items())[:n_max])


def _counts(column: Column) -> bool:
    """Return whether a column holds numbers that grow from image to image, such as frames, seconds and blocks."""
    return not column.is_class and bool((np.diff(column.values) >= 0).all())
