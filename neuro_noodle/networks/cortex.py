"""Models of visual cortex: encoders made of receptive fields, and heads that read out neurons.

Heads return values of any sign; the objective turns them into positive responses.
"""

import functools
import math
from typing import Literal

import torch
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require
from neuro_noodle.networks.base import (
    ENCODERS,
    HEADS,
    Activation,
    Encoder,
    Head,
    require_no_latent_dim,
    require_penalties,
    shrinkage,
)
from neuro_noodle.networks.dense import dense_layers
from neuro_noodle.networks.scaling import Scale

Width = Literal["sd", "variance"]
Sums = Literal["window", "plane"]
MAX_INITIAL_GAIN = 1.5


def difference_of_gaussians(
    shape: tuple[int, int], centre: Tensor, sigmas: Tensor, gain: Tensor, *, sums: Sums = "window"
) -> Tensor:
    """Return filters that are a centre Gaussian minus a concentric, wider surround Gaussian.

    Args:
        shape: height and width of a filter, px.
        centre: (F, 2) y and x relative to the middle of the filter, px.
        sigmas: (F, 2) standard deviations of the centre and of the surround, px, > 0.
        gain: (F, 2) sum over pixels of the centre and of the surround.
        sums: window makes the pixels of the filter sum to the gains; plane those of an unbounded image, so that a
            filter fades as its centre leaves the image.

    Returns:
        (F, H, W); with sums=window, a filter with equal gains sums to 0.

    Source: Antolik et al. 2016, doi:10.1371/journal.pcbi.1004927.
    """
    positions, axes = _axes(shape, centre.device, centre.dtype)
    squared = (centre @ axes - positions).square()  # (F, H + W)
    exponents = squared[:, None] * (-0.5 * sigmas.pow(-2))[:, :, None]  # (F, 2, H + W)
    parts = exponents.split(shape, -1)
    if sums == "window":
        y, x = (part.softmax(-1) for part in parts)  # (F, 2, H), (F, 2, W); each sums to 1
    else:
        y, x = (part.exp() / (math.sqrt(2 * math.pi) * sigmas[:, :, None]) for part in parts)  # (F, 2, H), (F, 2, W)
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
        position: middle keeps all filters there, as those of a convolution; free trains their positions; inside does so
            and keeps their centres inside the image.
        width, sums, max_gain: as for the encoder `dog`.
    """

    not_decayed = ("centre", "gain")

    def __init__(
        self,
        n_filters: int,
        shape: tuple[int, int],
        *,
        position: Literal["middle", "free", "inside"],
        width: Width,
        sums: Sums,
        max_gain: float | None,
    ) -> None:
        super().__init__()
        side = min(shape)
        require(n_filters >= 1, f"n_filters={n_filters} must be 1 or more")
        require(side >= 3, f"differences of Gaussians need at least 3x3 px, not {shape[0]}x{shape[1]}")
        require(
            max_gain is None or MAX_INITIAL_GAIN < max_gain < math.inf,
            f"max_gain={max_gain} must be above {MAX_INITIAL_GAIN}, with which training may start",
        )
        self.shape, self.position, self.width, self.sums, self.max_gain = shape, position, width, sums, max_gain
        spread = torch.empty(n_filters, 2).uniform_(-0.35, 0.35)
        sigma, widening = (side * torch.empty(n_filters).uniform_(0.04, most) for most in (0.12, 0.2))  # px
        gain = torch.empty(n_filters, 2).uniform_(0.5, MAX_INITIAL_GAIN)
        if width == "variance":
            sigma, widening = sigma.square(), (sigma + widening).square() - sigma.square()  # px^2
        # in units of the sides, so that positions and widths train at similar rates
        self.centre = None if position == "middle" else nn.Parameter(spread)
        self.log_sigma, self.log_widening = nn.Parameter(sigma.log()), nn.Parameter(widening.log())
        self.gain = nn.Parameter(gain if max_gain is None else (gain / max_gain).logit())

    def filters(self) -> Tensor:
        """Return the filters (F, H, W)."""
        return difference_of_gaussians(self.shape, self.centres(), self.sigmas(), self.gains(), sums=self.sums)

    def centres(self) -> Tensor:
        """Return y and x of each centre relative to the middle (F, 2), px."""
        if self.centre is None:
            return torch.zeros_like(self.gain)
        relative = (2 * self.centre).tanh() / 2 if self.position == "inside" else self.centre
        return relative * relative.new_tensor(self.shape)

    def sigmas(self) -> Tensor:
        """Return the standard deviations of centre and surround of each filter (F, 2), px."""
        inner = self.log_sigma.exp()
        widths = torch.stack([inner, inner + self.log_widening.exp()], 1)  # (F, 2), px or px^2
        return widths.sqrt() if self.width == "variance" else widths

    def gains(self) -> Tensor:
        """Return the gains of centre and surround of each filter (F, 2)."""
        return self.gain if self.max_gain is None else self.max_gain * self.gain.sigmoid()


class ConvolvedDifferenceOfGaussians(DifferenceOfGaussians):
    """Differences of Gaussians, convolved with the image wherever they lie completely inside it.

    Args:
        n_filters: F.
        side: height and width of the filters, px.
    """

    def __init__(self, n_filters: int, side: int, *, width: Width, sums: Sums, max_gain: float | None) -> None:
        super().__init__(n_filters, (side, side), position="middle", width=width, sums=sums, max_gain=max_gain)

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
        width: sd trains the logarithms of the standard deviation of the centre and of what the surround has more;
            variance those of variances.
        sums: what the gains are sums over: the pixels of the image (window), or an unbounded image (plane), where a
            filter fades as its centre leaves the image.
        max_gain: gains of centre and surround stay between 0 and this; none leaves them free, also in sign.
        inside: keep the centres of the filters inside the image.
        scale: zscore subtracts the mean of all training pixels and divides by their standard deviation; pixelwise
            does so for each pixel.

    Source: Antolik et al. 2016, doi:10.1371/journal.pcbi.1004927.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int | None,
        *,
        width: Width = "sd",
        sums: Sums = "window",
        max_gain: float | None = None,
        inside: bool = False,
        scale: Scale = "zscore",
    ) -> None:
        super().__init__(scale, image_shape)
        self.latent_dim = latent_dim or 9
        position: Literal["inside", "free"] = "inside" if inside else "free"
        filters = DifferenceOfGaussians(
            self.latent_dim, image_shape[1:], position=position, width=width, sums=sums, max_gain=max_gain
        )
        self.stages = nn.ModuleDict({"dog": filters})

    def forward(self, images: Tensor) -> Tensor:
        filters = self.receptive_fields().flatten(1)  # (D, H*W)
        scaling = self.scaling
        if scaling and scaling.is_pixelwise:
            images, scaling = scaling(images), None
        pixels = to_grey(images).flatten(1)  # (B, H*W)
        latent = (filters @ pixels.T).T  # (B, D); in this order, the gradient of the filters needs no copy
        return scaling.of_sums(latent, filters.sum(1)) if scaling else latent

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
        width, sums, max_gain: as for `dog`.
        scale: zscore subtracts the mean of all training pixels and divides by their standard deviation; pixelwise
            does so for each pixel.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int | None,
        *,
        n_filters: int = 9,
        kernel: int = 9,
        width: Width = "sd",
        sums: Sums = "window",
        max_gain: float | None = None,
        scale: Scale = "zscore",
    ) -> None:
        super().__init__(scale, image_shape)
        n_rows, n_columns = (side - kernel + 1 for side in image_shape[1:])
        require(
            min(n_rows, n_columns) >= 1,
            f"encoder 'conv_dog': kernel={kernel} is larger than the images ({image_shape[1]}x{image_shape[2]} px)",
        )
        require_no_latent_dim("encoder 'conv_dog'", latent_dim)
        self.latent_shape = (n_filters, n_rows, n_columns)
        filters = ConvolvedDifferenceOfGaussians(n_filters, kernel, width=width, sums=sums, max_gain=max_gain)
        self.stages = nn.ModuleDict({"dog": filters})

    def receptive_fields(self) -> Tensor:
        """Return the filters (F, kernel, kernel)."""
        return self.stages["dog"].filters()


@ENCODERS.add("identity")
class Identity(Encoder):
    """The pixels themselves, without trainable parameters; with a linear head this is a linear model.

    Args:
        image_shape: (C, H, W).
        latent_dim: must be None, because it follows from the image.
        scale: zscore subtracts the mean of all training pixels and divides by their standard deviation; pixelwise
            does so for each pixel.
    """

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int | None, *, scale: Scale = "zscore") -> None:
        super().__init__(scale, image_shape)
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
        absolute: use the absolute values of the mask and of the feature weights, so that no readout weight is negative.

    Source: Klindt et al. 2017, arXiv:1711.02653.
    """

    def __init__(
        self, encoder: Encoder, output_shape: tuple[int, ...], *, l1: float = 0.02, absolute: bool = False
    ) -> None:
        super().__init__()
        n_neurons = _n_neurons(output_shape, "what_where")
        if len(encoder.latent_shape) != 3:
            raise UserError(
                "head 'what_where' needs feature maps, but this encoder's latent is a vector; "
                "use --encoder conv latent=maps"
            )
        require_penalties("head 'what_where'", {"l1": l1})
        self.l1, self.absolute, self.latent_shape = l1, absolute, encoder.latent_shape
        n_features, height, width = encoder.latent_shape
        self.where = nn.Parameter(torch.empty(n_neurons, height, width).normal_(std=(height * width) ** -0.5).abs())
        self.what = nn.Parameter(torch.empty(n_neurons, n_features).normal_(std=0.1 * n_features**-0.5))
        self.bias = nn.Parameter(torch.zeros(n_neurons))

    def forward(self, latent: Tensor) -> Tensor:
        n_features, height, width = self.latent_shape
        where, what = (self.where.abs(), self.what.abs()) if self.absolute else (self.where, self.what)
        maps = latent.reshape(
            -1, height * width
        )  # (B*C, H*W), so that one matrix product sums the gradient over images
        masked = (maps @ where.flatten(1).T).unflatten(0, (-1, n_features))  # (B, C, n_neurons)
        return (masked * what.T).sum(1) + self.bias  # (B, n_neurons)

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
