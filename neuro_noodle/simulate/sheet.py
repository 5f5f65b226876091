"""The drawing surface of a face: places shapes in head units in the image, as seen from the camera.

Coordinates are in head units (1 is half the height of a head): x right, y down, z towards the camera.
"""

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from neuro_noodle.choices import Size
from neuro_noodle.simulate.people import HAIR_STYLES, HAIRS, SKIN_TONES, Colour, Identity, View, head_unit_px

SUPERSAMPLE = 2  # pixels drawn per pixel saved, along each side
COARSE = 4  # light and shadows are smooth, so they are computed at a quarter of the drawing's resolution
EYE_Y, MOUTH_Y = 0.02, 0.62
WHITE: Colour = (255, 255, 255)


def blend(first: Colour, second: Colour, amount: float) -> Colour:
    """Return the mixture of two colours; an amount of 0 gives the first, 1 the second."""
    red, green, blue = (round(a * (1 - amount) + b * amount) for a, b in zip(first, second, strict=True))
    return red, green, blue


def curve(start: ArrayLike, control: ArrayLike, end: ArrayLike) -> np.ndarray:
    """Return 20 points of a quadratic Bezier curve, (20, 2) or (20, 3)."""
    t = np.linspace(0, 1, 20)[:, None]
    return (1 - t) ** 2 * np.array(start) + 2 * t * (1 - t) * np.array(control) + t**2 * np.array(end)


def ellipse(x: float, y: float, rx: float, ry: float) -> np.ndarray:
    """Return points of an ellipse with this centre and half axes, (36, 2)."""
    angle = np.linspace(0, 2 * np.pi, 36)
    return np.column_stack([x + rx * np.cos(angle), y + ry * np.sin(angle)])


def area_between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the polygon between two curves that run in the same direction."""
    return np.concatenate([first, second[::-1]])


def mirror(points: np.ndarray) -> np.ndarray:
    """Return points mirrored to the other side of the face."""
    return points * [-1, 1, 1][: points.shape[1]]


def at_depth(points: np.ndarray, z: float | np.ndarray) -> np.ndarray:
    """Return points (n, 2) with a depth of their own, (n, 3), instead of that of the face."""
    return np.column_stack([points, np.broadcast_to(z, len(points))])


class Sheet:
    """A supersampled drawing of one face.

    Args:
        size: height and width of the final image.
        identity: the person.
        view: pose, light and noise.
        smile, sorrow: intensity of happiness and of sadness, from 0 to about 1.
    """

    def __init__(self, size: Size, identity: Identity, view: View, smile: float, sorrow: float) -> None:
        self.identity, self.view, self.smile, self.sorrow = identity, view, smile, sorrow
        self.half_width, self.eye_x = identity.face_width / 2, identity.eye_distance / 2
        self.nose_y, self.brow_y = EYE_Y + identity.nose_length, EYE_Y - identity.brow_height
        tone_positions = np.linspace(0, 1, len(SKIN_TONES))
        red, green, blue = (int(np.interp(identity.skin_tone, tone_positions, tones)) for tones in SKIN_TONES.T)
        self.skin: Colour = (red, green, blue)
        self.hair, self.cut = HAIRS[identity.hair_colour], HAIR_STYLES[identity.sex][identity.hair_style]
        self.unit_px, pixels = SUPERSAMPLE * head_unit_px(size) * view.scale, SUPERSAMPLE * np.array(size[::-1])
        self.centre = pixels / 2 + np.array([view.shift_x, view.shift_y + 0.02]) * self.unit_px
        self.image = Image.new("RGB", tuple(pixels.tolist()))
        self.mask = Image.new("L", self.image.size)  # where the person is, as opposed to the background
        self.rotation = _rotation(view)

    def on_face(self, points: np.ndarray, lift: float = 0.0) -> np.ndarray:
        """Return points (n, 2) with the depth of the surface of the face, (n, 3)."""
        x, y = (points / [self.half_width, 1]).T
        bulge = np.sqrt((1 - x**2).clip(0)) * (1 - (y / np.where(y > 0, 1.25, 1.02)) ** 2).clip(0) ** 0.35
        return at_depth(points, 0.75 * bulge + lift)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the pixel coordinates (n, 2) of points on the face (n, 2) or in space (n, 3)."""
        points = self.on_face(points) if points.shape[1] == 2 else points
        return (points @ self.rotation)[:, :2] * self.unit_px + self.centre

    def fill(self, points: np.ndarray, colour: Colour, alpha: int = 255, both_sides: bool = False) -> None:
        """Fill a polygon; opaque polygons are added to the mask of the person."""
        for shape in (points, mirror(points))[: 1 + both_sides]:
            outline = self.project(shape).ravel().tolist()
            ImageDraw.Draw(self.image, "RGBA").polygon(outline, fill=(*colour, alpha))
            if alpha == 255:
                ImageDraw.Draw(self.mask).polygon(outline, fill=255)

    def stroke(
        self,
        points: np.ndarray,
        width: float | np.ndarray,
        colour: Colour,
        alpha: int = 255,
        both_sides: bool = False,
    ) -> None:
        """Draw a line whose width may vary along it."""
        along = np.gradient(points[:, :2], axis=0)
        side = np.zeros_like(points)
        side[:, :2] = along[:, ::-1] * [-0.5, 0.5] / (np.hypot(*along.T)[:, None] + 1e-9)
        side *= np.broadcast_to(width, len(points))[:, None]
        self.fill(area_between(points + side, points - side), colour, alpha, both_sides)

    def shade(self, softness: float, *marks: tuple[np.ndarray, Colour, float]) -> None:
        """Multiply the drawing by blurred shadows or blushes on both sides of the face.

        Args:
            softness: standard deviation of the blur, head units.
            marks: outline, colour and strength of each.
        """
        shadow = Image.new("RGB", tuple(-(-edge // COARSE) for edge in self.image.size), WHITE)
        for points, colour, strength in marks:
            for shape in (points, mirror(points)):
                outline = (self.project(shape) / COARSE).ravel().tolist()
                ImageDraw.Draw(shadow).polygon(outline, fill=blend(WHITE, colour, strength))
        soft = shadow.filter(ImageFilter.GaussianBlur(softness * self.unit_px / COARSE))
        box = ImageChops.invert(soft).getbbox() or (0, 0, 1, 1)  # multiplying the whole drawing takes too long
        left, upper, right, lower = (COARSE * edge for edge in box)
        part = soft.crop(box).resize((right - left, lower - upper), Image.Resampling.BILINEAR)
        self.image.paste(ImageChops.multiply(self.image.crop((left, upper, right, lower)), part), (left, upper))


def _rotation(view: View) -> np.ndarray:
    """Return the rotation matrix (3, 3) of the head, which multiplies row vectors from the right."""
    (sy, sp, st), (cy, cp, ct) = (f(np.radians([view.yaw, view.pitch, view.tilt])) for f in (np.sin, np.cos))
    yaw, pitch = [[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]], [[1, 0, 0], [0, cp, sp], [0, -sp, cp]]
    return np.array(yaw) @ np.array(pitch) @ np.array([[ct, st, 0], [-st, ct, 0], [0, 0, 1]])
