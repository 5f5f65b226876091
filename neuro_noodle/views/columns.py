"""The metadata columns that a comparison probes: which can be probed, and of what kind each is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neuro_noodle.choices import require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.columns import require_columns
from neuro_noodle.measures.linear import N_FOLDS, folds, stratified_folds
from neuro_noodle.measures.probes import ProbeSplit, probe, probe_class
from neuro_noodle.runs.metadata import Column, read_column
from neuro_noodle.views.comparison import ColumnSummary, GroupSummary

MAX_CLASSES = 50  # of a text column that was not asked for


@dataclass(frozen=True)
class Probing:
    """Which images probes are fitted to and which they predict.

    Attributes:
        split: training images of all runs, at most 10,000, and images that no run was trained on.
        groups: (N,) group of each image, or None.
        every_group: hold every group out once, in up to 5 folds of all these images; otherwise those that no run was
            trained on.
    """

    split: ProbeSplit
    groups: np.ndarray | None
    every_group: bool = False

    def of(self, indices: np.ndarray) -> "Probing":
        """Return the same for some of the images."""
        split = ProbeSplit(self.split.is_training[indices], self.split.is_held_out[indices])
        return Probing(split, None if self.groups is None else self.groups[indices], self.every_group)

    @property
    def used(self) -> ProbeSplit:
        """The images that a probe is fitted to in any fold, and those that it predicts in any."""
        is_used = self.split.is_training | self.split.is_held_out
        return ProbeSplit(is_used, is_used) if self.every_group else self.split

    def folds(self, column: Column) -> list[ProbeSplit]:
        """Return the folds in which a column is probed; each known image is held out once."""
        if not self.every_group:
            return [self.split]
        known = np.flatnonzero(self.used.is_training & column.is_known)
        groups = None if self.groups is None else self.groups[known]
        if len(known) < N_FOLDS:
            return []
        pairs = stratified_folds(column.values[known], groups) if column.is_class else folds(len(known), groups)
        everyone = np.arange(len(column.values))
        return [
            ProbeSplit(np.isin(everyone, known[fitted]), np.isin(everyone, known[held_out]))
            for fitted, held_out in pairs
        ]

    def can_fit(self, column: Column) -> bool:
        """Return whether every fold has enough images, and classes, to fit to."""
        fitted = [fold.known(column.is_known)[0] for fold in self.folds(column)]
        n_classes = [len(np.unique(column.values[mask])) if column.is_class else 2 for mask in fitted]
        return bool(fitted) and min(mask.sum() for mask in fitted) >= N_FOLDS and min(n_classes) > 1

    def can_repeat(self, column: Column) -> bool:
        """Return whether a class of a held-out image is among those that a probe is fitted to."""
        each = (fold.known(column.is_known) for fold in self.folds(column))
        return any(np.isin(column.values[held_out], column.values[fitted]).any() for fitted, held_out in each)


def choose_columns(dataset: StimulusSet, names: Sequence[str], probing: Probing) -> dict[str, Column]:
    """Return the columns asked for; if none were, those that can be probed, without groups, parts and duplicates.

    Raises:
        UserError: if a column does not exist or is known for too few images.
    """
    require_columns(dataset.columns, names)
    columns = {name: read_column(dataset, name) for name in names or dataset.columns}
    if not names:
        order = sorted(columns, key=lambda name: name != dataset.label)  # of two equivalent columns, the label
        names = informative_columns({name: columns[name] for name in order}, (dataset.split_unit, "part"), probing)
        return {name: columns[name] for name in names}
    for name, column in columns.items():
        require_enough(name, column, probing)
    return columns


def informative_columns(columns: Mapping[str, Column], ignored: Sequence[str | None], probing: Probing) -> list[str]:
    """Return the names of columns that can be probed; of equivalent columns only the first."""
    chosen: list[str] = []
    for name, column in columns.items():
        is_new = not any(column.is_equivalent(columns[other]) for other in chosen)
        if name not in ignored and is_new and can_be_probed(column, probing):
            chosen.append(name)
    return chosen


def require_enough(name: str, column: Column, probing: Probing) -> None:
    """Raise UserError if a column is known for too few images or has a single class."""
    summary = summarise_column(column, probing.used)
    require(
        summary.n_training >= N_FOLDS and summary.n_held_out > 1,
        f"--columns: {name} is known for {summary.n_training} training and {summary.n_held_out} held-out images, "
        "which is too few",
    )
    require(
        not probing.every_group or probing.can_fit(column),
        f"--columns: with --every_group, {name} would be fitted to fewer than {N_FOLDS} images, or to a single class, "
        "in one of the folds; leave out --every_group",
    )
    if column.is_class:
        fitted, _ = probing.used.known(column.is_known)
        require(len(np.unique(column.values[fitted])) > 1, f"--columns: {name} is the same for all training images")
        require(
            probing.can_repeat(column),
            f"--columns: no {name} of a held-out image is in training, so no probe can read it; compare it as a "
            f"source: RUN column:{name}",
        )


def can_be_probed(column: Column, probing: Probing) -> bool:
    """Return whether a column differs among training and among held-out images; classes must repeat as well."""
    fitted, held_out = (column.values[part] for part in probing.used.known(column.is_known))
    n_fitted, n_held_out = len(np.unique(fitted)), len(np.unique(held_out))
    if not probing.can_fit(column) or n_fitted < 2 or n_held_out < 2:
        return False
    if not column.is_class:
        return True
    return n_fitted <= min(MAX_CLASSES, len(fitted) / 2) and probing.can_repeat(column)


def summarise_column(column: Column, parts: ProbeSplit) -> ColumnSummary:
    """Return what a column holds, and for how many images it is known."""
    n_training, n_held_out = (int(part.sum()) for part in parts.known(column.is_known))
    return ColumnSummary(column.kind, column.period, n_training=n_training, n_held_out=n_held_out)


def summarise_groups(name: str, groups: np.ndarray, parts: ProbeSplit) -> GroupSummary:
    """Return how many of the groups (N,) are among the training images, the held-out images and both."""
    training, held_out = set(groups[parts.is_training]), set(groups[parts.is_held_out])
    return GroupSummary(name, len(training), len(held_out), n_in_both=len(training & held_out))


def probe_column(column: Column, latents: np.ndarray, probing: Probing, *, standardise: bool) -> dict[str, float]:
    """Return the scores of a linear probe of latents (N, D) for a column, by name."""
    each, groups = probing.folds(column), probing.groups
    if column.is_class:
        return probe_class(latents, column.values, each, groups, standardise=standardise)
    return probe(latents, column.values, each, groups, column.period, standardise=standardise)
