"""Latents on disk, and the fitted state of an encoder that only a pickle can hold."""

import pickle
from collections.abc import Mapping
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
from neuro_noodle.progress import Stage
from neuro_noodle.runs.files import FITTED_STATE, atomic, by_epochs, reading
from neuro_noodle.runs.manifest import read_checked

FIXED_LATENTS = Path("latents", "encoder.npz")  # of an encoder that encodes each image only once
COLUMN = "column_"  # starts the name of a metadata column where another could have the same
BATCH = 256  # images encoded at a time


@dataclass(frozen=True)
class Latents:
    """Latents with the id, the part and the metadata of each image.

    Attributes:
        values: (N, D) float32.
        ids: N names of the images.
        part: (N,) the part that each image belongs to: training, validation, test or left_out; new if it was not there.
        columns: metadata by name, (N,) texts or numbers each.
    """

    values: np.ndarray
    ids: list[str]
    part: np.ndarray
    columns: dict[str, np.ndarray]

    def table(self) -> dict[str, Any]:
        """Return the columns of a table with a row per image: id, part, metadata, latent1, latent2, ...

        `pandas.DataFrame(latents.table())` makes a data frame of it.
        """
        width = self.values.shape[1]
        columns: dict[str, Any] = known_columns(self.ids, self.part, self.columns, width)
        return columns | dict(zip(latent_names(width), self.values.T, strict=True))


def latent_names(width: int) -> list[str]:
    """Return the names of the columns of latents in a table: latent1, latent2, ..."""
    return [f"latent{i + 1}" for i in range(width)]


def known_columns(ids: list[str], part: np.ndarray, columns: Mapping[str, Any], width: int) -> dict[str, Any]:
    """Return the columns of a table of latents (N, width) that come before them; metadata never replaces another."""
    own = {"id": ids, "part": part}
    taken = {*own, *latent_names(width)}
    return own | {f"{COLUMN}{name}" if name in taken else name: values for name, values in columns.items()}


def encode(model: Model | Repetitions, dataset: StimulusSet) -> Tensor:
    """Return the latents of all images, (N, D) float32 on the model's device, in the order of their ids."""
    device = next(model.parameters()).device
    latents = torch.empty(len(dataset), model.encoder.latent_dim, device=device)
    n_batch = len(dataset) if model.encoder.encodes_once else BATCH
    with Stage("encoding images") as stage:
        for indices in stage.over(torch.arange(len(dataset)).split(n_batch)):
            latents[indices] = model.encode(dataset.sample(indices, device)["image"])
    return latents


def save_latents(path: Path, latents: Tensor | np.ndarray, dataset: StimulusSet, part: np.ndarray) -> None:
    """Write latents (N, D), ids, the part of each image (N,) and every metadata column to an npz file."""
    path.parent.mkdir(exist_ok=True)
    with atomic(path) as scratch, scratch.open("wb") as file:
        np.savez_compressed(file, latents=np.asarray(latents), **described(dataset, part))


def described(dataset: StimulusSet, part: np.ndarray) -> dict[str, Any]:
    """Return the id, the part (N,) and all metadata of each image, by the names of the arrays in a file."""
    columns = {f"{COLUMN}{name}": np.array(values) for name, values in dataset.columns.items()}
    return {"ids": np.array(dataset.ids), "part": part} | columns


def read_latents(path: Path) -> Latents:
    """Read a file written by `save_latents`.

    Raises:
        UserError: if the file is damaged.
    """
    with reading(path), np.load(path, allow_pickle=False) as file:
        columns = {name.removeprefix(COLUMN): file[name] for name in file if name.startswith(COLUMN)}
        return Latents(file["latents"], file["ids"].tolist(), file["part"], columns)


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
