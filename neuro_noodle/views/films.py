"""Films: frames as arrays, and the GIF file that holds them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from neuro_noodle.plain import readable
from neuro_noodle.runs.files import atomic
from neuro_noodle.views.figures import displayable

MIN_HEIGHT_PX = 200  # of an image in a film
MARGIN_PX = 28  # above and below the images, for names and titles
SNAPSHOT_MS, LAST_MS = 330, 2000  # of a film over training, and its last frame


def figure_to_array(figure: Figure, dpi: int = 100) -> np.ndarray:
    """Return a figure as (H, W, 3) uint8."""
    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def film_frames(rows: Mapping[str, np.ndarray], titles: Sequence[str]) -> list[np.ndarray]:
    """Return the frames of a film that shows several series of images side by side, each with its name above.

    Args:
        rows: by name, (T, C, H, W) in [0, 1], all of the same T, H and W.
        titles: T titles, one below each frame.

    Returns:
        T frames (H', W', 3) uint8; images are enlarged by a whole factor to a height of at least 200 px.
    """
    titles = [" ".join(readable(title).split()) for title in titles]  # on one line
    height, width = next(iter(rows.values())).shape[2:]
    factor = -(-MIN_HEIGHT_PX // height)
    cell = _cell_width(list(rows), titles, width * factor)
    frames = _blank_frames(list(rows), titles, cell, height * factor)
    for i, images in enumerate(rows.values()):
        x = i * cell + (cell - width * factor) // 2
        for frame, image in zip(frames, images, strict=True):
            shown = np.atleast_3d(np.rint(255 * displayable(image)).astype(np.uint8))  # (H, W, 1 or 3)
            enlarged = shown.repeat(factor, 0).repeat(factor, 1)  # (factor * H, factor * W, 1 or 3)
            frame[MARGIN_PX:-MARGIN_PX, x : x + width * factor] = enlarged
    return frames


def save_gif(
    path: Path,
    frames: Sequence[np.ndarray],
    *,
    frame_ms: int,
    last_ms: int | None = None,
    shared_palette: bool = False,
) -> None:
    """Write frames (H, W, 3) uint8 as a GIF that repeats forever.

    Args:
        path: the file.
        frames: (H, W, 3) each.
        frame_ms: duration of a frame.
        last_ms: duration of the last frame, if it differs.
        shared_palette: use the last frame's colours for all frames, so that colours do not flicker.
    """
    images = [Image.fromarray(frame) for frame in frames]
    if shared_palette:
        palette = images[-1].quantize(256)
        images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    durations = [frame_ms] * (len(images) - 1) + [frame_ms if last_ms is None else last_ms]
    with atomic(path) as scratch:
        images[0].save(scratch, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)


def _cell_width(names: Sequence[str], titles: Sequence[str], image_width: int) -> int:
    """Return the width of one series in px, enough for its images, its name and its share of a title."""
    font = ImageFont.load_default(size=16)
    widths = [font.getlength(name) for name in names] + [font.getlength(title) / len(names) for title in titles]
    return max(image_width, int(max(widths)) + 8) + 8


def _blank_frames(names: Sequence[str], titles: Sequence[str], cell: int, image_height: int) -> list[np.ndarray]:
    """Return white frames with the names of the series above and a title below."""
    font = ImageFont.load_default(size=16)
    blank = Image.new("RGB", (cell * len(names), image_height + 2 * MARGIN_PX), "white")
    for i, name in enumerate(names):
        ImageDraw.Draw(blank).text((i * cell + cell / 2, 14), name, fill="black", font=font, anchor="mm")
    frames = []
    for title in titles:
        titled = blank.copy()
        ImageDraw.Draw(titled).text((blank.width / 2, blank.height - 14), title, fill="black", font=font, anchor="mm")
        frames.append(np.array(titled))
    return frames
