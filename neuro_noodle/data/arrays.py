"""Array files: npy, npz and idx, opened without trusting what they announce."""

import math
import warnings
import zipfile
from pathlib import Path

import numpy as np

from neuro_noodle.choices import Size, UserError, require
from neuro_noodle.data.base import DATASETS, Source, StimulusSet, digest, numbered
from neuro_noodle.data.columns import Columns, listing, merge, read_array_columns, read_csv
from neuro_noodle.data.store import IN_MEMORY, Mapped, Store, fingerprint, read_header, told_bytes, told_shape

MOST_DEFLATED = 1100  # a byte of deflate stands for at most 1032 bytes
CHUNK = 2**26  # values


def file_beside(folder: Path, name: str) -> Path:
    """Return a file that is named from a folder, or else from here."""
    for path in (folder / name, Path(name)):
        if path.is_file():
            return path
    there = listing(sorted(path.name for path in folder.glob("*") if path.is_file()))
    raise UserError(f"no file {name} in {folder}, nor here; there are\n{there}")


def find_array_file(folder: Path, name: str | None) -> Path:
    """Return the array file that is meant: the path itself, the one of this name, or the only one there."""
    require(
        folder.exists(),
        f"no folder {folder}; name one by --data_dir, or draw the built-in film: python Resources/simulate.py arena",
    )
    if folder.is_file():
        require(name in (None, folder.name), f"--data_dir {folder} is a file, but --dataset names another, file={name}")
        return folder
    if name:
        return file_beside(folder, name)
    there = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".npy", ".npz"))
    names = ", ".join(path.name for path in there)
    require(bool(there), f"no .npy or .npz file in {folder}; name it, or its folder, by --data_dir")
    require(len(there) == 1, f"{folder} holds {names}; say which are the images: --dataset arrays file=NAME")
    return there[0]


def open_array(path: Path, name: str | None, store: Store) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Open the images of a .npy or .npz file; large ones are mapped into memory.

    Args:
        name: of the array in an npz file; none takes the only one that can be images.

    Returns:
        (N, ...) numbers; and the other arrays of an npz file that hold one value per image.

    Raises:
        UserError: for a file that is damaged, cut off or not of numbers.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # numpy's, of odd headers
            if path.suffix.lower() == ".npz":
                return _open_npz(path, name, store)
            mapped = Mapped(path)  # fails where fewer bytes are there than announced
            return (mapped if mapped.nbytes > IN_MEMORY else np.load(path, allow_pickle=False)), {}
    except UserError:
        raise
    except Exception as error:  # a damaged file fails in any way
        raise UserError(f"{path} cannot be read: {reason_of(error)}") from error


def read_table_array(path: Path) -> np.ndarray:
    """Read a small .npy file, such as a table of metadata or responses."""
    array, _ = open_array(path, None, Store(path.parent))
    require(not isinstance(array, Mapped), f"{path} holds over {told_bytes(IN_MEMORY)}, too much for a table")
    return array


def as_images(images: np.ndarray, size: Size | None, where: Path) -> np.ndarray:
    """Bring an array to N x C x H x W numbers that torch knows; a mapped one is not copied.

    Args:
        size: of images that are rows of N x P numbers; nothing is resized.
        where: the array's file, for errors.
    """
    kind = images.dtype
    require(kind.kind in "biuf" and kind.itemsize <= 8, f"{where} holds {kind}, but images are plain real numbers")
    values = _as_nchw(images, size, where)
    foreign = not kind.isnative or kind in (np.uint32, np.uint64)
    if isinstance(images, Mapped) and not (foreign and images.nbytes <= IN_MEMORY):
        require(
            not foreign and images.flags.c_contiguous,
            f"{where} is large, and in Fortran order, foreign byte order or unsigned 32 bit; save it as C-ordered "
            "uint8, uint16 or float32",
        )
        return values
    values = np.asarray(values)
    if foreign or kind == np.float64:
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            values = values.astype(np.float32 if kind.itemsize > 2 else kind.newbyteorder("="))
    return values


def _as_nchw(values: np.ndarray, size: Size | None, where: Path) -> np.ndarray:
    shape = told_shape(values.shape)
    if values.ndim == 2 and size and size.height * size.width == values.shape[1]:
        values = values.reshape(-1, *size)
    require(
        values.ndim in (3, 4) and values.size > 0,
        f"{where} is {shape}, but images are N x H x W or N x C x H x W; rows of pixels need size=HEIGHTxWIDTH",
    )
    if values.ndim == 3:
        values = values[:, None]
    elif values.shape[1] > 4 >= values.shape[3]:
        values = np.moveaxis(values, 3, 1)
    require(
        size is None or values.shape[2:] == size,
        f"{where} is {shape}, not images of {size}; arrays are never resized, so leave size= out",
    )
    return values


def require_white(max_value: float | None) -> None:
    """Raise UserError for a value that cannot stand for white."""
    require(
        max_value is None or 0 < max_value < math.inf,
        f"max_value={max_value} must be above 0: it is the value that stands for white",
    )


def choose_white(images: np.ndarray, max_value: float | None, where: str) -> tuple[float, list[str]]:
    """Return the value that stands for white, and what to say of it.

    Raises:
        UserError: where a value lies outside 0 to white.
    """
    if images.dtype == np.uint8 and max_value in (None, 255):
        return 255, []
    low, high = bounds(images)
    white = max_value or {"uint8": 255, "uint16": 65535}.get(images.dtype.name, 1)
    require(math.isfinite(low) and math.isfinite(high), f"{where} holds values that are not finite (NaN or infinite)")
    rounding = float(np.finfo(images.dtype).eps) if images.dtype.kind == "f" else 0  # 0.1 is more in float32
    if low < 0 or high > white * (1 + rounding):
        raise UserError(
            f"{where} holds values from {low:g} to {high:g}, outside 0 to {white:g}"
            + ("; say which is white by max_value=" if low >= 0 else "; images cannot be negative, so shift them first")
        )
    dark = max_value is None and images.dtype == np.uint16 and 0 < high < white / 2
    return max(white, high), [
        f"the brightest of all values is {high:g} of {white:g}; max_value={high:g} would make it white"
    ] * dark


def bounds(values: np.ndarray) -> tuple[float, float]:
    """Return the smallest and the largest value, NaN where one is NaN; reads large arrays piece by piece."""
    rows = max(1, CHUNK // max(1, math.prod(values.shape[1:])))
    ends = []
    for start in range(0, len(values), rows):
        piece = values[start : start + rows]
        if isinstance(piece, Mapped):
            piece.read_ahead(range(len(piece)))
        ends.append((piece.min(), piece.max()))
    ends = np.array(ends, np.float64)
    return float(ends[:, 0].min()), float(ends[:, 1].max())


def _open_npz(path: Path, name: str | None, store: Store) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        headers = {}
        for one, info in members.items():
            with archive.open(info) as file:
                shape, _, dtype = headers[one] = read_header(file)
                if info.file_size != file.tell() + math.prod(shape) * dtype.itemsize:
                    raise ValueError(f"its array '{one}' is cut off")
                if info.file_size > MOST_DEFLATED * max(1, min(info.compress_size, path.stat().st_size)):
                    raise ValueError(f"its array '{one}' announces more than it can hold")
        shapes = {one: header[0] for one, header in headers.items()}
        chosen = name or _only_images(path, shapes)
        require(chosen in members, f"{path} has no array '{chosen}'; there are {', '.join(members)}")
        beside = {
            one: np.lib.format.read_array(archive.open(info), allow_pickle=False)
            for one, info in members.items()
            if one != chosen and shapes[one] == shapes[chosen][:1]
        }

        def fill(out: np.ndarray) -> dict:
            with archive.open(members[chosen]) as file:
                read_header(file)
                flat = out.reshape(-1).view(np.uint8)
                for start in range(0, len(flat), CHUNK):
                    target = flat[start : start + CHUNK]
                    piece = file.read(len(target))
                    if len(piece) < len(target):
                        raise EOFError(f"its array '{chosen}' is cut off")
                    target[:] = np.frombuffer(piece, np.uint8)
            return {}

        shape, columns_first, dtype = headers[chosen]
        if columns_first:
            raise ValueError("its images are in Fortran order; save numpy.ascontiguousarray of them")
        images, _ = store.array(lambda: fingerprint([chosen, path]), shape, dtype, fill)
        return images, beside


def _only_images(path: Path, shapes: dict[str, tuple[int, ...]]) -> str:
    candidates = [name for name, shape in shapes.items() if len(shape) in (3, 4)]
    if not candidates:
        candidates = [name for name, shape in shapes.items() if len(shape) == 2]
    told = ", ".join(f"{name} ({told_shape(shape)})" for name, shape in shapes.items())
    require(len(candidates) == 1, f"{path} holds {told}; say which are the images: --dataset arrays array=NAME")
    return candidates[0]


def reason_of(error: Exception) -> str:
    """Return in one line why a file could not be read."""
    if isinstance(error, zipfile.BadZipFile) and "not a zip" in str(error):
        return "it is no npz file, or only a part of one"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0][:200]


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
            numbered(n_images),
            max_value=white,
            columns=known,
            label=label,
            group=group,
            notes=notes,
        )
        self.digest = digest(self.images)


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
