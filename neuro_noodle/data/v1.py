"""Recordings of visual cortex in the layout of Antolik et al. 2016: a folder of five arrays for each region."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuro_noodle.choices import Size, require
from neuro_noodle.data.arrays import read_table_array
from neuro_noodle.data.base import DATASETS, Source, StimulusSet
from neuro_noodle.data.columns import Columns
from neuro_noodle.data.layouts import as_images
from neuro_noodle.data.recorded import IMAGE, RecordedImages, Recording, Values, record
from neuro_noodle.data.store import format_shape
from neuro_noodle.data.white import choose_white, require_white
from neuro_noodle.plain import command_line

FILE_PREFIX = {"train": "training", "test": "validation"}  # the images published as validation are our test part
WHITE = 255e-6  # the published images are grey values times 1e-6


@DATASETS.add("v1")
class V1(RecordedImages):
    """Natural images with the responses of neurons in visual cortex, a folder of five arrays for each region.

    Args:
        source: the folder that holds the regions, or the folder of one region.
        regions: the folders of the regions to read, 1 for region1; none reads all.
        max_value: the image value of white.

    The metadata columns are `region`, `part` (train: presented once; test: presented repeatedly) and `image`, which is
    the same for identical images.

    Raises:
        UserError: if files are missing, damaged or do not belong together.

    Source: Antolik et al. 2016, doi:10.1371/journal.pcbi.1004927, supporting data S1.
    """

    def __init__(self, source: Source, *, regions: tuple[str, ...] = (), max_value: float = WHITE) -> None:
        require_white(max_value)
        folders = find_regions(source.folder, regions)
        super().__init__([part for folder in folders for part in read_region(folder, max_value)], IMAGE)


def find_regions(folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the folders of the regions with these names or numbers (all without names), or the folder itself.

    Raises:
        UserError: if a folder is missing; lists those that exist.
    """
    if not names and _is_region(folder):
        return [folder]
    existing = {path.name: path for path in sorted(folder.glob("*")) if _is_region(path)}
    chosen = [name if name in existing else f"region{name}" for name in dict.fromkeys(names)] or list(existing)
    missing = [name for name in chosen if name not in existing]
    require(
        bool(chosen) and not missing,
        f"no folder {' or '.join(missing) or 'region1'} in {folder}; there are "
        f"{', '.join(existing) or 'no regions at all'}; --data_dir must name the folder that holds the regions; "
        f"{command_line('Resources/simulate.py v1')} creates the built-in ones; --dataset recordings reads files of "
        "other names",
    )
    return [existing[name] for name in chosen]


def _is_region(folder: Path) -> bool:
    return any(
        (folder / f"{prefix}_{name}.npy").is_file() for prefix in FILE_PREFIX.values() for name in ("inputs", "set")
    )


def read_region(folder: Path, max_value: float) -> list[Recording]:
    """Return the training and the test images of a region; one whose files are missing is left out with a note.

    Raises:
        UserError: if files are damaged or do not belong together.
    """
    parts, notes = [], []
    for part, prefix in FILE_PREFIX.items():
        absent = [name for kind in ("inputs", "set") if not (folder / (name := f"{prefix}_{kind}.npy")).is_file()]
        if absent:
            notes.append(f"{folder.name}: no {' and '.join(absent)}, so it has no {part} images")
        else:
            parts.append(_read_part(folder, part, prefix, max_value))
    require(bool(parts), f"{folder} holds neither training nor validation images with their responses")
    require(
        len({len(part.neurons) for part in parts}) == 1,
        f"{folder}: training_set and validation_set have different numbers of neurons",
    )
    parts[0].notes[:0] = notes
    return parts


def _read_part(folder: Path, part: str, prefix: str, max_value: float) -> Recording:
    path = folder / f"{prefix}_inputs.npy"
    pixels = read_table_array(path)
    side = math.isqrt(pixels.shape[1]) if pixels.ndim == 2 else 0
    require(
        side > 0 and pixels.shape[1] == side**2 and pixels.size > 0 and pixels.dtype.kind in "biuf",
        f"{path} is {format_shape(pixels.shape)} of {pixels.dtype}, but must have a row of numbers per square image",
    )
    with np.errstate(over="ignore"):  # values that become infinite are refused later
        shown = as_images(pixels.astype(np.float32), Size(side, side), None, path)  # (n, 1, side, side)
    white, _ = choose_white(shown, max_value, str(path))
    ids = [f"{folder.name}/{part}/{i:04}" for i in range(len(shown))]
    columns: Columns = {"region": [folder.name] * len(ids), "part": [part] * len(ids)}
    images = StimulusSet(shown, ids, max_value=white, columns=columns)
    trials = folder / "raw_validation_set.npy"
    has_trials = part == "test" and trials.is_file()
    responses = _read_values(folder / f"{prefix}_set.npy")
    single = _read_values(trials) if has_trials else None
    return record(f"{folder.name}/{part}", images, responses, single, f"{folder.name}/")


def _read_values(path: Path) -> Values:
    return Values(read_table_array(path), str(path))
