"""Every picture of a run, written to its folder `figures`."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from neuro_noodle.data.columns import require_columns
from neuro_noodle.learning.devices import choose_device
from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.progress import Stage
from neuro_noodle.runs.files import RESULT, n_folds, write_csv
from neuro_noodle.runs.loaders import Batches
from neuro_noodle.runs.manifest import has_result
from neuro_noodle.runs.metrics import read_metrics
from neuro_noodle.runs.pooled import PooledFolds
from neuro_noodle.runs.result import read_result
from neuro_noodle.runs.run import Run, open_run
from neuro_noodle.runs.task import TaskSource
from neuro_noodle.runs.testing import test_run
from neuro_noodle.views import figures
from neuro_noodle.views.decodings import plot_decodings
from neuro_noodle.views.embeddings import MIN_IMAGES
from neuro_noodle.views.latent_map import MAX_MAPPED, plot_latent_map
from neuro_noodle.views.outcomes import MAX_IMAGES, PICTURES, POOLED, Pictures, image_titles, plot_outcomes, write_film
from neuro_noodle.views.page import write_page
from neuro_noodle.views.saving import PNG, Format

PLAIN = (  # pictures that show no image, and nothing decoded from the network
    *("curves", "confusion", "predictions", "paths", "explained_variance", "neurons", "responses", "latent_map"),
    *("explained_variance.csv", "neurons.csv"),
)
N_AUGMENTED = 4  # examples of augmentation per image
Drawings = Mapping[str, Callable[[], Pictures]]  # functions that draw pictures, by what they draw


def write_report(
    load_dir: Path,
    *,
    columns: Sequence[str] = (),
    how: str = "umap",
    n_mapped: int = MAX_MAPPED,
    data_dir: Path | None = None,
    trust_pickle: bool = False,
    form: Format = PNG,
    with_images: bool = True,
) -> Iterator[Path]:
    """Write every picture of a run as soon as it is drawn, and yield its path; then write report.html.

    Args:
        load_dir: a run, or one of its sessions; or the runs of --folds, see `write_report_of_folds`.
        columns: metadata columns that colour the maps; informative ones are chosen if none are given.
        how: kind of the maps, see `embeddings`.
        n_mapped: images on the maps, at most.
        data_dir: the folder of the images, if it has moved since training.
        trust_pickle: also load a UMAP, which is stored as a pickle and can run code when loaded.
        form: file format and width of the pictures.
        with_images: also draw pictures that show images, or anything decoded from the network.
    """
    if n_folds(load_dir):
        yield from write_report_of_folds(PooledFolds.of_folder(load_dir, data_dir), load_dir, form, with_images)
    else:
        run = open_run(load_dir, data_dir, trust_pickle=trust_pickle)
        yield from write_report_of_run(run, columns, how, n_mapped, form, with_images)


def write_report_of_run(
    run: Run,
    columns: Sequence[str] = (),
    how: str = "umap",
    n_mapped: int = MAX_MAPPED,
    form: Format = PNG,
    with_images: bool = True,
) -> Iterator[Path]:
    """Write every picture of a run, then report.html if it has a result, and yield their paths; see `write_report`."""
    if PICTURES.find(run.objective) is None:
        print(f"note: the objective {type(run.objective).__name__} has no pictures of its own", file=sys.stderr)
    require_columns(run.dataset.columns, columns)
    each = drawings(run, columns, how, n_mapped, with_images)
    drawn = []
    for path in write_drawings(run.folder / "figures", each, form, with_images):
        drawn.append(path)
        yield path
    if run.session == "best" and run.result:
        yield write_page(run.folder, run, drawn, with_images=with_images)
    else:
        print("note: no report.html, which needs the best weights of a run that has finished", file=sys.stderr)


def write_report_of_folds(
    folds: PooledFolds, folder: Path, form: Format = PNG, with_images: bool = True
) -> Iterator[Path]:
    """Write the pictures of the outputs for all test images together or, where there are none, of each fold.

    Then report.html of all folds.
    """
    is_pooled = isinstance(folds.objective, POOLED)
    drawn = []
    for run, where in [(folds, folder)] if is_pooled else [(run, run.folder) for run in folds.runs]:
        each = {"predictions of all folds" if is_pooled else "predictions": partial(plot_outcomes, run)}
        for path in write_drawings(where / "figures", each, form, with_images):
            drawn.append(path)
            yield path
    if (folder / RESULT).is_file():
        yield write_page(folder, folds, drawn, with_images=with_images)


def write_test(
    load_dir: Path, source: TaskSource, *, device: str, batch_size: int, trust_pickle: bool = False
) -> Iterator[Path]:
    """Judge a run on its test part or on other images, write its pictures and film, and yield their paths.

    Args:
        load_dir: a run (its best weights), or one of its sessions.
        source: the images to test.
        device: auto, cpu, cuda or cuda:1.
        batch_size: images per batch, at most.
        trust_pickle: also load a UMAP, which is stored as a pickle and can run code when loaded.
    """
    run = open_run(load_dir, images=source, trust_pickle=trust_pickle)
    folder = test_run(run, source, choose_device(device), batch_size)
    yield from write_drawings(folder, {"predictions": partial(plot_outcomes, run)})
    with Stage("drawing the film"):
        films = write_film(folder, run)
    yield from films


def write_drawings(folder: Path, each: Drawings, form: Format = PNG, with_images: bool = True) -> Iterator[Path]:
    """Draw pictures, write them, and yield their paths, one drawing after another; without images only PLAIN ones."""
    for what, draw in each.items():
        with Stage(f"drawing {what}"):
            pictures = {name: one for name, one in draw().items() if with_images or name in PLAIN}
            paths = write_pictures(folder, pictures, form)
        yield from paths


def write_pictures(folder: Path, pictures: Mapping[str, figures.Figure | Mapping], form: Format = PNG) -> list[Path]:
    """Write figures, and tables (their names end in .csv) as CSV files; returns the paths of the figures."""
    folder.mkdir(exist_ok=True)
    paths = []
    for name, picture in pictures.items():
        if name.endswith(".csv"):
            write_csv(folder / name, picture)
        else:
            paths += form.save(folder / name, picture)
    return paths


def drawings(
    run: Run, columns: Sequence[str], how: str = "umap", n_mapped: int = MAX_MAPPED, with_images: bool = True
) -> Drawings:
    """Return the functions that draw the pictures of a run, those of every run and those of its objective.

    The map, which takes longest, comes last.
    """
    latents = run.latents()
    run.save_latents(latents)
    found: dict[str, Callable[[], Pictures]] = {}
    if has_result(run.folder):
        found["learning curves"] = lambda: {"curves": plot_learning_curves(run)}
    found["predictions"] = partial(plot_outcomes, run)
    if with_images:
        found["decoded latents"] = partial(plot_decodings, run, latents)
    found["explained variance"] = partial(plot_explained, run)
    if with_images and run.config["flags"]["augment"]:
        found["augmented images"] = lambda: {"augmented": plot_augmented(run)}
    if (n_training := int((run.part == "training").sum())) >= MIN_IMAGES:
        faster = ", --map pca is faster" if how == "umap" else ""
        found[f"the map of pixels and latents (its kind is {how}{faster})"] = lambda: {
            "latent_map": plot_latent_map(run, latents, columns, how, n_mapped, with_images=with_images)
        }
    else:
        print(f"note: {n_training} training images are too few for a map, which needs {MIN_IMAGES}", file=sys.stderr)
    return found


def plot_learning_curves(run: Run) -> figures.Figure:
    """Plot the losses and the main metric with its baselines against the epoch."""
    result = read_result(run.folder)
    _, targets = Batches(run.task(), run.parts["validation"]).sample_in_memory()
    return figures.plot_curves(
        read_metrics(run.folder),
        metric=result["metric"],
        direction=result["direction"],
        baselines=result["baselines"],
        best_epoch=result["best_epoch"],
        least_loss=run.objective.least_loss(targets),
        is_augmented=bool(run.config["flags"]["augment"]),
    )


def plot_augmented(run: Run) -> figures.Figure:
    """Plot training images, each with four examples of its augmentation."""
    indices = evenly_spaced(np.flatnonzero(run.part == "training"), MAX_IMAGES)
    rows = {"image": run.images(indices).numpy()}
    rows |= {f"example {seed + 1}": run.augmented(indices, seed=seed).numpy() for seed in range(N_AUGMENTED)}
    return figures.plot_image_rows(rows, image_titles(run, indices))


def plot_explained(run: Run) -> Pictures:
    """Plot the share of variance that each latent explains, with a table of it; nothing where that is not defined."""
    encoder, held_out = run.model.encoder, run.held_out
    if encoder.explained_by(run.images(held_out[:1])) is None:
        return {}
    explained: Any = encoder.explained_by(run.images(held_out))  # (D,)
    shares = {"training": encoder.explained.numpy(), "held out": explained.numpy()}
    columns = shares | {f"{name} up to it": np.cumsum(share) for name, share in shares.items()}
    table: dict[str, list] = {"component": list(range(1, encoder.latent_dim + 1))}
    table |= {name: [f"{value:.6f}" for value in values] for name, values in columns.items()}
    return {"explained_variance.csv": table, "explained_variance": figures.plot_explained_variance(shares)}
