"""What an encoder (image to latent) and a head (latent to prediction) are, and the tables of both."""

import math
from typing import Literal

import torch
from torch import Tensor, nn

from choices import Table, require

ENCODERS = Table("encoder")
HEADS = Table("head")
Activation = Literal["relu", "leakyrelu", "gelu", "silu", "softplus", "tanh", "sigmoid"]
ACTIVATIONS = {
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


class Variational(nn.Linear):
    """A linear layer whose output is drawn, while training, from a normal distribution about it.

    Attributes:
        divergence: of the last batch drawn, from the standard normal distribution: nats, mean over images.

    Source: Kingma & Welling 2014, arXiv:1312.6114.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        self.log_variance = nn.Linear(n_in, n_out)
        self.divergence: Tensor | float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        mean = super().forward(x)
        self.divergence = 0.0
        if not self.training:
            return mean
        log_variance = self.log_variance(x).float()
        self.divergence = (mean.float().square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        return mean + (log_variance / 2).exp().to(mean) * torch.randn_like(mean)


class Encoder(nn.Module):
    """Maps images (B, C, H, W) in [0, 1] to a latent (B, D).

    Attributes:
        stages: the parts in the order they run; empty where nothing of it is trained.
        latent_dim: D.
        prefers_bf16: whether half precision makes it faster; None where the head is to decide.
        encodes_once: whether an image has to be encoded once and for all, so is never augmented.
        pickled: what of it no file of tensors can hold; only a pickle, which runs code when opened.
    """

    stages: nn.ModuleDict
    latent_dim: int
    prefers_bf16: bool | None = False
    encodes_once = False
    pickled: object | None = None
    beta = 0.0

    def forward(self, images: Tensor) -> Tensor:
        latent = images
        for stage in self.stages.values():
            latent = stage(latent)
        return latent  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Learn from training images (N, C, H, W) what is learned before the loop; nothing, unless it does."""

    def summary(self) -> str:
        """Return what the user should know of what was learned before the loop, or nothing."""
        return ""

    def regularizer(self) -> Tensor | float:
        """Return the penalty that is added to the loss summed over outputs: the divergence of the latent, or 0."""
        drawn = [layer.divergence for layer in self.modules() if isinstance(layer, Variational)]
        return self.beta * sum(drawn)

    def latent_layer(self, n_in: int, beta: float) -> nn.Linear:
        """Return a last layer: linear, or variational where beta is above 0.

        Args:
            beta: what a nat of divergence weighs beside the loss summed over outputs; 1 is the textbook's.
        """
        require(0 <= beta < math.inf, f"beta={beta} must be 0 or more")
        self.beta = beta
        return Variational(n_in, self.latent_dim) if beta else nn.Linear(n_in, self.latent_dim)


class Head(nn.Module):
    """Maps a latent (B, D) to a prediction (B, ...).

    Attributes:
        needs_fit: whether it learns something before the loop.
        prefers_bf16: whether half precision makes it faster.
    """

    needs_fit = False
    prefers_bf16 = False

    def fit(self, latent: Tensor, prediction: Tensor) -> None:
        """Learn from wanted predictions (N, ...) what is learned before the loop; called where needs_fit is true."""

    def regularizer(self) -> Tensor | float:
        """Return the penalty that is added to the loss."""
        return 0.0
