"""Augmentations: random changes of training images, different for each image, computed for a whole batch at once.

A geometric augmentation returns one matrix per image. The matrices of all augmentations are multiplied, so the batch is
resampled only once. To add one: a class under @AUGMENTATIONS.add("name") in this file.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from neuro_noodle.choices import Table, require

AUGMENTATIONS = Table("augmentation")
LEAST_EXPLAINED = 0.5  # two films from fixed cameras: 0.92 and 0.89; crops around animals: 0.22 and 0.08
STILL, MOST_STILL = 0.25, 0.05  # a share of the mean difference from the median; three films: no frame is below it


class Augmentation:
    """Base class, which changes nothing; subclasses override `matrices` or `pixels`.

    Attributes:
        moves: whether it moves things within the image.
        mixes: words for directions that it turns into each other.
        needs_fit: whether `fit` must see training images first.
        background: (C, H, W) image that stays in place while other augmentations move what differs from it; or None.
    """

    moves = False
    mixes: frozenset[str] = frozenset()
    needs_fit = False
    background: Tensor | None = None

    def fit(self, images: Tensor) -> str:
        """Estimate what is needed from training images (N, C, H, W) in [0, 1]; return a note for the user, or ''."""
        return ""

    def matrices(self, n: int, shape: tuple[int, int], generator: Generator) -> Tensor | None:
        """Return (n, 3, 3) from output to input coordinates, in which the image spans -1 to 1."""
        return None

    def pixels(self, images: Tensor, generator: Generator) -> Tensor:
        """Return images (B, C, H, W) in [0, 1] with other pixel values."""
        return images


def build_augmentations(choices: Sequence[str]) -> list[Augmentation]:
    """Return the augmentations of choices `NAME KEY=VALUE ...`."""
    return [AUGMENTATIONS.build(choice) for choice in choices]


def augment(
    images: Tensor, augmentations: Sequence[Augmentation], generator: Generator
) -> tuple[Tensor, Tensor | None]:
    """Apply all augmentations: first the geometric ones in the given order, then those of pixel values.

    Args:
        images: (B, C, H, W) in [0, 1].
        augmentations: changes to apply.
        generator: the source of all random numbers, on the CPU. Numbers for each pixel are drawn on the device of the
            images, by a generator that is seeded from this one.

    Returns:
        The changed images (B, C, H, W); and the matrices (B, 2, 2) that transform a vector x, y in px in the same way,
        or None if no augmentation moves anything.
    """
    matrix = None
    for augmentation in augmentations:
        one = augmentation.matrices(len(images), tuple(images.shape[2:]), generator)
        if one is not None:
            matrix = one if matrix is None else matrix @ one
    if matrix is not None:
        images = _resample(
            images, matrix, next((one.background for one in augmentations if one.background is not None), None)
        )
    for augmentation in augmentations:
        images = augmentation.pixels(images, generator)
    return images, None if matrix is None else _vector_transform(matrix, images)


def _resample(images: Tensor, matrix: Tensor, background: Tensor | None) -> Tensor:
    """Move images, or only what differs from the background, by matrices (B, 3, 3)."""
    grid = F.affine_grid(matrix[:, :2].to(images), list(images.shape), align_corners=False)  # (B, H, W, 2)
    if background is None:
        return F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    background = background.to(images)
    return (F.grid_sample(images - background, grid, align_corners=False) + background).clamp(0, 1)


def _vector_transform(matrix: Tensor, images: Tensor) -> Tensor:
    """Return (B, 2, 2) from input to output vectors in px, given (B, 3, 3) from output to input coordinates."""
    height, width = images.shape[2:]
    px = torch.tensor([width / 2, height / 2])  # per unit of the coordinates, which span -1 to 1
    return torch.linalg.inv(px[:, None] * matrix[:, :2, :2] / px).to(images)


@AUGMENTATIONS.add("crop")
class Crop(Augmentation):
    """Cut out a random box and resize it to the size of the image.

    Args:
        area: smallest and largest area of the box, as a share of the image.
        ratio: smallest and largest ratio of the box's width to its height, both in px.

    Source: Szegedy et al. 2015, doi:10.1109/CVPR.2015.7298594; sampled as in torchvision's RandomResizedCrop.
    """

    moves = True

    def __init__(self, *, area: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> None:
        first = "the smaller one first"
        require(
            0 < area[0] <= area[1] <= 1,
            f"crop: area={area[0]},{area[1]} must be two numbers above 0 and at most 1, {first}",
        )
        require(0 < ratio[0] <= ratio[1] < math.inf, f"crop: ratio={ratio[0]},{ratio[1]} must be above 0, {first}")
        self.area = area
        self.ratio = ratio

    def matrices(self, n: int, shape: tuple[int, int], generator: Generator) -> Tensor:
        return affine(*self.boxes(n, shape, generator))

    def boxes(self, n: int, shape: tuple[int, int], generator: Generator) -> tuple[Tensor, Tensor]:
        """Return n random boxes; after ten that do not fit, the largest box of an allowed ratio, centred.

        Returns:
            (n, 2) width and height as a share of those of the image; and (n, 2) x and y of the centre, from -1 to 1.
        """
        height, width = shape
        low, high = self.area
        area = (low + (high - low) * torch.rand(n, 10, generator=generator)) * height * width  # (n, 10) px
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        stretch = torch.exp(low + (high - low) * torch.rand(n, 10, generator=generator))
        boxes = torch.stack([(area * stretch).sqrt() / width, (area / stretch).sqrt() / height], 2)  # (n, 10, 2)
        boxes = torch.cat([boxes, self._whole(shape).expand(n, 1, 2)], 1)  # (n, 11, 2)
        first = (boxes <= 1).all(2).int().argmax(1)
        size = boxes[torch.arange(n), first]
        centre = (2 * torch.rand(n, 2, generator=generator) - 1) * (1 - size)
        return size, torch.where((first < 10)[:, None], centre, 0)

    def _whole(self, shape: tuple[int, int]) -> Tensor:
        """Return the largest box of an allowed ratio."""
        height, width = shape
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        return torch.tensor([min(1.0, ratio * height / width), min(1.0, width / (ratio * height))])


@AUGMENTATIONS.add("flip")
class Flip(Augmentation):
    """Mirror images left to right.

    Args:
        p: probability with which an image is mirrored.
    """

    moves = True

    def __init__(self, *, p: float = 0.5) -> None:
        require(0 <= p <= 1, f"flip: p={p} must be from 0 to 1")
        self.p = p
        self.mixes = frozenset(("left", "right")) if p else frozenset()

    def matrices(self, n: int, shape: tuple[int, int], generator: Generator) -> Tensor:
        width = torch.where(torch.rand(n, generator=generator) < self.p, -1.0, 1.0)
        return affine(torch.stack([width, torch.ones(n)], 1), torch.zeros(n, 2))


@AUGMENTATIONS.add("shift")
class Shift(Augmentation):
    """Shift the image; the border is repeated outside it.

    Args:
        px: maximum shift along each axis, px.
    """

    moves = True

    def __init__(self, *, px: float = 2.0) -> None:
        require(0 <= px < math.inf, f"shift: px={px} must be 0 or more")
        self.px = px

    def matrices(self, n: int, shape: tuple[int, int], generator: Generator) -> Tensor:
        height, width = shape
        reach = torch.tensor([2 * self.px / width, 2 * self.px / height])
        return affine(torch.ones(n, 2), (2 * torch.rand(n, 2, generator=generator) - 1) * reach)


@AUGMENTATIONS.add("rotate")
class Rotate(Augmentation):
    """Rotate the image about its centre; the border is repeated outside it.

    Args:
        deg: maximum rotation to either side, degrees.
    """

    moves = True

    def __init__(self, *, deg: float = 5.0) -> None:
        require(0 <= deg <= 180, f"rotate: deg={deg} must be from 0 to 180")
        self.deg = deg
        self.mixes = frozenset(("left", "right", "up", "down")) if deg > 45 else frozenset()

    def matrices(self, n: int, shape: tuple[int, int], generator: Generator) -> Tensor:
        height, width = shape
        angle = (2 * torch.rand(n, generator=generator) - 1) * math.radians(self.deg)
        matrix = affine(angle.cos()[:, None].expand(n, 2), torch.zeros(n, 2))
        matrix[:, 0, 1] = -angle.sin() * height / width  # a rotation in px, although both axes span -1 to 1
        matrix[:, 1, 0] = angle.sin() * width / height
        return matrix


@AUGMENTATIONS.add("zoom")
class Zoom(Augmentation):
    """Enlarge or shrink the image about its centre.

    Args:
        by: maximum relative change of size.
    """

    moves = True

    def __init__(self, *, by: float = 0.05) -> None:
        require(0 <= by < 1, f"zoom: by={by} must be from 0 to below 1")
        self.by = by

    def matrices(self, n: int, shape: tuple[int, int], generator: Generator) -> Tensor:
        scale = 1 + (2 * torch.rand(n, 1, generator=generator) - 1) * self.by
        return affine(scale.expand(n, 2), torch.zeros(n, 2))


@AUGMENTATIONS.add("background")
class Background(Augmentation):
    """Keep the background in place, so that the other augmentations move only what differs from it.

    The background is the median of training images, if it explains at least half of their variance, as in films from a
    fixed camera in constant light; otherwise whole images move. What is in the same place in half of the images becomes
    background: an animal at rest, or the average of aligned faces. It changes nothing by itself.
    """

    needs_fit = True

    def fit(self, images: Tensor) -> str:
        median = images.median(0).values
        differences = (images - median).square().mean((1, 2, 3))  # (N,)
        variance = images.var((0, 2, 3), correction=0).mean().clamp(min=1e-12)
        explained = 1 - float(differences.mean() / variance)
        if explained < LEAST_EXPLAINED:
            return (
                "--augment background moves whole images, because the median image explains only "
                f"{max(explained, 0):.0%} of the variance of training images: the camera or the crop moves, or the "
                "background is even"
            )
        self.background = median
        still = float((differences < STILL * differences.mean()).float().mean())
        if still <= MOST_STILL:
            return ""
        return (
            f"{still:.0%} of training images hardly differ from their median, which --augment background keeps in "
            "place: an animal that rests in one place may count as background and not turn with its direction"
        )


@AUGMENTATIONS.add("brightness")
class Brightness(Augmentation):
    """Change brightness and contrast.

    Args:
        add: maximum change of brightness.
        contrast: maximum relative change of contrast about the mean of the image.
    """

    def __init__(self, *, add: float = 0.1, contrast: float = 0.1) -> None:
        require(0 <= add <= 1, f"brightness: add={add} must be from 0 to 1")
        require(0 <= contrast <= 1, f"brightness: contrast={contrast} must be from 0 to 1")
        self.add = add
        self.contrast = contrast

    def pixels(self, images: Tensor, generator: Generator) -> Tensor:
        add, gain = ((2 * torch.rand(2, len(images), 1, 1, 1, generator=generator) - 1).to(images)).unbind()
        mean = images.mean((1, 2, 3), keepdim=True)
        return (mean + (1 + gain * self.contrast) * (images - mean) + add * self.add).clamp(0, 1)


@AUGMENTATIONS.add("noise")
class Noise(Augmentation):
    """Add Gaussian noise, independent for each pixel and channel, as a camera does.

    Args:
        sd: standard deviation of the noise; white is 1.
    """

    def __init__(self, *, sd: float = 0.05) -> None:
        require(0 <= sd < math.inf, f"noise: sd={sd} must be 0 or more")
        self.sd = sd

    def pixels(self, images: Tensor, generator: Generator) -> Tensor:
        noise = torch.randn(
            images.shape, generator=device_generator(images, generator), device=images.device, dtype=images.dtype
        )
        return (images + self.sd * noise).clamp(0, 1)


@AUGMENTATIONS.add("salt_pepper")
class SaltPepper(Augmentation):
    """Set random pixels to white and equally many to black, in all channels.

    Args:
        share: share of the pixels that are set, black and white together.
    """

    def __init__(self, *, share: float = 0.02) -> None:
        require(0 <= share <= 1, f"salt_pepper: share={share} must be from 0 to 1")
        self.share = share

    def pixels(self, images: Tensor, generator: Generator) -> Tensor:
        chance = torch.rand(
            (len(images), 1, *images.shape[2:]), generator=device_generator(images, generator), device=images.device
        )
        images = torch.where(chance < self.share / 2, 0.0, images)
        return torch.where(chance >= 1 - self.share / 2, 1.0, images)


def device_generator(images: Tensor, generator: Generator) -> Generator:
    """Return a generator on the device of the images, seeded from another one."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return Generator(images.device).manual_seed(seed)


def affine(scale: Tensor, centre: Tensor) -> Tensor:
    """Return (n, 3, 3) matrices that scale by (n, 2) and then translate by (n, 2), both in the order x, y."""
    matrix = torch.zeros(len(scale), 3, 3)
    matrix[:, 0, 0], matrix[:, 1, 1], matrix[:, 2, 2] = scale[:, 0], scale[:, 1], 1
    matrix[:, :2, 2] = centre
    return matrix
