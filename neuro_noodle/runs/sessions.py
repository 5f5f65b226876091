"""Sessions: what a run saves while it trains, and how it is loaded again."""

import io
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from neuro_noodle.choices import UserError, require
from neuro_noodle.learning.best import Patience
from neuro_noodle.learning.ranks import count, is_writer
from neuro_noodle.networks.base import Encoder, Model, build_model
from neuro_noodle.networks.tensors import read_tensors
from neuro_noodle.plain import counted
from neuro_noodle.runs.commits import METRICS, RESULTS, Contents, commit_session, recover
from neuro_noodle.runs.config import load_config
from neuro_noodle.runs.files import (
    BEST,
    CONFIG,
    FITTED_STATE,
    SPLIT,
    find_saved,
    json_bytes,
    n_folds,
    sessions,
    write_json,
)
from neuro_noodle.runs.latents import FIXED_LATENTS, load_fitted_state, save_fitted_state, save_latents, snapshots
from neuro_noodle.runs.loaders import Loader
from neuro_noodle.runs.lock import locked, require_idle
from neuro_noodle.runs.manifest import best_session, has_result, latest_manifest, read_checked
from neuro_noodle.runs.metrics import restore_metrics
from neuro_noodle.runs.pictures import saved_pictures
from neuro_noodle.runs.split import named
from neuro_noodle.runs.task import Task


class AlreadyTrained(UserError):
    """A run to resume has been trained to its end, and has its result."""


class Resumable(Protocol):
    """What a session saves of the learning."""

    optimizer: Optimizer
    patience: Patience

    @property
    def best_weights(self) -> dict[str, Tensor] | None:
        """The best weights so far."""
        ...

    def state(self) -> dict[str, Any]:
        """Return plain values and tensors from which learning resumes, without those of the optimizer."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Restore the state of a session, with that of its optimizer."""
        ...

    def has_finished(self, n_trained: int) -> bool:
        """Return whether there is nothing left to train after so many epochs."""
        ...


def save_session(
    run: Path, epoch: int, model: Module, learning: Resumable, state: dict[str, Any], files: Contents, *, keep_all: bool
) -> None:
    """Write run/EPOCH/{model,optim,state}.pth, the best weights and other files, all of them or none.

    Args:
        run: the folder of the run.
        epoch: the epoch just trained, from 0.
        model: saved with all its weights.
        learning: its optimizer and its best weights are saved.
        state: everything else that resuming needs.
        files: contents of other files of the run that belong to the session, by path in it.
        keep_all: keep earlier sessions; otherwise they are removed once this one is complete.
    """
    contents = {"model": model.state_dict(), "optim": learning.optimizer.state_dict(), "state": state}
    best = {BEST: pth_bytes(learning.best_weights)} if learning.best_weights else {}
    session = {f"{name}.pth": pth_bytes(content) for name, content in contents.items()}
    commit_session(run, epoch, session, {**files, **best}, keep_all=keep_all)


def pth_bytes(content: object) -> bytes:
    """Return tensors and plain values as the content of a .pth file."""
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def load_pth(path: Path) -> dict:
    """Read a .pth file of tensors and plain values; no code in it is ever run.

    Raises:
        UserError: if it is missing, damaged, or holds code.
    """
    return read_tensors(read_checked(path), path)


@contextmanager
def opening(session: Path) -> Iterator[None]:
    """Raise UserError where the content of a session does not fit the network that it should belong to."""
    try:
        yield
    except UserError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise UserError(f"{session} does not fit its config.json, or is of another version: {reason}") from error


def random_state(device: torch.device) -> dict[str, Tensor | None]:
    """Return the state of torch's random numbers."""
    is_cuda = device.type == "cuda"
    return {"rng": torch.get_rng_state(), "cuda_rng": torch.cuda.get_rng_state(device) if is_cuda else None}


def restore_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore the state of torch's random numbers."""
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"], device)


def load_state(saved: Path | None, loader: Loader, learning: Resumable, device: torch.device) -> dict[str, Any]:
    """Restore learning and all random numbers from a saved session, if there is one; returns its epoch and seconds."""
    if saved is None:
        return {"epoch": -1, "seconds": 0.0}
    state = load_pth(saved / "state.pth")
    optimizer = load_pth(saved / "optim.pth")
    with opening(saved):
        loader.restore_generators(state["generators"])
        restore_random_state(state, device)
        learning.restore(state | {"optimizer": optimizer})
        return {"epoch": int(saved.name), "seconds": float(state["seconds"])}


def begin(run: Path, config: dict[str, Any], saved: Path | None, *, keep_all: bool) -> None:
    """Prepare the folder of a run for training; what it holds stays until the first session replaces it.

    Args:
        run: a new folder, or the run to resume.
        config: what config.json will hold.
        saved: the session to resume, of this run or of another; None for a new one.
        keep_all: keep earlier sessions.
    """
    before = load_config(saved.parent).get("n_processes", 1) if saved else count()
    if before != count():
        print(
            f"note: {saved} was trained by {counted(before, 'process')} and is continued by {count()}, so its numbers "
            "equal those of an uninterrupted run only within rounding",
            file=sys.stderr,
        )
    if saved and saved.parent == run:
        recover(run, keep_all=keep_all)
    else:
        write_json(run / CONFIG, config)
        if saved:
            copy_history(saved, run)
    if saved:
        restore_metrics(run, saved)


def settle_finished(saved: Path | None, n_trained: int, learning: Resumable) -> bool:
    """Return whether nothing is left to train after so many epochs; a saved run that also has its result is settled.

    Raises:
        AlreadyTrained: if there is such a run.
    """
    finished = learning.has_finished(n_trained)
    if saved and finished and _has_intact_result(saved.parent):
        if is_writer():
            with locked(saved.parent):
                recover(saved.parent, keep_all=True)
        more = "raise --patience" if learning.patience.has_stopped else "--n_epochs is the total: raise it"
        raise AlreadyTrained(f"{saved} has already trained {n_trained} epochs; {more}")
    if saved and finished:
        print(f"note: {saved} has already trained {n_trained} epochs; only the result is computed", file=sys.stderr)
    return finished


def _has_intact_result(run: Path) -> bool:
    """Return whether a run has its result; prints a note if a file of it is missing or damaged."""
    try:
        for name in latest_manifest(run).run.keys() & set(RESULTS):
            read_checked(run / name)
    except UserError as error:
        print(f"note: {error}; the result is made again", file=sys.stderr)
        return False
    return has_result(run)


def copy_history(session: Path, run: Path) -> None:
    """Copy the metrics, latents and pictures of the epochs up to a session into a new run that resumes from it."""
    for name in (METRICS, FITTED_STATE):
        if (session.parent / name).exists():
            shutil.copy2(session.parent / name, run / name)
    for found in (snapshots(session.parent), saved_pictures(session.parent)):
        for epochs, path in found.items():
            if epochs <= int(session.name) + 1:
                (run / path.parent.name).mkdir(exist_ok=True)
                shutil.copy2(path, run / path.parent.name / path.name)


def load_model(load_dir: Path | str, *, trust_pickle: bool = False) -> tuple[Model, dict]:
    """Rebuild the model of a session with its weights, ready to use.

    Args:
        load_dir: a run (its best weights) or a session.
        trust_pickle: also open fitted state kept in a pickle (a UMAP), which can run code.

    Returns:
        The model, and the config of its run.
    """
    session = best_session(Path(load_dir))
    run, config = session.parent, load_config(session.parent)
    with opening(session):
        model = build_model(**config["model"])
        model.load_state_dict(load_weights(session))
    if trust_pickle:
        model.encoder.fitted_state = load_fitted_state(run)
    return model.eval(), config


def load_weights(session: Path) -> dict[str, Tensor]:
    """Return the weights of a session of one network.

    Raises:
        UserError: if the session holds several repetitions.
    """
    n_repetitions = load_config(session.parent)["flags"]["repetitions"]
    if n_repetitions > 1 and session.name != "best":
        raise UserError(
            f"{session} holds {n_repetitions} repetitions; {session.parent / 'best'} has the weights of the best"
        )
    return load_pth(session / "model.pth")


def load_encoder(model: Model, load_dir: Path, n_fresh: int, *, trust_pickle: bool) -> None:
    """Load the encoder of a run (its best weights) or session into a model, except its last stages.

    Args:
        model: its encoder is loaded.
        load_dir: the run or session.
        n_fresh: number of stages with weights, counted from the end and including the head, that stay new.
        trust_pickle: also open fitted state kept in a pickle.

    Raises:
        UserError: if the two encoders do not match.
    """
    session = best_session(load_dir)
    stages = list(model.weighted_stages())
    require(n_fresh <= len(stages), f"--fresh_stages {n_fresh}: there are {len(stages)} stages: {', '.join(stages)}")
    fresh = tuple(f"stages.{name}." for name in stages[len(stages) - n_fresh :])
    saved = {
        key.removeprefix("encoder."): value
        for key, value in load_weights(session).items()
        if key.startswith("encoder.")
    }
    own = model.encoder.state_dict()
    wanted = {key: saved[key] for key in own if key in saved and not key.startswith(fresh)}
    wrong = [
        key for key in own if not key.startswith(fresh) and (key not in saved or saved[key].shape != own[key].shape)
    ]
    wrong += [key for key in saved if key not in own and not key.startswith(fresh)]
    require(
        not wrong,
        f"the encoder of {session} does not fit ({', '.join(wrong[:3])}); the images must have the same size, and "
        "--encoder and --latent_dim must be the same, except for re-initialised stages",
    )
    model.encoder.load_state_dict(own | wanted)
    if trust_pickle:
        model.encoder.fitted_state = load_fitted_state(session.parent)


# ------------------------------------------------------------------------------------------- the folder of a run


def describe_run(flags: dict[str, Any], words: Sequence[str], task: Task, model: dict[str, Any]) -> dict[str, Any]:
    """Return what config.json holds: all that is needed to train, rebuild and understand the network again.

    Args:
        flags: the values of all flags, as JSON can hold them.
        words: the command line.
        task: the images and what is predicted.
        model: the arguments that build the model.
    """
    git = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--verify", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    packages = ("torch", "torchvision", "numpy", "scikit-learn")
    is_cuda = task.device.type == "cuda"
    return {
        "flags": flags,
        "model": model,
        "learned": task.objective.learned,
        "classes": task.dataset.classes,
        "neurons": task.dataset.neurons,
        "skipped": task.dataset.reading.unreadable,
        "command": shlex.join(["python", "main.py", *words]),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in packages},
        "commit": commit or None,
        "n_processes": count(),
        "device": torch.cuda.get_device_name(task.device) if is_cuda else platform.processor() or "cpu",
    }


def run_files(run: Path, config: dict[str, Any], task: Task) -> dict[str, bytes]:
    """Return the contents of config.json and, if someone has removed it, of split.json."""
    files = {CONFIG: json_bytes(config)}
    return files if (run / SPLIT).is_file() else files | {SPLIT: json_bytes(named(task.parts, task.dataset))}


def save_task(run: Path, task: Task, encoder: Encoder, latents: Tensor | None) -> None:
    """Write the split, and the fitted state and latents of an encoder that encodes each image only once."""
    write_json(run / SPLIT, named(task.parts, task.dataset))
    save_fitted_state(run, encoder)
    if encoder.encodes_once and latents is not None:
        save_latents(run / FIXED_LATENTS, latents.cpu(), task.dataset, task.part)


def find_resumed(load_dir: Path | None, flags: dict[str, Any]) -> Path | None:
    """Return the session to resume that a path names; None for a new run.

    Raises:
        UserError: if there is none, if another process trains the run that would be resumed, or if that is a fold.
    """
    saved = find_saved(load_dir)
    if saved and saved.parent == load_dir and _keeps_name(load_dir, flags):
        require_idle(load_dir)
    if saved and is_in_place(saved, flags):
        whole = saved.parent.parent
        n = n_folds(whole)
        require(
            not n, f"{saved.parent} is one of {n} folds, which are trained alike; resume them with --load_dir {whole}"
        )
    return saved


def is_in_place(session: Path, flags: dict[str, Any]) -> bool:
    """Return whether a session is resumed in its own run: it is the latest, and name and folder are the same."""
    return session == sessions(session.parent)[-1] and _keeps_name(session.parent, flags)


def _keeps_name(run: Path, flags: dict[str, Any]) -> bool:
    before = load_config(run)["flags"]
    return all(flags[key] == before[key] for key in ("namestr", "save_dir"))
