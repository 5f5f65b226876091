"""The model that joins an encoder and a head.

To add an encoder or a head: a class under @ENCODERS.add("name") or @HEADS.add("name") in the file of its kind, or in a
new file that is imported here. Nothing else changes.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

import conv  # noqa: F401  (each file of encoders and heads fills the tables)
import cortex  # noqa: F401
import fc  # noqa: F401
import reductions  # noqa: F401
import resnet  # noqa: F401
from choices import require
from networks import ENCODERS, HEADS, Encoder, Head

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
