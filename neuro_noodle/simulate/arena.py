"""Draw a film of a schematic rat that walks in a round arena, seen from above.

Lengths are in radii of the arena. A position is a complex number x + iy relative to the arena's centre, x right and y
down; a direction is an angle from x towards y in radians.
"""

import cmath
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from neuro_noodle.choices import Size
from neuro_noodle.simulate.base import Kind, Option, Row, number, square_size, whole_number

COLUMNS = ("frame", "time_s", "x", "y", "tail_x", "tail_y", "neck_x", "neck_y", "angle", "distance", "polar_angle")
FILES = ("frames.npz", "clean.npz")
FRAMES_PER_S = 10
RADIUS = 0.45  # of the arena, as a fraction of the image side
SHEET_PX = 400  # frames are drawn at least this large and averaged down, so that 50 px frames show eighths of a pixel

FLOOR, WALL, SURROUND = 200, 122, 52  # grey levels; noise with an sd of 10 is hardly ever clipped
RIM = 1.06  # outer radius of the wall
N_PORTS, PORT_RADIUS, FEEDER_RADIUS = 5, 0.055, 0.1  # the feeder is one of the ports, larger than the others
FUR, BACK, EAR, TAIL = 38, 54, 80, 84  # grey levels

TORSO, HEAD = 0.33, 0.13  # tail base to neck, neck to snout: together a bit over a fifth of the diameter
TAIL_LENGTH, TAIL_WIDTH = 0.44, 0.034
REACH = 0.86  # largest distance of the middle of the rump from the arena's centre; the rest is its width
# Of snout, neck and rump: position along the body, and largest distance from the arena's centre.
LIMITS = ((TORSO / 2 + HEAD, 0.97), (TORSO / 2, 0.88), (-0.07, REACH))

SPEED, SPEED_SD, SPEED_S = 0.38, 0.28, 0.8  # mean and sd per s, and time constant in s; the rat stops below zero
TURN_GAIN, TURN_MAX, TURN_SD, TURN_S = 3.0, 3.2, 1.1, 0.3  # towards the goal; limit and sd in rad/s; time constant
GOAL_REACH, GOAL_NEAR, GOAL_S = 0.88, 0.12, 4.0  # largest distance from the centre; when reached; when given up
WAG_SD, WAG_S, TRAIL_S = 0.5, 1.2, 0.5  # of the tail: sd in rad, and time constants in s of wagging and following


class Walk(NamedTuple):
    """The position and posture of the rat in each frame."""

    position: np.ndarray  # (N,) complex, of the body's centre
    angle: np.ndarray  # (N,) from tail base to neck, not wrapped
    bend: np.ndarray  # (N,) angle between the tip of the tail and its base


def _cell(point: complex, step: complex) -> tuple[list[int], list[int], int]:
    """Return the index into `visits` (2, 8, 4) of a position: its direction and its sector (8 each) in its ring (4)."""
    eighths = [int(cmath.phase(vector) / cmath.pi * 4 + 8) % 8 for vector in (step, point)]
    return [0, 1], eighths, min(3, int(4 * abs(point / REACH) ** 2))


def _next_goal(position: complex, visits: np.ndarray, generator: np.random.Generator) -> complex:
    """Return the random position whose path has been visited least, so that short films cover the arena too."""
    radii, angles = np.sqrt(generator.random(24)) * GOAL_REACH, generator.random(24) * 2 * np.pi

    def n_visits(goal: complex) -> int:
        step = goal - position
        return sum(int(visits[_cell(position + part * step, step)].sum()) for part in (1 / 3, 2 / 3, 1))

    return min((radii * np.exp(1j * angles)).tolist(), key=n_visits)


def _inside(position: complex, heading: complex) -> complex:
    """Return the position, moved away from the wall if the body would touch it."""
    for along, limit in LIMITS:
        point = position + along * heading
        if abs(point) > limit:
            position -= point * (1 - limit / abs(point))
    return position


def simulate_walk(n_frames: int, seed: int) -> Walk:
    """Walk from goal to goal with random turns, speeds and stops.

    Args:
        n_frames: number of frames; a longer walk begins like a shorter one with the same seed.
        seed: the same seed gives the same walk.
    """
    generator, dt = np.random.default_rng([seed, 0]), 1 / FRAMES_PER_S
    shocks = np.random.default_rng([seed, 1]).standard_normal((n_frames, 3)) * np.sqrt(2 * dt)
    walk = Walk(np.empty(n_frames, complex), np.empty(n_frames), np.empty(n_frames))
    position = cmath.rect(0.6 * generator.random(), 2 * np.pi * generator.random())
    angle = 2 * np.pi * generator.random()
    turn, speed, wag, trail, goal, patience_s = 0.0, SPEED, 0.0, angle, 0j, 0.0
    visits = np.zeros((2, 8, 4), int)
    for frame, (turn_shock, speed_shock, wag_shock) in enumerate(shocks.tolist()):
        heading = cmath.rect(1, angle)
        walk.position[frame], walk.angle[frame], walk.bend[frame] = position, angle, trail - angle + wag
        visits[_cell(position, heading)] += 1
        to_goal, patience_s = goal - position - TORSO / 2 * heading, patience_s - dt
        if abs(to_goal) < GOAL_NEAR or patience_s < 0:
            goal, patience_s = _next_goal(position, visits, generator), GOAL_S
        wanted_turn = max(-TURN_MAX, min(TURN_MAX, TURN_GAIN * cmath.phase(to_goal / heading)))
        turn += (wanted_turn - turn) * dt / TURN_S + TURN_SD * turn_shock / TURN_S**0.5
        speed += (SPEED - speed) * dt / SPEED_S + SPEED_SD * speed_shock / SPEED_S**0.5
        wag += -wag * dt / WAG_S + WAG_SD * wag_shock / WAG_S**0.5
        angle += turn * dt * max(0.0, min(1.0, 4 * speed))  # a rat that has stopped does not turn
        trail += (angle - trail) * dt / TRAIL_S
        heading = cmath.rect(1, angle)
        position = _inside(position + max(0.0, speed) * dt * heading, heading)
    return walk


def _egg(centre: complex, length: float, width: float, taper: float = 0.0) -> np.ndarray:
    """Return an ellipse (48,) with half axes `length` along x and `width` along y; `taper` (0..1) narrows its front."""
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return centre + length * np.cos(t) + 1j * width * np.sin(t) * (1 - taper * np.cos(t))


NECK = TORSO / 2
# Outline and grey level, drawn in this order; relative to the body's centre, for a rat that looks along x.
BODY = (
    *((_egg(NECK + side * 0.07j, 0.03, 0.038), EAR) for side in (-1, 1)),
    (_egg(-0.012, NECK, 0.112, 0.42), FUR),
    (_egg(NECK + 0.02, HEAD - 0.02, 0.066, 0.45), FUR),
    (_egg(-0.055, 0.09, 0.052, 0.2), BACK),
)


def _tail(bend: float) -> np.ndarray:
    """Return the outline (32,) of the tail of a rat at the origin that looks along x."""
    along = np.linspace(0, 1, 16)
    steps = np.exp(1j * bend * along) * TAIL_LENGTH / 15
    line = -NECK + 0.02 - np.cumsum(steps) + steps[0]
    side = 0.5j * TAIL_WIDTH * (1 - 0.7 * along) * np.exp(1j * bend * along)
    return np.concatenate([line + side, (line - side)[::-1]])


def _paint(sheet: Image.Image, outline: np.ndarray, grey: int) -> None:
    """Fill an outline of complex positions with a grey level."""
    pixels = (outline * RADIUS + 0.5 + 0.5j) * sheet.width
    ImageDraw.Draw(sheet).polygon(pixels.view(float).tolist(), fill=grey)


def _empty_arena(side: int) -> Image.Image:
    """Return an image of the empty arena: floor, wall, surround and ports, lit from the upper left."""
    across = ((np.arange(side) + 0.5) / side - 0.5) / RADIUS
    distance = np.hypot(across, across[:, None])
    grey = np.where(distance < 1, FLOOR - 14 * distance**4, np.where(distance < RIM, WALL, SURROUND))
    light = 1 - 0.05 * across - 0.03 * across[:, None]
    sheet = Image.fromarray((grey * light + 0.5).astype(np.uint8))
    for angle in np.arange(1, N_PORTS) / N_PORTS - 0.25:
        _paint(sheet, _egg(cmath.rect(1, 2 * np.pi * angle), PORT_RADIUS, PORT_RADIUS), SURROUND - 12)
    _paint(sheet, _egg(-1j, FEEDER_RADIUS, FEEDER_RADIUS), SURROUND - 12)
    _paint(sheet, _egg(-1j, 0.6 * FEEDER_RADIUS, 0.6 * FEEDER_RADIUS), FLOOR)
    return sheet


def draw_frames(walk: Walk, side: int) -> np.ndarray:
    """Return the frames of a walk without noise, (N, side, side) uint8."""
    supersample = max(4, -(-SHEET_PX // side))
    empty = _empty_arena(side * supersample)
    images = np.empty((len(walk.position), side, side), np.uint8)
    for image, position, angle, bend in zip(images, *walk, strict=True):
        sheet, heading = empty.copy(), cmath.rect(1, angle)
        tail = position + heading * _tail(bend)
        _paint(sheet, tail * np.minimum(1, 0.97 / np.abs(tail)), TAIL)  # pressed along the wall, not drawn over it
        for outline, grey in BODY:
            _paint(sheet, position + heading * outline, grey)
        image[:] = sheet.reduce(supersample)
    return images


def _add_noise(images: np.ndarray, sd: float, generator: np.random.Generator) -> None:
    """Add Gaussian noise in place and frame by frame, since a long film may not fit in memory twice."""
    for image in images:
        noisy = image + sd * generator.standard_normal(image.shape, np.float32)
        image[:] = noisy.round().clip(0, 255)


def _wrap(angle: float) -> float:
    """Return the angle from 0 to below 2 pi, rounded to 4 digits."""
    return round(angle % (2 * np.pi), 4) % (2 * np.pi)


def _rows(walk: Walk, side: int) -> Iterator[Row]:
    """Yield the true parameters of each frame, lengths in px from the upper left corner of the image."""
    for frame, (position, angle) in enumerate(zip(walk.position.tolist(), walk.angle.tolist(), strict=True)):
        half_torso, distance = cmath.rect(NECK, angle), abs(position) * RADIUS * side
        points = (position, position - half_torso, position + half_torso)
        points_px = [(point * RADIUS + 0.5 + 0.5j) * side for point in points]
        lengths = [length for point in points_px for length in (point.real, point.imag)]
        numbers = (frame / FRAMES_PER_S, *lengths, _wrap(angle), distance, _wrap(cmath.phase(position)))
        yield dict(zip(COLUMNS, (frame, *(round(value, 4) for value in numbers)), strict=True))


def draw_arena(folder: Path, *, n_frames: int, size: Size, noise: float, seed: int) -> Iterator[Row]:
    """Draw a film with and without noise.

    Args:
        folder: an empty folder.
        n_frames: number of frames.
        size: height and width of a frame, which must be equal.
        noise: standard deviation of the camera's noise, grey levels of 255.
        seed: the same seed gives the same film.

    Returns:
        A row of true parameters for each frame.
    """
    walk, side = simulate_walk(n_frames, seed), size.height
    images = draw_frames(walk, side)
    np.savez(folder / "clean.npz", images=images)
    _add_noise(images, noise, np.random.default_rng([seed, 2]))
    np.savez(folder / "frames.npz", images=images)
    return _rows(walk, side)


ARENA = Kind(
    draw=draw_arena,
    summary="a film of a schematic rat that walks in a round arena, seen from above",
    folder="arena",
    columns=COLUMNS,
    options=(
        Option("n_frames", whole_number(10, 1_000_000), 3000, "number of frames, 10 per second"),
        Option("size", square_size, Size(50, 50), "HEIGHTxWIDTH of a frame in pixels, square"),
        Option("noise", number(0, 100), 10, "standard deviation of the camera's noise, grey levels of 255"),
    ),
    files=FILES,
    row_noun="frames",
)
