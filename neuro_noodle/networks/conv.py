"""Convolutional encoder and its mirror image, the decoder, for images of any size."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require
from neuro_noodle.networks.base import (
    ACTIVATIONS,
    ENCODERS,
    HEADS,
    Activation,
    Encoder,
    Head,
    Scale,
    laplacian,
    require_no_latent_dim,
    require_penalties,
)

CHANNELS = (64, 64, 128)


@ENCODERS.add("conv")
class Conv(Encoder):
    """Convolutions with batch normalisation, between two of which the image is halved; the latent is linear.

    Args:
        image_shape: (C, H, W).
        latent_dim: D; 16 if None. Not to be given with latent=maps.
        channels: of each convolution.
        kernel: side of its filters, px; one for all convolutions or one for each.
        activation: after each convolution.
        latent: linear is a linear layer on top of the last convolution; maps is what that gives itself.
        pool: halve the image between two convolutions.
        pad: keep the size of the image at its edges; else it loses kernel - 1 px with each convolution.
        smooth: what the roughness (Laplacian) of the first filters weighs beside the loss summed over outputs.
        group: what weighs there that later filters read many channels in place of few (group sparsity).
        beta: above 0 makes a linear latent variational; what a nat of its divergence weighs beside the loss summed
            over outputs (pixels), so 1 is the textbook's.
        scale: zscore subtracts the mean of all training pixels and divides by their standard deviation.

    Source: penalties as of Klindt et al. 2017, arXiv:1711.02653.
    """

    prefers_bf16 = True

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int | None,
        *,
        channels: tuple[int, ...] = CHANNELS,
        kernel: tuple[int, ...] = (3,),
        activation: Activation = "relu",
        latent: Literal["linear", "maps"] = "linear",
        pool: bool = True,
        pad: bool = True,
        smooth: float = 0.0,
        group: float = 0.0,
        beta: float = 0.0,
        scale: Scale = "none",
    ) -> None:
        super().__init__(scale)
        who = "encoder 'conv'"
        require_penalties(who, {"smooth": smooth, "group": group})
        require(
            len(kernel) in (1, len(channels)),
            f"{who}: kernel={','.join(map(str, kernel))} names {len(kernel)} sides for {len(channels)} convolutions",
        )
        require(
            not group or len(channels) > 1, f"{who}: group={group} is of the second convolution on; name more channels"
        )
        kernels = kernel * len(channels) if len(kernel) == 1 else kernel
        sizes = map_sizes(image_shape, channels, kernels, who, pool=pool, pad=pad)
        self.channels, self.kernel, self.activation = channels, kernels[0], activation
        self.smooth, self.group = smooth, group
        stages = {}
        for i, (n_in, n_out) in enumerate(pairwise((image_shape[0], *channels))):
            layers = [nn.MaxPool2d(2)] if i and pool else []
            layers += [nn.Conv2d(n_in, n_out, kernels[i], padding=kernels[i] // 2 if pad else 0, bias=False)]
            stages[f"conv{i + 1}"] = nn.Sequential(*layers, nn.BatchNorm2d(n_out), ACTIVATIONS[activation]())
        maps = (channels[-1], *sizes[-1])
        if latent == "maps":
            require_no_latent_dim(f"{who} with latent=maps", latent_dim)
            require(beta == 0, f"{who}: beta= is of latent=linear, and maps are not variational")
            self.latent_shape = maps
            stages[f"conv{len(channels)}"].append(nn.Flatten())
            self.stages = nn.ModuleDict(stages)
        else:
            self.latent_dim = latent_dim or 16
            layer = self.latent_layer(math.prod(maps), beta)
            self.stages = nn.ModuleDict(stages | {"latent": nn.Sequential(nn.Flatten(), Evened(layer))})

    def filters(self) -> list[Tensor]:
        """Return the weights (channels, channels before, kernel, kernel) of each convolution."""
        return [layer.weight for layer in self.modules() if isinstance(layer, nn.Conv2d)]

    def receptive_fields(self) -> Tensor:
        """Return (F, kernel, kernel): the filters of the first convolution, of its first channel."""
        return self.filters()[0][:, 0]

    def regularizer(self) -> Tensor | float:
        first, *later = self.filters()
        penalty = super().regularizer()
        penalty += self.smooth * laplacian(first) if self.smooth else 0.0
        return penalty + (self.group * sum(map(group_sparsity, later)) if self.group else 0.0)


def group_sparsity(filters: Tensor) -> Tensor:
    """Return the sum over filters (F, C, H, W) of the sum of the norms of their channels, beside their own norm.

    Source: Klindt et al. 2017, arXiv:1711.02653.
    """
    squares = filters.square().sum((2, 3))  # (F, C)
    return ((squares + 1e-12).sqrt().sum(1) / (squares.sum(1) + 1e-8).sqrt()).sum()


class Evened(nn.Module):
    """A linear layer of n inputs whose weights are stored as n**0.5 times what they are.

    Adam moves each weight by about the learning rate, and so a sum over 20,000 inputs by far too much; this way the
    step is in proportion to the weights, whatever their number.
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
    """A linear layer, then transposed convolutions that double the image: the convolutional encoder's mirror image.

    Args:
        encoder: whose latent it takes.
        output_shape: (C, H, W).
        channels: in the order of the encoder; none mirrors the encoder's.
        kernel: side of the filters, px; none takes that of the encoder's first.
        activation: after each layer but the last; none mirrors the encoder's.
        start: mean adds a learned image to all that is made, and starts as the mean training image; random is the
            textbook start.
    """

    prefers_bf16 = True

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
            raise UserError("head 'conv' makes images, which this objective does not ask for; take --head linear or fc")
        channels = getattr(encoder, "channels", CHANNELS) if channels is None else channels
        kernel = getattr(encoder, "kernel", 3) if kernel is None else kernel
        active = ACTIVATIONS[activation or getattr(encoder, "activation", "relu")]
        *self.sizes, smallest = map_sizes(output_shape, channels, [kernel] * len(channels), "head 'conv'")
        self.seed = nn.Sequential(
            nn.Linear(encoder.latent_dim, channels[-1] * smallest[0] * smallest[1]),
            nn.Unflatten(1, (channels[-1], *smallest)),
            nn.BatchNorm2d(channels[-1]),
            active(),
        )
        doubling = {"stride": 2, "padding": (kernel - 3) // 2, "bias": False}  # from n to 2 n + 1
        self.layers = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose2d(n_in, n_out, kernel, **doubling), nn.BatchNorm2d(n_out), active())
            for n_out, n_in in pairwise(channels)
        )
        self.last = nn.ConvTranspose2d(channels[0], output_shape[0], kernel, padding=kernel // 2)
        nn.init.normal_(self.last.weight, std=(channels[0] * kernel**2) ** -0.5)  # torch's own is 8 times as large
        self.needs_fit = start == "mean"
        self.background = nn.Parameter(torch.zeros(output_shape)) if self.needs_fit else 0.0

    def forward(self, latent: Tensor) -> Tensor:
        images = self.seed(latent)
        for layer, (height, width) in zip(reversed(self.layers), reversed(self.sizes), strict=True):
            images = layer(images)[:, :, :height, :width]
        return self.last(images) + self.background  # (B, C, H, W)

    def fit(self, latent: Tensor, prediction: Tensor) -> None:
        """Start as the mean of what is wanted."""
        self.background.copy_(prediction.mean(0))
        self.last.weight.mul_(0.1)
        self.last.bias.zero_()


def map_sizes(
    shape: Sequence[int],
    channels: Sequence[int],
    kernels: Sequence[int],
    who: str,
    *,
    pool: bool = True,
    pad: bool = True,
) -> list[tuple[int, int]]:
    """Return height and width of what each convolution gives.

    Args:
        shape: (C, H, W).
        kernels: the side of the filters of each.
        who: the part that asks, for errors.
        pool: whether images are halved from one to the next.
        pad: whether images keep their size at the edges.

    Raises:
        UserError: for channels or kernels that cannot be, or images too small for so many.
    """
    require(bool(channels) and min(channels) >= 1, f"{who}: channels={channels} needs numbers of at least 1")
    odd = all(kernel >= 3 and kernel % 2 == 1 for kernel in kernels)
    require(odd, f"{who}: kernel={','.join(map(str, kernels))} must be odd, and 3 at least")
    halved, lost = [2 if i and pool else 1 for i in range(len(kernels))], [0 if pad else side - 1 for side in kernels]
    least = 1
    for half, less in zip(reversed(halved), reversed(lost), strict=True):
        least = (least + less) * half
    require(
        min(shape[1:]) >= least,
        f"{who}: {len(channels)} channels need images of {least}x{least} at least, not {shape[1]}x{shape[2]}; "
        "name fewer: channels=64",
    )
    sizes = [tuple(shape[1:])]
    for half, less in zip(halved, lost, strict=True):
        sizes.append(tuple(side // half - less for side in sizes[-1]))
    return sizes[1:]
