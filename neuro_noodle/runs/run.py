"""A trained run, opened to look at: its model, its images, their latents and the model's outputs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from neuro_noodle.augment import AUGMENTATIONS, augment
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.objectives.base import Objective
from neuro_noodle.runs.latents import FIXED_LATENTS, encode, load_latents, part_of_each, save_latents
from neuro_noodle.runs.loaders import Batches
from neuro_noodle.runs.sessions import best_session, load_model, load_split
from neuro_noodle.runs.task import open_task

BATCH = 256


@dataclass
class Run:
    """A trained run with the weights of one session.

    Attributes:
        folder: the folder of the run.
        session: name of the session whose weights the model has.
        part: (N,) the part of each image: training, validation, test or left_out.
        precomputed: (N, D) stored latents of an encoder that encodes each image once (UMAP); None for all others.
    """

    folder: Path
    session: str
    config: dict
    model: torch.nn.Module
    dataset: StimulusSet
    objective: Objective
    part: np.ndarray
    precomputed: torch.Tensor | None = None

    @property
    def held_out(self) -> np.ndarray:
        """The indices of the test images, or of the validation images if there is no test part."""
        test = np.flatnonzero(self.part == "test")
        return test if len(test) else np.flatnonzero(self.part == "validation")

    def images(self, indices: np.ndarray | None = None) -> torch.Tensor:
        """Return images (n, C, H, W) in [0, 1]; all of them if no indices are given."""
        indices = np.arange(len(self.dataset)) if indices is None else indices
        return self.dataset.sample(torch.as_tensor(indices))["image"]

    def augmented(self, indices: np.ndarray, *, seed: int = 0) -> torch.Tensor:
        """Return images (n, C, H, W) augmented as in training."""
        changes = [AUGMENTATIONS.build(choice) for choice in self.config["flags"]["augment"]]
        return augment(self.images(indices), changes, torch.Generator().manual_seed(seed))[0]

    def latents(self) -> np.ndarray:
        """Return the latents of all images, (N, D) float32, in the order of the dataset's ids."""
        return (encode(self.model, self.dataset) if self.precomputed is None else self.precomputed).numpy()

    @torch.no_grad()
    def outputs(self, indices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the inputs of the model for some images, and its outputs.

        Returns:
            (n, ...) images, with noise if the objective adds noise, or precomputed latents; and (n, ...)
            reconstructions, probabilities, vectors or numbers.
        """
        model = self.model if self.precomputed is None else self.model.after_encoding()
        batches = Batches(self.dataset, indices, self.objective, torch.device("cpu"), latents=self.precomputed)
        inputs = [batches.__getitems__(positions)[0] for positions in torch.arange(len(batches)).split(BATCH)]
        return torch.cat(inputs), self.objective.output(torch.cat([model(x) for x in inputs]))

    def save_latents(self, values: np.ndarray) -> Path:
        """Write latents (N, D) with ids, parts and columns to latents/best.npz, or latents/EPOCHS.npz of a session."""
        name = str(int(self.session) + 1) if self.session.isdigit() else self.session
        path = self.folder / "latents" / f"{name}.npz"
        save_latents(path, values, self.dataset, self.part)
        return path


def open_run(load_dir: Path, data_dir: Path | None = None, *, trust_pickle: bool = False) -> Run:
    """Open a run with the weights of one session.

    Args:
        load_dir: a run (its best weights are loaded), or one of its sessions.
        data_dir: the folder of the images, if it has moved since training.
        trust_pickle: also load a UMAP, which is stored as a pickle and can run code when loaded.
    """
    session = best_session(Path(load_dir))
    model, config = load_model(session, trust_pickle=trust_pickle)
    dataset, objective = open_task(config["flags"], data_dir)
    objective.learned = config.get("learned", {})
    part = part_of_each(load_split(session.parent, dataset), len(dataset))
    stored = load_latents(session.parent / FIXED_LATENTS, dataset) if model.encoder.encodes_once else None
    return Run(session.parent, session.name, config, model, dataset, objective, part, stored)
