"""The explorer: a page with the maps of one or more runs, in one file that needs no network."""

import html
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from neuro_noodle.choices import require
from neuro_noodle.data.columns import require_columns
from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.objectives.base import IMAGES
from neuro_noodle.progress import Stage
from neuro_noodle.runs.files import atomic
from neuro_noodle.runs.latents import snapshots
from neuro_noodle.runs.metadata import Column, as_column
from neuro_noodle.runs.run import Run, open_run
from neuro_noodle.runs.sources import require_same_images
from neuro_noodle.views.explorer.arrays import Arrays, compressed_json
from neuro_noodle.views.explorer.coordinates import MAX_FITTED
from neuro_noodle.views.explorer.run_maps import PLACE, describe_map
from neuro_noodle.views.explorer.sheets import Sheets, draw_sheets
from neuro_noodle.views.latent_map import choose_map_columns
from neuro_noodle.views.map_columns import informative_columns
from neuro_noodle.views.maps import palettes

MAX_RUNS = 4
MAX_PLACED = 60_000  # images times snapshots that a UMAP places, half a minute
MAX_OUTPUTS = 8  # columns of outputs; a run with more has one for each neuron
SCRIPTS = "data", "colours", "pictures", "decoder", "map", "panel", "explore"
PAGE = package_files(__package__) / "page"


def write_explorer(
    load_dirs: Sequence[Path],
    *,
    out: Path | None = None,
    columns: Sequence[str] = (),
    how: str = "umap",
    n_mapped: int | None = None,
    with_images: bool = True,
    data_dir: Path | None = None,
    trust_pickle: bool = False,
) -> Path:
    """Write the page of some runs; returns its path.

    Args:
        load_dirs: runs (their best weights) or sessions, all of the same images.
        out: the file; None for explorer.html in the folder of the first run.
        columns: metadata columns that come first; informative ones if none are given.
        how: kind of the maps, see `embeddings`.
        n_mapped: images on the page, at most; None for as many as are placed in half a minute.
        with_images: whether the page has images and decoders, which show what the stimuli look like.
        data_dir: the folder of the images, if it has moved since training.
        trust_pickle: also load a UMAP, which is stored as a pickle and can run code when loaded.

    Raises:
        UserError: if a run cannot be opened, or two have other images.
    """
    require(len(load_dirs) <= MAX_RUNS, f"{len(load_dirs)} runs do not fit next to each other; at most {MAX_RUNS} do")
    if out is not None:
        require(not out.is_dir() and out.parent.is_dir(), f"--out {out}: name a file in a folder that exists")
    runs = [open_run(folder, data_dir, trust_pickle=trust_pickle) for folder in load_dirs]
    for other in runs[1:]:
        require_same_images(runs[0], other)
    require_columns(runs[0].dataset.columns, columns)
    path = out or runs[0].folder / "explorer.html"
    text = draw_page(runs, columns=columns, how=how, n_mapped=n_mapped, with_images=with_images)
    with Stage("writing the page"), atomic(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return path


class Inline:
    """A page shown inside a notebook.

    Attributes:
        text: of the page, HTML.
        height_px: of the frame.
    """

    def __init__(self, text: str, height_px: int) -> None:
        self.text, self.height_px = text, height_px

    def _repr_html_(self) -> str:
        style = f"width: 100%; height: {self.height_px}px; border: 0"
        return f'<iframe srcdoc="{html.escape(self.text)}" style="{style}"></iframe>'


def show_explorer(
    runs: Sequence[Run],
    *,
    columns: Sequence[str] = (),
    how: str = "umap",
    n_mapped: int | None = 2000,
    height_px: int = 700,
) -> Inline:
    """Return the page of opened runs of the same images for a notebook, which shows it; see `write_explorer`."""
    return Inline(draw_page(runs, columns=columns, how=how, n_mapped=n_mapped), height_px)


def draw_page(
    runs: Sequence[Run],
    *,
    columns: Sequence[str] = (),
    how: str = "umap",
    n_mapped: int | None = None,
    with_images: bool = True,
) -> str:
    """Return the page of runs of the same images as HTML; see `write_explorer` for the arguments."""
    first, arrays, names = runs[0], Arrays(), name_runs(runs)
    latents = [run.latents() for run in runs]
    indices = choose_images(runs, latents, how, n_mapped)
    shown = describe_columns(runs, names, indices, columns)
    last = first.dataset.group, "folder"
    own = sorted((name for name in shown if name in first.dataset.columns), key=lambda name: name in last)
    ways = informative_columns({name: first.dataset.columns[name] for name in own}, first.dataset.class_columns)
    maps = [
        {"name": name} | describe_map(run, values, indices, arrays, how, columns=list(ways), decodes=with_images)
        for run, name, values in zip(runs, names, latents, strict=True)
    ]
    sheets = draw_sheets(first.images, indices, first.dataset.image_shape) if with_images else None
    manifest = {
        "ids": [first.dataset.ids[i] for i in indices],
        "columns": [add_column(name, column, arrays) for name, column in shown.items()],
        "palettes": palettes(),
        "tiles": sheets and sheets.layout,
        "runs": maps,
        "hint": "Click an image, or any other place of the map." if with_images else "Click an image.",
        "notes": notes(runs, names, latents, len(indices), how, with_images=with_images),
    }
    return fill(" and ".join(names), manifest, arrays, sheets)


def name_runs(runs: Sequence[Run]) -> list[str]:
    """Return the names of runs; the whole path of those whose folders have the same name.

    Raises:
        UserError: if a run is there twice.
    """
    short = [run.name for run in runs]
    paths = [str(run.folder if run.session == "best" else run.folder / run.session) for run in runs]
    twice = next((path for path in paths if paths.count(path) > 1), None)
    require(twice is None, f"{twice} was named twice; name each run once")
    return [path if short.count(name) > 1 else name for name, path in zip(short, paths, strict=True)]


def choose_images(runs: Sequence[Run], latents: Sequence[np.ndarray], how: str, n_mapped: int | None) -> np.ndarray:
    """Return the indices of the images on the page: all, or as many as are placed on the maps in good time."""
    n_images = len(runs[0].dataset)
    n_times = [1 + len(snapshots(run.folder)) for run, values in zip(runs, latents, strict=True) if values.shape[1] > 2]
    n_placed = MAX_PLACED // max(n_times) if n_times and how != "pca" else n_images
    indices = evenly_spaced(np.arange(n_images), n_mapped or n_placed)
    if len(indices) < n_images:
        more = "" if n_mapped else "; --map pca is fast enough for all, --n_mapped sets the number"
        print(f"note: the page shows {len(indices)} of {n_images} images{more}", file=sys.stderr)
    return indices


def describe_columns(
    runs: Sequence[Run], names: Sequence[str], indices: np.ndarray, first_columns: Sequence[str]
) -> dict[str, Column]:
    """Return the columns by which images are coloured, (n,) each: those asked for or informative ones first."""
    first = runs[0]
    dataset = first.dataset
    preferred = choose_map_columns(first, indices, {}, first_columns)
    columns = {name: as_column(name, dataset.columns[name], dataset.class_columns) for name in dataset.columns}
    ordered = {name: columns[name] for name in [*preferred, *columns]}
    has_same_parts = all(run.part.tolist() == first.part.tolist() for run in runs)
    for run, run_name in zip(runs, names, strict=True):
        of = f" ({run_name})" if len(runs) > 1 else ""
        ordered["part" if has_same_parts else f"part{of}"] = as_column("part", run.part.tolist())
        ordered |= {f"{name}{of}": column for name, column in outputs(run, indices).items()}
    return {name: column.of(indices) for name, column in ordered.items()}


def outputs(run: Run, indices: np.ndarray) -> dict[str, Column]:
    """Return what a run predicts of images, and its errors, (N,) for all images of the run; unknown elsewhere."""
    judged = indices[run.part[indices] != "left_out"]
    rows = run.objective.rows(run.evidence(judged)) if len(judged) else {}
    if len(rows) > MAX_OUTPUTS:
        return {}
    found = {}
    for name, values in rows.items():
        is_class = isinstance(values[0], str)  # also if its name is a number, such as a digit
        each: Any = np.full(len(run.dataset), "" if is_class else np.nan, object if is_class else float)
        each[judged] = values
        found[name] = as_column(name, each.tolist() if is_class else each, [name] if is_class else [])
    return found


def add_column(name: str, column: Column, arrays: Arrays) -> dict[str, Any]:
    """Return a column for the page: indices of classes, or numbers."""
    found = {"name": name, "kind": column.kind, "period": column.period}
    if not column.is_class:
        return found | {"values": arrays.add(column.values, "f8")}
    classes = sorted(set(column.values[column.is_known].tolist()))
    code = {value: i for i, value in enumerate(classes)}
    return found | {"classes": classes, "values": arrays.add(np.array([code.get(v, -1) for v in column.values]), "i4")}


def notes(
    runs: Sequence[Run],
    names: Sequence[str],
    latents: Sequence[np.ndarray],
    n_shown: int,
    how: str,
    *,
    with_images: bool,
) -> list[str]:
    """Return what a reader of the page should know."""
    n_images = len(runs[0].dataset)
    some = "" if n_shown == n_images else f" of {n_images:,}, evenly spaced in the order of their ids"
    found = [f"{n_shown:,} images{some}."]
    for run, name, values in zip(runs, names, latents, strict=True):
        found.append(describe_placing(run, name, values, how))
    if not with_images:
        return [
            *found,
            "The page has no images and no decoder, because a decoder shows what the stimuli look like. It has the ids "
            "of images and all their metadata.",
        ]
    if any(run.objective.predicts == IMAGES for run in runs):
        found.append(
            "A click on an image decodes its own latent. Weights are rounded so little that no decoded pixel changes "
            "by more than half of one of 255 grey values."
        )
    return found


def describe_placing(run: Run, name: str, latents: np.ndarray, how: str) -> str:
    """Return how the map of latents (N, D) was made."""
    width = latents.shape[1]
    decodes = run.objective.predicts == IMAGES
    if width == 2:
        exact = ", so a click decodes exactly the place clicked" if decodes else ""
        return f"{name}: the map shows the two latents themselves{exact}."
    umap = " UMAP tends to place them between those that it was fitted to." if how.startswith("umap") else ""
    between = f" A click between images is {PLACE}." if decodes else ""
    return (
        f"{name}: the map ({how}) of {width} latents was fitted to at most {MAX_FITTED:,} training images, and the "
        f"others were placed on it.{umap}{between}"
    )


def fill(title: str, manifest: Mapping[str, Any], arrays: Arrays, sheets: Sheets | None) -> str:
    """Return the page as HTML."""
    script = [read(f"{name}.js") for name in SCRIPTS]
    return Template(read("explorer.html")).substitute(
        title=html.escape(title),
        style=read("explorer.css"),
        licences=html.escape(read("vendor/LICENSES.txt")),
        manifest=compressed_json(manifest),
        arrays=arrays.text(),
        script="\n".join([read("vendor/regl-scatterplot.js"), *script]),
        sheets="\n".join(
            f'<script type="text/plain" id="sheet-{number}">{picture}</script>'
            for number, picture in enumerate(sheets.pictures if sheets else [])
        ),
    )


def read(name: str) -> str:
    """Return the text of a part of the page."""
    return PAGE.joinpath(name).read_text(encoding="utf-8")
