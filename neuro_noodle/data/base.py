"""The base class of all datasets: images, their ids, metadata columns, labels and responses.

To add a dataset: a class under @DATASETS.add("name") in a file of this folder.
"""

import hashlib
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuro_noodle.choices import Table, require
from neuro_noodle.data.blocks import frame_blocks
from neuro_noodle.data.columns import Columns, as_numbers, as_texts, listing, merge
from neuro_noodle.data.store import Mapped, Store
from neuro_noodle.plain import readable

DATASETS = Table("dataset")


@dataclass(frozen=True)
class Source:
    """The location of a dataset's files.

    Attributes:
        folder: the path given by --data_dir.
        store: the cache for decoded images.
        skip_unreadable: skip files that cannot be read; otherwise they are an error.
    """

    folder: Path
    store: Store
    skip_unreadable: bool = False


class StimulusSet:
    """A set of images with their metadata, labels and responses.

    Attributes:
        images: (N, C, H, W) numbers, usually uint8.
        max_value: the image value of white, which samples have as 1.0.
        ids: N unique names, which identify the images in every output.
        columns: metadata by name, N texts or N numbers each; the column `part`, if there is one, is used by
            --split given.
        label: the column that holds the class, or None.
        group: the column that holds the person (animal, recording), or None.
        has_blocks: whether the frames were cut into blocks (the column `block`).
        responses: (N, n_neurons) float32, NaN where a neuron was not recorded, or None.
        neurons: the name of each column of responses, region/number.
        repeated: (n,) indices of the images that were presented repeatedly.
        targets: (N, K) float32, the values of the columns to predict, NaN where missing, or None; see `set_targets`.
        digest: a hash of the pixels if the ids are only numbers and cannot identify the images; otherwise None.
        skipped: files that were skipped because they could not be read.
        n_stretched: number of images with another aspect ratio than their files, which changes angles.
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
        repeated: Sequence[int] = (),
        digest: str | None = None,
        skipped: Sequence[str] = (),
        n_stretched: int = 0,
        notes: Sequence[str] = (),
    ) -> None:
        _require_column(columns, "label", label)
        _require_column(columns, "group", group)
        self._mapped = images if isinstance(images, Mapped) else None
        self.images = _as_tensor(images)
        self.ids = ids
        self.max_value = max_value
        self.columns = columns
        self.label = label
        self.group = group
        self.has_blocks = False
        self.digest = digest
        self.responses: Any = responses
        self.neurons = list(neurons)
        self.repeated = torch.tensor(list(repeated), dtype=torch.int64)
        self.targets: Any = None
        self.skipped = list(skipped)
        self.n_stretched = n_stretched
        self.notes = [*notes, *_undecodable(ids)]
        names = _class_names(ids, columns, label) if label else []
        self.classes = sorted(set(names))
        class_index = {name: index for index, name in enumerate(self.classes)}
        self.labels: Any = torch.tensor([class_index[name] for name in names]) if label else None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def provides(self) -> list[str]:
        """The keys of a sample of this dataset."""
        return ["image", *self._target_tensors()]

    @property
    def split_unit(self) -> str | None:
        """The column whose values splits keep together and intervals resample: block if present, else group."""
        return "block" if self.has_blocks else self.group

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])

    @property
    def is_mapped(self) -> bool:
        """Whether the images are read from a memory-mapped file when needed."""
        return self._mapped is not None

    def sample(self, indices: Tensor, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Return the samples at (B,) indices as a batch on a device.

        Returns:
            image (B, C, H, W) float32, where 1 is white; and label (B,) int64, response (B, n_neurons) and
            targets (B, K), each only if the dataset has them.
        """
        device = torch.device(device)
        indices = indices.to(self.images.device)
        batch = {"image": _gather(self.images, indices, device).float().div_(self.max_value)}
        return batch | {name: _gather(values, indices, device) for name, values in self._target_tensors().items()}

    def trials_of(self, indices: Sequence[int]) -> np.ndarray | None:
        """Return (T, n, n_neurons) single-trial responses to these images; None if one was not presented repeatedly."""
        return None

    def set_targets(self, names: Sequence[str]) -> None:
        """Add `targets` (B, K) to every sample: the numbers in these columns, NaN where a cell is empty.

        Raises:
            UserError: if a column does not exist or holds something other than numbers.
        """
        missing = [name for name in names if name not in self.columns]
        require(
            not missing,
            f"cannot predict {' or '.join(missing)}: no such column; there are {', '.join(self.columns) or 'none'}",
        )
        numbers = np.stack([as_numbers(self.columns[name], name) for name in names], 1)  # (N, K)
        self.targets = torch.from_numpy(np.where(np.isfinite(numbers), numbers, np.nan).astype(np.float32))

    def add_blocks(self, n_blocks: int) -> None:
        """Cut the frames into about n_blocks contiguous blocks and add them as the column `block`.

        No block spans two groups. Splits then keep blocks together.

        Raises:
            UserError: if a column `block` exists already.
        """
        recordings = self.columns[self.group] if self.group else None
        merge(self.columns, {"block": frame_blocks(self.ids, n_blocks, recordings)})
        self.has_blocks = True

    def keep_on(self, device: torch.device) -> None:
        """Move all images, labels, responses and targets to a device."""
        if self.is_mapped:
            self.read_ahead(torch.arange(len(self)))
        self.images, self._mapped = self.images.to(device), None
        self.labels = None if self.labels is None else self.labels.to(device)
        self.responses = None if self.responses is None else self.responses.to(device)
        self.targets = None if self.targets is None else self.targets.to(device)

    def read_ahead(self, indices: Tensor) -> None:
        """Ask the system to read the images at these indices of a mapped set in the background."""
        if self._mapped is not None:
            self._mapped.read_ahead(indices.tolist())

    def _target_tensors(self) -> dict[str, Tensor]:
        tensors = {"label": self.labels, "response": self.responses, "targets": self.targets}
        return {name: values for name, values in tensors.items() if values is not None}


def pixel_digest(images: Tensor | np.ndarray) -> str:
    """Return a hash of the shape and of 64 evenly spaced images."""
    images = _as_tensor(images)
    some = images[torch.linspace(0, len(images) - 1, min(64, len(images))).long()]
    return hashlib.blake2b(repr(images.shape).encode() + some.numpy().tobytes(), digest_size=16).hexdigest()


def numbered_ids(n: int) -> list[str]:
    """Return the numbers from 0 to n - 1 as texts of equal length."""
    n_digits = len(str(n - 1))
    return [f"{i:0{n_digits}}" for i in range(n)]


def _undecodable(ids: list[str]) -> list[str]:
    """Return a note if names of images hold bytes that are not text, as in archives with another encoding."""
    names = [name for name in ids if readable(name) != name]
    encoding = sys.getfilesystemencoding().upper()
    shown = f"such as {readable(names[0])}; tables and figures show each such byte as an escape" if names else ""
    return [f"{len(names)} of {len(ids)} names of images are not valid {encoding}, {shown}"] if names else []


def _require_column(columns: Columns, option: str, name: str | None) -> None:
    require(
        name is None or name in columns,
        f"{option}={name} names no column; there are {', '.join(columns) or 'none'}; to add columns, use fields in "
        "braces in pattern=, or a table, metadata=",
    )


def _class_names(ids: list[str], columns: Columns, label: str) -> list[str]:
    names = as_texts(columns[label])
    unlabelled = [image for image, name in zip(ids, names, strict=True) if name in ("", "nan")]
    require(
        not unlabelled, f"label={label} is empty for {len(unlabelled)} of {len(ids)} images:\n{listing(unlabelled)}"
    )
    return names


def _as_tensor(images: Tensor | np.ndarray) -> Tensor:
    if isinstance(images, Tensor):
        return images
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(images)


def _gather(values: Tensor, indices: Tensor, device: torch.device) -> Tensor:
    """Return the rows at (B,) indices on a device, through pinned memory if they are stored elsewhere."""
    is_16_bit = values.dtype == torch.uint16
    if is_16_bit:  # a GPU can gather signed integers only
        values = values.view(torch.int16)
    if values.device == device:
        rows = values.index_select(0, indices)
    else:
        rows = torch.empty((len(indices), *values.shape[1:]), dtype=values.dtype, pin_memory=device.type == "cuda")
        torch.index_select(values, 0, indices, out=rows)
        rows = rows.to(device, non_blocking=True)
    return rows.view(torch.uint16) if is_16_bit else rows
