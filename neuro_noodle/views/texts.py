"""Texts in figures and tables."""

from collections.abc import Sequence

from neuro_noodle.plain import readable

INVISIBLE = "\u200b"  # a space without width


def literal(text: object) -> str:
    """Return a text such that matplotlib shows it as it is: no $ starts a formula, no leading _ hides a label."""
    shown = readable(str(text)).replace("$", r"\$")
    return INVISIBLE + shown if shown.startswith("_") else shown


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table with the first column aligned left and the others right."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]
