"""Sessions: what a run saves while it trains, and how it is loaded again."""

import json
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Module
from torch.optim import Optimizer

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.splits import Parts
from neuro_noodle.networks.base import Encoder, Model, build_model
from neuro_noodle.runs.files import (
    atomic,
    best_session,
    find_session,
    load_config,
    sessions,
    short_path,
    sync_folder,
    write_json,
)
from neuro_noodle.runs.latents import FIXED_LATENTS, load_fitted_state, save_fitted_state, save_latents, snapshots
from neuro_noodle.runs.pictures import saved_pictures
from neuro_noodle.runs.task import Task
from neuro_noodle.tracking.records import FILE as RECORDS
from neuro_noodle.tracking.records import read_records


class Resumable(Protocol):
    """What a session saves of the learning."""

    optimizer: Optimizer

    @property
    def best_weights(self) -> dict[str, Tensor] | None:
        """The best weights so far."""
        ...

    def state(self) -> dict[str, Any]:
        """Return plain values and tensors from which learning resumes, without those of the optimizer."""
        ...


def save_session(
    run: Path, epoch: int, model: Module, learning: Resumable, state: dict[str, Any], *, keep_all: bool
) -> None:
    """Write run/EPOCH/{model,optim,state}.pth, completely or not at all, and the best weights to run/best.

    Args:
        run: the folder of the run.
        epoch: the epoch just trained, from 0.
        model: saved with all its weights.
        learning: its optimizer and its best weights are saved.
        state: everything else that resuming needs.
        keep_all: keep earlier sessions; otherwise they are removed once this one is complete.
    """
    for stale in run.glob(".session.*"):
        shutil.rmtree(stale)
    earlier = sessions(run)
    try:
        scratch = Path(tempfile.mkdtemp(dir=run, prefix=".session."))
        contents = {"model": model.state_dict(), "optim": learning.optimizer.state_dict(), "state": state}
        for name, content in contents.items():
            save_pth(content, scratch / f"{name}.pth")
        scratch.chmod(0o755)
        scratch.rename(run / str(epoch))
        sync_folder(run)
        if learning.best_weights:
            (run / "best").mkdir(exist_ok=True)
            save_pth(learning.best_weights, run / "best" / "model.pth")
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        raise UserError(
            f"cannot write session {epoch} to {run}: {str(error).splitlines()[0]}; earlier sessions are complete"
        ) from error
    if not keep_all:
        for session in earlier:
            shutil.rmtree(session)


def save_pth(content: object, path: Path) -> None:
    """Write tensors and plain values to a .pth file."""
    with atomic(path) as scratch:
        torch.save(content, scratch)


def load_pth(path: Path) -> dict:
    """Read a .pth file of tensors and plain values; no code in it is ever run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} is missing, so this session cannot be opened; try an earlier one") from None
    except Exception as error:  # a damaged file fails in any way
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"{path} is damaged or holds more than weights ({reason}); try an earlier session") from error


def copy_history(session: Path, run: Path) -> None:
    """Copy what the epochs up to a session have left into a new run that resumes from it."""
    for name in ("metrics.jsonl", "encoder.pkl"):
        if (session.parent / name).exists():
            shutil.copy2(session.parent / name, run / name)
    for found in (snapshots(session.parent), saved_pictures(session.parent)):
        for epochs, path in found.items():
            if epochs <= int(session.name) + 1:
                (run / path.parent.name).mkdir(exist_ok=True)
                shutil.copy2(path, run / path.parent.name / path.name)


def split_ids(parts: Parts, dataset: StimulusSet) -> dict[str, list[str]]:
    """Return the ids of the images in each part, as split.json keeps them."""
    return {part: [dataset.ids[i] for i in indices] for part, indices in parts.items()}


def load_split(run: Path, dataset: StimulusSet) -> Parts:
    """Return the indices of the images in each part of a run's split.

    Raises:
        UserError: if the dataset no longer holds the same images.
    """
    ids = json.loads((run / "split.json").read_text(encoding="utf-8"))
    index = {name: i for i, name in enumerate(dataset.ids)}
    missing = [name for names in ids.values() for name in names if name not in index]
    n_new = len(index) + len(missing) - sum(len(names) for names in ids.values())
    if load_config(run).get("digest") not in (None, dataset.digest):
        raise UserError(
            f"the images differ from those {run} was trained on (same number, other pixels); name the right folder "
            "with --data_dir"
        )
    if missing or n_new:
        example = f" (for example {missing[0]})" if missing else ""
        raise UserError(
            f"the images differ from those {run} was trained on: {len(missing)} are missing{example}, {n_new} are new; "
            "name the right folder with --data_dir"
        )
    return {part: [index[name] for name in names] for part, names in ids.items()}


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
    n_repetitions = load_config(session.parent).get("flags", {}).get("repetitions", 1)
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
        n_fresh: number of stages, counted from the end and including the head, that keep their new weights.
        trust_pickle: also open fitted state kept in a pickle.

    Raises:
        UserError: if the two encoders do not match.
    """
    session = best_session(load_dir)
    stages = list(model.stages())
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


def trained_on(load_dir: Path, dataset: StimulusSet) -> set[str]:
    """Return the ids of the dataset's images that the encoder of a run was trained on, in that run or before it."""
    seen: set[str] = set()
    following: Path | None = load_dir
    while following and following.exists():
        run = find_session(following)[0]
        config = load_config(run)
        if config.get("digest") == dataset.digest:
            seen |= set(json.loads((run / "split.json").read_text(encoding="utf-8"))["training"])
        before = config["flags"].get("load_encoder")
        following = Path(before) if before else None
    return seen


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
        "digest": task.dataset.digest,
        "skipped": task.dataset.skipped,
        "command": shlex.join(["python", "main.py", *words]),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in packages},
        "commit": commit or None,
        "device": torch.cuda.get_device_name(task.device) if is_cuda else platform.processor() or "cpu",
    }


def save_task(run: Path, task: Task, encoder: Encoder, latents: Tensor | None) -> None:
    """Write the split, and the fitted state and latents of an encoder that encodes each image only once."""
    write_json(run / "split.json", split_ids(task.parts, task.dataset))
    save_fitted_state(run, encoder)
    if encoder.encodes_once and latents is not None:
        save_latents(run / FIXED_LATENTS, latents.cpu(), task.dataset, task.part)


def is_in_place(session: Path, flags: dict[str, Any]) -> bool:
    """Return whether a session is resumed in its own run: it is the latest, and name and folder are the same."""
    before = load_config(session.parent)["flags"]
    is_latest = session == sessions(session.parent)[-1]
    return is_latest and all(flags[key] == before[key] for key in ("namestr", "save_dir"))


def remove_results(run: Path) -> None:
    """Remove the results of a run that is resumed, since they describe it as it was before."""
    for name in ("result.json", "validation.csv", "test.csv"):
        (run / name).unlink(missing_ok=True)
    for tested in [path for path in (run / "test", *run.glob("test-*")) if path.is_dir()]:
        shutil.rmtree(tested)
        print(f"note: removed {short_path(tested)}, a test of the run before it was resumed", file=sys.stderr)


def truncate_records(run: Path, n_epochs: int) -> None:
    """Keep only the first epochs in metrics.jsonl."""
    kept = [record for record in read_records(run) if record["epoch"] < n_epochs]
    with atomic(run / RECORDS) as scratch:
        scratch.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
