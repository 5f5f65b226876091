"""The spread over repetitions against the epoch, of several experiments in one figure."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuro_noodle.choices import require
from neuro_noodle.runs.manifest import has_result
from neuro_noodle.runs.metrics import read_metrics
from neuro_noodle.runs.result import read_result
from neuro_noodle.tracking.console import format_values
from neuro_noodle.views import figures
from neuro_noodle.views.saving import Format


def write_bands(runs: Sequence[Path], *, value: str | None = None, out: Path | None = None) -> list[str]:
    """Write the figure.

    Args:
        runs: folders of runs, usually trained with --repetitions.
        value: name of a value in metrics.jsonl, for example validation/loss; the main metric of the first run on the
            validation images if None.
        out: the file (.png, .pdf or .svg); figures/bands.png of the first run if None.

    Returns:
        Lines to print: what each finished run reached, and the path of the figure.

    Raises:
        UserError: if a run lacks the value, or if no value is given and the first run is not finished.
    """
    value = value or f"validation/{read_result(runs[0])['metric']}"
    names = [run.name for run in runs]
    names = names if len(set(names)) == len(names) else [str(run) for run in runs]
    series = {name: read_series(run, value) for name, run in zip(names, runs, strict=True)}
    path = out or runs[0] / "figures" / "bands.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    form = Format((path.suffix[1:],))
    form.save(path.with_suffix(""), figures.plot_bands(series, value))
    finished = [(name, run) for name, run in zip(names, runs, strict=True) if has_result(run)]
    lines = [f"{name}: {line}" for name, run in finished for line in format_repetitions(read_result(run))]
    return [*lines, str(path)]


def format_repetitions(result: dict) -> list[str]:
    """Return one line per part with the median and spread of the main metric over repetitions."""
    metric, by_part = result["metric"], result.get("repetitions", {})
    parts = [part for part in ("validation", "test") if part in by_part]
    n = len(by_part.get("seeds", []))
    return [f"{part} {metric} {format_values(np.array(by_part[part][metric], float))}, n = {n}" for part in parts]


def read_series(run: Path, value: str) -> dict[int, np.ndarray]:
    """Return a value of every repetition by epoch (from 1); a run without repetitions has one value per epoch."""
    records = [record for record in read_metrics(run) if value in record]
    require(bool(records), f"{run} has no {value} in metrics.jsonl")
    each = {record["epoch"] + 1: record.get("repetitions", {}).get(value, [record[value]]) for record in records}
    return {epoch: np.array(values, float) for epoch, values in each.items()}  # NaN where undefined
