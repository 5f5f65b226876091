"""Handwritten digits and similar sets: the idx files of MNIST, and the digits of scikit-learn."""

import gzip
import math
from pathlib import Path
from typing import Literal

import numpy as np

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.arrays import format_reason
from neuro_noodle.data.base import DATASETS, Source, StimulusSet, numbered_ids
from neuro_noodle.data.npz import MAX_DEFLATE_RATIO
from neuro_noodle.data.tree import walk
from neuro_noodle.plain import first_line

CLASSES = {
    "mnist": list("0123456789"),
    "fashion": ["top", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"],
    "kmnist": ["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"],
}
PART_OF_PREFIX = {"train": "train", "t10k": "test"}


@DATASETS.add("mnist")
class Mnist(StimulusSet):
    """MNIST, Fashion-MNIST or KMNIST from their four idx files, compressed or not.

    Args:
        source: the folder of the files, searched at any depth.
        name: which of the three sets it is; the files of all three have the same names.
        download: download the files into the folder with torchvision, unless they are there.

    Raises:
        UserError: if files are missing or damaged.

    Source: LeCun et al. 1998, doi:10.1109/5.726791; Xiao et al. 2017, arXiv:1708.07747; Clanuwat et al. 2018,
    arXiv:1812.01718.
    """

    def __init__(
        self, source: Source, *, name: Literal["mnist", "fashion", "kmnist"] = "mnist", download: bool = False
    ) -> None:
        files = find_idx(download_idx(name, source.folder) if download else source.folder)
        require(
            "train" in files,
            f"no train-images-idx3-ubyte and train-labels-idx1-ubyte (or .gz) in {source.folder}; name their folder by "
            "--data_dir, or download them: --dataset mnist download=true",
        )
        images, labels, ids, parts = [], [], [], []
        for part, (image_file, label_file) in files.items():
            images.append(read_idx(image_file))
            labels.append(read_idx(label_file))
            require(
                images[-1].ndim == 3 and images[-1].size > 0 and labels[-1].shape == images[-1].shape[:1],
                f"{image_file} and {label_file} do not belong together: {images[-1].shape} and {labels[-1].shape}",
            )
            require(
                images[-1].shape[1:] == images[0].shape[1:],
                f"the images in {image_file} differ in size from the training images",
            )
            parts += [part] * len(labels[-1])
            ids += [f"{part}/{number}" for number in numbered_ids(len(labels[-1]))]
        names = CLASSES[name]
        codes = np.concatenate(labels)
        require(codes.max() < len(names), f"{source.folder} has labels up to {codes.max()}, but {name} has 10 classes")
        super().__init__(
            np.concatenate(images)[:, None],  # (N, 1, H, W)
            ids,
            max_value=255,
            columns={"class": [names[code] for code in codes], "part": parts},
            label="class",
        )


@DATASETS.add("digits")
class Digits(StimulusSet):
    """Handwritten digits: 1,797 images of 8x8 px that are part of scikit-learn; needs no files.

    Args:
        source: ignored.

    Source: Alpaydin & Kaynak 1998, doi:10.24432/C50P49.
    """

    def __init__(self, source: Source) -> None:
        from sklearn.datasets import load_digits

        digits = load_digits()
        super().__init__(
            digits.images[:, None].astype(np.uint8),  # (N, 1, 8, 8)
            numbered_ids(len(digits.images)),
            max_value=16,
            columns={"class": [str(digit) for digit in digits.target]},
            label="class",
        )


def read_idx(path: Path) -> np.ndarray:
    """Read an array of bytes in the idx format of MNIST, compressed by gzip or not.

    Raises:
        UserError: if the file is damaged, truncated or of another type.

    Source: LeCun, Cortes & Burges, the MNIST database.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            magic = file.read(4)
            if len(magic) < 4 or magic[:3] != b"\0\0\x08":
                raise ValueError("it is not an idx file of bytes")
            sides = file.read(4 * magic[3])
            if len(sides) != 4 * magic[3]:
                raise ValueError("it is truncated")
            shape = tuple(np.frombuffer(sides, ">u4").tolist())
            n_bytes = math.prod(shape)
            if n_bytes > path.stat().st_size * (MAX_DEFLATE_RATIO if path.suffix == ".gz" else 1):
                raise ValueError(f"its header announces {n_bytes} values, more than it can hold")
            values = np.frombuffer(file.read(n_bytes + 1), np.uint8)
            if len(values) != n_bytes:
                more_or_fewer = "more" if len(values) > n_bytes else "fewer"
                raise ValueError(f"its header announces {n_bytes} values, but it holds {more_or_fewer}")
            return values.reshape(shape).copy()
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f"{path} cannot be read: {format_reason(error)}") from error


def find_idx(folder: Path) -> dict[str, tuple[Path, Path]]:
    """Return the image and the label file of each part, train or test, for which both exist at any depth.

    Raises:
        UserError: if two folders of the same depth hold files of the same name, as for MNIST and Fashion-MNIST.
    """
    files: dict[str, Path] = {}
    paths = (path for path in walk(folder).files if "ubyte" in path.name and path.is_file()) if folder.is_dir() else ()
    for path in sorted(paths, key=lambda path: (len(path.parts), path.suffix == ".gz")):  # a plain file before its .gz
        first = files.setdefault(path.name.removesuffix(".gz").replace(".idx", "-idx"), path)
        require(
            first.parent == path.parent or len(first.parts) < len(path.parts),
            f"{folder} holds both {first} and {path}; name the folder of one of them with --data_dir",
        )
    names = {
        part: (f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte") for prefix, part in PART_OF_PREFIX.items()
    }
    return {
        part: (files[images], files[labels])
        for part, (images, labels) in names.items()
        if images in files and labels in files
    }


def download_idx(name: str, folder: Path) -> Path:
    """Download the files with torchvision unless they are there; returns their folder.

    Raises:
        UserError: if the download fails.
    """
    from torchvision import datasets

    kind = {"mnist": datasets.MNIST, "fashion": datasets.FashionMNIST, "kmnist": datasets.KMNIST}[name]
    try:
        kind(str(folder), download=True)
    except Exception as error:  # a network can fail in any way
        raise UserError(f"{name} cannot be downloaded to {folder}: {first_line(error)}") from error
    return folder / kind.__name__ / "raw"
