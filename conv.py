"""Convolutional encoder and its mirror image, the decoder, for images of any size."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from choices import UserError, require
from networks import ACTIVATIONS, ENCODERS, HEADS, Activation, Encoder, Head

CHANNELS = (64, 64, 128)


@ENCODERS.add("conv")
class Conv(Encoder):
    """Convolutions with batch normalisation, between two of which the image is halved; the latent is linear.

    Args:
        image_shape: (C, H, W).
        latent_dim: D; 16 if None.
        channels: of each convolution.
        kernel: side of its filters, px.
        activation: after each convolution.
        beta: above 0 makes the latent variational; what a nat of its divergence weighs beside the loss summed over
            outputs (pixels), so 1 is the textbook's.
    """

    prefers_bf16 = True

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int | None,
        *,
        channels: tuple[int, ...] = CHANNELS,
        kernel: int = 3,
        activation: Activation = "relu",
        beta: float = 0.0,
    ) -> None:
        super().__init__()
        height, width = halvings(image_shape, channels, kernel, "encoder 'conv'")[-1]
        self.latent_dim = latent_dim or 16
        self.channels, self.kernel, self.activation = channels, kernel, activation
        stages = {}
        for i, (n_in, n_out) in enumerate(pairwise((image_shape[0], *channels))):
            layers = [nn.MaxPool2d(2)] if i else []
            layers += [nn.Conv2d(n_in, n_out, kernel, padding=kernel // 2, bias=False)]
            stages[f"conv{i + 1}"] = nn.Sequential(*layers, nn.BatchNorm2d(n_out), ACTIVATIONS[activation]())
        n_features = channels[-1] * height * width
        latent = self.latent_layer(n_features, beta)
        self.stages = nn.ModuleDict(stages | {"latent": nn.Sequential(nn.Flatten(), Evened(latent))})


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
        kernel: side of the filters, px; none mirrors the encoder's.
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
        *self.sizes, smallest = halvings(output_shape, channels, kernel, "head 'conv'")
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


def halvings(shape: Sequence[int], channels: Sequence[int], kernel: int, who: str) -> list[tuple[int, int]]:
    """Return height and width at each convolution, halved from one to the next.

    Args:
        shape: (C, H, W).
        who: the part that asks, for errors.

    Raises:
        UserError: for channels or a kernel that cannot be, or images too small to be halved so often.
    """
    require(bool(channels) and min(channels) >= 1, f"{who}: channels={channels} needs numbers of at least 1")
    require(kernel >= 3 and kernel % 2 == 1, f"{who}: kernel={kernel} must be odd, and 3 at least")
    least, most = 2 ** (len(channels) - 1), min(shape[1:]).bit_length()
    require(
        min(shape[1:]) >= least,
        f"{who}: {len(channels)} channels need images of {least}x{least} at least, not {shape[1]}x{shape[2]}; "
        f"name fewer: channels={','.join(['64'] * most)}",
    )
    return [(shape[1] >> i, shape[2] >> i) for i in range(len(channels))]
