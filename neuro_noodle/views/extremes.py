"""The held-out images on which a run is worst and best: one function per objective, in a table by class.

To add one for an objective: a function here under `@ERRORS.of(TheObjective)`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.objectives.classify import Classify
from neuro_noodle.objectives.quantities import Direction, Regress
from neuro_noodle.objectives.reconstruct import Reconstruct
from neuro_noodle.plain import readable
from neuro_noodle.runs.pooled import PooledFolds
from neuro_noodle.runs.run import Run
from neuro_noodle.views.outcomes import ByObjective

N_SHOWN = 6  # of the worst, and of the best
MAX_VALUES = 2**26  # of all images that are searched, so that they fit in memory
ERRORS = ByObjective()  # functions of a run, indices of images and outputs that return Errors


@dataclass(frozen=True)
class Errors:
    """How wrong the outputs for some images are.

    Attributes:
        sizes: (n,) larger for a worse output; NaN where what is predicted is unknown.
        texts: n descriptions of output and error.
    """

    sizes: np.ndarray
    texts: Sequence[str]


@dataclass(frozen=True)
class Extreme:
    """One of the worst or best images.

    Attributes:
        id: of the image.
        text: output and error.
        images: (C, H, W) each, by name: the image and, if it was reconstructed, its reconstruction.
    """

    id: str
    text: str
    images: dict[str, np.ndarray]


def find_extremes(run: Run | PooledFolds, n_shown: int = N_SHOWN) -> dict[str, list[Extreme]]:
    """Return the worst and the best held-out images by name, at most n_shown each; empty without errors of images."""
    find = ERRORS.find(run.objective)
    if find is None or not len(run.held_out):
        return {}
    indices = evenly_spaced(run.held_out, max(1, MAX_VALUES // math.prod(run.dataset.image_shape)))
    outputs = run.outputs_of(indices)
    errors: Errors = find(run, indices, outputs)
    order = np.argsort(errors.sizes)[: int(np.isfinite(errors.sizes).sum())]  # NaN is last
    n = min(n_shown, len(order) // 2)
    groups = np.asarray(run.dataset.units())[indices]
    shown = {"worst": spread_over(groups, order[::-1], n), "best": spread_over(groups, order, n)}
    return {name: [_describe(run, indices, outputs, errors, i) for i in chosen] for name, chosen in shown.items() if n}


def spread_over(groups: np.ndarray, order: np.ndarray, n: int) -> np.ndarray:
    """Return the first n of an order, from as many groups as possible: neighbouring frames of a film look alike.

    Args:
        groups: (N,) group of each image.
        order: (M,) indices of images, the most wanted first.
        n: how many.
    """
    rank: dict = {}  # images of the same group that come before, by group
    turns = []
    for group in groups[order].tolist():
        turns.append(rank.get(group, 0))
        rank[group] = turns[-1] + 1
    chosen = np.sort(np.argsort(turns, kind="stable")[:n])
    return order[chosen]


def _describe(run: Run | PooledFolds, indices: np.ndarray, outputs: torch.Tensor, errors: Errors, i: int) -> Extreme:
    images = {"image": run.images(indices[[i]])[0].numpy()}
    if isinstance(run.objective, Reconstruct):
        images["reconstruction"] = outputs[i].numpy()
    return Extreme(readable(run.dataset.ids[indices[i]]), errors.texts[i], images)


@ERRORS.of(Reconstruct)
def errors_of_images(run: Run, indices: np.ndarray, outputs: torch.Tensor) -> Errors:
    """Return the mean squared error of each reconstruction."""
    sizes = torch.cat(
        [(one - run.images(index)).square().mean((1, 2, 3))
         for one, index in zip(outputs.split(256), np.split(indices, range(256, len(indices), 256)), strict=True)]
    ).numpy()  # fmt: skip
    return Errors(sizes, [f"MSE {size:.2g}" for size in sizes])


@ERRORS.of(Classify)
def errors_of_classes(run: Run | PooledFolds, indices: np.ndarray, outputs: torch.Tensor) -> Errors:
    """Return 1 minus the probability of the true class."""
    labels, classes = run.dataset.labels[indices], [*map(readable, run.dataset.classes)]
    of_true = outputs.gather(1, labels[:, None])[:, 0].numpy()  # (n,)
    texts = [
        f"{classes[true]}, predicted {classes[most]} ({share:.0%})"
        if most != true
        else f"{classes[true]} ({share:.0%})"
        for true, most, share in zip(labels.tolist(), outputs.argmax(1).tolist(), outputs.amax(1).tolist(), strict=True)
    ]
    return Errors(1 - of_true, texts)


@ERRORS.of(Direction)
def errors_of_directions(run: Run | PooledFolds, indices: np.ndarray, outputs: torch.Tensor) -> Errors:
    """Return the angle between the predicted and the true direction, degrees."""
    _, target = run.objective.pair(run.dataset.sample(torch.as_tensor(indices)), torch.Generator())
    rows = run.objective.rows(run.objective.evidence(outputs, target))
    columns = (rows[name] for name in ("true_deg", "predicted_deg", "error_deg"))
    texts = [
        f"{true:.0f}°, predicted {predicted:.0f}° (off by {abs(error):.0f}°)"
        for true, predicted, error in zip(*columns, strict=True)
    ]
    return Errors(np.abs(rows["error_deg"]), texts)


@ERRORS.of(Regress)
def errors_of_numbers(run: Run | PooledFolds, indices: np.ndarray, outputs: torch.Tensor) -> Errors:
    """Return the mean absolute error over columns, each in standard deviations of the training images."""
    true, predicted = run.dataset.targets[indices].numpy(), outputs.numpy()  # (n, K)
    sd = np.array(run.objective.learned["sd"])
    is_known = np.isfinite(true)
    total = np.where(is_known, np.abs(predicted - true) / sd, 0).sum(1)
    n_known = is_known.sum(1)
    sizes = np.where(n_known, total / np.maximum(n_known, 1), np.nan)
    names = [*map(readable, run.objective.columns)]
    texts = [
        ", ".join(f"{name} {b:.4g}, predicted {a:.4g}" for name, a, b in zip(names, *pair, strict=True))
        for pair in zip(predicted, true, strict=True)
    ]
    return Errors(sizes, texts)
