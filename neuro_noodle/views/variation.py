"""The main metric of runs against what varies between them."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuro_noodle.views.figures import tidy
from neuro_noodle.views.texts import literal

MAX_COLOURS = 8  # combinations of the other values that get a colour of their own
MAX_CHARACTERS = 60  # of all names on an axis, above which they are turned
MARKERS = "_x+|"  # of baselines where no line joins them
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
    values = list(dict.fromkeys(point.value for point in points))
    where, line = _place(axis, values), "-" if _as_numbers(values) else ""  # a line joins numbers only
    others = list(dict.fromkeys(point.others for point in points))
    has_colours = len(others) <= MAX_COLOURS
    for i, other in enumerate(others):
        own = sorted((point for point in points if point.others == other), key=lambda point: where[point.value])
        color = f"C{i}" if has_colours else "0.5"
        for point in own:
            axis.plot([where[point.value]] * len(point.scores), point.scores, ".", color=color, alpha=0.5, ms=5)
        medians = [float(np.median(point.scores)) for point in own]
        label = literal(other or "median of runs") if has_colours else None
        axis.plot([where[p.value] for p in own], medians, f"o{line if has_colours else ''}", color=color, label=label)
    _draw_references(axis, where, points, line)
    axis.set(xlabel=literal(name), ylabel=literal(metric))
    axis.set_title(literal(title), fontsize=9)
    figure.legend(loc="outside lower center", frameon=False, fontsize=8, ncols=2)
    return tidy(figure)


def _place(axis: Axes, values: Sequence[str]) -> dict[str, float]:
    """Return where each value is on the axis: many numbers at their place, anything else side by side."""
    numbers = _as_numbers(values)
    if len(numbers) > MAX_TICKS:
        if min(numbers.values()) > 0 and max(numbers.values()) > LOG_RATIO * min(numbers.values()):
            axis.set_xscale("log")
        return numbers
    ordered = sorted(values, key=numbers.__getitem__) if numbers else values
    names = [literal(value.replace(" ", "\n")) for value in ordered]
    turned = {"rotation": 40, "ha": "right"} if sum(map(len, names)) > MAX_CHARACTERS else {}
    axis.set_xticks(range(len(values)), names, fontsize=8, **turned)
    axis.margins(x=0.1)
    return {value: float(i) for i, value in enumerate(ordered)}


def _as_numbers(values: Sequence[str]) -> dict[str, float]:
    """Return values as numbers, by their text; nothing if one is not a number."""
    with contextlib.suppress(ValueError):
        return {value: float(value) for value in values}
    return {}


def _draw_references(axis: Axes, where: Mapping[str, float], points: Sequence[Point], line: str) -> None:
    """Draw the mean of each baseline and of the ceiling over the configurations with the same value."""
    for i, name in enumerate(dict.fromkeys(name for point in points for name in point.references)):
        known: dict[str, list[float]] = {}
        for point in points:
            if (value := point.references.get(name)) is not None:
                known.setdefault(point.value, []).append(value)
        places = sorted(known, key=where.__getitem__)
        means = [float(np.mean(known[place])) for place in places]
        style = {"ls": ("--", ":", "-.")[i % 3] if line else "", "marker": "_" if line else MARKERS[i % len(MARKERS)]}
        axis.plot([where[place] for place in places], means, color="black", lw=1, label=literal(name), **style)
