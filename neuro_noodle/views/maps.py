"""Maps: embeddings of images on a plane, coloured by metadata."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from neuro_noodle.measures import circular
from neuro_noodle.views.figures import GREY, _displayable, _tidy

MAX_CATEGORIES = 20


# A colour of its own for each quarter of a turn, as CET-C2 has (Kovesi 2015, arXiv:1509.03700); none is near white.
CYCLE = LinearSegmentedColormap.from_list("cycle", ["#E650E6", "#F2B51D", "#35A22F", "#2B2BE0", "#E650E6"])


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
            colours = _colours(name, column, by_value=name not in categories)
            _scatter(axis, embedding, column, held_out, colours)
            _key(axis, colours)
            axis.set_title(f"{title}: {name}")
        if images is not None:
            _thumbnails(line[-1], embedding, images)
            line[-1].set_title(f"{title}: images")
        for axis in line:
            name = (axis_names or {}).get(title, "UMAP")
            axis.set(xticks=[], yticks=[], xlabel=f"{name} 1", ylabel=f"{name} 2")
    return _tidy(figure)


def snapshots(
    placed: Mapping[str, np.ndarray],
    columns: Mapping[str, Sequence],
    held_out: np.ndarray,
    called: Mapping[int, np.ndarray],
    limits: np.ndarray,
    categories: Sequence[str] = (),
    axis_name: str = "UMAP",
) -> Figure:
    """Draw maps of the same images at several times beside each other, a row per column; of one map a single row.

    Args:
        placed: by title, (N, 2).
        columns: by name, N texts or numbers, coloured as in `maps`.
        held_out: (N,) bool; they are ringed.
        called: by index, images (C, H, W) in [0, 1], shown above each map with a line to their place on it.
        limits: (2, 2) lowest and highest x and y of all maps.
        categories: columns that are categories even where they look like numbers.
        axis_name: of both axes.
    """
    alone = len(placed) == 1
    shape = (1, len(columns)) if alone else (len(columns), len(placed))
    side = 3.6 if alone else 2.3
    size = (side * shape[1] + 0.9 * (shape[1] if alone else 1), 1.2 * side * shape[0])
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(*shape, squeeze=False)
    lines = list(axes.T if alone else axes)
    for line, (name, column) in zip(lines, columns.items(), strict=True):
        colours = _colours(name, np.array(column), by_value=name not in categories)
        for axis, embedding in zip(line, placed.values(), strict=True):
            _scatter(axis, embedding, np.array(column), held_out, colours, size=9 if alone else 6)
            _call_out(axis, embedding, called, limits, 44 if alone else 30)
            axis.set(xticks=[], yticks=[], xlabel=f"{axis_name} 1" if alone or line is lines[-1] else "")
        _key(line[-1], colours, name)
        line[0].set_ylabel(f"{axis_name} 2")
    for axis, title in zip(axes[0], [*placed] * (len(columns) if alone else 1), strict=True):
        axis.set_title(title, fontsize=10)
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


def _colours(name: str, column: np.ndarray, *, by_value: bool) -> ScalarMappable | dict:
    """Return what turns the values of a column into colours: a scale for many numbers, else a colour per category."""
    numbers, categories = _numbers(column) if by_value else None, np.unique(column)
    if numbers is None or len(categories) <= 8:
        palette = colormaps["tab10" if len(categories) <= 10 else "tab20"]
        return {category: palette(i % palette.N) for i, category in enumerate(categories)}
    turn = circular.period(name, numbers)
    limits = Normalize(0, turn) if turn else Normalize(np.nanmin(numbers), np.nanmax(numbers))
    return ScalarMappable(limits, (CYCLE if turn else colormaps["viridis"]).with_extremes(bad=GREY))


def _scatter(
    axis: Axes,
    embedding: np.ndarray,
    column: np.ndarray,
    held_out: np.ndarray,
    colours: ScalarMappable | dict,
    size: float = 14,
) -> None:
    """Draw a point per image, unknown numbers in grey; held-out images ringed."""
    if isinstance(colours, dict):
        order = np.random.default_rng(0).permutation(len(column))  # else the last category would hide the others
        drawn = [colours[category] for category in column[order]]
        axis.scatter(*embedding[order].T, color=drawn, s=size, linewidths=0)
    else:
        numbers = _numbers(column) % colours.norm.vmax if colours.cmap.name == CYCLE.name else _numbers(column)
        scale = {"cmap": colours.cmap, "norm": colours.norm, "plotnonfinite": True}
        axis.scatter(*embedding.T, c=numbers, s=size, linewidths=0, **scale)
    held = embedding[held_out]
    axis.scatter(*held.T, s=1.7 * size, facecolors="none", edgecolors="black", linewidths=0.03 * size)


def _key(axis: Axes, colours: ScalarMappable | dict, name: str = "") -> None:
    """Tell which colour means what: beside a panel, under the name; without one, categories in the panel."""
    if not isinstance(colours, dict):
        bar, turn = axis.figure.colorbar(colours, ax=axis, shrink=0.8), colours.norm.vmax
        bar.set_label(name)
        if colours.cmap.name == CYCLE.name:
            labels = ("0°", "90°", "180°", "270°", "360°") if turn == 360 else ("0", "π/2", "π", "3π/2", "2π")
            bar.set_ticks(np.linspace(0, turn, 5), labels=labels)
    elif len(colours) <= MAX_CATEGORIES:
        handles = [Line2D([], [], ls="", marker="o", color=colour) for colour in colours.values()]
        place = {"loc": "upper left", "bbox_to_anchor": (1, 1), "title": name} if name else {}
        n_columns = 1 + len(colours) // (14 if name else 7)
        axis.legend(handles, colours, frameon=False, fontsize=7, markerscale=0.7, ncols=n_columns, **place)


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


def _call_out(
    axis: Axes, embedding: np.ndarray, called: Mapping[int, np.ndarray], limits: np.ndarray, points: float
) -> None:
    """Show some images in a strip above the map, each with a line to its place."""
    low, high = limits
    span = np.maximum(high - low, 1e-9)
    axis.set(xlim=(low[0] - 0.04 * span[0], high[0] + 0.04 * span[0]))
    axis.set(ylim=(low[1] - 0.04 * span[1], high[1] + (0.36 if called else 0.04) * span[1]))
    for position, (i, image) in enumerate(called.items()):
        box = OffsetImage(_displayable(image), zoom=points / max(image.shape[1:]), cmap="gray", norm=Normalize(0, 1))
        place = {"xybox": ((position + 0.5) / len(called), 0.98), "boxcoords": "axes fraction"}
        look = {"box_alignment": (0.5, 1), "pad": 0.1, "bboxprops": {"linewidth": 0.8}}
        line = {"arrowstyle": "-", "linewidth": 0.9, "shrinkB": 0}
        axis.add_artist(AnnotationBbox(box, embedding[i], **place, **look, arrowprops=line))
        axis.plot(*embedding[i], "o", ms=5, mfc="white", mec="black", mew=1.2)


def _numbers(column: np.ndarray) -> np.ndarray | None:
    try:
        return (np.where(column == "", "nan", column) if column.dtype.kind == "U" else column).astype(float)
    except ValueError:
        return None
