"""Export: representations of all images as npz and CSV files, written a few images at a time."""

import csv
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from neuro_noodle.runs.files import atomic
from neuro_noodle.runs.latents import described
from neuro_noodle.runs.representations import (
    MAX_WIDTH,
    Features,
    first_run,
    in_chunks,
    open_sources,
    represent,
)
from neuro_noodle.runs.run import Run

UNSAFE = re.compile(r"[^\w@.-]+")  # in the name of a file


def write_representations(
    words: Sequence[str],
    out: Path | None = None,
    *,
    reduce: bool = False,
    data_dir: Path | None = None,
    trust_pickle: bool = False,
) -> Iterator[Path]:
    """Write an npz file for each source, and a CSV file if it has at most 2048 numbers per image; yields their paths.

    Args:
        words: sources, see `representations`; the first is a run.
        out: the folder of the files; latents/ in the first run if None.
        reduce: write principal components in place of more than 2048 numbers.
        data_dir: the folder of the images, if it has moved since training.
        trust_pickle: also load the UMAP of a run, which is stored as a pickle and can run code when loaded.
    """
    sources = open_sources(words, data_dir, trust_pickle=trust_pickle)
    run = first_run(sources)
    folder = out or run.folder / "latents"
    folder.mkdir(parents=True, exist_ok=True)
    for source in sources if "pixels" in words else sources[:-1]:
        features, width = source.features, source.features(np.arange(1)).shape[1]
        if reduce and width > MAX_WIDTH:
            values = represent(source, len(run.dataset), run.part == "training").values
            features, width = values.__getitem__, values.shape[1]
        path = folder / (UNSAFE.sub("_", source.name) + ".npz")
        write_npz(path, features, width, run)
        yield path
        if width <= MAX_WIDTH:
            write_csv(path.with_suffix(".csv"), features, width, run)
            yield path.with_suffix(".csv")


def write_npz(path: Path, features: Features, width: int, run: Run) -> None:
    """Write an array `latents` (N, width) with ids, parts and metadata, without holding all of it in memory."""
    dataset = run.dataset
    with atomic(path) as scratch, zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("latents.npy", "w", force_zip64=True) as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (len(dataset), width)}
            np.lib.format.write_array_header_2_0(file, header)
            for chunk in in_chunks(np.arange(len(dataset))):
                file.write(np.ascontiguousarray(features(chunk), "<f4").tobytes())
        for name, values in described(dataset, run.part).items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.asarray(values), allow_pickle=False)


def write_csv(path: Path, features: Features, width: int, run: Run) -> None:
    """Write a row per image: id, part, metadata, and the numbers latent1, latent2, ..."""
    known = {name.removeprefix("column_"): values for name, values in described(run.dataset, run.part).items()}
    with atomic(path) as scratch, scratch.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*known, *(f"latent{i + 1}" for i in range(width))])
        for chunk in in_chunks(np.arange(len(run.dataset))):
            for index, row in zip(chunk, features(chunk), strict=True):
                writer.writerow([*(values[index] for values in known.values()), *(f"{value:.7g}" for value in row)])
