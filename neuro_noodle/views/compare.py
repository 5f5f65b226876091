"""What do networks represent? Linear probes of metadata columns, and the similarity of all representations."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.columns import as_texts
from neuro_noodle.measures.linear import N_FOLDS
from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.measures.similarity import MEASURES, rsa_ceiling
from neuro_noodle.measures.similarity import compare as compare_values
from neuro_noodle.runs.files import atomic, write_json
from neuro_noodle.runs.representations import Representation, Source, open_sources, represent
from neuro_noodle.runs.run import Run
from neuro_noodle.runs.sessions import trained_on
from neuro_noodle.views.columns import Column, Parts, choose_columns, summarise_column, summarise_groups
from neuro_noodle.views.comparison import Comparison, SourceSummary, format_comparison, plot_comparison

MAX_TRAINING = 10_000  # images that a probe is fitted to
MAX_COMPARED = 500  # images whose representations are compared


def print_comparison(
    words: Sequence[str],
    *,
    columns: Sequence[str] = (),
    data_dir: Path | None = None,
    trust_pickle: bool = False,
    out: Path | None = None,
    figure: Path | None = None,
) -> None:
    """Compare representations and print the result as tables.

    Args:
        words: sources, see `runs.representations`; the first is a run.
        columns: metadata columns to probe; informative ones are chosen if none are given.
        data_dir: the folder of the images, if it has moved since training.
        trust_pickle: also load the UMAP of a run, which is stored as a pickle and can run code when loaded.
        out: a JSON file to which all numbers are written.
        figure: a picture (.png, .pdf, .svg) of all tables.
    """
    comparison = compare(open_sources(words, data_dir, trust_pickle=trust_pickle), columns)
    print(format_comparison(comparison))
    try:
        if out:
            out.parent.mkdir(parents=True, exist_ok=True)
            write_json(out, asdict(comparison))
        if figure:
            figure.parent.mkdir(parents=True, exist_ok=True)
            with atomic(figure) as scratch:
                plot_comparison(comparison).savefig(scratch, format=figure.suffix[1:] or "png", dpi=200)
    except (OSError, ValueError) as error:
        raise UserError(f"{figure or out} cannot be written: {error}") from error


def compare(sources: Sequence[Source], names: Sequence[str]) -> Comparison:
    """Probe representations for metadata columns, and compute the similarity between all of them.

    Columns and groups are those of the first run. Probes are fitted to images that every run was trained on. Probes and
    similarities are evaluated on images that no run was trained on and that the first run held out.

    Args:
        sources: at least one of them is of a run.
        names: names of columns; informative ones are chosen if none are given.

    Raises:
        UserError: if the runs have too few images in common, or a column cannot be probed.
    """
    runs = list({id(source.run): source.run for source in sources if source.run}.values())
    dataset, parts = runs[0].dataset, choose_parts(runs)
    groups = np.array(as_texts(dataset.columns[dataset.split_unit])) if dataset.split_unit else None
    columns = choose_columns(dataset, names, parts)
    found = {source.name: represent(source, len(dataset), parts.is_training) for source in sources}
    compared = evenly_spaced(np.flatnonzero(parts.is_held_out), MAX_COMPARED)
    units = compared if groups is None else groups[compared]
    ceilings = {source.name: _rsa_ceiling(source, compared) for source in sources}
    return Comparison(
        sources={
            source.name: SourceSummary(
                path=str(source.run.folder / source.run.session) if source.run else None,
                width=found[source.name].width,
                n_components=found[source.name].values.shape[1] if found[source.name].is_reduced else None,
            )
            for source in sources
        },
        n_training=int(parts.is_training.sum()),
        n_held_out=int(parts.is_held_out.sum()),
        n_compared=len(compared),
        groups=None if groups is None else summarise_groups(str(dataset.split_unit), groups, parts),
        columns={name: summarise_column(column, parts) for name, column in columns.items()},
        probes=probe_all(found, columns, parts, groups),
        similarity=similarities({name: one.values[compared] for name, one in found.items()}, units),
        rsa_ceilings={name: ceiling for name, ceiling in ceilings.items() if ceiling is not None},
    )


def probe_all(
    representations: Mapping[str, Representation],
    columns: Mapping[str, Column],
    parts: Parts,
    groups: np.ndarray | None,
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the scores of linear probes by source, column and name of the score."""
    return {
        name: {
            # principal components keep their scale: the last ones are mostly noise
            key: _finite(column.probe(one.values, parts, groups, standardise=not one.is_reduced))
            for key, column in columns.items()
        }
        for name, one in representations.items()
    }


def similarities(
    values: Mapping[str, np.ndarray], groups: np.ndarray
) -> dict[str, dict[str, dict[str, dict[str, float | None]]]]:
    """Return the similarity of every two of some representations (n, D), by measure, source and source."""
    names, scores = list(values), {}
    for key, measure in MEASURES.items():
        prepared = {name: measure.prepare(each) for name, each in values.items()}
        table: dict[str, dict] = {name: {} for name in names}
        for i, name in enumerate(names):
            for other in names[i:]:
                found = _finite(asdict(compare_values(measure, prepared[name], prepared[other], groups)))
                table[name][other] = table[other][name] = found
        scores[key] = {name: {other: table[name][other] for other in names} for name in names}
    return scores


def _rsa_ceiling(source: Source, indices: np.ndarray) -> float | None:
    """Return the noise ceiling of RSA with a source; None if it has not at least two trials of these images."""
    trials = source.trials(indices)
    return None if trials is None or len(trials) < 2 else rsa_ceiling(trials)


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


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """Return numbers by name, None for those that are not finite."""
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
