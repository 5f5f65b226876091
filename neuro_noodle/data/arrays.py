"""Array files: npy and npz, opened without trusting the sizes that their headers announce."""

import math
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuro_noodle.choices import Size, UserError, require
from neuro_noodle.data.base import DATASETS, Source, StimulusSet, numbered_ids, pixel_digest
from neuro_noodle.data.columns import Columns, listing, merge, read_array_columns
from neuro_noodle.data.store import (
    IN_MEMORY,
    ArrayHeader,
    Mapped,
    Store,
    fingerprint,
    format_bytes,
    format_shape,
    read_header,
)
from neuro_noodle.data.tables import Table, read_csv

MAX_DEFLATE_RATIO = 1100  # deflate compresses at most 1032 bytes into one
CHUNK = 2**26  # values read at a time


@DATASETS.add("arrays")
class Arrays(StimulusSet):
    """Images in a .npy or .npz file: N x H x W, N x C x H x W or N x H x W x C, of any numeric type.

    Args:
        source: the file, or its folder.
        file: the name of the file in the folder; none uses the only one there.
        array: the name of the array in an npz file; none uses the only one that can be images.
        size: the size of images stored as rows of N x P numbers; images are never resized.
        max_value: the image value of white; none uses 255 or 65535 for 8 or 16 bits, and 1 for other types.
        metadata: a table with a row per image in the same order: a CSV with a header, or a .npy file.
        columns: the names of the columns of a .npy table.
        label: the column that holds the class.
        group: the column that holds the animal (person, recording) whose images --split group keeps in one part.

    Other arrays of an npz file with one number or text per image become metadata columns too.

    Raises:
        UserError: if a file is missing or damaged, its shape is not that of images, or values are outside 0 to white.
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
        require(
            bool(metadata) or not columns, "dataset 'arrays': columns= names the columns of a table; add metadata=FILE"
        )
        path = find_array_file(source.folder, file)
        images, others = open_array(path, array, source.store)
        images = as_images(images, size, path)
        known: Columns = {}
        for name, values in others.items():
            if values.dtype.kind in "biufUS":
                merge(known, read_array_columns(values, [name], f"array '{name}' of {path}"))
        table = _read_table(find_file(path.parent, metadata), columns, len(images)) if metadata else None
        merge(known, table.columns if table else {})
        white, notes = choose_white(images, max_value, str(path))
        super().__init__(
            images,
            numbered_ids(len(images)),
            max_value=white,
            columns=known,
            label=label,
            group=group,
            digest=pixel_digest(images),
            notes=[*(table.notes if table else ()), *notes],
        )


def _read_table(path: Path, columns: tuple[str, ...], n_images: int) -> Table:
    """Read a table that has a row per image in the same order."""
    if path.suffix.lower() == ".npy":
        table = Table(path, read_array_columns(read_table_array(path), columns, str(path)))
    else:
        require(not columns, f"columns= names the columns of a .npy table, but {path} has a header")
        table = read_csv(path)
        table = table if table.n_rows == n_images else table.without_empty_rows()
    require(table.n_rows == n_images, f"{path} has {table.n_rows} rows, but there are {n_images} images")
    return table


def find_file(folder: Path, name: str) -> Path:
    """Return the path of a file relative to a folder, or else to the working directory.

    Raises:
        UserError: if it is in neither; lists the files in the folder.
    """
    for path in (folder / name, Path(name)):
        if path.is_file():
            return path
    existing = listing(sorted(path.name for path in folder.glob("*") if path.is_file()))
    raise UserError(f"no file {name} in {folder} or in the working directory; {folder} has\n{existing}")


def find_array_file(folder: Path, name: str | None) -> Path:
    """Return the array file: the path itself if it is a file, the file of this name, or the only one in the folder.

    Raises:
        UserError: if the file is missing, or if it is not clear which is meant.
    """
    require(
        folder.exists(),
        f"no folder {folder}; name one with --data_dir, or create the built-in film: "
        "python Resources/simulate.py arena",
    )
    if folder.is_file():
        require(name in (None, folder.name), f"--data_dir {folder} is a file, but --dataset names another, file={name}")
        return folder
    if name:
        return find_file(folder, name)
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".npy", ".npz"))
    names = ", ".join(path.name for path in files)
    require(bool(files), f"no .npy or .npz file in {folder}; name it, or its folder, with --data_dir")
    require(len(files) == 1, f"{folder} holds {names}; choose the one with the images: --dataset arrays file=NAME")
    return files[0]


def open_array(path: Path, name: str | None, store: Store) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Open the images of a .npy or .npz file; large ones are mapped into memory.

    Args:
        name: of the array in an npz file; None uses the only one that can be images.

    Returns:
        (N, ...) numbers; and the other arrays of an npz file that hold one value per image.

    Raises:
        UserError: if the file is damaged, truncated or does not hold numbers.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # numpy warns of unusual headers
            if path.suffix.lower() == ".npz":
                return _open_npz(path, name, store)
            mapped = Mapped(path)  # raises ValueError if the file is truncated
            return (mapped if mapped.nbytes > IN_MEMORY else np.load(path, allow_pickle=False)), {}
    except UserError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        raise UserError(f"{path} cannot be read: {format_reason(error)}") from error


def read_table_array(path: Path) -> np.ndarray:
    """Read a small .npy file, such as a table of metadata or responses."""
    array, _ = open_array(path, None, Store(path.parent))
    require(not isinstance(array, Mapped), f"{path} holds more than {format_bytes(IN_MEMORY)}, too much for a table")
    return array


def as_images(images: np.ndarray, size: Size | None, where: Path) -> np.ndarray:
    """Return an array as (N, C, H, W) of a type that torch supports; a mapped array is not copied.

    Args:
        images: N x H x W, N x C x H x W, N x H x W x C, or N x P with a size.
        size: the size of images stored as rows of N x P numbers; images are never resized.
        where: the file of the array, for errors.

    Raises:
        UserError: if type or shape are not those of images.
    """
    kind = images.dtype
    require(kind.kind in "biuf" and kind.itemsize <= 8, f"{where} holds {kind}, but images are plain real numbers")
    values = _as_nchw(images, size, where)
    foreign = not kind.isnative or kind in (np.uint32, np.uint64)
    if isinstance(images, Mapped) and not (foreign and images.nbytes <= IN_MEMORY):
        require(
            not foreign and images.flags.c_contiguous,
            f"{where} is large, and in Fortran order, foreign byte order or unsigned 32 or 64 bit; save it in C "
            "order as uint8, uint16 or float32",
        )
        return values
    values = np.asarray(values)
    if foreign or kind == np.float64:
        with np.errstate(over="ignore"):  # values that become infinite are refused later
            values = values.astype(np.float32 if kind.itemsize > 2 else kind.newbyteorder("="))
    return values


def _as_nchw(values: np.ndarray, size: Size | None, where: Path) -> np.ndarray:
    shape = format_shape(values.shape)
    if values.ndim == 2 and size and size.height * size.width == values.shape[1]:
        values = values.reshape(-1, *size)  # (N, H, W)
    require(
        values.ndim in (3, 4) and values.size > 0,
        f"{where} is {shape}, but images are N x H x W or N x C x H x W; rows of pixels need size=HEIGHTxWIDTH",
    )
    if values.ndim == 3:
        values = values[:, None]  # (N, 1, H, W)
    elif values.shape[1] > 4 >= values.shape[3]:
        values = np.moveaxis(values, 3, 1)  # (N, C, H, W)
    require(
        size is None or values.shape[2:] == size,
        f"{where} is {shape}, not images of {size}; arrays are never resized, so leave size= out",
    )
    return values


def require_white(max_value: float | None) -> None:
    """Raise UserError unless the image value of white is above 0 and finite."""
    require(
        max_value is None or 0 < max_value < math.inf,
        f"max_value={max_value} must be above 0 and finite: it is the image value of white",
    )


def choose_white(images: np.ndarray, max_value: float | None, where: str) -> tuple[float, list[str]]:
    """Return the image value of white, and notes for the user.

    Args:
        images: numbers.
        max_value: the value that the user has set, or None.
        where: the source of the images, for errors.

    Raises:
        UserError: if a value is outside 0 to white.
    """
    if images.dtype == np.uint8 and max_value in (None, 255):
        return 255, []
    low, high = bounds(images)
    white = max_value or {"uint8": 255, "uint16": 65535}.get(images.dtype.name, 1)
    require(math.isfinite(low) and math.isfinite(high), f"{where} holds values that are not finite (NaN or infinite)")
    rounding = float(np.finfo(images.dtype).eps) if images.dtype.kind == "f" else 0  # 0.1 rounds up in float32
    if low < 0 or high > white * (1 + rounding):
        raise UserError(
            f"{where} holds values from {low:g} to {high:g}, outside 0 to {white:g}"
            + (
                "; set the value of white by max_value="
                if low >= 0
                else "; images cannot be negative; add a constant first"
            )
        )
    is_dark = max_value is None and images.dtype == np.uint16 and 0 < high < white / 2
    return max(white, high), [
        f"the brightest image value is {high:g} of {white:g}; max_value={high:g} would make it white"
    ] * is_dark


def bounds(values: np.ndarray) -> tuple[float, float]:
    """Return the smallest and the largest value (NaN if any value is); reads large arrays in pieces."""
    rows = max(1, CHUNK // max(1, math.prod(values.shape[1:])))
    ends = []
    for start in range(0, len(values), rows):
        piece = values[start : start + rows]
        if isinstance(piece, Mapped):
            piece.read_ahead(range(len(piece)))
        ends.append((piece.min(), piece.max()))
    lows, highs = np.array(ends, np.float64).T
    return float(lows.min()), float(highs.max())


def _open_npz(path: Path, name: str | None, store: Store) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        members = _read_members(path, archive)
        chosen = name or _only_images(path, members)
        require(chosen in members, f"{path} has no array '{chosen}'; there are {', '.join(members)}")
        member = members[chosen]
        others = {
            one: np.lib.format.read_array(archive.open(other.info), allow_pickle=False)
            for one, other in members.items()
            if one != chosen and other.header.shape == member.header.shape[:1]
        }
        if member.header.is_fortran:
            raise ValueError("its images are in Fortran order; save numpy.ascontiguousarray of them")
        images, _ = store.array(
            lambda: fingerprint([chosen, path]), member.header.shape, member.header.dtype, _reader(archive, member)
        )
        return images, others


@dataclass(frozen=True)
class _Member:
    """An array in an npz file."""

    name: str
    info: zipfile.ZipInfo
    header: ArrayHeader


def _read_members(path: Path, archive: zipfile.ZipFile) -> dict[str, _Member]:
    """Return the arrays of an npz file by name.

    Raises:
        ValueError: if the size that a header announces cannot be true.
    """
    members = {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        with archive.open(info) as file:
            header = read_header(file)
            if info.file_size != file.tell() + header.n_bytes:
                raise ValueError(f"its array '{name}' is truncated")
            if info.file_size > MAX_DEFLATE_RATIO * max(1, min(info.compress_size, path.stat().st_size)):
                raise ValueError(f"the header of its array '{name}' announces more than it can hold")
        members[name] = _Member(name, info, header)
    return members


def _reader(archive: zipfile.ZipFile, member: _Member) -> Callable[[np.ndarray], dict]:
    """Return a function that reads an array of an npz file into the array that it is given."""

    def fill(out: np.ndarray) -> dict:
        with archive.open(member.info) as file:
            read_header(file)
            flat = out.reshape(-1).view(np.uint8)
            for start in range(0, len(flat), CHUNK):
                target = flat[start : start + CHUNK]
                piece = file.read(len(target))
                if len(piece) < len(target):
                    raise EOFError(f"its array '{member.name}' is truncated")
                target[:] = np.frombuffer(piece, np.uint8)
        return {}

    return fill


def _only_images(path: Path, members: dict[str, _Member]) -> str:
    """Return the name of the only array that can be images."""
    shapes = {name: member.header.shape for name, member in members.items()}
    candidates = [name for name, shape in shapes.items() if len(shape) in (3, 4)]
    if not candidates:
        candidates = [name for name, shape in shapes.items() if len(shape) == 2]
    found = ", ".join(f"{name} ({format_shape(shape)})" for name, shape in shapes.items())
    require(
        len(candidates) == 1, f"{path} holds {found}; choose the array with the images: --dataset arrays array=NAME"
    )
    return candidates[0]


def format_reason(error: Exception) -> str:
    """Return in one line why a file cannot be read."""
    if isinstance(error, zipfile.BadZipFile) and "not a zip" in str(error):
        return "it is not an npz file, or is truncated"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0][:200]
