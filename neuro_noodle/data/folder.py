"""Image files: found below a folder and decoded into one integer array of one size."""

import contextlib
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from neuro_noodle.choices import Size, UserError, require
from neuro_noodle.data.arrays import find_file
from neuro_noodle.data.base import DATASETS, Source, StimulusSet, Track, untracked
from neuro_noodle.data.columns import Columns, add_columns, listing, read_names
from neuro_noodle.data.damage import explain_unreadable
from neuro_noodle.data.foreign import describe_first, is_picture
from neuro_noodle.data.inventory import ORDINARY, Reading
from neuro_noodle.data.pictures import BACKGROUNDS, SUFFIXES, Header, read_header, read_image
from neuro_noodle.data.store import Store, fingerprint
from neuro_noodle.data.tables import join_table
from neuro_noodle.data.tree import walk
from neuro_noodle.data.white import choose_white, require_white
from neuro_noodle.plain import command_line, counted

OPTIONAL = "?"  # before a pattern that may match no name, and before a group that may be missing
DECODER = 2  # increase when the same files would decode to other pixels
MAX_MEMORY = 2**30  # bytes for decoding, besides the result
ORDINARY_SUFFIXES = {
    *(".csv", ".tsv", ".xls", ".xlsx", ".ods", ".json", ".xml", ".yaml", ".yml", ".txt", ".md", ".log", ".rtf", ".pdf"),
    *(".doc", ".docx", ".html", ".py", ".m", ".r", ".ipynb", ".sh", ".bat", ".db", ".ini", ".lnk", ".url"),
}
ORDINARY_NAMES = {"readme", "license", "md5sums"}
MAX_ROUNDING = 0.03  # relative change of the aspect ratio, which turns a direction by less than a degree


@DATASETS.add("folder")
class Folder(StimulusSet):
    """Every image file below a folder, at any depth.

    Args:
        source: the folder.
        size: resize to this; needed if the images differ in size.
        fit: how to fit another aspect ratio: crop the centre, stretch, or pad with the mean grey of the border.
        colour: auto keeps grey images grey unless one image has colour, then all have; grey images keep 16 bits.
        background: what is behind transparent pixels.
        max_value: the image value of white; none uses 255, 65535 for 16 bits, or 1 if all values are 0 or 1.
        max_pixels: files with more pixels are not decoded.
        pattern: the structure of file names (without ending); fields in braces become metadata columns, {} matches
            anything. '{person}/{}_to_{emotion}_C{step}' reads 09/09F_Ne_to_Sa_C07.JPG; none reads no names. After a ?,
            it may match none of them.
        metadata: a CSV with a header and a row per image, one column of which names the file; its other columns
            become metadata columns.
        key: the column of the table that names the files; none finds it.
        label: the column that holds the class; `folder` is the folder that contains the file.
        group: the column that holds the person (animal, recording) whose images --split group keeps in one part. After
            a ?, the column may be missing.

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
        background: Literal["white", "grey", "black"] = "white",
        max_value: float | None = None,
        max_pixels: int = 100_000_000,
        pattern: str | None = None,
        metadata: str | None = None,
        key: str | None = None,
        label: str | None = "folder",
        group: str | None = None,
    ) -> None:
        require_white(max_value)
        found = search(source.folder)
        how = Decoding(size, fit, colour, background, max_pixels)
        paths, decoded = found.images, decode(found.images, source.folder, how, source.store, source.track)
        _require_some(decoded.unreadable, paths, source)
        unreadable = [path.relative_to(source.folder).as_posix() for path in decoded.unreadable]
        paths = [path for path in paths if path not in decoded.unreadable]
        ids = [path.relative_to(source.folder).as_posix() for path in paths]
        columns: Columns = {"folder": [path.parent.absolute().name for path in paths]}
        notes = _add_table(columns, source.folder, metadata, ids, key)
        notes += _add_fields(columns, ids, pattern) if pattern else []
        white, white_notes = choose_white(decoded.images, max_value, str(source.folder))
        super().__init__(
            decoded.images,
            ids,
            max_value=white,
            columns=columns,
            label=label,
            group=_if_there(group, columns),
            notes=notes + white_notes,
            reading=Reading(found.passed_over | decoded.skipped, decoded.changed, unreadable, decoded.n_stretched),
            stretch=decoded.stretch,
            contents=decoded.contents,
        )


def _require_some(unreadable: dict[Path, str], paths: list[Path], source: Source) -> None:
    """Raise UserError if files cannot be read and may not be skipped, or if none can be read."""
    if not source.skip_unreadable:
        require_readable(unreadable, len(paths), "repair or remove them, or skip them with --skip_unreadable")
    require(len(unreadable) < len(paths), f"no image in {source.folder} can be read, of {len(unreadable)}")


def require_readable(unreadable: dict[Path, str], n_images: int, advice: str) -> None:
    """Raise UserError with a list of the files that cannot be read, if there are any."""
    reasons = listing(f"{path}: {reason}" for path, reason in unreadable.items())
    require(not unreadable, f"{len(unreadable)} of {n_images} images cannot be read:\n{reasons}\n{advice}")


def _add_table(columns: Columns, folder: Path, metadata: str | None, ids: list[str], key: str | None) -> list[str]:
    """Add the columns of a table, if there is one; returns notes for the user."""
    require(bool(metadata) or not key, "dataset 'folder': key= names a column of a table; add metadata=FILE")
    if not metadata:
        return []
    path = find_file(folder, metadata)
    table = join_table(path, ids, key)
    return table.notes + add_columns(columns, table.columns, table.missing, f"have no row in {path}")


def _add_fields(columns: Columns, ids: list[str], pattern: str) -> list[str]:
    """Add the columns that a pattern reads from names; returns notes for the user."""
    fields, unmatched = read_names(ids, pattern.removeprefix(OPTIONAL))
    if pattern.startswith(OPTIONAL) and len(unmatched) == len(ids):
        return []
    return add_columns(columns, fields, unmatched, f"have names that do not match pattern={pattern}")


def _if_there(group: str | None, columns: Columns) -> str | None:
    """Return the name of the column of groups; None if it is optional and missing."""
    name = (group or "").removeprefix(OPTIONAL)
    return None if group != name and name not in columns else name or None


@dataclass(frozen=True)
class Found:
    """The image files below a folder.

    Attributes:
        images: sorted.
        passed_over: the number of other files and of folders that were not read, by description.
    """

    images: list[Path]
    passed_over: dict[str, int]


def search(folder: Path) -> Found:
    """Find the image files below a folder, without hidden files and folders.

    Raises:
        UserError: if the folder is missing, not a folder, or has no images.
    """
    require(
        folder.exists(),
        f"no folder {folder}; name one with --data_dir, or create the built-in faces: "
        f"{command_line('Resources/simulate.py faces')}",
    )
    require(folder.is_dir(), f"{folder} is a file; --data_dir needs a folder of images{describe_first([folder])}")
    tree = walk(folder)
    images = [path for path in tree.files if _is_image(path)]
    others = Counter(map(_kind, sorted(set(tree.files) - set(images))))
    require(
        bool(images),
        f"no images in {folder}; searched at any depth for {', '.join(sorted(SUFFIXES))}{describe_first(tree.files)}",
    )
    return Found(images, dict(others.most_common()) | tree.passed_over)


def holds_images(folder: Path) -> bool:
    """Return whether there are image files below a folder, at any depth."""
    return any(map(_is_image, walk(folder).files))


def find_images(folder: Path) -> list[Path]:
    """Return the image files below a folder, sorted; raises UserError if there are none."""
    return search(folder).images


def _is_image(path: Path) -> bool:
    """Return whether a file is an image by its ending, or by its first bytes if it has none."""
    return path.suffix.lower() in SUFFIXES or (not path.suffix and is_picture(path))


def _kind(path: Path) -> str:
    ending = path.suffix.lower()
    if ending in ORDINARY_SUFFIXES or path.name.lower() in ORDINARY_NAMES:
        return ORDINARY
    what = f"{ending} files" if ending else "files without ending"
    return f"{what} that are images" if is_picture(path) else what


@dataclass(frozen=True)
class Decoding:
    """How image files become one array; the fields are options of `Folder`."""

    size: Size | None
    fit: str
    colour: str
    background: str
    max_pixels: int


@dataclass(frozen=True)
class Decoded:
    """Decoded image files.

    Attributes:
        images: (N, C, H, W) uint8 or uint16, the readable images in order.
        unreadable: the reason for each file that cannot be read.
        changed: the number of images that differ from their files, by description.
        contents: a hash of the file of each readable image.
        stretch: (N, 2) factors of width and height, both 1 if their ratio stayed; None if all did.
        n_resized: the number of images whose files have another size.
    """

    images: np.ndarray
    unreadable: dict[Path, str]
    changed: dict[str, int]
    contents: list[str]
    stretch: np.ndarray | None = None
    n_resized: int = 0

    @property
    def n_stretched(self) -> int:
        """The number of images whose aspect ratio was changed."""
        return 0 if self.stretch is None else int((self.stretch != 1).any(1).sum())

    @property
    def skipped(self) -> dict[str, int]:
        """The number of files that cannot be read, by description; empty if there are none."""
        return {"unreadable images": len(self.unreadable)} if self.unreadable else {}


def decode(paths: list[Path], folder: Path, how: Decoding, store: Store, track: Track = untracked) -> Decoded:
    """Decode image files into one array.

    Args:
        paths: the files, below folder.
        store: keeps the array.
        track: follows the progress.

    Raises:
        UserError: if the images differ in size and no size is given, or if memory or disk are too small.
    """
    with _own_limits():
        headers = _read_headers(paths, how, track)
        found = [header for header in headers if isinstance(header, Header)]
        if not found:
            return Decoded(np.empty(0), dict(zip(paths, headers, strict=True)), {}, [])
        shape, kind = _shape_and_type(found, how)
        contents = _hash_contents(paths, headers, track)

        def decode_one(path: Path, header: Any, row: np.ndarray) -> bool | str:
            if not isinstance(header, Header):
                return header
            return _attempt(read_image, path, header, how.fit, BACKGROUNDS[how.background], row)

        def fill(out: np.ndarray) -> dict:
            with ThreadPoolExecutor(_n_threads(found)) as pool:
                outcomes = list(track(pool.map(decode_one, paths, headers, out), "decoding images", len(paths)))
            unreadable = {str(i): reason for i, reason in enumerate(outcomes) if isinstance(reason, str)}
            _move_to_front(out, [i for i in range(len(outcomes)) if str(i) not in unreadable])
            return {"unreadable": unreadable, "n_transparent": outcomes.count(True)}

        def key() -> str:
            names = [os.fspath(path.relative_to(folder)) for path in paths]
            return fingerprint([f"{DECODER} {shape} {kind} {how.fit} {how.background}", *names, *contents])

        images, about = store.array(key, (len(paths), *shape), kind, fill)
    return _keep_readable(images, about, paths, headers, contents, how)


def _keep_readable(
    images: np.ndarray, about: dict, paths: list[Path], headers: list[Any], contents: list[str], how: Decoding
) -> Decoded:
    """Return the readable images, which are the first, with the reasons why the others are not."""
    unreadable = {paths[int(index)]: reason for index, reason in about["unreadable"].items()}
    readable = [index for index, path in enumerate(paths) if path not in unreadable]
    found, target = [headers[index] for index in readable], Size(*images.shape[2:])
    changed = _changes(found, target, about["n_transparent"], how)
    factors = np.array([_stretch(header.size, target) for header in found]) if how.fit == "stretch" else None
    stretch = factors if factors is not None and (factors != 1).any() else None
    n_resized = sum(header.size != target for header in found)
    return Decoded(images[: len(readable)], unreadable, changed, [contents[i] for i in readable], stretch, n_resized)


@contextlib.contextmanager
def _own_limits() -> Iterator[None]:
    """Silence Pillow's warnings of unusual tags, and replace its limit of pixels, which is a warning, by ours."""
    limit = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = None
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _read_headers(paths: list[Path], how: Decoding, track: Track) -> list[Any]:
    """Return the header of each file, or the reason why it cannot be read."""
    side = max(how.size) if how.size else 0
    with ThreadPoolExecutor() as pool:
        headers = pool.map(lambda path: _attempt(read_header, path, side, how.max_pixels), paths)
        return list(track(headers, "reading the sizes of images", len(paths)))


def _n_threads(headers: list[Header]) -> int:
    """Return how many of the largest images can be decoded at once: each thread keeps the memory that it has used."""
    n_fitting = MAX_MEMORY // max(header.n_bytes for header in headers)
    return max(1, min(32, (os.cpu_count() or 1) + 4, n_fitting))


def _shape_and_type(headers: list[Header], how: Decoding) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape (C, H, W) and type that all images get."""
    size = how.size or _common_size([header.size for header in headers])
    has_colour = any(header.has_colour for header in headers)
    n_channels = 3 if how.colour == "rgb" or (how.colour == "auto" and has_colour) else 1
    return (n_channels, *size), np.dtype(np.uint16 if any(header.is_deep for header in headers) else np.uint8)


def _changes(headers: list[Header], target: Size, n_transparent: int, how: Decoding) -> dict[str, int]:
    """Return the number of images that differ from their files, by description."""
    sizes = sorted(header.size for header in headers if header.size != target)
    changed = Counter(header.remark for header in headers if header.remark)
    if n_transparent:
        changed[f"images with transparent pixels, drawn on {how.background}"] = n_transparent
    if sizes:
        span = f"{sizes[0]}" if sizes[0] == sizes[-1] else f"{sizes[0]} to {sizes[-1]}"
        n_other = sum(_stretch(size, target) != (1.0, 1.0) for size in sizes)
        fitted = f" (of another shape: {n_other}, fit={how.fit})" if n_other else ""
        changed[f"images resized to {target} from {span}{fitted}"] = len(sizes)
    return dict(changed)


def _stretch(size: Size, target: Size) -> tuple[float, float]:
    """Return the factors of width and height; 1 if rounding to whole pixels can explain the change of their ratio."""
    factors = target.width / size.width, target.height / size.height
    return factors if abs(math.log(factors[0] / factors[1])) > MAX_ROUNDING else (1.0, 1.0)


def _move_to_front(images: np.ndarray, indices: list[int]) -> None:
    """Move the images at these increasing indices to the front, in order."""
    for to, index in enumerate(indices):
        if to < index:
            images[to] = images[index]


def _hash_contents(paths: list[Path], headers: list[Any], track: Track) -> list[str]:
    """Return a hash of the content of each file; the reason if it is unreadable."""

    def hash_one(path: Path, header: Any) -> str:
        return fingerprint([path])[:16] if isinstance(header, Header) else header

    with ThreadPoolExecutor() as pool:
        return list(track(pool.map(hash_one, paths, headers), "reading image files", len(paths)))


def _common_size(sizes: list[Size]) -> Size:
    counts = Counter(sizes)
    if len(counts) > 1:
        few = ", ".join(f"{size} ({counted(count, 'image')})" for size, count in counts.most_common(3))
        raise UserError(
            f"the images have {len(counts)} different sizes, such as {few}; choose one size for all, "
            f"for example --dataset folder size={min(counts)}"
        )
    return sizes[0]


def _attempt(function: Callable, path: Path, *arguments: object) -> Any:
    """Return the result of a function of a file, or the reason as text if the file cannot be read."""
    try:
        return function(path, *arguments)
    except UserError as error:
        return str(error)
    except FileNotFoundError:
        return "a link to a file that does not exist; fetch it, for example with datalad get or git annex get"
    except MemoryError as error:  # not the fault of the file
        raise UserError(f"there is not enough memory to decode {path}") from error
    except Exception as error:  # a damaged file can fail in any way
        return explain_unreadable(path, error)
