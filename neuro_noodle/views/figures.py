"""Figures: from arrays to pictures. Never reads a file.

Most functions return a matplotlib Figure, which saves itself (`figure.savefig`) and shows itself in a notebook
after `%matplotlib inline`; a film is a list of arrays.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter
from PIL import Image, ImageDraw, ImageFont

GREY = "0.75"
ARROWS = {"true": ("#E69F00", 0.036), "predicted": ("#56B4E9", 0.018)}  # colour, and width per image width
FILM_HEIGHT = 200  # px, at least


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
    low, high = (_series(records, f"validation/{metric}_{end}")[1] for end in ("p10", "p90"))
    metrics.plot(epochs, values, color="C1", label="validation" + (", median of repetitions" if low else ""))
    if low:
        metrics.fill_between(epochs, low, high, color="C1", alpha=0.25, lw=0, label="10th to 90th percentile")
    if not low:
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


def as_array(figure: Figure, dpi: int = 100) -> np.ndarray:
    """Return a figure as (H, W, 3) uint8."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def arrows(
    images: np.ndarray,
    true_deg: np.ndarray,
    predicted_deg: np.ndarray,
    centres: np.ndarray | None,
    titles: Sequence[str],
) -> Figure:
    """Draw on each of the first 25 images its true and its predicted direction.

    Args:
        images: (n, C, H, W) in [0, 1].
        true_deg, predicted_deg: (n,) clockwise on the screen from rightwards; NaN where unknown.
        centres: (n, 2) where the arrows start, x and y in px from the upper left corner; None for the middle.
        titles: n texts.
    """
    n, (height, width) = min(len(images), 25), images.shape[2:]
    n_columns = min(5, -(-n // int(n**0.5)))
    n_rows = -(-n // n_columns)
    size = (1.8 * n_columns, (1.8 * height / width + 0.25) * n_rows + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    starts = np.full((n, 2), (width / 2, height / 2)) if centres is None else centres[:n]
    turned = np.radians(np.stack([true_deg[:n], predicted_deg[:n]], 1))  # (n, 2)
    ways = min(height, width) / 3 * np.stack([np.cos(turned), np.sin(turned)], 2)  # (n, 2, x and y)
    tips = starts[:, None] + np.nan_to_num(ways)
    beyond = max(0, -tips.min(), (tips - (width, height)).max())  # px of the longest overhang
    axes = figure.subplots(n_rows, n_columns, squeeze=False).flat
    for i, axis in enumerate(axes):
        axis.set_axis_off()
        if i < n:
            axis.imshow(_displayable(images[i]), cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
            axis.set(xlim=(-beyond, width + beyond), ylim=(height + beyond, -beyond))
            axis.set_title(titles[i], fontsize=7)
            for way, (colour, thick) in zip(ways[i], ARROWS.values(), strict=True):
                _arrow(axis, starts[i], way, colour, thick)
    handles = [Line2D([], [], color=colour, lw=90 * thick) for colour, thick in ARROWS.values()]
    figure.legend(handles, ARROWS, loc="outside upper center", ncols=2, frameon=False)
    return figure


def predictions(predicted: Mapping[str, np.ndarray], true: Mapping[str, np.ndarray]) -> Figure:
    """Draw predicted against true numbers, a panel per column, with the share of variance explained.

    Args:
        predicted, true: by name of column, (n,); images without a true number are left out.
    """
    figure, axes = _panels(len(true), 3.2, 3.4)
    for axis, (name, values) in zip(axes, true.items(), strict=False):
        known = np.isfinite(values)
        x, y = np.asarray(values)[known], np.asarray(predicted[name])[known]
        axis.scatter(x, y, s=10, alpha=0.5, linewidths=0)
        spread = ((x - x.mean()) ** 2).sum() if len(x) else 0
        told = f"R² = {1 - ((y - x) ** 2).sum() / spread:.3f}" if spread else "R² is not defined"
        axis.axline((x[0], x[0]) if len(x) else (0, 0), slope=1, color="black", lw=0.8, ls="--")
        axis.set(xlabel="true", ylabel="predicted", aspect="equal", adjustable="datalim")
        axis.set_title(f"{name}: {told}, n = {len(x)}", fontsize=9)
    return _tidy(figure)


def film(rows: Mapping[str, np.ndarray], titles: Sequence[str]) -> list[np.ndarray]:
    """Return the frames of a film that shows several series of images beside each other, names above.

    Args:
        rows: by name, (T, C, H, W) in [0, 1], all of the same T, H and W.
        titles: T, one below each frame.

    Returns:
        T frames (H', W', 3) uint8; each image is enlarged by a whole factor, to at least 200 px of height.
    """
    height, width = next(iter(rows.values())).shape[2:]
    factor = -(-FILM_HEIGHT // height)
    font = ImageFont.load_default(size=16)
    wide = [font.getlength(name) for name in rows] + [font.getlength(title) / len(rows) for title in titles]
    cell = max(width * factor, int(max(wide)) + 8) + 8
    blank = Image.new("RGB", (cell * len(rows), height * factor + 56), "white")
    for i, name in enumerate(rows):
        ImageDraw.Draw(blank).text((i * cell + cell / 2, 14), name, fill="black", font=font, anchor="mm")
    frames = []
    for title in titles:
        titled = blank.copy()
        ImageDraw.Draw(titled).text((blank.width / 2, blank.height - 14), title, fill="black", font=font, anchor="mm")
        frames.append(np.array(titled))
    for i, images in enumerate(rows.values()):
        x = i * cell + (cell - width * factor) // 2
        for frame, image in zip(frames, images, strict=True):
            shown = np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8).transpose(1, 2, 0)  # (H, W, 1 or 3)
            frame[28:-28, x : x + width * factor] = shown.repeat(factor, 0).repeat(factor, 1)
    return frames


def explained_variance(shares: Mapping[str, np.ndarray]) -> Figure:
    """Draw the share of variance that principal components explain: bars for each, lines for all up to it.

    Args:
        shares: by name of part, (K,) of each component's own share, 0..1; bars are drawn for the first part.
    """
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axis = figure.subplots()
    name, own = next(iter(shares.items()))
    axis.bar(np.arange(1, len(own) + 1), own, color=GREY, label=f"each, {name}")
    for i, (name, own) in enumerate(shares.items()):
        total = np.cumsum(own)
        label = f"first K, {name}: {total[-1]:.1%} by {len(own)}"
        axis.plot(np.arange(1, len(own) + 1), total, "o-", ms=3, color=f"C{i}", label=label)
    axis.set(xlabel="principal component", ylabel="share of the variance", ylim=(0, 1), xlim=(0.4, None))
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside upper center", frameon=False, fontsize=8)
    return _tidy(figure)


def bands(series: Mapping[str, Mapping[int, Sequence[float]]], value: str) -> Figure:
    """Draw the median over repetitions against the epoch, with the 10th to the 90th percentile as a band.

    Args:
        series: by experiment, what every repetition has at each epoch.
        value: its name.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for i, (name, by_epoch) in enumerate(series.items()):
        low, median, high = (np.array([np.quantile(v, q) for v in by_epoch.values()]) for q in (0.1, 0.5, 0.9))
        n = len(next(iter(by_epoch.values())))
        axis.plot([*by_epoch], median, color=f"C{i}", label=f"{name}, n = {n}")
        axis.fill_between([*by_epoch], low, high, color=f"C{i}", alpha=0.25, lw=0)
    axis.set(xlabel="epoch", ylabel=value.replace("/", " "))
    axis.legend(frameon=False, title="median, 10th to 90th percentile", fontsize=8, title_fontsize=8)
    return _tidy(figure)


def neurons(r: np.ndarray, ceiling: np.ndarray | None, images: str) -> Figure:
    """Draw the correlation of each neuron (N,) beside its noise ceiling; sorted, where that is not known."""
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axis = figure.subplots()
    if ceiling is None:
        axis.plot(np.arange(1, len(r) + 1), np.sort(r)[::-1], ".")
        axis.set(xlabel="neuron, from the best", ylabel="r, predicted with recorded")
    else:
        axis.scatter(ceiling, r, s=14, alpha=0.6, linewidths=0)
        axis.axline((0, 0), slope=1, color="black", lw=0.8, ls="--")
        axis.set(xlabel="noise ceiling", ylabel="r, predicted with mean recorded", xlim=(-0.02, 1), ylim=(None, 1))
    told = "" if ceiling is None else f", ceiling {np.nanmean(ceiling):.3f}"
    axis.set_title(f"{len(r)} neurons, {images}:\nmean r {np.nanmean(r):.3f}{told}", fontsize=9)
    return _tidy(figure)


def responses(predicted: np.ndarray, recorded: np.ndarray, titles: Sequence[str], title: str) -> Figure:
    """Draw predicted beside recorded responses (n, N), a panel for each neuron, by the predicted one."""
    figure, axes = _panels(len(titles), 2.2, 1.8)
    for axis, made, known, name in zip(axes, predicted.T, recorded.T, titles, strict=False):
        order = np.argsort(made)
        axis.plot(known[order], ".", ms=3, color=GREY, label="recorded")
        axis.plot(made[order], color="C1", label="predicted")
        axis.set_title(name, fontsize=8)
    axes[0].set(xlabel="image, by predicted", ylabel="response")
    axes[0].legend(frameon=False, fontsize=6)
    figure.suptitle(title, fontsize=9)
    return _tidy(figure)


def fields(rows: Mapping[str, np.ndarray], titles: Sequence[str], title: str) -> Figure:
    """Draw filters or receptive fields (N, H, W), red where light excites, rows by name; each column has its scale."""
    n = len(titles)
    most = np.max([np.abs(images).max((1, 2)) for images in rows.values()], 0)  # (N,)
    figure = Figure(figsize=(1.1 * n + 0.5, 1.1 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots(len(rows), n, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image, limit in zip(line, images, most, strict=True):
            axis.imshow(image, cmap="RdBu_r", vmin=-limit or -1, vmax=limit or 1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=8)
    for axis, name in zip(axes[0], titles, strict=True):
        axis.set_title(name, fontsize=7)
    figure.suptitle(title, fontsize=9)
    return figure


def _arrow(axis: Axes, start: np.ndarray, way: np.ndarray, colour: str, thick: float) -> None:
    if np.isfinite(way).all():
        scale = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "width", "width": thick}
        axis.quiver(*start, *way, color=colour, edgecolor="black", linewidth=0.5, headwidth=3.2, **scale)


def _series(records: Sequence[Mapping], key: str) -> tuple[list[int], list[float]]:
    found = [(record["epoch"] + 1, record[key]) for record in records if key in record]
    return [epoch for epoch, _ in found], [value for _, value in found]


def _displayable(image: np.ndarray) -> np.ndarray:
    image = np.clip(np.asarray(image), 0, 1)
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)  # (H, W) or (H, W, 3)


def _panels(n: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of n panels of this size in inches, four in a row, and its axes; those beyond n are off."""
    n_columns = min(4, n)
    n_rows = -(-n // n_columns)
    figure = Figure(figsize=(width * n_columns, height * n_rows), layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axis in axes[n:]:
        axis.set_axis_off()
    return figure, axes


def _tidy(figure: Figure) -> Figure:
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure
