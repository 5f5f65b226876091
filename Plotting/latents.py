"""From a run to the latents of every image, with ids, metadata and parts; and to their two-dimensional embedding."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from augment import AUGMENTATIONS, augment
from choices import UserError
from datasets import StimulusSet
from objectives import OBJECTIVES, Objective
from utils import find_session, load_model, load_split, open_dataset

BATCH = 256


@dataclass
class Run:
    """A trained run, opened for looking at it.

    Attributes:
        folder: where it lies; session is the one whose weights the model has.
        part: (N,) training, validation or test, for each image.
    """

    folder: Path
    session: str
    config: dict
    model: torch.nn.Module
    dataset: StimulusSet
    objective: Objective
    part: np.ndarray

    def images(self, indices: np.ndarray | None = None) -> torch.Tensor:
        """Return (N, C, H, W) images in [0, 1], all of them unless told which."""
        indices = np.arange(len(self.dataset)) if indices is None else indices
        return self.dataset.sample(torch.as_tensor(indices))["image"]

    def augmented(self, indices: np.ndarray, *, seed: int = 0) -> torch.Tensor:
        """Return (n, C, H, W): images as training showed them, each changed by a draw of its own."""
        changes = [AUGMENTATIONS.build(choice) for choice in self.config["flags"]["augment"]]
        return augment(self.images(indices), changes, torch.Generator().manual_seed(seed))


def open_run(load_dir: Path, data_dir: Path | None = None) -> Run:
    """Open a run with the weights of one session.

    Args:
        load_dir: a run (its best weights), or one of its sessions.
        data_dir: where the images are now, if they have moved since.
    """
    folder, session = find_session(Path(load_dir))
    if Path(load_dir) == folder and (folder / "best").is_dir():
        session = folder / "best"
    model, config = load_model(session)
    flags = config["flags"]
    dataset = open_dataset(flags, data_dir)
    part = np.empty(len(dataset), dtype="<U10")
    for name, indices in load_split(folder, dataset).items():
        part[indices] = name
    return Run(folder, session.name, config, model, dataset, OBJECTIVES.build(flags["objective"]), part)


@torch.no_grad()
def latents(run: Run) -> np.ndarray:
    """Return the latent of every image, (N, D) float32, in the order of the dataset's ids."""
    chunks = np.array_split(np.arange(len(run.dataset)), -(-len(run.dataset) // BATCH))
    return torch.cat([run.model.encoder(run.images(chunk)).float() for chunk in chunks]).numpy()  # (N, D)


@torch.no_grad()
def outputs(run: Run, images: torch.Tensor) -> torch.Tensor:
    """Return what the model makes of images (B, C, H, W): reconstructions or class probabilities."""
    return run.objective.output(run.model(images))


def save_latents(run: Run, values: np.ndarray) -> Path:
    """Write latents/<session>.npz: latents (N, D), ids, part and every metadata column."""
    path = run.folder / "latents" / f"{run.session}.npz"
    path.parent.mkdir(exist_ok=True)
    columns = {f"column_{name}": np.array(column) for name, column in run.dataset.columns.items()}
    np.savez_compressed(path, latents=values, ids=np.array(run.dataset.ids), part=run.part, **columns)
    return path


def embed(values: np.ndarray, training: np.ndarray, *, seed: int = 42) -> np.ndarray:
    """Place every row on a plane by a UMAP that is fitted on training images alone.

    Args:
        values: (N, D) latents or pixels.
        training: (N,) bool.

    Returns:
        (N, 2); the same for the same seed.

    Raises:
        UserError: with fewer than 4 training images.

    Source: McInnes et al. 2018, arXiv:1802.03426.
    """
    if training.sum() < 4:
        raise UserError(f"a map needs at least 4 training images, not {training.sum()}")
    from umap import UMAP

    mapper = UMAP(n_neighbors=min(15, training.sum() - 1), random_state=seed, n_jobs=1)
    placed = np.empty((len(values), 2), np.float32)
    placed[training] = mapper.fit_transform(values[training])
    if not training.all():
        placed[~training] = mapper.transform(values[~training])
    return placed
