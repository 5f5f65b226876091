"""The pictures of a sweep: the main metric against each thing that varies, and over training."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from neuro_noodle.sweeps.attempts import Job
from neuro_noodle.sweeps.table import Outcome
from neuro_noodle.views.bands import read_series
from neuro_noodle.views.figures import plot_bands
from neuro_noodle.views.saving import PNG
from neuro_noodle.views.variation import Point, plot_variation

MAX_CURVES = 8


def write_pictures(outcome: Outcome, jobs: Mapping[str, Sequence[Job]]) -> list[Path]:
    """Write figures/VARIED.png for each thing that varies, and figures/training.png; returns their paths.

    Args:
        outcome: the results of the sweep.
        jobs: runs of each configuration by its name.
    """
    if not outcome.parts:
        return []
    folder, part = outcome.folder / "figures", outcome.parts[-1]
    folder.mkdir(exist_ok=True)
    paths, metric = [], f"{part} {outcome.metric}"
    for name in outcome.configurations[0].labels:
        figure = plot_variation(name, metric, _points(outcome, name, part), f"points: {outcome.spread}; lines: medians")
        paths += PNG.save(folder / name, figure)
    value = f"validation/{outcome.metric}"
    names = outcome.ranked()[:MAX_CURVES]
    finished = {name: [job for job in jobs[name] if job.is_finished] for name in names}
    series = {
        name: _series([run for job in own for run in job.trained_runs()], value) for name, own in finished.items()
    }
    return [*paths, *PNG.save(folder / "training", plot_bands(series, value))]


def _points(outcome: Outcome, name: str, part: str) -> list[Point]:
    """Return the scores of each configuration against one thing that varies."""
    points = []
    for one in outcome.configurations:
        others = ", ".join(f"{key} {value}" for key, value in one.labels.items() if key != name)
        if scores := outcome.values(one.name, part):
            points.append(Point(one.labels[name], others, [*scores.values()], outcome.references(one.name, part)))
    return points


def _series(runs: Sequence[Path], value: str) -> dict[int, np.ndarray]:
    """Return a value of all runs and repetitions by epoch, up to the last epoch that all have reached."""
    each = [read_series(run, value) for run in runs]
    shared = set.intersection(*(set(one) for one in each))
    return {epoch: np.concatenate([one[epoch] for one in each]) for epoch in sorted(shared)}
