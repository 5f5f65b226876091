"""What an encoder (image to latent) and a head (latent to prediction) are, and the tables of both."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from neuro_noodle.choices import Table, require

ENCODERS = Table("encoder")
HEADS = Table("head")
Scale = Literal["none", "zscore"]
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


class ZScore(nn.Module):
    """Subtracts the mean of all training pixels, and divides by their standard deviation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        return images * self.scale + self.shift

    def of_sums(self, sums: Tensor, of_one: Tensor) -> Tensor:
        """Return the sums of scaled images that a linear map has made (B, D), from those of images as they are.

        There is far less to scale than in the images.

        Args:
            sums: (B, D) of the images.
            of_one: (D,) of an image that is 1 everywhere.
        """
        return sums * self.scale + self.shift * of_one

    def fit(self, images: Tensor) -> None:
        """Learn from training images (N, C, H, W)."""
        self.scale.copy_(1 / images.std().clamp(min=1e-6))
        self.shift.copy_(-images.mean() * self.scale)


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
        latent_shape: (D,), or (C, H, W) where the latent is maps, whose values stand one after another in it.
        prefers_bf16: whether half precision makes it faster; None where the head is to decide.
        encodes_once: whether an image has to be encoded once and for all, so is never augmented.
        pickled: what of it no file of tensors can hold; only a pickle, which runs code when opened.
    """

    stages: nn.ModuleDict
    latent_shape: tuple[int, ...]
    prefers_bf16: bool | None = False
    encodes_once = False
    pickled: object | None = None
    beta = 0.0

    def __init__(self, scale: Scale = "none") -> None:
        super().__init__()
        self.scaling = ZScore() if scale == "zscore" else None

    @property
    def latent_dim(self) -> int:
        """D, all numbers of the latent."""
        return math.prod(self.latent_shape)

    @latent_dim.setter
    def latent_dim(self, n: int) -> None:
        self.latent_shape = (n,)

    def forward(self, images: Tensor) -> Tensor:
        latent = self.scaling(images) if self.scaling else images
        for stage in self.stages.values():
            latent = stage(latent)
        return latent  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Learn from training images (N, C, H, W) what is learned before the loop."""
        if self.scaling:
            self.scaling.fit(images)

    def summary(self) -> str:
        """Return what the user should know of what was learned before the loop, or nothing."""
        return ""

    def explained_by(self, images: Tensor) -> Tensor | None:
        """Return (D,) the share of the variance of images explained by each latent; None if it is not defined."""
        return None

    def receptive_fields(self) -> Tensor | None:
        """Return the filters that see the image, (F, height, width); None if there are none."""
        return None

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
        """Return the penalty that is added to the loss summed over outputs."""
        return 0.0


def shrinkage(weights: Tensor, l1: float, l2: float) -> Tensor | float:
    """Return l1 times the sum of absolute weights, and l2 times that of squares."""
    absolute = l1 * weights.abs().sum() if l1 else 0.0  # what weighs nothing costs nothing
    return absolute + (l2 * weights.square().sum() if l2 else 0.0)


def laplacian(filters: Tensor) -> Tensor:
    """Return the sum of squares of the second differences of filters (..., H, W), each beside its norm.

    A filter is taken as 0 beyond its edge. Dividing by the norm makes the penalty tell of shape and not of size.

    Source: Klindt et al. 2017, arXiv:1711.02653.
    """
    rows, columns = (_neighbours(side, filters) for side in filters.shape[-2:])
    rough = rows @ filters @ columns - 4 * filters  # (..., H, W); faster than a convolution of many small filters
    return (rough.square().sum((-2, -1)) / filters.square().sum((-2, -1)).clamp(min=1e-8)).sum()


def _neighbours(side: int, like: Tensor) -> Tensor:
    """Return (side, side): 1 for each pixel itself, 0.5 for those beside it."""
    eye = torch.eye(side, device=like.device, dtype=like.dtype)
    return eye + (eye.roll(1, 0).tril(-1) + eye.roll(-1, 0).triu(1)) / 2


def require_no_latent_dim(who: str, latent_dim: int | None) -> None:
    """Raise UserError where a size is asked of a latent that has the one that follows from the image."""
    require(latent_dim is None, f"{who} has the latent that follows from the image; take --latent_dim none")


def require_penalties(who: str, penalties: Mapping[str, float]) -> None:
    """Raise UserError for a penalty below 0."""
    for name, value in penalties.items():
        require(0 <= value < math.inf, f"{who}: {name}={value} must be 0 or more")


FIT_BATCH = 256  # images at a time, so that their features fit in memory


class Model(nn.Module):
    """An encoder and a head, run in one precision; predictions are always float32.

    Attributes:
        n_outputs: numbers in a prediction, over which a loss is the mean.
        frozen: names of the stages that do not train.
    """

    n_repetitions = 1

    def __init__(
        self, encoder: Encoder, head: Head, precision: Literal["fp32", "bf16"] = "fp32", n_outputs: int = 1
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.precision = precision
        self.n_outputs = n_outputs
        self.frozen: list[str] = []

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            prediction = self.head(self.encoder(images))
        return prediction.float()

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the latent (B, D) of images as evaluation has it; the model keeps the mode it was in."""
        training = self.training
        self.eval()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            latent = self.encoder(images)
        self.train(training)
        return latent.float()

    def stages(self) -> dict[str, nn.Module]:
        """Return the parts in the order they run."""
        return dict(self.encoder.stages) | {"head": self.head}

    def regularizer(self) -> Tensor | float:
        """Return the penalty of all parts, beside a loss that is the mean over outputs."""
        return (self.encoder.regularizer() + self.head.regularizer()) / self.n_outputs

    def freeze(self, n_trainable: int) -> None:
        """Let only the last stages train; the others keep their weights and their batch-norm statistics.

        Raises:
            UserError: for more stages than there are.
        """
        names = list(self.stages())
        require(
            n_trainable <= len(names),
            f"--trainable_stages {n_trainable}: this model has {len(names)} stages: {', '.join(names)}",
        )
        self.frozen = names[: len(names) - n_trainable]
        for name in self.frozen:
            self.stages()[name].requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Model":
        """Set the mode of all parts; frozen ones stay as in evaluation."""
        super().train(mode)
        for name in self.frozen:
            self.stages()[name].eval()
        return self

    @property
    def has_fixed_encoder(self) -> bool:
        """Whether nothing of the encoder trains, so that it need run only once."""
        return not any(parameter.requires_grad for parameter in self.encoder.parameters())

    def after_encoding(self) -> "Model":
        """Return a model with the same head that takes latents in place of images."""
        return Model(Encoded(self.encoder.latent_dim), self.head, self.precision, self.n_outputs)

    def weights(self, index: int = 0) -> dict[str, Tensor]:
        """Return a copy of all weights."""
        return {name: values.detach().cpu().clone() for name, values in self.state_dict().items()}

    def put(self, weights: dict[str, Tensor], index: int = 0) -> None:
        """Take these weights."""
        self.load_state_dict(weights)

    @torch.no_grad()
    def start_head(self, x: Tensor, target: Tensor, link: Callable[[Tensor], Tensor]) -> None:
        """Let the head learn what it learns before the loop, once the encoder has.

        Args:
            x: (N, ...) what the model takes, of training images.
            target: what it should lead to.
            link: from a target to the prediction that means it.
        """
        if self.head.needs_fit:
            self.head.fit(torch.cat([self.encode(batch) for batch in x.split(FIT_BATCH)]), link(target))


class Encoded(Encoder):
    """What takes the place of a fixed encoder whose latents are known: it passes them on."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.stages = nn.ModuleDict()


def build_model(
    encoder: str,
    head: str,
    image_shape: Sequence[int],
    output_shape: Sequence[int],
    latent_dim: int | None,
    precision: Literal["fp32", "bf16"],
) -> Model:
    """Build a model from its choices; a session keeps these arguments in order to rebuild it.

    Args:
        encoder, head: choices.
        image_shape: (C, H, W).
        output_shape: shape of one prediction.
        latent_dim: D, or None for the encoder's own.
    """
    built = ENCODERS.build(encoder, tuple(image_shape), latent_dim)
    return Model(built, HEADS.build(head, built, tuple(output_shape)), precision, math.prod(output_shape))


def choose_precision(encoder: str, head: str, wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> str:
    """Return the precision to use: for auto, bf16 where the network gains by it and the device has it."""
    if wanted != "auto":
        return wanted
    capable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        capable = bool(features.get("avx512_bf16") or features.get("amx_bf16"))
    prefers = ENCODERS[ENCODERS.parse(encoder).name].prefers_bf16
    prefers = HEADS[HEADS.parse(head).name].prefers_bf16 if prefers is None else prefers
    return "bf16" if capable and prefers else "fp32"
