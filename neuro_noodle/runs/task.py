"""The task of a run: its images, its objective, and which image is in which part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from neuro_noodle.augment import Augmentation
from neuro_noodle.choices import require
from neuro_noodle.data.base import DATASETS, Source, StimulusSet
from neuro_noodle.data.columns import as_texts
from neuro_noodle.data.splits import Parts
from neuro_noodle.data.store import Store
from neuro_noodle.objectives.base import OBJECTIVES, Objective
from neuro_noodle.progress import Stage
from neuro_noodle.runs.files import n_folds

N_BLOCKS = 20
FILL_GPU = 0.5  # the share of its free memory that images may take


@dataclass(frozen=True)
class TaskSource:
    """Where the images of a task are, and what is to be predicted; the fields are named like the flags.

    Attributes:
        data_dir: the folder of the images.
        dataset, objective: choices, `NAME KEY=VALUE ...`.
        save_dir: decoded images are cached in save_dir/.cache if no cache_dir is given.
        n_blocks: cut the frames into this many blocks; 0 for a split without blocks.
    """

    data_dir: Path
    dataset: str
    objective: str
    save_dir: Path
    cache_dir: Path | None = None
    skip_unreadable: bool = False
    n_blocks: int = 0

    @classmethod
    def of(cls, flags: Mapping, data_dir: Path | None = None) -> "TaskSource":
        """Return the source that flags name, on the command line or in config.json; data_dir replaces theirs."""
        return cls(
            data_dir=Path(data_dir or flags["data_dir"]),
            dataset=flags["dataset"],
            objective=flags["objective"],
            save_dir=Path(flags["save_dir"]),
            cache_dir=Path(flags["cache_dir"]) if flags.get("cache_dir") else None,
            skip_unreadable=flags["skip_unreadable"],
            n_blocks=(flags["n_blocks"] or N_BLOCKS) if flags["split"] == "block" else 0,
        )

    @property
    def store(self) -> Store:
        """Where decoded images are kept: cache_dir, or a hidden folder next to the runs."""
        runs = self.save_dir.parent if n_folds(self.save_dir) else self.save_dir
        return Store(self.cache_dir or runs / ".cache", always=bool(self.cache_dir))

    def open_images(self) -> StimulusSet:
        """Open the images."""
        with Stage("opening images") as stage:
            images = Source(self.data_dir, self.store, self.skip_unreadable, stage.over)
            dataset = DATASETS.build(self.dataset, images)
        if self.n_blocks:
            dataset.add_blocks(self.n_blocks)
        return dataset

    def open(self) -> tuple[StimulusSet, Objective]:
        """Open the images, and bind the objective to them."""
        objective, dataset = OBJECTIVES.build(self.objective), self.open_images()
        if objective.columns:
            dataset.set_targets(objective.columns)
        return dataset, objective.on(dataset)


@dataclass(frozen=True)
class Task:
    """What a network is asked to do, and on which images.

    Attributes:
        dataset: all images.
        objective: what is predicted, bound to the dataset.
        parts: the indices of the images in training, validation and test; `left_out` for the others.
        leaks: what the held-out images share with training, for result.json.
        device: where the batches are made.
        notes: what the user should know about the parts.
        augmentations: how training images are changed at random.
    """

    dataset: StimulusSet
    objective: Objective
    parts: Parts
    leaks: dict
    device: torch.device
    notes: Sequence[str] = ()
    augmentations: Sequence[Augmentation] = ()

    @property
    def part(self) -> np.ndarray:
        """The name of the part that each image belongs to, (N,)."""
        return part_of_each(self.parts, len(self.dataset))


def part_of_each(parts: Mapping[str, list[int]], n_images: int) -> np.ndarray:
    """Return the name of the part that each image belongs to, (N,)."""
    part = np.empty(n_images, dtype="<U10")
    for name, indices in parts.items():
        part[indices] = name
    return part


def drop_missing_targets(dataset: StimulusSet, objective: Objective, parts: Parts) -> tuple[Parts, list[str]]:
    """Drop images whose targets are missing from every part.

    Returns:
        The parts; and notes for the user, also on images that the split has left out.

    Raises:
        UserError: if a part would have no image left, or a target column is empty in all of a part.
    """
    left_out = set(parts.get("left_out", []))
    notes = _note_on_groups(dataset, left_out)
    is_known = objective.has_target(dataset)  # (N,)
    if is_known is None:
        return parts, notes
    names = objective.target_names(dataset)
    values = is_known[:, None] & (dataset.targets.isfinite() if objective.columns else is_known[:, None])  # (N, K)
    for part in ("training", "validation", "test"):
        indices = parts.get(part, [])
        empty = [name for name, is_there in zip(names, values[indices].any(0).tolist(), strict=True) if not is_there]
        require(not (indices and empty), f"no {part} image of {len(indices)} has {' and '.join(empty)}")
    missing = set((~is_known).nonzero()[:, 0].tolist())
    if not missing:
        return parts, notes
    kept = {part: [index for index in indices if index not in missing] for part, indices in parts.items()}
    kept["left_out"] = sorted(left_out | missing)
    note = f"{len(missing)} of {len(dataset)} images are left out, because they have no {' or '.join(names)}"
    return kept, [*notes, note]


def _note_on_groups(dataset: StimulusSet, left_out: set[int]) -> list[str]:
    """Return a note on the images that a split has left out because their group is missing."""
    if not (dataset.group and left_out):
        return []
    groups = as_texts(dataset.columns[dataset.group])
    n_missing = sum(not groups[index] for index in left_out)
    note = f"{n_missing} of {len(dataset)} images are left out, because the split cannot keep them apart without their "
    return [f"{note}{dataset.group}"] if n_missing else []


def keep_on_gpu(dataset: StimulusSet, device: torch.device) -> None:
    """Move all images to a GPU if they fit."""
    if device.type == "cuda" and dataset.images.nbytes < FILL_GPU * torch.cuda.mem_get_info(device)[0]:
        dataset.keep_on(device)
