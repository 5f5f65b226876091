"""Latents on disk, and the fitted state of an encoder that only a pickle can hold."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.networks.base import Encoder, Model
from neuro_noodle.networks.repetitions import Repetitions
from neuro_noodle.runs.files import FITTED_STATE, atomic, by_epochs, reading
from neuro_noodle.runs.manifest import read_checked

FIXED_LATENTS = Path("latents", "encoder.npz")  # of an encoder that encodes each image only once
BATCH = 256  # images encoded at a time


@dataclass(frozen=True)
class Latents:
    """Latents (N, D) with the id of each image and the part (N,) it belongs to."""

    values: np.ndarray
    ids: list[str]
    part: np.ndarray


def encode(model: Model | Repetitions, dataset: StimulusSet) -> Tensor:
    """Return the latents of all images, (N, D) float32 on the model's device, in the order of their ids."""
    device = next(model.parameters()).device
    latents = torch.empty(len(dataset), model.encoder.latent_dim, device=device)
    n_batch = len(dataset) if model.encoder.encodes_once else BATCH
    for start in range(0, len(dataset), n_batch):
        indices = torch.arange(start, min(start + n_batch, len(dataset)))
        latents[indices] = model.encode(dataset.sample(indices, device)["image"])
    return latents


def save_latents(path: Path, latents: Tensor | np.ndarray, dataset: StimulusSet, part: np.ndarray) -> None:
    """Write latents (N, D), ids, the part of each image (N,) and every metadata column to an npz file."""
    path.parent.mkdir(exist_ok=True)
    with atomic(path) as scratch, scratch.open("wb") as file:
        np.savez_compressed(file, latents=np.asarray(latents), **described(dataset, part))


def described(dataset: StimulusSet, part: np.ndarray) -> dict[str, Any]:
    """Return the id, the part (N,) and all metadata of each image, by the names of the arrays in a file."""
    columns = {f"column_{name}": np.array(values) for name, values in dataset.columns.items()}
    return {"ids": np.array(dataset.ids), "part": part} | columns


def read_latents(path: Path) -> Latents:
    """Read a file written by `save_latents`.

    Raises:
        UserError: if the file is damaged.
    """
    with reading(path), np.load(path, allow_pickle=False) as file:
        return Latents(file["latents"], file["ids"].tolist(), file["part"])


def load_latents(path: Path, dataset: StimulusSet) -> Tensor:
    """Return the latents that a run has written for the images of a dataset, (N, D).

    Raises:
        UserError: if the file is damaged or holds latents of other images.
    """
    latents = read_latents(path)
    require(latents.ids == dataset.ids, f"{path} holds the latents of other images")
    return torch.from_numpy(latents.values)


def snapshots(run: Path) -> dict[float, Path]:
    """Return the files written by --latents_every, by epochs trained, in order of time."""
    return by_epochs(run / "latents")


def save_fitted_state(run: Path, encoder: Encoder) -> None:
    """Pickle the encoder's fitted state to run/encoder.pkl, if it has any that tensors cannot hold."""
    if encoder.fitted_state is None:
        return
    with atomic(run / FITTED_STATE) as scratch, scratch.open("wb") as file:
        pickle.dump(encoder.fitted_state, file)


def load_fitted_state(run: Path) -> object | None:
    """Return the fitted state that a run keeps in a pickle. Opening it can run any code, so ask the user first."""
    if not (run / FITTED_STATE).is_file():
        return None
    content = read_checked(run / FITTED_STATE)
    try:
        return pickle.loads(content)
    except Exception as error:  # a pickle of other versions fails in any way
        raise UserError(f"{run / FITTED_STATE} cannot be opened: {type(error).__name__}: {error}") from error
