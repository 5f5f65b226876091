"""Draw a film of a schematic rat that walks in a round arena, seen from above.

Lengths are in radii of the arena. A place is a complex number, x + iy from the arena's centre, x right and y down;
a direction is an angle from x towards y, in radians.
"""

import argparse
import cmath
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

Row = dict[str, Any]

COLUMNS = ("frame", "time_s", "x", "y", "tail_x", "tail_y", "neck_x", "neck_y", "angle", "distance", "polar_angle")
FILES = ("frames.npz", "clean.npz")
FRAMES_PER_S = 10
RADIUS = 0.45  # of the arena, per image side
SHEET = 400  # px to draw on before averaging down, so that a 50 px frame shows eighths of a pixel

FLOOR, WALL, SURROUND = 200, 122, 52  # grey levels; noise of 10 levels is hardly ever clipped
RIM = 1.06  # outer radius of the wall
PORTS, PORT, FEEDER = 5, 0.055, 0.1  # number, radius, and radius of the odd one
FUR, BACK, EAR, TAIL = 38, 54, 80, 84  # grey levels

TORSO, HEAD = 0.33, 0.13  # tail base to neck, neck to snout: together a bit over a fifth of the diameter
TAIL_LENGTH, TAIL_WIDTH = 0.44, 0.034
REACH = 0.86  # how far from the arena's centre the middle of the rump may come: its roundness needs the rest
LIMITS = ((TORSO / 2 + HEAD, 0.97), (TORSO / 2, 0.88), (-0.07, REACH))  # of snout, neck and rump: where, how far

SPEED, SPEED_SD, SPEED_S = 0.38, 0.28, 0.8  # mean and sd per s, and memory in s; below zero the rat stands still
TURN_GAIN, TURN_MOST, TURN_SD, TURN_S = 3.0, 3.2, 1.1, 0.3  # towards the goal, rad/s, wavering, and memory in s
GOAL_REACH, GOAL_NEAR, GOAL_S = 0.88, 0.12, 4.0  # where goals lie, when one is reached, and the patience for it
WAG_SD, WAG_S, TRAIL_S = 0.5, 1.2, 0.5  # of the tail


class Walk(NamedTuple):
    """Where the rat is in each frame."""

    place: np.ndarray  # (N,) complex, of the body's centre
    angle: np.ndarray  # (N,) from tail base to neck, not wrapped
    bend: np.ndarray  # (N,) by how much the tip of the tail points elsewhere than its base


def _cell(point: complex, step: complex) -> tuple[list[int], list[int], int]:
    """Where a rat counts as having been: its direction and its sector of the arena, of 8, each in one of 4 rings."""
    eighths = [int(cmath.phase(way) / cmath.pi * 4 + 8) % 8 for way in (step, point)]
    return [0, 1], eighths, min(3, int(4 * abs(point / REACH) ** 2))


def _next_goal(place: complex, visits: np.ndarray, rng: np.random.Generator) -> complex:
    """Of some random places the one on whose way the rat has been least, so that a short film shows it all."""
    radii, turns = np.sqrt(rng.random(24)) * GOAL_REACH, rng.random(24) * 2 * np.pi

    def been(goal: complex) -> int:
        return sum(visits[_cell(place + part * (goal - place), goal - place)].sum() for part in (1 / 3, 2 / 3, 1))

    return min((radii * np.exp(1j * turns)).tolist(), key=been)


def _kept_inside(place: complex, ahead: complex) -> complex:
    """The place, moved away from the wall as far as the body needs."""
    for along, limit in LIMITS:
        point = place + along * ahead
        if abs(point) > limit:
            place -= point * (1 - limit / abs(point))
    return place


def walk(n_frames: int, seed: int) -> Walk:
    """Walk from goal to goal with wavering turns, speeds and stops; more frames leave those before as they were."""
    rng, dt = np.random.default_rng([seed, 0]), 1 / FRAMES_PER_S
    shocks = np.random.default_rng([seed, 1]).standard_normal((n_frames, 3)) * np.sqrt(2 * dt)
    film = Walk(np.empty(n_frames, complex), np.empty(n_frames), np.empty(n_frames))
    place, angle = cmath.rect(0.6 * rng.random(), 2 * np.pi * rng.random()), 2 * np.pi * rng.random()
    turn, speed, wag, trail, goal, patience = 0.0, SPEED, 0.0, angle, 0j, 0.0
    visits = np.zeros((2, 8, 4), int)
    for frame, (turn_shock, speed_shock, wag_shock) in enumerate(shocks.tolist()):
        ahead = cmath.rect(1, angle)
        film.place[frame], film.angle[frame], film.bend[frame] = place, angle, trail - angle + wag
        visits[_cell(place, ahead)] += 1
        way, patience = goal - place - TORSO / 2 * ahead, patience - dt
        if abs(way) < GOAL_NEAR or patience < 0:
            goal, patience = _next_goal(place, visits, rng), GOAL_S
        wish = max(-TURN_MOST, min(TURN_MOST, TURN_GAIN * cmath.phase(way / ahead)))
        turn += (wish - turn) * dt / TURN_S + TURN_SD * turn_shock / TURN_S**0.5
        speed += (SPEED - speed) * dt / SPEED_S + SPEED_SD * speed_shock / SPEED_S**0.5
        wag += -wag * dt / WAG_S + WAG_SD * wag_shock / WAG_S**0.5
        angle += turn * dt * max(0.0, min(1.0, 4 * speed))  # who stands still does not spin
        trail += (angle - trail) * dt / TRAIL_S
        ahead = cmath.rect(1, angle)
        place = _kept_inside(place + max(0.0, speed) * dt * ahead, ahead)
    return film


def _egg(centre: complex, length: float, width: float, taper: float = 0.0) -> np.ndarray:
    """The outline of an ellipse of given half axes along x and y, (48,) complex, thinner ahead by a taper of 0..1."""
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return centre + length * np.cos(t) + 1j * width * np.sin(t) * (1 - taper * np.cos(t))


NECK = TORSO / 2
# From the bottom up; along x from the body's centre, the head at the right.
BODY = (
    *((_egg(NECK + side * 0.07j, 0.03, 0.038), EAR) for side in (-1, 1)),
    (_egg(-0.012, NECK, 0.112, 0.42), FUR),
    (_egg(NECK + 0.02, HEAD - 0.02, 0.066, 0.45), FUR),
    (_egg(-0.055, 0.09, 0.052, 0.2), BACK),
)


def _tail(bend: float) -> np.ndarray:
    """The outline of a tail behind a rat at the origin that looks along x, (32,) complex."""
    along = np.linspace(0, 1, 16)
    steps = np.exp(1j * bend * along) * TAIL_LENGTH / 15
    line = -NECK + 0.02 - np.cumsum(steps) + steps[0]
    side = 0.5j * TAIL_WIDTH * (1 - 0.7 * along) * np.exp(1j * bend * along)
    return np.concatenate([line + side, (line - side)[::-1]])


def _paint(sheet: Image.Image, outline: np.ndarray, grey: int) -> None:
    """Fill an outline."""
    pixels = (outline * RADIUS + 0.5 + 0.5j) * sheet.width
    ImageDraw.Draw(sheet).polygon(pixels.view(float).tolist(), fill=grey)


def _empty_arena(side: int) -> Image.Image:
    """The arena without a rat: floor, wall, surround and ports, under light that comes from the upper left."""
    across = ((np.arange(side) + 0.5) / side - 0.5) / RADIUS
    distance = np.hypot(across, across[:, None])
    grey = np.where(distance < 1, FLOOR - 14 * distance**4, np.where(distance < RIM, WALL, SURROUND))
    light = 1 - 0.05 * across - 0.03 * across[:, None]
    sheet = Image.fromarray((grey * light + 0.5).astype(np.uint8))
    for turn in np.arange(1, PORTS) / PORTS - 0.25:
        _paint(sheet, _egg(cmath.rect(1, 2 * np.pi * turn), PORT, PORT), SURROUND - 12)
    _paint(sheet, _egg(-1j, FEEDER, FEEDER), SURROUND - 12)
    _paint(sheet, _egg(-1j, 0.6 * FEEDER, 0.6 * FEEDER), FLOOR)
    return sheet


def draw_frames(film: Walk, side: int) -> np.ndarray:
    """The frames of a walk as a camera without noise would see them, (N, side, side) uint8."""
    supersample = max(4, -(-SHEET // side))
    empty = _empty_arena(side * supersample)
    images = np.empty((len(film.place), side, side), np.uint8)
    for image, place, angle, bend in zip(images, *film, strict=True):
        sheet, ahead = empty.copy(), cmath.rect(1, angle)
        tail = place + ahead * _tail(bend)
        _paint(sheet, tail * np.minimum(1, 0.97 / np.abs(tail)), TAIL)  # it lies along the wall, not over it
        for outline, grey in BODY:
            _paint(sheet, place + ahead * outline, grey)
        image[:] = sheet.reduce(supersample)
    return images


def _add_noise(images: np.ndarray, sd: float, rng: np.random.Generator) -> None:
    """Add Gaussian noise in place, frame by frame: a long film leaves no room for a second one."""
    for image in images:
        noisy = image + sd * rng.standard_normal(image.shape, np.float32)
        image[:] = noisy.round().clip(0, 255)


def _wrapped(angle: float) -> float:
    """An angle from 0 to 2 pi, below 2 pi even when it is rounded."""
    return round(angle % (2 * np.pi), 4) % (2 * np.pi)


def _rows(film: Walk, side: int) -> Iterator[Row]:
    """The true row of each frame, lengths in px from the upper left corner of the image."""
    for frame, (place, angle) in enumerate(zip(film.place.tolist(), film.angle.tolist(), strict=True)):
        half, distance = cmath.rect(NECK, angle), abs(place) * RADIUS * side
        points = [(point * RADIUS + 0.5 + 0.5j) * side for point in (place, place - half, place + half)]
        lengths = [length for point in points for length in (point.real, point.imag)]
        numbers = (frame / FRAMES_PER_S, *lengths, _wrapped(angle), distance, _wrapped(cmath.phase(place)))
        yield dict(zip(COLUMNS, (frame, *(round(number, 4) for number in numbers)), strict=True))


def draw_arena(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    """Draw a film with and without noise into an empty folder; a row of true parameters per frame."""
    film, side = walk(args.n_frames, args.seed), args.size[0]
    images = draw_frames(film, side)
    np.savez(folder / "clean.npz", images=images)
    _add_noise(images, args.noise, np.random.default_rng([args.seed, 2]))
    np.savez(folder / "frames.npz", images=images)
    return _rows(film, side)
