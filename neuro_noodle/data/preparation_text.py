"""How images become the input of a network, described for programs and people without this package."""

from typing import Any

import numpy as np
from PIL import __version__ as pillow_version

from neuro_noodle.data.folder import Decoding
from neuro_noodle.data.pictures import BACKGROUNDS, GREY_OF_RGB, draft_px
from neuro_noodle.data.white import KnownWhite

CHANNELS = {1: ["grey"], 3: ["red", "green", "blue"]}  # of image files
FITS = {
    "crop": "ImageOps.fit(image, ({width}, {height}), Image.Resampling.BICUBIC)",
    "stretch": "image.resize(({width}, {height}), Image.Resampling.BICUBIC)",
    "pad": "ImageOps.pad(image, ({width}, {height}), Image.Resampling.BICUBIC, color=BORDER), where BORDER is the "
    "rounded mean of the pixels of its first and last row and column (corners count twice)",
}
FIT_TEXTS = {
    "crop": "crop its centre to that ratio of height and width",
    "stretch": "change its ratio of height and width",
    "pad": "keep its ratio of height and width and add a uniform border",
}


def describe_preparation(
    how: Decoding, image_shape: tuple[int, int, int], white: KnownWhite, *, resizes: bool
) -> dict[str, Any]:
    """Return how image files and arrays are prepared, each as values for programs and as a sentence.

    Args:
        how: how image files are decoded, with the size that is wanted.
        image_shape: (C, H, W) of the training images.
        white: of the training images.
        resizes: whether image files are resized; otherwise they must have the size already.
    """
    files = _describe_files(how, image_shape, white, resizes=resizes) if image_shape[0] in CHANNELS else None
    return {"files": files, "arrays": _describe_arrays(image_shape, white)}


def _describe_files(
    how: Decoding, image_shape: tuple[int, int, int], white: KnownWhite, *, resizes: bool
) -> dict[str, Any]:
    n_channels, height, width = image_shape
    resize = {
        "fit": how.fit,
        "filter": "bicubic",
        "antialias": True,
        "pillow": FITS[how.fit].format(height=height, width=width),
    }
    known = {kind: white.candidates(np.dtype(kind)) for kind in ("uint8", "uint16")}
    values = {
        "pillow_version": pillow_version,
        "jpeg_draft_px": draft_px(max(height, width)),
        "exif_orientation": "applied",
        "background": BACKGROUNDS[how.background],
        "mode": "RGB" if n_channels == 3 else "L",
        "colour_files": "refused" if n_channels == 1 and how.colour == "auto" else "converted",
        "grey_of_rgb": list(GREY_OF_RGB),
        "height": height,
        "width": width,
        "resize": resize if resizes else None,
        "white": {kind: found[0] if len(found) == 1 else None for kind, found in known.items()},
    }
    return {"sentence": _format_files(values)} | values


def _format_files(values: dict[str, Any]) -> str:
    height, width, draft, resize = (values[key] for key in ("height", "width", "jpeg_draft_px", "resize"))
    grey = "grey (mode L, 0.299 red + 0.587 green + 0.114 blue; a file of 16 bits keeps them, as mode F)"
    colour = "; training had no files with colour" if values["colour_files"] == "refused" else ""
    size = f"{height} x {width} px (height x width)"
    resized = (
        f"resize it to {size}: {FIT_TEXTS[resize['fit']]}, by a bicubic filter with antialiasing, {resize['pillow']}; "
        "round to whole numbers"
        if resize
        else f"do not resize it: it must have {size}"
    )
    whites = " or ".join(f"{white:.10g} ({kind})" for kind, white in values["white"].items() if white)
    return (
        f"Open the file with Pillow; let Pillow decode a JPEG at a reduced size, image.draft(image.mode, ({draft}, "
        f"{draft})); turn it upright, ImageOps.exif_transpose(image); draw transparent pixels on the grey level "
        f"{values['background']} of 255; convert it to {grey if values['mode'] == 'L' else 'RGB'}{colour}; {resized}; "
        f"divide by {whites}, so that 0 is black and 1 is white."
    )


def _describe_arrays(image_shape: tuple[int, int, int], white: KnownWhite) -> dict[str, Any]:
    kind, value = white.kind.name, white.value
    size = " x ".join(map(str, image_shape))
    sentence = (
        f"Arrays are never resized: bring them to N x {size} (N x channels x height x width) and divide by their value "
        f"of white, which was {value:.10g} in the {kind} arrays of training, so that 0 is black and 1 is white."
    )
    return {"sentence": sentence, "dtype": kind, "white": value}
