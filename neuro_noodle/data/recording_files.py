"""The files of a recording: which of them hold its images, its responses and its single trials."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from neuro_noodle.choices import Size, UserError, require
from neuro_noodle.data.arrays import SUFFIXES, read_shapes
from neuro_noodle.data.folder import holds_images
from neuro_noodle.data.foreign import describe_first
from neuro_noodle.data.layouts import Axes
from neuro_noodle.data.store import format_shape

IMAGES, RESPONSES, TRIALS = ROLES = ("images", "responses", "trials")
TABLES = (".csv", ".tsv")


@dataclass(frozen=True)
class Entry:
    """Something that may hold images or responses: an array, a table or a folder of image files.

    Attributes:
        path: of the file or folder.
        array: its name in an npz file.
        shape: of the array; empty for others.
    """

    path: Path
    array: str = ""
    shape: tuple[int, ...] = ()

    @property
    def label(self) -> str:
        """FILE, or FILE:ARRAY."""
        return f"{self.path.name}:{self.array}" if self.array else self.path.name

    @property
    def kind(self) -> str:
        """The shape of an array, or what else this is."""
        return format_shape(self.shape) if self.shape else "image files" if self.path.is_dir() else "table"

    def is_called(self, word: str, place: Path) -> bool:
        """Return whether a word of the command line names this entry of a file or folder."""
        whole, colon = str(self.path), f":{self.array}" * bool(self.array)
        names = {self.path.name, self.path.stem, self.array, self.label, whole, whole + colon}
        return bool({word, str(place / word)} & names)


@dataclass(frozen=True)
class Layout:
    """How images are stored in arrays; the fields are options of `Arrays`."""

    size: Size | None
    axes: Axes | None

    def n_images(self, shape: tuple[int, ...]) -> int:
        """Return the number of images in an array of this shape."""
        return shape[self.axes.index("N") if self.axes and len(self.axes) == len(shape) else 0]

    def can_hold(self, entry: Entry, role: str) -> bool:
        """Return whether an entry can be images, responses or trials, by its number of axes."""
        n_axes, is_folder = len(entry.shape), entry.path.is_dir()
        if role == IMAGES:
            is_flat = n_axes == 2 and self.size is not None and entry.shape[1] == self.size.height * self.size.width
            return is_folder or n_axes in (3, 4) or is_flat
        return not is_folder and n_axes in ((0, 2) if role == RESPONSES else (3,))

    def fit_together(self, parts: Mapping[str, Entry]) -> bool:
        """Return whether images and responses have as many images, and responses and trials as many neurons."""
        shapes = {role: entry.shape for role, entry in parts.items() if entry.shape}
        n_images, n_neurons = set(), set()
        if IMAGES in shapes:
            n_images.add(self.n_images(shapes[IMAGES]))
        for role, axis in ((RESPONSES, 0), (TRIALS, 1)):
            if role in shapes and len(shapes[role]) > axis + 1:
                n_images.add(shapes[role][axis])
                n_neurons.add(shapes[role][axis + 1])
        return max(len(n_images), len(n_neurons)) <= 1


Words = Mapping[str, str | None]
RecordingFiles = dict[str, Entry]


def find_recordings(
    place: Path, names: Sequence[str], words: Words, layout: Layout
) -> tuple[dict[str, RecordingFiles], list[str]]:
    """Find the recordings in a file or folder.

    Args:
        place: an npz file; or a folder with the files of one recording, or with a file or folder for each.
        names: of the files and folders to read; none reads all.
        words: the name of what holds each of `ROLES`, None to find it.
        layout: of images in arrays.

    Returns:
        The parts of each recording by its name; and notes on files and folders that were passed over.

    Raises:
        UserError: if a file or folder is missing, or it is not clear what holds images and responses.
    """
    require(place.exists(), f"no file or folder {place}; name that of the recording with --data_dir")
    is_readable = place.is_dir() or place.suffix.lower() in SUFFIXES
    require(is_readable, f"{place} is no folder, .npz or .npy file{describe_first([place])}")
    if names:
        chosen = dict.fromkeys(_place(place, name) for name in names)
        return {one.name: find_parts(one, words, layout) for one in chosen}, []
    around = (place if place.is_dir() else place.parent, Path())
    if any(words.values()):  # they can name the files of one recording, or arrays of each
        with contextlib.suppress(UserError):
            return {place.name: find_parts(place, words, layout, around)}, []
    found, reasons = {}, []
    for one in _children(place):
        try:
            found[one.name] = find_parts(one, words, layout)
        except UserError as error:
            reasons.append(f"passed over {one.name}: {error}")
    return (found, reasons) if found else ({place.name: find_parts(place, words, layout, around)}, [])


def find_parts(place: Path, words: Words, layout: Layout, around: Sequence[Path] = ()) -> RecordingFiles:
    """Return what holds the images, responses and trials of one recording: by name, else by shape.

    Args:
        place: an npz file or a folder.
        words: the name of what holds each of `ROLES`, None to find it.
        layout: of images in arrays.
        around: folders with other files that words may name.

    Raises:
        UserError: if something is missing or ambiguous; lists what there is.
    """
    entries = entries_of(place)
    named = {role: _named(entries, (place, *around), role, word) for role, word in words.items() if word}
    wanted = [role for role in ROLES if role in named or role == IMAGES or not {RESPONSES, TRIALS} & named.keys()]
    for role in wanted:
        found = [entry for entry in entries if entry.is_called(role, place)]
        if role not in named and len(found) == 1:
            named[role] = found[0]
    parts = _by_shape(entries, named, wanted, layout) or named
    listed = ", ".join(f"{entry.label} ({entry.kind})" for entry in entries)
    require(
        is_complete(parts),
        f"{place} holds {listed or 'no arrays, tables or image files'}; it is not clear what is what; name images=NAME "
        "and responses=NAME (images x neurons) or trials=NAME (trials x images x neurons)"
        + ("" if entries else describe_first(sorted(place.glob("*")))),
    )
    return parts


def is_complete(parts: RecordingFiles) -> bool:
    """Return whether there are images, and responses or trials."""
    return IMAGES in parts and len(parts) > 1


def entries_of(place: Path) -> list[Entry]:
    """Return the arrays and tables in a file or folder, and the folder itself if there are image files below it."""
    paths = [place] if place.is_file() else [path for path in sorted(place.iterdir()) if path.is_file()]
    entries = []
    for path in paths:
        if path.suffix.lower() in SUFFIXES:
            entries += [Entry(path, array, shape) for array, shape in read_shapes(path).items()]
        elif path.suffix.lower() in TABLES or path == place:
            entries.append(Entry(path))
    return [*entries, *([Entry(place)] if place.is_dir() and holds_images(place) else [])]


def _children(place: Path) -> list[Path]:
    """Return the npz files and the folders in a folder."""
    if place.is_file():
        return []
    paths = [path for path in sorted(place.iterdir()) if not path.name.startswith(".")]
    return [path for path in paths if path.is_dir() or path.suffix.lower() == ".npz"]


def _place(folder: Path, name: str) -> Path:
    """Return the file or folder of this name in a folder, the name with or without .npz."""
    found = [path for path in (folder / name, folder / f"{name}.npz") if path.exists()]
    existing = ", ".join(path.name for path in _children(folder)) or "none"
    require(bool(found), f"sessions={name}: no such file or folder in {folder}; there are {existing}")
    return found[0]


def _named(entries: list[Entry], places: Sequence[Path], role: str, word: str) -> Entry:
    """Return what a word of the command line names."""
    paths = [place / name for place in places for name in (word, word.rpartition(":")[0]) if name]
    known = {entry.path for entry in entries}
    more = [entry for path in paths if path.exists() and path not in known for entry in entries_of(path)]
    found = [entry for entry in dict.fromkeys([*entries, *more]) if any(entry.is_called(word, one) for one in places)]
    listed = ", ".join(entry.label for entry in found or entries) or "no arrays, tables or image files"
    problem = "fits several; choose one of" if found else "does not exist; there are"
    require(len(found) == 1, f"{role}={word}: in {places[0]}, this {problem} {listed}")
    return found[0]


def _by_shape(entries: list[Entry], named: RecordingFiles, wanted: Sequence[str], layout: Layout) -> RecordingFiles:
    """Return the only way to complete named parts with arrays whose shapes fit together; empty if there is none."""
    options = {
        role: [named[role]] if role in named else [None, *(one for one in entries if layout.can_hold(one, role))]
        for role in wanted
    }
    found = []
    for chosen in product(*options.values()):
        parts = {role: entry for role, entry in zip(options, chosen, strict=True) if entry}
        if is_complete(parts) and len({*parts.values()}) == len(parts) and layout.fit_together(parts):
            found.append(parts)
    most = [parts for parts in found if len(parts) == max(map(len, found))]
    return most[0] if len(most) == 1 else {}
