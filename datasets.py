"""Datasets: what one sample is, for each data source. The only reader of stimuli.

A dataset holds its images as one integer tensor, the id of each, and named columns of what is known about them.
To add one: a class under @DATASETS.add("name") in this file. Nothing else changes.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import torch
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from choices import Size, Table, UserError, require

DATASETS = Table("dataset")
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm"}
COLOUR_MODES = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}


class StimulusSet:
    """Images with what is known of each.

    Attributes:
        images: (N, C, H, W) uint8, or uint16 where the files have 16 bits.
        max_value: the image value that stands for 1.0.
        ids: N names, unique; each names its image in every output.
        columns: metadata by name, N texts each.
        label, group: the columns that hold the class and the person (animal, recording) or None.
        skipped: files left out because they could not be read.
        notes: what the user should know.
    """

    def __init__(
        self,
        images: Tensor,
        ids: list[str],
        *,
        max_value: float,
        columns: dict[str, list[str]],
        label: str | None = None,
        group: str | None = None,
        skipped: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.images = images
        self.ids = ids
        self.max_value = max_value
        self.columns = columns
        self.label = label
        self.group = group
        self.skipped = list(skipped)
        self.notes = list(notes)
        self.classes = sorted(set(columns[label])) if label else []
        positions = {name: index for index, name in enumerate(self.classes)}
        self.labels = torch.tensor([positions[name] for name in columns[label]]) if label else None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def provides(self) -> list[str]:
        """What a sample of this dataset holds."""
        return ["image"] + (["label"] if self.label else [])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return tuple(self.images.shape[1:])

    def sample(self, indices: Tensor) -> dict[str, Tensor]:
        """Return the samples at (B,) indices as a batch; image is (B, C, H, W) as stored, label (B,) int64."""
        batch = {"image": self.images[indices]}
        if self.labels is not None:
            batch["label"] = self.labels[indices]
        return batch


@DATASETS.add("folder")
class Folder(StimulusSet):
    """Every image file below a folder, at any depth.

    Args:
        data_dir: the folder.
        skip_unreadable: go on without files that cannot be read; else they are an error.
        size: resize to this; needed where the images differ in size.
        fit: how another aspect ratio is fitted: crop the centre, stretch, or pad with the mean border grey.
        colour: auto keeps grey images grey and makes all colour where one is; 16 bits are kept of grey files.
        max_value: the value that stands for white; none takes 255, or 65535 for 16 bits.
        pattern: how file names (without ending) are built; fields in braces become metadata columns, {} is
            anything. '{person}/{}_to_{emotion}_C{step}' reads 09/09F_Ne_to_Sa_C07.JPG; none reads no names.
        label: the column that holds the class; `folder` is the folder that the file lies in.
        group: the column that holds the person (animal, recording) to be kept apart by --split group.

    Raises:
        UserError: for a folder that is missing or empty, unreadable files, names that do not fit the pattern.
    """

    def __init__(
        self,
        data_dir: Path,
        skip_unreadable: bool,
        *,
        size: Size | None = None,
        fit: Literal["crop", "stretch", "pad"] = "crop",
        colour: Literal["auto", "grey", "rgb"] = "auto",
        max_value: float | None = None,
        pattern: str | None = None,
        label: str = "folder",
        group: str | None = None,
    ) -> None:
        if max_value is not None:
            require(0 < max_value < float("inf"), f"dataset 'folder': max_value={max_value} must be above 0")
        paths = find_images(data_dir)
        images, unreadable = decode(paths, size, fit, colour)
        if unreadable and not skip_unreadable:
            raise UserError(
                f"{len(unreadable)} of {len(paths)} images cannot be read:\n"
                + listing(f"{path}: {reason}" for path, reason in unreadable.items())
                + "\nmend or remove them, or go on without them by --skip_unreadable"
            )
        paths = [path for path in paths if path not in unreadable]
        if not paths:
            raise UserError(f"none of the {len(unreadable)} images in {data_dir} can be read")
        ids = [path.relative_to(data_dir).as_posix() for path in paths]
        columns = {"folder": [path.parent.absolute().name for path in paths]}
        notes = []
        if pattern:
            read, unfit = read_names(ids, pattern)
            needed = [column for column in (label, group) if column in read]
            if unfit:
                told = f"{len(unfit)} of {len(ids)} file names do not fit pattern={pattern}:\n{listing(unfit)}"
                if needed:
                    raise UserError(f"{told}\nbut the dataset reads {' and '.join(needed)} out of them")
                notes.append(told if len(unfit) < len(ids) else told.splitlines()[0].rstrip(":"))
            columns |= read if len(unfit) < len(ids) else {}
        for option, column in (("label", label), ("group", group)):
            if column is not None and column not in columns:
                raise UserError(
                    f"dataset 'folder': {option}={column} names no column; there are {', '.join(columns)}; "
                    "a field in braces of pattern= makes another"
                )
        super().__init__(
            images,
            ids,
            max_value=max_value or torch.iinfo(images.dtype).max,
            columns=columns,
            label=label,
            group=group,
            skipped=[path.relative_to(data_dir).as_posix() for path in unreadable],
            notes=notes,
        )


def find_images(folder: Path) -> list[Path]:
    """Return the image files below a folder, sorted; hidden files and folders are passed over."""
    if not folder.exists():
        raise UserError(
            f"no folder {folder}; name one by --data_dir, or draw the built-in faces: "
            "python Resources/simulate.py faces"
        )
    if not folder.is_dir():
        raise UserError(f"{folder} is a file; --data_dir takes a folder of images")
    paths = sorted(path for path in _walk(folder, set()) if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise UserError(f"no images in {folder}; looked at any depth for {', '.join(sorted(SUFFIXES))}")
    return paths


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield every file below a folder that is not hidden; linked folders too, each once."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            yield from _walk(path, seen)
        elif path.is_file() and not path.name.startswith("."):
            yield path


def decode(paths: list[Path], size: Size | None, fit: str, colour: str) -> tuple[Tensor, dict[Path, str]]:
    """Decode image files into one tensor.

    Args:
        paths: the files.
        size, fit, colour: as the options of `Folder`.

    Returns:
        (N, C, H, W) images of the readable files in order, uint8 or uint16, and the reason for each unreadable.
    """
    with ThreadPoolExecutor() as pool:
        headers = list(pool.map(_attempt, [_read_header] * len(paths), paths))
        found = [header for header in headers if isinstance(header, tuple)]
        if not found:
            return torch.empty(0), dict(zip(paths, headers, strict=True))
        target = size or _common_size([size for size, _ in found])
        modes = {mode for _, mode in found}
        channels = 3 if colour == "rgb" or (colour == "auto" and modes & COLOUR_MODES) else 1
        deep = any(mode.startswith("I") for mode in modes)
        store = _store((len(paths), channels, *target), np.uint16 if deep else np.uint8)

        def fill(path: Path, header: object, out: np.ndarray) -> str | None:
            if not isinstance(header, tuple):
                return header
            return _attempt(_read_image, path, fit, out)

        reasons = list(pool.map(fill, paths, headers, store))
    good = [reason is None for reason in reasons]
    images = torch.from_numpy(store if all(good) else store[good])
    return images, {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}


def _store(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    try:
        return np.empty(shape, dtype)
    except MemoryError as error:
        raise UserError(
            f"{shape[0]} images of {shape[2]}x{shape[3]} do not fit in memory; choose a smaller size="
        ) from error


def _common_size(sizes: list[Size]) -> Size:
    counts = Counter(sizes)
    if len(counts) > 1:
        few = ", ".join(f"{size} ({count} images)" for size, count in counts.most_common(3))
        raise UserError(
            f"the images have {len(counts)} different sizes, such as {few}; choose one to bring them to, "
            f"for example --dataset folder size={min(counts)}"
        )
    return sizes[0]


def _attempt(function: Callable, path: Path, *arguments: object) -> object:
    """Return what the function returns, or as a text why the file could not be read."""
    try:
        return function(path, *arguments)
    except UnidentifiedImageError:
        return "not an image"
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, Image.DecompressionBombError) as error:
        return str(error) or type(error).__name__


def _read_header(path: Path) -> tuple[Size, str]:
    with Image.open(path) as image:
        if image.mode == "F":
            raise ValueError("it has floating-point pixels; save it with 8 or 16 bits")
        if image.format == "TIFF" and image.n_frames > 1:
            raise ValueError(f"it holds {image.n_frames} pictures; save each as a file of its own")
        width, height = image.size
        if image.getexif().get(ExifTags.Base.Orientation, 1) >= 5:  # stored on its side
            if image.format == "TIFF":  # Pillow 13 mixes up its rows and columns
                raise ValueError("it is a TIFF stored on its side; save it upright")
            width, height = height, width
        return Size(height, width), image.mode


def _read_image(path: Path, fit: str, out: np.ndarray) -> None:
    """Decode one file into out (C, H, W), uint8 or uint16."""
    with Image.open(path) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            values = np.asarray(image, np.float32)
            if values.min() < 0 or values.max() > 65535:
                raise ValueError("it has values beyond 16 bits")
            planes, white = [Image.fromarray(values)] * len(out), 65535
        else:
            planes, white = image.convert("RGB" if len(out) == 3 else "L").split(), 255
    full = np.iinfo(out.dtype).max
    for plane, channel in zip(planes, out, strict=True):
        values = np.asarray(_fit(plane, Size(*channel.shape), fit))
        channel[:] = values if white == full == 255 else (values * (full / white)).round().clip(0, full)


def _fit(plane: Image.Image, size: Size, fit: str) -> Image.Image:
    shape = (size.width, size.height)
    if plane.size == shape:
        return plane
    if fit == "crop":
        return ImageOps.fit(plane, shape, Image.Resampling.BICUBIC)
    if fit == "stretch":
        return plane.resize(shape, Image.Resampling.BICUBIC)
    values = np.asarray(plane, np.float32)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]).mean()
    return ImageOps.pad(plane, shape, Image.Resampling.BICUBIC, color=round(float(border)))


def read_names(ids: list[str], pattern: str) -> tuple[dict[str, list[str]], list[str]]:
    """Read metadata columns out of file names.

    Args:
        ids: paths with / between folders.
        pattern: the last parts of a path without its ending; {field} becomes a column, {} stands for anything.

    Returns:
        A column of N texts per field, empty where a name does not fit; and the names that do not fit.

    Raises:
        UserError: for a pattern without a field or with one twice.
    """
    literals = re.split(r"\{([^{}]*)\}", pattern)
    fields = [field for field in literals[1::2] if field]
    reserved = {"id", "folder"} & set(fields)
    if reserved:
        raise UserError(
            f"pattern={pattern}: a field cannot be called {' or '.join(reserved)}, which stands for another column"
        )
    if not fields or len(set(fields)) < len(fields) or not all(field.isidentifier() for field in fields):
        raise UserError(f"pattern={pattern} needs fields in braces, each once, such as {{person}}_{{emotion}}")
    groups = [f"(?P<{field}>[^/]+?)" if field else "[^/]*?" for field in literals[1::2]] + [""]
    parts = (re.escape(literal) + group for literal, group in zip(literals[::2], groups, strict=True))
    regex = re.compile(r"(?:.*/)?" + "".join(parts))
    matches = [regex.fullmatch(str(PurePosixPath(name).with_suffix(""))) for name in ids]
    columns = {field: [match[field] if match else "" for match in matches] for field in fields}
    return columns, [name for name, match in zip(ids, matches, strict=True) if not match]


def listing(lines: Iterable[str], most: int = 5) -> str:
    """Return the first lines, indented, and how many more there are."""
    lines = list(lines)
    more = [f"  ... and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([f"  {line}" for line in lines[:most]] + more)
