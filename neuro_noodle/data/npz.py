"""Npz files, opened without trusting the sizes that their headers announce."""

import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from neuro_noodle.choices import require
from neuro_noodle.data.store import CHUNK, ArrayHeader, ObjectArrayError, Store, fingerprint, format_shape, read_header
from neuro_noodle.plain import counted

MAX_DEFLATE_RATIO = 1100  # deflate compresses at most 1032 bytes into one


@dataclass(frozen=True)
class OpenedArray:
    """The images of an array file, and what else an npz file holds.

    Attributes:
        images: (N, ...) numbers.
        others: its other arrays with one value, and those that were asked for with a row, per element of one of the
            axes of images.
        passed_over: what each array is that is neither, by name.
    """

    images: np.ndarray
    others: dict[str, np.ndarray]
    passed_over: dict[str, str]

    def without(self, names: Collection[str]) -> "OpenedArray":
        """Return this without some of the other arrays."""
        others = {name: values for name, values in self.others.items() if name not in names}
        passed_over = {name: what for name, what in self.passed_over.items() if name not in names}
        return OpenedArray(self.images, others, passed_over)


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of each array in an npz file by name; raises ValueError if the file is damaged."""
    with zipfile.ZipFile(path) as archive:
        return {name: member.header.shape for name, member in _read_members(path, archive)[0].items()}


def open_npz(path: Path, name: str | None, store: Store, label: str | None = None) -> OpenedArray:
    """Open an npz file.

    Args:
        name: of the array with the images; None uses the only one that can be images.
        label: an array that may have a row per image.
        store: keeps the images.

    Raises:
        UserError: if it is not clear which array holds the images.
        ValueError: if the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        members, passed_over = _read_members(path, archive)
        chosen = name or _only_images(path, members)
        existing = ", ".join([*members, *describe_each(passed_over)])
        require(chosen in members, f"{path} has no array '{chosen}' of numbers; there are {existing}")
        member, others = members[chosen], {}
        for one, other in members.items():
            if one == chosen:
                continue
            if other.is_column(member.header.shape):
                others[one] = np.lib.format.read_array(archive.open(other.info), allow_pickle=False).reshape(-1)
            elif one == label and other.is_table(member.header.shape):
                others[one] = np.lib.format.read_array(archive.open(other.info), allow_pickle=False)
            else:
                shape = other.header.shape
                passed_over[one] = counted(shape[0], "value") if len(shape) == 1 else format_shape(shape)
        shape, is_fortran = member.header.shape, member.header.is_fortran
        images, _ = store.array(
            lambda: fingerprint([chosen, path]),
            shape[::-1] if is_fortran else shape,
            member.header.dtype,
            _reader(archive, member),
        )
        return OpenedArray(images.T if is_fortran else images, others, passed_over)


def describe_each(arrays: Mapping[str, str]) -> list[str]:
    """Return each name with what it is in parentheses."""
    return [f"{name} ({what})" for name, what in arrays.items()]


@dataclass(frozen=True)
class _Member:
    """An array in an npz file."""

    name: str
    info: zipfile.ZipInfo
    header: ArrayHeader

    def is_column(self, images: tuple[int, ...]) -> bool:
        """Return whether the array is N or N x 1, where N is the length of the first or last axis of images."""
        return self.header.shape[1:] in ((), (1,)) and self._fits(images)

    def is_table(self, images: tuple[int, ...]) -> bool:
        """Return whether the array is N x K, where N is the length of the first or last axis of images."""
        return len(self.header.shape) == 2 and self._fits(images)

    def _fits(self, images: tuple[int, ...]) -> bool:
        return self.header.shape[:1] in (images[:1], images[-1:])


def _read_members(path: Path, archive: zipfile.ZipFile) -> tuple[dict[str, _Member], dict[str, str]]:
    """Return the arrays of an npz file by name, and what each member is that is never opened.

    Raises:
        ValueError: if the size that a header announces cannot be true.
    """
    members, passed_over = {}, {}
    for info in archive.infolist():
        name = info.filename.removesuffix(".npy")
        if name == info.filename:
            passed_over[name] = "not an array"
            continue
        with archive.open(info) as file:
            try:
                header = read_header(file)
            except ObjectArrayError:
                passed_over[name] = "Python objects, which are never opened"
                continue
            if info.file_size != file.tell() + header.n_bytes:
                raise ValueError(f"its array '{name}' is truncated")
            if info.file_size > MAX_DEFLATE_RATIO * max(1, min(info.compress_size, path.stat().st_size)):
                raise ValueError(f"the header of its array '{name}' announces more than it can hold")
        members[name] = _Member(name, info, header)
    return members, passed_over


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
        candidates = [name for name, shape in shapes.items() if len(shape) == 2 and shape[1] > 1]
    found = ", ".join(f"{name} ({format_shape(shape)})" for name, shape in shapes.items()) or "no arrays of numbers"
    require(
        len(candidates) == 1, f"{path} holds {found}; choose the array with the images: --dataset arrays array=NAME"
    )
    return candidates[0]
