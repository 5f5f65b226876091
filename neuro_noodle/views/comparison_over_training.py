"""The picture of a comparison over training: how the sources of RUN@all change from epoch to epoch."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuro_noodle.measures.similarity import MEASURES
from neuro_noodle.views.comparison import HEADINGS, Comparison, as_number
from neuro_noodle.views.figures import tidy

MIN_EPOCHS = 3  # of a series that is plotted over training
STYLES = ("-", "--", ":", "-.")

Series = Mapping[float, str]  # by number of epochs trained, the name of the source


def find_series(comparison: Comparison) -> dict[str, Series]:
    """Return the sources that are the same stage of a run after different epochs, in the order of time."""
    found: dict[str, dict[float, str]] = {}
    for name, source in comparison.sources.items():
        if source.epochs is not None:
            found.setdefault(source.series, {})[source.epochs] = name
    return {name: dict(sorted(series.items())) for name, series in found.items() if len(series) >= MIN_EPOCHS}


def plot_over_training(comparison: Comparison, series: Mapping[str, Series]) -> Figure:
    """Plot the scores of probes and the similarities to other sources against the number of epochs trained.

    Args:
        comparison: of all sources.
        series: as found in it; all other sources are references, dashed where they have a score themselves.
    """
    over_time = {name for one in series.values() for name in one.values()}
    references = [name for name in comparison.sources if name not in over_time]
    n_columns = max(len(comparison.columns), len(MEASURES))
    n_rows = 2 if comparison.columns else 1
    figure = Figure(figsize=(3.6 * n_columns, 0.6 + 2.8 * n_rows), layout="constrained")
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    for axis, (name, column) in zip(axes[0], comparison.columns.items(), strict=False):
        scores = {source: one[name] for source, one in comparison.probes.items()}
        _plot_scores(axis, scores, HEADINGS[column.kind][1], series, references)
        axis.set(title=name, ylabel="accuracy" if column.kind == "class" else "R²")
    for axis, (key, table) in zip(axes[-1], comparison.similarity.items(), strict=False):
        _plot_similarities(axis, table, series, references)
        axis.set(title=MEASURES[key].title.partition(",")[0], xlabel="epochs trained")
        if MEASURES[key].is_distance:
            axis.invert_yaxis()
    axes[-1, 0].set_ylabel("similarity (black: to the last epoch)")
    for axis in axes.flat:
        axis.set_visible(axis.has_data())
    legend = {str(line.get_label()): line for line in axes[-1, 0].get_lines()}
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=n_columns, frameon=False)
    return tidy(figure)


def _plot_scores(
    axis: Axes,
    scores: Mapping[str, Mapping[str, float | None]],
    score: str,
    series: Mapping[str, Series],
    references: list[str],
) -> None:
    """Add a line with its interval for each series, and a horizontal line for each reference."""
    for style, (label, one) in zip(_cycle(STYLES, len(series)), series.items(), strict=True):
        low, value, high = ([as_number(scores[name][key]) for name in one.values()] for key in ("low", score, "high"))
        axis.plot(list(one), value, style, color="black", label=label)
        axis.fill_between(list(one), low, high, color="black", alpha=0.12, lw=0)
    for i, name in enumerate(references):
        if name in scores:
            axis.axhline(as_number(scores[name][score]), color=f"C{i}", lw=1, label=name)


def _plot_similarities(
    axis: Axes,
    table: Mapping[str, Mapping[str, Mapping[str, float | None]]],
    series: Mapping[str, Series],
    references: list[str],
) -> None:
    """Add a line for each series and each reference, and one for the last epoch of the series itself."""
    for style, (label, one) in zip(_cycle(STYLES, len(series)), series.items(), strict=True):
        last = list(one.values())[-1]
        for i, name in enumerate([last, *references]):
            values = [as_number(table[source][name]["value"]) for source in one.values()]
            colour, shown = (f"C{i - 1}", name) if i else ("black", label)
            axis.plot(list(one), values, style, color=colour, label=shown)


def _cycle(styles: tuple[str, ...], n: int) -> list[str]:
    return np.resize(styles, n).tolist()
