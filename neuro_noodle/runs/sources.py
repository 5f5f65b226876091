"""Sources: what a word of the command line names, of which `representations` computes the numbers.

    RUN[@EPOCHS][:STAGE]            the latents of a run or session, or the output of one of its stages; after training,
                                    or after so many epochs: a saved session, latents of --latents_every, or 0 for the
                                    new network before training
    torchvision/NAME[@0][:STAGE]    a network of torchvision, pretrained, or with random weights (@0)
    FILE.npy, FILE.npz[:ARRAY]      a row per image, in the order of the images
    responses                       the recorded responses of the dataset
    column:NAME                     a metadata column: images with the same value coincide
    pixels

`all` in place of EPOCHS or STAGE means every one. The first source is a run, and gives the images.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require, suggest
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.networks.base import Model, build_model
from neuro_noodle.plain import counted
from neuro_noodle.runs.files import reading, sessions
from neuro_noodle.runs.latents import read_latents, snapshots
from neuro_noodle.runs.loaders import training_sample
from neuro_noodle.runs.metadata import read_complete_column
from neuro_noodle.runs.representations import Features, Source
from neuro_noodle.runs.run import Run, on_new_images, open_run
from neuro_noodle.runs.sessions import load_model

PIXELS, RESPONSES, COLUMN, ALL = "pixels", "responses", "column:", "all"
TORCHVISION = "torchvision/"
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and standard deviation of each colour


@dataclass(frozen=True)
class ParsedSource:
    """The parts of RUN[@EPOCHS][:STAGE], None for those that are not written; a path that exists is kept whole."""

    path: str
    epochs: str | None = None
    stage: str | None = None

    @classmethod
    def of(cls, word: str) -> "ParsedSource":
        """Return the parts of a source."""
        if Path(word).exists():
            return cls(word)
        before, colon, stage = word.rpartition(":")
        before, stage = (before, stage) if colon and "/" not in stage else (word, "")
        if Path(before).exists():
            return cls(before, stage=stage or None)
        path, at, epochs = before.rpartition("@")
        if not at or "/" in epochs:
            return cls(before, stage=stage or None)
        is_number = epochs.replace(".", "", 1).isdigit()
        require(is_number or epochs == ALL, f"{word}: @ is followed by a number of epochs, or {ALL}")
        return cls(path, f"{float(epochs):g}" if is_number else ALL, stage or None)


def open_sources(
    words: Sequence[str], data_dir: Path | None = None, *, trust_pickle: bool = False, images: Path | None = None
) -> list[Source]:
    """Open sources, see the docstring of this module.

    Args:
        words: the first one is a run; `pixels` is added at the end.
        data_dir: the folder of the images, if it has moved since training.
        trust_pickle: also load the UMAP of a run, which is stored as a pickle and can run code when loaded.
        images: a file or a folder of new images, in place of those of the runs.

    Raises:
        UserError: if a source does not exist, or has other images than the first.
    """
    require(len(words) > 0, "name a run first, because it gives the images")
    found: list[Source] = []
    opened: dict[str, Run] = {}
    for word in words:
        if not found or not _is_other(word):
            parsed = ParsedSource.of(word)
            others = f"{PIXELS}, {RESPONSES}, {COLUMN}NAME, {TORCHVISION}NAME"
            require(Path(parsed.path).exists(), f"{parsed.path} is neither a run nor a file; other sources: {others}")
            require(not (images and parsed.epochs), f"{word}: for new images, name a saved session in place of @")
            if parsed.path not in opened:
                run = open_run(parsed.path, data_dir, trust_pickle=trust_pickle)
                opened[parsed.path] = on_new_images(run, images) if images else run
            run = opened[parsed.path]
            found += _of_run(word, parsed, run)
            require_same_images(first_run(found), run)
        elif word != PIXELS:
            found += _of_no_run(word, first_run(found).dataset)
    first = first_run(found)
    return _with_unique_names([*found, Source(PIXELS, lambda indices: first.images(indices).flatten(1).numpy())])


def read_sources(
    *words: str | Path, data_dir: Path | str | None = None, trust_pickle: bool = False
) -> dict[str, np.ndarray]:
    """Return the numbers (N, D) of sources by name, a row per image, in the order of the images of the first.

    Args:
        words: see the docstring of this module; the first is a run.
        data_dir: the folder of the images, if it has moved since training.
        trust_pickle: also load the UMAP of a run, which is stored as a pickle and can run code when loaded.

    Raises:
        UserError: if a source does not exist, or has other images than the first.
    """
    sources = open_sources(list(map(str, words)), Path(data_dir) if data_dir else None, trust_pickle=trust_pickle)
    indices = np.arange(len(first_run(sources).dataset))
    return {source.name: source.of(indices) for source in (sources if PIXELS in words else sources[:-1])}


def first_run(sources: Sequence[Source]) -> Run:
    """Return the run that gives the images: that of the first source."""
    run = sources[0].run
    if run is None:
        raise UserError(f"{sources[0].name} is not a run; name a run first, because it gives the images")
    return run


def require_same_images(first: Run, other: Run) -> None:
    """Raise UserError if the images of two runs, or their order, differ."""
    one, two = first.dataset, other.dataset
    differing = sorted(set(one.ids) ^ set(two.ids))
    reason = f"{len(differing)} are in only one of them, for example {differing[0]}" if differing else "other order"
    require(one.ids == two.ids, f"the images of {other.name} differ from those of {first.name}: {reason}")
    n_changed = sum(a != b for a, b in zip(one.contents, two.contents, strict=True))
    require(
        not n_changed,
        f"the images of {other.name} differ from those of {first.name}: {n_changed} of {len(one)} have the same name "
        "but different content",
    )


def _is_other(word: str) -> bool:
    """Return whether a word names something other than a run."""
    is_file = any(Path(path).suffix in (".npy", ".npz") for path in (word, word.rpartition(":")[0]))
    return word in (PIXELS, RESPONSES) or word.startswith((TORCHVISION, COLUMN)) or is_file


def _of_no_run(word: str, dataset: StimulusSet) -> list[Source]:
    """Return the sources that a word names in addition to runs."""
    if word == RESPONSES:
        return [_responses(dataset)]
    if word.startswith(COLUMN):
        column = read_complete_column(dataset, word.removeprefix(COLUMN))
        return [Source(word, column.coordinates(), column_kind=column.kind)]
    return list(_torchvision(word, dataset)) if word.startswith(TORCHVISION) else [_array(word, dataset)]


def _with_unique_names(sources: Sequence[Source]) -> list[Source]:
    """Return the sources, those of runs with their whole path if something else has the same name."""
    names = [source.name for source in sources]
    folders = {source.run.folder for source in sources if source.run}
    short = [folder.name for folder in folders]
    unclear = {source.run.folder for source in sources if source.run and names.count(source.name) > 1}
    unclear |= {folder for folder in folders if short.count(folder.name) > 1}
    longer = [
        _with_whole_path(source, source.run.folder) if source.run and source.run.folder in unclear else source
        for source in sources
    ]
    found = [source.name for source in longer]
    twice = next((name for name in found if found.count(name) > 1), None)
    require(twice is None, f"two sources would have the name {twice}; name each once, or rename a file")
    return longer


def _with_whole_path(source: Source, folder: Path) -> Source:
    name, series = (f"{folder}{short.removeprefix(folder.name)}" for short in (source.name, source.series))
    return replace(source, name=name, series=series)


# ------------------------------------------------------------------------------------------------------------- runs


def _of_run(word: str, parsed: ParsedSource, run: Run) -> Iterator[Source]:
    """Yield the sources of a run: one, or one for each of its epochs or stages."""
    require(parsed.epochs is None or run.session == "best", f"{word}: name either a session or @EPOCHS of a run")
    for epochs in saved_epochs(run) if parsed.epochs == ALL else [parsed.epochs]:
        if epochs in snapshots_of(run) and not parsed.stage:
            latents = read_latents(snapshots_of(run)[epochs])
            require(latents.ids == run.dataset.ids, f"the latents of {word} are of other images")
            found: dict[str | None, Features] = {None: latents.values.__getitem__}
        else:
            model = run.model if epochs is None else model_after(run, epochs)
            found = {stage: _stage(run, model, stage) for stage in stages_of(run, model, parsed.stage, word)}
        for stage, features in found.items():
            after, of = f"@{epochs}" * (epochs is not None), f":{stage}" * (stage is not None)
            n_epochs = None if epochs is None else float(epochs)
            yield Source(run.name + after + of, features, run, series=run.name + of, epochs=n_epochs)


def snapshots_of(run: Run) -> dict[str | None, Path]:
    """Return the files of --latents_every by epochs trained."""
    return {f"{epochs:g}": path for epochs, path in snapshots(run.folder).items()}


def saved_epochs(run: Run) -> list[str]:
    """Return the epochs, in order, after which a run has saved a session or latents."""
    found = {*snapshots(run.folder), *(int(path.name) + 1.0 for path in sessions(run.folder))} - {0.0}
    return [f"{epochs:g}" for epochs in sorted(found)]


def model_after(run: Run, epochs: str) -> Model:
    """Return the model of a run after so many epochs; after 0, as it was before training.

    Raises:
        UserError: if the run has saved no session then.
    """
    if float(epochs) == 0:
        return new_model(run)
    saved = [path for path in sessions(run.folder) if int(path.name) + 1 == float(epochs)]
    require(
        bool(saved),
        f"{run.folder} has saved nothing after {epochs} epochs; there are {', '.join(['0', *saved_epochs(run)])} "
        "(0 is before training); --keep all keeps every session",
    )
    return load_model(saved[0])[0]


def new_model(run: Run) -> Model:
    """Return the network of a run as it was before training: initialised and fitted by the same seed and images.

    Raises:
        UserError: if it started from the encoder of another run.
    """
    flags = run.config["flags"]
    require(
        not flags["load_encoder"],
        f"{run.folder.name}@0: it started from the encoder of {flags['load_encoder']}; name that run",
    )
    torch.manual_seed(flags["seed"])
    model = build_model(**run.config["model"])
    if run.precomputed is None:
        images, target = training_sample(run.task())
        model.encoder.fit(images)
        model.start_head(images, target, run.objective.link)
    return model.eval()


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
    return lambda indices: output_of(model, model.stages()[stage], run.images(indices))


@torch.no_grad()
def output_of(network: nn.Module, layer: nn.Module, images: Tensor) -> np.ndarray:
    """Return the output (n, D) of a layer for images (n, C, H, W).

    Raises:
        UserError: if the layer does not run in evaluation.
    """
    found: list[Tensor] = []
    hook = layer.register_forward_hook(lambda *arguments: found.append(arguments[2]))
    try:
        network(images)
    finally:
        hook.remove()
    require(bool(found), f"the stage {type(layer).__name__} runs only in training; name another one")
    return found[0].flatten(1).float().numpy()


# ------------------------------------------------------------------------------------------------- everything else


def _responses(dataset: StimulusSet) -> Source:
    """Return the recorded responses of a dataset."""
    if dataset.responses is None:
        raise UserError("responses: this dataset has none; name a file with a row per image: session.npz:responses")
    responses = dataset.responses.numpy()
    require(
        bool(np.isfinite(responses).all()),
        "responses: some neurons were not recorded for all images; train on one recording, --dataset recordings "
        "sessions=NAME or --dataset v1 regions=NAME",
    )

    def trials(indices: np.ndarray) -> np.ndarray | None:
        found = dataset.trials_of(indices.tolist())
        return None if found is None else complete_trials(found)

    return Source(RESPONSES, responses.__getitem__, is_recorded=True, trials=trials)


def _torchvision(word: str, dataset: StimulusSet) -> Iterator[Source]:
    """Yield the stages of a network of torchvision; the one before its classifier if none is named."""
    from torchvision import models

    name, _, stage = word.removeprefix(TORCHVISION).partition(":")
    name, at, epochs = name.partition("@")
    require(name in models.list_models(models), f"{word}: {suggest(name, models.list_models(models))}")
    require(not at or epochs == "0", f"{word}: a network of torchvision is pretrained, or new with @0")
    require(dataset.image_shape[0] in (1, 3), f"{word}: images have {dataset.image_shape[0]} channels, not 1 or 3")
    torch.manual_seed(0)
    try:
        network = models.get_model(name, weights=None if at else "DEFAULT").eval()
    except Exception as error:  # a download can fail in any way
        raise UserError(f"{word}: its weights cannot be loaded ({error}); @0 has random weights") from error
    layers = {key: layer for key, layer in network.named_modules() if key and "." not in key}
    require(stage in ("", ALL, *layers), f"{word}: no such stage; {suggest(stage, layers)}")
    for key in layers if stage == ALL else [stage or list(layers)[-2]]:
        label = f"{TORCHVISION}{name}{at}{epochs}:{key}"
        yield Source(label, partial(_torchvision_output, network, layers[key], dataset))


def _torchvision_output(network: nn.Module, layer: nn.Module, dataset: StimulusSet, indices: np.ndarray) -> np.ndarray:
    """Return the output of a layer for images in their own size, normalised as for ImageNet; grey ones as colour."""
    images = dataset.sample(torch.as_tensor(indices))["image"]
    mean, sd = (torch.tensor(values).view(3, 1, 1) for values in IMAGENET)
    try:
        return output_of(network, layer, (images.expand(-1, 3, -1, -1) - mean) / sd)
    except (AssertionError, RuntimeError) as error:
        size = "x".join(map(str, dataset.image_shape[1:]))
        raise UserError(f"{type(network).__name__} cannot take images of {size} px: {error}") from error


def _array(word: str, dataset: StimulusSet) -> Source:
    """Return the rows of an array file, and for responses the array `trials` of the same file as single trials."""
    path, key = (Path(word), "") if Path(word).is_file() else (Path(word.rpartition(":")[0]), word.rpartition(":")[2])
    require(path.is_file(), f"no file {word if path == Path() else path}")
    arrays = read_arrays(path, len(dataset))
    fitting = [name for name, values in arrays.items() if len(values) == len(dataset) and values.ndim > 1]
    is_clear = bool(key) or 1 in (len(fitting), len(arrays))
    require(is_clear, f"{path} has {', '.join(arrays)}; name one with a row per image: {path}:NAME")
    key = key or (fitting or list(arrays))[0]
    require(key in arrays, f"{path} has no array '{key}'; {suggest(key, arrays)}")
    require(
        len(arrays[key]) == len(dataset),
        f"{word} has {counted(len(arrays[key]), 'row')} for {counted(len(dataset), 'image')}; one each",
    )
    values = arrays[key].reshape(len(dataset), -1).astype(np.float32)  # (N, D)
    label = path.stem + f":{key}" * (path.suffix == ".npz")
    source = Source(label, values.__getitem__, is_recorded=key == RESPONSES)
    trials = arrays.get("trials") if source.is_recorded else None
    if trials is None:
        return source
    require(trials.shape[1:] == values.shape, f"{path}: trials is {trials.shape}, not trials x {values.shape}")
    return replace(source, trials=lambda indices: complete_trials(trials[:, indices]))


def read_arrays(path: Path, n_images: int) -> dict[str, np.ndarray]:
    """Return the arrays of numbers in a .npy or .npz file by name.

    Raises:
        UserError: if the file is damaged or has none.
    """
    with reading(path):
        loaded = np.load(path, allow_pickle=False)
        arrays = {path.stem: loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    numbers = {name: values for name, values in arrays.items() if values.dtype.kind in "biuf" and values.ndim}
    require(bool(numbers), f"{path} holds no numbers with a row for each of {n_images} images")
    return numbers


def complete_trials(trials: np.ndarray) -> np.ndarray | None:
    """Return as many trials (T, n, D) as every image has, without missing ones; None if an image has fewer than two.

    Args:
        trials: (T, n, D), NaN where an image was shown fewer times.
    """
    is_known = np.isfinite(trials).all(2)  # (T, n)
    n_trials = int(is_known.sum(0).min())
    order = np.argsort(~is_known, axis=0, kind="stable")  # the known ones first
    return np.take_along_axis(trials, order[:, :, None], 0)[:n_trials] if n_trials > 1 else None
