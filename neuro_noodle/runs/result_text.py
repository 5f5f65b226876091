"""The result of a run as text: the lines that are printed when it ends."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from neuro_noodle.plain import counted, readable
from neuro_noodle.runs.config import load_config
from neuro_noodle.runs.files import sessions, short_path
from neuro_noodle.runs.loaders import HELD_OUT
from neuro_noodle.runs.result import Result
from neuro_noodle.runs.undefined import format_score

FEW_REPEATS = 8  # presentations of an image, below which a noise ceiling is uncertain


def format_run(result: Result, folder: Path, patience: int | None, n_folds: int | None) -> str:
    """Return the result of a run as text, and what to do next; a line for one of several folds."""
    if n_folds:
        return format_fold(result, folder, patience)
    lines = [
        format_result(result.record, result.best_index),
        f"{_format_best(result, folder, patience)}; written to {short_path(folder)}",
    ]
    test = result.record["test"]
    if not test:
        is_given = load_config(folder)["flags"]["split"] == "given"
        lines.append(
            "note: the epoch was chosen on the validation images, so the score on new images will be worse"
            + ("" if is_given else "; --test_fraction 0.2 holds out test images, whose score has an interval")
        )
    lines += _notes_on_test(test) if test else []
    validation = result.record["validation"] | {"baselines": result.record["baselines"]}
    return "\n".join(lines + _notes_on_baselines(validation, result.record["direction"]))


def _format_best(result: Result, folder: Path, patience: int | None) -> str:
    """Return the best epoch of a run, what it suggests, and the seconds of training as text."""
    n_best, n_epochs = result.record["best_epoch"] + 1, int(sessions(folder)[-1].name) + 1
    why = {n_epochs: " (more --n_epochs may do better)", 0: " (the start: no epoch did better)"}.get(n_best, "")
    why = f" (--patience {patience} ran out)" if result.has_stopped else why
    return f"best epoch {n_best} of {n_epochs}{why}, {result.record['seconds']:.0f} s"


def _notes_on_test(record: dict) -> list[str]:
    """Return a note if a test part was used more than once."""
    if record["n_judged"] < 2:
        return []
    return [
        f"note: the test part was used for {record['n_judged']} different best epochs; if you choose among them by "
        "their test scores, the score is too good"
    ]


def _notes_on_baselines(record: dict, direction: str) -> list[str]:
    """Return a note on the baselines that are as good as the network on a part, or better."""
    better = beaten_by(record, direction)
    return [f"note: {' and '.join(better)} did as well as the network, or better"] if better else []


def format_fold(result: Result, folder: Path, patience: int | None) -> str:
    """Return the result of one fold as a line of text."""
    metric, test = result.record["metric"], result.record["test"]
    score, n = format_score(test["value"], test["undefined"].get(metric, "")), counted(test["n"], "image")
    return f"{folder.name}: test {metric} {score}, n = {n}; {_format_best(result, folder, patience)}"


def format_folds(record: dict, folder: Path) -> str:
    """Return the result of all folds together as text.

    Args:
        record: as in their result.json.
        folder: of the folds.
    """
    each, test, n_repetitions = record["folds"], record["test"], record["n_repetitions"]
    n = len(each["values"])
    mean, sd = format_score(each["mean"]), format_score(each["sd"])
    lines = [
        format_part(f"{n} folds, test", record["metric"], test),
        f"each fold: {', '.join(map(format_score, each['values']))} (mean {mean}, sd {sd})",
        f"{record['seconds']:.0f} s; result.json and test.csv of all folds written to {short_path(folder)}",
    ]
    if n_repetitions > 1:
        lines.append(f"note: of {n_repetitions} repetitions in each fold, the best on validation was tested")
    return "\n".join(lines + _notes_on_test(test) + _notes_on_baselines(test, record["direction"]))


def format_result(record: dict, best_index: int = 0) -> str:
    """Return the result as lines of text: the spread over repetitions, if there are several, then each part.

    Args:
        record: as in result.json.
        best_index: of the repetition that the parts describe.
    """
    lines = format_repetitions(record, best_index) if "repetitions" in record else []
    lines.append(format_part("validation", record["metric"], record["validation"] | {"baselines": record["baselines"]}))
    return "\n".join(lines + ([format_part("test", record["metric"], record["test"])] if record["test"] else []))


def format_part(part: str, metric: str, record: dict) -> str:
    """Return the main metric of a part with its interval, n and baselines; below, its ceiling and other metrics."""
    undefined = record["undefined"]
    interval = _format_interval(record["interval"], ".4g") or f"[no interval: {undefined['interval']}]"
    groups = _format_groups(record) if record["n_groups"] and record["n_groups"] < record["n"] else ""
    score = format_score(record["value"], undefined.get(metric, ""))
    line = f"{part} {metric} {score}  " + (f"{interval}  " if record["value"] is not None else "")
    line += f"n = {counted(record['n'], 'image')}{groups}"
    by_group = [f"{readable(name)} {format_score(value)}" for name, value in (record["by_group"] or {}).items()]
    line += f" ({', '.join(by_group)})" if by_group else ""
    line += "".join(f"  {name} {format_score(value)}" for name, value in record["baselines"].items())
    others = [f"{name} {format_score(value)}" for name, value in record["metrics"].items() if name != metric]
    lines = [*([] if record["ceiling"] is None else format_ceiling(record["ceiling"], record["n"])), "  ".join(others)]
    return "\n".join([line, *(f"{'':{len(part)}} {below}" for below in lines if below)])


def _format_groups(record: dict) -> str:
    """Return in how many groups the images of a part come, and how many of these are in training too."""
    n, n_known = record["n_groups"], record["n_known_groups"]
    known = f" ({'all' if n_known == n else n_known} in training too)" if n_known else ""
    return f" in {counted(n, 'group')}{known}"


def format_ceiling(ceiling: dict, n: int) -> list[str]:
    """Return lines on how near a model of neurons comes to their noise ceiling on n images, and what is uncertain."""
    share = "share of the noise ceiling undefined: too little signal"
    if ceiling["share"] is not None:
        share = (
            f"{ceiling['share']:.1%} of the noise ceiling {format_score(ceiling['r'])} "
            f"{_format_interval(ceiling['share_interval'], '.1%')}".strip()
        )
    if ceiling["n_images"] < n:
        share += f" on the {ceiling['n_images']:.0f} of {n} images that were presented repeatedly"
    n_neurons = int(ceiling["n_neurons"])
    averages = [
        f"{label} {format_score(ceiling[name])} ({ceiling[f'n_{name}']:.0f} of {counted(n_neurons, 'neuron')})"
        for label, name in (("FEVE", "feve"), ("CCnorm", "ccnorm"))
    ]
    lines = ["  ".join([share, *averages])]
    if ceiling["n_without_signal"]:
        lines.append(
            f"note: {ceiling['n_without_signal']:.0f} of {counted(n_neurons, 'neuron')} have no significant signal"
        )
    if ceiling["n_repeats"] is not None and ceiling["n_repeats"] < FEW_REPEATS:
        lines.append(
            f"note: only {ceiling['n_repeats']:.3g} presentations of each image; with fewer than {FEW_REPEATS}, "
            "the noise ceiling is uncertain"
        )
    return lines


def _format_interval(ends: Sequence[float] | None, form: str) -> str:
    return f"[95 %: {ends[0]:{form}} to {ends[1]:{form}}]" if ends else ""


def format_repetitions(record: dict, best_index: int) -> list[str]:
    """Return the median and the 10th to 90th percentile of the main metric over repetitions, a line per part."""
    each, metric, lines = record["repetitions"], record["metric"], []
    for part in HELD_OUT:
        if part in each:
            spread = each[f"{part}_spread"][metric]
            median, low, high = (format_score(spread[key]) for key in ("median", "p10", "p90"))
            line = f"{len(each['seeds'])} repetitions, {part} {metric}: median {median}, "
            line += f"10th to 90th percentile {low} to {high}"
            lines.append(line + _format_share(spread["median"], record[part]))
    return [*lines, f"the best of them on validation, seed {each['seeds'][best_index]}:"]


def _format_share(median: float | None, record: dict) -> str:
    """Return the share of the ceiling that a median reaches, in proportion to that of the best repetition."""
    share, value = (record["ceiling"] or {}).get("share"), record["value"]
    return f"; {share * median / value:.1%} of the ceiling" if share and median and value else ""


def beaten_by(record: Mapping, direction: str) -> list[str]:
    """Return the names of the baselines that are as good as the network on a part, or better."""
    sign, value = (1 if direction == "max" else -1), record["value"]
    if value is None:
        return []
    known = {name: baseline for name, baseline in record["baselines"].items() if baseline is not None}
    return [name for name, baseline in known.items() if sign * baseline >= sign * value]
