"""A fixed encoder of visual cortex: the energy of Gabor filters, and the energy of these energies."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuro_noodle.choices import require
from neuro_noodle.networks.base import ENCODERS, Encoder, require_no_latent_dim

BANDWIDTH = 0.5  # standard deviation of the envelope, in wavelengths
REACH = 2.5  # radius of a filter, in standard deviations
FIRST, SECOND, RATIO = 3.0, 6.0, 1.55  # shortest wavelengths, px, and the ratio of successive ones
MIN_SD = 1e-6  # of a feature over training images; one that never varies becomes 0


@ENCODERS.add("energy")
class Energy(Encoder):
    """Complex cells and cells that combine them: Gabor energy at several scales, its own energy, and coarse pixels.

    Nothing in it trains, so images are encoded once. Every feature is divided by its standard deviation over training
    images and by the root of the size of its group, so that a ridge regression weighs the three groups alike.

    Args:
        image_shape: (C, H, W); the energy is that of the mean over channels.
        latent_dim: must be None, because it follows from the options.
        wavelengths: of the first filters, px; None takes 3, 4.7, 7.2, 11 and so on, of which three fit in the image.
        orientations: number of orientations of the first filters.
        grid: rows and columns of the fields in which the first energy is averaged, at most those of the image.
        second: wavelengths of the second filters, px; each is applied to the energy of first filters of shorter ones;
            None takes 6, 9.3, 14 and so on, of which three fit in the image.
        second_orientations: number of their orientations.
        second_grid: the same as grid for the second energy.
        pixels: the same for pixels.

    Source: Adelson & Bergen 1985, doi:10.1364/JOSAA.2.000284 (energy); Bruna & Mallat 2013, doi:10.1109/TPAMI.2012.230
    (two orders).
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int | None,
        *,
        wavelengths: tuple[float, ...] | None = None,
        orientations: int = 8,
        grid: int = 5,
        second: tuple[float, ...] | None = None,
        second_orientations: int = 4,
        second_grid: int = 3,
        pixels: int = 14,
    ) -> None:
        super().__init__()
        require_no_latent_dim("encoder 'energy'", latent_dim)
        counts = {"orientations": orientations, "second_orientations": second_orientations}
        counts |= {"grid": grid, "second_grid": second_grid, "pixels": pixels}
        wrong = [f"{name}={n}" for name, n in counts.items() if n < 1]
        require(not wrong, f"encoder 'energy': {', '.join(wrong)} must be 1 or more")
        side = min(image_shape[1:])
        wavelengths = _octaves(FIRST, side) if wavelengths is None else wavelengths
        second = _octaves(SECOND, side) if second is None else second
        _require_wavelengths((*wavelengths, *second), side)
        grid, second_grid, pixels = (min(n, side) for n in (grid, second_grid, pixels))
        self.grids = grid, second_grid, pixels
        self.first = nn.ModuleList(GaborEnergy(wavelength, orientations) for wavelength in wavelengths)
        self.second = nn.ModuleList(GaborEnergy(wavelength / 2, second_orientations) for wavelength in second)
        self.pairs = [
            (i, j) for i, shorter in enumerate(wavelengths) for j, longer in enumerate(second) if longer > shorter
        ]
        self.sizes = [
            len(wavelengths) * orientations * grid**2,
            len(self.pairs) * orientations * second_orientations * second_grid**2,
            image_shape[0] * pixels**2,
        ]
        self.latent_dim = sum(self.sizes)
        self.stages = nn.ModuleDict()
        self.register_buffer("shift", torch.zeros(self.latent_dim))
        self.register_buffer("gain", torch.ones(self.latent_dim))

    def forward(self, images: Tensor) -> Tensor:
        return (self.features(images) - self.shift) * self.gain  # (B, D)

    def features(self, images: Tensor) -> Tensor:
        """Return the features (B, D) of images (B, C, H, W) before they are scaled."""
        grid, second_grid, pixels = self.grids
        first = [energy(images.mean(1, keepdim=True)).flatten(1, 2) for energy in self.first]  # (B, K, H, W) each
        halved = [F.avg_pool2d(maps, 2) for maps in first]  # (B, K, H/2, W/2) each
        second = [self.second[j](halved[i]).flatten(1, 2) for i, j in self.pairs]  # (B, K * K2, H/2, W/2) each
        groups = [
            *(_average(maps.sqrt(), grid) for maps in first),
            *(_average(maps, second_grid).sqrt() for maps in second),
            _average(images, pixels),
        ]
        return torch.cat(groups, 1)  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Compute mean and standard deviation of each feature over training images (N, C, H, W)."""
        features = torch.cat([self.features(batch) for batch in images.split(64)])  # (N, D)
        sd, mean = torch.std_mean(features, 0, correction=0)
        root = torch.cat([torch.full((size,), size**0.5) for size in self.sizes]).to(sd)  # (D,)
        self.shift.copy_(mean)
        self.gain.copy_(torch.where(sd > MIN_SD, 1 / (sd * root), 0))


class GaborEnergy(nn.Module):
    """The local energy of a wavelength at several orientations: the length of the responses of two filters.

    Args:
        wavelength: px.
        n_orientations: from 0 to 180 degrees.
    """

    filters: Tensor

    def __init__(self, wavelength: float, n_orientations: int) -> None:
        super().__init__()
        filters = gabor_filters(wavelength, n_orientations)  # (2 K, side, side)
        self.register_buffer("filters", torch.from_numpy(filters)[:, None])

    def forward(self, maps: Tensor) -> Tensor:
        n_batch, n_maps, height, width = maps.shape
        radius = self.filters.shape[-1] // 2
        separate = maps.flatten(0, 1)[:, None]  # (B * M, 1, H, W)
        padded = F.pad(separate, (radius,) * 4, mode="replicate")
        responses = F.conv2d(padded, self.filters.to(maps)).unflatten(1, (-1, 2))  # (B * M, K, 2, H, W)
        energy = responses.square().sum(2).add(1e-12).sqrt()  # (B * M, K, H, W)
        return energy.view(n_batch, n_maps, -1, height, width)  # (B, M, K, H, W)


def gabor_filters(wavelength: float, n_orientations: int) -> np.ndarray:
    """Return even and odd filters of a wavelength (px), (2 * n_orientations, side, side), of length 1 and sum 0."""
    sd = BANDWIDTH * wavelength
    radius = int(np.ceil(REACH * sd))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    envelope = np.exp(-(x**2 + y**2) / (2 * sd**2))
    filters = []
    for angle in np.pi * np.arange(n_orientations) / n_orientations:
        phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / wavelength
        for carrier in (np.cos(phase), np.sin(phase)):
            filtered = envelope * (carrier - (envelope * carrier).sum() / envelope.sum())
            filters.append(filtered / np.linalg.norm(filtered))
    return np.array(filters, np.float32)


def _average(maps: Tensor, n: int) -> Tensor:
    return F.adaptive_avg_pool2d(maps, n).flatten(1)


def _octaves(start: float, side: int) -> tuple[float, ...]:
    """Return wavelengths (px) from a shortest one, in steps of RATIO, of which three fit in the side of an image."""
    n = 1 + max(0, int(np.log(side / 3 / start) / np.log(RATIO)))
    return tuple(float(f"{start * RATIO**k:.2g}") for k in range(n))


def _require_wavelengths(wavelengths: Sequence[float], side: int) -> None:
    """Raise UserError for wavelengths that do not suit the smaller side of the images, px."""
    require(
        bool(wavelengths) and all(2 <= one <= side for one in wavelengths),
        f"encoder 'energy': wavelengths {', '.join(f'{one:g}' for one in wavelengths)} must be from 2 to {side} px, "
        "the smaller side of the images",
    )
