"""Representations of all images as npz and CSV files, written a few images at a time."""

import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from neuro_noodle.choices import require
from neuro_noodle.progress import Stage
from neuro_noodle.runs.files import atomic, table_bytes, write_bytes
from neuro_noodle.runs.latents import described, known_columns, latent_names
from neuro_noodle.runs.representations import MAX_WIDTH, Source, in_chunks, represent
from neuro_noodle.runs.run import Run
from neuro_noodle.runs.sources import PIXELS, first_run, open_sources

UNSAFE = re.compile(r"[^\w@.-]+")  # in the name of a file


def write_representations(
    words: Sequence[str],
    out: Path | None = None,
    *,
    reduce: bool = False,
    data_dir: Path | None = None,
    trust_pickle: bool = False,
    images: Path | None = None,
) -> Iterator[Path]:
    """Write an npz file for each source, and a CSV file if it has at most 2048 numbers per image; yields their paths.

    Args:
        words: see `sources`; the first is a run.
        out: the folder of the files; if None, representations/ in the first run, representations-NAME/ for new images.
        reduce: write principal components in place of more than 2048 numbers.
        data_dir: the folder of the images, if it has moved since training.
        trust_pickle: also load the UMAP of a run, which is stored as a pickle and can run code when loaded.
        images: a file or a folder of new images, in place of those of the runs.

    Raises:
        UserError: if two sources would be written to the same file, or one of them is that file.
    """
    require(not (reduce and images), "--components are fitted to training images; leave them out with --images")
    sources = open_sources(words, data_dir, trust_pickle=trust_pickle, images=images)
    sources = sources if PIXELS in words else sources[:-1]
    run = first_run(sources)
    folder = out or run.folder / (f"representations-{images.resolve().stem}" if images else "representations")
    folder.mkdir(parents=True, exist_ok=True)
    paths = _paths(folder, sources, [*words, *([str(images)] if images else [])])
    indices = np.arange(len(run.dataset))
    for path, source in zip(paths, sources, strict=True):
        width = source.features(indices[:1]).shape[1]
        if reduce and width > MAX_WIDTH:
            values = represent(source, indices, run.part == "training").values
            source, width = Source(source.name, values.__getitem__), values.shape[1]
        write_npz(path, source, width, run)
        yield path
        if width <= MAX_WIDTH:
            write_rows(path.with_suffix(".csv"), source, width, run)
            yield path.with_suffix(".csv")


def _paths(folder: Path, sources: Sequence[Source], words: Sequence[str]) -> list[Path]:
    """Return the npz file of each source."""
    paths = [folder / (UNSAFE.sub("_", source.name) + ".npz") for source in sources]
    read = {Path(word.partition(":")[0]).resolve() for word in words}
    for path in paths:
        require(paths.count(path) == 1, f"two sources would be written to {path}; choose another --out for one of them")
        require(path.resolve() not in read, f"{path} would replace a file to read; choose another --out")
    return paths


def write_npz(path: Path, source: Source, width: int, run: Run) -> None:
    """Write an array `latents` (N, width) with ids, parts and metadata, without holding all of it in memory."""
    with (
        Stage(f"writing {path.name}") as stage,
        atomic(path) as scratch,
        zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        with archive.open("latents.npy", "w", force_zip64=True) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(run.dataset), width)}
            np.lib.format.write_array_header_2_0(file, header)
            for chunk in stage.over(in_chunks(np.arange(len(run.dataset)))):
                file.write(np.ascontiguousarray(source.of(chunk), "<f4").tobytes())
        for name, values in described(run.dataset, run.part).items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(values), allow_pickle=False)


def write_rows(path: Path, source: Source, width: int, run: Run) -> None:
    """Write a CSV file with a row per image: id, part, metadata, and the numbers latent1, latent2, ..."""
    known = known_columns(run.dataset.ids, run.part, run.dataset.columns, width)
    rows = (
        [*(values[index] for values in known.values()), *(f"{value:.7g}" for value in row)]
        for chunk in in_chunks(np.arange(len(run.dataset)))
        for index, row in zip(chunk, source.of(chunk), strict=True)
    )
    write_bytes(path, table_bytes([*known, *latent_names(width)], rows))
