"""The picture of a comparison over training: how the sources of RUN@all change from epoch to epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuro_noodle.measures.similarity import MEASURES
from neuro_noodle.views.comparison import HEADINGS, MAX_P, Comparison, as_number, short_title
from neuro_noodle.views.figures import tidy
from neuro_noodle.views.texts import literal

MIN_EPOCHS = 3  # of a series that is plotted over training
STYLES = ("-", "--", ":", "-.")  # of the first ten sources, of the next ten, and so on

Series = Mapping[float, str]  # by number of epochs trained, the name of the source


def find_series(comparison: Comparison) -> dict[str, Series]:
    """Return the sources that are the same stage of a run after different epochs, in the order of time."""
    found: dict[str, dict[float, str]] = {}
    for name, source in comparison.sources.items():
        if source.epochs is not None:
            found.setdefault(source.series, {})[source.epochs] = name
    return {name: dict(sorted(series.items())) for name, series in found.items() if len(series) >= MIN_EPOCHS}


def plot_over_training(comparison: Comparison, all_series: Mapping[str, Series]) -> Figure:
    """Plot scores of probes and similarities to other sources against the number of epochs trained.

    Each series has a row of probes, where other sources are horizontal lines, and a row of similarities to the first
    and the last epoch of every series, and to all other sources.

    Args:
        comparison: of all sources.
        all_series: as found in it.
    """
    n_columns = max(len(comparison.columns), len(MEASURES))
    kinds = (_plot_probes, _plot_similarities) if comparison.columns else (_plot_similarities,)
    rows = [(label, plot_row) for label in all_series for plot_row in kinds]
    figure = Figure(figsize=(3.6 * n_columns, 0.6 + 2.8 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), n_columns, squeeze=False)
    between = {name for series in all_series.values() for name in list(series.values())[1:-1]}
    others = [name for name in comparison.sources if name not in between]
    for (label, plot_row), line in zip(rows, axes, strict=True):
        plot_row(line, comparison, all_series[label], others)
        line[0].set_ylabel(literal(f"{label}\n{line[0].get_ylabel()}"))
    for axis in axes.flat:
        axis.set_visible(axis.has_data())
    figure.legend(*axes[-1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=n_columns, frameon=False)
    figure.suptitle(f"{comparison.n_held_out} held-out images; open points: not above chance", fontsize=9)
    return tidy(figure)


def _plot_probes(axes: Sequence[Axes], comparison: Comparison, series: Series, others: Sequence[str]) -> None:
    """Plot the score of each column with its interval; dashed: the majority class, or the mean of held-out images."""
    for axis, (name, column) in zip(axes, comparison.columns.items(), strict=False):
        scores = {source: one[name] for source, one in comparison.probes.items()}
        _, score, error, _ = HEADINGS[column.kind]
        low, value, high = ([as_number(scores[at][key]) for at in series.values()] for key in ("low", score, "high"))
        axis.plot(list(series), value, color="black")
        for epochs, at in series.items():
            is_above_chance = as_number(scores[at]["p"]) <= MAX_P
            axis.plot(epochs, as_number(scores[at][score]), "ko", ms=4, mfc="black" if is_above_chance else "white")
        axis.fill_between(list(series), low, high, color="black", alpha=0.12, lw=0)
        for i, other in enumerate(others):
            if other in scores and other not in series.values():
                axis.axhline(as_number(scores[other][score]), lw=1, **_style(i))
        is_class = column.kind == "class"
        axis.axhline(as_number(next(iter(scores.values()))[error]) if is_class else 0, color="0.6", lw=0.8, ls="--")
        axis.set(title=literal(name), ylabel="accuracy" if is_class else "R²")


def _plot_similarities(axes: Sequence[Axes], comparison: Comparison, series: Series, others: Sequence[str]) -> None:
    """Plot each measure of similarity to other sources; grey: the range for shuffled images."""
    for axis, (key, table) in zip(axes, comparison.similarity.items(), strict=False):
        chances = []
        for i, other in enumerate(others):
            pairs = {epochs: table[at][other] for epochs, at in series.items() if at != other}
            values = [as_number(pair["value"]) for pair in pairs.values()]
            axis.plot(list(pairs), values, marker="o", ms=3, label=literal(other), **_style(i))
            chances += [pair["chance"] for pair in pairs.values() if pair["chance"] is not None]
        if chances:
            axis.axhspan(min(chances), max(chances), color="0.85", lw=0, zorder=0, label="shuffled images")
        axis.set(title=short_title(key), xlabel="epochs trained", ylabel="similarity to")
        if MEASURES[key].is_distance:
            axis.invert_yaxis()


def _style(i: int) -> dict[str, Any]:
    """Return the colour and line style of the i-th source."""
    return {"color": f"C{i}", "ls": STYLES[i // 10 % len(STYLES)]}
