"""Evaluation: run a model over a whole split, and compute its metrics."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Batches = Collection[tuple[Tensor, Tensor]]
Evidence = dict[str, Tensor]


class Judged(Protocol):
    """What evaluation needs of a model of one or several repetitions (R)."""

    training: bool

    def eval(self) -> Any:
        """Set evaluation mode."""
        ...

    def train(self, mode: bool = True) -> Any:
        """Set the mode."""
        ...

    def judge(self, objective: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Evidence]:
        """Return the loss of a batch, (R,), and the evidence of each image."""
        ...

    def metrics(self, objective: Any, evidence: Evidence) -> dict[str, np.ndarray]:
        """Return the metrics of a whole split, (R,) each."""
        ...


def evaluate(model: Judged, loader: Batches, objective: Any) -> dict[str, np.ndarray]:
    """Return the mean loss over images and the metrics of the whole split, (R,) each."""
    loss, evidence = predict(model, loader, objective)
    return {"loss": loss} | model.metrics(objective, evidence)


@torch.no_grad()
def predict(model: Judged, loader: Batches, objective: Any) -> tuple[np.ndarray, Evidence]:
    """Run every batch through the model in evaluation mode; the mode of the model is restored.

    Returns:
        The mean loss over images, (R,), and the objective's evidence of all N images, (N, ...) each, on the CPU.
    """
    was_training, total, n_images = model.training, torch.zeros(()), 0

    def pieces() -> Iterator[Evidence]:
        nonlocal total, n_images
        for x, y in loader:
            losses, evidence = model.judge(objective, x, y)
            total = total + losses.double() * len(x)
            n_images += len(x)
            yield evidence

    model.eval()
    evidence = join(pieces(), len(loader))
    model.train(was_training)
    return (total / n_images).cpu().numpy(), evidence


def join(pieces: Iterable[Evidence], n_batches: int) -> Evidence:
    """Concatenate the evidence of all batches, none larger than the first; returns (N, ...) each, on the CPU."""
    whole, n = {}, 0
    for piece in pieces:
        size = len(next(iter(piece.values())))
        for key, values in piece.items():
            if key not in whole:  # in place: small tensors kept between large freed ones would fragment memory
                whole[key] = values.new_empty((n_batches * size, *values.shape[1:]))
            whole[key][n : n + size] = values
        n += size
    return {key: values[:n].cpu() for key, values in whole.items()}
