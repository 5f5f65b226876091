"""Datasets: what one sample is, for each data source. The only reader of stimuli.

A dataset holds its images as one array of numbers, the id of each, and named columns of what is known about them.
To add one: a class under @DATASETS.add("name") in this file. Nothing else changes.
"""

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

import v1
from arrays import (
    as_images,
    choose_white,
    download_idx,
    file_beside,
    find_array_file,
    find_idx,
    open_array,
    read_idx,
    read_table_array,
    require_white,
)
from choices import Size, Table, UserError, require
from metadata import (
    Columns,
    adopt,
    as_numbers,
    as_texts,
    join_table,
    listing,
    merge,
    read_array_columns,
    read_csv,
    read_names,
)
from pictures import decode, find_images
from store import Mapped, Store

DATASETS = Table("dataset")
CLASSES = {
    "mnist": list("0123456789"),
    "fashion": ["top", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"],
    "kmnist": ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"],
}


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
        in_blocks: whether frames were cut into blocks, the column `block`.
        responses: (N, n_neurons) float32, NaN where a neuron was not recorded, or None.
        neurons: the name of each column of responses, region/number.
        repeated: (n,) indices of images that were shown repeatedly.
        values: (N, K) float32, the columns that are to be predicted, or None; see `aim_at`.
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
        self.in_blocks = False
        self.digest: str | None = None
        self.responses = responses
        self.neurons = list(neurons)
        self.repeated = torch.zeros(0, dtype=torch.int64)
        self.values: Tensor | None = None
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
    def unit(self) -> str | None:
        """The column of what a split deals out whole, and an interval counts: the block, else the group."""
        return "block" if self.in_blocks else self.group

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
            image (B, C, H, W) float32, 1 for white; label (B,) int64, response (B, n_neurons) and values (B, K) where
            there are any.
        """
        device = torch.device(device)
        indices = indices.to(self.images.device)
        batch = {"image": _gather(self.images, indices, device).float().div_(self.max_value)}
        return batch | {name: _gather(values, indices, device) for name, values in self._targets().items()}

    def trials_of(self, indices: Sequence[int]) -> np.ndarray | None:
        """Return (T, n, n_neurons) responses to each presentation of images; None where one was not repeated."""
        return None

    def aim_at(self, names: Sequence[str]) -> None:
        """Give every sample `values` (B, K), the numbers of these columns; NaN where one is empty.

        Raises:
            UserError: for a column that does not exist, or holds something else than numbers.
        """
        missing = [name for name in names if name not in self.columns]
        require(
            not missing,
            f"there is no column {' or '.join(missing)} to be predicted; there are {', '.join(self.columns) or 'none'}",
        )
        numbers = np.stack([as_numbers(self.columns[name], name) for name in names], 1)  # (N, K)
        self.values = torch.from_numpy(np.where(np.isfinite(numbers), numbers, np.nan).astype(np.float32))

    def keep_on(self, device: torch.device) -> None:
        """Move all images, and what is to be predicted of them, to a device."""
        if self.is_mapped:
            self.read_ahead(torch.arange(len(self)))
        self.images, self._mapped = self.images.to(device), None
        self.labels = None if self.labels is None else self.labels.to(device)
        self.responses = None if self.responses is None else self.responses.to(device)
        self.values = None if self.values is None else self.values.to(device)

    def read_ahead(self, indices: Tensor) -> None:
        """Have the images at these indices of a mapped set fetched from the disk meanwhile."""
        self._mapped.read_ahead(indices.tolist())

    def _targets(self) -> dict[str, Tensor]:
        targets = {"label": self.labels, "response": self.responses, "values": self.values}
        return {name: values for name, values in targets.items() if values is not None}


@DATASETS.add("folder")
class Folder(StimulusSet):
    """Every image file below a folder, at any depth.

    Args:
        source: its folder.
        size: resize to this; needed where the images differ in size.
        fit: how another aspect ratio is fitted: crop the centre, stretch, or pad with the mean border grey.
        colour: auto keeps grey images grey and makes all colour where one is; 16 bits are kept of grey files.
        max_value: the value that stands for white; none takes 255, or 65535 for 16 bits.
        pattern: how file names (without ending) are built; fields in braces become metadata columns, {} is
            anything. '{person}/{}_to_{emotion}_C{step}' reads 09/09F_Ne_to_Sa_C07.JPG; none reads no names.
        metadata: a CSV with a header and a row per image, one column of which names the file; its other columns
            become metadata columns.
        label: the column that holds the class; `folder` is the folder that the file lies in.
        group: the column that holds the person (animal, recording) to be kept apart by --split group.

    Raises:
        UserError: for a folder that is missing or empty, unreadable files, names that do not fit the pattern.
    """

    def __init__(
        self,
        source: Source,
        *,
        size: Size | None = None,
        fit: Literal["crop", "stretch", "pad"] = "crop",
        colour: Literal["auto", "grey", "rgb"] = "auto",
        max_value: float | None = None,
        pattern: str | None = None,
        metadata: str | None = None,
        label: str | None = "folder",
        group: str | None = None,
    ) -> None:
        require_white(max_value)
        paths = find_images(source.folder)
        images, n_images, unreadable = decode(paths, source.folder, size, fit, colour, source.store)
        if unreadable and not source.skip_unreadable:
            raise UserError(
                f"{len(unreadable)} of {len(paths)} images cannot be read:\n"
                + listing(f"{path}: {reason}" for path, reason in unreadable.items())
                + "\nmend or remove them, or go on without them by --skip_unreadable"
            )
        paths = [path for path in paths if path not in unreadable]
        require(bool(paths), f"none of the {len(unreadable)} images in {source.folder} can be read")
        ids = [path.relative_to(source.folder).as_posix() for path in paths]
        columns = {"folder": [path.parent.absolute().name for path in paths]}
        notes = []
        if metadata:
            table = file_beside(source.folder, metadata)
            read, unfit, over = join_table(table, ids)
            told = f"{len(over)} rows of {table} name no image, such as '{over[0]}'" if over else ""
            missing = f"have no row in {table}" + (f" ({told})" if over else "")
            notes += adopt(columns, read, unfit, missing, (label, group))
            notes += [told] if over and not unfit else []
        if pattern:
            read, unfit = read_names(ids, pattern)
            notes += adopt(columns, read, unfit, f"have names that do not fit pattern={pattern}", (label, group))
        images = images[:n_images]
        white, dark = choose_white(images, max_value, str(source.folder))
        super().__init__(
            images,
            ids,
            max_value=white,
            columns=columns,
            label=label,
            group=group,
            skipped=[path.relative_to(source.folder).as_posix() for path in unreadable],
            notes=notes + dark,
        )


@DATASETS.add("arrays")
class Arrays(StimulusSet):
    """Images in a .npy or .npz file: N x H x W, N x C x H x W or N x H x W x C, of any type of number.

    Args:
        source: the file, or the folder that it lies in.
        file: its name in the folder; none takes the only one there.
        array: its name in an npz file; none takes the only one that can be images.
        size: of images that are rows of N x P numbers; nothing is resized.
        max_value: the value that stands for white; none takes 255 or 65535 for 8 or 16 bits, else 1.
        metadata: a table with a row per image in the same order: a CSV with a header, or a .npy file.
        columns: the names of the columns of a .npy table.
        label: the column that holds the class.
        group: the column that holds the animal (person, recording) to be kept apart by --split group.

    Other arrays of an npz file with a number or text per image become columns too.

    Raises:
        UserError: for a file that is missing or damaged, other shapes, values outside 0 to white.
    """

    def __init__(
        self,
        source: Source,
        *,
        file: str | None = None,
        array: str | None = None,
        size: Size | None = None,
        max_value: float | None = None,
        metadata: str | None = None,
        columns: tuple[str, ...] = (),
        label: str | None = None,
        group: str | None = None,
    ) -> None:
        require_white(max_value)
        require(bool(metadata) or not columns, "dataset 'arrays': columns= names those of a table; add metadata=FILE")
        path = find_array_file(source.folder, file)
        images, beside = open_array(path, array, source.store)
        images = as_images(images, size, path)
        n_images = len(images)
        known = {}
        for name, one in beside.items():
            if one.dtype.kind in "biufUS":
                merge(known, read_array_columns(one, [name], f"array '{name}' of {path}"))
        if metadata:
            merge(known, _read_table(file_beside(path.parent, metadata), columns, n_images))
        white, notes = choose_white(images, max_value, str(path))
        super().__init__(
            images,
            _numbered(n_images),
            max_value=white,
            columns=known,
            label=label,
            group=group,
            notes=notes,
        )
        self.digest = _digest(self.images)


@DATASETS.add("mnist")
class Mnist(StimulusSet):
    """MNIST, Fashion-MNIST or KMNIST from the four idx files, compressed or not.

    Args:
        source: the folder of the files, at any depth.
        name: which of the three it is; they all have files of the same names.
        download: take the files that torchvision has fetched into the folder, or fetch them.

    Raises:
        UserError: where the files are missing or damaged.

    Source: LeCun et al. 1998, doi:10.1109/5.726791; Xiao et al. 2017, arXiv:1708.07747; Clanuwat et al. 2018,
    arXiv:1812.01718.
    """

    def __init__(
        self, source: Source, *, name: Literal["mnist", "fashion", "kmnist"] = "mnist", download: bool = False
    ) -> None:
        found = find_idx(download_idx(name, source.folder) if download else source.folder)
        require(
            "train" in found,
            f"no train-images-idx3-ubyte and train-labels-idx1-ubyte (or .gz) in {source.folder}; name their folder by "
            "--data_dir, or fetch them: --dataset mnist download=true",
        )
        images, labels, ids, parts = [], [], [], []
        for part, (image_file, label_file) in found.items():
            images.append(read_idx(image_file))
            labels.append(read_idx(label_file))
            require(
                images[-1].ndim == 3 and images[-1].size > 0 and labels[-1].shape == images[-1].shape[:1],
                f"{image_file} and {label_file} do not belong together: {images[-1].shape} and {labels[-1].shape}",
            )
            require(
                images[-1].shape[1:] == images[0].shape[1:],
                f"{image_file} holds images of another size than the training images",
            )
            parts += [part] * len(labels[-1])
            ids += [f"{part}/{number}" for number in _numbered(len(labels[-1]))]
        names = CLASSES[name]
        codes = np.concatenate(labels)
        require(codes.max() < len(names), f"{source.folder} has labels up to {codes.max()}, but {name} has 10 classes")
        super().__init__(
            np.concatenate(images)[:, None],
            ids,
            max_value=255,
            columns={"class": [names[code] for code in codes], "part": parts},
            label="class",
        )


@DATASETS.add("digits")
class Digits(StimulusSet):
    """Handwritten digits: 1,797 of 8x8 px, which come with scikit-learn; needs no files.

    Args:
        source: not looked at.

    Source: Alpaydin & Kaynak 1998, doi:10.24432/C50P49.
    """

    def __init__(self, source: Source) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        super().__init__(
            digits.images[:, None].astype(np.uint8),
            _numbered(len(digits.images)),
            max_value=16,
            columns={"class": [str(digit) for digit in digits.target]},
            label="class",
        )


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
        self.digest = _digest(self.images)
        self.repeated = torch.tensor([i for i, part in enumerate(columns["part"]) if part == "test"], dtype=torch.int64)
        self.trials = torch.from_numpy(trials)[:, self.repeated]

    def trials_of(self, indices: Sequence[int]) -> np.ndarray | None:
        row = {index: i for i, index in enumerate(self.repeated.tolist())}
        known = len(self.trials) > 1 and set(indices) <= row.keys()
        return self.trials[:, [row[index] for index in indices]].numpy() if known else None


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


def _digest(images: Tensor) -> str:
    """Return a hash of the shape and of 64 evenly spaced images."""
    some = images[torch.linspace(0, len(images) - 1, min(64, len(images))).long()]
    return hashlib.blake2b(repr(images.shape).encode() + some.numpy().tobytes(), digest_size=16).hexdigest()


def _numbered(n: int) -> list[str]:
    digits = len(str(n - 1))
    return [f"{i:0{digits}}" for i in range(n)]


def _read_table(path: Path, columns: tuple[str, ...], n_images: int) -> Columns:
    """Read a table that has a row per image, in the same order."""
    if path.suffix.lower() == ".npy":
        read = read_array_columns(read_table_array(path), columns, str(path))
    else:
        require(not columns, f"columns= names those of a .npy table, but {path} names its own")
        read = read_csv(path)
    n_rows = len(next(iter(read.values())))
    require(n_rows == n_images, f"{path} has {n_rows} rows, but there are {n_images} images")
    return read
