"""Fully connected encoder and heads, which can be initialised to compute a PCA or a linear regression exactly."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require
from neuro_noodle.learning.ranks import randn_like
from neuro_noodle.measures.linear import principal_components, ridge_of_known
from neuro_noodle.networks.activations import ACTIVATIONS, Activation
from neuro_noodle.networks.base import (
    ENCODERS,
    HEADS,
    Encoder,
    Head,
    laplacian,
    require_penalties,
    shrinkage,
)
from neuro_noodle.networks.scaling import Scale

HIDDEN = (256,)
RIDGE = 1e-3  # keeps start=linear stable when latent dimensions are nearly collinear


@ENCODERS.add("fc")
class FullyConnected(Encoder):
    """Fully connected layers with a linear latent.

    Args:
        image_shape: (C, H, W).
        latent_dim: D; 40 if None.
        hidden: widths of the hidden layers.
        activation: activation after each hidden layer.
        start: pca initialises the encoder as the exact projection onto the principal components of the training
            images, from which training continues; random is the usual random initialisation.
        beta: weight of the Kullback-Leibler divergence (nats) of a variational latent, added to the loss summed over
            outputs (pixels); 1 is the standard variational autoencoder, 0 a deterministic latent.
        scale: zscore divides the pixels, whose mean over training images is subtracted, by their standard deviation.
        noise: standard deviation of the noise that is added to the pixels in training only, where white is 1; it keeps
            the encoder from fitting single training images.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int | None,
        *,
        hidden: tuple[int, ...] = HIDDEN,
        activation: Activation = "relu",
        start: Literal["random", "pca"] = "random",
        beta: float = 0.0,
        scale: Scale = "none",
        noise: float = 0.0,
    ) -> None:
        super().__init__(scale, (math.prod(image_shape),))
        require(0 <= noise < math.inf, f"encoder 'fc': noise={noise} must be 0 or more")
        require(all(width >= 1 for width in hidden), f"encoder 'fc': widths in hidden={hidden} must be at least 1")
        self.latent_dim = latent_dim or 40
        self.hidden, self.activation, self.start, self.noise = hidden, activation, start, noise
        layers = dense_layers((math.prod(image_shape), *hidden, self.latent_dim), activation)
        if beta:
            layers[-1] = self.latent_layer(layers[-1].in_features, beta)
        names = [f"hidden{i + 1}" for i in range(len(hidden))] + ["latent"]
        self.stages = nn.ModuleDict(zip(names, layers, strict=True))
        self.register_buffer("centre", torch.zeros(math.prod(image_shape)))

    @property
    def random_stages(self) -> list[str]:
        return [] if self.start == "pca" else super().random_stages

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.flatten(1) - self.centre
        if self.noise and self.training:
            pixels = pixels + self.noise * randn_like(pixels)
        return super().forward(pixels)  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Centre on the mean training image; with start=pca, also initialise as a PCA with latents of unit variance.

        Args:
            images: (N, C, H, W) training images.

        Raises:
            UserError: with start=pca, if a hidden layer is too narrow or the activation is unsuitable.
        """
        pixels = images.flatten(1)  # (N, C*H*W)
        self.centre.copy_(pixels.mean(0))
        if self.scaling:
            self.scaling.fit(pixels - self.centre)
            pixels = self.scaling(pixels - self.centre)
        if self.start == "pca":
            components = principal_components(pixels.cpu().numpy(), self.latent_dim)
            directions = torch.from_numpy(components.directions).to(pixels)  # (K, C*H*W)
            variances = torch.from_numpy(components.variances).to(pixels)  # (K,)
            whitening = directions * variances.rsqrt()[:, None]  # (K, C*H*W)
            embed = torch.eye(self.latent_dim)[:, : len(directions)]  # (D, K)
            initialise_as_linear_map(self.stages.values(), whitening, embed, torch.zeros(self.latent_dim))


@HEADS.add("fc")
class FullyConnectedHead(Head):
    """Fully connected layers; by default with the encoder's hidden widths in reverse order.

    Args:
        encoder: encoder whose latent is the input.
        output_shape: shape of one prediction.
        hidden: widths of the hidden layers; None reverses the encoder's.
        activation: activation after each hidden layer.
        start: linear initialises the head as the exact linear regression from latent to prediction; random is the
            usual random initialisation.
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
        if hidden is None:
            hidden = tuple(reversed(HIDDEN if encoder.hidden is None else encoder.hidden))
        require(all(width >= 1 for width in hidden), f"head 'fc': widths in hidden={hidden} must be at least 1")
        self.layers = nn.Sequential(*dense_layers((encoder.latent_dim, *hidden, math.prod(output_shape)), activation))

    def forward(self, latent: Tensor) -> Tensor:
        return self.layers(latent).unflatten(1, self.output_shape)  # (B, *output_shape)

    def fit(self, latent: Tensor, prediction: Tensor) -> None:
        """Initialise as the ridge regression from latent to prediction.

        Args:
            latent: (N, D) of training images.
            prediction: (N, *output_shape) desired predictions; missing values (NaN) count as the mean.

        Raises:
            UserError: if a hidden layer is too narrow or the activation is unsuitable.
        """
        target = prediction.flatten(1)  # (N, outputs)
        mean = target.nanmean(0)
        ridge = RIDGE * len(latent) * torch.eye(latent.shape[1], device=latent.device)
        cross_products = latent.T @ (target - mean).nan_to_num(0)  # (D, outputs)
        weights = torch.linalg.solve(latent.T @ latent + ridge, cross_products)  # (D, outputs)
        initialise_as_linear_map(self.layers, torch.eye(latent.shape[1]), weights.T, mean)


@HEADS.add("linear")
class Linear(Head):
    """One linear layer.

    Args:
        encoder: encoder whose latent is the input.
        output_shape: shape of one prediction.
        l1: weight of the sum of absolute weights, added to the loss summed over outputs.
        l2: weight of the sum of squared weights, likewise.
        smooth: weight of the roughness (Laplacian) of each output's weights, likewise; needs a latent that is an
            image or feature maps.
        start: ridge initialises the layer as a ridge regression from latent to prediction, with a strength for each
            output that is chosen by cross-validation over training images; random is the usual random initialisation.
    """

    def __init__(
        self,
        encoder: Encoder,
        output_shape: tuple[int, ...],
        *,
        l1: float = 0.0,
        l2: float = 0.0,
        smooth: float = 0.0,
        start: Literal["random", "ridge"] = "random",
    ) -> None:
        super().__init__()
        self.needs_fit = start == "ridge"
        require_penalties("head 'linear'", {"l1": l1, "l2": l2, "smooth": smooth})
        require(
            not smooth or len(encoder.latent_shape) == 3,
            "head 'linear': smooth= needs a latent that is an image or feature maps; "
            "use --encoder identity, or remove smooth=",
        )
        self.l1, self.l2, self.smooth = l1, l2, smooth
        self.output_shape, self.latent_shape = output_shape, encoder.latent_shape
        self.layer = nn.Linear(encoder.latent_dim, math.prod(output_shape))

    def forward(self, latent: Tensor) -> Tensor:
        return self.layer(latent).unflatten(1, self.output_shape)  # (B, *output_shape)

    def regularizer(self) -> Tensor | float:
        weights = self.layer.weight  # (outputs, D)
        roughness = self.smooth * laplacian(weights.unflatten(1, self.latent_shape)) if self.smooth else 0.0
        return shrinkage(weights, self.l1, self.l2) + roughness

    def fit(self, latent: Tensor, prediction: Tensor) -> None:
        """Initialise as the ridge regression from latents (N, D) to predictions (N, ...), of which some may be NaN."""
        x, y = (values.flatten(1).double().cpu().numpy() for values in (latent, prediction))
        weights, bias = ridge_of_known(x, y, float(x.var(0).sum()))
        self.layer.weight.copy_(torch.from_numpy(weights.T))
        self.layer.bias.copy_(torch.from_numpy(bias).nan_to_num(0))


def dense_layers(widths: Sequence[int], activation: Activation) -> list[nn.Module]:
    """Return linear layers between successive widths, each but the last followed by the activation."""
    linear = [nn.Linear(n_in, n_out) for n_in, n_out in zip(widths[:-1], widths[1:], strict=True)]
    return [nn.Sequential(layer, ACTIVATIONS[activation]()) for layer in linear[:-1]] + linear[-1:]


@torch.no_grad()
def initialise_as_linear_map(layers: Sequence[nn.Module], first: Tensor, last: Tensor, bias: Tensor) -> None:
    """Initialise fully connected layers to compute x -> last @ first @ x + bias, where every weight can still learn.

    A rectifier transmits u as the pair max(u, 0) and max(-u, 0), whose difference is u. The same works for every
    activation a for which a(u) - a(-u) is proportional to u. The remaining hidden units keep their random input
    weights and have no effect at first.

    Args:
        layers: layers as returned by `dense_layers`.
        first: (K, inputs).
        last: (outputs, K).
        bias: (outputs,).

    Raises:
        UserError: if a hidden layer has fewer than 2 K units or an unsuitable activation.
    """
    *hidden, output = layers
    n = 2 * len(first)
    _require_widths(hidden, n)
    pairs = torch.cat([torch.eye(len(first)), -torch.eye(len(first))])  # (2K, K)
    incoming = first.cpu()  # maps the output of the previous layer to u
    gain = 1.0
    for layer in hidden:
        linear, activation = layer
        linear.weight[:n] = 0
        linear.weight[:n, : incoming.shape[1]] = pairs @ incoming / gain
        linear.bias[:n] = 0
        gain = _pair_gain(activation, linear.weight)
        incoming = pairs.T  # (K, 2K)
    output.weight.zero_()
    output.weight[:, : incoming.shape[1]] = (last.cpu() @ incoming / gain).to(output.weight)
    output.bias.copy_(bias)


def _require_widths(hidden: Sequence[nn.Module], n: int) -> None:
    """Raise UserError if a hidden layer has fewer than n units."""
    narrow = [layer[0].out_features for layer in hidden if layer[0].out_features < n]
    if narrow:
        raise UserError(
            f"start=pca and start=linear need hidden layers of at least {n} units (2 x latent_dim), not {narrow[0]}; "
            f"use --encoder fc hidden={n}, or start=random for both --encoder fc and --head fc"
        )


def _pair_gain(activation: nn.Module, like: Tensor) -> float:
    """Return c such that a(u) - a(-u) = c u for every u; raise UserError if there is none."""
    u = like.new_tensor([[0.5, 1.0, 2.0]])
    ratio = (activation(u) - activation(-u)) / u
    if not torch.allclose(ratio, ratio[0, 0]):
        raise UserError(
            f"start=pca and start=linear do not work with the activation {type(activation).__name__}; "
            "use activation=relu, leakyrelu, prelu, gelu, silu, softplus or logsigmoid, or start=random"
        )
    return ratio[0, 0].item()
