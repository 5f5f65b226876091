"""The data of this run (images, split, loaders), and its sessions on disk (new, resumed, saved)."""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from neuro_noodle import command
from neuro_noodle.augment import build_augmentations
from neuro_noodle.choices import UserError, require
from neuro_noodle.data.base import DATASETS, StimulusSet
from neuro_noodle.data.emotions import make_classification_dataset
from neuro_noodle.data.leaks import leaks, seen_before
from neuro_noodle.data.splits import Parts, require_no_test_part, resolved, split
from neuro_noodle.learning.devices import choose_device
from neuro_noodle.learning.record import falls_due
from neuro_noodle.networks.base import Model
from neuro_noodle.networks.repetitions import Repetitions
from neuro_noodle.objectives.base import Objective
from neuro_noodle.process import format_error
from neuro_noodle.progress import Stage
from neuro_noodle.runs import files, sessions
from neuro_noodle.runs.config import load_config
from neuro_noodle.runs.folds import merge_notes
from neuro_noodle.runs.latents import encode, save_latents
from neuro_noodle.runs.loaders import Loader, fit_augmentations, make_loaders, training_sample
from neuro_noodle.runs.lock import locked
from neuro_noodle.runs.pictures import FOLDER as PICTURES
from neuro_noodle.runs.pictures import save_pictures
from neuro_noodle.runs.split import load_split, trained_on
from neuro_noodle.runs.task import Task, TaskSource, drop_missing_targets, keep_on_gpu
from neuro_noodle.runs.undefined import require_defined
from neuro_noodle.tracking.base import TrackedRun, Tracker

# ---------------------------------------------------------------------------------------------------------- data


def open_tasks(
    flags: argparse.Namespace, each: Sequence[argparse.Namespace], saved: Sequence[Path | None]
) -> list[Task]:
    """Open the images, and the task of each run with its flags and its session; prints what the user should know."""
    dataset, objective = TaskSource.of(vars(flags)).open()
    with Stage("checking images"):
        text = dataset.inventory.text
    print(text, *(f"note: {note}" for note in dataset.notes), sep="\n", file=sys.stderr)
    if flags.folds and flags.split == "auto":
        require_no_test_part(dataset)
    tasks = [open_task(*one, dataset, objective.on(dataset)) for one in zip(each, saved, strict=True)]
    print("".join(f"note: {note}\n" for note in merge_notes(tasks)), file=sys.stderr, end="")
    keep_on_gpu(dataset, tasks[0].device)
    return tasks


def open_task(flags: argparse.Namespace, saved: Path | None, dataset: StimulusSet, objective: Objective) -> Task:
    """Split the images (or keep the split of a saved session), look for leaks, fit the objective."""
    device = choose_device(flags.device)
    parts = load_split(saved.parent, dataset) if saved else split_images(flags, dataset)
    parts, missing = drop_missing_targets(dataset, objective, parts)
    missing += [] if saved else objective.check_parts(dataset, parts)
    with Stage("searching near-duplicates"):
        leaked, notes = leaks(dataset, parts, dataset.label if "label" in objective.needs else None)
    if flags.load_encoder:
        leaked["encoder"], seen = seen_before(dataset, parts, trained_on(flags.load_encoder, dataset))
        notes += seen
    changes = build_augmentations(flags.augment)
    notes = [*objective.notes(changes), *missing, *require_defined(dataset, objective, parts), *notes]
    if flags.fold and not flags.folds:
        notes.append(f"--fold {flags.fold} tests a part; --folds {flags.fold.partition('/')[2]} tests each image once")
    if device.type == "cuda":
        notes.append("on a GPU the same seed gives slightly different numbers, because sums are added in any order")
    task = Task(dataset, objective, parts, leaked, device, notes, changes)
    notes += fit_augmentations(task)
    if saved:
        objective.restore(load_config(saved.parent)["learned"])
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


def dataloaders(flags: argparse.Namespace, task: Task, latents: Tensor | None) -> dict[str, Loader]:
    """Return the loaders of training, validation and test; x is an image, or its latent if those are given."""
    return make_loaders(
        task, batch_size=flags.batch_size, seed=flags.seed, n_repetitions=flags.repetitions, latents=latents
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
    print(f"{files.short_path(out)}: {listed}; rejig.csv lists every file; recipe: {flags.recipe}")
    dataset = str(DATASETS.parse("folder label=folder group=person pattern={person}_{}", flags.dataset))
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
        is_new: whether the folder is that of a new run.
    """

    folder: Path
    config: dict
    flags: argparse.Namespace
    start_epoch: int
    seconds_before: float
    started: float
    is_new: bool

    @property
    def seconds(self) -> float:
        """The training time of the run so far."""
        return self.seconds_before + time.monotonic() - self.started

    def tracked(self, settings: Path, loader: Loader) -> TrackedRun:
        """Return what trackers need to know of the run."""
        flags = self.flags
        numbers = self.start_epoch, flags.n_epochs, len(loader), flags.log_every
        return TrackedRun(self.folder, settings, *numbers, flags.experiment, self.config)

    def begin(
        self, network: Model | Repetitions, latents: Tensor | None, loader: Loader, learning: sessions.Resumable
    ) -> None:
        """Write what a new run begins with: its split, and a copy of the session that it continues."""
        if self.is_new:
            sessions.save_task(self.folder, loader.batches.task, network.encoder, latents)
        if self.is_new and self.start_epoch:
            self.save(self.start_epoch - 1, network, loader, learning)

    def is_due(self, epoch: int) -> bool:
        """Return whether to save after this epoch."""
        return (epoch + 1) % self.flags.save_every == 0

    def save(self, epoch: int, network: Model | Repetitions, loader: Loader, learning: sessions.Resumable) -> None:
        """Save EPOCH/{model,optim,state}.pth with all that resuming needs, and the best weights."""
        state = {"epoch": epoch, "seconds": self.seconds, "generators": loader.generator_states()}
        state |= learning.state() | sessions.random_state(next(network.parameters()).device)
        files_of_run = sessions.run_files(self.folder, self.config, loader.batches.task)
        keep_all = self.flags.keep == "all"
        sessions.save_session(self.folder, epoch, network, learning, state, files_of_run, keep_all=keep_all)

    def save_snapshots(self, epochs: float, network: Model | Repetitions, loader: Loader) -> None:
        """Write latents of all images and pictures of a few to {latents,pictures}/EPOCHS.npz, if they are due."""
        batches, task, name = loader.batches, loader.batches.task, f"{epochs:.10g}.npz"
        if falls_due(self.flags.latents_every, epochs, len(loader)):
            latents = encode(network, task.dataset) if batches.latents is None else batches.latents
            save_latents(self.folder / "latents" / name, latents.cpu(), task.dataset, task.part)
        if falls_due(self.flags.pictures_every, epochs, len(loader)):
            save_pictures(self.folder / PICTURES / name, network.single(0), task, batches.latents)

    def send_assets(self, trackers: Tracker) -> None:
        """Send the files that online trackers keep: the last session, the best weights, the result."""
        paths = [path for session in files.sessions(self.folder)[-1:] for path in sorted(session.glob("*.pth"))]
        paths += [self.folder / files.BEST, self.folder / files.RESULT]
        for path in filter(Path.exists, paths):
            trackers.asset(path)


@contextmanager
def open_session(
    flags: argparse.Namespace,
    words: list[str],
    task: Task,
    model: dict[str, Any],
    saved: Path | None,
    state: dict[str, Any],
    started: float,
) -> Iterator[Session]:
    """Make the folder of a new run, or open that of the run to resume, and keep other processes from training it.

    A session that is not its run's latest is resumed as a new run, so that no later epoch is lost; so is one that is
    given another --namestr or --save_dir.
    """
    is_resumed = saved is not None and sessions.is_in_place(saved, command.plain(flags))
    folder = saved.parent if saved and is_resumed else files.new_run(flags.save_dir, flags.namestr)
    with locked(folder):
        require(
            not is_resumed or saved == files.sessions(folder)[-1],
            f"{folder} has been trained further in the meantime; try again",
        )
        config = sessions.describe_run(command.plain(flags), words, task, model)
        sessions.begin(folder, config, saved, keep_all=flags.keep == "all")
        try:
            yield Session(folder, config, flags, state["epoch"] + 1, state["seconds"], started, not is_resumed)
        except OSError as error:  # the disk is full, for example
            raise UserError(f"{format_error(error)}; {files.format_resume(folder)}") from error
