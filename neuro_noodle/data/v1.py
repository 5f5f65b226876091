"""Recordings of visual cortex: from the published folders region1, region2, ... to images, responses and trials."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from neuro_noodle.choices import Size, UserError, require
from neuro_noodle.data import v1
from neuro_noodle.data.arrays import as_images, choose_white, read_table_array, require_white
from neuro_noodle.data.base import DATASETS, Source, StimulusSet, digest

PARTS = {"train": "training", "test": "validation"}  # the publisher's validation images are what we call the test
WHITE = 255e-6  # the published images are grey values times 1e-6


@dataclass
class Region:
    """What was recorded at one place.

    Attributes:
        shown: by part, images (n, P) and responses (n, K).
        trials: (T, n, K) each presentation of the test images, or None.
    """

    name: str
    shown: dict[str, tuple[np.ndarray, np.ndarray]]
    trials: np.ndarray | None
    notes: list[str]

    @property
    def n_neurons(self) -> int:
        """K."""
        return next(iter(self.shown.values()))[1].shape[1]


def find_regions(folder: Path, numbers: tuple[int, ...]) -> list[Path]:
    """Return the region folders of these numbers, all of them for none, or the folder itself if it is one."""
    if not numbers and (folder / "validation_set.npy").is_file():
        return [folder]
    there = sorted(path for path in folder.glob("region*") if path.is_dir())
    chosen = [folder / f"region{number}" for number in dict.fromkeys(numbers)] or there
    missing = [path.name for path in chosen if path not in there]
    if missing or not chosen:
        raise UserError(
            f"no folder {' or '.join(missing) or 'region1'} in {folder}; there are "
            f"{', '.join(path.name for path in there) or 'no regions at all'}; --data_dir names the folder above them; "
            "python Resources/simulate.py v1 draws the built-in ones"
        )
    return chosen


def read_region(folder: Path) -> Region:
    """Read the five files of a region; images or responses may be missing, which is noted.

    Raises:
        UserError: where files are damaged or do not belong together.
    """
    files = {path.stem: path for path in folder.glob("*.npy")}
    shown, notes = {}, []
    for part, name in PARTS.items():
        needed = (f"{name}_inputs", f"{name}_set")
        absent = [f"{file}.npy" for file in needed if file not in files]
        if absent:
            notes.append(f"{folder.name}: no {' and '.join(absent)}, so it has no {part} images")
            continue
        images, responses = (_read_numbers(files[file]) for file in needed)
        require(
            images.ndim == responses.ndim == 2 and len(images) == len(responses) > 0,
            f"{folder}: {needed[0]} is {images.shape} and {needed[1]} {responses.shape}; both need a row per image",
        )
        shown[part] = images, responses
    require(bool(shown), f"{folder} holds neither training nor validation images with their responses")
    region = Region(folder.name, shown, None, notes)
    require(
        all(values.shape[1] == region.n_neurons for _, values in shown.values()),
        f"{folder}: training_set and validation_set have different numbers of neurons",
    )
    if "raw_validation_set" in files and "test" in shown:
        region.trials = _read_numbers(files["raw_validation_set"])
        require(
            region.trials.ndim == 3 and region.trials.shape[1:] == shown["test"][1].shape,
            f"{folder}: raw_validation_set is {region.trials.shape}, but needs presentations x images x neurons",
        )
    recorded = [responses for _, responses in shown.values()] + ([] if region.trials is None else [region.trials])
    require(not any(np.isinf(values).any() for values in recorded), f"{folder}: a response is infinite")
    return region


def _read_numbers(path: Path) -> np.ndarray:
    values = read_table_array(path)
    require(values.dtype.kind in "biuf", f"{path} holds {values.dtype}, but needs plain numbers")
    with np.errstate(over="ignore"):  # what becomes infinite is refused
        return values.astype(np.float32)


def pool(regions: list[Region]) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, list[str]]]:
    """Put regions below each other, and their neurons side by side.

    Returns:
        Images (N, P); responses (N, all neurons), NaN where a neuron was not recorded; trials (T, N, all neurons),
        likewise; and the columns `region`, `part` and `image`, the last the same for the same picture.
    """
    ends = np.cumsum([0, *(region.n_neurons for region in regions)])
    neurons = [slice(*pair) for pair in zip(ends, ends[1:], strict=False)]
    shown = [
        (region, columns, part, *pair)
        for region, columns in zip(regions, neurons, strict=True)
        for part, pair in region.shown.items()
    ]
    sides = {images.shape[1] for *_, images, _ in shown}
    require(len(sides) == 1, f"the regions have images of different sizes: {sorted(sides)} px")
    images = np.concatenate([images for *_, images, _ in shown])
    n_trials = max((len(region.trials) for region in regions if region.trials is not None), default=0)
    responses = np.full((len(images), ends[-1]), np.nan, np.float32)
    trials = np.full((n_trials, len(images), ends[-1]), np.nan, np.float32)
    row = 0
    for region, columns, part, pictures, values in shown:
        rows = slice(row, row + len(pictures))
        responses[rows, columns] = values
        if part == "test" and region.trials is not None:
            trials[: len(region.trials), rows, columns] = region.trials
        row = rows.stop
    known = {
        "region": [region.name for region, _, _, pictures, _ in shown for _ in pictures],
        "part": [part for _, _, part, pictures, _ in shown for _ in pictures],
        "image": [str(code) for code in np.unique(images, axis=0, return_inverse=True)[1].ravel()],
    }
    return images, responses, trials, known


@DATASETS.add("v1")
class V1(StimulusSet):
    """Natural images with the responses of neurons in visual cortex, from folders region1, region2, ...

    Args:
        source: the folder of the regions, or one of them.
        regions: their numbers; none takes all there are.
        max_value: the value that stands for white.

    The neurons of all regions stand beside each other; a response is NaN where a neuron was not recorded. The columns
    are `region`, `part` (train: shown once; test: shown repeatedly) and `image`, the same for the same picture.

    Attributes:
        trials: (T, n, n_neurons) responses to the repeated images in each presentation, NaN where there was none.

    Raises:
        UserError: where files are missing, damaged or do not belong together.

    Source: Antolik et al. 2016, doi:10.1371/journal.pcbi.1004927, supporting data S1.
    """

    def __init__(self, source: Source, *, regions: tuple[int, ...] = (), max_value: float = v1.WHITE) -> None:
        require_white(max_value)
        recorded = [v1.read_region(folder) for folder in v1.find_regions(source.folder, regions)]
        images, responses, trials, columns = v1.pool(recorded)
        side = math.isqrt(images.shape[1])
        require(side**2 == images.shape[1], f"{source.folder}: images of {images.shape[1]} px are not square")
        images = as_images(images.astype(np.float32), Size(side, side), source.folder)
        white, _ = choose_white(images, max_value, str(source.folder))
        number = Counter()
        ids = []
        for region, part in zip(columns["region"], columns["part"], strict=True):
            ids.append(f"{region}/{part}/{number[region, part]:04}")
            number[region, part] += 1
        super().__init__(
            images,
            ids,
            max_value=white,
            columns=columns,
            group="image",
            responses=torch.from_numpy(responses),
            neurons=[f"{region.name}/{i}" for region in recorded for i in range(region.n_neurons)],
            notes=[note for region in recorded for note in region.notes],
        )
        self.digest = digest(self.images)
        self.repeated = torch.tensor([i for i, part in enumerate(columns["part"]) if part == "test"], dtype=torch.int64)
        self.trials = torch.from_numpy(trials)[:, self.repeated]

    def trials_of(self, indices: Sequence[int]) -> np.ndarray | None:
        row = {index: i for i, index in enumerate(self.repeated.tolist())}
        known = len(self.trials) > 1 and set(indices) <= row.keys()
        return self.trials[:, [row[index] for index in indices]].numpy() if known else None
