"""A table of several runs: in what they differ, and the main metric of each next to its baselines; and its picture."""

import csv
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from neuro_noodle.choices import require
from neuro_noodle.plain import counted
from neuro_noodle.runs.config import RECORDED, load_config
from neuro_noodle.runs.files import RESULT, fold_of, n_folds, read_json, write_csv
from neuro_noodle.runs.result import read_result
from neuro_noodle.views.figures import tidy
from neuro_noodle.views.saving import Format
from neuro_noodle.views.texts import align, literal

NOT_COMPARED = (  # where a run is, how it is watched, and n_epochs, which has a column of its own
    *("namestr", "save_dir", "cache_dir", "device", "save_every", "latents_every", "pictures_every", "keep"),
    *("log_every", "track", "comet", "experiment", "log_images", "n_epochs"),
)
MAX_PRINTED = 6  # flags in which runs differ; all are in the CSV file
MAX_NAMED = 2  # of them, in the names of a picture


@dataclass(frozen=True)
class Score:
    """The main metric of a run on its test (or validation) images.

    Attributes:
        value: of the best epoch; of several repetitions or folds see `what`. None if undefined.
        ends: of its interval; None without one.
        what: what the interval is, or why there is none.
        n: number of images.
        baselines: value of each on the same images.
    """

    value: float | None
    ends: tuple[float, float] | None
    what: str
    n: int
    baselines: Mapping[str, float | None]


@dataclass(frozen=True)
class TableOfRuns:
    """What `read_runs` found: a column per flag in which the runs differ, and the score of each run.

    Attributes:
        metric: with the part, for example "test mse".
        names: of the runs.
        differing: by flag, its value in each run.
        scores: of each run.
        training: best_epoch, n_epochs and seconds of each run.
        notes: what the user should know.
    """

    metric: str
    names: list[str]
    differing: dict[str, list[str]]
    scores: list[Score]
    training: dict[str, list]
    notes: list[str]

    def columns(self) -> dict[str, list]:
        """Return the columns of the table by name."""
        each = self.scores
        baselines = dict.fromkeys(name for score in each for name in score.baselines)
        return {
            "run": self.names,
            **self.differing,
            self.metric: [score.value for score in each],
            "low": [score.ends and score.ends[0] for score in each],
            "high": [score.ends and score.ends[1] for score in each],
            "interval": [score.what for score in each],
            "n": [score.n for score in each],
            **{name: [score.baselines.get(name) for score in each] for name in baselines},
            **self.training,
        }


def write_table(runs: Sequence[Path], *, out: Path | None = None, figure: Path | None = None) -> list[str]:
    """Write the table and its picture, if asked for.

    Args:
        runs: folders of finished runs, or of the runs of --folds.
        out: a CSV file.
        figure: a picture (.png, .pdf or .svg).

    Returns:
        The lines of the table.

    Raises:
        UserError: if a run is not finished, or if their metrics differ.
    """
    form = Format((figure.suffix[1:],)) if figure else None
    table = read_runs(runs)
    for path in filter(None, (out, figure)):
        path.parent.mkdir(parents=True, exist_ok=True)
    if out:
        write_csv(out, table.columns())
    if figure and form:
        form.save(figure.with_suffix(""), plot_table(table))
    for note in table.notes:
        print(f"note: {note}", file=sys.stderr)
    return format_table(table)


def read_runs(runs: Sequence[Path]) -> TableOfRuns:
    """Read the results of several runs; the arguments are those of `write_table`."""
    folds = [n_folds(run) for run in runs]
    each = [_read_folds(run, n) if n else read_result(run) for run, n in zip(runs, folds, strict=True)]
    configs = [_read_flags(run, n) for run, n in zip(runs, folds, strict=True)]
    metrics = {record["metric"]: run for run, record in zip(runs, each, strict=True)}
    require(
        len(metrics) == 1,
        "runs with different metrics do not fit in one table: "
        + ", ".join(f"{run} has {metric}" for metric, run in metrics.items()),
    )
    part = "test" if all(record["test"] for record in each) else "validation"
    without = [str(run) for run, record in zip(runs, each, strict=True) if part not in record]
    require(not without, f"{', '.join(without)} has only test results, but other runs have none; leave it out")
    names = [run.name for run in runs]
    return TableOfRuns(
        f"{part} {each[0]['metric']}",
        names if len(set(names)) == len(names) else [str(run) for run in runs],
        _differences(configs),
        [_score(record, part, n) for record, n in zip(each, folds, strict=True)],
        {
            "best_epoch": [_best_epochs(record) for record in each],
            "n_epochs": [flags["n_epochs"] for flags in configs],
            "seconds": [record["seconds"] for record in each],
        },
        _notes([run / f"{part}.csv" for run in runs], part),
    )


def _read_folds(folder: Path, n: int) -> dict:
    path = folder / RESULT
    require(path.is_file(), f"{folder} has {n} folds but no {RESULT}: not all of them are trained")
    return read_json(path)


def _read_flags(run: Path, n_folds: int) -> dict:
    return load_config(fold_of(run, 1))["flags"] | {"fold": None} if n_folds else load_config(run)["flags"]


def _score(record: Mapping[str, Any], part: str, n_folds: int) -> Score:
    found, metric = record[part], record["metric"]
    baselines = found.get("baselines") or record["baselines"]
    repetitions = record.get("repetitions")
    if repetitions:
        spread = repetitions[f"{part}_spread"][metric]
        ends = None if spread["p10"] is None else (spread["p10"], spread["p90"])
        what = f"median and 10th to 90th percentile of {counted(len(repetitions['seeds']), 'repetition')}"
        return Score(spread["median"], ends, what, found["n"], baselines)
    what = "95 % interval" if found["interval"] else f"no interval: {found['undefined']['interval']}"
    what += f", all {n_folds} folds" if n_folds else ""
    return Score(found["value"], found["interval"], what, found["n"], baselines)


def _best_epochs(record: Mapping[str, Any]) -> str:
    epochs = record["folds"]["best_epochs"] if "folds" in record else [record["best_epoch"]]
    return " ".join(str(epoch + 1) for epoch in epochs)


def _differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return the flags (and the options of choices with the same name) that differ, with their value in each run."""
    flat = [_flatten(flags) for flags in configs]
    shared = [key for key in flat[0] if all(key in one for one in flat)]
    differing = {key for key in shared if len({one[key] for one in flat}) > 1}
    return {
        key: [one[key] for one in flat]
        for key in shared
        if key in differing and (" " not in key or key.partition(" ")[0] not in differing)
    }


def _flatten(flags: Mapping[str, Any]) -> dict[str, str]:
    """Return flags as texts by name; the options of a choice one by one, under names such as `encoder channels`."""
    flat = {}
    for key, value in flags.items():
        if key in NOT_COMPARED:
            continue
        if RECORDED[key].kind == "choice" and value:
            flat[key], *options = shlex.split(value)
            flat |= {f"{key} {option}": text for option, _, text in (one.partition("=") for one in options)}
        else:
            flat[key] = " + ".join(value) if isinstance(value, list) else "none" if value is None else str(value)
    return flat


def _notes(tables: Sequence[Path], part: str) -> list[str]:
    """Return a note if the runs were not all judged on the same images."""
    images = []
    for path in tables:
        with path.open(encoding="utf-8", newline="") as file:
            images.append({row["id"] for row in csv.DictReader(file)})
    return [] if all(ids == images[0] for ids in images) else [f"the runs do not have the same {part} images"]


def format_table(table: TableOfRuns) -> list[str]:
    """Return the lines of a table; the kinds of its intervals follow below it."""
    columns = table.columns()
    hidden = list(table.differing)[MAX_PRINTED:]
    shown = {name: values for name, values in columns.items() if name not in (*hidden, "interval")}
    lines = align([[*shown], *([_cell(value) for value in row] for row in zip(*shown.values(), strict=True))])
    for kind in dict.fromkeys(columns["interval"]):
        names = [name for name, own in zip(table.names, columns["interval"], strict=True) if own == kind]
        lines.append(f"{kind}: {', '.join(names)}")
    return lines + ([f"they also differ in {', '.join(hidden)} (--out writes all)"] if hidden else [])


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def plot_table(table: TableOfRuns) -> Figure:
    """Plot the score of each run with its interval, and its baselines as lines."""
    n = len(table.scores)
    figure = Figure(figsize=(max(4, 1.6 + 1.1 * n), 4), layout="constrained")
    axis = figure.subplots()
    baselines = dict.fromkeys(name for score in table.scores for name in score.baselines)
    for i, name in enumerate(baselines):
        known = [(x, value) for x, s in enumerate(table.scores) if (value := s.baselines.get(name)) is not None]
        for x, value in known:
            label = f"baseline: {name.replace('_', ' ')}" if x == known[0][0] else None
            axis.plot([x - 0.35, x + 0.35], [value, value], "--", lw=1, color=f"C{i + 1}", label=label)
    for x, score in enumerate(table.scores):
        if score.ends:
            axis.plot([x, x], score.ends, color="C0", lw=1.5)
        if score.value is not None:
            axis.plot(x, score.value, "o", color="C0", label=table.metric if x == 0 else None)
    named = list(table.differing.items())[:MAX_NAMED]
    names = ["\n".join([name, *(f"{key} {values[x]}" for key, values in named)]) for x, name in enumerate(table.names)]
    axis.set_xticks(range(n), [literal(name) for name in names], fontsize=7)
    axis.set(xlim=(-0.6, n - 0.4), ylabel=table.metric)
    kinds = "; ".join(dict.fromkeys(score.what for score in table.scores))
    figure.legend(
        loc="outside upper center", frameon=False, fontsize=8, ncols=2, title=literal(kinds), title_fontsize=8
    )
    return tidy(figure)
