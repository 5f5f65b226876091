"""The main metric of runs against what varies between them."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuro_noodle.views.figures import tidy
from neuro_noodle.views.texts import literal

MAX_LINES = 8  # combinations of the other values that get a colour of their own
MAX_TICKS = 10  # values that get a tick of their own; more are numbers on an axis
LOG_RATIO = 20  # of the largest to the smallest value, above which the axis is logarithmic


@dataclass(frozen=True)
class Point:
    """One configuration.

    Attributes:
        value: of what varies, as text.
        others: values of all else that varies, as text; empty if nothing does.
        scores: main metric of each run and repetition.
        references: baselines and the ceiling, by name.
    """

    value: str
    others: str
    scores: Sequence[float]
    references: Mapping[str, float | None]


def plot_variation(name: str, metric: str, points: Sequence[Point], title: str) -> Figure:
    """Plot each run, the median of each configuration, and baselines, against the values of what varies.

    Args:
        name: of what varies.
        metric: name of the metric.
        points: of each configuration that has scores.
        title: over what the runs of a configuration spread.
    """
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axis = figure.subplots()
    where = _place(axis, list(dict.fromkeys(point.value for point in points)))
    others = list(dict.fromkeys(point.others for point in points))
    has_lines = len(others) <= MAX_LINES
    for i, other in enumerate(others):
        own = sorted((point for point in points if point.others == other), key=lambda point: where[point.value])
        color = f"C{i}" if has_lines else "0.5"
        for point in own:
            axis.plot([where[point.value]] * len(point.scores), point.scores, ".", color=color, alpha=0.5, ms=5)
        medians = [float(np.median(point.scores)) for point in own]
        label = (other or "median of runs") if has_lines else None
        axis.plot(
            [where[p.value] for p in own],
            medians,
            "o-" if has_lines else "o",
            color=color,
            label=label and literal(label),
        )
    _draw_references(axis, where, points)
    axis.set(xlabel=literal(name), ylabel=literal(metric))
    axis.set_title(literal(title), fontsize=9)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=2)
    return tidy(figure)


def _place(axis: Axes, values: Sequence[str]) -> dict[str, float]:
    """Return where each value is on the axis: many numbers at their place, anything else side by side."""
    numbers: dict[str, float] = {}
    with contextlib.suppress(ValueError):
        numbers = {value: float(value) for value in values}
    if len(numbers) == len(values) > MAX_TICKS:
        if min(numbers.values()) > 0 and max(numbers.values()) > LOG_RATIO * min(numbers.values()):
            axis.set_xscale("log")
        return numbers
    ordered = sorted(values, key=numbers.__getitem__) if len(numbers) == len(values) else values
    axis.set_xticks(range(len(values)), [literal(value.replace(" ", "\n")) for value in ordered], fontsize=8)
    axis.margins(x=0.1)
    return {value: float(i) for i, value in enumerate(ordered)}


def _draw_references(axis: Axes, where: Mapping[str, float], points: Sequence[Point]) -> None:
    """Draw the mean of each baseline and of the ceiling over the configurations with the same value."""
    for i, name in enumerate(dict.fromkeys(name for point in points for name in point.references)):
        known: dict[str, list[float]] = {}
        for point in points:
            if (value := point.references.get(name)) is not None:
                known.setdefault(point.value, []).append(value)
        places = sorted(known, key=where.__getitem__)
        means = [float(np.mean(known[place])) for place in places]
        style = ("--", ":", "-.")[i % 3]
        axis.plot(
            [where[place] for place in places],
            means,
            style,
            marker="_",
            color="black",
            lw=1,
            label=literal(name),
        )
