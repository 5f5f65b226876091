"""Objectives bound to a small dataset, and batches for them."""

from types import SimpleNamespace

import torch

from neuro_noodle.objectives.base import OBJECTIVES, Objective

CLASSES = ["afraid", "happy", "sad"]
NEURONS = ["region1/0", "region1/1", "region2/0", "region2/1"]
PROVIDES = ["image", "label", "response"]
SHAPE = (1, 6, 5)
N = 24


def dataset(columns=(), **changes) -> SimpleNamespace:
    """Return what an objective reads of a dataset: targets are 0, and one response is missing."""
    responses = torch.ones(N, len(NEURONS))
    responses[0, 0] = torch.nan
    targets = torch.zeros(N, len(columns)) if columns else None
    fields = {"provides": PROVIDES, "image_shape": SHAPE, "classes": CLASSES, "neurons": NEURONS}
    return SimpleNamespace(**fields | {"targets": targets, "responses": responses, "n_stretched": 0} | changes)


def build(choice: str, **changes) -> Objective:
    """Return an objective bound to that dataset, with these fields changed."""
    objective = OBJECTIVES.build(choice)
    return objective.on(dataset(objective.columns, **changes))


def seeded(seed=0) -> torch.Generator:
    """Return a generator with a seed."""
    return torch.Generator().manual_seed(seed)


def sample(n=N) -> dict[str, torch.Tensor]:
    """Return a batch of random images with labels, two target columns and responses."""
    responses = 0.1 + torch.rand(n, len(NEURONS))
    known = {"label": torch.arange(n) % 3, "targets": torch.randn(n, 2), "response": responses}
    return {"image": torch.rand(n, *SHAPE)} | known


def fitted_pair(objective: Objective, n=N) -> tuple[torch.Tensor, torch.Tensor]:
    """Return input and target of a batch, on which the objective has been fitted."""
    x, target = objective.pair(sample(n), seeded())
    objective.fit(target)
    return x, target


def score(objective: Objective, prediction: torch.Tensor, target: torch.Tensor) -> dict[str, float]:
    """Return the metrics of a prediction."""
    return objective.metrics(objective.evidence(objective.output(prediction), target))


def decaying_images(n: int, *shape: int) -> torch.Tensor:
    """Return images whose principal components fall off, like those of natural images."""
    d = int(torch.tensor(shape).prod())
    rank = min(n, d)
    factors = torch.randn(n, rank) * 0.8 ** torch.arange(rank)
    return (0.5 + 0.05 * factors @ torch.linalg.qr(torch.randn(d, rank))[0].T * d**0.5).view(n, *shape)


def unit_vectors(degrees) -> torch.Tensor:
    """Return (n, 2) vectors of length 1 in these directions."""
    angle = torch.as_tensor(degrees, dtype=torch.float32).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], 1)
