"""The files below a folder. Linked folders are followed, but each folder is read once, and a walk always ends."""

import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from neuro_noodle.choices import UserError, require

MAX_ENTRIES = 5_000_000


@dataclass(frozen=True)
class Tree:
    """The files below a folder.

    Attributes:
        files: sorted, without hidden ones, including links to files that do not exist.
        passed_over: the number of folders and other entries that were not read, by reason.
    """

    files: list[Path]
    passed_over: dict[str, int]


@dataclass(frozen=True)
class _Folder:
    """A folder as it is named, and where it is after all links are followed."""

    path: Path
    real: Path


def walk(folder: Path) -> Tree:
    """Return the files below a folder, at any depth.

    Raises:
        UserError: if the folder itself cannot be read, or there are millions of files below it.
    """
    return _Walk(folder).tree()


class _Walk:
    def __init__(self, folder: Path) -> None:
        self.top = _Folder(folder, folder.resolve())
        self.files: list[Path] = []
        self.n_entries = 0
        self.linked: list[_Folder] = []  # read after all folders that are not links, so that ids do not depend on order
        self.skipped: dict[str, list[Path]] = defaultdict(list)

    def tree(self) -> Tree:
        seen: set[Path] = set()
        pending = [self.top]
        while pending or self.linked:
            folder = pending.pop() if pending else self.linked.pop(0)
            if folder.real in seen:
                self.skipped["links to folders that are read by another name"].append(folder.path)
            else:
                seen.add(folder.real)
                pending += self._read(folder)
        counts = {
            f"{reason}, such as {min(paths).relative_to(self.top.path)}": len(paths)
            for reason, paths in self.skipped.items()
        }
        return Tree(sorted(self.files), counts)

    def _read(self, folder: _Folder) -> Iterator[_Folder]:
        """Record the files of a folder, and yield the folders in it that are not links."""
        try:
            entries = sorted(os.scandir(folder.path), key=lambda entry: entry.name)
        except OSError as error:
            if folder is self.top:
                raise UserError(f"the folder {folder.path} cannot be read: {error.strerror}") from error
            self.skipped["folders that cannot be read"].append(folder.path)
            return
        self.n_entries += len(entries)
        require(
            self.n_entries <= MAX_ENTRIES,
            f"{self.top.path} holds more than {MAX_ENTRIES:,} files, counting those in linked folders; name a smaller "
            "folder with --data_dir",
        )
        for entry in entries:
            path = folder.path / entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield _Folder(path, folder.real / entry.name)
            elif not entry.is_symlink() and not entry.is_file():
                self.skipped["entries that are not files (pipes, sockets, ...)"].append(path)
            elif entry.is_symlink() and os.path.isdir(path):  # noqa: PTH112, since Path.is_dir can be an error
                self._link(path)
            elif entry.is_symlink() and not path.suffix and not os.path.exists(path):  # noqa: PTH110
                self.skipped["broken links"].append(path)
            else:
                self.files.append(path)

    def _link(self, path: Path) -> None:
        real = path.resolve()
        if real in (self.top.real, *self.top.real.parents):
            self.skipped["linked folders that contain --data_dir itself"].append(path)
        else:
            self.linked.append(_Folder(path, real))
