"""Encoders that are fitted to the training images before training and do not change afterwards: PCA and UMAP."""

import math

import torch
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require
from neuro_noodle.measures.linear import principal_components
from neuro_noodle.networks.base import ENCODERS, Encoder

MIN_UMAP_IMAGES = 4


@ENCODERS.add("pca")
class Pca(Encoder):
    """Principal components of the pixels of the training images.

    Args:
        image_shape: (C, H, W).
        latent_dim: D, the number of components; 16 if None. Components beyond those the images span are 0.
        whiten: scale each component to unit variance; otherwise it has the variance of the images along it.

    Attributes:
        explained: (D,) share of the variance of the training images that each component explains.
    """

    explained: Tensor

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
        """Compute the components of the training images (N, C, H, W)."""
        pixels = images.flatten(1)  # (N, C*H*W)
        found = principal_components(pixels.cpu().numpy(), self.latent_dim)
        mean, directions, variances = (
            torch.from_numpy(values).to(pixels) for values in (found.mean, found.directions, found.variances)
        )
        n_found = len(directions)
        self.components.zero_()
        self.explained.zero_()
        self.centre.copy_(mean)
        self.components[:n_found] = directions * variances.rsqrt()[:, None] if self.whiten else directions
        self.explained[:n_found] = variances / (pixels - mean).square().sum() * (len(pixels) - 1)

    def summary(self) -> str:
        n_found = int((self.explained > 0).sum())
        text = f"{n_found} components explain {self.explained.sum():.1%} of the variance of the training images"
        if n_found < self.latent_dim:
            text += (
                f"; the images span no more, so {self.latent_dim - n_found} of {self.latent_dim} latent values are 0"
            )
        return text

    def explained_by(self, images: Tensor) -> Tensor:
        """Return the share of the variance of images that each component explains.

        Args:
            images: (B, C, H, W); their variance is taken about the mean training image.

        Returns:
            (D,) shares in [0, 1].
        """
        pixels = images.flatten(1) - self.centre  # (B, C*H*W)
        directions = nn.functional.normalize(self.components)
        return (pixels @ directions.T).square().sum(0) / pixels.square().sum()


@ENCODERS.add("umap")
class Umap(Encoder):
    """UMAP of the pixels of the training images; new images are embedded in the same map.

    Args:
        image_shape: (C, H, W).
        latent_dim: D; 16 if None.
        n_neighbors: number of images in a neighbourhood; smaller values preserve more of the local structure.
        min_dist: minimum distance between images in the latent, from 0 to 1.

    Source: McInnes et al. 2018, arXiv:1802.03426.
    """

    encodes_once = True

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
        require(0 <= min_dist <= 1, f"encoder 'umap': min_dist={min_dist} must be between 0 and 1")
        self.latent_dim, self.n_neighbors, self.min_dist = latent_dim or 16, n_neighbors, min_dist
        self.stages = nn.ModuleDict()
        self.register_buffer("mean", torch.zeros(self.latent_dim))
        self.register_buffer("sd", torch.ones(self.latent_dim))

    def forward(self, images: Tensor) -> Tensor:
        if self.fitted_state is None:
            raise UserError(
                "the UMAP of this run is stored as a pickle, and opening a pickle can run code; "
                "if the run is yours, or you trust whoever made it, add --trust_pickle (in Python, trust_pickle=True)"
            )
        embedding = self.fitted_state.transform(images.flatten(1).cpu().numpy())
        return (torch.from_numpy(embedding).to(self.mean) - self.mean) / self.sd  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Fit the map to the training images and scale their latents to mean 0 and standard deviation 1.

        Args:
            images: (N, C, H, W) training images.

        Raises:
            UserError: for fewer than 4 images.
        """
        n_images = len(images)
        require(n_images >= MIN_UMAP_IMAGES, f"encoder 'umap' needs at least {MIN_UMAP_IMAGES} images, not {n_images}")
        from umap import UMAP

        self.fitted_state = UMAP(
            n_components=self.latent_dim,
            n_neighbors=min(self.n_neighbors, n_images - 1),
            min_dist=self.min_dist,
            init="spectral" if self.latent_dim < n_images - 2 else "random",
            random_state=torch.initial_seed() % 2**32,
            n_jobs=1,
        )
        embedding = torch.from_numpy(self.fitted_state.fit_transform(images.flatten(1).cpu().numpy()))  # (N, D)
        self.mean.copy_(embedding.mean(0))
        self.sd.copy_(embedding.std(0))
