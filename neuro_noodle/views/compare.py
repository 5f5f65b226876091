"""What do latents represent? Linear probes of metadata, and linear CKA between runs.

`python Plotting/compare.py weights/arena_ae weights/arena_angle --columns angle,x,y,distance` prints how well each
column can be read from the latents of each run, beside the pixels, and how alike the latents are.
"""

import argparse
import math
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.columns import as_numbers, as_texts, require_columns
from neuro_noodle.measures.circular import period
from neuro_noodle.measures.linear import MAX_COMPONENTS, N_FOLDS, principal_components
from neuro_noodle.measures.probes import probe, probe_class
from neuro_noodle.measures.similarity import cka
from neuro_noodle.runs.files import write_json
from neuro_noodle.runs.run import Run, latents, open_run
from neuro_noodle.runs.sessions import trained_on

MOST_CLASSES = 50  # of a text column that was not asked for
MOST_TRAINING = 10_000  # images that a probe is fitted on
MOST_VALUES = 2**27  # of all pixels that components are fitted on, half a gigabyte
CHUNK = 256  # images
PIXELS = "pixels"


def main(words: list[str] | None = None) -> int:
    """Print what the latents of runs tell, and how alike they are; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="runs, or sessions of them")
    parser.add_argument("--columns", help="columns to read out, separated by commas; if none, all telling ones")
    parser.add_argument("--data_dir", type=Path, help="where the images are now, if they have moved")
    parser.add_argument("--trust_pickle", action="store_true", help="open the UMAP of a run, which can run code")
    parser.add_argument("--out", type=Path, help="also write all numbers to this JSON file")
    arguments = parser.parse_args(words)
    try:
        opened = [open_run(path, arguments.data_dir, trust_pickle=arguments.trust_pickle) for path in arguments.runs]
        runs = dict(zip(name_runs(arguments.runs, opened), opened, strict=True))
        told = compare(runs, arguments.columns.split(",") if arguments.columns else [])
        print(as_text(told))
        if arguments.out:
            _write(arguments.out, told)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


# --------------------------------------------------------------------------------------------------------- runs


@dataclass
class Column:
    """What is known of each image: N numbers, NaN where empty, or N classes."""

    values: np.ndarray
    is_class: bool
    period: float | None = None

    @property
    def kind(self) -> str:
        """A class, an angle or a number."""
        return "class" if self.is_class else "number" if self.period is None else "angle"

    @property
    def known(self) -> np.ndarray:
        """(N,) bool."""
        return self.values != "" if self.is_class else np.isfinite(self.values)

    def measure(self, latents: np.ndarray, *parts: np.ndarray | None, standardise: bool) -> dict[str, float]:
        """Probe latents (N, D) for it; parts are training, held_out and groups."""
        if self.is_class:
            return probe_class(latents, self.values, *parts, standardise=standardise)
        return probe(latents, self.values, *parts, self.period, standardise=standardise)


def name_runs(paths: list[Path], runs: list[Run]) -> list[str]:
    """Return the names of the runs' folders, or the paths as given where two runs would have one name.

    Raises:
        UserError: where even the paths are the same.
    """
    for names in ([run.folder.name for run in runs], [str(path) for path in paths]):
        if len({*names, PIXELS}) == len(names) + 1:
            return names
    twice = Counter([*names, PIXELS]).most_common(1)[0][0]
    raise UserError(f"two of what is to be compared would be called {twice}; name each run once, by different paths")


def compare(runs: dict[str, Run], names: list[str]) -> dict:
    """Probe the latents of runs and the pixels for columns, and compare them with each other.

    Columns, groups and pixels are those of the first run. Probes are fitted on images that every run trained on, and
    judged, as CKA is, on images that no run trained on and that the first run held out for validation or test.

    Args:
        runs: by name; all of the same images.
        names: of columns; empty for all that are telling.

    Returns:
        Plain numbers by name, None for what is undefined: `probes` by run and column, `cka` by run and run, and what
        they rest on.

    Raises:
        UserError: where the runs have different images or too few in common, or a column cannot be probed.
    """
    require_same_images(runs)
    first = next(iter(runs.values()))
    training, held_out = choose_parts(list(runs.values()))
    groups = np.array(as_texts(first.dataset.columns[first.dataset.unit])) if first.dataset.unit else None
    columns = choose_columns(first.dataset, names, training, held_out)
    measured = {name: latents(run) for name, run in runs.items()} | {PIXELS: pixel_components(first, training)}
    probes = {
        name: {
            # components in their own scale: the last ones are mostly noise
            key: _plain(column.measure(values, training, held_out, groups, standardise=name != PIXELS))
            for key, column in columns.items()
        }
        for name, values in measured.items()
    }
    alike = {
        name: _plain({other: cka(values[held_out], beside[held_out]) for other, beside in measured.items()})
        for name, values in measured.items()
    }
    return {
        "runs": {name: str(run.folder / run.session) for name, run in runs.items()},
        "n_training": int(training.sum()),
        "n_held_out": int(held_out.sum()),
        "groups": _describe_groups(first.dataset.unit, groups, training, held_out),
        "columns": {name: _describe(column, training, held_out) for name, column in columns.items()},
        "probes": probes,
        "cka": alike,
    }


def require_same_images(runs: dict[str, Run]) -> None:
    """Raise UserError, naming the first run that has other images than the first one, or another order of them."""
    (name, first), *others = runs.items()
    for other, run in others:
        differing = sorted(set(first.dataset.ids) ^ set(run.dataset.ids))
        told = f"{len(differing)} are only in one of them, such as {differing[0]}" if differing else "in another order"
        require(first.dataset.ids == run.dataset.ids, f"{other} has other images than {name}: {told}")


def choose_parts(runs: list[Run]) -> tuple[np.ndarray, np.ndarray]:
    """Return (N,) bool twice: training images of all runs, at most 10,000, and those that all of them held out.

    An image counts as held out if no run trained on it, nor one that its encoder was loaded from, and the first run had
    it for validation or test.
    """
    trained = np.stack([run.part == "training" for run in runs])  # (n_runs, N)
    seen = set().union(*(trained_on(run.folder, run.dataset) for run in runs))
    held_out = (
        np.isin(runs[0].part, ("validation", "test")) & ~trained.any(0) & ~np.isin(runs[0].dataset.ids, list(seen))
    )
    shared = np.flatnonzero(trained.all(0))
    require(
        len(shared) >= N_FOLDS and held_out.sum() > 1,
        f"{len(shared)} images are in training in every run, and {held_out.sum()} held out by every run, which are too "
        "few; train the runs with the same --split and --seed",
    )
    training = np.zeros(len(held_out), bool)
    training[shared[:: -(-len(shared) // MOST_TRAINING)]] = True
    return training, held_out


def choose_columns(
    dataset: StimulusSet, names: list[str], training: np.ndarray, held_out: np.ndarray
) -> dict[str, Column]:
    """Return the columns of these names; for none those that differ among the training and the held-out images.

    Not asked for, a text has to repeat, a number is left out that another one tells, and so are parts and groups.

    Raises:
        UserError: for a column that does not exist or is known of too few images, or where none is telling.
    """
    require_columns(dataset.columns, names)
    if names:
        chosen = {name: read_column(dataset, name) for name in names}
        for name, column in chosen.items():
            _require_known(name, column, training, held_out)
        return chosen
    chosen = {}
    for name in dataset.columns:
        column = read_column(dataset, name)
        told = any(_same(column, other) for other in chosen.values())
        if name not in (dataset.unit, "part") and not told and _is_telling(column, training, held_out):
            chosen[name] = column
    require(bool(chosen), f"no column is telling; there are {', '.join(dataset.columns) or 'none'}")
    return chosen


def read_column(dataset: StimulusSet, name: str) -> Column:
    """Return a column: classes where it is the label, the group or a folder, or holds something else than numbers."""
    if name in ("folder", dataset.label, dataset.group):
        return Column(np.array(as_texts(dataset.columns[name])), is_class=True)
    try:
        values = as_numbers(dataset.columns[name], name)
    except UserError:
        return Column(np.array(dataset.columns[name]), is_class=True)
    return Column(values, is_class=False, period=period(name, values))


def pixel_components(run: Run, training: np.ndarray) -> np.ndarray:
    """Return the first principal components of all images, (N, K) with K at most 500; fitted on training images."""
    n_most = max(1, MOST_VALUES // math.prod(run.dataset.image_shape))
    fitted = np.flatnonzero(training)[:: -(-int(training.sum()) // n_most)]
    found = principal_components(run.images(fitted).flatten(1).numpy(), MAX_COMPONENTS)
    mean, components = torch.tensor(found.mean), torch.tensor(found.directions)
    chunks = np.split(np.arange(len(training)), range(CHUNK, len(training), CHUNK))
    return np.concatenate([((run.images(chunk).flatten(1) - mean) @ components.T).numpy() for chunk in chunks])


def _require_known(name: str, column: Column, training: np.ndarray, held_out: np.ndarray) -> None:
    n_training, n_held_out = (int((part & column.known).sum()) for part in (training, held_out))
    require(
        n_training >= N_FOLDS and n_held_out > 1,
        f"--columns: {name} is known of {n_training} training and {n_held_out} held-out images, which are too few",
    )
    n_classes = len(set(column.values[training & column.known].tolist()))
    require(not column.is_class or n_classes > 1, f"--columns: {name} is the same for all training images")


def _is_telling(column: Column, training: np.ndarray, held_out: np.ndarray) -> bool:
    fitted, judged = column.values[training & column.known], column.values[held_out & column.known]
    n_fitted, n_judged = len(np.unique(fitted)), len(np.unique(judged))
    if len(fitted) < N_FOLDS or n_fitted < 2 or n_judged < 2:
        return False
    return not column.is_class or (
        n_fitted <= min(MOST_CLASSES, len(fitted) / 2) and bool(np.isin(judged, fitted).any())
    )


def _same(column: Column, other: Column) -> bool:
    """Return whether one tells the other: numbers up to unit and offset, classes up to their names."""
    if column.is_class != other.is_class or not np.array_equal(column.known, other.known):
        return False
    a, b = column.values[column.known], other.values[column.known]
    if column.is_class:
        return len(set(zip(a, b, strict=True))) == len(set(a)) == len(set(b))
    if len(a) < 2 or not a.std() or not b.std():
        return False
    return abs(np.corrcoef(a, b)[0, 1]) > 1 - 1e-9


def _describe(column: Column, training: np.ndarray, held_out: np.ndarray) -> dict:
    counts = {"n_training": int((training & column.known).sum()), "n_held_out": int((held_out & column.known).sum())}
    return {"kind": column.kind, "period": column.period} | counts


def _describe_groups(
    unit: str | None, groups: np.ndarray | None, training: np.ndarray, held_out: np.ndarray
) -> dict | None:
    if groups is None:
        return None
    fitted, judged = set(groups[training]), set(groups[held_out])
    return {
        "column": unit,
        "n_training": len(fitted),
        "n_held_out": len(judged),
        "n_in_both": len(fitted & judged),
    }


def _plain(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}


def _write(path: Path, told: dict) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, told)
    except OSError as error:
        raise UserError(f"--out {path} cannot be written: {error.strerror}") from error


# -------------------------------------------------------------------------------------------------------- tables

SHOWN = {
    "number": ("r2 (mean error)", "r2", "mae", ""),
    "angle": ("r2 (median error)", "r2", "median_deg", " deg"),
    "class": ("accuracy (majority)", "accuracy", "majority", ""),
}


def as_text(told: dict) -> str:
    """Return what `compare` has found as two tables, below what they rest on."""
    kinds = {name: SHOWN[column["kind"]] for name, column in told["columns"].items()}
    rows = [["", *kinds], ["", *(title for title, *_ in kinds.values())]]
    for run, numbers in told["probes"].items():
        cells = [
            f"{_decimal(numbers[name][key])} ({_digits(numbers[name][error])}{unit})"
            for name, (_, key, error, unit) in kinds.items()
        ]
        rows.append([run, *cells])
    alike = [["", *told["cka"]]]
    alike += [[run, *map(_decimal, others.values())] for run, others in told["cka"].items()]
    return "\n".join([*_foundation(told), "", *_aligned(rows), "", "linear CKA on held-out images", *_aligned(alike)])


def _foundation(told: dict) -> list[str]:
    groups = told["groups"]
    n_training, n_held_out = (
        f" of {groups[key]} {groups['column']}s" if groups else "" for key in ("n_training", "n_held_out")
    )
    lines = [
        f"fitted on {told['n_training']} training images{n_training}, judged on {told['n_held_out']} held-out "
        f"images{n_held_out}"
    ]
    if groups and groups["n_in_both"]:
        lines.append(f"note: {groups['n_in_both']} {groups['column']}s are in both, so this tells of known ones")
    return lines


def _aligned(rows: list[list[str]]) -> list[str]:
    """Return lines with the first column at the left and the others at the right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]


def _decimal(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _digits(value: float) -> str:
    """Return a number, 0 or more, to 3 digits: 0.0123, 1.20, 12.3, 1234."""
    exponent = math.floor(math.log10(value)) if value else 0
    return f"{value:.2e}" if exponent < -4 else f"{value:.{max(0, 2 - exponent)}f}"


if __name__ == "__main__":
    sys.exit(main())
