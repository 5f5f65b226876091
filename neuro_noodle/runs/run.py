"""A trained run, opened with its model, its images and its split."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neuro_noodle.augment import Augmentation, augment, build_augmentations
from neuro_noodle.choices import UserError, require
from neuro_noodle.data.base import DATASETS, StimulusSet
from neuro_noodle.data.new_images import Images, Preparation, as_array
from neuro_noodle.data.splits import Parts
from neuro_noodle.data.store import Store, format_shape
from neuro_noodle.learning.evaluation import predict
from neuro_noodle.networks.base import Model
from neuro_noodle.objectives.base import IMAGES, Evidence, Objective
from neuro_noodle.progress import Stage
from neuro_noodle.runs.latents import FIXED_LATENTS, Latents, encode, load_latents, save_latents
from neuro_noodle.runs.loaders import Batches, Loader, fit_augmentations
from neuro_noodle.runs.manifest import best_session, has_result
from neuro_noodle.runs.result import read_result
from neuro_noodle.runs.sessions import load_model
from neuro_noodle.runs.split import load_split
from neuro_noodle.runs.task import Task, TaskSource, drop_missing_targets, part_of_each

BATCH = 256
NEW = "new"  # the part of images that came after training


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
        device: where all images are encoded, such as the GPU of the training; the device of the model if None.
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
    device: torch.device | None = None

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
        """Return the task of the run, without its leaks and augmentations."""
        return Task(self.dataset, self.objective, self.parts, {}, device or torch.device("cpu"))

    def images(self, indices: np.ndarray | None = None) -> Tensor:
        """Return (N, C, H, W) images in [0, 1], all of them unless indices are given."""
        indices = np.arange(len(self.dataset)) if indices is None else indices
        return self.dataset.sample(torch.as_tensor(indices))["image"]

    def augmented(self, indices: np.ndarray, *, seed: int = 0) -> Tensor:
        """Return (n, C, H, W) images, each with a random augmentation as in training."""
        return augment(self.images(indices), self._augmentations, torch.Generator().manual_seed(seed))[0]

    @cached_property
    def _augmentations(self) -> Sequence[Augmentation]:
        task = replace(self.task(), augmentations=build_augmentations(self.config["flags"]["augment"]))
        fit_augmentations(task)
        return task.augmentations

    @property
    def result(self) -> dict | None:
        """The content of result.json; None if the run is not finished."""
        return read_result(self.folder) if has_result(self.folder) else None

    def latents(self) -> np.ndarray:
        """Return the latent of every image of the run, (N, D) float32, in the order of `dataset.ids`."""
        if self.precomputed is not None:
            return self.precomputed.cpu().numpy()
        own = next(self.model.parameters()).device
        try:
            return encode(self.model.to(self.device or own), self.dataset).cpu().numpy()
        finally:
            self.model.to(own)

    def described_latents(self, images: Images | None = None, *, max_value: float | None = None) -> Latents:
        """Return latents with the id, the part and the metadata of each image.

        Args:
            images: new images, see `prepare`; all images of the run if None.
            max_value: see `prepare`.
        """
        if images is None:
            columns = {name: np.array(values) for name, values in self.dataset.columns.items()}
            return Latents(self.latents(), self.dataset.ids, self.part, columns)
        prepared = self.prepare(images, max_value=max_value)
        return Latents(self.encode(prepared), prepared.ids, np.full(len(prepared), NEW), {})

    @property
    def preparation(self) -> Preparation:
        """How new images are prepared."""
        flags = self.config["flags"]
        return Preparation(self.dataset, DATASETS.parse(flags["dataset"]), Store(TaskSource.of(flags).store.folder))

    def prepare(self, images: Images, *, max_value: float | None = None) -> StimulusSet:
        """Return new images, prepared exactly as in training; prints what was passed over or changed.

        Args:
            images: the name of an image file, of a .npy or .npz file, or of a folder; a list of names of image files;
                or an array or tensor, of the size of the training images: H x W, N x H x W, N x H x W x C or
                N x C x H x W (also H x W x C, C x H x W, and N x P rows of grey pixels).
            max_value: the image value of white. None means: as in training for files and for arrays of the same type,
                else 1 for floating-point numbers, 255 for 8 bits and 65535 for 16 bits.

        Returns:
            The images with their `ids`, in the given order, or that of the names in a folder; can be passed to
            the other methods in place of the images.

        Raises:
            UserError: if a file cannot be read, or shape, type or range do not fit or are unclear; says what fits.
        """
        with Stage("preparing images"):
            prepared = replace(self.preparation, max_value=max_value).prepare(images)
        for line in prepared.reading.lines if prepared is not images else ():
            print(line, file=sys.stderr)
        return prepared

    def encode(self, images: Images, *, max_value: float | None = None) -> np.ndarray:
        """Return the latents of new images, (N, D) float32; see `prepare` for the arguments."""
        return encode(self.model, self.prepare(images, max_value=max_value)).cpu().numpy()

    @torch.no_grad()
    def predict(self, images: Images, *, max_value: float | None = None) -> np.ndarray:
        """Return what the network predicts for new images; see `prepare` for the arguments.

        Returns:
            Depends on the objective: (N, K) probabilities of the classes in `dataset.classes`; (N,) directions in
            degrees; (N, K) numbers in the units of the columns; (N, K) responses of the neurons in `dataset.neurons`;
            or (N, C, H, W) reconstructions, where 0 is black and 1 is white, without noise added to the images.
        """
        prepared, device = self.prepare(images, max_value=max_value), next(self.model.parameters()).device
        latents = encode(self.model, prepared) if self.model.precomputed else None
        found = []
        for indices in torch.arange(len(prepared)).split(BATCH):
            x = prepared.sample(indices, device)["image"] if latents is None else latents[indices]
            found.append(self.objective.in_units(self.objective.output(self.model(x))).cpu())
        return torch.cat(found).numpy()

    def reconstruct(self, images: Images, *, max_value: float | None = None) -> np.ndarray:
        """Return the reconstructions of new images, (N, C, H, W); see `prepare` for the arguments.

        0 is black and 1 is white. With a loss other than bce, a few values can be slightly outside this range.

        Raises:
            UserError: if the run does not predict images.
        """
        self.require_decoder()
        return self.predict(images, max_value=max_value)

    @torch.no_grad()
    def decode(self, latents: np.ndarray | Tensor) -> np.ndarray:
        """Return the images (N, C, H, W) that latents (N, D) decode to, with values as in `reconstruct`.

        Raises:
            UserError: if the run does not predict images, or these are no such latents.
        """
        self.require_decoder()
        values, width = as_array(latents), self.model.encoder.latent_dim
        require(
            values.ndim == 2 and values.shape[1] == width and values.dtype.kind in "iuf",
            f"latents must be N x {width} numbers, not {format_shape(values.shape)} of type {values.dtype}",
        )
        require(bool(np.isfinite(values).all()), "latents must be finite, but some of these are not")
        first = next(self.model.parameters())
        chunks = torch.from_numpy(values).to(first).split(BATCH)
        return torch.cat([self.objective.output(self.model.decode(chunk)).cpu() for chunk in chunks]).numpy()

    def require_decoder(self, remedy: str = "use run.predict(images)") -> None:
        """Raise UserError, with what to do instead, if the run does not predict images."""
        predicts = self.objective.predicts
        require(predicts == IMAGES, f"{self.name} predicts {predicts}, so it makes no images; {remedy}")

    @torch.no_grad()
    def outputs(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the inputs of the model for some images, and its outputs.

        Returns:
            (n, ...) images, with noise if the objective adds some, or precomputed latents; and (n, ...)
            reconstructions, probabilities, vectors or numbers.
        """
        inputs = list(self._inputs(indices))
        return torch.cat(inputs), torch.cat([self.objective.output(self.model(x)) for x in inputs])

    @torch.no_grad()
    def outputs_of(self, indices: np.ndarray) -> Tensor:
        """Return the outputs of the model for some images, as `outputs` does, with one batch of images in memory."""
        return torch.cat([self.objective.output(self.model(x)) for x in self._inputs(indices)])

    def _inputs(self, indices: np.ndarray) -> Iterator[Tensor]:
        """Yield the inputs of the model for some images, in batches."""
        batches = Batches(self.task(), indices.tolist(), latents=self.precomputed)
        for positions in torch.arange(len(batches)).split(BATCH):
            yield batches.__getitems__(positions)[0]

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


def on_new_images(run: Run, images: Images) -> Run:
    """Return a run with new images, which have no targets, in place of its own: for its latents and stages only."""
    prepared = run.prepare(images)
    precomputed = encode(run.model, prepared) if run.model.precomputed else None
    return replace(run, dataset=prepared, parts={NEW: list(range(len(prepared)))}, precomputed=precomputed)


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
    precomputed = _fixed_latents(model, session.parent, dataset) if parts["training"] else None
    if not parts["training"] and dataset.neurons and all(map(str.isdigit, dataset.neurons)):
        notes.append("the neurons have numbers, not names; each must be the same neuron as in training")
    return Run(
        session.parent, session.name, config, model, dataset, objective, parts, precomputed, (*dataset.notes, *notes)
    )


def run_of(folder: Path, task: Task) -> Run:
    """Return a run that has just been trained, with its best weights and the images that are open already."""
    session = best_session(folder)
    model, config = load_model(session)
    if task.dataset.images.device.type != "cpu":
        task.dataset.keep_on(torch.device("cpu"))
    latents = _fixed_latents(model, folder, task.dataset)
    notes = tuple(task.dataset.notes)
    return Run(
        folder, session.name, config, model, task.dataset, task.objective, task.parts, latents, notes, task.device
    )


def _fixed_latents(model: Model, run: Path, dataset: StimulusSet) -> Tensor | None:
    """Return the latents of all images (N, D) if the encoder encodes each only once; the model then takes these."""
    if not model.encoder.encodes_once:
        return None
    model.precomputed = True
    return load_latents(run / FIXED_LATENTS, dataset)


def has_own_images(source: TaskSource, config: dict) -> bool:
    """Return whether a source names the images that a run was trained on."""
    flags = config["flags"]
    return source.dataset == flags["dataset"] and str(source.data_dir.resolve()) == flags["data_dir"]


def _require_same_kind(dataset: StimulusSet, objective: Objective, config: dict, session: Path) -> None:
    expected = config["model"]["image_shape"]
    require(
        list(dataset.image_shape) == expected,
        f"these images have shape {dataset.image_shape}, but those of {session} have shape {tuple(expected)}",
    )
    require(
        "label" not in objective.needs or dataset.classes == config["classes"],
        f"these images have the classes {dataset.classes or 'none'}, but those of {session} have {config['classes']}",
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
