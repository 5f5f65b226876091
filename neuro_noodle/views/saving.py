"""Figures as files: in which formats, and how wide."""

from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

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
        width_mm: of every figure; text keeps its size. None leaves the width to the figure.
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
            width, height = figure.get_size_inches()
            figure.set_size_inches(self.width_mm / MM_PER_INCH, height * self.width_mm / MM_PER_INCH / width)
        paths = [path.with_name(f"{path.name}.{kind}") for kind in self.kinds]
        for kind, target in zip(self.kinds, paths, strict=True):
            with atomic(target) as scratch:
                figure.savefig(scratch, dpi=PRINT_DPI if self.width_mm else DPI, format=kind)
        return paths


PNG = Format()
