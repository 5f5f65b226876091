"""Image files: found below a folder and decoded into one integer array of one size."""

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from neuro_noodle.choices import Size, UserError, require
from neuro_noodle.data.arrays import choose_white, find_file, require_white
from neuro_noodle.data.base import DATASETS, Source, StimulusSet
from neuro_noodle.data.columns import Columns, add_columns, join_table, listing, read_names
from neuro_noodle.data.store import Store, fingerprint

DECODER = 1  # increase when the same files would decode to other pixels
DRAFT = 1.5  # JPEGs are decoded at reduced size, but to at least this times the size that is wanted
MAX_ROUNDING = 0.03  # relative change of the aspect ratio, which turns a direction by less than a degree
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm"}
COLOUR_MODES = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}


@DATASETS.add("folder")
class Folder(StimulusSet):
    """Every image file below a folder, at any depth.

    Args:
        source: the folder.
        size: resize to this; needed if the images differ in size.
        fit: how to fit another aspect ratio: crop the centre, stretch, or pad with the mean grey of the border.
        colour: auto keeps grey images grey unless one image has colour, then all have; grey images keep 16 bits.
        max_value: the image value of white; none uses 255, or 65535 for 16 bits.
        pattern: the structure of file names (without ending); fields in braces become metadata columns, {} matches
            anything. '{person}/{}_to_{emotion}_C{step}' reads 09/09F_Ne_to_Sa_C07.JPG; none reads no names.
        metadata: a CSV with a header and a row per image, one column of which names the file; its other columns
            become metadata columns.
        label: the column that holds the class; `folder` is the folder that contains the file.
        group: the column that holds the person (animal, recording) whose images --split group keeps in one part.

    Raises:
        UserError: if the folder is missing or empty, files cannot be read, or names do not match the pattern.
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
        decoded = decode(paths, source.folder, size, fit, colour, source.store)
        _require_readable(decoded.unreadable, paths, source)
        paths = [path for path in paths if path not in decoded.unreadable]
        ids = [path.relative_to(source.folder).as_posix() for path in paths]
        columns: Columns = {"folder": [path.parent.absolute().name for path in paths]}
        notes = _add_table(columns, source.folder, metadata, ids, (label, group)) if metadata else []
        if pattern:
            fields, unmatched = read_names(ids, pattern)
            reason = f"have names that do not match pattern={pattern}"
            notes += add_columns(columns, fields, unmatched, reason, (label, group))
        white, white_notes = choose_white(decoded.images, max_value, str(source.folder))
        super().__init__(
            decoded.images,
            ids,
            max_value=white,
            columns=columns,
            label=label,
            group=group,
            skipped=[path.relative_to(source.folder).as_posix() for path in decoded.unreadable],
            n_stretched=decoded.n_stretched,
            notes=notes + white_notes,
        )


def _require_readable(unreadable: dict[Path, str], paths: list[Path], source: Source) -> None:
    """Raise UserError if files cannot be read and may not be skipped, or if none can be read."""
    if unreadable and not source.skip_unreadable:
        raise UserError(
            f"{len(unreadable)} of {len(paths)} images cannot be read:\n"
            + listing(f"{path}: {reason}" for path, reason in unreadable.items())
            + "\nrepair or remove them, or skip them with --skip_unreadable"
        )
    require(len(unreadable) < len(paths), f"none of the {len(unreadable)} images in {source.folder} can be read")


def _add_table(
    columns: Columns, folder: Path, metadata: str, ids: list[str], needed: Iterable[str | None]
) -> list[str]:
    """Add the columns of a table; returns notes for the user."""
    path = find_file(folder, metadata)
    table = join_table(path, ids)
    n_unknown = len(table.unknown)
    unknown = f"{n_unknown} rows of {path} name no image, such as '{table.unknown[0]}'" if n_unknown else ""
    reason = f"have no row in {path}" + (f" ({unknown})" if unknown else "")
    notes = add_columns(columns, table.columns, table.missing, reason, needed)
    return notes + ([unknown] if unknown and not table.missing else [])


@dataclass(frozen=True)
class Decoded:
    """Decoded image files.

    Attributes:
        images: (N, C, H, W) uint8 or uint16, the readable images in order.
        unreadable: the reason for each file that cannot be read.
        n_stretched: number of images whose aspect ratio was changed.
    """

    images: np.ndarray
    unreadable: dict[Path, str]
    n_stretched: int = 0


@dataclass(frozen=True)
class _Header:
    size: Size
    mode: str


def find_images(folder: Path) -> list[Path]:
    """Return the image files below a folder, sorted, without hidden files and folders.

    Raises:
        UserError: if the folder is missing, not a folder, or has no images.
    """
    require(
        folder.exists(),
        f"no folder {folder}; name one with --data_dir, or create the built-in faces: "
        "python Resources/simulate.py faces",
    )
    require(folder.is_dir(), f"{folder} is a file; --data_dir needs a folder of images")
    paths = sorted(path for path in _walk(folder, set()) if path.suffix.lower() in SUFFIXES)
    require(bool(paths), f"no images in {folder}; searched at any depth for {', '.join(sorted(SUFFIXES))}")
    return paths


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """Yield every file below a folder that is not hidden, including those in linked folders; each folder once."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    for path in folder.iterdir():
        if path.is_dir() and not path.name.startswith("."):
            yield from _walk(path, seen)
        elif path.is_file() and not path.name.startswith("."):
            yield path


def decode(paths: list[Path], folder: Path, size: Size | None, fit: str, colour: str, store: Store) -> Decoded:
    """Decode image files into one array.

    Args:
        paths: the files, below folder.
        size, fit, colour: as for `Folder`.
        store: keeps the array.

    Raises:
        UserError: if the images differ in size and no size is given, or if memory or disk are too small.
    """
    with ThreadPoolExecutor() as pool, warnings.catch_warnings(action="ignore"):  # Pillow warns of every unusual tag
        headers = list(pool.map(_attempt, [_read_header] * len(paths), paths))
        found = [header for header in headers if isinstance(header, _Header)]
        if not found:
            return Decoded(np.empty(0), dict(zip(paths, headers, strict=True)))
        target = size or _common_size([header.size for header in found])
        modes = {header.mode for header in found}
        n_channels = 3 if colour == "rgb" or (colour == "auto" and modes & COLOUR_MODES) else 1
        is_16_bit = any(mode.startswith("I") for mode in modes)

        def decode_one(path: Path, header: Any, row: np.ndarray) -> str | None:
            return _attempt(_read_image, path, fit, row) if isinstance(header, _Header) else header

        def fill(out: np.ndarray) -> dict[str, str]:
            reasons = list(pool.map(decode_one, paths, headers, out))
            _move_to_front(out, [index for index, reason in enumerate(reasons) if reason is None])
            return {str(index): reason for index, reason in enumerate(reasons) if reason}

        def key() -> str:
            return _cache_key(f"{DECODER} {target} {fit} {n_channels} {is_16_bit}", paths, folder, headers)

        shape = (len(paths), n_channels, *target)
        images, reasons = store.array(key, shape, np.uint16 if is_16_bit else np.uint8, fill)
    unreadable = {paths[int(index)]: reason for index, reason in reasons.items()}
    n_stretched = sum(_is_stretched(header.size, target) for header in found) if fit == "stretch" else 0
    return Decoded(images[: len(paths) - len(unreadable)], unreadable, n_stretched)


def _is_stretched(size: Size, target: Size) -> bool:
    """Return whether the aspect ratio changes by more than rounding to whole pixels can explain."""
    ratio = size.width * target.height / (size.height * target.width)
    return abs(math.log(ratio)) > MAX_ROUNDING


def _move_to_front(images: np.ndarray, indices: list[int]) -> None:
    """Move the images at these increasing indices to the front, in order."""
    for to, index in enumerate(indices):
        if to < index:
            images[to] = images[index]


def _cache_key(settings: str, paths: list[Path], folder: Path, headers: list[Any]) -> str:
    """Return a hash of the settings, and of the name and content of each file (the reason if it is unreadable)."""
    parts: list[str | Path] = [settings]
    for path, header in zip(paths, headers, strict=True):
        parts += [os.fspath(path.relative_to(folder)), path if isinstance(header, _Header) else header]
    return fingerprint(parts)


def _common_size(sizes: list[Size]) -> Size:
    counts = Counter(sizes)
    if len(counts) > 1:
        few = ", ".join(f"{size} ({count} images)" for size, count in counts.most_common(3))
        raise UserError(
            f"the images have {len(counts)} different sizes, such as {few}; choose one size for all, "
            f"for example --dataset folder size={min(counts)}"
        )
    return sizes[0]


def _attempt(function: Callable, path: Path, *arguments: object) -> Any:
    """Return the result of a function of a file, or the reason as text if the file cannot be read."""
    try:
        return function(path, *arguments)
    except UnidentifiedImageError:
        return "not an image"
    except MemoryError as error:  # not the fault of the file
        raise UserError(f"there is not enough memory to decode {path}") from error
    except Exception as error:  # a damaged file can fail in any way
        return str(error) or type(error).__name__


def _read_header(path: Path) -> _Header:
    with Image.open(path) as image:
        if image.mode == "F":
            raise ValueError("it has floating-point pixels; save it with 8 or 16 bits")
        if image.format == "TIFF" and image.n_frames > 1:
            raise ValueError(f"it holds {image.n_frames} images; save each in a file of its own")
        width, height = image.size
        if image.getexif().get(ExifTags.Base.Orientation, 1) >= 5:  # stored rotated by 90 degrees
            if image.format == "TIFF":  # Pillow 13 confuses its rows and columns
                raise ValueError("it is a TIFF stored rotated by 90 degrees; save it upright")
            width, height = height, width
        return _Header(Size(height, width), image.mode)


def _read_image(path: Path, fit: str, out: np.ndarray) -> None:
    """Decode one file into out (C, H, W), uint8 or uint16."""
    with Image.open(path) as image:
        side = math.ceil(DRAFT * max(out.shape[1:]))
        image.draft(image.mode, (side, side))  # faster: a JPEG is decoded at 1/2, 1/4 or 1/8 of its size
        ImageOps.exif_transpose(image, in_place=True)
        image.load()
    if image.mode.startswith("I"):
        values = np.asarray(image, np.float32)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("it has values outside the range of 16 bits")
        image, white = Image.fromarray(values), 65535
    else:
        mode, white = "RGB" if len(out) == 3 else "L", 255
        image = image if image.mode == mode else image.convert(mode)
    values = np.asarray(_fit(image, Size(*out.shape[1:]), fit))
    values = values.transpose(2, 0, 1) if values.ndim == 3 else values[None]  # (C, H, W)
    full = np.iinfo(out.dtype).max
    out[:] = values if white == full == 255 else (values * (full / white)).round().clip(0, full)


def _fit(image: Image.Image, size: Size, fit: str) -> Image.Image:
    shape = (size.width, size.height)
    if image.size == shape:
        return image
    if fit == "crop":
        return ImageOps.fit(image, shape, Image.Resampling.BICUBIC)
    if fit == "stretch":
        return image.resize(shape, Image.Resampling.BICUBIC)
    values = np.asarray(image, np.float32)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]).mean(0)
    colour = tuple(border.round().astype(int).tolist()) if border.ndim else round(float(border))
    return ImageOps.pad(image, shape, Image.Resampling.BICUBIC, color=colour)
