"""Figures: from arrays to pictures. Never reads a file.

Every function returns a matplotlib Figure, which saves itself (`figure.savefig`) and shows itself in a notebook
after `%matplotlib inline`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

MAX_CATEGORIES = 20
GREY = "0.75"


def curves(
    records: Sequence[Mapping], metric: str, direction: str, baselines: Mapping[str, float], best_epoch: int
) -> Figure:
    """Draw the losses, and the validation metric beside its baselines, against the epoch.

    Args:
        records: one per epoch, as in metrics.jsonl.
        metric, direction: name of the main metric, and whether its min or max is best.
        baselines: its value for each baseline, drawn as lines.
        best_epoch: marked by a ring.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    losses, metrics = figure.subplots(1, 2)
    for key, label in (("train/loss", "training"), ("validation/loss", "validation")):
        losses.plot(*_series(records, key), label=label)
    losses.set(xlabel="epoch", ylabel="loss")
    losses.legend(frameon=False)
    epochs, values = _series(records, f"validation/{metric}")
    metrics.plot(epochs, values, color="C1", label="validation")
    best = [value for epoch, value in zip(epochs, values, strict=True) if epoch == best_epoch + 1]
    metrics.plot([best_epoch + 1] * len(best), best, "o", mfc="none", color="C1", label="best")
    for i, (name, value) in enumerate(baselines.items()):
        metrics.axhline(value, ls="--", lw=1, color=f"C{i + 2}", label=f"baseline: {name.replace('_', ' ')}")
    metrics.set(xlabel="epoch", ylabel=metric)
    if direction == "min" and max([*values, *baselines.values()]) > 5 * min(values) > 0:
        metrics.set_yscale("log")
    metrics.legend(frameon=False)
    return _tidy(figure)


def image_rows(rows: Mapping[str, np.ndarray], titles: Sequence[str]) -> Figure:
    """Draw rows of images below each other: the originals, what the network makes of them, ...

    Args:
        rows: by name, (n, C, H, W) in [0, 1], all of the same n.
        titles: n texts, above the first row.
    """
    n = len(titles)
    height, width = next(iter(rows.values())).shape[2:]
    figure = Figure(figsize=(1.3 * n + 0.6, 1.3 * len(rows) * height / width + 0.4), layout="constrained")
    axes = figure.subplots(len(rows), n, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(_displayable(image), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(name)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title, fontsize=7)
    return figure


def confusion(counts: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix with its counts.

    Args:
        counts: (K, K); row the true class, column the predicted one.
    """
    figure = Figure(figsize=(1.6 + 0.8 * len(classes), 1.5 + 0.8 * len(classes)), layout="constrained")
    axis = figure.subplots()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        axis.text(column, row, count, ha="center", va="center", color="white" if share[row, column] > 0.5 else "black")
    ticks = range(len(classes))
    axis.set(xticks=ticks, yticks=ticks, xticklabels=classes, yticklabels=classes, xlabel="predicted", ylabel="true")
    axis.set_title(title, fontsize=9)
    return figure


def maps(
    embeddings: Mapping[str, np.ndarray],
    columns: Mapping[str, Sequence[str]],
    held_out: np.ndarray,
    images: np.ndarray | None = None,
    categories: Sequence[str] = (),
    axis_names: Mapping[str, str] | None = None,
) -> Figure:
    """Draw embeddings below each other, one panel per metadata column, held-out images ringed.

    Args:
        embeddings: by name, (N, 2).
        columns: by name, N texts or numbers; many numbers are coloured by value, all else by category.
        held_out: (N,) bool.
        images: (N, C, H, W) in [0, 1]; adds a panel with thumbnails.
        categories: columns that are categories even where they look like numbers.
        axis_names: of each embedding; UMAP for those not named.
    """
    shown = {name: np.array(column) for name, column in columns.items()}
    n_columns = len(shown) + (images is not None)
    figure = Figure(figsize=(4.2 * n_columns, 3.9 * len(embeddings)), layout="constrained")
    axes = figure.subplots(len(embeddings), n_columns, squeeze=False)
    for line, (title, embedding) in zip(axes, embeddings.items(), strict=True):
        for axis, (name, column) in zip(line, shown.items(), strict=False):
            _scatter(axis, embedding, column, held_out, by_value=name not in categories)
            axis.set_title(f"{title}: {name}")
        if images is not None:
            _thumbnails(line[-1], embedding, images)
            line[-1].set_title(f"{title}: images")
        for axis in line:
            name = (axis_names or {}).get(title, "UMAP")
            axis.set(xticks=[], yticks=[], xlabel=f"{name} 1", ylabel=f"{name} 2")
    return _tidy(figure)


def telling_columns(columns: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Return the columns that are worth a panel: numbers, and texts that repeat; each grouping once."""
    telling, seen = {}, []
    for name, column in columns.items():
        numbers = isinstance(column, np.ndarray)
        codes = np.unique(column, return_inverse=True)[1]
        first = {code: i for i, code in reversed(list(enumerate(codes)))}
        grouping = tuple(first[code] for code in codes)
        if len(first) > 1 and (numbers or len(first) <= len(column) / 2) and grouping not in seen:
            telling[name] = column
            seen.append(grouping)
    return telling


def _scatter(axis: Axes, embedding: np.ndarray, column: np.ndarray, held_out: np.ndarray, *, by_value: bool) -> None:
    numbers = _numbers(column) if by_value else None
    categories = np.unique(column)
    if numbers is not None and len(categories) > 8:
        points = axis.scatter(*embedding.T, c=numbers, s=14, cmap="viridis", linewidths=0)
        axis.figure.colorbar(points, ax=axis, shrink=0.8)
    else:
        palette = colormaps["tab10" if len(categories) <= 10 else "tab20"]
        colours = palette(np.unique(column, return_inverse=True)[1] % palette.N)
        order = np.random.default_rng(0).permutation(len(column))  # else the last category would hide the others
        axis.scatter(*embedding[order].T, color=colours[order], s=14, linewidths=0)
        if len(categories) <= MAX_CATEGORIES:
            handles = [Line2D([], [], ls="", marker="o", color=palette(i % palette.N)) for i in range(len(categories))]
            axis.legend(handles, categories, frameon=False, fontsize=7, markerscale=0.7, ncols=1 + len(categories) // 7)
    axis.scatter(*embedding[held_out].T, s=24, facecolors="none", edgecolors="black", linewidths=0.4)


def _thumbnails(axis: Axes, embedding: np.ndarray, images: np.ndarray, most: int = 60) -> None:
    """Place as many images as fit without covering each other."""
    axis.scatter(*embedding.T, s=4, color=GREY, linewidths=0)
    low, high = embedding.min(0), embedding.max(0)
    scaled = (embedding - low) / np.maximum(high - low, 1e-9)
    placed: list[int] = []
    for i in np.random.default_rng(0).permutation(len(images)):
        if len(placed) < most and all(np.abs(scaled[i] - scaled[j]).max() > 0.09 for j in placed):
            placed.append(i)
    for i in placed:
        zoom = 26 / max(images[i].shape[1:])
        box = OffsetImage(_displayable(images[i]), zoom=zoom, cmap="gray")
        axis.add_artist(AnnotationBbox(box, embedding[i], frameon=False))


def _series(records: Sequence[Mapping], key: str) -> tuple[list[int], list[float]]:
    found = [(record["epoch"] + 1, record[key]) for record in records if key in record]
    return [epoch for epoch, _ in found], [value for _, value in found]


def _numbers(column: np.ndarray) -> np.ndarray | None:
    try:
        return column.astype(float)
    except ValueError:
        return None


def _displayable(image: np.ndarray) -> np.ndarray:
    image = np.clip(np.asarray(image), 0, 1)
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)  # (H, W) or (H, W, 3)


def _tidy(figure: Figure) -> Figure:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure
