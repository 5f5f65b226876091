"""The result of a comparison, its text (tables below a line about the images they are based on) and its picture."""

import math
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from neuro_noodle.measures.circular import format_name
from neuro_noodle.measures.intervals import MIN_GROUPS
from neuro_noodle.measures.similarity import MEASURES
from neuro_noodle.views.figures import tidy
from neuro_noodle.views.pairs import Pair, format_pair
from neuro_noodle.views.texts import align, literal

HEADINGS = {  # by kind of column: heading, names of the score and of the number in brackets, unit of the latter
    "number": ("R2 [95 %] / chance (mean error)", "r2", "mae", ""),
    "angle": ("R2 [95 %] / chance (median error)", "r2", "median_deg", " deg"),
    "class": ("accuracy [95 %] / chance (majority)", "accuracy", "majority", ""),
}
MAX_P = 0.05  # above it, a score is marked
MAX_CHANCE = 0.3  # similarity of shuffled images, from 0 to 1, above which there is a warning


@dataclass(frozen=True)
class ColumnSummary:
    """What a column holds, and for how many images it is known."""

    kind: str
    period: float | None
    n_training: int
    n_held_out: int


@dataclass(frozen=True)
class GroupSummary:
    """How many groups (people, blocks) the training and the held-out images come from."""

    column: str
    n_training: int
    n_held_out: int
    n_in_both: int


@dataclass(frozen=True)
class SourceSummary:
    """Where a representation comes from.

    Attributes:
        path: of the session, if it is of a run; of the run, if it is of the run after so many epochs.
        width: numbers per image.
        n_components: number of principal components that replace them; None if they are used as they are.
        series: of a run, the name without the number of epochs.
        epochs: trained; None if the name does not say it.
        column_kind: class, angle or number, if it is a metadata column.
    """

    path: str | None
    width: int
    n_components: int | None
    series: str = ""
    epochs: float | None = None
    column_kind: str | None = None


@dataclass(frozen=True)
class Comparison:
    """The result of a comparison, as it is written to JSON; undefined numbers are None.

    Attributes:
        sources: by name.
        n_training: number of images that all runs were trained on, at most 10,000.
        n_held_out: number of images that no run was trained on.
        n_compared: number of the latter whose representations were compared.
        every_group: whether each group of all these images was held out once from the probes; otherwise probes were
            fitted to the former and evaluated on the latter.
        groups: the groups of these images, if there are any.
        columns: summary of each column.
        probes: scores by source, column and name of the score.
        similarity: by measure, source and source: value, chance and p.
        rsa_ceilings: the RSA that a perfect model could reach, by source of recorded responses.
        pairs: every two runs that predict the same, judged on the same images.
    """

    sources: dict[str, SourceSummary]
    n_training: int
    n_held_out: int
    n_compared: int
    every_group: bool
    groups: GroupSummary | None
    columns: dict[str, ColumnSummary]
    probes: dict[str, dict[str, dict[str, float | None]]]
    similarity: dict[str, dict[str, dict[str, dict[str, float | None]]]]
    rsa_ceilings: dict[str, float | None]
    pairs: list[Pair] = field(default_factory=list)


def format_comparison(comparison: Comparison) -> str:
    """Return a comparison as tables: a line per source with the scores of its probes, then one table per measure."""
    kinds = {name: HEADINGS[column.kind] for name, column in comparison.columns.items()}
    titles = [format_name(name, column.period) for name, column in comparison.columns.items()]
    rows = [["", *titles], ["", *(heading for heading, *_ in kinds.values())]]
    for source, scores in comparison.probes.items():
        rows.append([source, *(format_score(scores[name], *kind[1:]) for name, kind in kinds.items())])
    lines = [*_format_images(comparison), "", *(align(rows) if kinds else ["no metadata column can be probed"])]
    for key, table in comparison.similarity.items():
        decimals = 1 if MEASURES[key].is_distance else 3
        rows = [["", *table]]
        rows += [
            [source, *(_format_similarity(one, decimals) for one in line.values())] for source, line in table.items()
        ]
        chance = _format_chance(table, decimals, MEASURES[key].is_distance)
        lines += ["", f"{MEASURES[key].title}; {chance}", *align(rows)]
        if key == "rsa":
            lines += [_format_ceiling(name, r) for name, r in comparison.rsa_ceilings.items()]
    lines += ["", *map(format_pair, comparison.pairs)] if comparison.pairs else []
    return "\n".join(lines)


def format_score(scores: dict[str, float | None], score: str, error: str, unit: str) -> str:
    """Return a score with its interval, its chance level and its error; ~ marks one that chance often reaches."""
    low, high, p = scores["low"], scores["high"], scores["p"]
    interval = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
    mark = "~" if p is not None and p > MAX_P else ""
    level = format_decimal(scores["level"])
    return f"{mark}{format_decimal(scores[score])}{interval} / {level} ({format_digits(scores[error])}{unit})"


def _format_similarity(one: dict[str, float | None], decimals: int) -> str:
    p, level = one["p"], one["level"]
    mark = "~" if p is not None and p > MAX_P else ""
    chance = "" if level is None else f"/{format_decimal(level, decimals)}"
    return f"{mark}{format_decimal(one['value'], decimals)}{chance}"


def _format_ceiling(name: str, ceiling: float | None) -> str:
    if ceiling is None:
        return f"no noise ceiling for {name}: not all of these images were shown at least twice (see --parts)"
    return f"noise ceiling of RSA with {name}: {ceiling:.3f}"


def _format_chance(table: dict[str, dict[str, dict[str, float | None]]], decimals: int, is_distance: bool) -> str:
    """Return the range of the values for shuffled images of different sources, and whether these seem similar."""
    pairs = [one["chance"] for name, line in table.items() for other, one in line.items() if name != other]
    values = [value for value in pairs if value is not None]
    if not values:
        return "shuffled images: undefined"
    low, high = (format_decimal(end(values), decimals) for end in (min, max))
    share = max(1 - value / 90 if is_distance else value for value in values)  # 0: unrelated, 1: equal
    warning = "; with so few images, unrelated representations look similar" if share > MAX_CHANCE else ""
    return f"shuffled images give {low if low == high else f'{low} to {high}'}{warning}"


def format_decimal(value: float | None, decimals: int = 3) -> str:
    """Return a number with so many decimals, or a dash if it is undefined."""
    return "-" if value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"


def format_digits(value: float | None) -> str:
    """Return a number, 0 or more, with 3 digits: 0.0123, 1.20, 12.3, 1234; a dash if it is undefined."""
    if value is None:
        return "-"
    exponent = math.floor(math.log10(value)) if value else 0
    return f"{value:.2e}" if exponent < -4 else f"{value:.{max(0, 2 - exponent)}f}"


def _format_images(comparison: Comparison) -> list[str]:
    """Return lines about the images that probes were fitted to and evaluated on."""
    lines = [
        f"{_format_probed(comparison)}; similarities of {comparison.n_compared} held-out images",
        f"after / the score that 95 % of shuffles do not reach; ~ marks one that is reached in more than {MAX_P:.0%}; "
        "R2 of 0 or less: nothing is read",
        *_note_groups(comparison),
    ]
    reduced = [
        f"{name} ({one.n_components} of {one.width})" for name, one in comparison.sources.items() if one.n_components
    ]
    columns = [f"{name} ({one.column_kind})" for name, one in comparison.sources.items() if one.column_kind]
    lines += [f"metadata columns: {', '.join(columns)}"] * bool(columns)
    return lines + [f"principal components in place of numbers: {', '.join(reduced)}"] * bool(reduced)


def _format_probed(comparison: Comparison) -> str:
    training, held_out = f"{comparison.n_training} training", f"{comparison.n_held_out} held-out"
    groups = comparison.groups
    if comparison.every_group:
        unit = "image" if groups is None else groups.column
        return f"probes: each {unit} of {training} and {held_out} images held out once"
    if groups is None:
        return f"probes fitted to {training} images, evaluated on {held_out} images"
    return (
        f"probes fitted to {training} images of {groups.n_training} {groups.column}s, evaluated on {held_out} images "
        f"of {groups.n_held_out} {groups.column}s"
    )


def _note_groups(comparison: Comparison) -> list[str]:
    """Return a note, if the scores do not hold for new groups, or if there are too few groups for an interval."""
    groups = comparison.groups
    if comparison.every_group:
        return [
            "note: the networks have seen the training images, so the score of a column that one was trained to "
            "predict is too good"
        ]
    if groups and groups.n_in_both:
        return [
            f"note: {groups.n_in_both} {groups.column}s are in both parts, so the scores do not hold for new "
            f"{groups.column}s"
        ]
    if groups and groups.n_held_out < MIN_GROUPS:
        return [
            f"note: {groups.n_held_out} held-out {groups.column}s are too few for intervals; --every_group holds "
            f"every {groups.column} out once, in 5 folds"
        ]
    return []


# ---------------------------------------------------------------------------------------------------------- picture


def plot_comparison(comparison: Comparison) -> Figure:
    """Plot the scores of all probes with their intervals, and a matrix for each measure of similarity."""
    n, names = len(comparison.columns), [*map(literal, comparison.sources)]
    n_columns = max(n, len(MEASURES))
    heights = ((1.3 + 0.25 * len(comparison.probes)) * bool(n), 2.8 + 0.25 * len(names))  # inches
    side = max(3.4, 1.5 + 0.32 * len(names))  # of a panel
    figure = Figure(figsize=(side * n_columns, sum(heights)), layout="constrained")
    upper, lower = figure.subfigures(2, 1, height_ratios=heights) if n else (figure, figure)
    for i, (name, column) in enumerate(comparison.columns.items()):
        axis = upper.add_subplot(1, n, i + 1)
        _plot_scores(axis, {source: scores[name] for source, scores in comparison.probes.items()}, column.kind)
        axis.set_title(literal(format_name(name, column.period)))
        axis.set_yticks(range(len(comparison.probes)), [*map(literal, comparison.probes)] if i == 0 else [])
    for i, (axis, (key, table)) in enumerate(
        zip(lower.subplots(1, len(MEASURES), squeeze=False)[0], comparison.similarity.items(), strict=True)
    ):
        _plot_matrix(axis, table, is_distance=MEASURES[key].is_distance)
        axis.set_title(short_title(key))
        axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
        axis.set_yticks(range(len(names)), names if i == 0 else [])
    upper.suptitle(f"{comparison.n_held_out} held-out images; open points and ~: not above chance", fontsize=9)
    return tidy(figure)


def short_title(key: str) -> str:
    """Return the name of a measure, with its unit."""
    return MEASURES[key].title.partition(",")[0] + ", degrees" * MEASURES[key].is_distance


def _plot_scores(axis: Axes, scores: dict[str, dict[str, float | None]], kind: str) -> None:
    """Add a point per source with its interval; open points do not differ from shuffled images."""
    _, score, error, _ = HEADINGS[kind]
    for row, one in enumerate(scores.values()):
        value, low, high, p = (as_number(one[key]) for key in (score, "low", "high", "p"))
        axis.plot([low, high], [row, row], color="C0", lw=1.5)
        axis.plot(value, row, "o", color="C0", mfc="C0" if p <= MAX_P else "white")
    if kind == "class":
        axis.axvline(next(iter(scores.values()))[error] or 0, color="0.6", lw=0.8, ls="--")
    else:
        axis.axvline(0, color="0.6", lw=0.8, ls="--")
    axis.set(xlabel="accuracy (dashed: majority class)" if kind == "class" else "R²", ylim=(len(scores) - 0.5, -0.5))


def _plot_matrix(axis: Axes, table: dict[str, dict[str, dict[str, float | None]]], *, is_distance: bool) -> None:
    """Add a matrix of similarities with their values, marked by ~ if shuffled images often reach them."""
    values, p = (
        np.array([[as_number(one[key]) for one in line.values()] for line in table.values()]) for key in ("value", "p")
    )
    limits = (90, 0) if is_distance else (0, 1)
    axis.imshow((values - limits[0]) / (limits[1] - limits[0]), cmap="viridis", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(values):
        share = (value - limits[0]) / (limits[1] - limits[0])
        text = ("~" if p[row, column] > MAX_P else "") + format_decimal(value, 0 if is_distance else 2)
        axis.text(column, row, text, ha="center", va="center", fontsize=7, color="black" if share > 0.6 else "white")


def as_number(value: float | None) -> float:
    """Return a number, NaN if it is undefined."""
    return np.nan if value is None else value
