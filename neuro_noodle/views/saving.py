"""Figures as files: in which formats, and how wide."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from neuro_noodle.choices import require
from neuro_noodle.runs.files import atomic

MM_PER_INCH = 25.4
DPI, PRINT_DPI = 150, 300  # on a screen, and of a figure that is as wide as asked for


def resize_png(path: Path, factor: float) -> None:
    """Set the resolution in the file to PRINT_DPI, by which programs tell its size; its pixels stay the same."""
    from PIL import Image

    with Image.open(path) as image:
        image.save(path, "png", dpi=(PRINT_DPI, PRINT_DPI))


def resize_pdf(path: Path, factor: float) -> None:
    """Multiply the size of the page and of everything on it."""
    from pypdf import PdfWriter

    writer = PdfWriter(clone_from=path)
    writer.pages[0].scale_by(factor)
    writer.write(path)


def resize_svg(path: Path, factor: float) -> None:
    """Multiply the size of the drawing, whose coordinates stay the same."""
    size = re.compile(r'(width|height)="([\d.]+)pt"')
    text = path.read_text(encoding="utf-8")
    resized = size.sub(lambda found: f'{found[1]}="{float(found[2]) * factor:.3f}pt"', text, count=2)
    path.write_text(resized, encoding="utf-8")


FORMATS: dict[str, Callable[[Path, float], None]] = {"png": resize_png, "pdf": resize_pdf, "svg": resize_svg}


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
        factor = self.width_mm / MM_PER_INCH / figure.get_size_inches()[0] if self.width_mm else None
        paths = [path.with_name(f"{path.name}.{kind}") for kind in self.kinds]
        for kind, target in zip(self.kinds, paths, strict=True):
            with atomic(target) as scratch:
                figure.savefig(scratch, dpi=PRINT_DPI * factor if factor else DPI, format=kind)
                if factor:
                    FORMATS[kind](scratch, factor)
        return paths


PNG = Format()
