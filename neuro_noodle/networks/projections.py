"""Encoders that are fitted to the training images before the loop and then stay: PCA and UMAP."""

import math

import torch
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require
from neuro_noodle.measures.linear import principal_components
from neuro_noodle.networks.base import ENCODERS, Encoder

SMALLEST_MAP = 4  # images


@ENCODERS.add("pca")
class Pca(Encoder):
    """The principal components of the training images' pixels.

    Args:
        image_shape: (C, H, W).
        latent_dim: D, the number of components; 16 if None. Those beyond what the images span are 0.
        whiten: give each component unit variance, else the variance of the images along it.

    Attributes:
        explained: (D,) share of the training images' variance, by component.
    """

    explained: Tensor
    prefers_bf16 = None

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int | None, *, whiten: bool = True) -> None:
        super().__init__()
        self.latent_dim, self.whiten = latent_dim or 16, whiten
        self.stages = nn.ModuleDict()
        self.register_buffer("centre", torch.zeros(math.prod(image_shape)))
        self.register_buffer("components", torch.zeros(self.latent_dim, math.prod(image_shape)))
        self.register_buffer("explained", torch.zeros(self.latent_dim))

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, enabled=False):
            return (images.flatten(1) - self.centre) @ self.components.T  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Find the components."""
        pixels = images.flatten(1)  # (N, C*H*W)
        mean, components, variances = principal_components(pixels, self.latent_dim)
        n_found = len(components)
        self.components.zero_()
        self.explained.zero_()
        self.centre.copy_(mean)
        self.components[:n_found] = components * variances.rsqrt()[:, None] if self.whiten else components
        self.explained[:n_found] = variances / (pixels - mean).square().sum() * (len(pixels) - 1)

    def summary(self) -> str:
        n_found = int((self.explained > 0).sum())
        told = f"{n_found} components explain {self.explained.sum():.1%} of the training images' variance"
        empty = f"; they span no more, so {self.latent_dim - n_found} of the latent's {self.latent_dim} numbers stay 0"
        return told + (empty if n_found < self.latent_dim else "")

    def explained_by(self, images: Tensor) -> Tensor:
        """Return (D,): the share of the variance of images about their training mean, by component."""
        pixels = images.flatten(1) - self.centre  # (N, C*H*W)
        directions = nn.functional.normalize(self.components)
        return (pixels @ directions.T).square().sum(0) / pixels.square().sum()


@ENCODERS.add("umap")
class Umap(Encoder):
    """UMAP of the training images' pixels; other images are placed among them.

    Args:
        image_shape: (C, H, W).
        latent_dim: D; 16 if None.
        n_neighbors: images that count as near; fewer keep more of the local structure.
        min_dist: how close images may come in the latent.

    Source: McInnes et al. 2018, arXiv:1802.03426.
    """

    encodes_once = True
    prefers_bf16 = None

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int | None,
        *,
        n_neighbors: int = 15,
        min_dist: float = 0.1,
    ) -> None:
        super().__init__()
        require(n_neighbors >= 2, f"encoder 'umap': n_neighbors={n_neighbors} must be 2 or more")
        require(0 <= min_dist <= 1, f"encoder 'umap': min_dist={min_dist} must be from 0 to 1")
        self.latent_dim, self.n_neighbors, self.min_dist = latent_dim or 16, n_neighbors, min_dist
        self.stages = nn.ModuleDict()
        self.register_buffer("mean", torch.zeros(self.latent_dim))
        self.register_buffer("sd", torch.ones(self.latent_dim))

    def forward(self, images: Tensor) -> Tensor:
        if self.pickled is None:
            raise UserError(
                "the UMAP of this run lies in a pickle, which can run code when opened; if the run is yours, or you "
                "trust who made it, add --trust_pickle"
            )
        placed = self.pickled.transform(images.flatten(1).cpu().numpy())
        return (torch.from_numpy(placed).to(self.mean) - self.mean) / self.sd  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Lay out the training images; latents are scaled to mean 0 and sd 1."""
        require(len(images) >= SMALLEST_MAP, f"encoder 'umap' needs {SMALLEST_MAP} images at least, not {len(images)}")
        from umap import UMAP

        self.pickled = UMAP(
            n_components=self.latent_dim,
            n_neighbors=min(self.n_neighbors, len(images) - 1),
            min_dist=self.min_dist,
            init="spectral" if self.latent_dim < len(images) - 2 else "random",
            random_state=torch.initial_seed() % 2**32,
            n_jobs=1,
        )
        placed = torch.from_numpy(self.pickled.fit_transform(images.flatten(1).cpu().numpy()))
        self.mean.copy_(placed.mean(0))
        self.sd.copy_(placed.std(0))
