"""How images are scaled before the first layer of a network, by statistics of the training images."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Scale = Literal["none", "zscore", "pixelwise"]


class ZScore(nn.Module):
    """Subtract a mean over training images and divide by their standard deviation.

    Args:
        shape: of an image, if each pixel has its own mean and standard deviation; () if all pixels share them.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, shape: Sequence[int] = ()) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(tuple(shape)))
        self.register_buffer("scale", torch.ones(tuple(shape)))

    def forward(self, images: Tensor) -> Tensor:
        return images * self.scale + self.shift

    @property
    def is_pixelwise(self) -> bool:
        """Whether each pixel has its own mean and standard deviation."""
        return self.shift.ndim > 0

    def of_sums(self, sums: Tensor, of_one: Tensor) -> Tensor:
        """Return weighted sums of scaled pixels, computed from weighted sums of unscaled pixels.

        This is faster than scaling every pixel first, and possible if all pixels are scaled alike.

        Args:
            sums: (B, D) weighted sums of the pixels of each image.
            of_one: (D,) the same weighted sums of an image that is 1 everywhere.
        """
        return sums * self.scale + self.shift * of_one

    def fit(self, images: Tensor) -> None:
        """Compute mean and standard deviation from training images (N, ...)."""
        sd, mean = torch.std_mean(images, 0 if self.is_pixelwise else None)
        self.scale.copy_(torch.where(sd > 1e-6, 1 / sd, 1))  # a pixel that never varies is only shifted
        self.shift.copy_(-mean * self.scale)


def build_scaling(scale: Scale, image_shape: Sequence[int]) -> ZScore | None:
    """Return how images of a shape are scaled; None if they are not.

    Args:
        scale: zscore subtracts the mean of all training pixels and divides by their standard deviation; pixelwise does
            so with those of each pixel.
        image_shape: shape of what is scaled.
    """
    if scale == "none":
        return None
    return ZScore(image_shape if scale == "pixelwise" else ())
