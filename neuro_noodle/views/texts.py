"""Texts from file names and metadata in figures."""

from neuro_noodle.plain import readable

INVISIBLE = "\u200b"  # a space without width


def literal(text: object) -> str:
    """Return a text such that matplotlib shows it as it is: no $ starts a formula, no leading _ hides a label."""
    shown = readable(str(text)).replace("$", r"\$")
    return INVISIBLE + shown if shown.startswith("_") else shown
