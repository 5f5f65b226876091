"""Models of visual cortex: encoders that are receptive fields, and heads that are readouts of neurons.

Responses are made positive by the objective; a head returns what comes before.
"""

import functools

import torch
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require
from neuro_noodle.networks.base import (
    ENCODERS,
    HEADS,
    Activation,
    Encoder,
    Head,
    Scale,
    require_no_latent_dim,
    require_penalties,
    shrinkage,
)
from neuro_noodle.networks.dense import stack


def difference_of_gaussians(
    shape: tuple[int, int], centre: Tensor, sigma: Tensor, widening: Tensor, gain: Tensor
) -> Tensor:
    """Build concentric centre-minus-surround filters.

    Args:
        shape: height and width of a filter, px.
        centre: (F, 2) y and x from the middle, px.
        sigma: (F,) standard deviation of the centre, px, > 0.
        widening: (F,) what the surround adds to sigma, px, > 0.
        gain: (F, 2) sum over pixels of centre and of surround.

    Returns:
        (F, H, W); with equal gains each filter sums to 0.

    Source: Antolik et al. 2016, doi:10.1371/journal.pcbi.1004927.
    """
    pixels, axes, signs = _grid(shape, centre.device, centre.dtype)
    squared = (centre @ axes - pixels).square()  # (F, H + W)
    sharpness = -0.5 * torch.stack([sigma, sigma + widening], 1).pow(-2)  # (F, 2)
    exponents = squared[:, None] * sharpness[:, :, None]  # (F, 2, H + W)
    y, x = (one.softmax(-1) for one in exponents.split(shape, -1))  # each sums to 1
    return (y * (gain * signs)[:, :, None]).mT @ x  # (F, H, W)


@functools.cache
def _grid(shape: tuple[int, int], device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Return what all filters of a size share, which takes longer to make than to use.

    Returns:
        (H + W,) where rows and then columns are, px from the middle; (2, H + W) which is a row and which a column;
        (2,) the signs of centre and surround.
    """
    pixels = torch.cat([torch.arange(side, dtype=dtype) - (side - 1) / 2 for side in shape])
    axes = torch.block_diag(*(torch.ones(1, side, dtype=dtype) for side in shape))
    return pixels.to(device), axes.to(device), torch.tensor([1.0, -1.0], device=device, dtype=dtype)


class DifferenceOfGaussians(nn.Module):
    """Filters that are differences of Gaussians, all parameters of which are learned.

    Args:
        n_filters: F.
        shape: their height and width, px.
        centred: whether all are in the middle, as filters of a convolution are.
    """

    def __init__(self, n_filters: int, shape: tuple[int, int], *, centred: bool) -> None:
        super().__init__()
        side = min(shape)
        require(n_filters >= 1, f"n_filters={n_filters} must be 1 or more")
        require(side >= 3, f"differences of Gaussians need 3x3 px at least, not {shape[0]}x{shape[1]}")
        self.shape = shape
        spread = torch.empty(n_filters, 2).uniform_(-0.35, 0.35)
        self.centre = None if centred else nn.Parameter(spread)  # in sides, so that it moves as fast as widths change
        self.log_sigma = nn.Parameter(torch.empty(n_filters).uniform_(0.04, 0.12).mul(side).log())  # px
        self.log_widening = nn.Parameter(torch.empty(n_filters).uniform_(0.04, 0.2).mul(side).log())  # px
        self.gain = nn.Parameter(torch.empty(n_filters, 2).uniform_(0.5, 1.5))

    def filters(self) -> Tensor:
        """Return (F, H, W)."""
        centre = (
            torch.zeros_like(self.gain) if self.centre is None else self.centre * self.centre.new_tensor(self.shape)
        )
        return difference_of_gaussians(self.shape, centre, self.log_sigma.exp(), self.log_widening.exp(), self.gain)

    def sums(self) -> Tensor:
        """Return (F,) what the pixels of each filter sum to."""
        centre, surround = self.gain.unbind(1)
        return centre - surround


class ConvolvedDifferenceOfGaussians(DifferenceOfGaussians):
    """The same filters at every place where they lie wholly inside the image."""

    def __init__(self, n_filters: int, side: int) -> None:
        super().__init__(n_filters, (side, side), centred=True)

    def forward(self, images: Tensor) -> Tensor:
        maps = nn.functional.conv2d(grey(images), self.filters()[:, None])
        return maps.flatten(1)  # (B, F * (H - side + 1) * (W - side + 1))


def grey(images: Tensor) -> Tensor:
    """Return (B, 1, H, W), the mean over colours."""
    return images if images.shape[1] == 1 else images.mean(1, keepdim=True)


@ENCODERS.add("dog")
class Dog(Encoder):
    """Differences of Gaussians, each at a place of its own: the lateral geniculate nucleus of the HSM.

    Args:
        image_shape: (C, H, W); colours are averaged.
        latent_dim: D, the number of filters; 9 if None.
        scale: zscore subtracts the mean of all training pixels and divides by their standard deviation.

    Source: Antolik et al. 2016, doi:10.1371/journal.pcbi.1004927.
    """

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int | None, *, scale: Scale = "zscore") -> None:
        super().__init__(scale)
        self.latent_dim = latent_dim or 9
        self.stages = nn.ModuleDict({"dog": DifferenceOfGaussians(self.latent_dim, image_shape[1:], centred=False)})

    def forward(self, images: Tensor) -> Tensor:
        filters = self.receptive_fields().flatten(1)  # (D, H*W)
        seen = (filters @ grey(images).flatten(1).T).T  # (B, D); in this order their gradient needs no copy
        return self.scaling.of_sums(seen, self.stages["dog"].sums()) if self.scaling else seen

    def receptive_fields(self) -> Tensor:
        """Return (D, H, W)."""
        return self.stages["dog"].filters()


@ENCODERS.add("conv_dog")
class ConvDog(Encoder):
    """Differences of Gaussians at every place; the latent is a map per filter.

    Args:
        image_shape: (C, H, W); colours are averaged.
        latent_dim: not to be given.
        n_filters: how many.
        kernel: their side, px.
        scale: as of dog.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int | None,
        *,
        n_filters: int = 9,
        kernel: int = 9,
        scale: Scale = "zscore",
    ) -> None:
        super().__init__(scale)
        height, width = (side - kernel + 1 for side in image_shape[1:])
        require(
            min(height, width) >= 1,
            f"encoder 'conv_dog': kernel={kernel} is larger than images of {image_shape[1]}x{image_shape[2]}",
        )
        require_no_latent_dim("encoder 'conv_dog'", latent_dim)
        self.latent_shape = (n_filters, height, width)
        self.stages = nn.ModuleDict({"dog": ConvolvedDifferenceOfGaussians(n_filters, kernel)})

    def receptive_fields(self) -> Tensor:
        """Return (F, kernel, kernel)."""
        return self.stages["dog"].filters()


@ENCODERS.add("identity")
class Identity(Encoder):
    """The pixels themselves; nothing of it trains, so a linear head makes a linear model.

    Args:
        image_shape: (C, H, W).
        latent_dim: not to be given.
        scale: as of dog.
    """

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int | None, *, scale: Scale = "zscore") -> None:
        super().__init__(scale)
        require_no_latent_dim("encoder 'identity'", latent_dim)
        self.latent_shape = image_shape
        self.stages = nn.ModuleDict()

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).flatten(1)  # (B, C*H*W)


# ----------------------------------------------------------------------------------------------------- readouts


@HEADS.add("mlp")
class Mlp(Head):
    """One hidden layer, and a neuron's sum of it: the cortex of the HSM.

    Args:
        encoder: whose latent it takes.
        output_shape: (n_neurons,).
        hidden: units; below 1 the share of the neurons.
        activation: of the hidden layer.
        l1, l2: what the absolute, and the squared, output weights weigh beside the loss summed over neurons.

    Source: Antolik et al. 2016, doi:10.1371/journal.pcbi.1004927.
    """

    def __init__(
        self,
        encoder: Encoder,
        output_shape: tuple[int, ...],
        *,
        hidden: float = 0.2,
        activation: Activation = "softplus",
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        super().__init__()
        n_neurons = _neurons(output_shape, "mlp")
        require(
            0 < hidden < 1 or (hidden >= 1 and float(hidden).is_integer()),
            f"head 'mlp': hidden={hidden:g} is neither a share of the neurons below 1, nor a number of units",
        )
        require_penalties("head 'mlp'", {"l1": l1, "l2": l2})
        self.l1, self.l2 = l1, l2
        n_hidden = int(hidden) if hidden >= 1 else max(1, round(hidden * n_neurons))
        self.hidden, self.out = stack((encoder.latent_dim, n_hidden, n_neurons), activation)

    def forward(self, latent: Tensor) -> Tensor:
        return self.out(self.hidden(latent))  # (B, n_neurons)

    def regularizer(self) -> Tensor | float:
        return shrinkage(self.out.weight, self.l1, self.l2)


@HEADS.add("what_where")
class WhatWhere(Head):
    """For each neuron where it looks and what it looks for: a mask over places, and weights of features.

    Args:
        encoder: whose latent is maps (C, H, W).
        output_shape: (n_neurons,).
        l1: what the absolute masks and weights weigh beside the loss summed over neurons.

    Source: Klindt et al. 2017, arXiv:1711.02653.
    """

    def __init__(self, encoder: Encoder, output_shape: tuple[int, ...], *, l1: float = 0.02) -> None:
        super().__init__()
        n_neurons = _neurons(output_shape, "what_where")
        if len(encoder.latent_shape) != 3:
            raise UserError(
                "head 'what_where' reads maps, which this encoder does not make; take --encoder conv latent=maps"
            )
        require_penalties("head 'what_where'", {"l1": l1})
        self.l1, self.latent_shape = l1, encoder.latent_shape
        n_features, height, width = encoder.latent_shape
        self.where = nn.Parameter(torch.empty(n_neurons, height, width).normal_(std=(height * width) ** -0.5).abs())
        self.what = nn.Parameter(torch.empty(n_neurons, n_features).normal_(std=0.1 * n_features**-0.5))
        self.bias = nn.Parameter(torch.zeros(n_neurons))

    def forward(self, latent: Tensor) -> Tensor:
        n_features, height, width = self.latent_shape
        maps = latent.reshape(-1, height * width)  # (B*C, H*W), so that images are summed over within the gradient
        seen = (maps @ self.where.flatten(1).T).unflatten(0, (-1, n_features))  # (B, C, n_neurons)
        return (seen * self.what.T).sum(1) + self.bias

    def regularizer(self) -> Tensor | float:
        """Return the penalty of the readout weights, each of which is a product of where and what."""
        return self.l1 * (self.where.abs().sum((1, 2)) * self.what.abs().sum(1)).sum()


def _neurons(output_shape: tuple[int, ...], name: str) -> int:
    require(
        len(output_shape) == 1,
        f"head '{name}' makes a number per neuron, not {'x'.join(map(str, output_shape))}; take --head conv or fc",
    )
    return output_shape[0]
