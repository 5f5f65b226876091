"""Maps: two-dimensional embeddings of images, coloured by metadata."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize, to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.patheffects import withStroke

from neuro_noodle.choices import UserError
from neuro_noodle.data.columns import as_numbers, as_texts
from neuro_noodle.measures import circular
from neuro_noodle.views.figures import GREY, displayable, tidy
from neuro_noodle.views.texts import literal

MAX_CATEGORIES = 20  # in a legend; of more, the most frequent ones have their names on the map
MIN_NAMED = 3  # images of a category that is named on a map; fewer may be far from each other
MAX_NAMES = 40

SCALED = "; latents of all times are scaled to the same spread"
NEIGHBOURS = "; nearest: by distance in all pixels or latents, not on the map"
N_COLOURS = 256  # of numbers and angles on a page
MAX_NUMBERS = 8  # different numbers of a column that are coloured by category

# distinguishable with every kind of colour vision (Okabe & Ito 2008; the last two from Paul Tol's muted scheme)
PALETTE = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442", "#000000"),
    *("#882255", "#999933"),
)
MARKERS = ("o", "^", "s", "D")  # for more categories than colours

# Each quarter of a turn has its own colour, as in CET-C2 (Kovesi 2015, arXiv:1509.03700); none is close to white.
TICKS = {  # by period, of quarters of it
    360: ("0°", "90°", "180°", "270°", "360°"),
    180: ("0°", "45°", "90°", "135°", "180°"),
    2 * np.pi: ("0", "π/2", "π", "3π/2", "2π"),
    np.pi: ("0", "π/4", "π/2", "3π/4", "π"),
}
CYCLE = LinearSegmentedColormap.from_list("cycle", ["#E650E6", "#F2B51D", "#35A22F", "#2B2BE0", "#E650E6"])


def plot_maps(
    embeddings: Mapping[str, np.ndarray],
    columns: Mapping[str, Sequence[str]],
    held_out: np.ndarray,
    images: np.ndarray | None = None,
    categories: Sequence[str] = (),
    axis_names: Mapping[str, str] | None = None,
    notes: Mapping[str, Mapping[str, str]] | None = None,
) -> Figure:
    """Plot one row of maps per embedding and one panel per metadata column; rings mark held-out images.

    Args:
        embeddings: by name, (N, 2).
        columns: by name, N texts or numbers; columns of many different numbers are coloured by value, all others by
            category.
        held_out: (N,) bool.
        images: (N, C, H, W) in [0, 1]; adds a panel with thumbnails.
        categories: columns that are always coloured by category, even if they hold numbers.
        axis_names: by embedding, name of its axes; UMAP by default.
        notes: by embedding and column, texts below the panels.
    """
    shown = {name: np.array(column) for name, column in columns.items()}
    n_columns = len(shown) + (images is not None)
    figure = Figure(figsize=(4.2 * n_columns, 3.9 * len(embeddings)), layout="constrained")
    axes = figure.subplots(len(embeddings), n_columns, squeeze=False)
    for line, (title, embedding) in zip(axes, embeddings.items(), strict=True):
        for axis, (name, column) in zip(line, shown.items(), strict=False):
            colours = _colours(name, column, by_value=name not in categories)
            _scatter(axis, embedding, column, held_out, colours)
            _add_legend(axis, colours)
            _add_names(axis, embedding, column, colours)
            axis.set_title(literal(f"{title}: {name}"))
        if images is not None:
            _add_thumbnails(line[-1], embedding, images)
            line[-1].set_title(f"{title}: images")
        below = (notes or {}).get(title, {})
        _name_axes(line, (axis_names or {}).get(title, "UMAP"), [below.get(name, "") for name in shown])
    _explain_rings(figure, NEIGHBOURS if notes and shown else "")
    return tidy(figure)


def plot_snapshots(
    embeddings: Mapping[str, np.ndarray],
    columns: Mapping[str, Sequence],
    held_out: np.ndarray,
    thumbnails: Mapping[int, np.ndarray],
    limits: np.ndarray,
    categories: Sequence[str] = (),
    axis_name: str = "UMAP",
) -> Figure:
    """Plot maps of the same images at several times side by side, one row per column; a single map has one row.

    Args:
        embeddings: by title, (N, 2).
        columns: by name, N texts or numbers, coloured as in `plot_maps`.
        held_out: (N,) bool; marked by rings.
        thumbnails: by index of the image, (C, H, W) in [0, 1]; shown above each map with a line to its point.
        limits: (2, 2) lowest and highest x and y of all maps.
        categories: columns that are always coloured by category, even if they hold numbers.
        axis_name: name of both axes.
    """
    alone = len(embeddings) == 1
    shape = (1, len(columns)) if alone else (len(columns), len(embeddings))
    side = 3.6 if alone else 2.3
    size = (side * shape[1] + 0.9 * (shape[1] if alone else 1), 1.2 * side * shape[0])
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(*shape, squeeze=False)
    lines = list(axes.T if alone else axes)
    for line, (name, column) in zip(lines, columns.items(), strict=True):
        colours = _colours(name, np.array(column), by_value=name not in categories)
        for axis, embedding in zip(line, embeddings.values(), strict=True):
            _scatter(axis, embedding, np.array(column), held_out, colours, size=9 if alone else 6)
            _add_names(axis, embedding, np.array(column), colours)
            _add_callouts(axis, embedding, thumbnails, limits, 44 if alone else 30)
            axis.set(xticks=[], yticks=[], xlabel=f"{axis_name} 1" if alone or line is lines[-1] else "")
        _add_legend(line[-1], colours, name)
        line[0].set_ylabel(f"{axis_name} 2")
    for axis, title in zip(axes[0], [*embeddings] * (len(columns) if alone else 1), strict=True):
        axis.set_title(literal(title), fontsize=10)
    _explain_rings(figure, SCALED)
    return tidy(figure)


# ------------------------------------------------------------------------------------------------ parts of a map


def _colours(name: str, column: np.ndarray, *, by_value: bool) -> ScalarMappable | dict:
    """Return the colours of a column: a colour scale for many different numbers, else one colour per category."""
    numbers, categories = _numbers(column) if by_value else None, as_texts(np.unique(column))
    if numbers is None or len(categories) <= MAX_NUMBERS:
        return {
            category: Look(PALETTE[i % len(PALETTE)], MARKERS[i // len(PALETTE) % len(MARKERS)])
            for i, category in enumerate(categories)
        }
    turn = circular.period(name, numbers)
    limits = Normalize(0, turn) if turn else Normalize(np.nanmin(numbers), np.nanmax(numbers))
    return ScalarMappable(limits, (CYCLE if turn else colormaps["viridis"]).with_extremes(bad=GREY))


@dataclass(frozen=True)
class Look:
    """Colour and marker of a category."""

    colour: str
    marker: str


def _scatter(
    axis: Axes,
    embedding: np.ndarray,
    column: np.ndarray,
    held_out: np.ndarray,
    colours: ScalarMappable | dict,
    size: float = 14,
) -> None:
    """Add one point per image, grey if its number is unknown; rings mark held-out images."""
    if isinstance(colours, dict):
        order = np.random.default_rng(0).permutation(len(column))  # otherwise the last category hides the others
        looks = [colours[category] for category in np.array(as_texts(column))[order]]
        for marker in dict.fromkeys(look.marker for look in looks):
            shown = np.array([look.marker == marker for look in looks])
            shades = [look.colour for look in looks if look.marker == marker]
            axis.scatter(*embedding[order][shown].T, color=shades, s=size, linewidths=0, marker=marker)
    else:
        numbers = _numbers(column) % colours.norm.vmax if colours.cmap.name == CYCLE.name else _numbers(column)
        scale = {"cmap": colours.cmap, "norm": colours.norm, "plotnonfinite": True}
        axis.scatter(*embedding.T, c=numbers, s=size, linewidths=0, **scale)
    axis.scatter(*embedding[held_out].T, s=1.7 * size, facecolors="none", edgecolors="black", linewidths=0.03 * size)


def _name_axes(line: Sequence[Axes], name: str, notes: Sequence[str]) -> None:
    """Name the axes of a row of maps, with notes below the first ones."""
    for axis, note in zip(line, [*notes, ""], strict=False):
        axis.set(xticks=[], yticks=[], ylabel=f"{name} 2")
        axis.set_xlabel(f"{name} 1\n{note}".strip(), fontsize=8)


def _explain_rings(figure: Figure, more: str) -> None:
    """Add a legend below all panels that says what rings are, and more."""
    ring = Line2D([], [], ls="", marker="o", mfc="none", mec="black")
    label = f"held-out image, not used for training{more}"
    figure.legend([ring], [label], loc="outside lower center", frameon=False, fontsize=8)


def _add_legend(axis: Axes, colours: ScalarMappable | dict, name: str = "") -> None:
    """Add a colour bar or a legend of categories on the right of a panel, under a name if one is given."""
    if not isinstance(colours, dict):
        bar, turn = axis.figure.colorbar(colours, ax=axis, shrink=0.8), colours.norm.vmax
        bar.set_label(literal(name))
        if colours.cmap.name == CYCLE.name:
            bar.set_ticks(
                np.linspace(0, turn, 5), labels=TICKS.get(turn, [f"{turn * quarter / 4:g}" for quarter in range(5)])
            )
    elif len(colours) <= MAX_CATEGORIES:
        handles = [Line2D([], [], ls="", marker=look.marker, color=look.colour) for look in colours.values()]
        axis.legend(
            handles,
            [*map(literal, colours)],
            title=literal(name),
            loc="upper left",
            bbox_to_anchor=(1, 1),
            frameon=False,
            fontsize=7,
            markerscale=0.7,
            ncols=1 + len(colours) // 14,
        )


def _add_names(axis: Axes, embedding: np.ndarray, column: np.ndarray, colours: ScalarMappable | dict) -> None:
    """Write the names of the most frequent categories where their images are, if they are too many for a legend."""
    if not isinstance(colours, dict) or len(colours) <= MAX_CATEGORIES:
        return
    names = np.array(as_texts(column))
    for name, n in Counter(names.tolist()).most_common(MAX_NAMES):
        if n < MIN_NAMED:
            break
        x, y = np.median(embedding[names == name], 0)
        outline = [withStroke(linewidth=1.5, foreground="white")]
        axis.annotate(literal(name), (x, y), fontsize=6, ha="center", va="center", path_effects=outline)


def _add_thumbnails(axis: Axes, embedding: np.ndarray, images: np.ndarray, n_max: int = 60) -> None:
    """Show as many images on a map as fit without overlap."""
    axis.scatter(*embedding.T, s=4, color=GREY, linewidths=0)
    low, high = embedding.min(0), embedding.max(0)
    scaled = (embedding - low) / np.maximum(high - low, 1e-9)
    placed: list[int] = []
    for i in np.random.default_rng(0).permutation(len(images)):
        if len(placed) < n_max and all(np.abs(scaled[i] - scaled[j]).max() > 0.09 for j in placed):
            placed.append(i)
    for i in placed:
        zoom = 26 / max(images[i].shape[1:])
        box = OffsetImage(displayable(images[i]), zoom=zoom, cmap="gray")
        axis.add_artist(AnnotationBbox(box, embedding[i], frameon=False))


def _add_callouts(
    axis: Axes, embedding: np.ndarray, thumbnails: Mapping[int, np.ndarray], limits: np.ndarray, size_pt: float
) -> None:
    """Show some images in a strip above the map, each with a line to its point."""
    low, high = limits
    span = np.maximum(high - low, 1e-9)
    axis.set(xlim=(low[0] - 0.04 * span[0], high[0] + 0.04 * span[0]))
    axis.set(ylim=(low[1] - 0.04 * span[1], high[1] + (0.36 if thumbnails else 0.04) * span[1]))
    for position, (i, image) in enumerate(thumbnails.items()):
        box = OffsetImage(displayable(image), zoom=size_pt / max(image.shape[1:]), cmap="gray", norm=Normalize(0, 1))
        place = {"xybox": ((position + 0.5) / len(thumbnails), 0.98), "boxcoords": "axes fraction"}
        look = {"box_alignment": (0.5, 1), "pad": 0.1, "bboxprops": {"linewidth": 0.8}}
        line = {"arrowstyle": "-", "linewidth": 0.9, "shrinkB": 0}
        axis.add_artist(AnnotationBbox(box, embedding[i], **place, **look, arrowprops=line))
        axis.plot(*embedding[i], "o", ms=5, mfc="white", mec="black", mew=1.2)


def _numbers(column: np.ndarray) -> np.ndarray | None:
    """Return a column as numbers, NaN where it is empty; None if it holds other texts."""
    try:
        return as_numbers(column.tolist() if column.dtype.kind == "U" else column, "")
    except UserError:
        return None


def palettes() -> dict[str, list[str]]:
    """Return the colours of classes, numbers and angles on a page; more classes than colours get lighter ones."""
    own = ["#8c8c8c" if colour == "#000000" else colour for colour in PALETTE]  # black is unseen on a dark page
    lighter = [to_hex(0.5 + 0.5 * np.array(to_rgb(colour))) for colour in own]
    steps = np.linspace(0, 1, N_COLOURS)
    return {
        "class": own + lighter,
        "number": [to_hex(colour) for colour in colormaps["viridis"](steps)],
        "angle": [to_hex(colour) for colour in CYCLE(steps)],
    }
