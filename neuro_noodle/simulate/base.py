"""The description of a kind of built-in stimuli: the function that draws it, and its command-line options."""

import argparse
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from neuro_noodle.choices import Size

Row = dict[str, Any]  # a row of metadata.csv

MIN_SIZE_PX = 32


@dataclass(frozen=True)
class Option:
    """A command-line option of one kind of stimuli."""

    name: str  # without the dashes; also the keyword argument of `Kind.draw`
    read: Callable[[str], object]
    default: object
    help: str


@dataclass(frozen=True)
class Kind:
    """A kind of stimuli.

    `draw(folder, *, seed, ...)` takes a keyword argument for each option, saves the images in an empty folder and
    returns one row of true parameters per image or neuron.
    """

    draw: Callable[..., Iterable[Row]]
    summary: str
    folder: str  # default output folder, in Resources/
    columns: tuple[str, ...]  # the first columns of metadata.csv, by which earlier output is recognised
    options: tuple[Option, ...]  # in addition to --out, --seed and --redraw
    files: tuple[str, ...] = ()  # the files it writes; if empty, the first column of metadata.csv names them
    row_noun: str = "images"  # what the rows of metadata.csv describe


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """Return a function that reads a whole number from low to high, both included."""

    def read(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return read


def number(low: float, high: float) -> Callable[[str], float]:
    """Return a function that reads a number from low to high, both included."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            if low <= float(text) <= high:
                return float(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")

    return read


def image_size(text: str) -> Size:
    """Read the height and width of an image, for example '650x506'."""
    with contextlib.suppress(ValueError):
        size = Size.parse(text)
        if min(size) >= MIN_SIZE_PX:
            return size
    raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, each at least {MIN_SIZE_PX} pixels")


def square_size(text: str) -> Size:
    """Read the height and width of a square image."""
    size = image_size(text)
    if size.height != size.width:
        raise argparse.ArgumentTypeError(f"{text!r} is not square; images of the round arena must be")
    return size
