"""Convolutional encoder and the decoder that mirrors it, for images of any size."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require, write
from neuro_noodle.networks.activations import ACTIVATIONS, Activation
from neuro_noodle.networks.base import (
    ENCODERS,
    HEADS,
    Encoder,
    Head,
    laplacian,
    require_no_latent_dim,
    require_penalties,
)
from neuro_noodle.networks.scaling import Scale

CHANNELS = (64, 64, 128)


@ENCODERS.add("conv")
class Conv(Encoder):
    """Convolutions with batch normalisation and pooling; the latent is linear or the feature maps themselves.

    Args:
        image_shape: (C, H, W).
        latent_dim: D; 16 if None. Must be None with latent=maps.
        channels: number of output channels of each convolution.
        kernel: side of the filters, px; one value for all convolutions or one for each.
        activation: activation after each convolution.
        latent: linear adds a linear layer after the last convolution; average adds one to the mean of each feature map,
            so that it matters little where something is in the image; maps uses the feature maps themselves.
        pool: halve the image (2x2 max pooling) between convolutions.
        pad: zero-pad the image so that it keeps its size; otherwise a convolution removes kernel - 1 px. One value for
            all convolutions or one for each.
        last: active applies the activation after the last convolution too; linear leaves it out there.
        smooth: weight of the roughness (Laplacian) of the first filters, added to the loss summed over outputs.
        group: weight of the group sparsity of the other filters, likewise; it favours filters that read few channels.
        group_relative: divide the group sparsity of each filter by its norm, so that it does not depend on its size.
        beta: weight of the Kullback-Leibler divergence (nats) of a variational latent, likewise; 1 is the standard
            variational autoencoder, 0 a deterministic latent. Must be 0 with latent=maps.
        scale: zscore subtracts the mean of all training pixels and divides by their standard deviation; pixelwise
            does so for each pixel.

    Source: penalties from Klindt et al. 2017, arXiv:1711.02653.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int | None,
        *,
        channels: tuple[int, ...] = CHANNELS,
        kernel: tuple[int, ...] = (3,),
        activation: Activation = "relu",
        latent: Literal["linear", "average", "maps"] = "linear",
        pool: bool = True,
        pad: tuple[bool, ...] = (True,),
        last: Literal["active", "linear"] = "active",
        smooth: float = 0.0,
        group: float = 0.0,
        group_relative: bool = True,
        beta: float = 0.0,
        scale: Scale = "none",
    ) -> None:
        super().__init__(scale, image_shape)
        _require_penalties(smooth, group, len(channels))
        kernels, pads = _each("kernel", kernel, len(channels)), _each("pad", pad, len(channels))
        sizes = map_sizes(image_shape, channels, kernels, "encoder 'conv'", pool=pool, pads=pads)
        self.channels, self.kernel, self.activation = channels, kernels[0], activation
        self.smooth, self.group, self.group_relative = smooth, group, group_relative
        self.stages = _convolutions((image_shape[0], *channels), kernels, activation, pool=pool, pads=pads)
        if last == "linear":
            self.stages[f"conv{len(channels)}"].pop(-1)
        map_shape = (channels[-1], *sizes[-1])
        if latent != "maps":
            self.latent_dim = latent_dim or 16
            average = [nn.AdaptiveAvgPool2d(1)] if latent == "average" else []
            n_inputs = channels[-1] if average else math.prod(map_shape)
            linear = ScaledLinear(self.latent_layer(n_inputs, beta))
            self.stages["latent"] = nn.Sequential(*average, nn.Flatten(), linear)
        else:
            require_no_latent_dim("encoder 'conv' with latent=maps", latent_dim)
            require(beta == 0, "encoder 'conv': beta= needs latent=linear, because feature maps are not variational")
            self.latent_shape = map_shape
            self.stages[f"conv{len(channels)}"].append(nn.Flatten())

    def filters(self) -> list[Tensor]:
        """Return the weights (F, C, kernel, kernel) of each convolution."""
        return [layer.weight for layer in self.modules() if isinstance(layer, nn.Conv2d)]

    def receptive_fields(self) -> Tensor:
        """Return the filters of the first convolution (F, kernel, kernel), for the first channel of the image."""
        return self.filters()[0][:, 0]

    def regularizer(self) -> Tensor | float:
        first, *later = self.filters()
        penalty = super().regularizer()
        penalty += self.smooth * laplacian(first) if self.smooth else 0.0
        if not self.group:
            return penalty
        return penalty + self.group * sum(group_sparsity(filters, relative=self.group_relative) for filters in later)


def _require_penalties(smooth: float, group: float, n_convolutions: int) -> None:
    """Raise UserError for a penalty below 0, or one that applies to no convolution."""
    require_penalties("encoder 'conv'", {"smooth": smooth, "group": group})
    require(
        not group or n_convolutions > 1,
        f"encoder 'conv': group={group} applies from the second convolution on; add a value to channels=",
    )


def _each(option: str, values: tuple, n_convolutions: int) -> tuple:
    """Return the value of an option for each convolution, from one value for all or one for each."""
    require(
        len(values) in (1, n_convolutions),
        f"encoder 'conv': {option}={write(values)} has {len(values)} values for {n_convolutions} "
        "convolutions; give one value, or one for each convolution",
    )
    return values * n_convolutions if len(values) == 1 else values


def _convolutions(
    channels: Sequence[int], kernels: Sequence[int], activation: Activation, *, pool: bool, pads: Sequence[bool]
) -> nn.ModuleDict:
    """Return a stage per convolution; `channels` starts with those of the image."""
    stages = {}
    for i, (n_in, n_out) in enumerate(pairwise(channels)):
        layers = [nn.MaxPool2d(2)] if i and pool else []
        layers += [nn.Conv2d(n_in, n_out, kernels[i], padding=kernels[i] // 2 if pads[i] else 0, bias=False)]
        stages[f"conv{i + 1}"] = nn.Sequential(*layers, nn.BatchNorm2d(n_out), ACTIVATIONS[activation]())
    return nn.ModuleDict(stages)


def group_sparsity(filters: Tensor, *, relative: bool) -> Tensor:
    """Return the sum of the norms of all channels of all filters.

    Args:
        filters: (F, C, H, W).
        relative: divide by the norm of the filter, so that the penalty depends on its shape, not on its size.

    Source: Klindt et al. 2017, arXiv:1711.02653.
    """
    squares = filters.square().sum((2, 3))  # (F, C)
    norms = (squares + 1e-12).sqrt().sum(1)  # (F,)
    return (norms / (squares.sum(1) + 1e-8).sqrt()).sum() if relative else norms.sum()


class ScaledLinear(nn.Module):
    """A linear layer whose n input weights are stored multiplied by n**0.5, so that Adam's steps suit their size.

    Adam changes every weight by about the learning rate, which is far too much for a sum over 20,000 inputs. With
    scaled weights the step is proportional to the weights, however many there are.

    Args:
        layer: the layer to wrap; its output does not change.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.layer = layer
        self.scale = layer.in_features**-0.5
        with torch.no_grad():
            layer.weight.div_(self.scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x * self.scale)


@HEADS.add("conv")
class ConvHead(Head):
    """A linear layer, then transposed convolutions that each double the image: a mirror of the encoder `conv`.

    Args:
        encoder: encoder whose latent is the input.
        output_shape: (C, H, W).
        channels: number of channels of each layer, in the encoder's order; None mirrors the encoder's.
        kernel: side of the filters, px; None mirrors the encoder's first.
        activation: activation after each layer but the last; None mirrors the encoder's.
        start: mean adds a trainable image to every prediction, initialised as the mean training image; random is the
            usual random initialisation.
    """

    not_decayed = ("background",)

    def __init__(
        self,
        encoder: Encoder,
        output_shape: tuple[int, ...],
        *,
        channels: tuple[int, ...] | None = None,
        kernel: int | None = None,
        activation: Activation | None = None,
        start: Literal["random", "mean"] = "random",
    ) -> None:
        super().__init__()
        if len(output_shape) != 3:
            raise UserError("head 'conv' predicts images, but this objective does not; use --head linear or fc")
        if channels is None:
            channels = CHANNELS if encoder.channels is None else encoder.channels
        if kernel is None:
            kernel = 3 if encoder.kernel is None else encoder.kernel
        active = ACTIVATIONS[activation or encoder.activation or "relu"]
        *self.sizes, smallest = map_sizes(output_shape, channels, [kernel] * len(channels), "head 'conv'")
        self.seed = nn.Sequential(
            nn.Linear(encoder.latent_dim, channels[-1] * smallest[0] * smallest[1]),
            ToMaps(1, (channels[-1], *smallest)),
            nn.BatchNorm2d(channels[-1]),
            active(),
        )
        doubling = {"stride": 2, "padding": (kernel - 3) // 2, "bias": False}  # from n to 2 n + 1
        self.layers = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(n_in, n_out, kernel, **doubling), nn.BatchNorm2d(n_out), active())
            for n_out, n_in in pairwise(channels)
        )
        self.last = nn.ConvTranspose2d(channels[0], output_shape[0], kernel, padding=kernel // 2)
        nn.init.normal_(self.last.weight, std=(channels[0] * kernel**2) ** -0.5)  # torch's default is 8 times as large
        self.needs_fit = start == "mean"
        self.background: Any = nn.Parameter(torch.zeros(output_shape)) if self.needs_fit else 0.0

    def forward(self, latent: Tensor) -> Tensor:
        images = self.seed(latent)  # (B, channels[-1], *smallest)
        for layer, (height, width) in zip(reversed(self.layers), reversed(self.sizes), strict=True):
            images = layer(images)  # (B, C, height + 0 or 1, width + 0 or 1)
            # not a slice, whose gradient has another memory layout: the backward pass of a ReLU took 38 instead of 2 ms
            images = F.pad(images, (0, width - images.shape[3], 0, height - images.shape[2]))  # (B, C, height, width)
        return self.last(images) + self.background  # (B, C, H, W)

    def fit(self, latent: Tensor, prediction: Tensor) -> None:
        """Initialise the output near the mean of the desired predictions (N, C, H, W)."""
        self.background.copy_(prediction.mean(0))
        self.last.weight.mul_(0.1)
        self.last.bias.zero_()


class ToMaps(nn.Unflatten):
    """Reshape numbers to maps; in bf16 also to the memory layout of the convolutions, which saves 2 % of a step."""

    def forward(self, x: Tensor) -> Tensor:
        maps = super().forward(x)  # (B, C, H, W)
        return maps.movedim(1, -1).contiguous().movedim(-1, 1) if maps.dtype == torch.bfloat16 else maps


def map_sizes(
    shape: Sequence[int],
    channels: Sequence[int],
    kernels: Sequence[int],
    owner: str,
    *,
    pool: bool = True,
    pads: Sequence[bool] | None = None,
) -> list[tuple[int, int]]:
    """Return the height and width of the output of each convolution.

    Args:
        shape: (C, H, W) of the image.
        channels: number of channels of each convolution.
        kernels: side of the filters of each convolution, px.
        owner: the encoder or head that asks, for error messages.
        pool: whether images are halved between convolutions.
        pads: whether images keep their size at the edges, for each convolution; None pads all.

    Raises:
        UserError: for invalid channels or kernels, or an image that is too small.
    """
    require(bool(channels) and min(channels) >= 1, f"{owner}: channels={channels} needs values of at least 1")
    is_odd = all(kernel >= 3 and kernel % 2 == 1 for kernel in kernels)
    require(is_odd, f"{owner}: kernel={','.join(map(str, kernels))} must be odd and at least 3")
    divisors = [2 if i and pool else 1 for i in range(len(kernels))]
    margins = [
        0 if pad else side - 1 for pad, side in zip(pads or [True] * len(kernels), kernels, strict=True)
    ]  # px that a convolution without padding removes
    _require_large_enough(shape, divisors, margins, owner)
    height, width = shape[1:]
    sizes = []
    for divisor, margin in zip(divisors, margins, strict=True):
        height, width = height // divisor - margin, width // divisor - margin
        sizes.append((height, width))
    return sizes


def _require_large_enough(shape: Sequence[int], divisors: list[int], margins: list[int], owner: str) -> None:
    """Raise UserError if an image (C, H, W) vanishes before the last convolution."""
    minimum = 1
    for divisor, margin in zip(reversed(divisors), reversed(margins), strict=True):
        minimum = (minimum + margin) * divisor
    require(
        min(shape[1:]) >= minimum,
        f"{owner}: {len(divisors)} convolutions need images of at least {minimum}x{minimum} px, "
        f"not {shape[1]}x{shape[2]}; use fewer, for example channels=64",
    )
