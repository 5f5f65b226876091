"""Pictures: image files found below a folder and decoded, all to one size, into one integer array."""

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from neuro_noodle.choices import Size, UserError, require
from neuro_noodle.data.arrays import (
    choose_white,
    file_beside,
    require_white,
)
from neuro_noodle.data.base import DATASETS, Source, StimulusSet
from neuro_noodle.data.columns import adopt, join_table, listing, read_names
from neuro_noodle.data.store import Store, fingerprint

DECODER = 1  # to be raised when the same files come to give other pixels
DRAFT = 1.5  # times the size that is wanted
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm"}
COLOUR_MODES = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}


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


def decode(
    paths: list[Path], folder: Path, size: Size | None, fit: str, colour: str, store: Store
) -> tuple[np.ndarray, int, dict[Path, str]]:
    """Decode image files into one array.

    Args:
        paths: the files, below folder.
        size, fit, colour: as the options of `datasets.Folder`.
        store: where the array lies.

    Returns:
        (N, C, H, W) uint8 or uint16, the readable images first and in order; how many they are; and the reason for
        each file that cannot be read.
    """
    with ThreadPoolExecutor() as pool, warnings.catch_warnings(action="ignore"):  # Pillow's, of every odd tag
        headers = list(pool.map(_attempt, [_read_header] * len(paths), paths))
        found = [header for header in headers if isinstance(header, tuple)]
        if not found:
            return np.empty(0), 0, dict(zip(paths, headers, strict=True))
        target = size or _common_size([size for size, _ in found])
        modes = {mode for _, mode in found}
        channels = 3 if colour == "rgb" or (colour == "auto" and modes & COLOUR_MODES) else 1
        deep = any(mode.startswith("I") for mode in modes)

        def fill(out: np.ndarray) -> dict[str, str]:
            def one(path: Path, header: object, row: np.ndarray) -> str | None:
                return _attempt(_read_image, path, fit, row) if isinstance(header, tuple) else header

            reasons = list(pool.map(one, paths, headers, out))
            good = [index for index, reason in enumerate(reasons) if reason is None]
            for to, index in enumerate(good):
                if to < index:
                    out[to] = out[index]
            return {str(index): reason for index, reason in enumerate(reasons) if reason}

        def key() -> str:
            contents = (
                path if isinstance(header, tuple) else header for path, header in zip(paths, headers, strict=True)
            )
            named = zip((os.fspath(path.relative_to(folder)) for path in paths), contents, strict=True)
            return fingerprint(
                [f"{DECODER} {target} {fit} {channels} {deep}", *(part for pair in named for part in pair)]
            )

        shape = (len(paths), channels, *target)
        images, reasons = store.array(key, shape, np.uint16 if deep else np.uint8, fill)
    return images, len(paths) - len(reasons), {paths[int(index)]: reason for index, reason in reasons.items()}


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
    except MemoryError as error:  # which is no fault of the file
        raise UserError(f"there is not enough memory to decode {path}") from error
    except Exception as error:  # a damaged file fails in any way
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
        enough = math.ceil(DRAFT * max(out.shape[1:]))
        image.draft(image.mode, (enough, enough))  # a JPEG is halved while decoded, as long as it stays large enough
        ImageOps.exif_transpose(image, in_place=True)
        image.load()
    if image.mode.startswith("I"):
        values = np.asarray(image, np.float32)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError("it has values beyond 16 bits")
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
