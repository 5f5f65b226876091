"""What do networks represent? Linear probes of metadata columns, and the similarity of all representations."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.blocks import natural_order
from neuro_noodle.measures.linear import N_FOLDS
from neuro_noodle.measures.probes import ProbeSplit
from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.measures.similarity import MEASURES, compact, rsa_ceiling
from neuro_noodle.measures.similarity import compare as compare_values
from neuro_noodle.plain import finite_each
from neuro_noodle.progress import Stage
from neuro_noodle.runs.files import write_json
from neuro_noodle.runs.metadata import Column
from neuro_noodle.runs.representations import Representation, Source, represent
from neuro_noodle.runs.run import Run
from neuro_noodle.runs.sources import open_sources
from neuro_noodle.runs.split import trained_on
from neuro_noodle.views.columns import Probing, choose_columns, probe_column, summarise_column, summarise_groups
from neuro_noodle.views.comparison import Comparison, SourceSummary, format_comparison, plot_comparison
from neuro_noodle.views.comparison_over_training import find_series, plot_over_training
from neuro_noodle.views.pairs import pairs
from neuro_noodle.views.saving import PNG, Format

MAX_TRAINING = 10_000  # images that a probe is fitted to
MAX_COMPARED = 300  # images whose representations are compared
HELD_OUT = ("validation", "test")


def print_comparison(
    words: Sequence[str],
    *,
    columns: Sequence[str] = (),
    parts: Sequence[str] = HELD_OUT,
    every_group: bool = False,
    data_dir: Path | None = None,
    trust_pickle: bool = False,
    out: Path | None = None,
    figure: Path | None = None,
    width_mm: float | None = None,
) -> None:
    """Compare representations and print the result as tables.

    Args:
        words: see `sources`; the first is a run.
        columns: metadata columns to probe; informative ones are chosen if none are given.
        parts: of the first run, whose images are compared and judge the probes.
        every_group: judge the probes on every group instead, each held out once.
        data_dir: the folder of the images, if it has moved since training.
        trust_pickle: also load the UMAP of a run, which is stored as a pickle and can run code when loaded.
        out: a JSON file to which all numbers are written.
        figure: a picture (.png, .pdf, .svg) of all tables, or curves if a run is compared after three or more epochs.
        width_mm: of this picture; None leaves it to the figure.
    """
    form = Format((figure.suffix[1:],), width_mm) if figure else PNG
    unknown = [part for part in parts if part not in HELD_OUT]
    require(not unknown, f"--parts {','.join(unknown)}: a part that is held out is {' or '.join(HELD_OUT)}")
    sources = open_sources(words, data_dir, trust_pickle=trust_pickle)
    with Stage("comparing representations"):
        comparison = compare(sources, columns, parts, every_group=every_group)
    print(format_comparison(comparison))
    if out:
        _write(out, lambda: write_json(out, asdict(comparison)))
    if figure:
        _write(figure, lambda: form.save(figure.with_suffix(""), plot(comparison)))


def _write(path: Path, write: Callable[[], object]) -> None:
    """Write a file; what prevents it is a UserError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def plot(comparison: Comparison) -> Figure:
    """Plot a comparison, over training if a run is compared after three or more epochs."""
    series = find_series(comparison)
    return plot_over_training(comparison, series) if series else plot_comparison(comparison)


def compare(
    sources: Sequence[Source], names: Sequence[str], held_out: Sequence[str] = HELD_OUT, *, every_group: bool = False
) -> Comparison:
    """Probe representations for metadata columns, and compute the similarity between all of them.

    Columns and groups are those of the first run. Probes are fitted to images that every run was trained on. Probes and
    similarities are evaluated on images that no run was trained on and that the first run held out.

    Args:
        sources: the first is of a run.
        names: names of columns; informative ones are chosen if none are given.
        held_out: parts of the first run whose images are used if no run was trained on them.
        every_group: whether probes are instead fitted in folds of all images, so that each group is held out once.

    Raises:
        UserError: if the runs have too few images in common, or a column cannot be probed.
    """
    runs = list({id(source.run): source.run for source in sources if source.run}.values())
    dataset, parts = runs[0].dataset, choose_parts(runs, held_out)
    groups = np.array(dataset.units()) if dataset.split_unit else None
    probing = Probing(parts, groups, every_group)
    columns = choose_columns(dataset, names, probing)
    time = natural_order(dataset.ids)
    used = time[(parts.is_training | parts.is_held_out)[time]]
    compared = evenly_spaced(time[parts.is_held_out[time]], MAX_COMPARED)
    found = _represent(sources, used, parts) if columns else {}
    blocks = groups[compared] if dataset.has_blocks and groups is not None else compared  # neighbouring frames
    return Comparison(
        sources={source.name: _summarise(source, found.get(source.name)) for source in sources},
        n_training=int(parts.is_training.sum()),
        n_held_out=int(parts.is_held_out.sum()),
        n_compared=len(compared),
        every_group=every_group,
        groups=None if groups is None else summarise_groups(str(dataset.split_unit), groups, parts),
        columns={name: summarise_column(column, probing.used) for name, column in columns.items()},
        probes=probe_all(found, {name: column.of(used) for name, column in columns.items()}, probing.of(used)),
        similarity=similarities({one.name: compact(one.of(compared)) for one in sources}, blocks),
        rsa_ceilings=_rsa_ceilings(sources, compared),
        pairs=list(pairs(_trained_runs(sources), parts.is_held_out, groups)),
    )


def _represent(sources: Sequence[Source], used: np.ndarray, parts: ProbeSplit) -> dict[str, Representation]:
    """Return what probes read from each source of some images, by name; not from columns."""
    is_training = parts.is_training[used]
    with Stage("computing representations") as stage:
        read = [source for source in sources if not source.column_kind]
        return {source.name: represent(source, used, is_training) for source in stage.over(read)}


def _trained_runs(sources: Sequence[Source]) -> dict[str, Run]:
    """Return the runs (or sessions) that are compared as they are after training, by name."""
    runs = {id(source.run): source.run for source in sources if source.run and source.epochs is None}.values()
    names = [run.name for run in runs]
    return {run.name if names.count(run.name) == 1 else str(run.folder / run.session): run for run in runs}


def _summarise(source: Source, found: Representation | None) -> SourceSummary:
    return SourceSummary(
        path=_path(source),
        width=source.features(np.arange(1)).shape[1] if found is None else found.width,
        n_components=found.values.shape[1] if found and found.is_reduced else None,
        series=source.series,
        epochs=source.epochs,
        column_kind=source.column_kind,
    )


def _path(source: Source) -> str | None:
    if source.run is None:
        return None
    return str(source.run.folder / source.run.session if source.epochs is None else source.run.folder)


def probe_all(
    representations: Mapping[str, Representation], columns: Mapping[str, Column], probing: Probing
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the scores of linear probes by source, column and name of the score."""
    with Stage("fitting linear probes") as stage:
        return {
            name: {
                # principal components keep their scale: the last ones are mostly noise
                key: finite_each(probe_column(column, one.values, probing, standardise=not one.is_reduced))
                for key, column in columns.items()
            }
            for name, one in stage.over(representations.items())
        }


def similarities(
    values: Mapping[str, np.ndarray], blocks: np.ndarray
) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """Return the similarity of every two of some representations (n, D), by measure, source and source.

    Args:
        values: by source, compacted.
        blocks: (n,) block of each image that shuffles keep together; its index if images are independent.
    """
    scores = {}
    for key, measure in MEASURES.items():
        prepared = {name: measure.prepare(each) for name, each in values.items()}
        table: dict[str, dict] = {name: {} for name in values}
        with Stage(f"computing the similarity of representations ({key})") as stage:
            for name, other in stage.over(list(combinations_with_replacement(values, 2))):
                found = compare_values(measure, prepared[name], prepared[other], blocks if name != other else None)
                table[name][other] = table[other][name] = finite_each(asdict(found))
        scores[key] = {name: {other: table[name][other] for other in values} for name in values}
    return scores


def _rsa_ceilings(sources: Sequence[Source], indices: np.ndarray) -> dict[str, float | None]:
    """Return the noise ceiling of RSA with recorded responses; None if not all images were shown at least twice."""
    trials = {source.name: source.trials(indices) for source in sources if source.is_recorded}
    return finite_each(
        {name: math.nan if one is None or len(one) < 2 else rsa_ceiling(one) for name, one in trials.items()}
    )


def choose_parts(runs: Sequence[Run], held_out: Sequence[str] = HELD_OUT) -> ProbeSplit:
    """Return the training images that all runs share, at most 10,000, and the images that all runs held out.

    An image is held out if no run was trained on it, nor a run whose encoder was loaded, and if it is in one of the
    parts `held_out` of the first run.
    """
    trained = np.stack([run.part == "training" for run in runs])  # (n_runs, N)
    seen = set().union(*(trained_on(run.folder, run.dataset) for run in runs))
    is_evaluated = np.isin(runs[0].part, held_out)
    is_held_out = is_evaluated & ~trained.any(0) & ~np.isin(runs[0].dataset.ids, list(seen))
    shared = np.flatnonzero(trained.all(0))
    require(
        len(shared) >= N_FOLDS and int(is_held_out.sum()) > 1,
        f"{len(shared)} images are training images of every run and {is_held_out.sum()} are held out by every run, "
        "which is too few; train the runs with the same --split and --seed",
    )
    is_training = np.zeros(len(is_held_out), bool)
    is_training[shared[:: -(-len(shared) // MAX_TRAINING)]] = True
    return ProbeSplit(is_training, is_held_out)
