"""What encoders (image to latent) and heads (latent to prediction) are, their tables, and the model of the two.

To add one: a subclass under @ENCODERS.add("name") or @HEADS.add("name") in a file of this folder. The constructor of an
encoder takes image_shape and latent_dim (None: its default), that of a head encoder and output_shape; then its options.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from neuro_noodle.choices import Table, require
from neuro_noodle.learning.devices import has_fast_bf16
from neuro_noodle.learning.ranks import randn_like
from neuro_noodle.networks.activations import Activation
from neuro_noodle.networks.scaling import Scale, build_scaling

ENCODERS = Table("encoder")
HEADS = Table("head")
Precision = Literal["fp32", "bf16"]
MIN_PRODUCTS = 2**26  # in a forward pass of a batch; bf16 is 1.07 times as fast with 54 million, 1.24 with 90
FIT_BATCH = 256  # images encoded at a time while the head is fitted

Evidence = dict[str, Tensor]


class Criterion(Protocol):
    """What a model needs of an objective."""

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss over the batch, a scalar."""
        ...

    def output(self, prediction: Tensor) -> Tensor:
        """Return what a prediction means, for example probabilities for logits."""
        ...

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        """Return what the metrics need of each image, (B, ...) each."""
        ...

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        """Return the metrics of a whole split."""
        ...


class Variational(nn.Linear):
    """A linear layer with normally distributed output: sampled in training, the mean in evaluation.

    Attributes:
        divergence: from the standard normal distribution in the last training batch, nats, mean over images.

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
        return mean + (log_variance / 2).exp().to(mean) * randn_like(mean)


class Encoder(nn.Module):
    """Map images (B, C, H, W) in [0, 1] to a latent (B, D).

    Attributes:
        stages: the parts in the order they run; empty if no part of the encoder can train.
        latent_shape: (D,), or (C, H, W) if the latent is a stack of maps, which is flattened to D numbers.
        encodes_once: whether images are encoded only once, before training, and so cannot be augmented.
        fitted_state: fitted state that cannot be stored as tensors (a UMAP); opening its pickle can run code.
        hidden, channels, kernel, activation: architecture that a mirrored head copies; None where it does not apply.
    """

    stages: nn.ModuleDict
    latent_shape: tuple[int, ...]
    encodes_once = False
    fitted_state: Any = None
    hidden: tuple[int, ...] | None = None
    channels: tuple[int, ...] | None = None
    kernel: int | None = None
    activation: Activation | None = None
    beta = 0.0

    def __init__(self, scale: Scale = "none", image_shape: Sequence[int] = ()) -> None:
        super().__init__()
        self.scaling = build_scaling(scale, image_shape)

    @property
    def latent_dim(self) -> int:
        """D, the size of the latent."""
        return math.prod(self.latent_shape)

    @latent_dim.setter
    def latent_dim(self, n: int) -> None:
        self.latent_shape = (n,)

    @property
    def has_weights(self) -> bool:
        """Whether any part of the encoder can train; otherwise it is fitted (PCA, UMAP) or fixed."""
        return any(True for _ in self.parameters())

    @property
    def random_stages(self) -> list[str]:
        """Names of the stages with weights that are random after `fit`."""
        return list(_with_weights(self.stages))

    def forward(self, images: Tensor) -> Tensor:
        latent = self.scaling(images) if self.scaling else images
        for stage in self.stages.values():
            latent = stage(latent)
        return latent  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Fit what is estimated before the training loop (scaling, PCA, UMAP) to training images (N, C, H, W)."""
        if self.scaling:
            self.scaling.fit(images)

    def summary(self) -> str:
        """Return a line about what `fit` found, or an empty text."""
        return ""

    def explained_by(self, images: Tensor) -> Tensor | None:
        """Return (D,) the share of the variance of images explained by each latent; None if it is not defined."""
        return None

    def receptive_fields(self) -> Tensor | None:
        """Return the filters that see the image, (F, height, width); None if there are none."""
        return None

    def regularizer(self) -> Tensor | float:
        """Return the penalty added to the loss summed over outputs: beta times the divergence of the latent."""
        divergences = [layer.divergence for layer in self.modules() if isinstance(layer, Variational)]
        return self.beta * sum(divergences)

    def latent_layer(self, n_in: int, beta: float) -> nn.Linear:
        """Return the last layer: linear, or variational if beta is above 0.

        Args:
            n_in: number of inputs.
            beta: weight of the divergence (nats) relative to the loss summed over outputs; 1 is the usual VAE.
        """
        require(0 <= beta < math.inf, f"beta={beta} must be 0 or more")
        self.beta = beta
        return Variational(n_in, self.latent_dim) if beta else nn.Linear(n_in, self.latent_dim)


class Head(nn.Module):
    """Map a latent (B, D) to a prediction (B, ...).

    Attributes:
        needs_fit: whether the head is fitted before the training loop.
    """

    needs_fit = False

    def fit(self, latent: Tensor, prediction: Tensor) -> None:
        """Fit the head to latents (N, D) and the predictions (N, ...) wanted of them; called if needs_fit is true."""

    def regularizer(self) -> Tensor | float:
        """Return the penalty added to the loss summed over outputs."""
        return 0.0


class Model(nn.Module):
    """An encoder and a head, run in one precision; predictions are always float32.

    Attributes:
        n_outputs: numbers in a prediction; the loss is their mean.
        frozen: names of the stages that do not train.
        precomputed: whether x is already encoded, so that only the head runs.
    """

    n_repetitions = 1

    def __init__(self, encoder: Encoder, head: Head, precision: Precision = "fp32", n_outputs: int = 1) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.precision = precision
        self.n_outputs = n_outputs
        self.frozen: list[str] = []
        self.precomputed = False
        if precision == "bf16":
            self.to(memory_format=torch.channels_last)  # the layout for which bf16 convolutions are written

    def forward(self, x: Tensor) -> Tensor:
        """Return the prediction (B, ...) of a batch, float32; `Objective.output` says what it means.

        Args:
            x: images (B, C, H, W), 0 is black and 1 is white; latents (B, D) if `precomputed`.
        """
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            prediction = self.head(x if self.precomputed else self.encoder(x))
        return prediction.float()

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the latent (B, D) of images in evaluation mode, float32; the mode of the model is restored.

        Args:
            images: (B, C, H, W), 0 is black and 1 is white.
        """
        was_training = self.training
        self.eval()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            latent = self.encoder(images)
        self.train(was_training)
        return latent.float()

    def decode(self, latent: Tensor) -> Tensor:
        """Return the prediction (B, ...) of latents (B, D), float32."""
        with torch.autocast(latent.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.head(latent).float()

    def losses(self, objective: Criterion, x: Tensor, y: Tensor) -> Tensor:
        """Return the loss of a batch, (1,): one value per repetition."""
        return objective.loss(self(x), y)[None]

    def judge(self, objective: Criterion, x: Tensor, y: Tensor) -> tuple[Tensor, Evidence]:
        """Return the loss of a batch, (1,), and the evidence of each image, (B, ...)."""
        prediction = self(x)
        return objective.loss(prediction, y)[None], objective.evidence(objective.output(prediction), y)

    def metrics(self, objective: Criterion, evidence: Evidence) -> dict[str, np.ndarray]:
        """Return the metrics of a whole split, (1,) each."""
        return {name: np.array([value]) for name, value in objective.metrics(evidence).items()}

    @torch.no_grad()
    def n_products(self, image: Tensor) -> int:
        """Return how many numbers the linear and convolutional layers multiply for an image (1, C, H, W)."""
        counts = []

        def count(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
            maps = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output  # (1, C, H, W), or (1, D)
            counts.append(maps[0, 0].numel() * next(layer.parameters()).numel())

        was_training = self.training
        layers = [layer for layer in self.modules() if isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))]
        hooks = [layer.register_forward_hook(count) for layer in layers]
        self.eval()
        self.head(self.encoder(image) if self.encoder.has_weights else image.new_zeros(1, self.encoder.latent_dim))
        for hook in hooks:
            hook.remove()
        self.train(was_training)
        return sum(counts)

    def stages(self) -> dict[str, nn.Module]:
        """Return the parts in the order they run."""
        return dict(self.encoder.stages.items()) | {"head": self.head}

    def weighted_stages(self) -> dict[str, nn.Module]:
        """Return the stages that have weights, which --trainable_stages and --fresh_stages count."""
        return _with_weights(self.stages())

    def regularizer(self) -> Tensor | float:
        """Return the penalty of all parts, on the scale of a loss that is the mean over outputs."""
        return (self.encoder.regularizer() + self.head.regularizer()) / self.n_outputs

    def freeze(self, n_trainable: int) -> None:
        """Freeze all but the last stages with weights: weights and batch-norm statistics no longer change.

        Raises:
            UserError: if there are fewer such stages than n_trainable.
        """
        names, weighted = list(self.stages()), list(self.weighted_stages())
        require(
            n_trainable <= len(weighted),
            f"--trainable_stages {n_trainable}: this model has {len(weighted)} stages: {', '.join(weighted)}",
        )
        self.frozen = names[: names.index(weighted[-n_trainable])]
        for name in self.frozen:
            self.stages()[name].requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "Model":
        """Set the mode of all parts; frozen stages stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.stages()[name].eval()
        return self

    @property
    def has_fixed_encoder(self) -> bool:
        """Whether no weight of the encoder trains, so that each image needs encoding only once."""
        return not any(parameter.requires_grad for parameter in self.encoder.parameters())

    def copy_weights(self, index: int = 0) -> dict[str, Tensor]:
        """Return a copy of all weights on the CPU."""
        return {name: values.detach().cpu().clone() for name, values in self.state_dict().items()}

    def load_weights(self, weights: Mapping[str, Tensor], index: int = 0) -> None:
        """Load weights as returned by `copy_weights`."""
        self.load_state_dict(weights)

    def single(self, index: int) -> "Model":
        """Return the model of one repetition: this one."""
        return self

    @torch.no_grad()
    def start_head(self, x: Tensor, target: Tensor, link: Callable[[Tensor], Tensor]) -> None:
        """Fit the head before the training loop, if it needs that; the encoder must be fitted already.

        Args:
            x: (N, ...) model inputs of training images.
            target: (N, ...) their targets.
            link: maps a target to the prediction that means it.
        """
        if self.head.needs_fit:
            latents = x if self.precomputed else torch.cat([self.encode(batch) for batch in x.split(FIT_BATCH)])
            self.head.fit(latents, link(target))


def build_model(
    encoder: str,
    head: str,
    image_shape: Sequence[int],
    output_shape: Sequence[int],
    latent_dim: int | None,
    precision: Precision = "fp32",
) -> Model:
    """Build a model from its choices; config.json keeps these arguments, so that a session can rebuild its model.

    Args:
        encoder, head: choices, `NAME KEY=VALUE ...`.
        image_shape: (C, H, W).
        output_shape: shape of one prediction.
        latent_dim: D, or None for the encoder's default.
        precision: of the arithmetic.
    """
    built = ENCODERS.build(encoder, tuple(image_shape), latent_dim)
    return Model(built, HEADS.build(head, built, tuple(output_shape)), precision, math.prod(output_shape))


def choose_precision(model: Model, image_shape: Sequence[int], batch_size: int, device: torch.device) -> Precision:
    """Return the precision in which a step is faster: bf16 if the device has it and the network is large enough."""
    if not has_fast_bf16(device):
        return "fp32"
    return "bf16" if model.n_products(torch.zeros(1, *image_shape)) * batch_size >= MIN_PRODUCTS else "fp32"


def _with_weights(stages: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    return {name: stage for name, stage in stages.items() if any(True for _ in stage.parameters())}


def shrinkage(weights: Tensor, l1: float, l2: float) -> Tensor | float:
    """Return l1 times the sum of absolute weights plus l2 times the sum of squared weights."""
    absolute = l1 * weights.abs().sum() if l1 else 0.0  # a weight of 0 costs no time
    return absolute + (l2 * weights.square().sum() if l2 else 0.0)


def laplacian(filters: Tensor) -> Tensor:
    """Return the roughness of filters (..., H, W): the squared Laplacian, divided by each filter's squared norm.

    A filter counts as 0 outside its edge. Dividing by the norm makes the penalty depend on shape, not on size.

    Source: Klindt et al. 2017, arXiv:1711.02653.
    """
    rows, columns = (_neighbours(side, filters) for side in filters.shape[-2:])
    rough = rows @ filters @ columns - 4 * filters  # (..., H, W); faster than a convolution of many small filters
    return (rough.square().sum((-2, -1)) / filters.square().sum((-2, -1)).clamp(min=1e-8)).sum()


def _neighbours(side: int, like: Tensor) -> Tensor:
    """Return (side, side): 1 on the diagonal, 0.5 next to it."""
    eye = torch.eye(side, device=like.device, dtype=like.dtype)
    return eye + (eye.roll(1, 0).tril(-1) + eye.roll(-1, 0).triu(1)) / 2


def require_no_latent_dim(who: str, latent_dim: int | None) -> None:
    """Raise UserError if --latent_dim is given for a latent whose size follows from the image."""
    require(latent_dim is None, f"the latent size of {who} follows from the image; set --latent_dim none")


def require_penalties(who: str, penalties: Mapping[str, float]) -> None:
    """Raise UserError for a penalty below 0."""
    for name, value in penalties.items():
        require(0 <= value < math.inf, f"{who}: {name}={value} must be 0 or more")
