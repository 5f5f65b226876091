"""TIFF files: what they hold, and the values of those that Pillow would reduce or refuse."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile

from neuro_noodle.choices import Size, UserError, require
from neuro_noodle.plain import counted

WHITE = 65535
ALPHA = (tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA)
GREY_OR_RGB = {1: (tifffile.PHOTOMETRIC.MINISBLACK,), 3: (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.MINISBLACK)}

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it logs what it then raises


@dataclass(frozen=True)
class Deep:
    """A TIFF of one or three channels whose values are read as they are.

    Attributes:
        size, n_channels: of the image.
        is_float: whether its white is 1.
    """

    size: Size
    n_channels: int
    is_float: bool


def inspect(path: Path) -> Deep | None:
    """Return how to read a TIFF: None if Pillow reads it without loss.

    Raises:
        UserError: if it holds several images, or channels whose meaning is unknown; says what it holds.
    """
    with tifffile.TiffFile(path) as file:
        page, *others = file.pages
        n_images = 1 + sum(not (other.is_reduced or other.is_mask) for other in others)
    if n_images > 1:
        raise UserError(
            f"it holds {n_images} images; save each in a file of its own, or all in an array (tifffile, numpy.save)"
        )
    n_channels, bits = page.samplesperpixel, page.bitspersample
    kind = page.dtype.kind if page.dtype else "?"
    n_unknown = sum(extra not in ALPHA for extra in page.extrasamples)
    has_inks = page.photometric == tifffile.PHOTOMETRIC.SEPARATED
    is_known = not n_unknown and n_channels - len(page.extrasamples) in (1, 4 if has_inks else 3)
    if kind in "bu" and is_known and (bits <= 8 or _is_plain_16_bit(page)):
        return None
    if kind not in "iuf" or page.photometric not in GREY_OR_RGB.get(n_channels, ()) or (n_unknown and bits <= 8):
        sort = {"f": "floating-point ", "i": "signed ", "c": "complex "}.get(kind, "")
        channels = counted(n_channels, f"{sort}channel")
        raise UserError(
            f"it holds {channels} of {bits} bit ({page.photometric.name}); save it as grey or RGB, with 8 or 16 bit"
        )
    if page.tags.valueof(tifffile.TIFF.TAGS["Orientation"], 1) != 1:
        raise UserError("it is stored rotated or mirrored; save it upright")
    return Deep(Size(page.imagelength, page.imagewidth), n_channels, kind == "f")


def _is_plain_16_bit(page: tifffile.TiffPage) -> bool:
    return page.samplesperpixel == 1 and page.bitspersample <= 16 and page.photometric in GREY_OR_RGB[1]


def read(path: Path) -> np.ndarray:
    """Return the values of a `Deep` TIFF, (C, H, W) float32 from 0 to WHITE.

    Raises:
        UserError: if a value is not finite, or outside 0 to white, which is 1 for floating-point numbers, else 65535.
    """
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        values = page.asarray()
        values = np.moveaxis(values, page.axes.index("S"), 0) if "S" in page.axes else values[None]  # (C, H, W)
    n_undefined = int((~np.isfinite(values)).sum())
    require(not n_undefined, f"{n_undefined} of its {values.size} values are NaN or infinite; replace them")
    white = 1 if values.dtype.kind == "f" else WHITE
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= white):
        raise UserError(f"it holds values from {low:g} to {high:g}, but white is {white}; scale them to 0 to {white}")
    return values.astype(np.float32) * np.float32(WHITE / white)
