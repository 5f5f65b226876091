"""Damaged image files: why they cannot be read, and lost ends that decoders fill with grey or black without a word."""

import os
from pathlib import Path
from typing import BinaryIO

from PIL import UnidentifiedImageError

from neuro_noodle.choices import require
from neuro_noodle.data.foreign import describe, is_picture
from neuro_noodle.plain import first_line

N_ZEROS = 16  # bytes: more zeros at the end of a compressed file than chance would give


def explain_unreadable(path: Path, error: Exception) -> str:
    """Return why a file cannot be read, from what a decoder or the system says."""
    if isinstance(error, OSError) and error.errno:
        return first_line(error)
    if path.stat().st_size == 0:
        return "it is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError) and not is_picture(path):
        return describe(path) or "not an image"
    detail = "" if isinstance(error, UnidentifiedImageError) else f" ({first_line(error)})"
    return f"it ends early or is damaged{detail}"


def require_end(file: BinaryIO, name: str) -> None:
    """Raise UserError if the end of a compressed file is lost and replaced by zeros, as by an interrupted download.

    Args:
        name: of its format; TIFF, BMP and PPM may end with zeros, which are black pixels.
    """
    if name not in ("JPEG", "MPO", "PNG", "WEBP", "AVIF"):
        return
    file.seek(max(0, file.seek(0, os.SEEK_END) - N_ZEROS))
    if any(file.read()):
        return
    file.seek(0)
    content = file.read()
    if name in ("JPEG", "MPO"):
        is_whole = content.rfind(b"\xff\xd9") > content.rfind(b"\xff\xda")  # the end after the last start of a scan
    else:
        last = {"PNG": b"IEND", "WEBP": b"EXIF"}.get(name)  # what may come last and end with zeros
        is_whole = last is not None and last in content.upper()
    n_zeros = len(content) - len(content.rstrip(b"\0"))
    require(is_whole, f"its end is lost: the last {n_zeros:,} of {len(content):,} bytes are zeros; fetch it again")
