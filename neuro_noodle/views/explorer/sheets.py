"""Sheets of thumbnails: all images of a page, in a few large pictures."""

import base64
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from neuro_noodle.progress import Stage
from neuro_noodle.views.figures import displayable

MAX_PIXELS = 60_000_000  # of all thumbnails together
MAX_SIDE = 160  # px
SHEET_SIDE = 2048  # px
EXACT_SIDE = 32  # px; images up to this size are stored without loss
CHUNK = 256  # images resized at a time


@dataclass(frozen=True)
class Sheets:
    """Thumbnails.

    Attributes:
        layout: height, width, per_row and per_sheet, for the page.
        pictures: a sheet each, as data URI.
    """

    layout: dict[str, Any]
    pictures: list[str]


def thumbnail_size(image_shape: tuple[int, int, int], n: int) -> tuple[int, int]:
    """Return the height and width of the thumbnails of n images (C, H, W), px."""
    height, width = image_shape[1:]
    factor = min(1.0, MAX_SIDE / max(height, width), math.sqrt(MAX_PIXELS / (n * height * width)))
    return max(1, round(height * factor)), max(1, round(width * factor))


def resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return images (n, C, H, W) in another size."""
    return images if images.shape[2:] == size else interpolate(images, size=size, mode="area")


def draw_sheets(
    images: Callable[[np.ndarray], Tensor], indices: np.ndarray, image_shape: tuple[int, int, int]
) -> Sheets:
    """Draw the thumbnails of images.

    Args:
        images: function from indices to images (n, C, H, W) in [0, 1].
        indices: (n,) of the images, in the order of the page.
        image_shape: (C, H, W).
    """
    height, width = thumbnail_size(image_shape, len(indices))
    per_row = max(1, SHEET_SIDE // width)
    per_sheet = per_row * max(1, SHEET_SIDE // height)
    pictures = []
    with Stage("drawing thumbnails") as stage:
        for start in stage.over(range(0, len(indices), per_sheet)):
            sheet = _draw_sheet(images, indices[start : start + per_sheet], (height, width), per_row)
            pictures.append(_data_uri(sheet, is_exact=max(height, width) <= EXACT_SIDE))
    return Sheets({"height": height, "width": width, "per_row": per_row, "per_sheet": per_sheet}, pictures)


def _draw_sheet(
    images: Callable[[np.ndarray], Tensor], indices: np.ndarray, size: tuple[int, int], per_row: int
) -> np.ndarray:
    """Return a sheet of thumbnails, (height, width) or (height, width, 3) uint8."""
    height, width = size
    tiles = [
        displayable(tile)
        for start in range(0, len(indices), CHUNK)
        for tile in resized(images(indices[start : start + CHUNK]), size).numpy()
    ]  # (height, width) or (height, width, 3) each
    n_rows = -(-len(tiles) // per_row)
    sheet = np.zeros((n_rows * height, min(per_row, len(tiles)) * width, *tiles[0].shape[2:]), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // per_row * height, number % per_row * width
        sheet[top : top + height, left : left + width] = np.clip(tile * 255, 0, 255).round()
    return sheet


def _data_uri(picture: np.ndarray, *, is_exact: bool) -> str:
    content = io.BytesIO()
    if is_exact:
        Image.fromarray(picture).save(content, "png")
    else:
        Image.fromarray(picture).save(content, "webp", quality=85)
    kind = "png" if is_exact else "webp"
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode()}"
