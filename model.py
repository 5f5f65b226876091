"""The model that joins an encoder and a head.

To add an encoder or a head: a class under @ENCODERS.add("name") or @HEADS.add("name") in the file of its kind, or in a
new file that is imported here. Nothing else changes.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

import fc  # noqa: F401  (each file of encoders and heads fills the tables)
import resnet  # noqa: F401
from networks import ENCODERS, HEADS, Encoder, Head

FIT_BATCH = 256  # images at a time, so that their features fit in memory


class Model(nn.Module):
    """An encoder and a head, run in one precision; predictions are always float32."""

    def __init__(self, encoder: Encoder, head: Head, precision: Literal["fp32", "bf16"] = "fp32") -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.precision = precision

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            prediction = self.head(self.encoder(images))
        return prediction.float()

    def stages(self) -> dict[str, nn.Module]:
        """Return the parts in the order they run."""
        return dict(self.encoder.stages) | {"head": self.head}

    def regularizer(self) -> Tensor | float:
        """Return the penalty on the weights of all parts."""
        return self.encoder.regularizer() + self.head.regularizer()

    @torch.no_grad()
    def start(self, images: Tensor, target: Tensor, link: Callable[[Tensor], Tensor]) -> None:
        """Let encoder and head learn what they learn before the loop.

        Args:
            images: (N, C, H, W) training images.
            target: what they should lead to.
            link: from a target to the prediction that means it.
        """
        self.encoder.fit(images)
        if self.head.needs_fit:
            self.eval()
            self.head.fit(torch.cat([self.encoder(batch) for batch in images.split(FIT_BATCH)]), link(target))
            self.train()


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
    return Model(built, HEADS.build(head, built, tuple(output_shape)), precision)


def choose_precision(encoder: str, wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> str:
    """Return the precision to use: for auto, bf16 where the encoder gains by it and the device has it."""
    if wanted != "auto":
        return wanted
    capable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        capable = bool(features.get("avx512_bf16") or features.get("amx_bf16"))
    return "bf16" if capable and ENCODERS[ENCODERS.parse(encoder).name].prefers_bf16 else "fp32"
