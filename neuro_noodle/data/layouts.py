"""The layout of image arrays: which axis counts images, channels, rows and columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from neuro_noodle.choices import Size, require
from neuro_noodle.data.pictures import BACKGROUNDS
from neuro_noodle.data.store import IN_MEMORY, Mapped, format_shape

Axes = Literal["NHW", "HWN", "NCHW", "NHWC", "HWCN"]
GREY = ("HW", "NHW", "HWC", "NCHW", "NHWC", "NP")  # layouts of new images of one channel (CHW is also NHW)
COLOUR = ("CHW", "HWC", "NCHW", "NHWC")
MAX_CHANNELS = 4
MIN_SIDE = 8  # of an image; shorter first axes count images
MAX_ASPECT = 2  # the first two axes are not those of an image if one is longer by more than this factor


def as_images(images: np.ndarray, size: Size | None, axes: Axes | None, where: Path | str) -> np.ndarray:
    """Return an array as (N, C, H, W) of a type that torch supports; a mapped array is not copied.

    Args:
        images: numbers in one of the layouts of `Axes`, or N x P with a size.
        size: the size of images stored as rows of N x P numbers; images are never resized.
        axes: the layout; None infers it from the shape.
        where: the source of the array, for errors.

    Raises:
        UserError: if type or shape are not those of images, or the layout is unclear.
    """
    kind = images.dtype
    require(kind.kind in "biuf" and kind.itemsize <= 8, f"{where} holds {kind}, but images are plain real numbers")
    shape = format_shape(images.shape)
    if images.ndim == 2 and size and size.height * size.width == images.shape[1]:
        images, axes = images.reshape(-1, *size), "NHW"  # (N, H, W)
    require(images.size > 0, f"{where} is {shape}: it holds no images")
    require(
        images.ndim in (3, 4),
        f"{where} is {shape}, but images are N x H x W or N x C x H x W; rows of pixels need size=HEIGHTxWIDTH",
    )
    axes = axes or infer_axes(images.shape, where)
    require(len(axes) == images.ndim, f"{where} is {shape}, but axes={axes} names {len(axes)} axes")
    is_plain = images.flags.c_contiguous and not axes.startswith("H") and not _is_foreign(kind)
    is_mapped = isinstance(images, Mapped) and (is_plain or images.nbytes > IN_MEMORY)
    require(
        is_plain or not is_mapped,
        f"{where} is large, and in Fortran order, with the images on the last axis, in foreign byte order or unsigned "
        "32 or 64 bit; save it as N x H x W, in C order, as uint8, uint16 or float32",
    )
    values = _as_nchw(images, axes)
    require(
        size is None or values.shape[2:] == size,
        f"{where} is {shape}, not images of {size}; arrays are never resized, so leave size= out",
    )
    return values if is_mapped else _in_memory(values)


def on_background(
    images: np.ndarray, white: float, background: str, where: Path | str
) -> tuple[np.ndarray, dict[str, int]]:
    """Draw images of 4 channels, RGB and transparency, on a background, as image files are; others are not changed.

    Args:
        images: (N, C, H, W).
        white: their value of white; that of pixels which are not transparent is the same, or 1.
        background: one of `BACKGROUNDS`, or none to keep 4 channels.

    Returns:
        (N, C, H, W) images, and the number of those that changed, by description.

    Raises:
        UserError: if a mapped array has 4 channels, which cannot be changed.
    """
    if images.shape[1] != 4 or background == "none":
        return images, {}
    require(
        not isinstance(images, Mapped),
        f"{where} is large and has 4 channels: save it as RGB, or choose background=none, which keeps 4 channels",
    )
    colours = np.array(images[:, :3], order="C")  # (N, 3, H, W)
    level, opaque = white * BACKGROUNDS[background] / 255, white if images[:, 3].max() > 1 else 1
    for colour, alpha in zip(colours, images[:, 3] / opaque, strict=True):
        mixed = level + alpha * (colour - level)
        colour[:] = mixed if colours.dtype.kind == "f" else mixed.round()
    what = f"images of 4 channels, drawn on {background} as RGB with transparent pixels (background=none keeps them)"
    return colours, {what: len(images)}


def match_axes(shape: tuple[int, ...], image_shapes: Sequence[tuple[int, ...]], usual: Axes | None, where: str) -> str:
    """Return the layout of an array of images whose shape is known.

    Args:
        shape: of the array.
        image_shapes: the shapes (C, H, W) that an image may have.
        usual: another layout that is allowed, or None.
        where: the source of the array, for errors.

    Returns:
        A layout with the axis N, or without it for a single image; NP for rows of pixels.

    Raises:
        UserError: if the array has none of these layouts, or several.
    """
    readings: list[tuple[str, tuple]] = []
    for channels, height, width in image_shapes:
        sides = {"C": channels, "H": height, "W": width, "P": height * width}
        layouts = dict.fromkeys([*(COLOUR if channels > 1 else GREY), *([usual] if usual else [])])
        readings += [(axes, tuple(sides.get(axis, "N") for axis in axes)) for axes in layouts]
    fitting = [axes for axes, sides in readings if _fits(shape, sides)]
    allowed = ", ".join(format_shape(sides) for _, sides in readings)
    require(bool(fitting), f"{where} is {format_shape(shape)}, but must be one of {allowed}; arrays are never resized")
    require(
        len(fitting) == 1,
        f"{where} is {format_shape(shape)}, and it is unclear which axis is which ({' or '.join(fitting)}); make it "
        "N x C x H x W",
    )
    return fitting[0]


def _fits(shape: tuple[int, ...], sides: tuple) -> bool:
    return len(shape) == len(sides) and all(side in ("N", n) for n, side in zip(shape, sides, strict=True))


def infer_axes(shape: tuple[int, ...], where: Path | str) -> Axes:
    """Return the layout of an array of images.

    Raises:
        UserError: if it is unclear.
    """
    if len(shape) == 3:
        first, middle, last = shape
        is_clear = middle == last != first or _aspect(first, middle) > MAX_ASPECT or min(first, middle) < MIN_SIDE
        candidates: list[Axes] = ["NHW"] if is_clear else ["NHW", "HWN"]
    else:
        places: dict[Axes, int] = {"NCHW": 1, "NHWC": 3, "HWCN": 2}
        candidates = [axes for axes, place in places.items() if shape[place] <= MAX_CHANNELS]
    readings = ", ".join(f"axes={axes}" for axes in candidates or ("NCHW", "NHWC", "HWCN"))
    require(
        len(candidates) == 1,
        f"{where} is {format_shape(shape)}, and it is unclear which axis is which; choose one of {readings} "
        "(N images of C channels, H rows and W columns)",
    )
    return candidates[0]


def _aspect(height: int, width: int) -> float:
    return max(height, width) / min(height, width)


def _as_nchw(values: np.ndarray, axes: Axes) -> np.ndarray:
    order = [axes.index(axis) for axis in "NCHW" if axis in axes]
    values = values.transpose(order)
    return values if "C" in axes else values[:, None]  # (N, C, H, W)


def _is_foreign(kind: np.dtype) -> bool:
    """Return whether torch has no such type."""
    return not kind.isnative or kind in (np.uint32, np.uint64)


def _in_memory(values: np.ndarray) -> np.ndarray:
    """Return an array in memory of a type that torch supports, with the values of an image next to each other."""
    kind = values.dtype
    values = np.asarray(values)
    if _is_foreign(kind) or kind == np.float64:
        with np.errstate(over="ignore"):  # values that become infinite are refused later
            values = values.astype(np.float32 if kind.itemsize > 2 else kind.newbyteorder("="))
    return np.ascontiguousarray(values) if values.strides[0] < values.strides[-1] else values
