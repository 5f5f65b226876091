"""A trained run, opened with its model, its images and its split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neuro_noodle.augment import AUGMENTATIONS, augment
from neuro_noodle.choices import UserError, require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.splits import Parts
from neuro_noodle.learning.evaluation import predict
from neuro_noodle.networks.base import Model
from neuro_noodle.objectives.base import Evidence, Objective
from neuro_noodle.runs.latents import FIXED_LATENTS, encode, load_latents, save_latents
from neuro_noodle.runs.loaders import Batches, Loader
from neuro_noodle.runs.manifest import best_session
from neuro_noodle.runs.sessions import load_model
from neuro_noodle.runs.split import load_split
from neuro_noodle.runs.task import Task, TaskSource, drop_missing_targets, part_of_each

BATCH = 256


@dataclass
class Run:
    """A trained run.

    Attributes:
        folder: of the run.
        session: the session whose weights the model has: best, or an epoch.
        config: as config.json keeps it.
        model: ready to predict.
        dataset, objective: the images and what is predicted.
        parts: the indices of the images in each part; `left_out` for images in none.
        precomputed: (N, D) latents of an encoder that encodes each image only once; else None.
        notes: what the user should know.
    """

    folder: Path
    session: str
    config: dict
    model: Model
    dataset: StimulusSet
    objective: Objective
    parts: Parts
    precomputed: Tensor | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name of its folder, and of the session if it is not the best."""
        return self.folder.name if self.session == "best" else f"{self.folder.name}/{self.session}"

    @property
    def part(self) -> np.ndarray:
        """The name of the part that each image belongs to, (N,)."""
        return part_of_each(self.parts, len(self.dataset))

    @property
    def held_out(self) -> np.ndarray:
        """The indices of the test images, or of the validation images if there is no test part."""
        return np.array(self.parts["test"] or self.parts["validation"], int)

    def task(self, device: torch.device | None = None) -> Task:
        """Return the task of the run, without its leaks."""
        return Task(self.dataset, self.objective, self.parts, {}, device or torch.device("cpu"))

    def images(self, indices: np.ndarray | None = None) -> Tensor:
        """Return (N, C, H, W) images in [0, 1], all of them unless indices are given."""
        indices = np.arange(len(self.dataset)) if indices is None else indices
        return self.dataset.sample(torch.as_tensor(indices))["image"]

    def augmented(self, indices: np.ndarray, *, seed: int = 0) -> Tensor:
        """Return (n, C, H, W) images, each with a random augmentation as in training."""
        augmentations = [AUGMENTATIONS.build(choice) for choice in self.config["flags"]["augment"]]
        return augment(self.images(indices), augmentations, torch.Generator().manual_seed(seed))[0]

    def latents(self) -> np.ndarray:
        """Return the latent of every image, (N, D) float32, in the order of `dataset.ids`."""
        return (encode(self.model, self.dataset) if self.precomputed is None else self.precomputed).numpy()

    @torch.no_grad()
    def outputs(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the inputs of the model for some images, and its outputs.

        Returns:
            (n, ...) images, with noise if the objective adds some, or precomputed latents; and (n, ...)
            reconstructions, probabilities, vectors or numbers.
        """
        batches = Batches(self.task(), indices.tolist(), latents=self.precomputed)
        inputs = [batches.__getitems__(positions)[0] for positions in torch.arange(len(batches)).split(BATCH)]
        return torch.cat(inputs), self.objective.output(torch.cat([self.model(x) for x in inputs]))

    def evidence(self, indices: np.ndarray) -> Evidence:
        """Return what the objective needs to judge the outputs for some images, (n, ...) each."""
        loader = Loader(Batches(self.task(), indices.tolist(), latents=self.precomputed), BATCH)
        return predict(self.model, loader, self.objective)[1]

    def save_latents(self, values: np.ndarray) -> Path:
        """Write latents (N, D) with ids, parts and columns to latents/best.npz, or EPOCHS.npz for a session."""
        name = str(int(self.session) + 1) if self.session.isdigit() else self.session
        path = self.folder / "latents" / f"{name}.npz"
        save_latents(path, values, self.dataset, self.part)
        return path


def open_run(
    load_dir: Path | str,
    data_dir: Path | str | None = None,
    *,
    images: TaskSource | None = None,
    trust_pickle: bool = False,
) -> Run:
    """Open a run with the weights of one session.

    Args:
        load_dir: a run (its best weights), or one of its sessions.
        data_dir: where the run's images are now, if they have moved.
        images: open these images instead; those that are not the run's own are all in the test part.
        trust_pickle: also open a UMAP, which is kept in a pickle that can run code.

    Raises:
        UserError: if there is no such run, or the images do not fit it.
    """
    session = best_session(Path(load_dir))
    model, config = load_model(session, trust_pickle=trust_pickle)
    source = images or TaskSource.of(config["flags"], Path(data_dir) if data_dir else None)
    dataset, objective = source.open()
    _require_same_kind(dataset, objective, config, session)
    objective.restore(config["learned"])
    try:
        parts = load_split(session.parent, dataset)
    except UserError:
        if images is None or has_own_images(source, config):
            raise
        parts = {"training": [], "validation": [], "test": list(range(len(dataset)))}
    parts, notes = drop_missing_targets(dataset, objective, parts)
    if not parts["training"] and dataset.neurons and all(map(str.isdigit, dataset.neurons)):
        notes.append("the neurons have numbers, not names; each must be the same neuron as in training")
    precomputed = None
    if parts["training"] and model.encoder.encodes_once:
        precomputed = load_latents(session.parent / FIXED_LATENTS, dataset)
        model.precomputed = True
    return Run(
        session.parent, session.name, config, model, dataset, objective, parts, precomputed, (*dataset.notes, *notes)
    )


def has_own_images(source: TaskSource, config: dict) -> bool:
    """Return whether a source names the images that a run was trained on."""
    flags = config["flags"]
    return source.dataset == flags["dataset"] and str(source.data_dir.resolve()) == flags["data_dir"]


def _require_same_kind(dataset: StimulusSet, objective: Objective, config: dict, session: Path) -> None:
    expected = config["model"]["image_shape"]
    require(
        list(dataset.image_shape) == expected and dataset.classes == config["classes"],
        f"these images have shape {dataset.image_shape} and classes {dataset.classes or 'none'}, but those of "
        f"{session} have shape {tuple(expected)} and classes {config['classes'] or 'none'}",
    )
    neurons = config["neurons"]
    first = next((f"; {a} is not {b}" for a, b in zip(dataset.neurons, neurons, strict=False) if a != b), "")
    require(
        list(dataset.neurons) == neurons,
        f"these responses are of other neurons ({len(dataset.neurons)}) than those of {session} ({len(neurons)})"
        + first,
    )
    require(
        list(objective.output_shape) == config["model"]["output_shape"],
        f"the objective predicts {list(objective.output_shape)}, but the network of {session} "
        f"{config['model']['output_shape']}",
    )
