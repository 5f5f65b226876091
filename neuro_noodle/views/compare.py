"""What do latents represent? Linear probes of metadata columns, and linear CKA between runs."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.columns import Columns, as_numbers, as_texts, require_columns
from neuro_noodle.measures.circular import period
from neuro_noodle.measures.linear import MAX_COMPONENTS, N_FOLDS, principal_components
from neuro_noodle.measures.probes import probe, probe_class
from neuro_noodle.measures.similarity import cka
from neuro_noodle.runs.files import write_json
from neuro_noodle.runs.run import Run, open_run
from neuro_noodle.runs.sessions import trained_on
from neuro_noodle.views import maps
from neuro_noodle.views.comparison import ColumnSummary, Comparison, GroupSummary, format_comparison

MAX_CLASSES = 50  # of a text column that was not asked for
MAX_TRAINING = 10_000  # images that a probe is fitted to
MAX_VALUES = 2**27  # of all pixels that components are fitted to, half a gigabyte
CHUNK = 256  # images
PIXELS = "pixels"


@dataclass(frozen=True)
class Parts:
    """Which images probes are fitted to and evaluated on.

    Attributes:
        is_training: (N,) bool: training images of all runs, at most 10,000.
        is_held_out: (N,) bool: images that no run was trained on.
    """

    is_training: np.ndarray
    is_held_out: np.ndarray


@dataclass(frozen=True)
class Column:
    """A metadata column.

    Attributes:
        values: (N,) numbers, NaN if empty, or (N,) names of classes, empty if unknown.
        is_class: whether it holds classes.
        period: a full turn in the unit of the values if they are angles, else None.
    """

    values: np.ndarray
    is_class: bool
    period: float | None = None

    @property
    def kind(self) -> str:
        """Name of the kind: class, angle or number."""
        return "class" if self.is_class else "number" if self.period is None else "angle"

    @property
    def is_known(self) -> np.ndarray:
        """(N,) bool: False where the value is empty."""
        return self.values != "" if self.is_class else np.isfinite(self.values)

    def probe(self, latents: np.ndarray, parts: Parts, groups: np.ndarray | None, *, standardise: bool) -> dict:
        """Return the scores of a linear probe of latents (N, D) for this column, by name."""
        masks = parts.is_training, parts.is_held_out
        if self.is_class:
            return probe_class(latents, self.values, *masks, groups, standardise=standardise)
        return probe(latents, self.values, *masks, groups, self.period, standardise=standardise)


def print_comparison(
    paths: Sequence[Path],
    *,
    columns: Sequence[str] = (),
    data_dir: Path | None = None,
    trust_pickle: bool = False,
    out: Path | None = None,
) -> None:
    """Compare runs and print the result as tables.

    Args:
        paths: runs, or sessions of runs.
        columns: metadata columns to probe; informative ones are chosen if none are given.
        data_dir: the folder of the images, if it has moved since training.
        trust_pickle: also load the UMAP of a run, which is stored as a pickle and can run code when loaded.
        out: a JSON file to which all numbers are written.
    """
    opened = [open_run(path, data_dir, trust_pickle=trust_pickle) for path in paths]
    runs = dict(zip(name_runs(paths, opened), opened, strict=True))
    comparison = compare(runs, columns)
    print(format_comparison(comparison))
    if out:
        write_comparison(out, comparison)


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write a comparison to a JSON file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, asdict(comparison))
    except OSError as error:
        raise UserError(f"--out {path} cannot be written: {error.strerror}") from error


def name_runs(paths: Sequence[Path], runs: Sequence[Run]) -> list[str]:
    """Return the names of the runs' folders, or the paths as given if two runs have the same name.

    Raises:
        UserError: if even the paths are the same.
    """
    for names in ([run.folder.name for run in runs], [str(path) for path in paths]):
        if len({*names, PIXELS}) == len(names) + 1:
            return names
    repeated = Counter([*names, PIXELS]).most_common(1)[0][0]
    raise UserError(f"two runs would have the name {repeated}; name each run once, by different paths")


def compare(runs: Mapping[str, Run], names: Sequence[str]) -> Comparison:
    """Probe the latents of runs and the pixels for metadata columns, and compute the CKA between all of them.

    Columns, groups and pixels are those of the first run. Probes are fitted to images that every run was trained on.
    Probes and CKA are evaluated on images that no run was trained on and that the first run held out.

    Args:
        runs: by name; all with the same images.
        names: names of columns; informative ones are chosen if none are given.

    Raises:
        UserError: if the images of the runs differ, they have too few in common, or a column cannot be probed.
    """
    require_same_images(runs)
    first = next(iter(runs.values()))
    parts = choose_parts(list(runs.values()))
    unit = first.dataset.split_unit
    groups = np.array(as_texts(first.dataset.columns[unit])) if unit else None
    columns = choose_columns(first.dataset, names, parts)
    latents = {name: run.latents() for name, run in runs.items()}
    latents |= {PIXELS: pixel_components(first, parts.is_training)}
    return Comparison(
        runs={name: str(run.folder / run.session) for name, run in runs.items()},
        n_training=int(parts.is_training.sum()),
        n_held_out=int(parts.is_held_out.sum()),
        groups=None if unit is None or groups is None else summarise_groups(unit, groups, parts),
        columns={name: summarise_column(column, parts) for name, column in columns.items()},
        probes=probe_all(latents, columns, parts, groups),
        cka=cka_matrix({name: values[parts.is_held_out] for name, values in latents.items()}),
    )


def probe_all(
    latents: Mapping[str, np.ndarray], columns: Mapping[str, Column], parts: Parts, groups: np.ndarray | None
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the scores of linear probes by latents (N, D), column and name of the score."""
    return {
        name: {
            # pixel components keep their scale: the last ones are mostly noise
            key: _finite(column.probe(values, parts, groups, standardise=name != PIXELS))
            for key, column in columns.items()
        }
        for name, values in latents.items()
    }


def cka_matrix(latents: Mapping[str, np.ndarray]) -> dict[str, dict[str, float | None]]:
    """Return the linear CKA of all pairs of latents (n, D)."""
    return {
        name: _finite({other: cka(values, other_values) for other, other_values in latents.items()})
        for name, values in latents.items()
    }


def require_same_images(runs: Mapping[str, Run]) -> None:
    """Raise UserError that names the first run whose images, or their order, differ from those of the first run."""
    (name, first), *others = runs.items()
    for other, run in others:
        differing = sorted(set(first.dataset.ids) ^ set(run.dataset.ids))
        reason = f"{len(differing)} are in only one of them, for example {differing[0]}" if differing else "other order"
        require(first.dataset.ids == run.dataset.ids, f"the images of {other} differ from those of {name}: {reason}")


def choose_parts(runs: Sequence[Run]) -> Parts:
    """Return the training images that all runs share, at most 10,000, and the images that all runs held out.

    An image is held out if no run was trained on it, nor a run whose encoder was loaded, and if it is a validation or
    test image of the first run.
    """
    trained = np.stack([run.part == "training" for run in runs])  # (n_runs, N)
    seen = set().union(*(trained_on(run.folder, run.dataset) for run in runs))
    is_evaluated = np.isin(runs[0].part, ("validation", "test"))
    is_held_out = is_evaluated & ~trained.any(0) & ~np.isin(runs[0].dataset.ids, list(seen))
    shared = np.flatnonzero(trained.all(0))
    require(
        len(shared) >= N_FOLDS and int(is_held_out.sum()) > 1,
        f"{len(shared)} images are training images of every run and {is_held_out.sum()} are held out by every run, "
        "which is too few; train the runs with the same --split and --seed",
    )
    is_training = np.zeros(len(is_held_out), bool)
    is_training[shared[:: -(-len(shared) // MAX_TRAINING)]] = True
    return Parts(is_training, is_held_out)


# -------------------------------------------------------------------------------------------------------- columns


def choose_columns(dataset: StimulusSet, names: Sequence[str], parts: Parts) -> dict[str, Column]:
    """Return the columns asked for; if none were, those that can be probed, without groups, parts and duplicates.

    Raises:
        UserError: if a column does not exist or is known for too few images, or if no column can be probed.
    """
    require_columns(dataset.columns, names)
    columns = {name: read_column(dataset, name) for name in names or dataset.columns}

    def informative(candidates: Columns) -> list[str]:
        return informative_columns({name: columns[name] for name in candidates}, (dataset.split_unit, "part"), parts)

    chosen = {name: columns[name] for name in maps.choose_columns(dataset.columns, names, informative)}
    if names:
        for name, column in chosen.items():
            require_enough(name, column, parts)
    require(bool(chosen), f"no column is informative; the columns are {', '.join(dataset.columns) or 'none'}")
    return chosen


def informative_columns(columns: Mapping[str, Column], ignored: Sequence[str | None], parts: Parts) -> list[str]:
    """Return the names of columns that can be probed; of equivalent columns only the first."""
    chosen: list[str] = []
    for name, column in columns.items():
        is_new = not any(are_equivalent(column, columns[other]) for other in chosen)
        if name not in ignored and is_new and can_be_probed(column, parts):
            chosen.append(name)
    return chosen


def read_column(dataset: StimulusSet, name: str) -> Column:
    """Return a column: classes if it is the label, the group or the folder, or if it holds other texts than numbers."""
    if name in ("folder", dataset.label, dataset.group):
        return Column(np.array(as_texts(dataset.columns[name])), is_class=True)
    try:
        values = as_numbers(dataset.columns[name], name)
    except UserError:
        return Column(np.array(dataset.columns[name]), is_class=True)
    return Column(values, is_class=False, period=period(name, values))


def pixel_components(run: Run, is_training: np.ndarray) -> np.ndarray:
    """Return the principal components (N, K) of all images, at most 500, fitted to the training images."""
    n_max = max(1, MAX_VALUES // math.prod(run.dataset.image_shape))
    fitted = np.flatnonzero(is_training)[:: -(-int(is_training.sum()) // n_max)]
    found = principal_components(run.images(fitted).flatten(1).numpy(), MAX_COMPONENTS)
    mean, directions = torch.tensor(found.mean), torch.tensor(found.directions)
    chunks = np.split(np.arange(len(is_training)), range(CHUNK, len(is_training), CHUNK))
    return np.concatenate([((run.images(chunk).flatten(1) - mean) @ directions.T).numpy() for chunk in chunks])


def require_enough(name: str, column: Column, parts: Parts) -> None:
    """Raise UserError if a column is known for too few images or has a single class."""
    summary = summarise_column(column, parts)
    require(
        summary.n_training >= N_FOLDS and summary.n_held_out > 1,
        f"--columns: {name} is known for {summary.n_training} training and {summary.n_held_out} held-out images, "
        "which is too few",
    )
    n_classes = len(set(column.values[parts.is_training & column.is_known].tolist()))
    require(not column.is_class or n_classes > 1, f"--columns: {name} is the same for all training images")


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


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Return numbers by name, None for those that are not finite."""
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
