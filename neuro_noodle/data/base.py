"""The base class of all datasets: images, their ids, metadata columns, labels and responses.

To add a dataset: a class under @DATASETS.add("name") in a file of this folder.
"""

import sys
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuro_noodle.choices import Table, require
from neuro_noodle.data.blocks import describe_order, frame_blocks
from neuro_noodle.data.cells import clean_columns
from neuro_noodle.data.columns import Columns, as_groups, as_numbers, as_texts, merge
from neuro_noodle.data.doubts import code_notes, merged_notes, naming_notes
from neuro_noodle.data.inventory import Inventory, Reading, take_inventory
from neuro_noodle.data.store import Mapped, Store
from neuro_noodle.plain import readable

DATASETS = Table("dataset")
Track = Callable[[Iterable[Any], str, int], Iterable[Any]]  # returns items, and may count them: items, what, total
N_HASHED = 1000  # images of an array too large for memory


def untracked(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
    """Return items whose progress nobody follows."""
    return items


@dataclass(frozen=True)
class Source:
    """The location of a dataset's files.

    Attributes:
        folder: the path given by --data_dir.
        store: the cache for decoded images.
        skip_unreadable: skip files that cannot be read; otherwise they are an error.
        track: follows the progress of reading them.
    """

    folder: Path
    store: Store
    skip_unreadable: bool = False
    track: Track = untracked


class StimulusSet:
    """A set of images with their metadata, labels and responses.

    Attributes:
        images: (N, C, H, W) numbers, usually uint8.
        max_value: the image value of white, which samples have as 1.0.
        ids: N unique names, which identify the images in every output.
        columns: metadata by name, N texts (empty where missing) or N numbers (NaN) each; the column `part`, if there
            is one, is used by --split given.
        label: the column that holds the class, or None.
        group: the column that holds the person (animal, recording), or None.
        has_blocks: whether the frames were cut into blocks (the column `block`).
        responses: (N, n_neurons) float32, NaN where a neuron was not recorded, or None.
        neurons: the name of each column of responses.
        repeated: (n,) indices of the images of which two or more single trials are known.
        contents: N hashes, which tell images of the same name apart; empty for images that are not hashed.
        labels: (N,) the index of the class of each image, -1 where its label is missing; None without a label.
        stretch: (N, 2) factors of the width and height of each image, both 1 if their ratio stayed; None if all did.
        targets: (N, K) float64, the values of the columns to predict, NaN where missing, or None; see `set_targets`.
        notes: what the user should know.
        reading: what was left out or changed when the files were read.
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
        contents: Sequence[str] = (),
        notes: Sequence[str] = (),
        reading: Reading | None = None,
        stretch: np.ndarray | None = None,
    ) -> None:
        columns, missing = clean_columns(columns)
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
        self.contents = list(contents) or hash_images(images)
        self.responses: Any = responses
        self.neurons = list(neurons)
        self.repeated = torch.tensor(list(repeated), dtype=torch.int64)
        self.targets: Any = None
        self.notes = [*notes, *missing, *naming_notes(columns, (label, group)), *_undecodable(ids)]
        self.reading = reading or Reading()
        self.stretch: Any = None if stretch is None else torch.from_numpy(stretch)
        names = as_texts(columns[label]) if label else []
        self.classes = sorted(set(names) - {""})
        class_index = {name: index for index, name in enumerate(self.classes)}
        self.labels: Any = torch.tensor([class_index.get(name, -1) for name in names]) if label else None

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
    def class_columns(self) -> tuple[str, ...]:
        """The columns that hold classes even if these look like numbers: folder, label and group."""
        return tuple(filter(None, ("folder", self.label, self.group)))

    @property
    def n_stretched(self) -> int:
        """The number of images with another aspect ratio than their files, which changes angles."""
        return self.reading.n_stretched

    @cached_property
    def inventory(self) -> Inventory:
        """What was read; raises UserError if all images are the same."""
        classes, groups = (as_texts(self.columns[name]) if name else [] for name in (self.label, self.group))
        return take_inventory(self.images, self.max_value, classes, groups, self.reading)

    @property
    def record(self) -> dict:
        """What was read, for result.json: the inventory, and all notes on files and columns."""
        return self.inventory.record | {"notes": self.notes}

    def units(self) -> list[str]:
        """Return the unit (block or else group) of each image; an image without one is a unit of its own."""
        return as_groups(self.columns[self.split_unit] if self.split_unit else [""] * len(self), self.ids)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])

    @property
    def pixels(self) -> np.ndarray:
        """The images as an array, mapped or in memory."""
        return self.images.numpy() if self._mapped is None else self._mapped

    @property
    def is_mapped(self) -> bool:
        """Whether the images are read from a memory-mapped file when needed."""
        return self._mapped is not None

    def sample(self, indices: Tensor, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Return the samples at (B,) indices as a batch on a device.

        Returns:
            image (B, C, H, W) float32, where 1 is white; and label (B,) int64, response (B, n_neurons),
            targets (B, K) float64 and stretch (B, 2) float64, each only if the dataset has them.
        """
        device = torch.device(device)
        indices = indices.to(self.images.device)
        batch = {"image": _gather(self.images, indices, device).float().div_(self.max_value)}
        return batch | {name: _gather(values, indices, device) for name, values in self._target_tensors().items()}

    def trials_of(self, indices: Sequence[int]) -> np.ndarray | None:
        """Return (T, n, n_neurons) responses to each presentation of these images; None if too few were repeated."""
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
        numbers = [as_numbers(self.columns[name], name, self.ids) for name in names]
        for name, values in zip(names, numbers, strict=True):
            self.notes += code_notes(values, name) + merged_notes(values, name, self.columns[name])
        self.targets = torch.from_numpy(np.stack(numbers, 1))  # (N, K)

    def add_blocks(self, n_blocks: int) -> None:
        """Cut the frames into about n_blocks contiguous blocks and add them as the column `block`.

        No block spans two groups, and an image without a group is in no block. Splits then keep blocks together.

        Raises:
            UserError: if a column `block` exists already.
        """
        recordings = as_texts(self.columns[self.group]) if self.group else None
        merge(self.columns, {"block": frame_blocks(self.ids, n_blocks, recordings)})
        self.has_blocks = True
        self.notes.append(describe_order(self.ids))

    def keep_on(self, device: torch.device) -> None:
        """Move all images, labels, responses and targets to a device."""
        if self.is_mapped:
            self.read_ahead(torch.arange(len(self)))
        self.images, self._mapped = self.images.to(device), None
        self.labels = None if self.labels is None else self.labels.to(device)
        self.responses = None if self.responses is None else self.responses.to(device)
        self.targets = None if self.targets is None else self.targets.to(device)
        self.stretch = None if self.stretch is None else self.stretch.to(device)

    def read_ahead(self, indices: Tensor) -> None:
        """Ask the system to read the images at these indices of a mapped set in the background."""
        if self._mapped is not None:
            self._mapped.read_ahead(indices.tolist())

    def _target_tensors(self) -> dict[str, Tensor]:
        tensors = {"label": self.labels, "response": self.responses, "targets": self.targets}
        tensors["stretch"] = None if self.targets is None else self.stretch
        return {name: values for name, values in tensors.items() if values is not None}


def hash_images(images: Tensor | np.ndarray) -> list[str]:
    """Return a hash of each of N images; of an array mapped from a file only of 1,000 evenly spaced ones, others ''."""
    pixels = images.numpy() if isinstance(images, Tensor) else images
    step = -(-len(pixels) // N_HASHED) if isinstance(pixels, Mapped) else 1
    header = f"{pixels.dtype} {pixels.shape[1:]}".encode()

    def hash_one(index: int) -> str:
        return "" if index % step else blake2b(pixels[index].tobytes(), key=header, digest_size=8).hexdigest()

    return [hash_one(index) for index in range(len(pixels))]


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
        f"{option}={name} names no column; allowed: {', '.join(columns) or 'none'}; to add columns, use fields in "
        "braces in pattern=, or a table, metadata=",
    )


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
