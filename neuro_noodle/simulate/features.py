"""The features of a face: each function draws one part, on top of those drawn before."""

import numpy as np
from numpy.typing import ArrayLike

from neuro_noodle.simulate.people import EYES, Colour
from neuro_noodle.simulate.sheet import (
    EYE_Y,
    MOUTH_Y,
    WHITE,
    Sheet,
    area_between,
    at_depth,
    blend,
    curve,
    ellipse,
    mirror,
)

DARK: Colour = (34, 22, 22)
SHADE: Colour = (80, 35, 35)
SHIRT: Colour = (104, 110, 122)  # the same for everyone, so that clothes do not identify a person


def draw_features(sheet: Sheet) -> None:
    """Draw all features of a face, from back to front."""
    for draw in (draw_hair_back, draw_body, draw_head, draw_brows_and_nose, draw_mouth):
        draw(sheet)
    for side in (-1, 1):
        draw_eye(sheet, side)
    if sheet.cut.volume:
        draw_hair_front(sheet)
    if sheet.identity.glasses:
        draw_glasses(sheet)


def draw_body(sheet: Sheet) -> None:
    """Draw the neck with the shadow of the head on it, the shirt and the ears."""
    half, wide = (0.34, 1.1) if sheet.identity.sex == "F" else (0.43, 1.3)
    neck = np.array([(half, 0.3), (half, 1.0), (half + 0.06, 1.2), (half + 0.25, 1.36), (half + 0.3, 1.8)])
    sheet.fill(at_depth(area_between(neck, mirror(neck)), -0.15), sheet.skin)
    head, sides = ellipse(0, 0.98, half + 0.1, 0.24), ellipse(half + 0.02, 1.1, 0.1, 0.4)
    sheet.shade(0.07, (at_depth(head, -0.15), SHADE, 0.75), (at_depth(sides, -0.15), DARK, 0.4))
    neckline = curve((-half - 0.12, 1.27), (0, 1.72), (half + 0.12, 1.27))
    slope = np.array([(wide - 0.25, 1.46), (wide, 1.6), (wide + 0.2, 2.0), (wide + 0.3, 50)])
    sheet.fill(at_depth(np.concatenate([neckline, slope, mirror(slope)[::-1]]), -0.15), SHIRT)
    sheet.stroke(at_depth(neckline + [0, 0.02], -0.15), 0.05, blend(SHIRT, DARK, 0.3))
    ear = ellipse(0, 0, 0.085, 0.2) @ np.array([[1, 0], [-0.12, 1]]) + [sheet.half_width + 0.01, 0.1]
    sheet.fill(at_depth(ear, -0.08), blend(sheet.skin, (190, 90, 80), 0.12), both_sides=True)


def draw_head(sheet: Sheet) -> None:
    """Draw the head with its cheeks, the soft shadows of the skin and the beard, if any."""
    identity, half, smile = sheet.identity, sheet.half_width, sheet.smile
    y = np.cos(np.linspace(0, np.pi, 40))  # from the chin up the right side
    jaw = (1 - y.clip(0) ** identity.jaw_squareness).clip(0) ** 0.52 * (1 - 0.14 * y.clip(0))
    x = half * np.where(y > 0, jaw, (1 - np.abs(y) ** 2.3).clip(0) ** 0.5)
    right = np.column_stack([x, y + 0.04 * smile * y.clip(0), 0.4 * y.clip(0) ** 2])
    sheet.fill(area_between(right, mirror(right)), sheet.skin)
    sheet.shade(
        0.07,
        (ellipse(sheet.eye_x + 0.08, 0.33 - 0.06 * smile, 0.19, 0.14), (240, 130, 120), 0.22 * (1 + smile)),
        (ellipse(sheet.eye_x * 0.86, EYE_Y - 0.04, 0.17, 0.08), SHADE, 0.3),
        (ellipse(identity.nose_width * 0.3, sheet.nose_y + 0.06, 0.09, 0.03), SHADE, 0.5),
        (ellipse(0, MOUTH_Y + 0.16 + 0.06 * smile, 0.14, 0.03), SHADE, 0.4),
    )
    if identity.beard:
        cheek = np.concatenate([curve((half * 0.95, 0.16), (half * 0.7, 0.66), (0.15, 0.5)), [(0, 0.5)]])
        sheet.shade(0.03, (np.concatenate([sheet.on_face(cheek), right[y > 0.16]]), sheet.hair, 0.85))


def draw_eye(sheet: Sheet, side: int) -> None:
    """Draw one eye, whose outer corner drops when sad and whose lower lid rises when happy.

    Args:
        sheet: the drawing.
        side: -1 for the left eye in the image, 1 for the right.
    """
    identity, smile, sorrow, s = sheet.identity, sheet.smile, sheet.sorrow, np.linspace(-1, 1, 25)
    x = side * (sheet.eye_x + s * identity.eye_width / 2)
    middle = EYE_Y - identity.eye_slant * s + 0.025 * sorrow * s
    opening = identity.eye_height * (0.56 - 0.08 * smile - 0.12 * sorrow)
    upper = np.column_stack([x, middle - opening * (1 - s**2) ** 0.7 * (1 - 0.3 * sorrow * s)])
    lower = np.column_stack([x, middle + identity.eye_height * (0.44 - 0.36 * smile) * (1 - s**2) ** 0.8])
    sheet.fill(area_between(upper, lower), (240, 236, 232))
    colour, turned, lean = EYES[identity.eye_colour], *np.sin(np.radians([sheet.view.yaw, sheet.view.light]))
    centre = x[12] - 0.05 * turned  # the eyes look at the camera, so they turn less than the head
    for share, tone in ((0.21, blend(colour, DARK, 0.6)), (0.18, colour), (0.095, (16, 12, 14))):
        disc = ellipse(centre, EYE_Y - 0.01 + 0.012 * sorrow, share * identity.eye_width, share * identity.eye_width)
        disc[:, 1] = disc[:, 1].clip(*(np.interp(disc[:, 0], *lid[::side].T) for lid in (upper, lower)))
        sheet.fill(disc, tone)
    sheet.fill(area_between(upper, upper + [0, 0.022]), DARK, 90)
    sheet.fill(ellipse(centre + 0.022 * lean, EYE_Y - 0.025, 0.014, 0.014), WHITE, 235)
    lash = (0.034 if identity.sex == "F" else 0.022) * (1 - 0.7 * s**4) * (1 + 0.25 * s)
    crease, fold = blend(sheet.skin, SHADE, 0.55), upper - np.column_stack([0 * s, 0.05 - 0.02 * s**2])
    sheet.stroke(lower + [0, 0.004], 0.01, crease, 170)
    sheet.stroke(upper - [0, 0.006], lash, blend(sheet.skin, DARK, 0.85))
    sheet.stroke(fold[2:-1], 0.014 * (1 - 0.6 * s[2:-1] ** 2), crease, 150)


def draw_brows_and_nose(sheet: Sheet) -> None:
    """Draw the brows, whose inner ends rise when sad, and the nostrils; light and shadow add the rest of the nose."""
    identity, eye, y, happy, sad = sheet.identity, sheet.eye_x, sheet.brow_y, sheet.smile, sheet.sorrow
    inner = (eye - 0.6 * identity.eye_width - 0.025 * sad, y + 0.03 - 0.11 * sad - 0.03 * happy)
    bend = (eye + 0.15 * identity.eye_width, y - 0.07 + 0.05 * sad - 0.05 * happy)
    outer = (eye + 0.72 * identity.eye_width, y + 0.04 + 0.05 * sad - 0.01 * happy)
    t = np.linspace(0, 1, 20)
    taper = (1.25 if identity.sex == "M" else 0.9) * np.minimum(0.5 + 3 * t, 1.15 - 0.95 * t**2)
    for share, alpha in ((1.0, 150), (0.7, 200)):
        width, colour = share * identity.brow_thickness * taper, blend(sheet.hair, DARK, 0.35)
        sheet.stroke(curve(inner, bend, outer), width, colour, alpha, both_sides=True)
    half, crease = identity.nose_width / 2 * (1 + 0.12 * happy), blend(sheet.skin, SHADE, 0.6)
    nostril = ellipse(half * 0.5, sheet.nose_y + 0.035, half * 0.3, 0.02)
    sheet.fill(sheet.on_face(nostril, 0.14), blend(crease, DARK, 0.6), 210, both_sides=True)
    wing = curve((half * 0.85, -0.07), (half * 1.35, 0), (half * 0.85, 0.045)) + [0, sheet.nose_y]
    sheet.stroke(sheet.on_face(wing, 0.1), 0.018, crease, 150, both_sides=True)


def draw_mouth(sheet: Sheet) -> None:
    """Draw the mouth: wide, open and with raised corners when happy, pouting and with lowered corners when sad."""
    identity, smile, sorrow, t = sheet.identity, sheet.smile, sheet.sorrow, np.linspace(-1, 1, 41)
    x = identity.mouth_width / 2 * (1 + 0.34 * smile - 0.06 * sorrow) * t
    up, down = 0.03 - 0.15 * np.abs(t) ** 1.8, 0.11 * np.abs(t) ** 1.9 - 0.045
    seam = MOUTH_Y + up * smile + down * sorrow
    # The lips part only above half intensity; otherwise the bright teeth alone would give the emotion away.
    gap = 0.27 * max(0.0, smile - 0.5) * (1 - t**2)
    bow = (1 - np.abs(t) ** 2.5) * (1 - 0.25 * np.exp(-((t / 0.13) ** 2)))
    top, bottom = seam - 0.15 * gap, seam + 0.85 * gap
    upper = top - identity.lip_thickness * (0.8 - 0.25 * smile - 0.1 * sorrow) * bow
    lower = bottom + identity.lip_thickness * (1.05 + 0.2 * sorrow) * (1 - t**2) ** 0.75
    edges = upper, top, top + 0.62 * (bottom - top), bottom, lower
    upper, top, teeth, bottom, lower = (np.column_stack([x, y]) for y in edges)
    lip = blend(sheet.skin, (178, 52, 66), 0.55 if identity.sex == "F" else 0.32)
    sheet.fill(area_between(top, bottom), (70, 22, 28))
    sheet.fill(area_between(top, teeth)[2:-2], (244, 240, 234))
    sheet.fill(area_between(upper, top), blend(lip, DARK, 0.12))
    sheet.fill(area_between(bottom, lower), lip)
    sheet.stroke((bottom + lower)[13:-13] / 2, 0.022, blend(lip, WHITE, 0.6), 110)
    for edge, alpha in ((top, 230), (bottom, 200)):
        sheet.stroke(edge, 0.012 + 0.012 * t**4, blend(lip, (50, 10, 16), 0.75), alpha)
    _folds(sheet, top[-1])


def _folds(sheet: Sheet, corner: np.ndarray) -> None:
    """Draw the skin folds of smile and sorrow.

    Args:
        sheet: the drawing.
        corner: position (2,) of the right corner of the mouth.
    """
    eye, wing, y, smile, sorrow = (
        sheet.eye_x,
        sheet.identity.nose_width / 2 + 0.03,
        sheet.brow_y,
        sheet.smile,
        sheet.sorrow,
    )
    cheek, outside = corner + 0.06, eye + sheet.identity.eye_width / 2 + 0.035
    bend = (cheek[0] - 0.01 + 0.03 * smile, (sheet.nose_y + cheek[1]) / 2 - 0.07)
    rows: list[tuple[float, ArrayLike, ArrayLike, ArrayLike]] = [  # opacity; start, control point and end
        (35 + 110 * smile + 60 * sorrow, (wing, sheet.nose_y - 0.03), bend, cheek),
        (120 * sorrow, corner, corner + [0.035, 0.02], corner + [0.03, 0.09]),
        (90 * sorrow, (0, y - 0.2), (0.1, y - 0.2), (0.2, y - 0.17)),
        (110 * sorrow, (0.05, y - 0.07), (0.03, y), (0.055, y + 0.07)),
        (30 + 80 * smile, (eye - 0.12, 0.1), (eye, 0.13), (eye + 0.12, 0.1)),
        (90 * smile, (outside, EYE_Y), (outside + 0.03, EYE_Y), (outside + 0.06, EYE_Y - 0.02)),
    ]
    for alpha, *points in rows:
        width = 0.02 * np.sin(np.linspace(0.5, np.pi - 0.3, 20))
        sheet.stroke(curve(*points), width, blend(sheet.skin, SHADE, 0.5), round(alpha), both_sides=True)


def draw_glasses(sheet: Sheet) -> None:
    """Draw round glasses with bridge and temples."""
    eye, rim = sheet.eye_x, min(0.25, sheet.eye_x - 0.06)
    temple = np.array([(eye + rim, EYE_Y - 0.02, 0.5), (sheet.half_width, EYE_Y - 0.03, 0.05)])
    bridge = sheet.on_face(curve((rim - eye, EYE_Y), (0, EYE_Y - 0.05), (eye - rim, EYE_Y)), 0.1)
    for shape in (sheet.on_face(ellipse(eye, EYE_Y + 0.02, rim, 0.19), 0.08), temple, bridge):
        sheet.stroke(shape, 0.027, DARK, 235, both_sides=True)


def _hair_edges(sheet: Sheet) -> tuple[np.ndarray, np.ndarray]:
    """Return the inner and the outer edge of the hair: up the left side, over the head, down the right side."""
    cut, half, x = sheet.cut, sheet.half_width, np.linspace(-1, 1, 41)
    out, is_long = half + 0.7 * cut.volume, cut.length > 0.3
    distance = np.abs(x - cut.part) / (1 - np.sign(x - cut.part) * cut.part)
    line = np.column_stack([0.98 * half * x, cut.top + (cut.side - cut.top) * distance**cut.arch])
    low = np.array([half * (0.86 if is_long else 0.97), cut.length])
    side = curve(line[-1], (line[-1] + low) / 2, low)
    inner = np.concatenate([mirror(side)[::-1], line, side])
    angle = np.linspace(np.pi, 0, 41)
    arc = np.column_stack([out * np.cos(angle), -(1 + cut.volume) * np.sin(angle) ** 0.9])
    # Long hair flares a little and bends inwards at its end; short hair narrows towards the ear.
    fall = curve((out, 0), low + [out - low[0] + 0.08, 0.12] if is_long else (out, 0.1), low)
    outer = np.concatenate([mirror(fall)[::-1], arc, fall])
    outer *= 1 + cut.frizz * np.sin(1.4 * np.arange(len(outer)))[:, None]
    return sheet.on_face(inner), at_depth(outer, -0.05)


def draw_hair_back(sheet: Sheet) -> None:
    """Draw the hair behind the head and the shoulders, and the bun, if any."""
    cut, colour = sheet.cut, blend(sheet.hair, DARK, 0.35)
    for share in (1.0, 0.75, 0.5, 0.25) if cut.bun else ():
        swirl = at_depth(ellipse(0, -1.12 - 0.05 * (1 - share), cut.bun * share, cut.bun * 0.85 * share), -0.2)
        sheet.fill(swirl, blend(colour, WHITE, 0.1 - 0.04 * share))
        sheet.stroke(swirl, 0.018, blend(colour, DARK, 0.5), 120)
    if cut.back:
        out = sheet.half_width + 0.7 * cut.volume
        side = curve((out, 0.3), (out * 1.04, cut.back), (0, cut.back))
        sheet.fill(at_depth(area_between(side, mirror(side)), -0.12), colour)
    if cut.volume:  # hair, not background, shows between face and hair when the head is turned
        sheet.fill(_hair_edges(sheet)[1], colour)


def draw_hair_front(sheet: Sheet) -> None:
    """Draw the hair on the head with light and dark strands, along the hairline if parted, else across it."""
    cut, (inner, outer) = sheet.cut, _hair_edges(sheet)
    tones = blend(sheet.hair, DARK, 0.55), blend(sheet.hair, WHITE, 0.2)
    sheet.fill(area_between(inner, outer), sheet.hair)
    for i in range(26 if cut.arch < 2 else 0):
        share = (0.618 * i) % 1  # the golden ratio spaces the strands without a visible pattern
        width = 0.008 + 0.012 * np.sin(np.linspace(0.4, 9 + i, len(inner))) ** 2
        sheet.stroke(inner * (1 - share) + outer * share, width, tones[i % 2], 70)
    skip = 0 if cut.frizz else 20  # no strands on the sides of smooth hair
    for i in range(skip, len(inner) - skip if cut.arch >= 2 else 0):
        t = np.linspace((0.38 * i) % 0.5, 0.7 + (0.62 * i) % 0.3, 10)[:, None]
        path = inner[i] * (1 - t) + outer[i] * t
        path[:, :2] += cut.frizz * np.sin(14 * t + [i, 2.0 * i])
        sheet.stroke(path, 0.022 * np.sin(np.linspace(0.3, 3.0, 10)), tones[i % 2], 80)
