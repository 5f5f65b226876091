"""What encoders make and have learned, on disk: latents of all images, and what only a pickle can hold."""

import contextlib
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.networks.base import Encoder, Model

FIXED_LATENTS = Path("latents", "encoder.npz")  # of an encoder that places each image once
BATCH = 256  # images encoded at a time


def encode(model: Model, dataset: StimulusSet) -> Tensor:
    """Return the latents of all images, (N, D) float32 on the model's device, in the order of their ids."""
    device = next(model.parameters()).device
    whole = torch.empty(len(dataset), model.encoder.latent_dim, device=device)
    n_batch = len(dataset) if model.encoder.encodes_once else BATCH
    for start in range(0, len(dataset), n_batch):
        indices = torch.arange(start, min(start + n_batch, len(dataset)))
        whole[indices] = model.encode(dataset.sample(indices, device)["image"])
    return whole


def part_of_each(parts: Mapping[str, list[int]], n_images: int) -> np.ndarray:
    """Return the (N,) name of the part that each image is in."""
    part = np.empty(n_images, dtype="<U10")
    for name, indices in parts.items():
        part[indices] = name
    return part


def save_latents(path: Path, latents: Tensor | np.ndarray, dataset: StimulusSet, part: np.ndarray) -> None:
    """Write latents (N, D), ids, the part of each image (N,) and every column to an npz file, whole or not at all."""
    columns = {f"column_{name}": np.array(column) for name, column in dataset.columns.items()}
    path.parent.mkdir(exist_ok=True)
    scratch = path.with_name(f".{path.name}.part")
    with scratch.open("wb") as file:
        np.savez_compressed(file, latents=np.asarray(latents), ids=np.array(dataset.ids), part=part, **columns)
    scratch.replace(path)


def read_latents(path: Path) -> tuple[np.ndarray, list[str], np.ndarray]:
    """Return what `save_latents` has written: latents (N, D), N ids, and the part of each image (N,).

    Raises:
        UserError: where the file is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["latents"], file["ids"].tolist(), file["part"]
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def load_latents(path: Path, dataset: StimulusSet) -> Tensor:
    """Return the latents that a run has written of these images, (N, D).

    Raises:
        UserError: where the file is damaged, or of other images.
    """
    latents, ids, _ = read_latents(path)
    require(ids == dataset.ids, f"{path} holds the latents of other images")
    return torch.from_numpy(latents)


def snapshots(run: Path) -> dict[float, Path]:
    """Return the latents that --latents_every has written, by epochs trained, in the order of time."""
    found = {}
    for path in (run / "latents").glob("[0-9]*.npz"):
        with contextlib.suppress(ValueError):
            found[float(path.stem)] = path
    return dict(sorted(found.items()))


def save_pickled(run: Path, encoder: Encoder) -> None:
    """Write to run/encoder.pkl what no file of tensors can hold; nothing unless there is any."""
    if encoder.fitted_state is None:
        return
    scratch = run / ".encoder.pkl.part"
    with scratch.open("wb") as file:
        pickle.dump(encoder.fitted_state, file)
    scratch.replace(run / "encoder.pkl")


def load_pickled(run: Path) -> object | None:
    """Return what a run keeps in a pickle. Opening it can run any code, so ask the user first."""
    try:
        with (run / "encoder.pkl").open("rb") as file:
            return pickle.load(file)
    except FileNotFoundError:
        return None
    except Exception as error:  # a damaged pickle, or one of other versions, fails in any way
        raise UserError(f"{run / 'encoder.pkl'} cannot be opened: {type(error).__name__}: {error}") from error
