"""Fully connected encoder and heads, and the exact starts that make them PCA before they learn."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require
from neuro_noodle.measures.linear import principal_components
from neuro_noodle.networks.base import (
    ACTIVATIONS,
    ENCODERS,
    HEADS,
    Activation,
    Encoder,
    Head,
    laplacian,
    require_penalties,
    shrinkage,
)

RIDGE = 1e-3  # keeps the linear start of a decoder stable where latents nearly repeat each other


@ENCODERS.add("fc")
class FullyConnected(Encoder):
    """Fully connected layers; the latent is linear.

    Args:
        image_shape: (C, H, W).
        latent_dim: D; 40 if None.
        hidden: widths of the hidden layers.
        activation: after each hidden layer.
        start: pca starts as the projection onto the principal components of the training images, exactly, and
            goes on learning from there; random is the textbook start.
        beta: above 0 makes the latent variational; what a nat of its divergence weighs beside the loss summed over
            outputs (pixels), so 1 is the textbook's.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int | None,
        *,
        hidden: tuple[int, ...] = (256,),
        activation: Activation = "relu",
        start: Literal["random", "pca"] = "random",
        beta: float = 0.0,
    ) -> None:
        super().__init__()
        require(all(width >= 1 for width in hidden), f"encoder 'fc': hidden={hidden} needs widths of at least 1")
        self.latent_dim = latent_dim or 40
        self.hidden, self.activation, self.start = hidden, activation, start
        layers = stack((math.prod(image_shape), *hidden, self.latent_dim), activation)
        if beta:
            layers[-1] = self.latent_layer(layers[-1].in_features, beta)
        names = [f"hidden{i + 1}" for i in range(len(hidden))] + ["latent"]
        self.stages = nn.ModuleDict(zip(names, layers, strict=True))
        self.register_buffer("centre", torch.zeros(math.prod(image_shape)))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flatten(1) - self.centre)  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Centre on the mean image; with start=pca, also become the PCA whose latents have unit variance."""
        pixels = images.flatten(1)  # (N, C*H*W)
        self.centre.copy_(pixels.mean(0))
        if self.start == "pca":
            found = principal_components(pixels.cpu().numpy(), self.latent_dim)
            components, variances = (torch.tensor(values).to(pixels) for values in (found.directions, found.variances))
            whitening = components * variances.rsqrt()[:, None]  # (K, C*H*W)
            identity = torch.eye(self.latent_dim)[:, : len(components)]
            carry_linear_map(self.stages.values(), whitening, identity, torch.zeros(self.latent_dim))


@HEADS.add("fc")
class FullyConnectedHead(Head):
    """Fully connected layers, the mirror image of the encoder's unless told otherwise.

    Args:
        encoder: whose latent it takes.
        output_shape: shape of one prediction.
        hidden: widths of the hidden layers; none mirrors the encoder's.
        activation: after each hidden layer.
        start: linear starts as the best linear map from latent to prediction, exactly; random is the textbook start.
    """

    def __init__(
        self,
        encoder: Encoder,
        output_shape: tuple[int, ...],
        *,
        hidden: tuple[int, ...] | None = None,
        activation: Activation = "relu",
        start: Literal["random", "linear"] = "random",
    ) -> None:
        super().__init__()
        self.output_shape = output_shape
        self.needs_fit = start == "linear"
        hidden = tuple(reversed(getattr(encoder, "hidden", (256,)))) if hidden is None else hidden
        require(all(width >= 1 for width in hidden), f"head 'fc': hidden={hidden} needs widths of at least 1")
        self.layers = nn.Sequential(*stack((encoder.latent_dim, *hidden, math.prod(output_shape)), activation))

    def forward(self, latent: Tensor) -> Tensor:
        return self.layers(latent).unflatten(1, self.output_shape)  # (B, ...)

    def fit(self, latent: Tensor, prediction: Tensor) -> None:
        """Become the ridge regression from latent to prediction."""
        wanted = prediction.flatten(1)  # (N, outputs)
        mean = wanted.nanmean(0)
        ridge = RIDGE * len(latent) * torch.eye(latent.shape[1], device=latent.device)
        weights = torch.linalg.solve(
            latent.T @ latent + ridge, latent.T @ (wanted - mean).nan_to_num(0)
        )  # (D, outputs)
        carry_linear_map(self.layers, torch.eye(latent.shape[1]), weights.T, mean)


@HEADS.add("linear")
class Linear(Head):
    """One linear layer.

    Args:
        encoder: whose latent it takes.
        output_shape: shape of one prediction.
        l1, l2: what the absolute, and the squared, weights weigh beside the loss summed over outputs.
        smooth: what the roughness (Laplacian) of an output's weights weighs there, if the latent is an image or maps.
    """

    def __init__(
        self,
        encoder: Encoder,
        output_shape: tuple[int, ...],
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        smooth: float = 0.0,
    ) -> None:
        super().__init__()
        require_penalties("head 'linear'", {"l1": l1, "l2": l2, "smooth": smooth})
        require(
            not smooth or len(encoder.latent_shape) == 3,
            "head 'linear': smooth= is of weights of an image or of maps; take --encoder identity, or leave it out",
        )
        self.l1, self.l2, self.smooth = l1, l2, smooth
        self.output_shape, self.latent_shape = output_shape, encoder.latent_shape
        self.layer = nn.Linear(encoder.latent_dim, math.prod(output_shape))

    def forward(self, latent: Tensor) -> Tensor:
        return self.layer(latent).unflatten(1, self.output_shape)  # (B, ...)

    def regularizer(self) -> Tensor | float:
        weights = self.layer.weight  # (outputs, D)
        rough = self.smooth * laplacian(weights.unflatten(1, self.latent_shape)) if self.smooth else 0.0
        return shrinkage(weights, self.l1, self.l2) + rough


def stack(widths: Sequence[int], activation: Activation) -> list[nn.Module]:
    """Return linear layers between these widths, all but the last with their activation."""
    linear = [nn.Linear(n_in, n_out) for n_in, n_out in zip(widths[:-1], widths[1:], strict=True)]
    return [nn.Sequential(layer, ACTIVATIONS[activation]()) for layer in linear[:-1]] + linear[-1:]


@torch.no_grad()
def carry_linear_map(layers: Sequence[nn.Module], first: Tensor, last: Tensor, bias: Tensor) -> None:
    """Set a stack of layers so that it computes x -> last @ first @ x + bias, and can still learn all else.

    A rectifier passes u on as the pair (max(u, 0), max(-u, 0)), whose difference is u; the same holds of every
    activation a for which a(u) - a(-u) is proportional to u. The units beyond the pairs keep their random input
    weights and start without any effect.

    Args:
        layers: as `stack` makes them.
        first: (K, inputs).
        last: (outputs, K).
        bias: (outputs,).

    Raises:
        UserError: where a hidden layer has fewer than 2 K units or an unsuitable activation.
    """
    *hidden, output = layers
    n = 2 * len(first)
    narrow = [layer[0].out_features for layer in hidden if layer[0].out_features < n]
    if narrow:
        raise UserError(
            f"start=pca and start=linear need hidden layers of at least {n} units (2 x latent_dim), not {narrow[0]}; "
            f"take --encoder fc hidden={n}, or start=random for both --encoder fc and --head fc"
        )
    pair = torch.cat([torch.eye(len(first)), -torch.eye(len(first))])  # (2K, K)
    carried = first.cpu()
    gain = 1.0
    for layer in hidden:
        linear, activation = layer
        linear.weight[:n] = 0
        linear.weight[:n, : carried.shape[1]] = pair @ carried / gain
        linear.bias[:n] = 0
        gain = _odd_gain(activation)
        carried = pair.T
    output.weight.zero_()
    output.weight[:, : carried.shape[1]] = (last.cpu() @ carried / gain).to(output.weight)
    output.bias.copy_(bias)


def _odd_gain(activation: nn.Module) -> float:
    """Return c where a(u) - a(-u) = c u, for every u."""
    u = torch.tensor([0.5, 1.0, 2.0])
    ratio = (activation(u) - activation(-u)) / u
    if not torch.allclose(ratio, ratio[0]):
        raise UserError(
            f"start=pca and start=linear cannot go through {type(activation).__name__}; "
            "take activation relu, leakyrelu, gelu, silu or softplus, or start=random"
        )
    return ratio[0].item()
