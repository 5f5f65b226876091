"""Datasets: what one sample is, for each data source. The only reader of stimuli.

A dataset holds its images as one array of numbers, the id of each, and named columns of what is known about them.
To add one: a class under @DATASETS.add("name") in this file. Nothing else changes.
"""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from neuro_noodle.choices import Table, UserError, require
from neuro_noodle.data.columns import (
    Columns,
    as_numbers,
    as_texts,
    listing,
)
from neuro_noodle.data.store import Mapped, Store

DATASETS = Table("dataset")


@dataclass(frozen=True)
class Source:
    """Where a dataset comes from.

    Attributes:
        folder: as --data_dir names it.
        store: where decoded images lie.
        skip_unreadable: go on without files that cannot be read; else they are an error.
    """

    folder: Path
    store: Store
    skip_unreadable: bool = False


class StimulusSet:
    """Images with what is known of each.

    Attributes:
        images: (N, C, H, W) numbers, most often uint8.
        max_value: the image value that stands for 1.0.
        ids: N names, unique; each names its image in every output.
        columns: metadata by name, N texts or numbers each; `part`, where there is one, is for --split given.
        label, group: the columns that hold the class and the person (animal, recording) or None.
        has_blocks: whether frames were cut into blocks, the column `block`.
        responses: (N, n_neurons) float32, NaN where a neuron was not recorded, or None.
        neurons: the name of each column of responses, region/number.
        repeated: (n,) indices of images that were shown repeatedly.
        targets: (N, K) float32, the columns that are to be predicted, or None; see `set_targets`.
        digest: of the pixels, where ids are mere numbers and so tell nothing of the images; else None.
        skipped: files left out because they could not be read.
        notes: what the user should know.
    """

    def __init__(
        self,
        images: Tensor | np.ndarray,
        ids: list[str],
        *,
        max_value: float,
        columns: Columns,
        label: str | None = None,
        group: str | None = None,
        responses: Tensor | None = None,
        neurons: Sequence[str] = (),
        skipped: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self._mapped = images if isinstance(images, Mapped) else None
        self.images = _as_tensor(images)
        self.ids = ids
        self.max_value = max_value
        self.columns = columns
        self.label = label
        self.group = group
        self.has_blocks = False
        self.digest: str | None = None
        self.responses = responses
        self.neurons = list(neurons)
        self.repeated = torch.zeros(0, dtype=torch.int64)
        self.targets: Tensor | None = None
        self.skipped = list(skipped)
        self.notes = list(notes)
        for option, column in (("label", label), ("group", group)):
            if column is not None and column not in columns:
                raise UserError(
                    f"{option}={column} names no column; there are {', '.join(columns) or 'none'}; a field in braces "
                    "of pattern= makes another, and so does a table, metadata="
                )
        names = as_texts(columns[label]) if label else []
        unknown = [one for one, name in zip(ids, names, strict=True) if name in ("", "nan")] if label else []
        require(not unknown, f"label={label} is empty for {len(unknown)} of {len(ids)} images:\n{listing(unknown)}")
        self.classes = sorted(set(names))
        positions = {name: index for index, name in enumerate(self.classes)}
        self.labels = torch.tensor([positions[name] for name in names]) if label else None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def provides(self) -> list[str]:
        """What a sample of this dataset holds."""
        return ["image", *self._targets()]

    @property
    def split_unit(self) -> str | None:
        """The column of what a split deals out whole, and an interval counts: the block, else the group."""
        return "block" if self.has_blocks else self.group

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])

    @property
    def is_mapped(self) -> bool:
        """Whether the images lie on a disk and are read when needed."""
        return self._mapped is not None

    def sample(self, indices: Tensor, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Return the samples at (B,) indices as a batch on a device.

        Returns:
            image (B, C, H, W) float32, 1 for white; label (B,) int64, response (B, n_neurons) and targets (B, K) where
            there are any.
        """
        device = torch.device(device)
        indices = indices.to(self.images.device)
        batch = {"image": _gather(self.images, indices, device).float().div_(self.max_value)}
        return batch | {name: _gather(values, indices, device) for name, values in self._targets().items()}

    def trials_of(self, indices: Sequence[int]) -> np.ndarray | None:
        """Return (T, n, n_neurons) responses to each presentation of images; None where one was not repeated."""
        return None

    def set_targets(self, names: Sequence[str]) -> None:
        """Give every sample `targets` (B, K), the numbers of these columns; NaN where one is empty.

        Raises:
            UserError: for a column that does not exist, or holds something else than numbers.
        """
        missing = [name for name in names if name not in self.columns]
        require(
            not missing,
            f"there is no column {' or '.join(missing)} to be predicted; there are {', '.join(self.columns) or 'none'}",
        )
        numbers = np.stack([as_numbers(self.columns[name], name) for name in names], 1)  # (N, K)
        self.targets = torch.from_numpy(np.where(np.isfinite(numbers), numbers, np.nan).astype(np.float32))

    def keep_on(self, device: torch.device) -> None:
        """Move all images, and what is to be predicted of them, to a device."""
        if self.is_mapped:
            self.read_ahead(torch.arange(len(self)))
        self.images, self._mapped = self.images.to(device), None
        self.labels = None if self.labels is None else self.labels.to(device)
        self.responses = None if self.responses is None else self.responses.to(device)
        self.targets = None if self.targets is None else self.targets.to(device)

    def read_ahead(self, indices: Tensor) -> None:
        """Have the images at these indices of a mapped set fetched from the disk meanwhile."""
        self._mapped.read_ahead(indices.tolist())

    def _targets(self) -> dict[str, Tensor]:
        targets = {"label": self.labels, "response": self.responses, "targets": self.targets}
        return {name: values for name, values in targets.items() if values is not None}


def _as_tensor(images: Tensor | np.ndarray) -> Tensor:
    if isinstance(images, Tensor):
        return images
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(images)


def _gather(values: Tensor, indices: Tensor, device: torch.device) -> Tensor:
    """Return the rows at (B,) indices on a device, through pinned memory where they lie elsewhere."""
    deep = values.dtype == torch.uint16
    if deep:  # a GPU gathers only signed ones
        values = values.view(torch.int16)
    if values.device == device:
        rows = values.index_select(0, indices)
    else:
        rows = torch.empty((len(indices), *values.shape[1:]), dtype=values.dtype, pin_memory=device.type == "cuda")
        torch.index_select(values, 0, indices, out=rows)
        rows = rows.to(device, non_blocking=True)
    return rows.view(torch.uint16) if deep else rows


def digest(images: Tensor) -> str:
    """Return a hash of the shape and of 64 evenly spaced images."""
    some = images[torch.linspace(0, len(images) - 1, min(64, len(images))).long()]
    return hashlib.blake2b(repr(images.shape).encode() + some.numpy().tobytes(), digest_size=16).hexdigest()


def numbered(n: int) -> list[str]:
    """Return n ids of equal length, in order."""
    digits = len(str(n - 1))
    return [f"{i:0{digits}}" for i in range(n)]
