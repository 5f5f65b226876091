"""The result of a run: the best weights evaluated next to their baselines, as numbers, as tables and as text."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from neuro_noodle.choices import require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.learning.best import Patience
from neuro_noodle.learning.evaluation import evaluate, join, predict
from neuro_noodle.measures.intervals import MIN_GROUPS, has_enough
from neuro_noodle.networks.base import Model
from neuro_noodle.networks.repetitions import Repetitions, seed_of
from neuro_noodle.objectives.base import Evidence, Objective, Predictor
from neuro_noodle.plain import finite, readable
from neuro_noodle.progress import Stage
from neuro_noodle.runs.commits import RESULTS, commit_files
from neuro_noodle.runs.files import BEST, RESULT, TESTED, csv_bytes, json_bytes, parse_json, require_one_run
from neuro_noodle.runs.loaders import HELD_OUT, Loader, training_sample
from neuro_noodle.runs.manifest import latest_manifest, read_checked
from neuro_noodle.runs.task import Task
from neuro_noodle.runs.undefined import defined, explain
from neuro_noodle.tracking.base import Spread, Tracker

NETWORK = ""  # its name among those of its baselines
KINDS = {"metric": str, "direction": str, "validation": dict, "baselines": dict, "best_epoch": int}  # of what is read


@dataclass(frozen=True)
class Judged:
    """A model evaluated on one part: the evidence of each image, and the numbers for result.json."""

    evidence: Evidence
    record: dict


def judge_part(model: Model, task: Task, part: str, loader: Loader, baselines: Mapping[str, Predictor]) -> Judged:
    """Evaluate a model on one part, next to its baselines.

    Args:
        model: its best weights are loaded.
        task: the images and what is predicted.
        part: validation or test.
        loader: of the model's inputs for that part.
        baselines: functions from images to outputs, by name.

    Returns:
        The evidence; and the value of the main metric with its 95 % interval over groups (over images, if there are
        no groups), n, all metrics, the noise ceiling where it is known, and the metrics of the baselines. Numbers that
        are undefined are None; `undefined` has the reasons. Validation has no interval, since it chose the epoch: one
        would hold the value for new images far less often than 95 % of the time. Few groups have their values instead.
    """
    with Stage(f"evaluating the network and its baselines on {part} images"):
        evidence = collect_evidence(model, task.objective, loader, baselines)
        return Judged(evidence[NETWORK], describe_part(task, part, evidence))


def baselines_of(model: Model, task: Task) -> dict[str, Predictor]:
    """Fit the baselines of a model to the training images; returns functions from images to outputs, by name."""
    with Stage("fitting baselines"):
        return task.objective.baselines(*training_sample(task), model.encoder.latent_dim)


def collect_evidence(
    model: Model, objective: Objective, loader: Loader, baselines: Mapping[str, Predictor]
) -> dict[str, Evidence]:
    """Return the evidence of each image of one part, for the network (its name is empty) and for each baseline."""
    images = loader.of_images()
    return {NETWORK: predict(model, loader, objective)[1]} | {
        name: join((objective.evidence(baseline(x), y) for x, y in images), len(images))
        for name, baseline in baselines.items()
    }


def _all_metrics(objective: Objective, evidence: Evidence) -> dict[str, float]:
    return objective.metrics(evidence) | objective.summary(evidence)


def describe_part(task: Task, part: str, each: Mapping[str, Evidence]) -> dict:
    """Return the numbers of one part, given the evidence of its images by name, see `collect_evidence`."""
    objective, dataset, indices, evidence = task.objective, task.dataset, task.parts[part], each[NETWORK]
    compared = {name: _all_metrics(objective, one) for name, one in each.items() if name != NETWORK}
    groups = _groups_of(dataset, indices)
    units = np.asarray(dataset.ids)[indices] if groups is None else groups
    metrics, trials = _all_metrics(objective, evidence), dataset.trials_of(indices)
    ceiling = {} if trials is None else objective.ceiling(evidence, trials)
    share_interval = None
    if trials is not None and part != "validation":
        share_interval = objective.share_interval(evidence, trials, units)
    reasons = objective.undefined(dataset, indices)
    undefined = explain({NETWORK: metrics, "ceiling": ceiling} | compared, reasons)
    baseline_metrics = {name: defined(each, reasons) for name, each in compared.items()}
    interval = None
    if objective.metric in undefined:
        undefined["interval"] = undefined[objective.metric]
    elif part == "validation":
        undefined["interval"] = "these images chose the epoch"
    elif not (interval := objective.interval(evidence, units)):
        undefined["interval"] = _explain_interval(len(set(units)), "image" if groups is None else "group")
    return {
        "value": defined(metrics, reasons)[objective.metric],
        "interval": interval,
        "interval_method": objective.interval_method if interval else None,
        "n": len(indices),
        "n_groups": None if groups is None else len(set(groups)),
        "n_known_groups": None if groups is None else len(known_groups(task, part)),
        "by_group": None if groups is None or has_enough(groups) else _by_group(objective, evidence, groups),
        "by_class": objective.by_class(evidence) or None,
        "metrics": defined(metrics, reasons),
        "ceiling": defined(ceiling, reasons) | {"share_interval": share_interval} if ceiling else None,
        "baselines": {name: each[objective.metric] for name, each in baseline_metrics.items()},
        "baseline_metrics": baseline_metrics,
        "undefined": undefined,
    }


def _groups_of(dataset: StimulusSet, indices: list[int]) -> np.ndarray | None:
    """Return the group (n,) of each image (person, animal, block of frames); None if the dataset has fewer than two."""
    groups = dataset.units() if dataset.split_unit else []
    return np.asarray(groups)[indices] if len(set(groups)) > 1 else None


def known_groups(task: Task, part: str) -> set:
    """Return the groups of a part that are in training too; empty without groups."""
    tested, trained = (_groups_of(task.dataset, task.parts.get(name, [])) for name in (part, "training"))
    return set() if tested is None or trained is None else set(tested) & set(trained)


def _by_group(objective: Objective, evidence: Evidence, groups: np.ndarray) -> dict[str, float | None]:
    """Return the main metric of each group; None where it is undefined."""
    return {str(group): finite(objective.score(evidence, groups == group)) for group in np.unique(groups)}


def _explain_interval(n_units: int, unit: str) -> str:
    if n_units == 1:
        return f"a single {unit}"
    few, wide = f"{n_units} {unit}s are too few", f"the {n_units} {unit}s differ too much"
    return few if n_units < MIN_GROUPS else f"{wide}, or it is undefined without one of them"


def judge_repetitions(
    network: Repetitions, task: Task, loaders: Mapping[str, Loader], patience: Patience, seed: int
) -> dict:
    """Evaluate the best weights of every repetition; returns their metrics by part, with their spread.

    The best weights are loaded into the network.
    """
    for index, best in enumerate(patience.each):
        network.load_weights(best.weights or {}, index)
    record: dict = {
        "seeds": [seed_of(seed, index) for index in range(len(patience.each))],
        "best_epochs": [best.epoch for best in patience.each],
    }
    for part in HELD_OUT:
        if part in loaders:
            metrics = evaluate(network, loaders[part], task.objective)
            spreads = {name: asdict(Spread.of(values)) for name, values in metrics.items()}
            record[part] = {name: [*map(finite, values)] for name, values in metrics.items()}
            record[f"{part}_spread"] = {name: defined(spread, {}) for name, spread in spreads.items()}
    return record


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes:
        record: for result.json.
        judged: the evaluation of each held-out part.
        model: the network with its best weights; of several repetitions, the best on validation.
        best_index: of that repetition.
        has_stopped: whether training ended because patience ran out.
    """

    record: dict
    judged: dict[str, Judged]
    model: Model
    best_index: int
    has_stopped: bool


def judge_run(
    network: Model | Repetitions,
    task: Task,
    loaders: Mapping[str, Loader],
    patience: Patience,
    seed: int,
    seconds: float,
) -> Result:
    """Evaluate the best weights on the held-out parts, next to baselines fitted on the training images.

    Of several repetitions, the best on validation is evaluated in full; the metrics of all are recorded with it.
    """
    best, each = patience.best, None
    if isinstance(network, Repetitions):
        each = judge_repetitions(network, task, loaders, patience, seed)
    else:
        network.load_weights(best.weights or {})
    model = network.single(patience.best_index).eval()
    baselines = baselines_of(model, task)
    judged = {part: judge_part(model, task, part, loaders[part], baselines) for part in HELD_OUT if part in loaders}
    validation, test = dict(judged["validation"].record), judged["test"].record if "test" in judged else None
    record = {
        "metric": task.objective.metric,
        "direction": task.objective.direction,
        "test": test,
        "validation": validation,
        "baselines": validation.pop("baselines"),
        "leaks": task.leaks,
        "data": task.dataset.record,
        "ceiling": ((test or validation)["ceiling"] or {}).get(task.objective.metric),
        "best_epoch": best.epoch,
        "seconds": round(seconds, 2),
    }
    record |= {"repetitions": each} if each else {}
    return Result(record, judged, model, patience.best_index, patience.has_stopped)


def result_files(record: dict, judged: Mapping[str, Judged], task: Task) -> dict[str, bytes]:
    """Return the content of a table of each part, with a row per image (id, metadata, prediction), and result.json."""
    tables = {f"{part}.csv": csv_bytes(part_table(task, part, one.evidence)) for part, one in judged.items()}
    return tables | {RESULT: json_bytes(record)}


def part_table(task: Task, part: str, evidence: Evidence) -> dict[str, list]:
    """Return the columns of the table of one part, with a row per image: id, metadata, prediction."""
    indices, columns = task.parts[part], task.objective.rows(evidence)
    table = {"id": [task.dataset.ids[i] for i in indices]}
    table |= {
        name: [values[i] for i in indices] for name, values in task.dataset.columns.items() if name not in columns
    }
    return table | columns


def save_result(run: Path, result: Result, task: Task) -> None:
    """Write result.json and the tables of a run; the record gets the number of times that its test part was used."""
    tested = {}
    if test := result.record["test"]:
        tested = _read_tested(run) | {latest_manifest(run).run[BEST]: result.record["best_epoch"]}
        test["n_judged"] = len(tested)
    files = result_files(result.record, result.judged, task)
    commit_files(run, files | ({TESTED: json_bytes(tested)} if tested else {}))


def _read_tested(run: Path) -> dict[str, int]:
    return parse_json(read_checked(run / TESTED), run / TESTED) if TESTED in latest_manifest(run).run else {}


def read_result(run: Path) -> dict:
    """Read the result.json of a run, and check its tables.

    Raises:
        UserError: if there is none, or if a file is damaged.
    """
    require_one_run(run)
    listed = latest_manifest(run).run
    require(RESULT in listed, f"{run} is not a finished run: it has no {RESULT}")
    contents = {name: read_checked(run / name) for name in RESULTS if name in listed}
    record = parse_json(contents[RESULT], run / RESULT)
    wrong = [name for name, kind in KINDS.items() if not isinstance(record.get(name), kind)]
    require(not wrong, f"{run / RESULT} is damaged: it has no valid {', '.join(wrong)}")
    return record


def track(result: Result, task: Task, loader: Loader, trackers: Tracker, *, with_images: bool) -> None:
    """Send the confusion matrix of the validation images to the trackers and, if asked for, reconstructions."""
    epoch, counts = result.record["best_epoch"], task.objective.confusion(result.judged["validation"].evidence)
    if counts is not None:
        trackers.confusion(counts.numpy(), [readable(name) for name in task.dataset.classes], epoch)
    if with_images:
        trackers.image("reconstructions", side_by_side(result.model, task, loader), epoch)


def side_by_side(model: Model, task: Task, loader: Loader) -> np.ndarray:
    """Return (H, W, C) uint8: up to 8 validation images above their reconstructions."""
    from torchvision.utils import make_grid

    images = task.dataset.sample(torch.tensor(task.parts["validation"][:8]), task.device)["image"]
    with torch.no_grad():
        output = task.objective.output(model(next(iter(loader))[0][:8]))
    grid = make_grid(torch.cat([images, output]).clamp(0, 1), nrow=len(images))
    return (grid * 255).byte().permute(1, 2, 0).cpu().numpy()
