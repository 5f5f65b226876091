"""Draw schematic faces that turn from neutral to happy and to sad.

Lengths are in head units: x right, y down, z towards the viewer, 1 = half the height of a head.
"""

import argparse
import dataclasses
import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Row = dict[str, Any]

COLUMNS = ("file", "person", "sex", "emotion", "step", "amount")  # the true parameters follow
EMOTIONS = {"happy": "Ha", "sad": "Sa"}
SUPERSAMPLE, COARSE = 2, 4  # light and shadows are soft, so a quarter of the drawing's resolution is enough
HEAD_SHARE = 0.31  # half a head per image height: leaves room for hair, shoulders and shifts
EYE_Y, MOUTH_Y = 0.02, 0.62
DARK: Colour = (34, 22, 22)
WHITE: Colour = (255, 255, 255)
SHADE: Colour = (80, 35, 35)
SHIRT: Colour = (104, 110, 122)  # the same for all, so that clothes do not give a person away
SKIN_TONES = np.array([(250, 220, 200), (236, 190, 158), (205, 150, 112), (152, 100, 70), (104, 66, 48)])
EYES = {"brown": (104, 62, 34), "hazel": (134, 104, 54), "green": (86, 126, 88), "blue": (84, 130, 178)}
BROWN, RED = (88, 58, 40), (136, 66, 38)
HAIRS = {"black": (44, 38, 40), "brown": BROWN, "red": RED, "blond": (212, 172, 106), "grey": (150,) * 3}


class Hair(NamedTuple):
    """The cut of a hair style, lengths in head units."""

    volume: float  # thickness over the skull
    top: float  # height of the hairline at the parting
    side: float  # height at which the hairline meets the temple
    arch: float  # 1 = hairline falls like a tent from the parting, large = straight fringe
    part: float  # place of the parting, -1..1
    length: float  # how far down the sides reach
    back: float = 0.0  # how far down the hair behind the head reaches, 0 = none
    bun: float = 0.0  # radius of a bun on top
    frizz: float = 0.0  # how far the outline and the strands waver, 0 = smooth


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


def _between(low: float, high: float, unit: str = "") -> Any:
    """A field drawn uniformly from a range; its unit ends the name of its metadata column."""
    return dataclasses.field(metadata={"draw": lambda rng: float(rng.uniform(low, high)), "unit": unit})


def _among(values: Sequence[Any]) -> Any:
    """A field drawn from a few values; one that is given twice comes up twice as often."""
    return dataclasses.field(metadata={"draw": lambda rng: values[rng.integers(len(values))], "unit": ""})


@dataclass(frozen=True)
class Identity:
    """What makes a person: the same in every image of that person."""

    sex: str
    hair_style: str
    skin_tone: float = _between(0.0, 1.0)
    face_width: float = _between(1.38, 1.58, "px")
    jaw_squareness: float = _between(2.0, 3.0)
    eye_distance: float = _between(0.58, 0.7, "px")
    eye_width: float = _between(0.31, 0.38, "px")
    eye_height: float = _between(0.16, 0.21, "px")
    eye_slant: float = _between(-0.015, 0.03, "px")
    eye_colour: str = _among(tuple(EYES))
    brow_thickness: float = _between(0.035, 0.075, "px")
    brow_height: float = _between(0.19, 0.24, "px")
    nose_length: float = _between(0.3, 0.38, "px")
    nose_width: float = _between(0.2, 0.3, "px")
    mouth_width: float = _between(0.46, 0.58, "px")
    lip_thickness: float = _between(0.05, 0.095, "px")
    expressiveness: float = _between(0.9, 1.1)
    hair_colour: str = _among(("black", "brown", "red", "blond") * 4 + ("grey",))
    glasses: bool = _among((True, False, False, False))
    beard: bool = _among((True, True, False, False, False))


@dataclass(frozen=True)
class View:
    """What changes from image to image, whatever the emotion: pose, light and noise."""

    yaw: float = _between(-13, 13, "deg")
    pitch: float = _between(-7, 7, "deg")
    tilt: float = _between(-4, 4, "deg")
    shift_x: float = _between(-0.09, 0.09, "px")
    shift_y: float = _between(-0.07, 0.07, "px")
    scale: float = _between(0.94, 1.06)
    light: float = _between(-80, 80, "deg")  # 0 = from above, 90 = from the right
    light_strength: float = _between(0.35, 0.8)
    noise_sd: float = _between(2, 7)
    background_grey: float = _between(125, 155)


def _draw_fields(cls: type[Any], rng: np.random.Generator, given: Row) -> Any:
    """An instance of Identity or View, every field that is not given drawn from its own range."""
    missing = [field for field in dataclasses.fields(cls) if field.name not in given]
    return cls(**given, **{field.name: field.metadata["draw"](rng) for field in missing})


def _columns(record: Identity | View, unit_px: float) -> Row:
    """The true parameters as metadata columns: lengths in pixels of the saved image, angles in degrees."""
    row = {}
    for field in dataclasses.fields(record):
        value, unit = getattr(record, field.name), field.metadata.get("unit", "")
        value = value * unit_px if unit == "px" else value
        row[f"{field.name}_{unit}".rstrip("_")] = round(value, 4) if isinstance(value, float) else value
    return row


def _blend(first: Colour, second: Colour, amount: float) -> Colour:
    """The colour on the way from the first (0) to the second (1)."""
    red, green, blue = (round(a * (1 - amount) + b * amount) for a, b in zip(first, second, strict=True))
    return red, green, blue


def _line(start: Sequence[float], pull: Sequence[float], end: Sequence[float]) -> np.ndarray:
    """Points of a Bezier bend."""
    t = np.linspace(0, 1, 20)[:, None]
    return (1 - t) ** 2 * np.array(start) + 2 * t * (1 - t) * np.array(pull) + t**2 * np.array(end)


def _oval(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Points of an ellipse."""
    turn = np.linspace(0, 2 * np.pi, 36)
    return np.column_stack([x + rx * np.cos(turn), y + ry * np.sin(turn)])


def _strip(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The polygon enclosed by two curves that run the same way."""
    return np.concatenate([first, second[::-1]])


def _mirror(points: np.ndarray) -> np.ndarray:
    """The same points on the other side of the face."""
    return points * [-1, 1, 1][: points.shape[1]]


def _flat(points: np.ndarray, z: float | np.ndarray) -> np.ndarray:
    """Points at a depth of their own instead of on the surface of the face."""
    return np.column_stack([points, np.broadcast_to(z, len(points))])


class Sheet:
    """A supersampled drawing of one face that places shapes in head units as the view sees them."""

    def __init__(self, size: tuple[int, int], who: Identity, view: View, smile: float, sorrow: float) -> None:
        self.who, self.view, self.smile, self.sorrow = who, view, smile, sorrow
        self.half, self.eye = who.face_width / 2, who.eye_distance / 2
        self.tip, self.brow = EYE_Y + who.nose_length, EYE_Y - who.brow_height
        place = np.linspace(0, 1, len(SKIN_TONES))
        self.skin = tuple(int(np.interp(who.skin_tone, place, tones)) for tones in SKIN_TONES.T)
        self.hair, self.cut = HAIRS[who.hair_colour], HAIR_STYLES[who.sex][who.hair_style]
        self.unit, pixels = SUPERSAMPLE * unit_of(size) * view.scale, SUPERSAMPLE * np.array(size[::-1])
        self.centre = pixels / 2 + np.array([view.shift_x, view.shift_y + 0.02]) * self.unit
        self.image = Image.new("RGB", tuple(pixels.tolist()))
        self.mask = Image.new("L", self.image.size)
        (sy, sp, st), (cy, cp, ct) = (f(np.radians([view.yaw, view.pitch, view.tilt])) for f in (np.sin, np.cos))
        yaw, pitch = [[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]], [[1, 0, 0], [0, cp, sp], [0, -sp, cp]]
        self.turn = np.array(yaw) @ np.array(pitch) @ np.array([[ct, st, 0], [-st, ct, 0], [0, 0, 1]])

    def surface(self, points: np.ndarray, lift: float = 0.0) -> np.ndarray:
        """Points of the face with their depth."""
        x, y = (points / [self.half, 1]).T
        bulge = np.sqrt((1 - x**2).clip(0)) * (1 - (y / np.where(y > 0, 1.25, 1.02)) ** 2).clip(0) ** 0.35
        return _flat(points, 0.75 * bulge + lift)

    def place(self, points: np.ndarray) -> np.ndarray:
        """Where points of the face surface (n, 2), or of space (n, 3), lie in the drawing, in pixels."""
        points = self.surface(points) if points.shape[1] == 2 else points
        return (points @ self.turn)[:, :2] * self.unit + self.centre

    def fill(self, points: np.ndarray, colour: Colour, alpha: int = 255, both: bool = False) -> None:
        """Fill a polygon, on both sides if wished; opaque ones belong to the person, not to the background."""
        for shape in (points, _mirror(points))[: 1 + both]:
            outline = self.place(shape).ravel().tolist()
            ImageDraw.Draw(self.image, "RGBA").polygon(outline, fill=(*colour, alpha))
            if alpha == 255:
                ImageDraw.Draw(self.mask).polygon(outline, fill=255)

    def stroke(self, points: np.ndarray, width: Any, colour: Colour, alpha: int = 255, both: bool = False) -> None:
        """Draw a line of a width that may change along it, on both sides if wished."""
        along = np.gradient(points[:, :2], axis=0)
        side = np.zeros_like(points)
        side[:, :2] = along[:, ::-1] * [-0.5, 0.5] / (np.hypot(*along.T)[:, None] + 1e-9)
        side *= np.broadcast_to(width, len(points))[:, None]
        self.fill(_strip(points + side, points - side), colour, alpha, both)

    def smudge(self, softness: float, *marks: tuple[np.ndarray, Colour, float]) -> None:
        """Multiply the drawing by blurred shadows or blushes on both sides: shape, colour and strength of each."""
        shadow = Image.new("RGB", tuple(-(-edge // COARSE) for edge in self.image.size), WHITE)
        for points, colour, strength in marks:
            for shape in (points, _mirror(points)):
                outline = (self.place(shape) / COARSE).ravel().tolist()
                ImageDraw.Draw(shadow).polygon(outline, fill=_blend(WHITE, colour, strength))
        soft = shadow.filter(ImageFilter.GaussianBlur(softness * self.unit / COARSE))
        box = ImageChops.invert(soft).getbbox() or (0, 0, 1, 1)  # multiplying all of the drawing takes too long
        left, upper, right, lower = (COARSE * edge for edge in box)
        part = soft.crop(box).resize((right - left, lower - upper), Image.Resampling.BILINEAR)
        self.image.paste(ImageChops.multiply(self.image.crop((left, upper, right, lower)), part), (left, upper))


def unit_of(size: tuple[int, int]) -> float:
    """Pixels of half a head at scale 1 in an image of (height, width)."""
    return HEAD_SHARE * min(size[0], 1.28 * size[1])


def _body(sheet: Sheet) -> None:
    """The neck with the shadow of the head on it, the shirt, and the ears."""
    half, wide = (0.34, 1.1) if sheet.who.sex == "F" else (0.43, 1.3)
    neck = np.array([(half, 0.3), (half, 1.0), (half + 0.06, 1.2), (half + 0.25, 1.36), (half + 0.3, 1.8)])
    sheet.fill(_flat(_strip(neck, _mirror(neck)), -0.15), sheet.skin)
    head, sides = _oval(0, 0.98, half + 0.1, 0.24), _oval(half + 0.02, 1.1, 0.1, 0.4)
    sheet.smudge(0.07, (_flat(head, -0.15), SHADE, 0.75), (_flat(sides, -0.15), DARK, 0.4))
    neckline = _line((-half - 0.12, 1.27), (0, 1.72), (half + 0.12, 1.27))
    slope = np.array([(wide - 0.25, 1.46), (wide, 1.6), (wide + 0.2, 2.0), (wide + 0.3, 50)])
    sheet.fill(_flat(np.concatenate([neckline, slope, _mirror(slope)[::-1]]), -0.15), SHIRT)
    sheet.stroke(_flat(neckline + [0, 0.02], -0.15), 0.05, _blend(SHIRT, DARK, 0.3))
    ear = _oval(0, 0, 0.085, 0.2) @ np.array([[1, 0], [-0.12, 1]]) + [sheet.half + 0.01, 0.1]
    sheet.fill(_flat(ear, -0.08), _blend(sheet.skin, (190, 90, 80), 0.12), both=True)


def _head(sheet: Sheet) -> None:
    """The head with its cheeks, the soft shadows of the skin, and a full beard."""
    who, half, smile = sheet.who, sheet.half, sheet.smile
    y = np.cos(np.linspace(0, np.pi, 40))  # from the chin up the right side
    jaw = (1 - y.clip(0) ** who.jaw_squareness).clip(0) ** 0.52 * (1 - 0.14 * y.clip(0))
    x = half * np.where(y > 0, jaw, (1 - np.abs(y) ** 2.3).clip(0) ** 0.5)
    right = np.column_stack([x, y + 0.04 * smile * y.clip(0), 0.4 * y.clip(0) ** 2])
    sheet.fill(_strip(right, _mirror(right)), sheet.skin)
    sheet.smudge(
        0.07,
        (_oval(sheet.eye + 0.08, 0.33 - 0.06 * smile, 0.19, 0.14), (240, 130, 120), 0.22 * (1 + smile)),
        (_oval(sheet.eye * 0.86, EYE_Y - 0.04, 0.17, 0.08), SHADE, 0.3),
        (_oval(who.nose_width * 0.3, sheet.tip + 0.06, 0.09, 0.03), SHADE, 0.5),
        (_oval(0, MOUTH_Y + 0.16 + 0.06 * smile, 0.14, 0.03), SHADE, 0.4),
    )
    if who.beard:
        cheek = np.concatenate([_line((half * 0.95, 0.16), (half * 0.7, 0.66), (0.15, 0.5)), [(0, 0.5)]])
        sheet.smudge(0.03, (np.concatenate([sheet.surface(cheek), right[y > 0.16]]), sheet.hair, 0.85))


def _eye(sheet: Sheet, side: int) -> None:
    """One eye: drooping outside when sad, squeezed from below when happy."""
    who, smile, sorrow, s = sheet.who, sheet.smile, sheet.sorrow, np.linspace(-1, 1, 25)
    x = side * (sheet.eye + s * who.eye_width / 2)
    middle = EYE_Y - who.eye_slant * s + 0.025 * sorrow * s
    open_up = who.eye_height * (0.56 - 0.08 * smile - 0.12 * sorrow)
    upper = np.column_stack([x, middle - open_up * (1 - s**2) ** 0.7 * (1 - 0.3 * sorrow * s)])
    lower = np.column_stack([x, middle + who.eye_height * (0.44 - 0.36 * smile) * (1 - s**2) ** 0.8])
    sheet.fill(_strip(upper, lower), (240, 236, 232))
    colour, turned, lean = EYES[who.eye_colour], *np.sin(np.radians([sheet.view.yaw, sheet.view.light]))
    centre = x[12] - 0.05 * turned  # eyes that look at the viewer turn back some of the way of the head
    for share, tone in ((0.21, _blend(colour, DARK, 0.6)), (0.18, colour), (0.095, (16, 12, 14))):
        disc = _oval(centre, EYE_Y - 0.01 + 0.012 * sorrow, share * who.eye_width, share * who.eye_width)
        disc[:, 1] = disc[:, 1].clip(*(np.interp(disc[:, 0], *lid[::side].T) for lid in (upper, lower)))
        sheet.fill(disc, tone)
    sheet.fill(_strip(upper, upper + [0, 0.022]), DARK, 90)
    sheet.fill(_oval(centre + 0.022 * lean, EYE_Y - 0.025, 0.014, 0.014), WHITE, 235)
    lash = (0.034 if who.sex == "F" else 0.022) * (1 - 0.7 * s**4) * (1 + 0.25 * s)
    crease, fold = _blend(sheet.skin, SHADE, 0.55), upper - np.column_stack([0 * s, 0.05 - 0.02 * s**2])
    sheet.stroke(lower + [0, 0.004], 0.01, crease, 170)
    sheet.stroke(upper - [0, 0.006], lash, _blend(sheet.skin, DARK, 0.85))
    sheet.stroke(fold[2:-1], 0.014 * (1 - 0.6 * s[2:-1] ** 2), crease, 150)


def _brows_and_nose(sheet: Sheet) -> None:
    """The brows, whose inner ends go up and inwards when sad; nostrils and wings: light draws the rest."""
    who, eye, y, happy, sad = sheet.who, sheet.eye, sheet.brow, sheet.smile, sheet.sorrow
    inner = (eye - 0.6 * who.eye_width - 0.025 * sad, y + 0.03 - 0.11 * sad - 0.03 * happy)
    bend = (eye + 0.15 * who.eye_width, y - 0.07 + 0.05 * sad - 0.05 * happy)
    outer = (eye + 0.72 * who.eye_width, y + 0.04 + 0.05 * sad - 0.01 * happy)
    t = np.linspace(0, 1, 20)
    taper = (1.25 if who.sex == "M" else 0.9) * np.minimum(0.5 + 3 * t, 1.15 - 0.95 * t**2)
    for share, alpha in ((1.0, 150), (0.7, 200)):
        width, colour = share * who.brow_thickness * taper, _blend(sheet.hair, DARK, 0.35)
        sheet.stroke(_line(inner, bend, outer), width, colour, alpha, both=True)
    half, crease = who.nose_width / 2 * (1 + 0.12 * happy), _blend(sheet.skin, SHADE, 0.6)
    nostril = _oval(half * 0.5, sheet.tip + 0.035, half * 0.3, 0.02)
    sheet.fill(sheet.surface(nostril, 0.14), _blend(crease, DARK, 0.6), 210, both=True)
    wing = _line((half * 0.85, -0.07), (half * 1.35, 0), (half * 0.85, 0.045)) + [0, sheet.tip]
    sheet.stroke(sheet.surface(wing, 0.1), 0.018, crease, 150, both=True)


def _mouth(sheet: Sheet) -> None:
    """The mouth: corners up, wide and open when happy, corners down with a pout when sad."""
    who, smile, sorrow, t = sheet.who, sheet.smile, sheet.sorrow, np.linspace(-1, 1, 41)
    x = who.mouth_width / 2 * (1 + 0.34 * smile - 0.06 * sorrow) * t
    up, down = 0.03 - 0.15 * np.abs(t) ** 1.8, 0.11 * np.abs(t) ** 1.9 - 0.045
    seam = MOUTH_Y + up * smile + down * sorrow
    # The lips part late, or bright teeth alone would tell most of the way from neutral to happy.
    gap = 0.27 * max(0.0, smile - 0.5) * (1 - t**2)
    bow = (1 - np.abs(t) ** 2.5) * (1 - 0.25 * np.exp(-((t / 0.13) ** 2)))
    top, bottom = seam - 0.15 * gap, seam + 0.85 * gap
    upper = top - who.lip_thickness * (0.8 - 0.25 * smile - 0.1 * sorrow) * bow
    lower = bottom + who.lip_thickness * (1.05 + 0.2 * sorrow) * (1 - t**2) ** 0.75
    edges = upper, top, top + 0.62 * (bottom - top), bottom, lower
    upper, top, teeth, bottom, lower = (np.column_stack([x, y]) for y in edges)
    lip = _blend(sheet.skin, (178, 52, 66), 0.55 if who.sex == "F" else 0.32)
    sheet.fill(_strip(top, bottom), (70, 22, 28))
    sheet.fill(_strip(top, teeth)[2:-2], (244, 240, 234))
    sheet.fill(_strip(upper, top), _blend(lip, DARK, 0.12))
    sheet.fill(_strip(bottom, lower), lip)
    sheet.stroke((bottom + lower)[13:-13] / 2, 0.022, _blend(lip, WHITE, 0.6), 110)
    for edge, alpha in ((top, 230), (bottom, 200)):
        sheet.stroke(edge, 0.012 + 0.012 * t**4, _blend(lip, (50, 10, 16), 0.75), alpha)
    _folds(sheet, top[-1])


def _folds(sheet: Sheet, corner: np.ndarray) -> None:
    """The lines that a smile or sorrow folds into the skin, a row each: how dark, and the curve."""
    eye, wing, y, smile, sorrow = sheet.eye, sheet.who.nose_width / 2 + 0.03, sheet.brow, sheet.smile, sheet.sorrow
    cheek, outside = corner + 0.06, eye + sheet.who.eye_width / 2 + 0.035
    bend = (cheek[0] - 0.01 + 0.03 * smile, (sheet.tip + cheek[1]) / 2 - 0.07)
    rows = [
        (35 + 110 * smile + 60 * sorrow, (wing, sheet.tip - 0.03), bend, cheek),
        (120 * sorrow, corner, corner + [0.035, 0.02], corner + [0.03, 0.09]),
        (90 * sorrow, (0, y - 0.2), (0.1, y - 0.2), (0.2, y - 0.17)),
        (110 * sorrow, (0.05, y - 0.07), (0.03, y), (0.055, y + 0.07)),
        (30 + 80 * smile, (eye - 0.12, 0.1), (eye, 0.13), (eye + 0.12, 0.1)),
        (90 * smile, (outside, EYE_Y), (outside + 0.03, EYE_Y), (outside + 0.06, EYE_Y - 0.02)),
    ]
    for alpha, *curve in rows:
        width = 0.02 * np.sin(np.linspace(0.5, np.pi - 0.3, 20))
        sheet.stroke(_line(*curve), width, _blend(sheet.skin, SHADE, 0.5), round(alpha), both=True)


def _glasses(sheet: Sheet) -> None:
    """Round rims in front of the eyes, with bridge and temples."""
    eye, rim = sheet.eye, min(0.25, sheet.eye - 0.06)
    temple = np.array([(eye + rim, EYE_Y - 0.02, 0.5), (sheet.half, EYE_Y - 0.03, 0.05)])
    bridge = sheet.surface(_line((rim - eye, EYE_Y), (0, EYE_Y - 0.05), (eye - rim, EYE_Y)), 0.1)
    for shape in (sheet.surface(_oval(eye, EYE_Y + 0.02, rim, 0.19), 0.08), temple, bridge):
        sheet.stroke(shape, 0.027, DARK, 235, both=True)


def _hair_edges(sheet: Sheet) -> tuple[np.ndarray, np.ndarray]:
    """The inner edge of the hair (up the left side, along the hairline, down the right) and the outer."""
    cut, half, x = sheet.cut, sheet.half, np.linspace(-1, 1, 41)
    out, falls = half + 0.7 * cut.volume, cut.length > 0.3
    drop = np.abs(x - cut.part) / (1 - np.sign(x - cut.part) * cut.part)
    line = np.column_stack([0.98 * half * x, cut.top + (cut.side - cut.top) * drop**cut.arch])
    low = np.array([half * (0.86 if falls else 0.97), cut.length])
    side = _line(line[-1], (line[-1] + low) / 2, low)
    inner = np.concatenate([_mirror(side)[::-1], line, side])
    turn = np.linspace(np.pi, 0, 41)
    arc = np.column_stack([out * np.cos(turn), -(1 + cut.volume) * np.sin(turn) ** 0.9])
    # Hair that falls flares a little and bends in at its round end, sideburns narrow down to the ear.
    fall = _line((out, 0), low + [out - low[0] + 0.08, 0.12] if falls else (out, 0.1), low)
    outer = np.concatenate([_mirror(fall)[::-1], arc, fall])
    outer *= 1 + cut.frizz * np.sin(1.4 * np.arange(len(outer)))[:, None]
    return sheet.surface(inner), _flat(outer, -0.05)


def _hair_back(sheet: Sheet) -> None:
    """The hair behind the head and the shoulders, and a bun."""
    cut, colour = sheet.cut, _blend(sheet.hair, DARK, 0.35)
    for share in (1.0, 0.75, 0.5, 0.25) if cut.bun else ():
        swirl = _flat(_oval(0, -1.12 - 0.05 * (1 - share), cut.bun * share, cut.bun * 0.85 * share), -0.2)
        sheet.fill(swirl, _blend(colour, WHITE, 0.1 - 0.04 * share))
        sheet.stroke(swirl, 0.018, _blend(colour, DARK, 0.5), 120)
    if cut.back:
        out = sheet.half + 0.7 * cut.volume
        side = _line((out, 0.3), (out * 1.04, cut.back), (0, cut.back))
        sheet.fill(_flat(_strip(side, _mirror(side)), -0.12), colour)
    if cut.volume:  # what shows between head and hair of a turned head is hair, not background
        sheet.fill(_hair_edges(sheet)[1], colour)


def _hair_front(sheet: Sheet) -> None:
    """The hair on the head with light and dark strands: along parted hair, else from the hairline up."""
    cut, (inner, outer) = sheet.cut, _hair_edges(sheet)
    tones = _blend(sheet.hair, DARK, 0.55), _blend(sheet.hair, WHITE, 0.2)
    sheet.fill(_strip(inner, outer), sheet.hair)
    for i in range(26 if cut.arch < 2 else 0):
        share = (0.618 * i) % 1  # the golden ratio spreads the strands without a visible rhythm
        width = 0.008 + 0.012 * np.sin(np.linspace(0.4, 9 + i, len(inner))) ** 2
        sheet.stroke(inner * (1 - share) + outer * share, width, tones[i % 2], 70)
    skip = 0 if cut.frizz else 20  # the sides of smooth hair
    for i in range(skip, len(inner) - skip if cut.arch >= 2 else 0):
        t = np.linspace((0.38 * i) % 0.5, 0.7 + (0.62 * i) % 0.3, 10)[:, None]
        path = inner[i] * (1 - t) + outer[i] * t
        path[:, :2] += cut.frizz * np.sin(14 * t + [i, 2.0 * i])
        sheet.stroke(path, 0.022 * np.sin(np.linspace(0.3, 3.0, 10)), tones[i % 2], 80)


def _relief(sheet: Sheet) -> np.ndarray:
    """Bumps and hollows of the face, a row each: x, y, spread in x, spread in y, height."""
    right = [
        (0, sheet.tip - 0.17, 0.075, 0.14, 0.045),
        (0, sheet.tip - 0.01, 0.085, 0.065, 0.055),
        (0, 0.88, 0.15, 0.08, 0.03 + 0.015 * sheet.sorrow),
        (0, MOUTH_Y + 0.15, 0.14, 0.04, -0.015),
        (0, MOUTH_Y, 0.2, 0.08, 0.025),
        (sheet.who.nose_width * 0.42, sheet.tip, 0.05, 0.045, 0.05),
        (sheet.eye, EYE_Y, 0.14, 0.09, -0.05),
        (sheet.eye, sheet.brow, 0.18, 0.07, 0.035),
        (sheet.eye + 0.05, 0.32 - 0.05 * sheet.smile, 0.14, 0.11, 0.05 + 0.06 * sheet.smile),
    ]
    return np.concatenate([right, np.array(right) * [-1, 1, 1, 1, 1]])


def _shading(sheet: Sheet) -> list[np.ndarray]:
    """Light on an ellipsoid with the relief of the face, a factor and a gloss, and the background, per pixel."""
    view, (width, height), lean = sheet.view, sheet.image.size, np.radians(sheet.view.light)
    rows, columns = np.ogrid[COARSE / 2 : height : COARSE, COARSE / 2 : width : COARSE]
    x, y = (columns - sheet.centre[0]) / sheet.unit, (rows - sheet.centre[1]) / sheet.unit
    inside = 1 - (x / (sheet.half * 1.08)) ** 2 - (y / 1.1) ** 2
    depth = 0.8 * np.sqrt(np.logaddexp(0, 6 * inside) / 6)  # no edge where hair passes over it
    bumps = _relief(sheet)
    spots = (sheet.place(bumps[:, :2]) - sheet.centre) / sheet.unit
    for (bx, by), (_, _, sx, sy, rise) in zip(spots, bumps, strict=True):
        depth += rise * np.exp(-(((x - bx) / sx) ** 2)) * np.exp(-(((y - by) / sy) ** 2))
    down, right = np.gradient(depth, COARSE / sheet.unit)
    light = np.array([np.sin(lean), -np.cos(lean), 1.2]) / np.hypot(1, 1.2)  # a good deal from the front
    normal = np.stack([-right, -down, np.ones_like(depth)], -1) / np.sqrt(1 + right**2 + down**2)[..., None]
    halfway = (light + [0, 0, 1]) / np.linalg.norm(light + [0, 0, 1])
    factor = 1 + 0.8 * view.light_strength * (normal @ light / light[2] - 1)
    gloss = 60 * view.light_strength * (normal @ halfway).clip(0) ** 30
    backdrop = view.background_grey * (1 + 0.1 * view.light_strength * (light[0] * x + light[1] * y))
    small = (Image.fromarray(field.astype(np.float32)) for field in (factor, gloss, backdrop))
    size = (width // SUPERSAMPLE, height // SUPERSAMPLE)
    return [np.asarray(field.resize(size, Image.Resampling.BILINEAR))[:, :, None] for field in small]


def draw_face(
    size: tuple[int, int], who: Identity, view: View, smile: float, sorrow: float, rng: np.random.Generator
) -> Image.Image:
    """Draw a face of (height, width) pixels; smile and sorrow are about 0..1, and rng makes the pixel noise."""
    sheet = Sheet(size, who, view, smile, sorrow)
    for draw in (_hair_back, _body, _head, _brows_and_nose, _mouth):
        draw(sheet)
    for side in (-1, 1):
        _eye(sheet, side)
    if sheet.cut.volume:
        _hair_front(sheet)
    if who.glasses:
        _glasses(sheet)
    factor, gloss, backdrop = _shading(sheet)
    pixels = np.asarray(sheet.image.reduce(SUPERSAMPLE), np.float32)
    mask = np.asarray(sheet.mask.reduce(SUPERSAMPLE), np.float32)[:, :, None] / 255
    pixels = pixels * (factor * mask)  # in place from here on: a third of a face's time went into copies
    pixels += gloss * mask + backdrop * (1 - mask)
    pixels += view.noise_sd * rng.standard_normal((*size, 1), dtype=np.float32) + 0.5
    return Image.fromarray(pixels.clip(0, 255, out=pixels).astype(np.uint8))


def invent_person(seed: int, person: int) -> Identity:
    """The identity of a person number: odd ones are women, even ones men, whatever the number of people."""
    rng, sex = np.random.default_rng([seed, person]), "F" if person % 2 else "M"
    styles = list(HAIR_STYLES[sex])
    style = styles[(person // 2 + seed) % len(styles)]  # in turn, so that few people already differ in hair
    who = _draw_fields(Identity, rng, {"sex": sex, "hair_style": style})
    dark = who.skin_tone > 0.6
    hair = "black" if dark and who.hair_colour in ("blond", "red") else who.hair_colour
    eyes = "brown" if dark else who.eye_colour
    return dataclasses.replace(who, beard=who.beard and sex == "M", hair_colour=hair, eye_colour=eyes)


def draw_faces(folder: Path, args: argparse.Namespace) -> list[Row]:
    """Draw every person's way to happy and to sad into an empty folder; a row of true parameters per image."""
    numbers = range(1, args.n_people + 1), EMOTIONS, range(1, args.n_steps + 1)
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda job: _save_face(folder, args, *job), itertools.product(*numbers)))


def _save_face(folder: Path, args: argparse.Namespace, person: int, emotion: str, step: int) -> Row:
    """Draw and save one face, which depends on nothing but the seed and its own numbers."""
    who, amount = invent_person(args.seed, person), step / args.n_steps
    rng = np.random.default_rng([args.seed, person, list(EMOTIONS).index(emotion), step])
    view = _draw_fields(View, rng, {})
    smile, sorrow = (amount * who.expressiveness * (emotion == shown) for shown in EMOTIONS)
    name = f"{person:02d}/{person:02d}{who.sex}_Ne_to_{EMOTIONS[emotion]}_C{step:02d}.JPG"
    (folder / name).parent.mkdir(exist_ok=True)
    draw_face(args.size, who, view, smile, sorrow, rng).save(folder / name, format="JPEG", quality=90)
    row = dict(zip(COLUMNS, (name, person, who.sex, emotion, step, round(amount, 4)), strict=True))
    return row | _columns(who, unit_of(args.size)) | _columns(view, unit_of(args.size))
