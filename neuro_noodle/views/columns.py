"""The metadata columns that a comparison probes: which can be probed, and of what kind each is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neuro_noodle.choices import require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.columns import Columns, require_columns
from neuro_noodle.measures.linear import N_FOLDS
from neuro_noodle.measures.probes import probe, probe_class
from neuro_noodle.runs.metadata import Column, read_column
from neuro_noodle.views import maps
from neuro_noodle.views.comparison import ColumnSummary, GroupSummary

MAX_CLASSES = 50  # of a text column that was not asked for


@dataclass(frozen=True)
class Parts:
    """Which images probes are fitted to and evaluated on.

    Attributes:
        is_training: (N,) bool: training images of all runs, at most 10,000.
        is_held_out: (N,) bool: images that no run was trained on.
    """

    is_training: np.ndarray
    is_held_out: np.ndarray

    def of(self, indices: np.ndarray) -> "Parts":
        """Return the parts of some of the images."""
        return Parts(self.is_training[indices], self.is_held_out[indices])


def choose_columns(dataset: StimulusSet, names: Sequence[str], parts: Parts) -> dict[str, Column]:
    """Return the columns asked for; if none were, those that can be probed, without groups, parts and duplicates.

    Raises:
        UserError: if a column does not exist or is known for too few images.
    """
    require_columns(dataset.columns, names)
    columns = {name: read_column(dataset, name) for name in names or dataset.columns}
    order = sorted(dataset.columns, key=lambda name: name != dataset.label)  # of two equivalent columns, the label

    def informative(candidates: Columns) -> list[str]:
        return informative_columns({name: columns[name] for name in candidates}, (dataset.split_unit, "part"), parts)

    chosen = {name: columns[name] for name in maps.choose_columns(dataset.columns, names, informative, order=order)}
    if names:
        for name, column in chosen.items():
            require_enough(name, column, parts)
    return chosen


def informative_columns(columns: Mapping[str, Column], ignored: Sequence[str | None], parts: Parts) -> list[str]:
    """Return the names of columns that can be probed; of equivalent columns only the first."""
    chosen: list[str] = []
    for name, column in columns.items():
        is_new = not any(are_equivalent(column, columns[other]) for other in chosen)
        if name not in ignored and is_new and can_be_probed(column, parts):
            chosen.append(name)
    return chosen


def require_enough(name: str, column: Column, parts: Parts) -> None:
    """Raise UserError if a column is known for too few images or has a single class."""
    summary = summarise_column(column, parts)
    require(
        summary.n_training >= N_FOLDS and summary.n_held_out > 1,
        f"--columns: {name} is known for {summary.n_training} training and {summary.n_held_out} held-out images, "
        "which is too few",
    )
    if column.is_class:
        trained, held_out = (
            set(column.values[part & column.is_known].tolist()) for part in (parts.is_training, parts.is_held_out)
        )
        require(len(trained) > 1, f"--columns: {name} is the same for all training images")
        require(
            bool(trained & held_out),
            f"--columns: no {name} of a held-out image is in training, so no probe can read it; use column:{name}",
        )


def can_be_probed(column: Column, parts: Parts) -> bool:
    """Return whether a column differs among training and among held-out images; classes must repeat as well."""
    fitted = column.values[parts.is_training & column.is_known]
    held_out = column.values[parts.is_held_out & column.is_known]
    n_fitted, n_held_out = len(np.unique(fitted)), len(np.unique(held_out))
    if len(fitted) < N_FOLDS or n_fitted < 2 or n_held_out < 2:
        return False
    if not column.is_class:
        return True
    return n_fitted <= min(MAX_CLASSES, len(fitted) / 2) and bool(np.isin(held_out, fitted).any())


def are_equivalent(column: Column, other: Column) -> bool:
    """Return whether two columns hold the same: numbers up to unit and offset, classes up to their names."""
    if column.is_class != other.is_class or not np.array_equal(column.is_known, other.is_known):
        return False
    a, b = column.values[column.is_known], other.values[column.is_known]
    if column.is_class:
        return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))
    if len(a) < 2 or not a.std() or not b.std():
        return False
    return abs(np.corrcoef(a, b)[0, 1]) > 1 - 1e-9


def summarise_column(column: Column, parts: Parts) -> ColumnSummary:
    """Return what a column holds, and for how many images it is known."""
    n_training, n_held_out = (int((part & column.is_known).sum()) for part in (parts.is_training, parts.is_held_out))
    return ColumnSummary(column.kind, column.period, n_training=n_training, n_held_out=n_held_out)


def summarise_groups(name: str, groups: np.ndarray, parts: Parts) -> GroupSummary:
    """Return how many of the groups (N,) are among the training images, the held-out images and both."""
    training, held_out = set(groups[parts.is_training]), set(groups[parts.is_held_out])
    return GroupSummary(name, len(training), len(held_out), n_in_both=len(training & held_out))


def probe_column(
    column: Column, latents: np.ndarray, parts: Parts, groups: np.ndarray | None, *, standardise: bool
) -> dict[str, float]:
    """Return the scores of a linear probe of latents (N, D) for a column, by name."""
    masks = parts.is_training, parts.is_held_out
    if column.is_class:
        return probe_class(latents, column.values, *masks, groups, standardise=standardise)
    return probe(latents, column.values, *masks, groups, column.period, standardise=standardise)
