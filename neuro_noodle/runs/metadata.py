"""Metadata columns by kind: what each holds, and the numbers that stand for it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from neuro_noodle.choices import UserError, require, suggest
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.columns import as_numbers, as_texts, name_of_column
from neuro_noodle.measures.circular import period


@dataclass(frozen=True)
class Column:
    """A metadata column.

    Attributes:
        values: (N,) numbers, NaN if empty, or (N,) names of classes, empty if unknown.
        is_class: whether it holds classes.
        period: of the values if they are angles or axes, see `circular.period`; else None.
    """

    values: np.ndarray
    is_class: bool
    period: float | None = None

    def of(self, indices: np.ndarray) -> "Column":
        """Return the column of some of the images."""
        return replace(self, values=self.values[indices])

    @property
    def kind(self) -> str:
        """Name of the kind: class, angle or number."""
        return "class" if self.is_class else "number" if self.period is None else "angle"

    @property
    def is_known(self) -> np.ndarray:
        """(N,) bool: False where the value is empty."""
        return self.values != "" if self.is_class else np.isfinite(self.values)

    def is_equivalent(self, other: "Column") -> bool:
        """Return whether two columns hold the same: numbers up to unit and offset, classes up to their names."""
        if self.is_class != other.is_class or not np.array_equal(self.is_known, other.is_known):
            return False
        a, b = self.values[self.is_known], other.values[other.is_known]
        if self.is_class:
            return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))
        if self.period and other.period:
            turns = a / self.period - b / other.period
            return abs(np.exp(2j * np.pi * turns).sum()) > (1 - 1e-6) * len(a)
        return len(a) > 1 and bool(a.std() and b.std()) and abs(np.corrcoef(a, b)[0, 1]) > 1 - 1e-9

    def coordinates(self) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function from indices (n,) of images to (n, D) numbers, which are equal for equal values.

        They are 0 or 1 for each class, a point on a circle for an angle, and the number itself.
        """
        if self.is_class:
            classes, index = np.unique(self.values, return_inverse=True)
            return lambda indices: (index[indices, None] == np.arange(len(classes))).astype(float)
        if self.period is None:
            return (self.values - self.values.mean())[:, None].__getitem__
        turn = 2 * np.pi * self.values / self.period
        return np.stack([np.cos(turn), np.sin(turn)], 1).__getitem__


def read_column(dataset: StimulusSet, name: str) -> Column:
    """Return a column: classes if it is the label, the group or the folder, or if it holds other texts than numbers.

    A period after the name (`orientation:180`) makes it an angle, see `circular.split_name`.

    Raises:
        UserError: if a period is given for a column of other texts than numbers.
    """
    stem = name_of_column(dataset.columns, name)
    found = dataset.columns[stem]
    column = as_column(name, found, dataset.class_columns)
    if column.is_class and name != stem:
        as_numbers(found, name)
    return column


def as_column(name: str, values: Sequence, classes: Sequence[str] = ()) -> Column:
    """Return a column: classes if its name is among them; numbers or angles, also if written as texts; else classes."""
    if name in classes:
        return Column(np.array(as_texts(values)), is_class=True)
    try:
        numbers = as_numbers(values, name)
    except UserError:
        return Column(np.array(values), is_class=True)
    return Column(numbers, is_class=False, period=period(name, numbers))


def read_complete_column(dataset: StimulusSet, name: str) -> Column:
    """Return a column.

    Raises:
        UserError: if it does not exist, or is empty for some images.
    """
    stem = name_of_column(dataset.columns, name)
    require(stem in dataset.columns, f"column:{name}: no such column; {suggest(stem, dataset.columns)}")
    column = read_column(dataset, name)
    n_unknown = int((~column.is_known).sum())
    require(
        not n_unknown,
        f"column:{name} is empty for {n_unknown} of {len(dataset)} images, so it cannot be compared; to probe it on "
        f"the others, use --columns {name}",
    )
    return column
