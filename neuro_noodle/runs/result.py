"""The number at the end: judge the best weights beside their baselines, and write it down.

`training` is a `wiring.Training`: all the parts of one training, wired.
"""

import sys
from pathlib import Path

import numpy as np

from neuro_noodle.runs.files import write_csv


def conclude(training, flags, folder: Path, trackers: list) -> None:
    """Judge the best weights beside the baselines, write result.json and a table per part, and say so.

    Of several repetitions the best on validation is judged in full, and the metrics of all are written beside.
    """
    import utils

    objective, dataset, progress = training.objective, training.dataset, training.progress
    best = progress.each[progress.chosen]
    each = judge_repetitions(training, flags) if flags.repetitions > 1 else None
    learner = training.single(best.weights)
    baselines = objective.baselines(*training.loaders["training"].dataset.excerpt(), training.model.encoder.latent_dim)
    result = {"metric": objective.metric, "direction": objective.direction, "test": None}
    for part in ("validation", "test"):
        if part not in training.loaders:
            continue
        feed, images = training.feeds[part], training.loaders[part]
        evidence, result[part] = judge(learner, objective, feed, images, baselines)
        write_rows(folder / f"{part}.csv", dataset, training.parts[part], objective.rows(evidence, dataset.classes))
        if part == "validation":
            show(training, learner, flags, evidence, trackers)
    result |= {
        "baselines": result["validation"].pop("baselines"),
        "leaks": training.leaks,
        "ceiling": ((result["test"] or result["validation"])["ceiling"] or {}).get(objective.metric),
        "best_epoch": best.epoch,
        "seconds": round(training.seconds, 2),
    }
    result |= {"repetitions": each} if each else {}
    utils.write_json(folder / "result.json", result)
    lines = told_repetitions(result, progress.chosen) if each else []
    lines.append(told("validation", result["metric"], result["validation"] | {"baselines": result["baselines"]}))
    lines += [told("test", result["metric"], result["test"])] if result["test"] else []
    lines.append(told_end(training, flags, folder))
    print("\n".join([*lines, f"pictures: python Plotting/report.py {shown(folder)}"]))
    sign, value = (1 if objective.direction == "max" else -1), result["validation"]["value"]
    better = [name for name, baseline in result["baselines"].items() if sign * baseline >= sign * value]
    if better:
        print(f"note: {' and '.join(better)} did as well or better on the validation images", file=sys.stderr)


def judge_repetitions(training, flags) -> dict:
    """Return the metrics of the best weights of each repetition, by part."""
    from neuro_noodle.learning.evaluation import evaluate
    from neuro_noodle.tracking.base import spread

    each = training.progress.each
    for index, best in enumerate(each):
        training.model.put(best.weights, index)
    told = {"seeds": [flags.seed + index for index in range(len(each))], "best_epochs": [best.epoch for best in each]}
    for part in ("validation", "test"):
        if part in training.feeds:
            told[part] = evaluate(training.learner, training.feeds[part], training.judge)
            spreads = {
                name: zip(("median", "p10", "p90"), spread(one), strict=True) for name, one in told[part].items()
            }
            told[f"{part}_spread"] = {name: dict(one) for name, one in spreads.items()}
    return told


def told_repetitions(result: dict, chosen: int) -> list[str]:
    """Return what is said of all repetitions: the median of the metric, the 10th and the 90th percentile.

    Args:
        chosen: the repetition of which all else is told.
    """
    each, metric, lines = result["repetitions"], result["metric"], []
    for part in ("validation", "test"):
        if part in each:
            reached = each[f"{part}_spread"][metric]
            line = f"{len(each['seeds'])} repetitions, {part} {metric}: median {reached['median']:.4g}, "
            line += f"10th to 90th percentile {reached['p10']:.4g} to {reached['p90']:.4g}"
            highest = (result[part]["ceiling"] or {}).get(metric, 0)
            shared = min(highest, reached["median"]) > 0
            lines.append(line + (f"; {reached['median'] / highest:.1%} of the ceiling" if shared else ""))
    return [*lines, f"the best of them on validation, of seed {each['seeds'][chosen]}:"]


def told_end(training, flags, folder: Path) -> str:
    """Return which epoch was the best of how many, and why there were no more."""
    import utils

    n_best = training.progress.each[training.progress.chosen].epoch + 1
    n_epochs = int(utils.sessions(folder)[-1].name) + 1
    why = " (more --n_epochs may do better)" if n_best == n_epochs else ""
    if training.progress.finished:
        why = f" (--patience {flags.patience} ran out)"
    return f"best epoch {n_best} of {n_epochs}{why}, {training.seconds:.0f} s; written to {shown(folder)}"


def judge(learner, objective, feed, images, baselines: dict) -> tuple[dict, dict]:
    """Judge a model on one part beside its baselines.

    Args:
        feed: loader of what the model takes.
        images: loader of the same images, for the baselines.
        baselines: functions from images to outputs, by name.

    Returns:
        The evidence; and value, 95 % interval over groups (images, where there are none), n, all metrics, what these
        can reach where that is known, and those of the baselines.
    """
    from neuro_noodle.learning.evaluation import join, predict

    _, evidence = predict(learner, feed, objective)
    compared = {
        name: objective.metrics(join((objective.evidence(baseline(x), y) for x, y in images), len(images)))
        for name, baseline in baselines.items()
    }
    dataset, indices = feed.dataset.dataset, feed.dataset.indices.tolist()
    grouped = dataset.unit and len(set(dataset.columns[dataset.unit])) > 1
    groups = np.asarray(dataset.columns[dataset.unit] if grouped else dataset.ids)[indices]
    metrics, trials = objective.metrics(evidence), dataset.trials_of(indices)
    return evidence, {
        "value": metrics[objective.metric],
        "interval": objective.interval(evidence, groups),
        "n": len(indices),
        "n_groups": len(set(groups)) if grouped else None,
        "metrics": metrics,
        "ceiling": (trials is not None and objective.ceiling(trials)) or None,
        "baselines": {name: one[objective.metric] for name, one in compared.items()},
        "baseline_metrics": compared,
    }


def write_rows(path: Path, dataset, indices: list[int], rows: dict[str, list]) -> None:
    """Write a CSV with a row for each image of a part: its id, its metadata, what was predicted."""
    table = {"id": [dataset.ids[i] for i in indices]}
    table |= {name: [column[i] for i in indices] for name, column in dataset.columns.items() if name not in rows}
    write_csv(path, table | rows)


def show(training, learner, flags, evidence: dict, trackers: list) -> None:
    """Send what can be looked at to the trackers: the confusion matrix, and reconstructions where asked for."""
    epoch = training.progress.each[training.progress.chosen].epoch
    if "label" in evidence:
        counts = training.objective.confusion(evidence).tolist()
        for tracker in trackers:
            tracker.confusion(counts, training.dataset.classes, epoch)
    if flags.log_images:
        pixels = side_by_side(training, learner)
        for tracker in trackers:
            tracker.image("reconstructions", pixels, epoch)


def side_by_side(training, learner):
    """Return (H, W, C) uint8: up to 8 validation images above their reconstructions."""
    import torch
    from torchvision.utils import make_grid

    images = next(iter(training.loaders["validation"]))[0][:8]
    fed = next(iter(training.feeds["validation"]))[0][:8]
    with torch.no_grad():
        output = training.objective.output(learner(fed))
    grid = make_grid(torch.cat([images, output]).clamp(0, 1), nrow=len(images))
    return (grid * 255).byte().permute(1, 2, 0).cpu().numpy()


def told(part: str, metric: str, judged: dict) -> str:
    """Return the number with its interval, n and baselines; and below it the other metrics, where there are any."""
    ends = judged["interval"]
    reach = f"[95 %: {ends[0]:.4g} to {ends[1]:.4g}]" if ends else "[no interval: a single group]"
    grouped = judged["n_groups"] and judged["n_groups"] < judged["n"]
    groups = f" in {judged['n_groups']} groups" if grouped else ""
    line = f"{part} {metric} {judged['value']:.4g}  {reach}  n = {judged['n']} images{groups}"
    line += "".join(f"  {name} {value:.4g}" for name, value in judged["baselines"].items())
    if judged["ceiling"]:
        highest = judged["ceiling"][metric]
        shared = min(highest, judged["value"]) > 0
        line += f"  ceiling {highest:.4g}" + (f", {judged['value'] / highest:.1%} of it" if shared else "")
    others = [f"{name} {value:.4g}" for name, value in judged["metrics"].items() if name != metric]
    return line + (f"\n{'':{len(part)}} {'  '.join(others)}" if others else "")


def shown(path: Path) -> str:
    """Return a path as short as it can be named from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
