"""Models of visual cortex: encoders made of receptive fields, and heads that read out neurons.

Heads return values of any sign; the objective turns them into positive responses.
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
from neuro_noodle.networks.dense import dense_layers


def difference_of_gaussians(
    shape: tuple[int, int], centre: Tensor, sigma: Tensor, widening: Tensor, gain: Tensor
) -> Tensor:
    """Return filters that are a centre Gaussian minus a concentric, wider surround Gaussian.

    Args:
        shape: height and width of a filter, px.
        centre: (F, 2) y and x relative to the middle of the filter, px.
        sigma: (F,) standard deviation of the centre, px, > 0.
        widening: (F,) standard deviation of the surround minus that of the centre, px, > 0.
        gain: (F, 2) sum over pixels of the centre and of the surround.

    Returns:
        (F, H, W); a filter with equal gains sums to 0.

    Source: Antolik et al. 2016, doi:10.1371/journal.pcbi.1004927.
    """
    positions, axes = _axes(shape, centre.device, centre.dtype)
    squared = (centre @ axes - positions).square()  # (F, H + W)
    sharpness = -0.5 * torch.stack([sigma, sigma + widening], 1).pow(-2)  # (F, 2)
    exponents = squared[:, None] * sharpness[:, :, None]  # (F, 2, H + W)
    y, x = (part.softmax(-1) for part in exponents.split(shape, -1))  # (F, 2, H), (F, 2, W); each sums to 1
    signed_gain = gain * _signs(centre.device, centre.dtype)  # (F, 2)
    return (y * signed_gain[:, :, None]).mT @ x  # (F, H, W)


@functools.cache  # building these takes longer than using them
def _axes(shape: tuple[int, int], device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return the positions of rows and columns, and which of the two each is.

    Returns:
        (H + W,) positions of all rows, then of all columns, relative to the middle, px; (2, H + W) with 1 in the first
        row for rows of the filter and in the second row for columns.
    """
    positions = torch.cat([torch.arange(side, dtype=dtype) - (side - 1) / 2 for side in shape])
    axes = torch.block_diag(*(torch.ones(1, side, dtype=dtype) for side in shape))
    return positions.to(device), axes.to(device)


@functools.cache
def _signs(device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return the signs of centre and surround (2,)."""
    return torch.tensor([1.0, -1.0], device=device, dtype=dtype)


class DifferenceOfGaussians(nn.Module):
    """Filters that are differences of Gaussians with trainable parameters.

    Args:
        n_filters: F.
        shape: height and width of the filters, px.
        centred: whether all filters stay in the middle, as those of a convolution do; otherwise positions are trained.
    """

    def __init__(self, n_filters: int, shape: tuple[int, int], *, centred: bool) -> None:
        super().__init__()
        side = min(shape)
        require(n_filters >= 1, f"n_filters={n_filters} must be 1 or more")
        require(side >= 3, f"differences of Gaussians need at least 3x3 px, not {shape[0]}x{shape[1]}")
        self.shape = shape
        spread = torch.empty(n_filters, 2).uniform_(-0.35, 0.35)
        # in units of the sides, so that positions and widths train at similar rates
        self.centre = None if centred else nn.Parameter(spread)
        self.log_sigma = nn.Parameter(torch.empty(n_filters).uniform_(0.04, 0.12).mul(side).log())  # px
        self.log_widening = nn.Parameter(torch.empty(n_filters).uniform_(0.04, 0.2).mul(side).log())  # px
        self.gain = nn.Parameter(torch.empty(n_filters, 2).uniform_(0.5, 1.5))

    def filters(self) -> Tensor:
        """Return the filters (F, H, W)."""
        if self.centre is None:
            centre = torch.zeros_like(self.gain)
        else:
            centre = self.centre * self.centre.new_tensor(self.shape)  # px
        return difference_of_gaussians(self.shape, centre, self.log_sigma.exp(), self.log_widening.exp(), self.gain)

    def filter_sums(self) -> Tensor:
        """Return the sum over the pixels of each filter (F,)."""
        centre, surround = self.gain.unbind(1)
        return centre - surround


class ConvolvedDifferenceOfGaussians(DifferenceOfGaussians):
    """Differences of Gaussians, convolved with the image wherever they lie completely inside it.

    Args:
        n_filters: F.
        side: height and width of the filters, px.
    """

    def __init__(self, n_filters: int, side: int) -> None:
        super().__init__(n_filters, (side, side), centred=True)

    def forward(self, images: Tensor) -> Tensor:
        maps = nn.functional.conv2d(to_grey(images), self.filters()[:, None])
        return maps.flatten(1)  # (B, F * (H - side + 1) * (W - side + 1))


def to_grey(images: Tensor) -> Tensor:
    """Return the mean of images (B, C, H, W) over colours, (B, 1, H, W)."""
    return images if images.shape[1] == 1 else images.mean(1, keepdim=True)


@ENCODERS.add("dog")
class Dog(Encoder):
    """Differences of Gaussians, each at its own position: the LGN of the hierarchical structural model (HSM).

    Args:
        image_shape: (C, H, W); the mean over colours is used.
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
        pixels = to_grey(images).flatten(1)  # (B, H*W)
        latent = (filters @ pixels.T).T  # (B, D); in this order, the gradient of the filters needs no copy
        return self.scaling.of_sums(latent, self.stages["dog"].filter_sums()) if self.scaling else latent

    def receptive_fields(self) -> Tensor:
        """Return the filters (D, H, W)."""
        return self.stages["dog"].filters()


@ENCODERS.add("conv_dog")
class ConvDog(Encoder):
    """Differences of Gaussians applied at every position; the latent is one feature map per filter.

    Args:
        image_shape: (C, H, W); the mean over colours is used.
        latent_dim: must be None, because it follows from the image.
        n_filters: number of filters.
        kernel: side of the filters, px.
        scale: zscore subtracts the mean of all training pixels and divides by their standard deviation.
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
            f"encoder 'conv_dog': kernel={kernel} is larger than the images ({image_shape[1]}x{image_shape[2]} px)",
        )
        require_no_latent_dim("encoder 'conv_dog'", latent_dim)
        self.latent_shape = (n_filters, height, width)
        self.stages = nn.ModuleDict({"dog": ConvolvedDifferenceOfGaussians(n_filters, kernel)})

    def receptive_fields(self) -> Tensor:
        """Return the filters (F, kernel, kernel)."""
        return self.stages["dog"].filters()


@ENCODERS.add("identity")
class Identity(Encoder):
    """The pixels themselves, without trainable parameters; with a linear head this is a linear model.

    Args:
        image_shape: (C, H, W).
        latent_dim: must be None, because it follows from the image.
        scale: zscore subtracts the mean of all training pixels and divides by their standard deviation.
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
    """One hidden layer and a linear output for each neuron: the cortex of the HSM.

    Args:
        encoder: encoder whose latent is the input.
        output_shape: (n_neurons,).
        hidden: number of hidden units; a value below 1 is a fraction of the number of neurons.
        activation: activation of the hidden layer.
        l1: weight of the sum of absolute output weights, added to the loss summed over neurons.
        l2: weight of the sum of squared output weights, likewise.

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
        n_neurons = _n_neurons(output_shape, "mlp")
        require(
            0 < hidden < 1 or (hidden >= 1 and float(hidden).is_integer()),
            f"head 'mlp': hidden={hidden:g} must be a whole number of units, or a fraction of the "
            "neurons above 0 and below 1",
        )
        require_penalties("head 'mlp'", {"l1": l1, "l2": l2})
        self.l1, self.l2 = l1, l2
        n_hidden = int(hidden) if hidden >= 1 else max(1, round(hidden * n_neurons))
        self.hidden, self.out = dense_layers((encoder.latent_dim, n_hidden, n_neurons), activation)

    def forward(self, latent: Tensor) -> Tensor:
        return self.out(self.hidden(latent))  # (B, n_neurons)

    def regularizer(self) -> Tensor | float:
        return shrinkage(self.out.weight, self.l1, self.l2)


@HEADS.add("what_where")
class WhatWhere(Head):
    """A spatial mask (where) and feature weights (what) for each neuron.

    Args:
        encoder: encoder whose latent is feature maps (C, H, W).
        output_shape: (n_neurons,).
        l1: weight of the sum of absolute readout weights (mask times feature weight), added to the loss summed over
            neurons.

    Source: Klindt et al. 2017, arXiv:1711.02653.
    """

    def __init__(self, encoder: Encoder, output_shape: tuple[int, ...], *, l1: float = 0.02) -> None:
        super().__init__()
        n_neurons = _n_neurons(output_shape, "what_where")
        if len(encoder.latent_shape) != 3:
            raise UserError(
                "head 'what_where' needs feature maps, but this encoder's latent is a vector; "
                "use --encoder conv latent=maps"
            )
        require_penalties("head 'what_where'", {"l1": l1})
        self.l1, self.latent_shape = l1, encoder.latent_shape
        n_features, height, width = encoder.latent_shape
        self.where = nn.Parameter(torch.empty(n_neurons, height, width).normal_(std=(height * width) ** -0.5).abs())
        self.what = nn.Parameter(torch.empty(n_neurons, n_features).normal_(std=0.1 * n_features**-0.5))
        self.bias = nn.Parameter(torch.zeros(n_neurons))

    def forward(self, latent: Tensor) -> Tensor:
        n_features, height, width = self.latent_shape
        maps = latent.reshape(
            -1, height * width
        )  # (B*C, H*W), so that one matrix product sums the gradient over images
        masked = (maps @ self.where.flatten(1).T).unflatten(0, (-1, n_features))  # (B, C, n_neurons)
        return (masked * self.what.T).sum(1) + self.bias  # (B, n_neurons)

    def regularizer(self) -> Tensor | float:
        """Return the L1 penalty of the readout weights, each of which is the product of a mask and a feature weight."""
        return self.l1 * (self.where.abs().sum((1, 2)) * self.what.abs().sum(1)).sum()


def _n_neurons(output_shape: tuple[int, ...], name: str) -> int:
    """Return the number of neurons; raise UserError if a prediction is not one number per neuron."""
    require(
        len(output_shape) == 1,
        f"head '{name}' predicts one number per neuron, not {'x'.join(map(str, output_shape))}; use --head conv or fc",
    )
    return output_shape[0]
