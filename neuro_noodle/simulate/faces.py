"""Draw schematic faces that change from neutral to happy and from neutral to sad."""

import functools
import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from neuro_noodle.choices import Size
from neuro_noodle.simulate.base import Kind, Option, Row, image_size, whole_number
from neuro_noodle.simulate.features import draw_features
from neuro_noodle.simulate.people import Identity, View, metadata_columns, random_person, random_view
from neuro_noodle.simulate.sheet import COARSE, EYE_Y, MOUTH_Y, SUPERSAMPLE, Sheet

COLUMNS = ("file", "person", "sex", "emotion", "step", "amount")  # followed by the true parameters
EMOTIONS = {"happy": "Ha", "sad": "Sa"}


def draw_faces(folder: Path, *, n_people: int, n_steps: int, size: Size, seed: int) -> list[Row]:
    """Draw every person at every step from neutral to happy and to sad.

    Args:
        folder: an empty folder.
        n_people: number of people.
        n_steps: number of images of each person and emotion, from 1/n_steps to the full emotion.
        size: height and width of an image.
        seed: the same seed gives the same images.

    Returns:
        A row of true parameters for each image.
    """
    numbers = itertools.product(range(1, n_people + 1), EMOTIONS, range(1, n_steps + 1))
    save = functools.partial(_save_face, folder, n_steps, size, seed)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda job: save(*job), numbers))


def _save_face(folder: Path, n_steps: int, size: Size, seed: int, person: int, emotion: str, step: int) -> Row:
    """Draw and save one face, which depends only on the seed and its own numbers; return its row."""
    identity, amount = random_person(seed, person), step / n_steps
    generator = np.random.default_rng([seed, person, list(EMOTIONS).index(emotion), step])
    view = random_view(generator)
    smile, sorrow = (amount * identity.expressiveness * (emotion == shown) for shown in EMOTIONS)
    name = f"{person:02d}/{person:02d}{identity.sex}_Ne_to_{EMOTIONS[emotion]}_C{step:02d}.JPG"
    (folder / name).parent.mkdir(exist_ok=True)
    draw_face(size, identity, view, smile, sorrow, generator).save(folder / name, format="JPEG", quality=90)
    row = dict(zip(COLUMNS, (name, person, identity.sex, emotion, step, round(amount, 4)), strict=True))
    return row | metadata_columns(identity, size) | metadata_columns(view, size)


def draw_face(
    size: Size, identity: Identity, view: View, smile: float, sorrow: float, generator: np.random.Generator
) -> Image.Image:
    """Draw one face.

    Args:
        size: height and width of the image.
        identity: the person.
        view: pose, light and noise.
        smile, sorrow: intensity of happiness and of sadness, from 0 to about 1.
        generator: the source of the pixel noise.

    Returns:
        An RGB image.
    """
    sheet = Sheet(size, identity, view, smile, sorrow)
    draw_features(sheet)
    shading = _shading(sheet)
    pixels: np.ndarray = np.asarray(sheet.image.reduce(SUPERSAMPLE), np.float32)  # (H, W, 3)
    mask = np.asarray(sheet.mask.reduce(SUPERSAMPLE), np.float32)[:, :, None] / 255  # (H, W, 1)
    pixels = pixels * (shading.factor * mask)  # in place from here on: copies took a third of the time
    pixels += shading.gloss * mask + shading.background * (1 - mask)
    pixels += view.noise_sd * generator.standard_normal((*size, 1), dtype=np.float32) + 0.5
    return Image.fromarray(pixels.clip(0, 255, out=pixels).astype(np.uint8))


@dataclass(frozen=True)
class Shading:
    """The light of an image, (H, W, 1) each."""

    factor: np.ndarray  # multiplies the drawn colours
    gloss: np.ndarray  # added to the person
    background: np.ndarray  # grey level behind the person


def _shading(sheet: Sheet) -> Shading:
    """Return the light on the head, an ellipsoid with the relief of the face."""
    view, (width, height), angle = sheet.view, sheet.image.size, np.radians(sheet.view.light)
    rows, columns = np.ogrid[COARSE / 2 : height : COARSE, COARSE / 2 : width : COARSE]
    x, y = (columns - sheet.centre[0]) / sheet.unit_px, (rows - sheet.centre[1]) / sheet.unit_px
    down, right = np.gradient(_depth(sheet, x, y), COARSE / sheet.unit_px)
    light = np.array([np.sin(angle), -np.cos(angle), 1.2]) / np.hypot(1, 1.2)  # mostly from the front
    normal = np.stack([-right, -down, np.ones_like(down)], -1) / np.sqrt(1 + right**2 + down**2)[..., None]
    halfway = (light + [0, 0, 1]) / np.linalg.norm(light + [0, 0, 1])
    factor = 1 + 0.8 * view.light_strength * (normal @ light / light[2] - 1)
    gloss = 60 * view.light_strength * (normal @ halfway).clip(0) ** 30
    background = view.background_grey * (1 + 0.1 * view.light_strength * (light[0] * x + light[1] * y))
    coarse = (Image.fromarray(values.astype(np.float32)) for values in (factor, gloss, background))
    size = (width // SUPERSAMPLE, height // SUPERSAMPLE)
    return Shading(*(np.asarray(image.resize(size, Image.Resampling.BILINEAR))[:, :, None] for image in coarse))


def _depth(sheet: Sheet, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the depth of the head at positions in head units."""
    inside = 1 - (x / (sheet.half_width * 1.08)) ** 2 - (y / 1.1) ** 2
    depth = 0.8 * np.sqrt(np.logaddexp(0, 6 * inside) / 6)  # smooth at the outline, which hair may cover
    bumps = _relief(sheet)
    centres = (sheet.project(bumps[:, :2]) - sheet.centre) / sheet.unit_px
    for (bump_x, bump_y), (_, _, sd_x, sd_y, height) in zip(centres, bumps, strict=True):
        depth += height * np.exp(-(((x - bump_x) / sd_x) ** 2)) * np.exp(-(((y - bump_y) / sd_y) ** 2))
    return depth


def _relief(sheet: Sheet) -> np.ndarray:
    """Return bumps and hollows of the face, one per row: x, y, width in x, width in y, height."""
    right = [
        (0, sheet.nose_y - 0.17, 0.075, 0.14, 0.045),
        (0, sheet.nose_y - 0.01, 0.085, 0.065, 0.055),
        (0, 0.88, 0.15, 0.08, 0.03 + 0.015 * sheet.sorrow),
        (0, MOUTH_Y + 0.15, 0.14, 0.04, -0.015),
        (0, MOUTH_Y, 0.2, 0.08, 0.025),
        (sheet.identity.nose_width * 0.42, sheet.nose_y, 0.05, 0.045, 0.05),
        (sheet.eye_x, EYE_Y, 0.14, 0.09, -0.05),
        (sheet.eye_x, sheet.brow_y, 0.18, 0.07, 0.035),
        (sheet.eye_x + 0.05, 0.32 - 0.05 * sheet.smile, 0.14, 0.11, 0.05 + 0.06 * sheet.smile),
    ]
    return np.concatenate([right, np.array(right) * [-1, 1, 1, 1, 1]])


FACES = Kind(
    draw=draw_faces,
    summary="schematic faces that change from neutral to happy and from neutral to sad",
    folder="stimuli",
    columns=COLUMNS,
    options=(
        Option("n_people", whole_number(1, 99), 12, "number of people"),
        Option("n_steps", whole_number(1, 99), 20, "number of morph steps from nearly neutral to the full emotion"),
        Option("size", image_size, Size(650, 506), "HEIGHTxWIDTH of an image in pixels"),
    ),
)
