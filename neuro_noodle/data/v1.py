"""Recordings of visual cortex: images, responses and single trials from the published folders region1, region2, ..."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from neuro_noodle.choices import Size, require
from neuro_noodle.data.arrays import read_table_array
from neuro_noodle.data.base import DATASETS, Source, StimulusSet
from neuro_noodle.data.columns import Columns
from neuro_noodle.data.layouts import as_images
from neuro_noodle.data.white import choose_white, require_white
from neuro_noodle.plain import command_line

FILE_PREFIX = {"train": "training", "test": "validation"}  # the images published as validation are our test part
WHITE = 255e-6  # the published images are grey values times 1e-6


@DATASETS.add("v1")
class V1(StimulusSet):
    """Natural images with the responses of neurons in visual cortex, from folders region1, region2, ...

    Args:
        source: the folder that holds the regions, or the folder of one region.
        regions: the numbers of the regions to read; none reads all.
        max_value: the image value of white.

    The neurons of all regions are the columns of one array of responses, NaN where a neuron was not recorded. The
    metadata columns are `region`, `part` (train: presented once; test: presented repeatedly) and `image`, which is the
    same for identical images.

    Attributes:
        trials: (T, n, n_neurons) single-trial responses to the n repeated images, NaN where not recorded.

    Raises:
        UserError: if files are missing, damaged or do not belong together.

    Source: Antolik et al. 2016, doi:10.1371/journal.pcbi.1004927, supporting data S1.
    """

    def __init__(self, source: Source, *, regions: tuple[int, ...] = (), max_value: float = WHITE) -> None:
        require_white(max_value)
        recorded = [read_region(folder) for folder in find_regions(source.folder, regions)]
        whole = concatenate_regions(recorded)
        side = math.isqrt(whole.images.shape[1])
        require(
            side**2 == whole.images.shape[1], f"{source.folder}: images of {whole.images.shape[1]} px are not square"
        )
        images = as_images(whole.images.astype(np.float32), Size(side, side), None, source.folder)  # (N, 1, side, side)
        white, _ = choose_white(images, max_value, str(source.folder))
        parts = whole.columns["part"]
        super().__init__(
            images,
            _number_images(whole.columns["region"], parts),
            max_value=white,
            columns=whole.columns,
            group="image",
            responses=torch.from_numpy(whole.responses),
            neurons=[f"{region.name}/{i}" for region in recorded for i in range(region.n_neurons)],
            repeated=[index for index, part in enumerate(parts) if part == "test"],
            notes=[note for region in recorded for note in region.notes],
        )
        self.trials = torch.from_numpy(whole.trials)[:, self.repeated]  # (T, n, n_neurons)

    def trials_of(self, indices: Sequence[int]) -> np.ndarray | None:
        row = {index: i for i, index in enumerate(self.repeated.tolist())}
        has_trials = len(self.trials) > 1 and set(indices) <= row.keys()
        return self.trials[:, [row[index] for index in indices]].numpy() if has_trials else None


@dataclass(frozen=True)
class Region:
    """The recordings of one region.

    Attributes:
        name: of its folder.
        shown: images (n, P) and responses (n, K) by part.
        trials: (T, n, K) responses to each presentation of the test images, or None.
        notes: what the user should know.
    """

    name: str
    shown: dict[str, tuple[np.ndarray, np.ndarray]]
    trials: np.ndarray | None
    notes: list[str]

    @property
    def n_neurons(self) -> int:
        """K."""
        return next(iter(self.shown.values()))[1].shape[1]


@dataclass(frozen=True)
class Recordings:
    """The recordings of all regions in one set of arrays.

    Attributes:
        images: (N, P).
        responses: (N, n_neurons), NaN where a neuron was not recorded.
        trials: (T, N, n_neurons), NaN where a neuron was not recorded.
        columns: `region`, `part` and `image`; the last is the same for identical images.
    """

    images: np.ndarray
    responses: np.ndarray
    trials: np.ndarray
    columns: Columns


def find_regions(folder: Path, numbers: tuple[int, ...]) -> list[Path]:
    """Return the region folders with these numbers (all without numbers), or the folder itself if it is a region.

    Raises:
        UserError: if a folder is missing; lists those that exist.
    """
    if not numbers and (folder / "validation_set.npy").is_file():
        return [folder]
    existing = sorted(path for path in folder.glob("region*") if path.is_dir())
    chosen = [folder / f"region{number}" for number in dict.fromkeys(numbers)] or existing
    missing = [path.name for path in chosen if path not in existing]
    require(
        bool(chosen) and not missing,
        f"no folder {' or '.join(missing) or 'region1'} in {folder}; there are "
        f"{', '.join(path.name for path in existing) or 'no regions at all'}; --data_dir must name the folder that "
        f"holds the regions; {command_line('Resources/simulate.py v1')} creates the built-in ones",
    )
    return chosen


def read_region(folder: Path) -> Region:
    """Read the five files of a region; a part whose images or responses are missing is left out with a note.

    Raises:
        UserError: if files are damaged or do not belong together.
    """
    files = {path.stem: path for path in folder.glob("*.npy")}
    shown, notes = {}, []
    for part, prefix in FILE_PREFIX.items():
        absent = [f"{name}.npy" for name in (f"{prefix}_inputs", f"{prefix}_set") if name not in files]
        if absent:
            notes.append(f"{folder.name}: no {' and '.join(absent)}, so it has no {part} images")
        else:
            shown[part] = _read_part(folder, files, prefix)
    require(bool(shown), f"{folder} holds neither training nor validation images with their responses")
    require(
        len({responses.shape[1] for _, responses in shown.values()}) == 1,
        f"{folder}: training_set and validation_set have different numbers of neurons",
    )
    trials = None
    if "raw_validation_set" in files and "test" in shown:
        trials = _read_numbers(files["raw_validation_set"])
        require(
            trials.ndim == 3 and trials.shape[1:] == shown["test"][1].shape,
            f"{folder}: raw_validation_set is {trials.shape}, but must be presentations x images x neurons",
        )
    recorded = [responses for _, responses in shown.values()] + ([] if trials is None else [trials])
    require(not any(np.isinf(values).any() for values in recorded), f"{folder}: a response is infinite")
    return Region(folder.name, shown, trials, notes)


def concatenate_regions(regions: list[Region]) -> Recordings:
    """Concatenate the images of regions along the first axis, and their neurons along the last.

    Raises:
        UserError: if the regions have images of different sizes.
    """
    shown = [images for region in regions for images, _ in region.shown.values()]
    n_pixels = {images.shape[1] for images in shown}
    require(len(n_pixels) == 1, f"the regions have images of different sizes: {sorted(n_pixels)} px")
    images = np.concatenate(shown)  # (N, P)
    ends = np.cumsum([0, *(region.n_neurons for region in regions)])
    n_trials = max((len(region.trials) for region in regions if region.trials is not None), default=0)
    responses = np.full((len(images), ends[-1]), np.nan, np.float32)  # (N, n_neurons)
    trials = np.full((n_trials, len(images), ends[-1]), np.nan, np.float32)  # (T, N, n_neurons)
    names: list[str] = []
    parts: list[str] = []
    for region, start, end in zip(regions, ends, ends[1:], strict=False):
        for part, (_, values) in region.shown.items():
            rows = slice(len(names), len(names) + len(values))
            responses[rows, start:end] = values
            if part == "test" and region.trials is not None:
                trials[: len(region.trials), rows, start:end] = region.trials
            names += [region.name] * len(values)
            parts += [part] * len(values)
    identical = np.unique(images, axis=0, return_inverse=True)[1].ravel()  # (N,) the same number for identical images
    columns: Columns = {"region": names, "part": parts, "image": [str(number) for number in identical]}
    return Recordings(images, responses, trials, columns)


def _read_part(folder: Path, files: dict[str, Path], prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (n, P) and responses (n, K) of one part of a region."""
    images, responses = (_read_numbers(files[f"{prefix}_{name}"]) for name in ("inputs", "set"))
    require(
        images.ndim == responses.ndim == 2 and len(images) == len(responses) > 0,
        f"{folder}: {prefix}_inputs is {images.shape} and {prefix}_set {responses.shape}; both need a row per image",
    )
    return images, responses


def _read_numbers(path: Path) -> np.ndarray:
    values = read_table_array(path)
    require(values.dtype.kind in "biuf", f"{path} holds {values.dtype}, but must hold plain numbers")
    with np.errstate(over="ignore"):  # values that become infinite are refused later
        return values.astype(np.float32)


def _number_images(regions: Sequence[str], parts: Sequence[str]) -> list[str]:
    """Return an id for each image, region/part/number."""
    counts: Counter[tuple[str, str]] = Counter()
    ids = []
    for region, part in zip(regions, parts, strict=True):
        ids.append(f"{region}/{part}/{counts[region, part]:04}")
        counts[region, part] += 1
    return ids
