"""Evaluation: run a model over a whole split and compute its metrics."""

from collections.abc import Collection, Iterable, Iterator

import torch
from torch import Tensor

Batches = Collection[tuple[Tensor, Tensor]]


def evaluate(model, loader: Batches, objective) -> dict[str, float | list[float]]:
    """Return the mean loss over images and the metrics of the whole split, for repetitions those of each."""
    loss, evidence = predict(model, loader, objective)
    return {"loss": loss} | objective.metrics(evidence)


@torch.no_grad()
def predict(model, loader: Batches, objective) -> tuple[float | list[float], dict[str, Tensor]]:
    """Run every batch through the model, which keeps the mode it was in.

    Returns:
        The mean loss over images, and the objective's evidence of all N images, (N, ...) each, on the CPU.
    """
    training, loss = model.training, torch.zeros(())

    def pieces() -> Iterator[dict[str, Tensor]]:
        nonlocal loss
        for x, y in loader:
            prediction = model(x)
            loss = loss + objective.loss(prediction, y).double() * len(x)
            yield objective.evidence(objective.output(prediction), y)

    model.eval()
    evidence = join(pieces(), len(loader))
    model.train(training)
    return (loss / len(next(iter(evidence.values())))).tolist(), evidence


def join(pieces: Iterable[dict[str, Tensor]], n_batches: int) -> dict[str, Tensor]:
    """Return the evidence of all batches, of which none is larger than the first, as one: (N, ...) each, on the CPU."""
    whole, n = {}, 0
    for piece in pieces:
        size = len(next(iter(piece.values())))
        for key, values in piece.items():
            if key not in whole:  # in place: see train_epoch
                whole[key] = values.new_empty((n_batches * size, *values.shape[1:]))
            whole[key][n : n + size] = values
        n += size
    return {key: values[:n].cpu() for key, values in whole.items()}
