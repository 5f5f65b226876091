"""New images: files and arrays that a run has never seen, prepared exactly as the images of a dataset."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from torch import Tensor

from neuro_noodle.choices import Choice, Size, require
from neuro_noodle.data.arrays import SUFFIXES, open_array
from neuro_noodle.data.base import DATASETS, Source, StimulusSet, numbered_ids
from neuro_noodle.data.folder import Decoding, decode, require_readable, search
from neuro_noodle.data.inventory import Reading
from neuro_noodle.data.layouts import as_images, match_axes, on_background
from neuro_noodle.data.preparation_text import describe_preparation
from neuro_noodle.data.recording_files import IMAGES, entries_of
from neuro_noodle.data.store import Store, format_shape
from neuro_noodle.data.white import KnownWhite, choose_white, require_white

Images: TypeAlias = str | Path | Sequence[str | Path] | np.ndarray | Tensor | StimulusSet


@dataclass(frozen=True)
class Preparation:
    """How new images are prepared.

    Attributes:
        like: the dataset as whose images they are prepared.
        choice: the choice that has opened it.
        store: for images that do not fit in memory.
        max_value: the image value of white in new images; None finds it, see `KnownWhite`.
    """

    like: StimulusSet
    choice: Choice
    store: Store
    max_value: float | None = None

    def prepare(self, images: Images) -> StimulusSet:
        """Return new images, prepared exactly as those of the dataset; see `Run.prepare`.

        Raises:
            UserError: if they cannot be read, or if their shape, type or range does not fit; says what is expected.
        """
        require_white(self.max_value)
        if isinstance(images, StimulusSet):
            require(self.max_value is None, "these images are prepared already; name max_value= when you prepare them")
            return self._checked(images, "the dataset")
        if isinstance(images, np.ndarray | Tensor):
            return self._of_array(as_array(images), "the array")
        if not isinstance(images, str | Path):
            return self._of_files(as_paths(images))
        path = Path(images)
        require(path.exists(), f"no file or folder {path}")
        return self._of_folder(path) if path.is_dir() else self._of_file(path)

    @property
    def _size(self) -> Size:
        return Size(*self.like.image_shape[1:])

    @property
    def _white(self) -> KnownWhite:
        return KnownWhite(self.like.images[:0].cpu().numpy().dtype, self.like.max_value)

    def _of_folder(self, folder: Path) -> StimulusSet:
        """Return the images of a folder of recordings or arrays, for runs trained on such, or of image files."""
        if self.choice.name == "v1" and any(folder.rglob("*_inputs.npy")):
            white = {"max_value": self.max_value} if self.max_value else {}
            like_training = Choice("v1", self.choice.options | white)
            return self._checked(DATASETS.build(like_training, Source(folder, self.store)), str(folder))
        arrays = sorted(path for path in folder.glob("*") if path.suffix.lower() in SUFFIXES)
        if self.choice.name == "folder" or not arrays:
            found = search(folder)
            return self._decoded(found.images, folder, found.passed_over)
        usual = folder / str(self.choice.options.get("file"))
        names = ", ".join(path.name for path in arrays)
        require(usual in arrays or len(arrays) == 1, f"{folder} holds {names}; name the file with the images")
        return self._of_file(usual if usual in arrays else arrays[0])

    def _of_file(self, path: Path) -> StimulusSet:
        if path.suffix.lower() not in SUFFIXES:
            return self._of_files([path])
        return self._of_array(open_array(path, self._array_in(path), self.store).images, str(path))

    def _array_in(self, path: Path) -> str | None:
        """Return the name of the array that held the images in training, for a file that has one of this name."""
        if self.choice.name != "recordings":
            return self.choice.options.get("array")
        name = self.choice.options["images"] or IMAGES
        found = [entry.array for entry in entries_of(path) if entry.is_called(name, path)]
        return found[0] or None if len(found) == 1 else None

    def _of_files(self, paths: list[Path]) -> StimulusSet:
        missing = [str(path) for path in paths if not path.is_file()]
        require(not missing, f"{len(missing)} of {len(paths)} images are not files: {', '.join(missing[:3])}")
        absolute = [path.absolute() for path in paths]
        return self._decoded(absolute, Path(os.path.commonpath([path.parent for path in absolute])), {})

    @property
    def _options(self) -> dict[str, Any]:
        """The options of `folder` with which image files are decoded."""
        were_files = self.choice.name in ("folder", "recordings")
        return DATASETS.defaults("folder") | (self.choice.options if were_files else {})

    @property
    def decoding(self) -> Decoding:
        """How image files are decoded."""
        options = self._options
        colour = "rgb" if self.like.image_shape[0] == 3 else options["colour"]  # training has decided what auto means
        return Decoding(self._size, options["fit"], colour, options["background"], options["max_pixels"])

    @property
    def resizes(self) -> bool:
        """Whether image files are resized, as those of training were; files of another size are refused otherwise."""
        return self._options["size"] is not None

    @property
    def description(self) -> dict[str, Any]:
        """How image files and arrays are prepared, for programs and people without this package."""
        return describe_preparation(self.decoding, self.like.image_shape, self._white, resizes=self.resizes)

    def _decoded(self, paths: list[Path], folder: Path, passed_over: Mapping[str, int]) -> StimulusSet:
        """Return image files below a folder."""
        decoded = decode(paths, folder, self.decoding, self.store)
        require_readable(decoded.unreadable, len(paths), "repair them, or leave them out")
        require(
            self.resizes or not decoded.n_resized,
            f"{decoded.n_resized} of {len(paths)} images are not {self._size}, the size of the training "
            "images, which were not resized; resize them first",
        )
        where = str(paths[0] if len(paths) == 1 else folder)
        white = self.max_value or self._white.of_files(decoded.images, where)
        prepared = StimulusSet(
            decoded.images,
            [path.relative_to(folder).as_posix() for path in paths],
            max_value=choose_white(decoded.images, white, where)[0],
            columns={},
            contents=decoded.contents,
            reading=Reading(passed_over, decoded.changed),
        )
        return self._checked(prepared, where)

    def _of_array(self, values: np.ndarray, where: str) -> StimulusSet:
        channels, *sides = self.like.image_shape
        background = str(self.choice.options.get("background", "none"))
        can_be_transparent = channels == 3 and background != "none"
        shapes = [(n, *sides) for n in ((3, 4) if can_be_transparent else (channels,))]
        axes: Any = match_axes(values.shape, shapes, self.choice.options.get("axes"), where)
        values, axes = (values, axes) if "N" in axes else (values[None], f"N{axes}")  # (N, ...)
        images = as_images(values, self._size, None if axes == "NP" else axes, where)
        white = choose_white(images, self.max_value or self._white.of_array(images, where), where)[0]
        images, changed = on_background(images, white, background, where)
        ids = numbered_ids(len(images))
        return StimulusSet(images, ids, max_value=white, columns={}, reading=Reading(changed=changed))

    def _checked(self, images: StimulusSet, where: str) -> StimulusSet:
        shape, expected = images.image_shape, self.like.image_shape
        require(
            shape == expected,
            f"the images of {where} are {format_shape(shape)} (channels x height x width), those of training "
            f"{format_shape(expected)}",
        )
        return images


def as_array(values: np.ndarray | Tensor) -> np.ndarray:
    """Return an array or a tensor, also one on a GPU, as an array."""
    if not isinstance(values, Tensor):
        return np.asarray(values)
    values = values.detach().cpu()
    return (values.float() if values.is_floating_point() else values).numpy()  # numpy has no bf16


def as_paths(names: Any) -> list[Path]:
    """Return a list of file names as paths.

    Raises:
        UserError: if it is empty, or not a list of file names.
    """
    is_list = isinstance(names, Sequence) and not isinstance(names, bytes)
    kind = f"list of {type(names[0]).__name__}" if is_list and len(names) else type(names).__name__
    require(
        is_list and all(isinstance(name, str | Path) for name in names),
        f"images are an array, a tensor, a file name, a list of file names or a folder, not {kind}; numpy.stack makes "
        "one array of several",
    )
    require(len(names) > 0, "the list of images is empty")
    return [Path(name) for name in names]
