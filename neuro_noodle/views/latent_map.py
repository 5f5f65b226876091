"""The map of the latents of a run next to that of the pixels, coloured by metadata, with a number below each panel."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from neuro_noodle.data.columns import Columns
from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.runs.loaders import HELD_OUT
from neuro_noodle.runs.metadata import as_column
from neuro_noodle.runs.run import Run
from neuro_noodle.views import map_columns, maps
from neuro_noodle.views.embeddings import axis_name, embed
from neuro_noodle.views.neighbours import Neighbourhood

MAX_MAPPED = 2000  # images on a map, so that a UMAP takes seconds
MAX_VALUES = 2**27  # of all their pixels, half a gigabyte
MAX_PANELS = 6


def plot_latent_map(
    run: Run,
    latents: np.ndarray,
    columns: Sequence[str],
    how: str = "umap",
    n_mapped: int = MAX_MAPPED,
    *,
    with_images: bool = True,
) -> Figure:
    """Plot the map of the pixels above that of the latents (N, D), coloured by columns; with a panel of images."""
    n_images = len(run.dataset)
    n_mapped = min(n_images, n_mapped, MAX_VALUES // math.prod(run.dataset.image_shape))
    indices = evenly_spaced(np.arange(n_images), n_mapped)
    sample, part = run.dataset.sample(torch.as_tensor(indices)), run.part[indices]
    targets = {name: numbers.numpy() for name, numbers in run.objective.describe_targets(sample).items()}
    shown = choose_map_columns(run, indices, targets, columns) or ({} if with_images else {"part": part.tolist()})
    images, is_training, held_out = sample["image"].numpy(), part == "training", np.isin(part, HELD_OUT)
    subset = "" if n_mapped == n_images else f" of {n_mapped} of {n_images} images"
    values = {f"pixels{subset}": images.reshape(n_mapped, -1), f"latents{subset}": latents[indices]}
    return maps.plot_maps(
        {name: embed(one, is_training, how) for name, one in values.items()},
        columns=shown,
        held_out=held_out,
        images=images if with_images else None,
        categories=run.dataset.class_columns,
        axis_names={name: axis_name(one, how) for name, one in values.items()},
        notes={name: _describe_neighbours(run, one, shown, is_training, held_out) for name, one in values.items()},
    )


def choose_map_columns(run: Run, indices: np.ndarray, targets: Columns, names: Sequence[str]) -> dict[str, Sequence]:
    """Return the columns (n,) that colour the maps: those asked for, or up to six, what is predicted first.

    Args:
        run: the run.
        indices: (n,) of the images on the maps.
        targets: numbers (n,) that describe what is predicted, by name.
        names: the columns asked for.
    """
    dataset = run.dataset
    columns = {name: _of(values, indices) for name, values in dataset.columns.items()} | dict(targets)
    first = [*targets, dataset.label, dataset.group]
    if "label" not in run.objective.needs:
        first = [name for name in first if name != "folder"]
    return map_columns.choose_columns(columns, names, first=first, classes=dataset.class_columns, n_max=MAX_PANELS)


def _of(values: Sequence, indices: np.ndarray) -> Sequence:
    return values[indices] if isinstance(values, np.ndarray) else [values[i] for i in indices]


def _describe_neighbours(
    run: Run, values: np.ndarray, columns: Mapping[str, Sequence], is_training: np.ndarray, held_out: np.ndarray
) -> dict[str, str]:
    """Return the text below each panel of a map of values (n, D), by column."""
    found = Neighbourhood(values, is_training, held_out)
    classes = run.dataset.class_columns
    return {name: found.describe(name, as_column(name, column, classes)) for name, column in columns.items()}
