"""Array files: npy and npz, with a table or other arrays as metadata."""

import warnings
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from neuro_noodle.choices import Size, UserError, require
from neuro_noodle.data.base import DATASETS, Source, StimulusSet, numbered_ids
from neuro_noodle.data.columns import Columns, listing, merge, read_array_columns, unreserved
from neuro_noodle.data.foreign import describe, describe_first
from neuro_noodle.data.inventory import Reading
from neuro_noodle.data.layouts import Axes, as_images, on_background
from neuro_noodle.data.npz import OpenedArray, describe_each, npz_shapes, open_npz
from neuro_noodle.data.store import IN_MEMORY, Mapped, Store, format_shape, read_header
from neuro_noodle.data.tables import Table, read_csv
from neuro_noodle.data.white import choose_white, require_white
from neuro_noodle.plain import command_line, counted, first_line, format_bytes

SUFFIXES = (".npy", ".npz")
LAST = ("axes=HWN", "axes=HWCN")  # the layouts that count images on the last axis


@DATASETS.add("arrays")
class Arrays(StimulusSet):
    """Images in a .npy or .npz file: N x H x W, N x C x H x W, N x H x W x C or H x W x N, of any numeric type.

    Args:
        source: the file, or its folder.
        used: other arrays of an npz file that the caller reads.
        file: the name of the file in the folder; none uses the only one there.
        array: the name of the array in an npz file; none uses the only one that can be images.
        size: the size of images stored as rows of N x P numbers; images are never resized.
        axes: the layout, N images of C channels, H rows and W columns; none infers it, and asks if it is unclear.
        max_value: the image value of white; none uses 255 or 65535 for 8 or 16 bits, and 1 for other types and for
            whole numbers that are all 0 or 1.
        background: what is behind the transparent pixels of 4 channels, RGB and transparency; none keeps 4 channels.
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
        used: Collection[str] = (),
        *,
        file: str | None = None,
        array: str | None = None,
        size: Size | None = None,
        axes: Axes | None = None,
        max_value: float | None = None,
        background: Literal["white", "grey", "black", "none"] = "white",
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
        opened = open_array(path, array, source.store, label).without(used)
        _require_axes(opened, axes, path)
        images = as_images(opened.images, size, axes, path)
        others = _read_others(opened, len(images), path)
        table = read_rows(find_file(path.parent, metadata), columns, images.shape) if metadata else None
        merge(others.columns, table.columns if table else {})
        others.require_used(label, group)
        white, notes = choose_white(images, max_value, str(path))
        images, changed = on_background(images, white, background, path)
        super().__init__(
            images,
            numbered_ids(len(images)),
            max_value=white,
            columns=others.columns,
            label=label,
            group=group,
            notes=[*(table.notes if table else ()), *notes, *others.notes],
            reading=Reading(changed=changed),
        )


def _require_axes(opened: OpenedArray, axes: Axes | None, path: Path) -> None:
    """Raise UserError if no axes are given, but other arrays have as many values as the last axis of the images."""
    lengths = {name: len(values) for name, values in opened.others.items()}
    shape = opened.images.shape
    fits_first = any(n == shape[0] for n in lengths.values())
    fits_last = [name for name, n in lengths.items() if n == shape[-1]]
    require(
        axes is not None or fits_first or not fits_last,
        f"{path}: {', '.join(fits_last)} has as many values as the last axis of the images, which are "
        f"{format_shape(shape)}; if that axis counts the images, choose {' or '.join(LAST)}, else axes=NHW, axes=NCHW "
        "or axes=NHWC",
    )


@dataclass(frozen=True)
class _Others:
    """The other arrays of an npz file.

    Attributes:
        columns: those that have a value per image.
        unused: what each of the rest is, by name.
        notes: for the user.
    """

    columns: Columns
    unused: dict[str, str]
    notes: list[str]

    def require_used(self, label: str | None, group: str | None) -> None:
        """Raise UserError if label or group is an array that is not used."""
        for option, name in {"label": label, "group": group}.items():
            require(
                name in self.columns or name not in self.unused,
                f"{option}={name}: this array holds {self.unused.get(name or '')}; save one number or text per image "
                f"({name}.astype(str) makes text)",
            )


def _read_others(opened: OpenedArray, n_images: int, path: Path) -> _Others:
    """Return the other arrays of an npz file, those that have a value per image as columns."""
    columns: Columns = {}
    unused, notes = dict(opened.passed_over), []
    for name, values in opened.others.items():
        if len(values) != n_images or values.dtype.kind not in "biufUS":
            unused[name] = f"{counted(len(values), 'value')} of type {values.dtype}"
        elif values.ndim == 1:
            merge(columns, read_array_columns(values, [name], f"array '{name}' of {path}"))
        elif is_one_hot(values):
            merge(columns, {unreserved(name): values.argmax(1)})
            notes.append(f"{name} is {format_shape(values.shape)}: the class is the column of the 1, counted from 0")
        else:
            unused[name] = f"{format_shape(values.shape)}, and not one-hot (a single 1 in each row, otherwise 0)"
    rest = ", ".join(describe_each(unused))
    return _Others(columns, unused, [*notes, *([f"not used from {path.name}: {rest}"] if unused else [])])


def is_one_hot(values: np.ndarray) -> bool:
    """Return whether each row of a matrix holds a single 1, and otherwise zeros."""
    return values.dtype.kind in "biuf" and bool(((values != 0).sum(1) == 1).all() and (values.max(1) == 1).all())


def read_rows(path: Path, columns: tuple[str, ...], shape: tuple[int, ...]) -> Table:
    """Read a table that has a row per image in the same order.

    Args:
        path: a CSV file, or a .npy array.
        columns: the names of the columns of an array.
        shape: of the images.

    Raises:
        UserError: if it has another number of rows.
    """
    if path.suffix.lower() == ".npy":
        table = Table(path, read_array_columns(read_table_array(path), columns, str(path)))
    else:
        require(not columns, f"columns= names the columns of a .npy table, but {path} has a header")
        table = read_csv(path)
        table = table if table.n_rows == shape[0] else table.without_empty_rows()
    n_rows = table.n_rows
    hint = f"; if the last axis counts the images, choose {' or '.join(LAST)}" if n_rows == shape[-1] else ""
    require(n_rows == shape[0], f"{path} has {counted(n_rows, 'row')} for {counted(shape[0], 'image')}{hint}")
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
        f"{command_line('Resources/simulate.py arena')}",
    )
    if folder.is_file():
        require(name in (None, folder.name), f"--data_dir {folder} is a file, but --dataset names another, file={name}")
        return folder
    if name:
        return find_file(folder, name)
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
    names = ", ".join(path.name for path in files)
    foreign = "" if files else describe_first(sorted(path for path in folder.glob("*") if path.is_file()))
    require(bool(files), f"no .npy or .npz file in {folder}; name it, or its folder, with --data_dir{foreign}")
    require(len(files) == 1, f"{folder} holds {names}; choose the one with the images: --dataset arrays file=NAME")
    return files[0]


def open_array(path: Path, name: str | None, store: Store, label: str | None = None) -> OpenedArray:
    """Open the images of a .npy or .npz file; large ones are mapped into memory.

    Args:
        name: of the array in an npz file; None uses the only one that can be images.
        label: another array in an npz file, which may have a row per image.

    Raises:
        UserError: if the file is damaged, truncated or does not hold numbers.
    """
    with _reading(path):
        if path.suffix.lower() == ".npz":
            return open_npz(path, name, store, label)
        mapped = Mapped(path)  # raises ValueError if the file is truncated
        return OpenedArray(mapped if mapped.nbytes > IN_MEMORY else np.load(path, allow_pickle=False), {}, {})


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array in a .npy or .npz file by name; that in a .npy file has an empty name.

    Raises:
        UserError: if the file is damaged.
    """
    with _reading(path):
        if path.suffix.lower() == ".npz":
            return npz_shapes(path)
        with path.open("rb") as file:
            return {"": read_header(file).shape}


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Raise UserError if the file that is read inside is damaged."""
    try:
        with warnings.catch_warnings(action="ignore"):  # numpy warns of unusual headers
            yield
    except UserError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        is_foreign = path.suffix.lower() not in SUFFIXES
        reason = (describe(path) if is_foreign else None) or format_reason(error)
        raise UserError(f"{path} cannot be read: {reason}") from error


def read_table_array(path: Path) -> np.ndarray:
    """Read a small .npy file, such as a table of metadata."""
    array = open_array(path, None, Store(path.parent)).images
    require(not isinstance(array, Mapped), f"{path} holds more than {format_bytes(IN_MEMORY)}, too much for a table")
    return array


def format_reason(error: Exception) -> str:
    """Return in one line why a file cannot be read."""
    if isinstance(error, zipfile.BadZipFile) and "not a zip" in str(error):
        return "it is not an npz file, or is truncated"
    return first_line(error)
