"""Recordings in the form laboratories have them: images, and the responses of neurons to them, in any files."""

from dataclasses import dataclass, replace
from typing import Literal

from neuro_noodle.choices import Size, require
from neuro_noodle.data.arrays import Arrays, find_file
from neuro_noodle.data.base import DATASETS, Source, StimulusSet
from neuro_noodle.data.columns import merge
from neuro_noodle.data.folder import Folder
from neuro_noodle.data.layouts import Axes
from neuro_noodle.data.recorded import RecordedImages, Recording, Values, record
from neuro_noodle.data.recording_files import IMAGES, RESPONSES, TRIALS, Entry, Layout, RecordingFiles, find_recordings
from neuro_noodle.data.response_files import Shown, read_array, read_responses, read_trials

SESSION = "session"  # the column that names the recording of each image
PART = "part"  # the column that --split given reads


@DATASETS.add("recordings")
class Recordings(RecordedImages):
    """Images with the responses of neurons, from arrays, tables and image files of any names.

    Args:
        source: an npz file; or a folder with the files of one recording, or with a file or folder for each.
        sessions: the files or folders to read, one recording each; none reads all.
        images: what holds the images: FILE, FILE.npz:ARRAY, the name of an array, or a folder of image files; none
            finds it by its name or shape.
        responses: the same for responses, images x neurons; of a table, each column of numbers is a neuron.
        trials: the same for single trials, trials x images x neurons (NaN where an image was not shown); or a table
            with a row per presentation. Without responses, their means are the responses.
        size: resize image files to this; or the size of images stored as rows of numbers.
        colour: of image files: auto keeps grey images grey unless one has colour, then all have.
        axes: the layout of an array of images; none infers it.
        max_value: the image value of white; none uses 255 or 65535 for 8 or 16 bits, and 1 for other types.
        metadata: a table next to the responses, with a row per image: by name for image files, in the same order for
            an array.
        key: the column of tables that names image files; none finds it.
        group: the column (animal, scene) whose images --split group keeps in one part.

    The neurons of all recordings are the columns of one array of responses, NaN where a neuron was not recorded.

    Raises:
        UserError: if files are missing or damaged, or do not belong together.
    """

    def __init__(
        self,
        source: Source,
        *,
        sessions: tuple[str, ...] = (),
        images: str | None = None,
        responses: str | None = None,
        trials: str | None = None,
        size: Size | None = None,
        colour: Literal["auto", "grey", "rgb"] = "auto",
        axes: Axes | None = None,
        max_value: float | None = None,
        metadata: str | None = None,
        key: str | None = None,
        group: str | None = None,
    ) -> None:
        words = {IMAGES: images, RESPONSES: responses, TRIALS: trials}
        found, passed_over = find_recordings(source.folder.absolute(), sessions, words, Layout(size, axes))
        reader = _Reader(source, size, colour, axes, max_value, metadata, key, group)
        short = {name: name.removesuffix(".npz") for name in found}
        labels = {name: name if short[name] in found else short[name] for name in found if len(found) > 1}
        recordings = [reader.read(name, parts, labels.get(name, "")) for name, parts in found.items()]
        super().__init__(recordings, group)
        self.notes = [*passed_over, *self.notes]


@dataclass(frozen=True)
class _Reader:
    """Reads the parts of one recording; the fields are options of `Recordings`."""

    source: Source
    size: Size | None
    colour: Literal["auto", "grey", "rgb"]
    axes: Axes | None
    max_value: float | None
    metadata: str | None
    key: str | None
    group: str | None

    def read(self, name: str, parts: RecordingFiles, label: str) -> Recording:
        """Return a recording; one of several has a label, which precedes its images and neurons and is a column."""
        images = self.images(parts)
        shown = Shown(list(images.ids), parts[IMAGES].path.is_dir(), self.key, {PART, self.group or PART})
        prefix = f"{label}/" if label else ""
        if label:
            images.ids = [prefix + image for image in images.ids]
            merge(images.columns, {SESSION: [label] * len(images)})
        values = {role: self.values(role, entry, images, shown) for role, entry in parts.items() if role != IMAGES}
        found = record(name, images, values.get(RESPONSES), values.get(TRIALS), prefix)
        used = ", ".join(_describe(role, entry, name) for role, entry in parts.items())
        return replace(found, notes=[f"{name}: {used}; {found.text}", *found.notes])

    def images(self, parts: RecordingFiles) -> StimulusSet:
        """Return the images of a recording, with their metadata."""
        entry = parts[IMAGES]
        source = replace(self.source, folder=entry.path)
        are_files = entry.path.is_dir()
        folder = next(other.path.parent for role, other in parts.items() if role != IMAGES)
        table = str(find_file(folder, self.metadata)) if self.metadata else None
        size, white = self.size, self.max_value
        if are_files:
            key = self.key if table else None
            return Folder(source, size=size, colour=self.colour, max_value=white, metadata=table, key=key, label=None)
        require(not self.key, f"key= names image files, but the images are an array, {entry.label}")
        used = {other.array for other in parts.values() if other.path == entry.path}
        name = entry.array or None
        return Arrays(source, used, array=name, size=size, axes=self.axes, max_value=white, metadata=table)

    def values(self, role: str, entry: Entry, images: StimulusSet, shown: Shown) -> Values:
        """Return the responses or trials of a recording; other columns of a table of responses become metadata."""
        if entry.shape:
            return read_array(entry, shown, self.source.store)
        if role == TRIALS:
            return read_trials(entry.path, shown)
        values, columns = read_responses(entry.path, shown)
        merge(images.columns, columns)
        return values


def _describe(role: str, entry: Entry, place: str) -> str:
    """Return which entry of a file or folder is the images, responses or trials."""
    name = entry.array if entry.path.name == place else entry.label
    return f"{role}{f' from {name}' if name not in ('', role) else ''} ({entry.kind})"
