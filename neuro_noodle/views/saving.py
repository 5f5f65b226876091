"""Figures as files: in which formats, and how wide."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.offsetbox import OffsetImage
from matplotlib.text import Text

from neuro_noodle.choices import require
from neuro_noodle.runs.files import atomic

FORMATS = ("png", "pdf", "svg")
MM_PER_INCH = 25.4
DPI, PRINT_DPI = 150, 300  # on a screen, and of a figure that is as wide as asked for


@dataclass(frozen=True)
class Format:
    """How figures are written.

    Attributes:
        kinds: png, pdf or svg; a file for each.
        width_mm: of every figure; everything in it is resized with it. None leaves the width to the figure.
    """

    kinds: tuple[str, ...] = ("png",)
    width_mm: float | None = None

    def __post_init__(self) -> None:
        wrong = [kind for kind in self.kinds if kind not in FORMATS]
        require(
            bool(self.kinds) and not wrong, f"'{','.join(wrong)}' is no format of a picture; use {', '.join(FORMATS)}"
        )
        require(self.width_mm is None or self.width_mm >= 20, f"--width_mm {self.width_mm} is less than 20")

    def save(self, path: Path, figure: Figure) -> list[Path]:
        """Write a figure to a path, to which the ending of each format is added; returns the paths."""
        if self.width_mm:
            resize(figure, self.width_mm / MM_PER_INCH / figure.get_size_inches()[0])
        paths = [path.with_name(f"{path.name}.{kind}") for kind in self.kinds]
        for kind, target in zip(self.kinds, paths, strict=True):
            with atomic(target) as scratch:
                figure.savefig(scratch, dpi=PRINT_DPI if self.width_mm else DPI, format=kind)
        return paths


PNG = Format()


def resize(figure: Figure, factor: float) -> None:
    """Multiply the size of a figure, and with it that of text, points, lines and small images."""
    figure.set_size_inches(factor * figure.get_size_inches())
    for text in figure.findobj(Text):
        text.set_fontsize(factor * text.get_fontsize())
    for line in figure.findobj(Line2D):
        line.set_linewidth(factor * line.get_linewidth())
        line.set_markersize(factor * line.get_markersize())
    for points in figure.findobj(PathCollection):
        points.set_sizes(factor**2 * points.get_sizes())
        points.set_linewidths([factor * width for width in points.get_linewidths()])
    for image in figure.findobj(OffsetImage):
        image.set_zoom(factor * image.get_zoom())
