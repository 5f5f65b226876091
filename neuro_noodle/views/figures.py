"""Figures: functions from arrays to matplotlib Figures. They never read a file.

A Figure is saved by `figure.savefig`, and shown in a notebook after `%matplotlib inline`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from neuro_noodle.measures.scores import r_squared
from neuro_noodle.plain import counted
from neuro_noodle.tracking.base import Spread
from neuro_noodle.views.texts import literal

GREY = "0.75"
ARROWS = {"true": ("#E69F00", 0.036), "predicted": ("#56B4E9", 0.018)}  # colour, width as a share of the image width


def plot_curves(
    records: Sequence[Mapping],
    metric: str,
    direction: str,
    baselines: Mapping[str, float | None],
    best_epoch: int,
    least_loss: float = 0.0,
    *,
    is_augmented: bool = False,
) -> Figure:
    """Plot the losses, and the validation metric with its baselines, against the epoch.

    Args:
        records: one per epoch, as in metrics.jsonl.
        metric: name of the main metric.
        direction: "min" if the lowest value of the metric is best, "max" if the highest.
        baselines: value of the metric by baseline, shown as dashed lines; None if undefined.
        best_epoch: index of the best epoch (from 0), marked by a ring.
        least_loss: that no validation loss can fall below, shown as a line unless it is 0.
        is_augmented: whether the training images are changed at random.
    """
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    losses, metrics = figure.subplots(1, 2)
    _plot_losses(losses, records, least_loss, "training (augmented)" if is_augmented else "training")
    epochs, values = _series(records, f"validation/{metric}")
    low, high = (_series(records, f"validation/{metric}_{end}")[1] for end in ("p10", "p90"))
    metrics.plot(epochs, values, color="C1", label="validation" + (", median of repetitions" if low else ""))
    if low:
        metrics.fill_between(epochs, low, high, color="C1", alpha=0.25, lw=0, label="10th to 90th percentile")
    if not low:
        best = [value for epoch, value in zip(epochs, values, strict=True) if epoch == best_epoch + 1]
        metrics.plot([best_epoch + 1] * len(best), best, "o", mfc="none", color="C1", label="best")
    known = {name: value for name, value in baselines.items() if value is not None}
    for i, (name, value) in enumerate(known.items()):
        metrics.axhline(value, ls="--", lw=1, color=f"C{i + 2}", label=f"baseline: {name.replace('_', ' ')}")
    metrics.set(xlabel="epoch", ylabel=metric)
    if direction == "min" and values and max([*values, *known.values()]) > 5 * min(values) > 0:
        metrics.set_yscale("log")
    metrics.legend(frameon=False)
    return tidy(figure)


def plot_image_rows(
    rows: Mapping[str, np.ndarray], titles: Sequence[str], captions: Mapping[str, Sequence[str]] | None = None
) -> Figure:
    """Plot rows of images: the originals, their reconstructions, ...

    Args:
        rows: by name, (n, C, H, W) in [0, 1], all of the same n.
        titles: n titles above the first row.
        captions: n titles above each image of other rows, by name of the row.
    """
    n, captions = len(titles), {next(iter(rows)): titles} | dict(captions or {})
    height, width = next(iter(rows.values())).shape[2:]
    size = (1.3 * n + 0.6, 1.3 * len(rows) * height / width + 0.2 + 0.2 * len(captions))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(rows), n, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(line, images, strict=True):
            axis.imshow(displayable(image), cmap="gray", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(name)
        for axis, title in zip(line, captions.get(name, ()), strict=False):
            axis.set_title(literal(title), fontsize=7)
    return figure


def plot_confusion(counts: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Plot a confusion matrix with its counts.

    Args:
        counts: (K, K); rows are true classes, columns predicted ones.
        classes: K names.
        title: title of the figure.
    """
    figure = Figure(figsize=(1.6 + 0.8 * len(classes), 1.5 + 0.8 * len(classes)), layout="constrained")
    axis = figure.subplots()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        axis.text(column, row, count, ha="center", va="center", color="white" if share[row, column] > 0.5 else "black")
    ticks, names = range(len(classes)), [*map(literal, classes)]
    axis.set(xticks=ticks, yticks=ticks, xticklabels=names, yticklabels=names, xlabel="predicted", ylabel="true")
    axis.set_title(title, fontsize=9)
    return figure


def plot_arrows(
    images: np.ndarray,
    true_deg: np.ndarray,
    predicted_deg: np.ndarray,
    centres: np.ndarray | None,
    titles: Sequence[str],
    *,
    are_axes: bool = False,
) -> Figure:
    """Plot up to 25 images with an arrow for the true and one for the predicted direction.

    Args:
        images: (n, C, H, W) in [0, 1].
        true_deg, predicted_deg: (n,) directions: 0 is right, positive is clockwise on the screen; NaN where unknown.
        centres: (n, 2) start of the arrows, x and y in px from the upper left corner; None for the image centre.
        titles: n titles.
        are_axes: draw lines in both directions, without heads.
    """
    n, (height, width) = min(len(images), 25), images.shape[2:]
    n_columns = min(5, -(-n // int(n**0.5)))
    n_rows = -(-n // n_columns)
    size = (1.8 * n_columns, (1.8 * height / width + 0.25) * n_rows + 0.3)
    figure = Figure(figsize=size, layout="constrained")
    starts = np.full((n, 2), (width / 2, height / 2)) if centres is None else centres[:n]
    angles_rad = np.radians(np.stack([true_deg[:n], predicted_deg[:n]], 1))  # (n, 2)
    vectors = min(height, width) / 3 * np.stack([np.cos(angles_rad), np.sin(angles_rad)], 2)  # (n, 2, x and y)
    tips = starts[:, None] + np.nan_to_num(vectors)
    margin = max(0, -tips.min(), (tips - (width, height)).max())  # px, so that no arrow is cut off
    axes = figure.subplots(n_rows, n_columns, squeeze=False).flat
    for i, axis in enumerate(axes):
        axis.set_axis_off()
        if i < n:
            axis.imshow(displayable(images[i]), cmap="gray", vmin=0, vmax=1, extent=(0, width, height, 0))
            axis.set(xlim=(-margin, width + margin), ylim=(height + margin, -margin))
            axis.set_title(literal(titles[i]), fontsize=7)
            for vector, (colour, width_share) in zip(vectors[i], ARROWS.values(), strict=True):
                _arrow(axis, starts[i], vector, colour, width_share, is_axis=are_axes)
    handles = [Line2D([], [], color=colour, lw=90 * width_share) for colour, width_share in ARROWS.values()]
    figure.legend(handles, ARROWS, loc="outside upper center", ncols=2, frameon=False)
    return figure


def plot_predictions(predicted: Mapping[str, np.ndarray], true: Mapping[str, np.ndarray]) -> Figure:
    """Plot predicted against true numbers, one panel per column, with R².

    Args:
        predicted: by name of column, (n,).
        true: by name of column, (n,); images with NaN are dropped.
    """
    figure, axes = _panels(len(true), 3.2, 3.4)
    for axis, (name, values) in zip(axes, true.items(), strict=False):
        is_known = np.isfinite(values)
        x, y = np.asarray(values)[is_known], np.asarray(predicted[name])[is_known]
        axis.scatter(x, y, s=10, alpha=0.5, linewidths=0)
        score = r_squared(y[:, None], x[:, None])[0]
        r2 = f"R² = {score:.3f}" if np.isfinite(score) else "R² is not defined"
        axis.axline((x[0], x[0]) if len(x) else (0, 0), slope=1, color="black", lw=0.8, ls="--")
        axis.set(xlabel="true", ylabel="predicted", aspect="equal", adjustable="datalim")
        axis.set_title(literal(f"{name}: {r2}, n = {len(x)}"), fontsize=9)
    return tidy(figure)


def plot_paths(stretches: Sequence[tuple[np.ndarray, np.ndarray]], names: Sequence[str]) -> Figure:
    """Plot true and predicted places as paths in the plane.

    Args:
        stretches: true and predicted places, (n, 2) each, of images that follow each other.
        names: of the two axes.
    """
    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axis = figure.subplots()
    for i, (true, predicted) in enumerate(stretches):
        axis.plot(*true.T, ".-", color="0.6", ms=3, lw=1, label=None if i else "true")
        axis.plot(*predicted.T, ".-", color="C1", ms=3, lw=0.8, alpha=0.8, label=None if i else "predicted")
    axis.set(xlabel=literal(names[0]), ylabel=literal(names[1]), aspect="equal")
    axis.set_title(f"held-out images, {counted(len(stretches), 'block')} of frames", fontsize=9)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=2)
    return tidy(figure)


def plot_explained_variance(shares: Mapping[str, np.ndarray]) -> Figure:
    """Plot the variance explained by principal components: bars for each component, lines for the cumulative sum.

    Args:
        shares: by name of part, (K,) share of the variance explained by each component, 0..1; only the first part
            has bars.
    """
    figure = Figure(figsize=(5.2, 3.6), layout="constrained")
    axis = figure.subplots()
    name, own = next(iter(shares.items()))
    axis.bar(np.arange(1, len(own) + 1), own, color=GREY, label=f"each component, {name}")
    for i, (name, own) in enumerate(shares.items()):
        total = np.cumsum(own)
        label = f"cumulative, {name}: {total[-1]:.1%} with {len(own)}"
        axis.plot(np.arange(1, len(own) + 1), total, "o-", ms=3, color=f"C{i}", label=label)
    axis.set(xlabel="principal component", ylabel="share of variance explained", ylim=(0, 1), xlim=(0.4, None))
    axis.xaxis.get_major_locator().set_params(integer=True)
    axis.yaxis.set_major_formatter(PercentFormatter(1))
    figure.legend(loc="outside upper center", frameon=False, fontsize=8)
    return tidy(figure)


def plot_bands(series: Mapping[str, Mapping[int, np.ndarray]], value: str) -> Figure:
    """Plot the median over repetitions against the epoch, with a band from the 10th to the 90th percentile.

    Args:
        series: by experiment and epoch, the value of each repetition, (R,).
        value: name of the value, for example validation/loss.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axis = figure.subplots()
    for i, (name, by_epoch) in enumerate(series.items()):
        spreads = [Spread.of(values) for values in by_epoch.values()]
        n = len(next(iter(by_epoch.values())))
        low, high = [spread.p10 for spread in spreads], [spread.p90 for spread in spreads]
        axis.plot([*by_epoch], [spread.median for spread in spreads], color=f"C{i}", label=literal(f"{name}, n = {n}"))
        axis.fill_between([*by_epoch], low, high, color=f"C{i}", alpha=0.25, lw=0)
    axis.set(xlabel="epoch", ylabel=literal(value.replace("/", " ")))
    title = "median, 10th to 90th percentile"
    figure.legend(loc="outside lower center", frameon=False, title=title, fontsize=8, title_fontsize=8)
    return tidy(figure)


def plot_neurons(r: np.ndarray, ceiling: np.ndarray | None, mean_ceiling: float | None, images: str) -> Figure:
    """Plot the correlation of each neuron against its noise ceiling; sorted by correlation if there is no ceiling.

    Args:
        r: (N,) correlation of predicted and recorded responses.
        ceiling: (N,) noise ceilings, or None.
        mean_ceiling: their mean, corrected for the noise of each.
        images: which images were predicted, for the title.
    """
    figure = Figure(figsize=(4.2, 4), layout="constrained")
    axis = figure.subplots()
    if ceiling is None:
        axis.plot(np.arange(1, len(r) + 1), np.sort(r)[::-1], ".")
        axis.set(xlabel="neuron, sorted by r", ylabel="r of predicted and recorded response")
    else:
        axis.scatter(ceiling, r, s=14, alpha=0.6, linewidths=0)
        axis.axline((0, 0), slope=1, color="black", lw=0.8, ls="--")
        axis.set(xlabel="noise ceiling", ylabel="r of predicted and mean response", xlim=(-0.02, 1), ylim=(None, 1))
    mean = "" if mean_ceiling is None else f", ceiling {_format_mean(np.array([mean_ceiling]))}"
    axis.set_title(f"{len(r)} neurons, {images}:\nmean r {_format_mean(r)}{mean}", fontsize=9)
    return tidy(figure)


def plot_responses(predicted: np.ndarray, recorded: np.ndarray, titles: Sequence[str], title: str) -> Figure:
    """Plot predicted and recorded responses, one panel per neuron, images sorted by the predicted response.

    Args:
        predicted: (n, N).
        recorded: (n, N).
        titles: N titles of the panels.
        title: title of the figure.
    """
    figure, axes = _panels(len(titles), 2.2, 1.8)
    for axis, predicted_rates, recorded_rates, name in zip(axes, predicted.T, recorded.T, titles, strict=False):
        order = np.argsort(predicted_rates)
        axis.plot(recorded_rates[order], ".", ms=3, color=GREY, label="recorded")
        axis.plot(predicted_rates[order], color="C1", label="predicted")
        axis.set_title(literal(name), fontsize=8)
    figure.supxlabel("images, sorted by prediction", fontsize=9)
    figure.supylabel("response", fontsize=9)
    axes[0].legend(frameon=False, fontsize=6)
    figure.suptitle(title, fontsize=9)
    return tidy(figure)


def plot_fields(rows: Mapping[str, np.ndarray], titles: Sequence[str], title: str) -> Figure:
    """Plot filters or receptive fields: red where light excites, blue where it inhibits.

    Args:
        rows: by name, (N, H, W); each column has its own colour scale.
        titles: N titles of the columns.
        title: title of the figure.
    """
    n = len(titles)
    limits = np.max([np.abs(images).max((1, 2)) for images in rows.values()], 0)  # (N,)
    figure = Figure(figsize=(1.1 * n + 0.5, 1.1 * len(rows) + 0.6), layout="constrained")
    axes = figure.subplots(len(rows), n, squeeze=False)
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for axis, image, limit in zip(line, images, limits, strict=True):
            axis.imshow(image, cmap="RdBu_r", vmin=-limit or -1, vmax=limit or 1)
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=8)
    for axis, name in zip(axes[0], titles, strict=True):
        axis.set_title(literal(name), fontsize=7)
    figure.suptitle(title, fontsize=9)
    return figure


def _plot_losses(losses: Axes, records: Sequence[Mapping], least_loss: float, training: str) -> None:
    """Add the training and the validation loss to a panel, and the least possible one unless it is 0."""
    for key, label in (("train/loss", training), ("validation/loss", "validation")):
        losses.plot(*_series(records, key), label=label)
    if least_loss:
        losses.axhline(least_loss, ls="--", lw=1, color="0.4", label="least possible: entropy of the pixels")
    losses.set(xlabel="epoch", ylabel="loss")
    losses.legend(frameon=False)


def _arrow(
    axis: Axes, start: np.ndarray, vector: np.ndarray, colour: str, width_share: float, *, is_axis: bool
) -> None:
    """Add an arrow (for an orientation a line through its start) to a panel, unless its vector is unknown."""
    if np.isfinite(vector).all():
        scale = {"angles": "xy", "scale_units": "xy", "scale": 1, "units": "width", "width": width_share}
        head = {"headwidth": 1, "headlength": 0, "headaxislength": 0, "pivot": "mid"} if is_axis else {"headwidth": 3.2}
        axis.quiver(*start, *vector, color=colour, edgecolor="black", linewidth=0.5, **head, **scale)


def _series(records: Sequence[Mapping], key: str) -> tuple[list[int], list[float]]:
    """Return the epochs (from 1) of the records that have a value, and the values."""
    found = [(record["epoch"] + 1, record[key]) for record in records if record.get(key) is not None]
    return [epoch for epoch, _ in found], [value for _, value in found]


def _format_mean(values: np.ndarray) -> str:
    """Return the mean of values (N,) without NaN as text."""
    known = values[np.isfinite(values)]
    return f"{known.mean():.3f}" if len(known) else "undefined"


def displayable(image: np.ndarray) -> np.ndarray:
    """Return an image (C, H, W) clipped to [0, 1] as grey (H, W) or colour (H, W, 3).

    The channels of an image that has neither 1 nor 3 have no colours, so their mean is shown.
    """
    image = np.clip(np.asarray(image), 0, 1)
    return image.transpose(1, 2, 0) if len(image) == 3 else image.mean(0)


def _panels(n: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """Return a figure of n panels of this size in inches, four per row, and its axes; unused axes are hidden."""
    n_columns = min(4, n)
    n_rows = -(-n // n_columns)
    figure = Figure(figsize=(width * n_columns, height * n_rows), layout="constrained")
    axes = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
    for axis in axes[n:]:
        axis.set_axis_off()
    return figure, axes


def tidy(figure: Figure) -> Figure:
    """Remove the upper and the right spine of every axis; returns the figure."""
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
    return figure
