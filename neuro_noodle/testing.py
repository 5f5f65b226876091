"""Judge a trained run, `main.py --test --load_dir RUN`: numbers, a row per image, pictures and a film.

Where the images are the run's own, its test part is judged; of other images all are. Nothing is trained, and nothing of
the run is changed: what comes out lies in RUN/test, or RUN/test-NAME for other images.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

import utils
from neuro_noodle.choices import UserError, require
from neuro_noodle.command import load_tables
from neuro_noodle.data import leaks as leaking
from neuro_noodle.learning.devices import choose_device
from neuro_noodle.runs import latents as encoded
from neuro_noodle.runs.result import judge, shown, told, write_rows
from neuro_noodle.runs.run import Run
from neuro_noodle.views.outcomes import plot_outcomes, write_film
from neuro_noodle.views.report import write_pictures


def test(flags: argparse.Namespace) -> int:
    """Test the run that the flags name; returns the exit status."""
    device = choose_device(flags.device)
    run, own = open_tested(flags)
    objective, dataset, indices = run.objective, run.dataset, np.flatnonzero(run.part == "test").tolist()
    settings = {"batch_size": flags.batch_size, "augmentations": [], "device": device, "seed": flags.seed}
    images = utils.dataloaders(dataset, {"test": indices}, objective, **settings)["test"]
    learner, feed = run.model.to(device), images
    if run.precomputed is not None:
        learner, latents = learner.after_encoding(), run.precomputed.to(device)
        feed = utils.dataloaders(dataset, {"test": indices}, objective, **settings, latents=latents)["test"]
    baselines, leaks = fit_baselines(run, settings)
    evidence, judged = judge(learner.eval(), objective, feed, images, baselines)
    folder = run.folder / ("test" if own else f"test-{name_of(flags)}")
    folder.mkdir(exist_ok=True)
    result = {"metric": objective.metric, "direction": objective.direction, "test": judged, "session": run.session}
    result |= {"leaks": leaks, "data_dir": str(flags.data_dir.resolve()), "dataset": flags.dataset}
    utils.write_json(folder / "result.json", result)
    write_rows(folder / "test.csv", dataset, indices, objective.rows(evidence, dataset.classes))
    print(told("test", objective.metric, judged))
    n = run.config["flags"].get("repetitions", 1)
    if n > 1:
        print(f"this is the best of {n} repetitions on validation; result.json of the run has all")
    print(f"written to {shown(folder)}")
    run.model.cpu()
    dataset.keep_on(torch.device("cpu"))
    for path in write_pictures(folder, plot_outcomes(run)) + write_film(folder, run):
        print(shown(path))
    return 0


def open_tested(flags: argparse.Namespace) -> tuple[Run, bool]:
    """Open a run with the images that the flags name; returns it, and whether these are where its own were.

    Images that are the run's own, wherever they lie, keep the part that they had there; else all are for the test.
    """
    session = utils.best_session(flags.load_dir)
    model, config = utils.load_model(session, trust_pickle=flags.trust_pickle)
    dataset, objective = utils.open_task(vars(flags))
    objective.learned = config.get("learned", {})
    require(
        list(dataset.image_shape) == config["model"]["image_shape"] and dataset.classes == config["classes"],
        f"these images are {dataset.image_shape} with the classes {dataset.classes or 'none'}, but those of {session} "
        f"{tuple(config['model']['image_shape'])} with {config['classes'] or 'none'}",
    )
    require(
        list(dataset.neurons) == config.get("neurons", []),
        f"these are other neurons ({len(dataset.neurons)}) than those of {session} ({len(config.get('neurons', []))})",
    )
    own = flags.dataset == config["flags"]["dataset"] and str(flags.data_dir.resolve()) == config["flags"]["data_dir"]
    try:
        parts = utils.load_split(session.parent, dataset)
    except UserError:
        if own:  # they have changed
            raise
        parts = {"test": list(range(len(dataset)))}
    require(
        bool(parts["test"]),
        f"{session.parent} has no test part; train with --test_fraction or --fold, or test other images: --data_dir, "
        "--dataset",
    )
    parts, notes = utils.leave_unknown_out(dataset, objective, parts)
    print("".join(f"note: {note}\n" for note in notes), file=sys.stderr, end="")
    once = "training" in parts and model.encoder.encodes_once
    known = encoded.load_latents(session.parent / encoded.FIXED_LATENTS, dataset) if once else None
    part = encoded.part_of_each(parts, len(dataset))
    return Run(session.parent, session.name, config, model, dataset, objective, part, known), own


def fit_baselines(run: Run, settings: dict) -> tuple[dict, dict | None]:
    """Fit the baselines on the images that a run was trained on, and look for these among the tested ones.

    Returns:
        Baselines by name, none, with a note, where the training images are gone; and for the record what leaks from
        them into other images: how many of these have their names, and how many a near-duplicate.
    """
    try:
        dataset, _ = utils.open_task(run.config["flags"])
        indices = utils.load_split(run.folder, dataset)["training"]
    except UserError as error:
        print(f"note: no baselines, since the training images cannot be opened: {error}", file=sys.stderr)
        return {}, None
    leaks = None
    if not (run.part == "training").any():
        tested = np.flatnonzero(run.part == "test").tolist()
        n_named = len({dataset.ids[i] for i in indices} & {run.dataset.ids[i] for i in tested})
        n_found, n_checked = leaking.near_duplicates(dataset, indices, tested, run.dataset)
        leaks = {"called_alike": n_named, "near_duplicates": {"n": n_found, "checked": n_checked}}
        if n_named or n_found > leaking.WORTH_SAYING * n_checked:
            print(
                f"note: {n_named} of {len(tested)} images are called as training images, and {n_found} of {n_checked} "
                "resemble one; where they are the same in another form, this tells of memory",
                file=sys.stderr,
            )
    training = utils.dataloaders(dataset, {"training": indices}, run.objective, **settings)["training"]
    return run.objective.baselines(*training.dataset.excerpt(), run.model.encoder.latent_dim), leaks


def name_of(flags: argparse.Namespace) -> str:
    """Return a name for other images: that of their file, else of their folder."""
    file = load_tables()["dataset"].parse(flags.dataset).options.get("file")
    return Path(file or flags.data_dir.resolve()).stem
