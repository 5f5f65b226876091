"""Testing a trained run, on its own test part or on other images. Nothing is trained, and the run stays unchanged."""

import sys
from pathlib import Path

import torch

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.base import DATASETS, numbered_ids
from neuro_noodle.data.duplicates import near_duplicates
from neuro_noodle.objectives.base import Predictor
from neuro_noodle.progress import Stage
from neuro_noodle.runs.files import RESULT, read_json, short_path, write_folder
from neuro_noodle.runs.loaders import make_loaders
from neuro_noodle.runs.manifest import read_checked, sha256
from neuro_noodle.runs.result import baselines_of, judge_part, result_files
from neuro_noodle.runs.result_text import format_part
from neuro_noodle.runs.run import Run, has_own_images
from neuro_noodle.runs.split import load_split
from neuro_noodle.runs.task import Task, TaskSource


def test_run(run: Run, source: TaskSource, device: torch.device, batch_size: int) -> Path:
    """Judge a run on the test part of its images; write and print the result.

    Args:
        run: opened with the images of source.
        source: where the images come from.
        device, batch_size: where the model runs, and how many images at a time.

    Returns:
        The folder with result.json and test.csv: run/test, or run/test-NAME for other images.
    """
    require(
        bool(run.parts["test"]),
        f"{run.folder} has no test part; train with --test_fraction or --fold, or test other images with --data_dir "
        "and --dataset",
    )
    print(run.dataset.inventory.text, *(f"note: {note}" for note in run.notes), sep="\n", file=sys.stderr)
    baselines, leaks = fit_baselines(run)
    task, latents = run.task(device), None if run.precomputed is None else run.precomputed.to(device)
    loader = make_loaders(task, batch_size=batch_size, latents=latents)["test"]
    judged = judge_part(run.model.to(device).eval(), task, "test", loader, baselines)
    run.model.cpu()
    record = {
        "metric": run.objective.metric,
        "direction": run.objective.direction,
        "test": judged.record,
        "session": run.session,
        "weights": sha256(read_checked(run.folder / run.session / "model.pth")),
        "leaks": leaks,
        "data": run.dataset.record,
        "data_dir": str(source.data_dir.resolve()),
        "dataset": source.dataset,
    }
    folder = _find_folder(run, source, record)
    write_folder(folder, result_files(record, {"test": judged}, task))
    print(format_part("test", run.objective.metric, judged.record))
    n = run.config["flags"]["repetitions"]
    best = f"; this is the best of {n} repetitions on validation, result.json of the run has all" if n > 1 else ""
    print(f"written to {short_path(folder)}{best}")
    return folder


def fit_baselines(run: Run) -> tuple[dict[str, Predictor], dict | None]:
    """Fit the baselines to the images a run was trained on, and look for these among the tested images.

    Returns:
        Baselines by name, none (with a note) if the training images are gone; and for result.json how many of other
        images have the content or the name of a training image, and how many are near-duplicates of one.
    """
    try:
        dataset, objective = TaskSource.of(run.config["flags"]).open()
        parts = load_split(run.folder, dataset)
    except UserError as error:
        print(f"note: no baselines, since the training images cannot be opened: {error}", file=sys.stderr)
        return {}, None
    task = Task(dataset, run.objective, parts, {}, torch.device("cpu"))
    leaks = None if run.parts["training"] else _compare(run, task)
    return baselines_of(run.model, task), leaks


def _compare(run: Run, trained: Task) -> dict:
    """Count tested images that have the content or the name of a training image, or are near-duplicates of one."""
    training, tested = trained.parts["training"], run.parts["test"]
    contents, names = {trained.dataset.contents[i] for i in training}, {trained.dataset.ids[i] for i in training}
    names -= {*numbered_ids(len(trained.dataset))}  # images of arrays have numbers, not names
    n_same = sum(run.dataset.contents[i] in contents - {""} for i in tested)
    n_named = sum(run.dataset.ids[i] in names for i in tested)
    with Stage("searching near-duplicates"):
        found = near_duplicates(trained.dataset, training, tested, run.dataset)
    if n_same or n_named or found.is_worth_noting:
        print(
            f"note: of {len(tested)} images, {n_same} are training images, {n_named} have the name of one, and "
            f"at least {found.n} of {found.n_checked} are near-duplicates of one; if they show the same, this result "
            "measures memory",
            file=sys.stderr,
        )
    duplicates = {"n": found.n, "checked": found.n_checked}
    return {"same_content": n_same, "same_name": n_named, "near_duplicates": duplicates}


def _find_folder(run: Run, source: TaskSource, record: dict) -> Path:
    """Return the folder of a test: a new one, or that of an earlier test of the same session and images."""
    name = "test" if has_own_images(source, run.config) else f"test-{name_of(source)}"
    keys, number = ("session", "data_dir", "dataset"), 1
    while True:
        folder = run.folder / (name if number == 1 else f"{name}-{number}")
        before = read_json(folder / RESULT) if (folder / RESULT).is_file() else {}
        if not folder.exists() or [before.get(key) for key in keys] == [record[key] for key in keys]:
            return folder
        number += 1


def name_of(source: TaskSource) -> str:
    """Return a name for other images: that of their file, else of their folder."""
    file = DATASETS.parse(source.dataset).options.get("file")
    return Path(str(file or source.data_dir.resolve())).stem
