"""What the runs of a sweep have reached: rows for its tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from neuro_noodle.runs.files import RESULT, fold_of, n_folds, read_json
from neuro_noodle.sweeps.attempts import FINISHED, Job

PARTS = ("validation", "test")
BASELINE, CEILING = "baseline", "ceiling"
Row = dict[str, Any]


def read_outcome(job: Job) -> dict | None:
    """Return result.json of a run; None if it is not finished. That of folds gets the mean of their validations."""
    if not job.is_finished:
        return None
    record = read_json(job.folder / RESULT)
    if n := n_folds(job.folder):
        each = [read_json(fold_of(job.folder, k) / RESULT)["validation"]["metrics"] for k in range(1, n + 1)]
        means = {name: _mean([one[name] for one in each]) for name in each[0]}
        record["validation"] = {"value": means[record["metric"]], "metrics": means}
    return record


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def format_outcome(job: Job) -> str:
    """Return what a finished run has reached as a line."""
    record = read_outcome(job) or {}
    metric = record["metric"]
    values = {part: record[part]["value"] for part in PARTS if record.get(part)}
    known = [f"{part} {metric} {value:.4g}" for part, value in values.items() if value is not None]
    n_attempts = job.state()["n_attempts"]
    attempts = f", {n_attempts} attempts" if n_attempts > 1 else ""
    return f"{', '.join(known) or f'{metric} undefined'}  ({record['seconds']:.0f} s{attempts})"


def score(jobs: Sequence[Job]) -> float | None:
    """Return the mean validation metric of the runs of a configuration, lower is better; None if one is missing."""
    records = [read_outcome(job) for job in jobs]
    values = [record["validation"]["value"] for record in records if record]
    if len(values) < len(jobs) or None in values:
        return None
    mean = sum(values) / len(values)
    return mean if records[0] and records[0]["direction"] == "min" else -mean


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
    """Return the baselines of each part, and the ceiling."""
    test = record["test"]["baselines"] if record.get("test") else {}
    baselines = {"validation": record.get("baselines", {}), "test": test}
    ceiling = {} if record.get("ceiling") is None else {CEILING: record["ceiling"]}
    return {f"{part}_{BASELINE}_{name}": each[name] for part, each in baselines.items() for name in each} | ceiling
