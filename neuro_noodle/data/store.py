"""The store: an array in memory, or, where it is large, in a file that is mapped into memory and used again.

A stored array lies in a folder of its own, named after the content it was made from: array.npy, and told.json with
what there is to say of it.
"""

import contextlib
import fcntl
import json
import math
import mmap
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from tokenize import TokenError

import numpy as np

from neuro_noodle.choices import UserError

IN_MEMORY = 2 * 2**30  # bytes; a larger array is stored in a file
CHUNK = 2**24

Fill = Callable[[np.ndarray], dict]


class Mapped(np.ndarray):
    """An array file that is read where and when it is needed; its pages are the system's to keep or to drop.

    Read-only. A view of it (a slice, other axes) is mapped too.
    """

    def __new__(cls, path: Path) -> "Mapped":
        with path.open("rb") as file:
            shape, columns_first, dtype = read_header(file)
            offset = file.tell()
            expected = offset + math.prod(shape) * dtype.itemsize
            if os.fstat(file.fileno()).st_size < expected:
                raise ValueError(f"it is cut off: {expected} bytes are announced")
            pages = mmap.mmap(file.fileno(), expected, access=mmap.ACCESS_READ)
        pages.madvise(mmap.MADV_RANDOM)  # else each image read would bring in its neighbours on the disk
        array = super().__new__(cls, shape, dtype, pages, offset, order="F" if columns_first else "C")
        array._pages, array._first_byte = pages, array.ctypes.data - offset
        return array

    def __array_finalize__(self, parent: object) -> None:
        self._pages = getattr(parent, "_pages", None)
        self._first_byte = getattr(parent, "_first_byte", 0)

    def read_ahead(self, rows: Iterable[int]) -> None:
        """Let the system fetch these rows while something else is done."""
        offset, row = self.ctypes.data - self._first_byte, self.strides[0]
        for index in rows:
            start = offset + index * row
            page = start - start % mmap.PAGESIZE
            self._pages.madvise(mmap.MADV_WILLNEED, page, start + row - page)


class Store:
    """Where arrays lie.

    Args:
        folder: for the files; made when the first is.
        always: store small arrays too, which makes the next start quick.
    """

    def __init__(self, folder: Path, *, always: bool = False) -> None:
        self.folder = folder
        self.always = always

    def array(self, key: Callable[[], str], shape: tuple[int, ...], dtype: type, fill: Fill) -> tuple[np.ndarray, dict]:
        """Return the array that `fill` writes, in memory or `Mapped`, and the dictionary that it returns.

        Args:
            key: called where a file is needed; a name for the content that the array is made from.
            shape, dtype: of the array.
            fill: writes all of the array; not called where the file is there already.

        Raises:
            UserError: where neither memory nor disk has room.
        """
        n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
        if n_bytes <= IN_MEMORY and not self.always:
            try:
                array = np.empty(shape, dtype)
            except MemoryError as error:
                raise UserError(f"{told_bytes(n_bytes)} of images do not fit in memory") from error
            return array, fill(array)
        entry = self.folder / key()
        if not entry.exists():
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                with entry.with_suffix(".lock").open("w") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX)  # free again as soon as a process that held it has died
                    if not entry.exists():
                        self._make(entry, shape, dtype, fill)
            except OSError as error:
                raise UserError(
                    f"cannot keep {told_bytes(n_bytes)} of decoded images in {self.folder}: {error.strerror or error}; "
                    "name another place by --cache_dir, or choose a smaller size="
                ) from error
        try:
            return Mapped(entry / "array.npy"), json.loads((entry / "told.json").read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{entry} is damaged: {error}; remove what is stored by --clear_cache") from error

    def _make(self, entry: Path, shape: tuple[int, ...], dtype: type, fill: Fill) -> None:
        scratch = entry.with_suffix(".part")
        shutil.rmtree(scratch, ignore_errors=True)  # of a run that was killed; the lock is ours
        scratch.mkdir()
        try:
            with (scratch / "array.npy").open("w+b") as file, (scratch / "told.json").open("w") as told:
                header = {"shape": shape, "fortran_order": False, "descr": np.dtype(dtype).str}
                np.lib.format.write_array_header_2_0(file, header)
                file.flush()
                n_bytes = math.prod(shape) * np.dtype(dtype).itemsize
                os.posix_fallocate(file.fileno(), 0, file.tell() + n_bytes)  # while writing, a full disk would kill us
                array = np.load(scratch / "array.npy", mmap_mode="r+")
                json.dump(fill(array), told)
                array.flush()
                for written in (file, told):
                    written.flush()
                    os.fsync(written.fileno())
            scratch.rename(entry)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def clear(self) -> int:
        """Remove every stored array that is not being made, and nothing else; returns the bytes that this sets free."""
        freed = 0
        for path in self.folder.glob("*.lock") if self.folder.is_dir() else ():
            if not re.fullmatch(r"[0-9a-f]{32}", path.stem) or not path.is_file():
                continue
            with path.open("w") as lock, contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for entry in (path.with_suffix(""), path.with_suffix(".part")):
                    freed += sum(file.stat().st_blocks * 512 for file in entry.glob("*.npy"))
                    shutil.rmtree(entry, ignore_errors=True)
                path.unlink()
        return freed


def read_header(file) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, order (whether Fortran's) and type of an open .npy file, which is then at its first value.

    Raises:
        ValueError: where it is none, or holds objects.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, columns_first, dtype = read(file)
    except (SyntaxError, TokenError) as error:  # which numpy lets through
        raise ValueError("its header is damaged") from error
    if min(shape, default=0) < 0:
        raise ValueError("it announces a negative size")
    if dtype.hasobject:
        raise ValueError("it holds Python objects, which are never opened; save plain numbers")
    return shape, columns_first, dtype


def fingerprint(parts: Iterable[str | Path]) -> str:
    """Return a name for texts and the content of files: another one as soon as a byte changes."""
    whole = blake2b(digest_size=16)
    for part in parts:
        one = blake2b(digest_size=16)
        for chunk in [part.encode()] if isinstance(part, str) else _chunks(part):
            one.update(chunk)
        whole.update(one.digest())
    return whole.hexdigest()


def told_bytes(n_bytes: float) -> str:
    """Return a number of bytes as a person would say it."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"


def told_shape(shape: tuple[int, ...]) -> str:
    """Return the shape of an array as a person would say it."""
    return " x ".join(map(str, shape)) or "a single value"


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
