"""From a run to the latents of every image, with ids, metadata and parts; and to their two-dimensional embedding."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from neuro_noodle.augment import AUGMENTATIONS, augment
from neuro_noodle.choices import UserError
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.objectives.base import Objective
from neuro_noodle.runs.latents import FIXED_LATENTS, encode, load_latents, part_of_each, save_latents
from neuro_noodle.runs.loaders import Batches
from neuro_noodle.runs.sessions import best_session, load_model, load_split
from neuro_noodle.runs.task import open_task

BATCH = 256


@dataclass
class Run:
    """A trained run, opened for looking at it.

    Attributes:
        folder: where it lies; session is the one whose weights the model has.
        part: (N,) training, validation or test, for each image.
        known: (N, D) latents that are not to be computed anew, of an encoder that places each image once; or None.
    """

    folder: Path
    session: str
    config: dict
    model: torch.nn.Module
    dataset: StimulusSet
    objective: Objective
    part: np.ndarray
    known: torch.Tensor | None = None

    def images(self, indices: np.ndarray | None = None) -> torch.Tensor:
        """Return (N, C, H, W) images in [0, 1], all of them unless told which."""
        indices = np.arange(len(self.dataset)) if indices is None else indices
        return self.dataset.sample(torch.as_tensor(indices))["image"]

    def augmented(self, indices: np.ndarray, *, seed: int = 0) -> torch.Tensor:
        """Return (n, C, H, W): images as training showed them, each changed by a draw of its own."""
        changes = [AUGMENTATIONS.build(choice) for choice in self.config["flags"]["augment"]]
        return augment(self.images(indices), changes, torch.Generator().manual_seed(seed))[0]


def open_run(load_dir: Path, data_dir: Path | None = None, *, trust_pickle: bool = False) -> Run:
    """Open a run with the weights of one session.

    Args:
        load_dir: a run (its best weights), or one of its sessions.
        data_dir: where the images are now, if they have moved since.
        trust_pickle: also open a UMAP, which lies in a pickle that can run code.
    """
    session = best_session(Path(load_dir))
    model, config = load_model(session, trust_pickle=trust_pickle)
    dataset, objective = open_task(config["flags"], data_dir)
    objective.learned = config.get("learned", {})
    part = part_of_each(load_split(session.parent, dataset), len(dataset))
    known = load_latents(session.parent / FIXED_LATENTS, dataset) if model.encoder.encodes_once else None
    return Run(session.parent, session.name, config, model, dataset, objective, part, known)


def latents(run: Run) -> np.ndarray:
    """Return the latent of every image, (N, D) float32, in the order of the dataset's ids."""
    return (encode(run.model, run.dataset) if run.known is None else run.known).numpy()


@torch.no_grad()
def outputs(run: Run, indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the model was given of images, and what it makes of them.

    Returns:
        (n, ...) images, noisy where the objective adds noise, or latents that were known; and (n, ...)
        reconstructions, probabilities, vectors or numbers.
    """
    model = run.model if run.known is None else run.model.after_encoding()
    images = Batches(run.dataset, indices, run.objective, torch.device("cpu"), latents=run.known)
    given = [images.__getitems__(positions)[0] for positions in torch.arange(len(images)).split(BATCH)]
    return torch.cat(given), run.objective.output(torch.cat([model(x) for x in given]))


def save(run: Run, values: np.ndarray) -> Path:
    """Write latents (N, D) with ids, parts and columns to latents/best.npz, or latents/EPOCHS.npz for a session."""
    name = str(int(run.session) + 1) if run.session.isdigit() else run.session
    path = run.folder / "latents" / f"{name}.npz"
    save_latents(path, values, run.dataset, run.part)
    return path


def evenly(indices: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many of some indices, evenly spaced."""
    return indices[np.linspace(0, len(indices) - 1, min(most, len(indices))).astype(int)]


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
