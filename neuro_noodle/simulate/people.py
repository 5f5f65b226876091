"""The people of the schematic faces: their features, and the pose, light and noise of each image.

Lengths are in head units (1 is half the height of a head).
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from neuro_noodle.choices import Size
from neuro_noodle.simulate.base import Row

Colour = tuple[int, int, int]

HEAD_SHARE = 0.31  # head unit per image height: leaves room for hair, shoulders and shifts
SKIN_TONES = np.array([(250, 220, 200), (236, 190, 158), (205, 150, 112), (152, 100, 70), (104, 66, 48)])
EYES = {"brown": (104, 62, 34), "hazel": (134, 104, 54), "green": (86, 126, 88), "blue": (84, 130, 178)}
BROWN, RED = (88, 58, 40), (136, 66, 38)
HAIRS = {"black": (44, 38, 40), "brown": BROWN, "red": RED, "blond": (212, 172, 106), "grey": (150,) * 3}


class Hair(NamedTuple):
    """The shape of a hair style, lengths in head units."""

    volume: float  # thickness over the skull
    top: float  # height of the hairline at the parting
    side: float  # height at which the hairline meets the temple
    arch: float  # 1: the hairline falls in a straight slope from the parting; large: a straight fringe
    part: float  # position of the parting, -1..1
    length: float  # how far down the sides reach
    back: float = 0.0  # how far down the hair behind the head reaches, 0: none
    bun: float = 0.0  # radius of a bun on top
    frizz: float = 0.0  # waviness of outline and strands, 0: smooth


HAIR_STYLES = {
    "F": {
        "long": Hair(0.13, -0.76, -0.02, 1.4, 0.1, 1.3, back=1.8),
        "bob": Hair(0.15, -0.36, -0.2, 6.0, 0.0, 0.76, back=0.85),
        "bun": Hair(0.05, -0.68, -0.14, 2.6, 0.0, 0.02, bun=0.3),
        "afro": Hair(0.34, -0.62, -0.12, 2.6, 0.0, 0.42, frizz=0.022),
        "swept": Hair(0.13, -0.72, 0.0, 1.3, -0.5, 0.6, back=0.7),
    },
    "M": {
        "short": Hair(0.09, -0.62, -0.2, 4.0, 0.0, 0.06),
        "swept": Hair(0.14, -0.68, -0.24, 1.8, 0.5, 0.1),
        "afro": Hair(0.2, -0.6, -0.2, 3.5, 0.0, 0.0, frizz=0.018),
        "bald": Hair(0.0, -1.0, 0.0, 1.0, 0.0, 0.0),
        "crew": Hair(0.025, -0.7, -0.34, 3.0, 0.0, -0.02),
    },
}


def _uniform(low: float, high: float, unit: str = "") -> Any:
    """Return a field that is sampled uniformly from a range; its unit is appended to the name of its CSV column."""
    return dataclasses.field(metadata={"sample": lambda generator: float(generator.uniform(low, high)), "unit": unit})


def _one_of(values: Sequence[Any]) -> Any:
    """Return a field that is sampled from a few values; a value listed twice is twice as frequent."""
    return dataclasses.field(metadata={"sample": lambda generator: values[generator.integers(len(values))], "unit": ""})


@dataclass(frozen=True)
class Identity:
    """The features of a person, the same in all of their images."""

    sex: str
    hair_style: str
    skin_tone: float = _uniform(0.0, 1.0)
    face_width: float = _uniform(1.38, 1.58, "px")
    jaw_squareness: float = _uniform(2.0, 3.0)
    eye_distance: float = _uniform(0.58, 0.7, "px")
    eye_width: float = _uniform(0.31, 0.38, "px")
    eye_height: float = _uniform(0.16, 0.21, "px")
    eye_slant: float = _uniform(-0.015, 0.03, "px")
    eye_colour: str = _one_of(tuple(EYES))
    brow_thickness: float = _uniform(0.035, 0.075, "px")
    brow_height: float = _uniform(0.19, 0.24, "px")
    nose_length: float = _uniform(0.3, 0.38, "px")
    nose_width: float = _uniform(0.2, 0.3, "px")
    mouth_width: float = _uniform(0.46, 0.58, "px")
    lip_thickness: float = _uniform(0.05, 0.095, "px")
    expressiveness: float = _uniform(0.9, 1.1)
    hair_colour: str = _one_of(("black", "brown", "red", "blond") * 4 + ("grey",))
    glasses: bool = _one_of((True, False, False, False))
    beard: bool = _one_of((True, True, False, False, False))


@dataclass(frozen=True)
class View:
    """Pose, light and noise, which vary between images and do not depend on the emotion."""

    yaw: float = _uniform(-13, 13, "deg")
    pitch: float = _uniform(-7, 7, "deg")
    tilt: float = _uniform(-4, 4, "deg")
    shift_x: float = _uniform(-0.09, 0.09, "px")
    shift_y: float = _uniform(-0.07, 0.07, "px")
    scale: float = _uniform(0.94, 1.06)
    light: float = _uniform(-80, 80, "deg")  # 0: from above, 90: from the right
    light_strength: float = _uniform(0.35, 0.8)
    noise_sd: float = _uniform(2, 7)
    background_grey: float = _uniform(125, 155)


def random_person(seed: int, person: int) -> Identity:
    """Return the features of a person by number, which do not depend on the number of people.

    Odd numbers are women, even numbers men.
    """
    generator, sex = np.random.default_rng([seed, person]), "F" if person % 2 else "M"
    styles = list(HAIR_STYLES[sex])
    style = styles[(person // 2 + seed) % len(styles)]  # in turn, so that even a few people differ in hair
    identity = _sample_fields(Identity, generator, {"sex": sex, "hair_style": style})
    is_dark = identity.skin_tone > 0.6
    hair = "black" if is_dark and identity.hair_colour in ("blond", "red") else identity.hair_colour
    eyes = "brown" if is_dark else identity.eye_colour
    return dataclasses.replace(identity, beard=identity.beard and sex == "M", hair_colour=hair, eye_colour=eyes)


def random_view(generator: np.random.Generator) -> View:
    """Return random pose, light and noise."""
    return _sample_fields(View, generator, {})


def metadata_columns(record: Identity | View, size: Size) -> Row:
    """Return the true parameters as columns of metadata.csv, lengths in pixels of the saved image."""
    row = {}
    for field in dataclasses.fields(record):
        value, unit = getattr(record, field.name), field.metadata.get("unit", "")
        value = value * head_unit_px(size) if unit == "px" else value
        row[f"{field.name}_{unit}".rstrip("_")] = round(value, 4) if isinstance(value, float) else value
    return row


def head_unit_px(size: Size) -> float:
    """Return the head unit (half the height of a head) in pixels, for an image of this size at scale 1."""
    height, width = size
    return HEAD_SHARE * min(height, 1.28 * width)


def _sample_fields(cls: type[Any], generator: np.random.Generator, given: Row) -> Any:
    """Return an Identity or View whose fields are sampled, except those given."""
    missing = [field for field in dataclasses.fields(cls) if field.name not in given]
    return cls(**given, **{field.name: field.metadata["sample"](generator) for field in missing})
