"""The tables of a sweep: a row per run and repetition, the spread of each configuration, and paired differences."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuro_noodle.choices import require
from neuro_noodle.measures.intervals import mean_interval
from neuro_noodle.runs.files import write_csv
from neuro_noodle.sweeps.attempts import FINISHED, Job
from neuro_noodle.sweeps.outcomes import BASELINE, CEILING, PARTS, Row, read_outcome, rows_of
from neuro_noodle.sweeps.variations import Configuration
from neuro_noodle.views.texts import align

RUNS, SUMMARY, DIFFERENCES = "runs.csv", "configurations.csv", "differences.csv"
SPREAD = ("mean", "sd", "median", "p10", "p90", "n")


@dataclass(frozen=True)
class Outcome:
    """The results of a sweep.

    Attributes:
        folder: of the sweep.
        metric: the main metric of its runs; None if none has finished.
        direction: whether its best value is the "min" or the "max".
        spread: over what the numbers of a configuration spread.
        configurations: in order.
        rows: of each configuration by its name, one per run and repetition.
    """

    folder: Path
    metric: str | None
    direction: str
    spread: str
    configurations: Sequence[Configuration]
    rows: dict[str, list[Row]]

    def values(self, name: str, part: str) -> dict[tuple, float]:
        """Return the main metric of a configuration on a part, by seed and repetition, where it is known."""
        column = f"{part}_{self.metric}"
        each = {(row["seed"], row["repetition"]): row.get(column) for row in self.rows[name]}
        return {key: value for key, value in each.items() if value is not None}

    def means(self, name: str, part: str) -> dict[Any, float]:
        """Return these values as independent units: the mean of each seed, or each repetition if there is one seed."""
        values = self.values(name, part)
        seeds = dict.fromkeys(seed for seed, _ in values)
        if len(seeds) == 1:
            return {repetition: value for (_, repetition), value in values.items()}
        return {seed: float(np.mean([value for key, value in values.items() if key[0] == seed])) for seed in seeds}

    @property
    def parts(self) -> list[str]:
        """The parts on which runs were judged."""
        return [part for part in PARTS if any(self.values(one.name, part) for one in self.configurations)]

    def references(self, name: str, part: str) -> dict[str, float | None]:
        """Return the mean of each baseline and of the ceiling over the runs of a configuration."""
        columns = dict.fromkeys(column for own in self.rows.values() for row in own for column in row)
        found = [column for column in columns if column.startswith(f"{part}_{BASELINE}_") or column == CEILING]
        return {column.removeprefix(f"{part}_").replace("_", " "): _mean(self.rows[name], column) for column in found}

    def ranked(self) -> list[str]:
        """Return the configurations that have finished runs, that with the best mean on validation images first."""
        means = {name: np.mean([*values.values()]) for name in self.rows if (values := self.values(name, "validation"))}
        return sorted(means, key=means.__getitem__, reverse=self.direction == "max")


def collect(
    folder: Path,
    configurations: Sequence[Configuration],
    jobs: Mapping[str, Sequence[Job]],
    seeds: Sequence[int],
    spread: str,
) -> Outcome:
    """Read the results of the runs of a sweep.

    Args:
        folder: of the sweep.
        configurations: in order.
        jobs: runs of each configuration by its name, one per seed.
        seeds: of the sweep; none if it has no --seeds.
        spread: over what the numbers of a configuration spread.

    Raises:
        UserError: if their metrics differ.
    """
    records = [record for each in jobs.values() for job in each if (record := read_outcome(job))]
    metrics = {(record["metric"], record["direction"]) for record in records}
    require(len(metrics) < 2, f"the runs in {folder} have different metrics, so they fit in no table: {metrics}")
    metric, direction = metrics.pop() if metrics else (None, "min")
    seed_of: Sequence[int | None] = seeds or [None]
    rows = {
        one.name: [
            row for job, seed in zip(jobs[one.name], seed_of, strict=True) for row in rows_of(job, one.labels, seed)
        ]
        for one in configurations
    }
    return Outcome(folder, metric, direction, spread, configurations, rows)


def summarise(outcome: Outcome) -> list[Row]:
    """Return a row per configuration: finished runs, the spread of the main metric on each part, mean baselines."""
    rows = []
    for one in outcome.configurations:
        own = outcome.rows[one.name]
        finished = {line["run"] for line in own if line["status"] == FINISHED}
        row: Row = {"configuration": one.name, **one.labels, "runs": len({line["run"] for line in own})}
        row["finished"] = len(finished)
        for part in outcome.parts:
            spread = _spread([*outcome.values(one.name, part).values()])
            row |= {f"{part} {name}": spread.get(name) for name in SPREAD}
            row |= {f"{part} {name}": value for name, value in outcome.references(one.name, part).items()}
        rows.append(row | {"seconds": _mean(own, "seconds")})
    return rows


def _spread(values: Sequence[float]) -> Row:
    """Return SPREAD of values: mean, standard deviation, median, 10th and 90th percentile, and their number."""
    if not values:
        return {"n": 0}
    p10, median, p90 = np.quantile(values, (0.1, 0.5, 0.9)).tolist()
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": float(np.mean(values)), "sd": sd, "median": median, "p10": p10, "p90": p90, "n": len(values)}


def _mean(rows: Sequence[Row], column: str) -> float | None:
    values = [row[column] for row in rows if row.get(column) is not None]
    return float(np.mean(values)) if values else None


def differences(outcome: Outcome) -> list[Row]:
    """Return the mean difference of each configuration to the best, paired by seed (or repetition), on each part."""
    rows = []
    ranked = outcome.ranked()
    for name, part in itertools.product(ranked[1:], outcome.parts):
        own, best = outcome.means(name, part), outcome.means(ranked[0], part)
        each = np.array([own[key] - best[key] for key in own if key in best])
        low, high = mean_interval(each) or (None, None)
        row = {"configuration": name, "compared_with": ranked[0], "part": part, "n": len(each)}
        rows.append(row | {"difference": float(each.mean()) if len(each) else None, "low": low, "high": high})
    return rows


def write_tables(outcome: Outcome) -> list[Path]:
    """Write the tables of a sweep as CSV files; returns their paths."""
    rows = [row for own in outcome.rows.values() for row in own]
    tables = {RUNS: rows, SUMMARY: summarise(outcome), DIFFERENCES: differences(outcome)}
    for name, table in tables.items():
        columns = dict.fromkeys(column for row in table for column in row)
        write_csv(outcome.folder / name, {column: [row.get(column) for row in table] for column in columns})
    return [outcome.folder / name for name in tables]


# ---------------------------------------------------------------------------------------------------------- text


def format_outcome(outcome: Outcome) -> list[str]:
    """Return the table of configurations, and which is the best, as lines."""
    if outcome.metric is None:
        return ["no run has finished"]
    part = outcome.parts[-1]
    references = outcome.references(outcome.configurations[0].name, part)
    compared = {row["configuration"]: row for row in differences(outcome) if row["part"] == part}
    names = outcome.configurations[0].labels
    means = [f"{one} mean ± sd" for one in outcome.parts]
    last = ["difference to best [95 %]"] if len(outcome.rows) > 1 else []
    head = [*names, "runs", *means, f"{part} median [10 %, 90 %]", *references, *last]
    lines = [head]
    for row, one in zip(summarise(outcome), outcome.configurations, strict=True):
        lines.append(
            [
                *one.labels.values(),
                f"{row['finished']} of {row['runs']}",
                *(f"{_number(row[f'{each} mean'])} ± {_number(row[f'{each} sd'])}" for each in outcome.parts),
                f"{_number(row[f'{part} median'])} [{_number(row[f'{part} p10'])}, {_number(row[f'{part} p90'])}]",
                *(_number(row[f"{part} {name}"]) for name in references),
                *(_format_difference(compared.get(one.name)) for _ in last),
            ]
        )
    return [f"{outcome.metric}, {outcome.spread}", *align(lines), *_format_undefined(outcome), *_format_best(outcome)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _format_difference(row: Row | None) -> str:
    if row is None or row["difference"] is None:
        return "-"
    interval = "" if row["low"] is None else f" [{row['low']:+.3g}, {row['high']:+.3g}]"
    return f"{row['difference']:+.3g}{interval}"


def _format_undefined(outcome: Outcome) -> list[str]:
    """Return a line for each part in which finished runs have no value."""
    lines = []
    for part in outcome.parts:
        finished = [row for own in outcome.rows.values() for row in own if row["status"] == FINISHED]
        if n := sum(row.get(f"{part}_{outcome.metric}") is None for row in finished):
            lines.append(f"{n} of {len(finished)} {part} values are undefined, and left out")
    return lines


def _format_best(outcome: Outcome) -> list[str]:
    """Return which configuration is the best on validation images, and what its numbers are worth."""
    ranked = outcome.ranked()
    if len(ranked) < 2:
        return []
    best = {part: _spread([*outcome.values(ranked[0], part).values()]) for part in outcome.parts}
    validation = f"validation {outcome.metric} {_number(best['validation']['mean'])}"
    lines = [
        f"best on validation: {ranked[0]}: {validation}, flattered by the choice among {len(ranked)} configurations"
    ]
    if "test" in best:
        return [*lines, f"its test {outcome.metric}: {_number(best['test']['mean'])} (mean of {best['test']['n']})"]
    return [*lines, "no test images; with --test_fraction 0.2 after --, the best has a number that chose nothing"]
