"""The tables of a sweep: a row per run and repetition, the spread of each configuration, and paired differences."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuro_noodle.measures.intervals import mean_interval
from neuro_noodle.runs.files import write_csv
from neuro_noodle.runs.result_text import beaten_by
from neuro_noodle.sweeps.attempts import FINISHED, Job
from neuro_noodle.sweeps.outcomes import BASELINE, CEILING, PARTS, Row, mean, read_outcome, rows_of
from neuro_noodle.sweeps.variations import Configuration
from neuro_noodle.tracking.base import Spread
from neuro_noodle.views.table import have_same_images
from neuro_noodle.views.texts import align

RUNS, SUMMARY, DIFFERENCES = "runs.csv", "configurations.csv", "differences.csv"
SPREAD = ("mean", "sd", "median", "p10", "p90", "n")


@dataclass(frozen=True)
class Outcome:
    """The results of a sweep.

    Attributes:
        folder: of the sweep.
        metric: the main metric of its runs; empty if none has finished.
        direction: whether its best value is the "min" or the "max".
        spread: over what the numbers of a configuration spread.
        configurations: in order.
        rows: of each configuration by its name, one per run and repetition.
    """

    folder: Path
    metric: str
    direction: str
    spread: str
    configurations: Sequence[Configuration]
    rows: dict[str, list[Row]]

    def values(self, name: str, part: str) -> dict[tuple, float]:
        """Return the main metric of a configuration on a part, by seed and repetition, where it is known."""
        column = f"{part}_{self.metric}"
        each = {(row["seed"], row["repetition"]): row.get(column) for row in self.rows[name]}
        return {key: value for key, value in each.items() if value is not None}

    def differences(self, name: str, other: str, part: str) -> np.ndarray:
        """Return the differences (n,) between two configurations on a part, each of the same seed and repetition.

        Of several seeds, the repetitions of each are averaged, since they share a split.
        """
        own, theirs = self.values(name, part), self.values(other, part)
        each: dict[Any, list[float]] = {}
        for seed, repetition in own.keys() & theirs.keys():
            unit = seed if self.n_seeds > 1 else repetition
            each.setdefault(unit, []).append(own[seed, repetition] - theirs[seed, repetition])
        return np.array([np.mean(each[unit]) for unit in sorted(each)])

    @property
    def n_seeds(self) -> int:
        """The number of seeds of each configuration."""
        return len({row["seed"] for row in next(iter(self.rows.values()))})

    @property
    def parts(self) -> list[str]:
        """The parts on which runs were judged."""
        return [part for part in PARTS if any(self.values(one.name, part) for one in self.configurations)]

    def references(self, name: str, part: str) -> dict[str, float | None]:
        """Return the mean of each baseline and of the ceiling over the runs of a configuration."""
        columns = dict.fromkeys(column for own in self.rows.values() for row in own for column in row)
        found = [column for column in columns if column.startswith((f"{part}_{BASELINE}", f"{part}_{CEILING}"))]
        return {
            column.removeprefix(f"{part}_").replace("_", " "): mean(row.get(column) for row in self.rows[name])
            for column in found
        }

    def ranked(self) -> list[str]:
        """Return the configurations with a value, the best mean on validation first, those that lack runs last."""
        sign = 1 if self.direction == "min" else -1
        values = {name: [*self.values(name, "validation").values()] for name in self.rows}
        known = [name for name in values if values[name]]
        return sorted(known, key=lambda name: (-self.n_finished(name), sign * float(np.mean(values[name]))))

    def n_finished(self, name: str) -> int:
        """Return how many runs of a configuration have finished."""
        return len({row["run"] for row in self.rows[name] if row["status"] == FINISHED})


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
    """
    records = (record for each in jobs.values() for job in each if (record := read_outcome(job)))
    record = next(records, {"metric": "", "direction": "min"})
    seed_of: Sequence[int | None] = seeds or [None]
    rows = {
        one.name: [
            row for job, seed in zip(jobs[one.name], seed_of, strict=True) for row in rows_of(job, one.labels, seed)
        ]
        for one in configurations
    }
    return Outcome(folder, record["metric"], record["direction"], spread, configurations, rows)


def summarise(outcome: Outcome) -> list[Row]:
    """Return a row per configuration: finished runs, the spread of the main metric on each part, mean baselines."""
    rows = []
    for one in outcome.configurations:
        own = outcome.rows[one.name]
        row: Row = {"name": one.name, **one.labels, "runs": len({line["run"] for line in own})}
        row["finished"] = outcome.n_finished(one.name)
        for part in outcome.parts:
            spread = _spread([*outcome.values(one.name, part).values()])
            row |= {f"{part} {name}": spread.get(name) for name in SPREAD}
            row |= {f"{part} {name}": value for name, value in outcome.references(one.name, part).items()}
        rows.append(row | {"seconds": mean(line.get("seconds") for line in own)})
    return rows


def _spread(values: Sequence[float]) -> Row:
    """Return SPREAD of values: mean, standard deviation, median, 10th and 90th percentile, and their number."""
    if not values:
        return {"n": 0}
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return {"mean": mean(values), "sd": sd, "n": len(values)} | asdict(Spread.of(np.array(values)))


def differences(outcome: Outcome) -> list[Row]:
    """Return the mean difference of each configuration to the best, paired by seed (or repetition), on each part."""
    rows = []
    ranked = outcome.ranked()
    for name, part in itertools.product(ranked[1:], outcome.parts):
        each = outcome.differences(name, ranked[0], part)
        low, high = mean_interval(each) or (None, None)
        row = {"name": name, "compared_with": ranked[0], "part": part, "n": len(each)}
        rows.append(row | {"difference": mean(each.tolist()), "low": low, "high": high})
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
    if not outcome.parts:
        return [f"no run has a value of its metric: {outcome.metric}" if outcome.metric else "no run has finished"]
    part = outcome.parts[-1]
    references = outcome.references(outcome.configurations[0].name, part)
    compared = {row["name"]: row for row in differences(outcome) if row["part"] == part}
    names = outcome.configurations[0].labels
    rows = summarise(outcome)
    is_single = all(row[f"{part} n"] < 2 for row in rows)
    means = [one if is_single else f"{one} mean ± sd" for one in outcome.parts]
    median = [] if is_single else [f"{part} median [10 %, 90 %]"]
    last = [f"{part} difference to best [95 %]"] if len(outcome.rows) > 1 else []
    head = [*names, "runs", *means, *median, *references, *last]
    lines = [head]
    for row, one in zip(rows, outcome.configurations, strict=True):
        lines.append(
            [
                *one.labels.values(),
                f"{row['finished']} of {row['runs']}",
                *(_format_mean(row, each) for each in outcome.parts),
                *(f"{_number(row[f'{part} median'])} [{_format_tails(row, part)}]" for _ in median),
                *(_number(row[f"{part} {name}"]) for name in references),
                *(_format_difference(compared.get(one.name)) for _ in last),
            ]
        )
    better = "lower" if outcome.direction == "min" else "higher"
    return [
        f"{outcome.metric} ({better} is better), {outcome.spread}",
        *align(lines),
        *_format_notes(outcome),
        *_format_best(outcome),
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _format_mean(row: Row, part: str) -> str:
    sd = row[f"{part} sd"]
    return _number(row[f"{part} mean"]) + ("" if sd is None else f" ± {_number(sd)}")


def _format_tails(row: Row, part: str) -> str:
    return f"{_number(row[f'{part} p10'])}, {_number(row[f'{part} p90'])}"


def _format_difference(row: Row | None) -> str:
    if row is None or row["difference"] is None:
        return "-"
    interval = "" if row["low"] is None else f" [{row['low']:+.3g}, {row['high']:+.3g}]"
    return f"{row['difference']:+.3g}{interval}"


def _format_notes(outcome: Outcome) -> list[str]:
    """Return what a reader of the numbers should know: undefined values, and differences between other images."""
    finished = [row for own in outcome.rows.values() for row in own if row["status"] == FINISHED]
    lines = []
    for part in outcome.parts:
        if n := sum(row.get(f"{part}_{outcome.metric}") is None for row in finished):
            lines.append(f"note: {n} of {len(finished)} {part} values are undefined, and left out")
        tables = {row["run"]: outcome.folder / row["run"] / f"{part}.csv" for row in finished}
        seeds = {row["run"]: row["seed"] for row in finished}
        by_seed = [[tables[run] for run in tables if seeds[run] == seed] for seed in set(seeds.values())]
        if not all(have_same_images([path for path in paths if path.exists()]) for paths in by_seed):
            lines.append(f"note: the configurations have different {part} images, which is part of their differences")
    return lines


def _format_best(outcome: Outcome) -> list[str]:
    """Return which configuration is the best on validation images, and what its numbers are worth."""
    ranked = outcome.ranked()
    if len(ranked) < 2:
        return []
    best = {part: _spread([*outcome.values(ranked[0], part).values()]) for part in outcome.parts}
    validation = f"validation {outcome.metric} {_number(best['validation']['mean'])}"
    n_runs, n_finished = len({row["run"] for row in outcome.rows[ranked[0]]}), outcome.n_finished(ranked[0])
    runs = "" if n_finished == n_runs else f" ({n_finished} of {n_runs} runs)"
    lines = [
        f"best on validation: {ranked[0]}{runs}: {validation}, flattered by the choice among {len(ranked)} "
        "configurations"
    ]
    part = outcome.parts[-1]
    record = {"value": best[part]["mean"], "baselines": outcome.references(ranked[0], part)}
    if better := [name for name in beaten_by(record, outcome.direction) if name != CEILING]:
        lines.append(f"note: {' and '.join(better)} did as well on {part} images, or better")
    if "test" in best:
        return [*lines, f"its test {outcome.metric}: {_number(best['test']['mean'])} (mean of {best['test']['n']})"]
    return [*lines, "no test images; with --test_fraction 0.2 after --, the best has a number that chose nothing"]
