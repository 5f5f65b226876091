"""One image file: its header, and its pixels at the size that is wanted."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from neuro_noodle.choices import Size, UserError
from neuro_noodle.data import tiff
from neuro_noodle.data.damage import require_end

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")  # Pillow opens no others
SUFFIXES = {
    *(".apng", ".avif", ".bmp", ".gif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg", ".jpg"),
    *(".jpx", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
}
TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
COLOUR_MODES = {"RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"}
BACKGROUNDS = {"white": 255, "grey": 128, "black": 0}
GREY_OF_RGB = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow converts colour of 8 bit
DRAFT = 1.5  # JPEGs are decoded at reduced size, but to at least this times the size that is wanted
BYTES_PER_VALUE = 4  # needed at most to decode an image: up to four bytes, or copies of one


@dataclass(frozen=True)
class Header:
    """The header of an image file.

    Attributes:
        size: upright.
        has_colour: whether it has more than grey.
        is_deep: whether its values need 16 bits.
        is_raw: whether it is a TIFF that only tifffile reads without loss.
        n_bytes: memory needed to decode it.
        remark: what the user should know about how it is read, or an empty text.
    """

    size: Size
    has_colour: bool
    is_deep: bool
    is_raw: bool
    n_bytes: int
    remark: str


def read_header(path: Path, side: int, max_pixels: int) -> Header:
    """Read the header of an image file.

    Args:
        side: the longest side that is wanted, in px; 0 to keep the size.
        max_pixels: the limit of pixels.

    Raises:
        UserError: if it holds more than one image, too many pixels, or values that cannot be read without loss, or if
            its end is lost.
    """
    with path.open("rb") as file:
        if file.read(4) in TIFF_STARTS and (deep := tiff.inspect(path)):
            return _header_of_deep(deep, max_pixels)
        file.seek(0)
        with Image.open(file, formats=FORMATS) as image:
            size = Size(image.height, image.width)
            _require_few(size, max_pixels)
            _require_single(image)
            if image.mode == "F":
                raise UserError("it has floating-point pixels; save it with 8 or 16 bits")
            exif = Image.Image.getexif(image)  # the method of PNG images would decode them
            if exif.get(ExifTags.Base.Orientation, 1) >= 5:  # stored rotated by 90 degrees
                if image.format == "TIFF":  # Pillow 13 confuses its rows and columns
                    raise UserError("it is a TIFF stored rotated by 90 degrees; save it upright")
                size = Size(image.width, image.height)
            remark = _remark(image)
            _draft(image, side)
            n_bytes = BYTES_PER_VALUE * len(image.getbands()) * image.width * image.height
            require_end(file, image.format or "")
            return Header(size, image.mode in COLOUR_MODES, image.mode.startswith("I"), False, n_bytes, remark)


def _header_of_deep(deep: tiff.Deep, max_pixels: int) -> Header:
    _require_few(deep.size, max_pixels)
    remark = "floating-point TIFFs, stored with 16 bit" if deep.is_float else ""
    n_bytes = BYTES_PER_VALUE * deep.n_channels * math.prod(deep.size)
    return Header(deep.size, deep.n_channels > 1, True, True, n_bytes, remark)


def read_image(path: Path, header: Header, fit: str, background: int, out: np.ndarray) -> bool:
    """Decode one image file into out (C, H, W), uint8 or uint16.

    Args:
        header: of the file.
        fit: crop, stretch or pad.
        background: the level of grey (0 to 255) behind transparent pixels.

    Returns:
        Whether it has transparent pixels.
    """
    if header.is_raw:
        _write([Image.fromarray(plane) for plane in _channels(tiff.read(path), len(out))], tiff.WHITE, fit, out)
        return False
    with Image.open(path, formats=FORMATS) as image:
        _draft(image, max(out.shape[1:]))
        ImageOps.exif_transpose(image, in_place=True)
        image.load()
        if image.format == "PNG" and (image.height, image.width) != header.size:
            raise UserError("it is stored rotated by 90 degrees, and says so only after its pixels; save it upright")
        opaque = _on_background(image, background)
    if opaque.mode.startswith("I"):
        values = np.asarray(opaque, np.float32)
        if values.min() < 0 or values.max() > 65535:
            raise UserError("it has values outside the range of 16 bits")
        _write([Image.fromarray(values)], 65535, fit, out)
    else:
        mode = "RGB" if len(out) == 3 else "L"
        _write([opaque if opaque.mode == mode else opaque.convert(mode)], 255, fit, out)
    return opaque is not image


def _draft(image: Image.Image, side: int) -> None:
    """Let Pillow decode a JPEG at 1/2, 1/4 or 1/8 of its size, which is faster, if that is not below what is wanted."""
    if side:
        image.draft(image.mode, (draft_px(side),) * 2)


def draft_px(side: int) -> int:
    """Return the side in px below which no JPEG is decoded, if an image of this longest side is wanted."""
    return math.ceil(DRAFT * side)


def _require_few(size: Size, max_pixels: int) -> None:
    n_pixels = math.prod(size)
    if not n_pixels:
        raise UserError("it has no pixels")
    if n_pixels > max_pixels:
        raise UserError(
            f"it has {n_pixels:,} pixels ({size}), more than max_pixels={max_pixels}; raise that, or make it smaller"
        )


def _require_single(image: Image.Image) -> None:
    n_frames = getattr(image, "n_frames", 1)
    if n_frames > 1 and image.format not in ("MPO", "TIFF"):  # of a TIFF, tifffile has counted the images
        raise UserError(f"it is an animation of {n_frames} frames; extract them, for example with ffmpeg, or save one")


def _remark(image: Image.Image) -> str:
    if image.format == "MPO":  # phones: a photograph, then smaller versions, a depth map or the second of two views
        return "photographs with a preview (MPO), of which the first image was read"
    arguments = image.tile[0].args if image.tile else ""  # of Pillow's decoder
    is_deep_ppm = image.format == "PPM" and isinstance(arguments, tuple) and arguments[-1] > 255
    is_reduced = not image.mode.startswith("I") and (is_deep_ppm or ";16" in str(arguments))
    return "images of 16 bit with colour or transparency, read with 8 bit" if is_reduced else ""


def _on_background(image: Image.Image, level: int) -> Image.Image:
    """Return the image on a grey background if it has transparent pixels, else the image itself."""
    if not image.has_transparency_data:
        return image
    if image.mode.startswith("I"):
        raise UserError("it has 16 bits and a level that is transparent; save it without transparency")
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema()[0] == 255:
        return image
    ground = Image.new("RGBA", rgba.size, (level, level, level, 255))
    return Image.alpha_composite(ground, rgba).convert("RGB")


def _channels(values: np.ndarray, n_channels: int) -> np.ndarray:
    """Return (C, H, W) values with this number of channels, 1 or 3."""
    if n_channels < len(values):
        return np.tensordot(np.array(GREY_OF_RGB, np.float32), values, 1)[None]
    return values.repeat(n_channels // len(values), 0)


def _write(pictures: list[Image.Image], white: int, fit: str, out: np.ndarray) -> None:
    """Write one image, or one per channel, into out (C, H, W) at its size."""
    planes = [np.atleast_3d(np.asarray(_fit(picture, Size(*out.shape[1:]), fit))) for picture in pictures]
    values = np.concatenate(planes, 2).transpose(2, 0, 1)  # (C, H, W)
    full = np.iinfo(out.dtype).max
    out[:] = values if white == full == 255 else (values * (full / white)).round().clip(0, full)


def _fit(image: Image.Image, size: Size, fit: str) -> Image.Image:
    shape = (size.width, size.height)
    if image.size == shape:
        return image
    if fit == "crop":
        return ImageOps.fit(image, shape, Image.Resampling.BICUBIC)
    if fit == "stretch":
        return image.resize(shape, Image.Resampling.BICUBIC)
    values = np.asarray(image, np.float32)
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]).mean(0)
    colour = tuple(border.round().astype(int).tolist()) if border.ndim else round(float(border))
    return ImageOps.pad(image, shape, Image.Resampling.BICUBIC, color=colour)
