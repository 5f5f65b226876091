"""The result of a comparison of runs, and its text: two tables below a line about the images they are based on."""

import math
from dataclasses import dataclass

HEADINGS = {  # by kind of column: heading, names of the score and of the number in brackets, unit of the latter
    "number": ("r2 (mean error)", "r2", "mae", ""),
    "angle": ("r2 (median error)", "r2", "median_deg", " deg"),
    "class": ("accuracy (majority)", "accuracy", "majority", ""),
}


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
class Comparison:
    """The result of a comparison, as it is written to JSON; undefined numbers are None.

    Attributes:
        runs: path of the session by name of the run.
        n_training: number of images that probes were fitted to.
        n_held_out: number of images that they were evaluated on.
        groups: the groups of these images, if there are any.
        columns: summary of each column.
        probes: scores by run (and pixels), column and name of the score.
        cka: linear CKA by run and run, on held-out images.
    """

    runs: dict[str, str]
    n_training: int
    n_held_out: int
    groups: GroupSummary | None
    columns: dict[str, ColumnSummary]
    probes: dict[str, dict[str, dict[str, float | None]]]
    cka: dict[str, dict[str, float | None]]


def format_comparison(comparison: Comparison) -> str:
    """Return a comparison as two tables: a line per run with the scores of its probes, and the CKA of all runs."""
    kinds = {name: HEADINGS[column.kind] for name, column in comparison.columns.items()}
    rows = [["", *kinds], ["", *(heading for heading, *_ in kinds.values())]]
    for run, scores in comparison.probes.items():
        cells = [
            f"{format_decimal(scores[name][score])} ({format_digits(scores[name][error])}{unit})"
            for name, (_, score, error, unit) in kinds.items()
        ]
        rows.append([run, *cells])
    similarity = [["", *comparison.cka]]
    similarity += [[run, *map(format_decimal, others.values())] for run, others in comparison.cka.items()]
    lines = [*_format_images(comparison), "", *_align(rows), "", "linear CKA on held-out images", *_align(similarity)]
    return "\n".join(lines)


def format_decimal(value: float | None) -> str:
    """Return a number with three decimals, or a dash if it is undefined."""
    return "-" if value is None else f"{value:.3f}"


def format_digits(value: float | None) -> str:
    """Return a number, 0 or more, with 3 digits: 0.0123, 1.20, 12.3, 1234; a dash if it is undefined."""
    if value is None:
        return "-"
    exponent = math.floor(math.log10(value)) if value else 0
    return f"{value:.2e}" if exponent < -4 else f"{value:.{max(0, 2 - exponent)}f}"


def _format_images(comparison: Comparison) -> list[str]:
    """Return lines about the images that probes were fitted to and evaluated on."""
    groups = comparison.groups
    n_training, n_held_out = (
        ("", "") if groups is None else (f" of {n} {groups.column}s" for n in (groups.n_training, groups.n_held_out))
    )
    lines = [
        f"fitted to {comparison.n_training} training images{n_training}, evaluated on {comparison.n_held_out} held-out "
        f"images{n_held_out}"
    ]
    if groups and groups.n_in_both:
        lines.append(
            f"note: {groups.n_in_both} {groups.column}s are in both parts, so the scores do not hold for new "
            f"{groups.column}s"
        )
    return lines


def _align(rows: list[list[str]]) -> list[str]:
    """Return lines with the first column aligned left and the others right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
