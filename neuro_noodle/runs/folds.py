"""Folds: K runs in one folder, each tested on another of K equal parts, and the result of all test images together."""

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from neuro_noodle.choices import require
from neuro_noodle.objectives.base import Evidence
from neuro_noodle.plain import counted
from neuro_noodle.progress import Stage
from neuro_noodle.runs.files import (
    PAGE,
    RESULT,
    find_saved,
    folds_of,
    refuse_links,
    sessions,
    short_path,
    write_csv,
    write_json,
)
from neuro_noodle.runs.latents import FIXED_LATENTS, load_latents
from neuro_noodle.runs.loaders import make_loaders
from neuro_noodle.runs.lock import LOCK, locked
from neuro_noodle.runs.manifest import has_result
from neuro_noodle.runs.result import (
    NETWORK,
    baselines_of,
    collect_evidence,
    describe_part,
    known_groups,
    part_table,
    read_result,
)
from neuro_noodle.runs.result_text import format_folds
from neuro_noodle.runs.sessions import AlreadyTrained, load_model
from neuro_noodle.runs.task import Task

TABLE = "test.csv"
Evidences = Mapping[str, Evidence]


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Path]:
    """Keep other processes from training folds in a folder; it is removed if it is still empty at the end.

    Raises:
        UserError: if another process trains them, or if the folder holds links.
    """
    refuse_links(folder)
    try:
        with locked(folder):
            yield folder
    finally:
        if not any(folder.glob("fold*")):
            (folder / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it holds something else
                folder.rmdir()


def find_sessions(folder: Path, n_folds: int) -> list[Path | None]:
    """Return the session from which each fold is resumed; None for a fold that has saved none."""
    return [find_saved(run) if sessions(run) else None for run in folds_of(folder, n_folds)]


def merge_notes(tasks: Sequence[Task]) -> list[str]:
    """Return the notes of all folds (or of a single run): those that all share once, others with their folds."""
    folds: dict[str, list[str]] = {}
    for k, task in enumerate(tasks, 1):
        for note in task.notes:
            folds.setdefault(note, []).append(str(k))
    return [note if len(ks) == len(tasks) else f"fold {', '.join(ks)}: {note}" for note, ks in folds.items()]


def train_folds(
    folder: Path, tasks: Sequence[Task], trainings: Sequence[Callable[[], tuple[Path, int]]], batch_size: int
) -> int:
    """Train each fold, then judge the test images of all, write and print the result; returns the exit status.

    Args:
        folder: of the folds.
        tasks: of each fold.
        trainings: functions that train each fold and return its folder and its exit status; one that has nothing left
            to train raises `AlreadyTrained`.
        batch_size: images per batch, at most.
    """
    require_apart(folder, tasks)
    remove_incomplete(folder, len(tasks))
    for k, train in enumerate(trainings, 1):
        print(f"fold {k} of {len(tasks)}")
        try:
            _, status = train()
        except AlreadyTrained:
            print("already trained")
            continue
        remove_result(folder)
        if status:
            return status
    print(format_folds(judge_folds(folder, tasks, batch_size), folder))
    return 0


def require_apart(folder: Path, tasks: Sequence[Task]) -> None:
    """Raise UserError if an image is tested in two folds, so that they are not parts of the same split."""
    counts = np.unique(np.concatenate([task.parts["test"] for task in tasks]), return_counts=True)[1]
    n_twice = int((counts > 1).sum())
    require(
        not n_twice,
        f"{counted(n_twice, 'image')} would be tested in two folds of {folder}, whose images or split have changed "
        "since the first was trained; train them again under another --namestr",
    )


def remove_result(folder: Path) -> None:
    """Remove the result of all folds, which further training has made out of date."""
    for name in (RESULT, TABLE, PAGE):
        (folder / name).unlink(missing_ok=True)


def remove_incomplete(folder: Path, n_folds: int) -> None:
    """Remove folds that were stopped before their first session, and a result that cannot be of all folds."""
    if not all(run.exists() and has_result(run) for run in folds_of(folder, n_folds)):
        remove_result(folder)
    for run in folds_of(folder, n_folds):
        if run.exists() and not sessions(run):
            print(f"note: {short_path(run)} was stopped before its first session; it is trained anew", file=sys.stderr)
            shutil.rmtree(run)


def judge_folds(folder: Path, tasks: Sequence[Task], batch_size: int) -> dict:
    """Judge the test images of all folds together, each by the network of its fold; write and return the result.

    Args:
        folder: of the folds, all of which are trained.
        tasks: of each fold.
        batch_size: images per batch, at most.
    """
    runs = folds_of(folder, len(tasks))
    with Stage("evaluating all folds", len(runs)) as stage:
        each = [_test_fold(run, task, batch_size) for run, task in stage.over(list(zip(runs, tasks, strict=True)))]
    tested = np.concatenate([task.parts["test"] for task in tasks])
    order = np.argsort(tested)
    evidence = {
        name: {key: torch.cat([one[name][key] for one in each])[order] for key in first}
        for name, first in each[0].items()
    }
    whole = replace(tasks[0], parts={"test": tested[order].tolist()})
    of_each = np.repeat(np.arange(len(tasks)) + 1, [len(task.parts["test"]) for task in tasks])[order]
    known = set().union(*(known_groups(task, "test") for task in tasks))
    test = describe_part(whole, "test", evidence) | {"n_known_groups": len(known)}
    record = describe_folds([read_result(run) for run in runs], test)
    write_csv(folder / TABLE, part_table(whole, "test", evidence[NETWORK]) | {"fold": of_each.tolist()})
    write_json(folder / RESULT, record)
    return record


def _test_fold(run: Path, task: Task, batch_size: int) -> Evidences:
    """Return the evidence of the test images of a fold, for its best weights and its baselines."""
    model, _ = load_model(run)
    latents = None
    if model.encoder.encodes_once:
        latents, model.precomputed = load_latents(run / FIXED_LATENTS, task.dataset).to(task.device), True
    loader = make_loaders(task, batch_size=batch_size, latents=latents)["test"]
    return collect_evidence(model.to(task.device), task.objective, loader, baselines_of(model, task))


def describe_folds(results: Sequence[Mapping], test: dict) -> dict:
    """Return the content of result.json, given the results of each fold and the numbers of all test images."""
    values = [result["test"]["value"] for result in results]
    are_known = None not in values
    return {
        "metric": results[0]["metric"],
        "direction": results[0]["direction"],
        "test": test | {"n_judged": max(result["test"]["n_judged"] for result in results)},
        "folds": {
            "values": values,
            "mean": float(np.mean(values)) if are_known else None,
            "sd": float(np.std(values, ddof=1)) if are_known else None,
            "n": [result["test"]["n"] for result in results],
            "best_epochs": [result["best_epoch"] for result in results],
            "leaks": [result["leaks"] for result in results],
        },
        "n_repetitions": len(results[0].get("repetitions", {}).get("seeds", [0])),
        "data": results[0]["data"],
        "seconds": round(sum(result["seconds"] for result in results), 2),
    }
