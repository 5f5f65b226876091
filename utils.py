"""The data of this run (images, split, loaders), and its sessions on disk (new, resumed, saved)."""

import argparse
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from neuro_noodle import command
from neuro_noodle.augment import AUGMENTATIONS, Augmentation
from neuro_noodle.choices import require
from neuro_noodle.data.base import DATASETS, StimulusSet
from neuro_noodle.data.emotions import make_classification_dataset
from neuro_noodle.data.leaks import leaks, seen_before
from neuro_noodle.data.splits import Parts, resolved, split
from neuro_noodle.learning.devices import choose_device
from neuro_noodle.networks.base import Model
from neuro_noodle.networks.repetitions import Repetitions
from neuro_noodle.runs import files, sessions
from neuro_noodle.runs.latents import encode, save_latents
from neuro_noodle.runs.loaders import Loader, make_loaders, training_sample
from neuro_noodle.runs.pictures import FOLDER as PICTURES
from neuro_noodle.runs.pictures import save_pictures
from neuro_noodle.runs.task import Task, TaskSource, drop_missing_targets, keep_on_gpu
from neuro_noodle.runs.undefined import require_defined
from neuro_noodle.tracking.base import TrackedRun, Tracker

# ---------------------------------------------------------------------------------------------------------- data


def open_task(flags: argparse.Namespace, saved: Path | None) -> Task:
    """Open the images, bind the objective, split the images (or keep the split of a saved session), report leaks."""
    device = choose_device(flags.device)
    dataset, objective = TaskSource.of(vars(flags)).open()
    parts = sessions.load_split(saved.parent, dataset) if saved else split_images(flags, dataset)
    parts, missing = drop_missing_targets(dataset, objective, parts)
    leaked, notes = leaks(dataset, parts)
    if flags.load_encoder:
        leaked["encoder"], seen = seen_before(dataset, parts, sessions.trained_on(flags.load_encoder, dataset))
        notes += seen
    notes = [*objective.notes(augmentations(flags)), *missing, *require_defined(dataset, objective, parts), *notes]
    if device.type == "cuda":
        notes.append("on a GPU the same seed gives slightly different numbers, because sums are added in any order")
    print("".join(f"note: {note}\n" for note in [*dataset.notes, *notes]), file=sys.stderr, end="")
    keep_on_gpu(dataset, device)
    task = Task(dataset, objective, parts, leaked, device)
    if saved:
        objective.learned = files.load_config(saved.parent).get("learned", {})
    else:
        objective.fit(training_sample(task)[1])
    return task


def split_images(flags: argparse.Namespace, dataset: StimulusSet) -> Parts:
    """Return the indices of the images in each part; flags.split becomes what `auto` means for them."""
    k, _, n_folds = (flags.fold or "").partition("/")
    fold = (int(k), int(n_folds)) if n_folds else None
    how = resolved(flags.split, dataset, flags.test_fraction, fold)
    if how == "given" != flags.split:
        print("note: the split is that of the dataset (--split given); --split random mixes its parts", file=sys.stderr)
    flags.split = how
    seed = flags.seed if flags.split_seed is None else flags.split_seed
    fractions = {"val_fraction": flags.val_fraction, "test_fraction": flags.test_fraction}
    return split(dataset, how, **fractions, fold=fold, gap=flags.gap, seed=seed)


def augmentations(flags: argparse.Namespace) -> list[Augmentation]:
    """Return the augmentations of training images."""
    return [AUGMENTATIONS.build(choice) for choice in flags.augment]


def dataloaders(flags: argparse.Namespace, task: Task, latents: Tensor | None) -> dict[str, Loader]:
    """Return the loaders of training, validation and test; x is an image, or its latent if those are given."""
    return make_loaders(
        task,
        batch_size=flags.batch_size,
        augmentations=augmentations(flags),
        seed=flags.seed,
        n_repetitions=flags.repetitions,
        latents=latents,
    )


def arrange_by_emotion(flags: argparse.Namespace) -> argparse.Namespace:
    """With --rejig_data, arrange the images as classify/{train,val}/{happy,sad}; returns flags that name those."""
    if not flags.rejig_data:
        return flags
    out = flags.data_dir.resolve().parent / "classify"
    require(out != flags.data_dir.resolve(), f"{out} is arranged already; train on it with --split given")
    counts = make_classification_dataset(
        flags.data_dir, out, apart=flags.split == "group", val_fraction=flags.val_fraction, seed=flags.seed
    )
    listed = ", ".join(f"{n} {where}" for where, n in sorted(counts.items()))
    print(f"{files.short_path(out)}: {listed}; rejig.csv lists every file")
    options = ["folder", "label=folder", "group=person", "pattern={person}_{}"]
    dataset = str(DATASETS.parse(options, flags.dataset))
    return argparse.Namespace(**vars(flags) | {"data_dir": out, "split": "given", "dataset": dataset})


# ------------------------------------------------------------------------------------------------------ sessions


@dataclass(frozen=True)
class Session:
    """The folder of a run while it trains, and what is saved there.

    Attributes:
        folder: of the run.
        config: what config.json holds.
        flags: say what is saved, and how often.
        start_epoch: the first epoch to train.
        seconds_before: training time of earlier sessions.
        started: when this one started, on the monotonic clock.
    """

    folder: Path
    config: dict
    flags: argparse.Namespace
    start_epoch: int
    seconds_before: float
    started: float

    @property
    def seconds(self) -> float:
        """The training time of the run so far."""
        return self.seconds_before + time.monotonic() - self.started

    def tracked(self, settings: Path, loader: Loader) -> TrackedRun:
        """Return what trackers need to know of the run."""
        flags = self.flags
        return TrackedRun(self.folder, settings, self.start_epoch, flags.n_epochs, len(loader), flags.log_every)

    def is_due(self, epoch: int) -> bool:
        """Return whether to save after this epoch."""
        return (epoch + 1) % self.flags.save_every == 0

    def save(self, epoch: int, network: Model | Repetitions, loader: Loader, learning: sessions.Resumable) -> None:
        """Save EPOCH/{model,optim,state}.pth with all that resuming needs, and the best weights."""
        device = next(network.parameters()).device
        state = learning.state() | {
            "epoch": epoch,
            "seconds": self.seconds,
            "generators": loader.generator_states(),
            "rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        }
        keep_all = self.flags.keep == "all"
        sessions.save_session(self.folder, epoch, network, learning, state, keep_all=keep_all)

    def save_snapshots(self, epochs: float, network: Model | Repetitions, loader: Loader) -> None:
        """Write latents of all images and pictures of a few to {latents,pictures}/EPOCHS.npz, if they are due."""
        batches, name = loader.batches, f"{epochs:.10g}.npz"
        task = batches.task
        if falls_due(self.flags.latents_every, epochs, len(loader)):
            latents = encode(network, task.dataset) if batches.latents is None else batches.latents
            save_latents(self.folder / "latents" / name, latents.cpu(), task.dataset, task.part)
        if falls_due(self.flags.pictures_every, epochs, len(loader)):
            save_pictures(self.folder / PICTURES / name, network.single(0), task, batches.latents)

    def send_assets(self, trackers: Tracker) -> None:
        """Send the files that online trackers keep: the last session, the best weights, the result."""
        paths = [path for session in files.sessions(self.folder)[-1:] for path in sorted(session.glob("*.pth"))]
        paths += [self.folder / "best" / "model.pth", self.folder / "result.json"]
        for path in filter(Path.exists, paths):
            trackers.asset(path)


def falls_due(every: float | None, epochs: float, n_steps: int) -> bool:
    """Return whether the last of n_steps per epoch was the first to reach a multiple of so many epochs."""
    step = round(epochs * n_steps)
    if not every or not step:
        return bool(every)
    return math.floor(step / n_steps / every + 1e-9) > math.floor((step - 1) / n_steps / every + 1e-9)


def find_saved(flags: argparse.Namespace) -> Path | None:
    """Return the session that --load_dir names, None for a new run."""
    if not flags.load_dir:
        return None
    run, saved = files.find_session(flags.load_dir)
    require(saved.name != "best", f"{saved} holds only the best weights; resume the run with --load_dir {run}")
    return saved


def load_state(saved: Path, loader: Loader, device: torch.device) -> dict[str, Any]:
    """Return the state of a saved session, its optimizer's included; all random numbers continue where it stopped."""
    state = sessions.load_pth(saved / "state.pth")
    require(
        "generators" in state,
        f"{saved} was saved by an earlier version and cannot be resumed; its weights can still be used with --test, "
        "--load_encoder and the commands in Plotting/",
    )
    loader.restore_generators(state["generators"])
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"], device)
    return state | {"optimizer": sessions.load_pth(saved / "optim.pth")}


def open_session(
    flags: argparse.Namespace,
    words: list[str],
    task: Task,
    model: dict[str, Any],
    saved: Path | None,
    state: dict[str, Any],
    started: float,
) -> Session:
    """Make the folder of a new run, or open that of the run to resume, and write config.json.

    A session that is not its run's latest is resumed as a new run, so that no later epoch is lost; so is one that is
    given another --namestr or --save_dir.
    """
    config = sessions.describe_run(command.plain(flags), words, task, model)
    start_epoch = state["epoch"] + 1 if saved else 0
    if saved and sessions.is_in_place(saved, config["flags"]):
        folder = saved.parent
        sessions.remove_results(folder)
    else:
        folder = files.new_run(flags.save_dir, flags.namestr)
        if saved:
            sessions.copy_history(saved, folder)
    sessions.truncate_records(folder, start_epoch)
    files.write_json(folder / "config.json", config)
    return Session(folder, config, flags, start_epoch, state["seconds"] if saved else 0.0, started)
