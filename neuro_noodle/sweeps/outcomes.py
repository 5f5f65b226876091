"""What the runs of a sweep have reached: rows for its tables."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from neuro_noodle.runs.files import RESULT, read_json
from neuro_noodle.sweeps.attempts import FINISHED, Job

PARTS = ("validation", "test")
BASELINE, CEILING = "baseline", "ceiling"
Row = dict[str, Any]


def read_outcome(job: Job) -> dict | None:
    """Return result.json of a run; None if it is not finished. Of folds, validation is the mean over folds."""
    if not job.is_finished:
        return None
    record, runs = read_json(job.folder / RESULT), job.trained_runs()
    if runs != [job.folder]:
        folds = [read_json(run / RESULT)["validation"]["metrics"] for run in runs]
        record["validation"] = {"metrics": {name: mean([one[name] for one in folds]) for name in folds[0]}}
    return record


def mean(values: Iterable[float | None]) -> float | None:
    """Return the mean of the values that are defined; None if there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def format_job(job: Job) -> str:
    """Return what a finished run has reached as a line; of repetitions and folds, the mean."""
    metric, rows = (read_outcome(job) or {})["metric"], rows_of(job, {}, None)
    values = {part: mean(row.get(f"{part}_{metric}") for row in rows) for part in PARTS}
    known = [f"{part} {metric} {value:.4g}" for part, value in values.items() if value is not None]
    attempts = f", {rows[0]['attempts']} attempts" if rows[0]["attempts"] > 1 else ""
    return f"{', '.join(known) or f'{metric} undefined'}  ({rows[0]['seconds']:.0f} s{attempts})"


def score(jobs: Sequence[Job]) -> float | None:
    """Return the mean validation metric of the runs of a configuration, lower is better; None if one is missing."""
    records = [read_outcome(job) for job in jobs]
    metric, sign = next(((one["metric"], 1 if one["direction"] == "min" else -1) for one in records if one), ("", 1))
    values = [row.get(f"validation_{metric}") for job in jobs for row in rows_of(job, {}, None)]
    total = None if None in values else mean(values)
    return None if total is None else sign * total


def rows_of(job: Job, labels: Mapping[str, str], seed: int | None) -> list[Row]:
    """Return a row per repetition of a run: what varies, its status, and all numbers of its result.

    Args:
        job: the run.
        labels: values of what varies.
        seed: of the run; None if the sweep has no --seeds.
    """
    state, record = job.state(), read_outcome(job)
    row: Row = {"run": job.name, **labels, "seed": seed, "repetition": 0, "status": state["status"]}
    if record is None:
        return [row | {"attempts": state["n_attempts"]}]
    shared = {"status": FINISHED, "attempts": state["n_attempts"], "seconds": record["seconds"]} | _references(record)
    return [row | {"repetition": r} | numbers | shared for r, numbers in enumerate(_numbers(record))]


def _numbers(record: Mapping[str, Any]) -> list[Row]:
    """Return the metrics and the best epoch (from 1; 0 is the start) of each repetition."""
    repetitions = record.get("repetitions")
    if not repetitions:
        metrics = {part: record[part]["metrics"] for part in PARTS if record.get(part)}
        best = record["folds"]["best_epochs"] if "folds" in record else [record["best_epoch"]]
        numbers = {f"{part}_{name}": value for part, each in metrics.items() for name, value in each.items()}
        return [numbers | {"best_epoch": " ".join(str(epoch + 1) for epoch in best)}]
    return [
        {f"{part}_{name}": values[r] for part in PARTS for name, values in repetitions.get(part, {}).items()}
        | {"best_epoch": str(epoch + 1)}
        for r, epoch in enumerate(repetitions["best_epochs"])
    ]


def _references(record: Mapping[str, Any]) -> Row:
    """Return the baselines of each part, and its ceiling."""
    row: Row = {}
    for part in PARTS:
        judged = record.get(part) or {}
        baselines = judged.get("baselines") or (record.get("baselines", {}) if part == "validation" else {})
        row |= {f"{part}_{BASELINE}_{name}": value for name, value in baselines.items()}
        if ceiling := (judged.get("ceiling") or {}).get(record["metric"]):
            row[f"{part}_{CEILING}"] = ceiling
    return row
