"""Representations: the numbers by which a stage of a network, the pixels or recorded responses describe each image.

A source is written as

    RUN[@EPOCHS][:STAGE]            the latents of a run or session, or the output of one of its stages; after training,
                                    or after so many epochs: a saved session, latents of --latents_every, or 0 for the
                                    new network before training
    torchvision/NAME[@0][:STAGE]    a network of torchvision, pretrained, or with random weights (@0)
    FILE.npy, FILE.npz[:ARRAY]      a row per image, in the order of the images
    responses                       the recorded responses of the dataset
    pixels

where `all` in place of EPOCHS or STAGE means every one. The first source is a run, and gives the images.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require, suggest
from neuro_noodle.data.arrays import open_array
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.store import Store
from neuro_noodle.measures.linear import MAX_COMPONENTS, principal_components
from neuro_noodle.networks.base import Model, build_model
from neuro_noodle.runs.files import sessions
from neuro_noodle.runs.latents import read_latents, snapshots
from neuro_noodle.runs.run import Run, open_run
from neuro_noodle.runs.sessions import load_model

PIXELS, RESPONSES, ALL = "pixels", "responses", "all"
TORCHVISION = "torchvision/"
MAX_WIDTH = 2048  # numbers per image; wider representations are reduced to principal components
MAX_VALUES = 2**27  # that components are fitted to, half a gigabyte
CHUNK = 256  # images
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of each colour

Features = Callable[[np.ndarray], np.ndarray]  # from indices (n,) of images to (n, D)


@dataclass(frozen=True)
class Source:
    """Where the numbers of a representation come from.

    Attributes:
        name: as it was written, a path shortened to its last part.
        features: function from indices (n,) of images to (n, D).
        run: the run that it is of, or None.
        trials: function from indices (n,) of images to the (T, n, D) single trials that the numbers are the mean of,
            or to None.
    """

    name: str
    features: Features
    run: Run | None = None
    trials: Callable[[np.ndarray], np.ndarray | None] = lambda indices: None


@dataclass(frozen=True)
class Representation:
    """What a source says about each image.

    Attributes:
        values: (N, D).
        width: numbers per image before they were reduced to principal components; D if they were not.
    """

    values: np.ndarray
    width: int

    @property
    def is_reduced(self) -> bool:
        """Whether the values are principal components, of which the last ones are mostly noise."""
        return self.values.shape[1] < self.width


def represent(source: Source, n_images: int, is_fitted: np.ndarray) -> Representation:
    """Compute a representation; a wide one is reduced to at most 500 principal components.

    Args:
        source: its features are computed a few images at a time.
        n_images: N.
        is_fitted: (N,) bool; images to which principal components are fitted.

    Raises:
        UserError: if a number is not finite.
    """
    indices = np.arange(n_images)
    width = source.features(indices[:1]).shape[1]
    if width <= MAX_WIDTH:
        values = np.concatenate([source.features(chunk) for chunk in in_chunks(indices)])
    else:
        every = -(-int(is_fitted.sum()) // max(1, MAX_VALUES // width))
        fitted = np.concatenate([source.features(chunk) for chunk in in_chunks(indices[is_fitted][::every])])
        found = principal_components(fitted, MAX_COMPONENTS)
        del fitted
        values = np.concatenate(
            [(source.features(chunk) - found.mean) @ found.directions.T for chunk in in_chunks(indices)]
        )
    require(bool(np.isfinite(values).all()), f"{source.name} has values that are not finite")
    return Representation(values, width)


def in_chunks(indices: np.ndarray) -> list[np.ndarray]:
    """Return indices (n,) in pieces of at most 256."""
    return np.split(indices, range(CHUNK, len(indices), CHUNK))


# ---------------------------------------------------------------------------------------------------------- sources


def open_sources(words: Sequence[str], data_dir: Path | None = None, *, trust_pickle: bool = False) -> list[Source]:
    """Open sources, see the docstring of this module.

    Args:
        words: the first one is a run; `pixels` is added at the end.
        data_dir: the folder of the images, if it has moved since training.
        trust_pickle: also load the UMAP of a run, which is stored as a pickle and can run code when loaded.

    Raises:
        UserError: if a source does not exist, or has other images than the first.
    """
    found: list[Source] = []
    for word in words:
        if found and word == PIXELS:
            continue
        if found and word == RESPONSES:
            found.append(_responses(first_run(found).dataset))
        elif found and word.startswith(TORCHVISION):
            found += _torchvision(word, first_run(found).dataset)
        elif found and Path(word.partition(":")[0]).suffix in (".npy", ".npz"):
            found.append(_array(word, first_run(found).dataset))
        else:
            found += _run(word, data_dir, trust_pickle=trust_pickle)
            require_same_images(found[0], found[-1])
    return [*_with_unique_names(found, words), Source(PIXELS, _pixels(first_run(found).dataset))]


def first_run(sources: Sequence[Source]) -> Run:
    """Return the run that gives the images: that of the first source."""
    run = sources[0].run
    if run is None:
        raise UserError(f"{sources[0].name} is not a run; name a run first, because it gives the images")
    return run


def require_same_images(first: Source, other: Source) -> None:
    """Raise UserError if the images of two runs, or their order, differ."""
    ids, others = (first_run([source]).dataset.ids for source in (first, other))
    differing = sorted(set(ids) ^ set(others))
    reason = f"{len(differing)} are in only one of them, for example {differing[0]}" if differing else "other order"
    require(ids == others, f"the images of {other.name} differ from those of {first.name}: {reason}")


def _with_unique_names(sources: Sequence[Source], words: Sequence[str]) -> list[Source]:
    """Return the sources, those of runs with their whole path if two would have the same name."""
    names = [source.name for source in sources]
    repeated = {name for name in names if names.count(name) > 1 or name == PIXELS}
    longer = [
        Source(f"{s.run.folder}{s.name.removeprefix(s.run.folder.name)}", s.features, s.run, s.trials)
        if s.run and s.name in repeated
        else s
        for s in sources
    ]
    names = [source.name for source in longer]
    twice = next((name for name in names if names.count(name) > 1), None)
    require(twice is None, f"two sources would have the name {twice}; name each once: {' '.join(words)}")
    return longer


def _run(word: str, data_dir: Path | None, *, trust_pickle: bool) -> Iterator[Source]:
    """Yield the sources of a run: one, or one for each of its epochs or stages."""
    parts = Words.of(word)
    run = open_run(parts.what, data_dir, trust_pickle=trust_pickle)
    name = run.folder.name if run.session == "best" else f"{run.folder.name}/{run.session}"
    for epochs in saved_epochs(run) if parts.epochs == ALL else [parts.epochs]:
        if epochs in snapshots_of(run) and not parts.stage:
            latents = read_latents(snapshots_of(run)[epochs])
            require(latents.ids == run.dataset.ids, f"the latents of {word} are of other images")
            yield Source(f"{name}@{epochs}", latents.values.__getitem__, run)
            continue
        model = run.model if epochs is None else model_after(run, epochs)
        label = name if epochs is None else f"{name}@{epochs}"
        for stage in stages_of(run, model, parts.stage, word):
            yield Source(f"{label}:{stage}" if stage else label, _stage(run, model, stage), run)


@dataclass(frozen=True)
class Words:
    """The parts of a source as it is written; None for what is not."""

    what: str
    epochs: str | None = None
    stage: str | None = None

    @classmethod
    def of(cls, word: str) -> "Words":
        """Return the parts of RUN[@EPOCHS][:STAGE]."""
        if Path(word).exists():
            return cls(word)
        before, _, stage = word.partition(":")
        what, at, epochs = before.partition("@")
        is_time = epochs == ALL or epochs.replace(".", "", 1).isdigit()
        require(is_time or not at, f"{word}: @ is followed by a number of epochs, or {ALL}")
        return cls(what, epochs or None, stage or None)


def snapshots_of(run: Run) -> dict[str, Path]:
    """Return the files of --latents_every by epochs trained."""
    return {f"{epochs:g}": path for epochs, path in snapshots(run.folder).items()}


def saved_epochs(run: Run) -> list[str]:
    """Return the epochs, in order, after which a run has saved a session or latents."""
    found = {float(epochs) for epochs in snapshots_of(run)} | {int(path.name) + 1.0 for path in sessions(run.folder)}
    return [f"{epochs:g}" for epochs in sorted(found)]


def model_after(run: Run, epochs: str) -> Model:
    """Return the model of a run after so many epochs; after 0, as it was before training.

    Raises:
        UserError: if the run has saved no session then.
    """
    if float(epochs) == 0:
        torch.manual_seed(run.config["flags"]["seed"])
        model = build_model(**run.config["model"])
        model.encoder.fit(run.images(np.array(run.parts["training"])))
        return model.eval()
    saved = [path for path in sessions(run.folder) if int(path.name) + 1 == float(epochs)]
    require(
        bool(saved),
        f"{run.folder} has saved nothing after {epochs} epochs; there are {', '.join(saved_epochs(run)) or 'none'}, "
        "and 0 for the network before training; --keep all keeps every session",
    )
    return load_model(saved[0])[0]


def stages_of(run: Run, model: Model, stage: str | None, word: str) -> list[str | None]:
    """Return the names of the stages that a source means, [None] for the latents."""
    names = list(model.stages())
    require(
        stage is None or run.precomputed is None,
        f"{word}: the encoder of {run.folder.name} has no stages, because it encodes each image once",
    )
    require(stage in (None, ALL, *names), f"{word}: no such stage; {suggest(str(stage), names)}")
    return [*names] if stage == ALL else [stage]


def _stage(run: Run, model: Model, stage: str | None) -> Features:
    """Return a function from indices of images to the output of a stage, or to the latents."""
    if stage is None and run.precomputed is not None:
        return run.precomputed.numpy().__getitem__
    if stage is None:
        return lambda indices: model.encode(run.images(indices)).numpy()
    return lambda indices: _output(model, model.stages()[stage], run.images(indices))


@torch.no_grad()
def _output(network: nn.Module, layer: nn.Module, images: Tensor) -> np.ndarray:
    """Return the output (n, D) of a layer for images (n, C, H, W)."""
    found: list[Tensor] = []
    hook = layer.register_forward_hook(lambda *arguments: found.append(arguments[2]))
    try:
        network(images)
    finally:
        hook.remove()
    return found[0].flatten(1).float().numpy()


def _torchvision(word: str, dataset: StimulusSet) -> Iterator[Source]:
    """Yield the stages of a network of torchvision; the one before its classifier if none is named."""
    from torchvision import models

    parts = Words.of(word)
    name = parts.what.removeprefix(TORCHVISION)
    require(name in models.list_models(models), f"{word}: {suggest(name, models.list_models(models))}")
    require(parts.epochs in (None, "0"), f"{word}: a network of torchvision is pretrained, or new with @0")
    try:
        torch.manual_seed(0)
        network = models.get_model(name, weights=None if parts.epochs else "DEFAULT").eval()
    except Exception as error:  # a download can fail in any way
        raise UserError(f"{word}: its weights cannot be downloaded ({error}); @0 has random weights") from error
    layers = {key: layer for key, layer in network.named_modules() if key and "." not in key}
    stage = parts.stage
    require(stage in (None, ALL, *layers), f"{word}: no such stage; {suggest(str(stage), layers)}")
    for key in layers if stage == ALL else [stage or list(layers)[-2]]:
        label = word if stage != ALL else word.replace(f":{ALL}", f":{key}")
        yield Source(label, partial(_torchvision_output, network, layers[key], dataset))


def _torchvision_output(network: nn.Module, layer: nn.Module, dataset: StimulusSet, indices: np.ndarray) -> np.ndarray:
    images = dataset.sample(torch.as_tensor(indices))["image"]
    mean, sd = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    return _output(network, layer, (images.expand(-1, 3, -1, -1) - mean) / sd)


def _array(word: str, dataset: StimulusSet) -> Source:
    """Return the rows of an array file, and the trials if an npz file has an array of that name."""
    name, _, key = word.partition(":")
    path = Path(name)
    require(path.is_file(), f"no file {path}")
    read = partial(_read_array, path)
    values = read(key or None)
    values = values.reshape(len(values), -1).astype(np.float32)  # (N, D)
    require(
        len(values) == len(dataset), f"{word} has {len(values)} rows, but there are {len(dataset)} images; one each"
    )
    label = path.stem + f":{key}" * bool(key)
    if path.suffix == ".npz" and key == RESPONSES and "trials" in np.load(path, allow_pickle=False):
        trials = complete_trials(read("trials"))
        return Source(label, values.__getitem__, trials=lambda indices: trials[:, indices])
    return Source(label, values.__getitem__)


def _read_array(path: Path, key: str | None) -> np.ndarray:
    """Read an array of numbers.

    Raises:
        UserError: if the file is damaged, or it is not clear which array is meant.
    """
    if path.suffix == ".npy" or key is None:
        array, _ = open_array(path, key, Store(path.parent))
        return np.asarray(array)
    try:
        with np.load(path, allow_pickle=False) as file:
            require(key in file, f"{path} has no array '{key}'; {suggest(key, file)}")
            return file[key]
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def complete_trials(trials: np.ndarray) -> np.ndarray:
    """Return as many trials (T, N, D) as every image has, without missing ones; (0, N, D) if some have none.

    Args:
        trials: (T, N, D), NaN where an image was shown fewer times.
    """
    is_known = np.isfinite(trials).all(2)  # (T, N)
    order = np.argsort(~is_known, axis=0, kind="stable")  # the known ones first
    return np.take_along_axis(trials, order[:, :, None], 0)[: int(is_known.sum(0).min())]


def _responses(dataset: StimulusSet) -> Source:
    """Return the recorded responses of a dataset."""
    require(
        dataset.responses is not None,
        "responses: this dataset has none; name a file with a row per image, for example session.npz:responses",
    )
    responses = dataset.responses.numpy()
    require(
        bool(np.isfinite(responses).all()),
        "responses: some neurons were not recorded for all images; choose one region: --dataset v1 regions=1",
    )
    return Source(RESPONSES, responses.__getitem__, trials=lambda indices: dataset.trials_of(indices.tolist()))


def _pixels(dataset: StimulusSet) -> Features:
    return lambda indices: dataset.sample(torch.as_tensor(indices))["image"].flatten(1).numpy()
