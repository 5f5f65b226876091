"""The store: keeps small arrays in memory and caches large ones in memory-mapped files, which later runs reuse.

Each stored array has its own folder, named by a hash of the content it was made from. The folder holds array.npy, and
about.json with information about the array.
"""

import contextlib
import errno
import json
import math
import mmap
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from tokenize import TokenError
from typing import IO, Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import DTypeLike

from neuro_noodle.choices import UserError
from neuro_noodle.plain import format_bytes

IN_MEMORY = 2 * 2**30  # bytes; larger arrays are stored in files
CHUNK = 2**24  # bytes read at a time

Fill = Callable[[np.ndarray], dict]


class Mapped(np.ndarray):
    """A read-only array backed by a memory-mapped .npy file; the system loads and drops its pages as needed.

    A view of it (a slice, or with other axes) is mapped too.
    """

    def __new__(cls, path: Path) -> "Mapped":
        with path.open("rb") as file:
            header = read_header(file)
            offset = file.tell()
            expected = offset + header.n_bytes
            if os.fstat(file.fileno()).st_size < expected:
                raise ValueError(f"it is truncated: its header announces {expected} bytes")
            pages = mmap.mmap(file.fileno(), expected, access=mmap.ACCESS_READ)
        if hasattr(pages, "madvise"):  # otherwise reading an image would also read its neighbours on the disk
            pages.madvise(mmap.MADV_RANDOM)
        order: Literal["F", "C"] = "F" if header.is_fortran else "C"
        array = super().__new__(cls, header.shape, header.dtype, pages, offset, order=order)
        array._pages, array._first_byte = pages, array.ctypes.data - offset
        return array

    def __array_finalize__(self, parent: object) -> None:
        self._pages: Any = getattr(parent, "_pages", None)
        self._first_byte = getattr(parent, "_first_byte", 0)

    def read_ahead(self, rows: Iterable[int]) -> None:
        """Ask the system to read these rows in the background; Windows cannot."""
        if not hasattr(self._pages, "madvise"):
            return
        offset, row = self.ctypes.data - self._first_byte, self.strides[0]
        for index in rows:
            start = offset + index * row
            page = start - start % mmap.PAGESIZE
            self._pages.madvise(mmap.MADV_WILLNEED, page, start + row - page)


class Store:
    """A place for arrays: memory, or files in a folder.

    Args:
        folder: for the files; created with the first of them.
        always: store small arrays in files too, which makes the next start faster.
    """

    def __init__(self, folder: Path, *, always: bool = False) -> None:
        self.folder = folder
        self.always = always

    def array(
        self, key: Callable[[], str], shape: tuple[int, ...], dtype: DTypeLike, fill: Fill
    ) -> tuple[np.ndarray, dict]:
        """Return the array that `fill` writes, in memory or `Mapped`, and the dictionary that it returns.

        Args:
            key: returns a hash of the content that the array is made from; called only if a file is needed.
            shape, dtype: of the array.
            fill: writes the whole array; not called if the file exists already.

        Raises:
            UserError: if there is not enough memory or disk space, or if the stored file is damaged.
        """
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        if n_bytes <= IN_MEMORY and not self.always:
            try:
                array: np.ndarray = np.empty(shape, dtype)
            except MemoryError as error:
                raise UserError(f"{format_bytes(n_bytes)} of images do not fit in memory") from error
            return array, fill(array)
        entry = self.folder / key()
        if not entry.exists():
            self._make_once(entry, shape, dtype, fill)
        try:
            return Mapped(entry / "array.npy"), json.loads((entry / "about.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"{entry} is damaged, or was written by an earlier version: {error}; remove the stored images with "
                "--clear_cache"
            ) from error

    def _make_once(self, entry: Path, shape: tuple[int, ...], dtype: DTypeLike, fill: Fill) -> None:
        """Make a stored array unless another process has just done so."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(entry.with_suffix(".lock")):  # released when the process that holds it ends
                if not entry.exists():
                    self._make(entry, shape, dtype, fill)
        except OSError as error:
            n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
            raise UserError(
                f"cannot keep {format_bytes(n_bytes)} of decoded images in {self.folder}: {error.strerror or error}; "
                "name another folder with --cache_dir, or choose a smaller size="
            ) from error

    def _make(self, entry: Path, shape: tuple[int, ...], dtype: DTypeLike, fill: Fill) -> None:
        scratch = entry.with_suffix(".part")
        shutil.rmtree(scratch, ignore_errors=True)  # left by a run that was killed: we hold the lock
        scratch.mkdir()
        try:
            with (
                (scratch / "array.npy").open("w+b") as file,
                (scratch / "about.json").open("w", encoding="utf-8") as about,
            ):
                header = {"shape": shape, "fortran_order": False, "descr": np.dtype(dtype).str}
                np.lib.format.write_array_header_2_0(file, header)
                file.flush()
                n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
                _allocate(file, file.tell() + n_bytes)
                array = np.load(scratch / "array.npy", mmap_mode="r+")
                json.dump(fill(array), about)
                array.flush()
                for written in (file, about):
                    written.flush()
                    os.fsync(written.fileno())
            scratch.rename(entry)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def clear(self) -> int:
        """Remove every stored array that no process is writing, and nothing else; returns the number of bytes freed."""
        freed = 0
        for path in self.folder.glob("*.lock") if self.folder.is_dir() else ():
            if not re.fullmatch(r"[0-9a-f]{32}", path.stem) or not path.is_file():
                continue
            with contextlib.suppress(Timeout), FileLock(path, timeout=0):
                for entry in (path.with_suffix(""), path.with_suffix(".part")):
                    freed += sum(file.stat().st_size for file in entry.glob("*.npy"))
                    shutil.rmtree(entry, ignore_errors=True)
                path.unlink()
        return freed


def _allocate(file: IO[bytes], n_bytes: int) -> None:
    """Reserve space for a file: writing to a mapped file on a full disk would kill the process.

    Raises:
        OSError: if there is too little space.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, n_bytes)
        return
    if shutil.disk_usage(file.name).free < n_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    file.truncate(n_bytes)


class ObjectArrayError(ValueError):
    """An array holds Python objects, which only the unsafe module pickle can open."""


@dataclass(frozen=True)
class ArrayHeader:
    """The header of a .npy file.

    Attributes:
        shape, dtype: of the array.
        is_fortran: whether its first axis varies fastest.
    """

    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype

    @property
    def n_bytes(self) -> int:
        """The size of the values."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes]) -> ArrayHeader:
    """Read the header of an open .npy file, and leave the file at its first value.

    Raises:
        ValueError: if it is not a .npy file.
        ObjectArrayError: if it holds objects.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, is_fortran, dtype = read(file)
    except (SyntaxError, TokenError) as error:  # from numpy's parser, for a damaged header
        raise ValueError("its header is damaged") from error
    if min(shape, default=0) < 0:
        raise ValueError("its header announces a negative size")
    if dtype.hasobject:
        raise ObjectArrayError("it holds Python objects, which are never opened; save plain numbers")
    return ArrayHeader(shape, is_fortran, dtype)


def fingerprint(parts: Iterable[str | Path]) -> str:
    """Return a hash of texts and of the content of files (paths), which changes with every byte."""
    whole = blake2b(digest_size=16)
    for part in parts:
        one = blake2b(digest_size=16)
        for chunk in [part.encode(errors="surrogateescape")] if isinstance(part, str) else _chunks(part):
            one.update(chunk)
        whole.update(one.digest())
    return whole.hexdigest()


def format_shape(shape: tuple[int, ...]) -> str:
    """Return the shape of an array as text, such as 3 x 6 x 9."""
    return " x ".join(map(str, shape)) or "a single value"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
