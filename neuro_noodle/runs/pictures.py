"""Pictures over training: how a few images are reconstructed after some epochs, kept as pixels of 8 bits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.networks.base import Model
from neuro_noodle.runs.files import atomic, by_epochs, reading
from neuro_noodle.runs.loaders import Batches
from neuro_noodle.runs.task import Task

FOLDER = "pictures"
N_OF_PART = 6  # images of training, and as many of validation


@dataclass(frozen=True)
class Reconstructions:
    """Images and how they are reconstructed.

    Attributes:
        ids: of the n images.
        part: (n,) training or validation.
        inputs, targets, outputs: (n, C, H, W) in [0, 1]; inputs differ from targets if noise was added.
    """

    ids: list[str]
    part: np.ndarray
    inputs: np.ndarray
    targets: np.ndarray
    outputs: np.ndarray


@torch.no_grad()
def save_pictures(path: Path, model: Model, task: Task, latents: Tensor | None) -> None:
    """Write the reconstructions of a few training and validation images, always the same ones; modes are restored.

    Args:
        path: an npz file.
        model: reconstructs images.
        task: the images.
        latents: (N, D) latents of all images of a fixed encoder, or None.
    """
    was_training = model.training
    model.eval()
    columns: dict[str, list[np.ndarray]] = {"inputs": [], "targets": [], "outputs": []}
    ids, parts = [], []
    for part in ("training", "validation"):
        indices = evenly_spaced(np.array(task.parts[part]), N_OF_PART)
        inputs, targets = Batches(task, indices.tolist()).__getitems__(torch.arange(len(indices)))
        outputs = task.objective.output(model(inputs if latents is None else latents[indices]))
        for name, images in (("inputs", inputs), ("targets", targets), ("outputs", outputs)):
            columns[name].append((images.clamp(0, 1) * 255).round().byte().cpu().numpy())
        ids += [task.dataset.ids[i] for i in indices]
        parts += [part] * len(indices)
    model.train(was_training)
    path.parent.mkdir(exist_ok=True)
    with atomic(path) as scratch, scratch.open("wb") as file:
        arrays: dict[str, Any] = {name: np.concatenate(images) for name, images in columns.items()}
        np.savez_compressed(file, ids=np.array(ids), part=np.array(parts), **arrays)


def read_pictures(path: Path) -> Reconstructions:
    """Read a file written by `save_pictures`.

    Raises:
        UserError: if the file is damaged.
    """
    with reading(path), np.load(path, allow_pickle=False) as file:
        images = {name: file[name].astype(np.float32) / 255 for name in ("inputs", "targets", "outputs")}
        return Reconstructions(file["ids"].tolist(), file["part"], **images)


def saved_pictures(run: Path) -> dict[float, Path]:
    """Return the files written by --pictures_every, by epochs trained, in order of time."""
    return by_epochs(run / FOLDER)
