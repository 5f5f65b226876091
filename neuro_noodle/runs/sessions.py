"""Sessions: what a run saves while it trains, and how it is loaded."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import Module

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.networks.base import Model, build_model
from neuro_noodle.runs.files import _sync_folder, find_session, load_config, sessions
from neuro_noodle.runs.latents import load_pickled, snapshots


def save_session(
    run: Path, epoch: int, model: Module, optimizer, state: dict, best: dict[str, Tensor] | None, *, keep_all: bool
) -> None:
    """Write run/<epoch>/{model,optim,state}.pth whole or not at all, and the best weights to run/best.

    Args:
        state: all else that a resumed run needs.
        best: the best weights so far, if there are any yet.
        keep_all: else the earlier sessions are removed once this one is complete.
    """
    for stale in run.glob(".session.*"):
        shutil.rmtree(stale)
    earlier = sessions(run)
    try:
        scratch = Path(tempfile.mkdtemp(dir=run, prefix=".session."))
        for name, content in (("model", model.state_dict()), ("optim", optimizer.state_dict()), ("state", state)):
            _save(content, scratch / f"{name}.pth")
        scratch.chmod(0o755)
        scratch.rename(run / str(epoch))
        _sync_folder(run)
        if best:
            write_best(run, best)
    except (OSError, RuntimeError) as error:  # torch tells of a full disk by a RuntimeError
        raise UserError(
            f"cannot write session {epoch} to {run}: {str(error).splitlines()[0]}; earlier sessions are whole"
        ) from error
    if not keep_all:
        for session in earlier:
            shutil.rmtree(session)


def write_best(run: Path, weights: dict[str, Tensor]) -> None:
    """Write the best weights so far to run/best/model.pth."""
    folder = run / "best"
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".model.", delete=False) as file:
        scratch = Path(file.name)
    _save(weights, scratch)
    scratch.chmod(0o644)
    scratch.replace(folder / "model.pth")


def copy_history(session: Path, run: Path) -> None:
    """Take along into a new run that goes on from a session what the earlier epochs have left."""
    for name in ("metrics.jsonl", "encoder.pkl"):
        if (session.parent / name).exists():
            shutil.copy2(session.parent / name, run / name)
    for epochs, path in snapshots(session.parent).items():
        if epochs <= int(session.name) + 1:
            (run / "latents").mkdir(exist_ok=True)
            shutil.copy2(path, run / "latents" / path.name)


def name_split(parts: dict[str, list[int]], dataset: StimulusSet) -> dict[str, list[str]]:
    """Return the ids of the images in each part."""
    return {part: [dataset.ids[i] for i in indices] for part, indices in parts.items()}


def load_split(run: Path, dataset: StimulusSet) -> dict[str, list[int]]:
    """Return the indices of each part as the run had dealt them.

    Raises:
        UserError: where the dataset no longer holds the same images.
    """
    named = json.loads((run / "split.json").read_text())
    index = {name: i for i, name in enumerate(dataset.ids)}
    missing = [name for names in named.values() for name in names if name not in index]
    new = len(index) + len(missing) - sum(len(names) for names in named.values())
    digest = load_config(run).get("digest")
    if digest not in (None, dataset.digest):
        raise UserError(f"these are as many images as {run} was trained on, but others; name theirs by --data_dir")
    if missing or new:
        example = f", such as {missing[0]}" if missing else ""
        raise UserError(
            f"these are not the images that {run} was trained on: {len(missing)} are missing{example}, and {new} are "
            "new; name the right folder by --data_dir"
        )
    return {part: [index[name] for name in names] for part, names in named.items()}


def load_pth(path: Path) -> dict:
    """Read a .pth file of tensors and plain values; nothing in it is ever run."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{path} is missing, so this session cannot be opened; try an earlier one") from None
    except Exception as error:  # a damaged file fails in any way
        reason = (str(error) or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"{path} is damaged, or holds more than weights ({reason}); try an earlier session") from error


def load_model(load_dir: Path | str, *, trust_pickle: bool = False) -> tuple[Model, dict]:
    """Rebuild the model of a session with its weights, ready to use; returns it and the config of its run.

    Args:
        load_dir: a run or a session.
        trust_pickle: also open what lies in a pickle (a UMAP), which can run code.
    """
    run, session = find_session(Path(load_dir))
    config = load_config(run)
    model = build_model(**config["model"])
    model.load_state_dict(load_weights(session))
    if trust_pickle:
        model.encoder.fitted_state = load_pickled(run)
    return model.eval(), config


def load_weights(session: Path) -> dict[str, Tensor]:
    """Return the weights of a session of one network.

    Raises:
        UserError: for those of several repetitions.
    """
    n = load_config(session.parent).get("flags", {}).get("repetitions", 1)
    if n > 1 and session.name != "best":
        raise UserError(f"{session} holds {n} repetitions; {session.parent / 'best'} has the weights of the best")
    return load_pth(session / "model.pth")


def load_encoder(model: Model, load_dir: Path, n_fresh: int, *, trust_pickle: bool) -> None:
    """Give a model the encoder of a run (its best weights) or session, but for its last stages.

    Args:
        n_fresh: stages that start anew, counted from the end, of which the head is the first.
        trust_pickle: also open what lies in a pickle.

    Raises:
        UserError: where the two do not match.
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
    wanted = {key: saved.get(key) for key in own if not key.startswith(fresh)}
    wrong = [key for key, value in wanted.items() if value is None or value.shape != own[key].shape]
    wrong += [key for key in saved if key not in own and not key.startswith(fresh)]
    if wrong:
        raise UserError(
            f"the encoder of {session} does not fit: {', '.join(wrong[:3])}; images must be of "
            "the same size and --encoder and --latent_dim the same as there, but for stages that start anew"
        )
    model.encoder.load_state_dict(own | wanted)
    if trust_pickle:
        model.encoder.fitted_state = load_pickled(session.parent)


def trained_on(load_dir: Path, dataset: StimulusSet) -> set[str]:
    """Return the ids of the images of a dataset that the encoder of a run has seen in training, there or before."""
    seen: set[str] = set()
    following: Path | None = load_dir
    while following and following.exists():
        run = find_session(following)[0]
        config = load_config(run)
        if config.get("digest") == dataset.digest:
            seen |= set(json.loads((run / "split.json").read_text())["training"])
        before = config["flags"].get("load_encoder")
        following = Path(before) if before else None
    return seen


def best_session(load_dir: Path) -> Path:
    """Return the session that a path means, for a run that with the best weights."""
    run, session = find_session(load_dir)
    return run / "best" if load_dir == run and (run / "best" / "model.pth").is_file() else session


def _save(content: object, path: Path) -> None:
    with path.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
