"""Pictures of a model's outputs on held-out images: one function per objective, in a table by class.

To add pictures for an objective: a function here under `@PICTURES.of(TheObjective)`. A subclass of an objective uses
the function of its parent class unless it has its own.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from neuro_noodle.data.blocks import natural_order
from neuro_noodle.data.columns import Columns
from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.objectives.base import Objective
from neuro_noodle.objectives.classify import Classify
from neuro_noodle.objectives.quantities import Direction, Regress
from neuro_noodle.objectives.reconstruct import Reconstruct
from neuro_noodle.objectives.response import Response
from neuro_noodle.runs.loaders import training_sample
from neuro_noodle.runs.pooled import PooledFolds
from neuro_noodle.runs.run import Run
from neuro_noodle.views import figures, films, neurons

MAX_IMAGES = 8  # in a row
RECONSTRUCTION = "reconstruction"  # name of its row
MAX_ARROWS = 25
MAX_FRAMES = 200
FRAME_MS = 100
Pictures = dict[str, figures.Figure | Columns]  # figures by name, and tables whose names end in .csv


class ByObjective:
    """A table of functions of a run, by the class of its objective.

    Attributes:
        functions: by class.
    """

    def __init__(self) -> None:
        self.functions: dict[type[Objective], Callable] = {}

    def of(self, *classes: type[Objective]) -> Callable[[Callable], Callable]:
        """Return a decorator that registers a function for these classes of objectives."""

        def register(function: Callable) -> Callable:
            self.functions |= dict.fromkeys(classes, function)
            return function

        return register

    def find(self, objective: Objective) -> Callable | None:
        """Return the function for an objective, that of its nearest parent class, or None."""
        found = (self.functions[kind] for kind in type(objective).__mro__ if kind in self.functions)
        return next(found, None)


PICTURES = ByObjective()  # functions of a run that return Pictures
POOLED = (Classify, Direction, Regress)  # objectives whose pictures can be of all folds
FILMS = ByObjective()  # functions of a run and its folder that write a film and return its path


def plot_outcomes(run: Run | PooledFolds) -> Pictures:
    """Return the pictures of a run's outputs on held-out images; none if its objective has no pictures."""
    plot = PICTURES.find(run.objective)
    return plot(run) if plot else {}


def write_film(folder: Path, run: Run) -> list[Path]:
    """Write a film of the held-out images in their natural order; returns its path, or nothing if there is none."""
    write = FILMS.find(run.objective)
    return [write(run, folder)] if write else []


# ------------------------------------------------------------------------------------------------ reconstructions


def reconstruct(run: Run, indices: np.ndarray) -> dict[str, torch.Tensor]:
    """Return images, noisy inputs if any, reconstructions and absolute differences, (n, C, H, W) each, by name.

    The differences are multiplied so that they are seen; their name says by how much.
    """
    images = run.images(indices)
    inputs, reconstructions = run.outputs(indices)
    difference = (reconstructions - images).abs()
    gain = max(1, int(1 / max(np.quantile(difference, 0.99), 1e-3)))
    rows = {"image": images} | ({"input": inputs} if run.objective.is_random else {})
    return rows | {RECONSTRUCTION: reconstructions, f"|difference| x {gain}": gain * difference}


def reconstruct_by_pca(run: Run, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the reconstructions (n, C, H, W) by the PCA baseline, by name; nothing without training images."""
    if not run.parts["training"]:
        return {}
    latent_dim = run.model.encoder.latent_dim
    baselines = run.objective.baselines(*training_sample(run.task()), latent_dim)
    return {f"PCA of {latent_dim}": baselines["pca"](inputs)}


@PICTURES.of(Reconstruct)
def plot_reconstructions(run: Run) -> Pictures:
    """Plot held-out images, their reconstructions and those of PCA, with the error of each."""
    indices = evenly_spaced(run.held_out, MAX_IMAGES)
    rows = reconstruct(run, indices)
    by_pca = reconstruct_by_pca(run, rows.get("input", rows["image"]))
    captions = {
        name: [f"MSE {error:.2g}" for error in run.objective.evidence(images, rows["image"])["mse"].tolist()]
        for name, images in {RECONSTRUCTION: rows[RECONSTRUCTION], **by_pca}.items()
    }
    shown = {name: images.numpy() for name, images in (rows | by_pca).items()}
    return {"reconstructions": figures.plot_image_rows(shown, image_titles(run, indices), captions)}


@FILMS.of(Reconstruct)
def film_reconstructions(run: Run, folder: Path) -> Path:
    """Write film.gif, the held-out images and their reconstructions side by side; returns its path."""
    indices = run.held_out
    indices = indices[natural_order([run.dataset.ids[i] for i in indices])][:MAX_FRAMES]
    rows = {name: images.numpy() for name, images in reconstruct(run, indices).items()}
    frames = films.film_frames(rows, [run.dataset.ids[i] for i in indices])
    path = folder / "film.gif"
    films.save_gif(path, frames, frame_ms=FRAME_MS)
    return path


# --------------------------------------------------------------------------------------------------------- classes


@PICTURES.of(Classify)
def plot_classes(run: Run | PooledFolds) -> Pictures:
    """Plot the confusion matrix of the held-out images, and the misclassified images of highest probability."""
    indices = run.held_out
    probabilities = run.outputs_of(indices)
    labels = run.dataset.labels[indices]
    evidence = run.objective.evidence(probabilities, labels)
    title = f"{run.part[indices[0]]}: {run.objective.metrics(evidence)['accuracy']:.1%} of {len(indices)}"
    counts: Any = run.objective.confusion(evidence)  # (K, K)
    return {"confusion": figures.plot_confusion(counts.numpy(), run.dataset.classes, title)} | plot_mistakes(
        run, indices, probabilities, labels
    )


def plot_mistakes(
    run: Run | PooledFolds, indices: np.ndarray, probabilities: torch.Tensor, labels: torch.Tensor
) -> Pictures:
    """Plot the misclassified images of highest probability; nothing if there are none.

    Args:
        run: the run.
        indices: (n,) images that were classified.
        probabilities: (n, n_classes).
        labels: (n,) true classes.
    """
    highest, predicted = probabilities.max(1)
    wrong = np.flatnonzero((predicted != labels).numpy())
    wrong = wrong[np.argsort(-highest.numpy()[wrong])][:MAX_IMAGES]
    if not len(wrong):
        return {}
    classes = run.dataset.classes
    ids = image_titles(run, indices[wrong])
    titles = [f"{name}\nas {classes[predicted[i]]} {highest[i]:.2f}" for name, i in zip(ids, wrong, strict=True)]
    images = run.images(indices[wrong]).numpy()
    return {"mistakes": figures.plot_image_rows({"misclassified": images}, titles)}


# --------------------------------------------------------------------------------------------------------- numbers


@PICTURES.of(Direction)
def plot_directions(run: Run | PooledFolds) -> Pictures:
    """Plot held-out images with arrows for the true and the predicted direction."""
    objective: Any = run.objective
    indices = evenly_spaced(run.held_out, MAX_ARROWS)
    vectors = run.outputs_of(indices)
    sample = run.dataset.sample(torch.as_tensor(indices))
    _, target = objective.pair(sample, torch.Generator())
    angles = objective.evidence(vectors, target)
    has_start = len(objective.columns) == 4  # x and y of both ends of the vector
    arrows = figures.plot_arrows(
        run.images(indices).numpy(),
        true_deg=angles["true"].numpy(),
        predicted_deg=angles["predicted"].numpy(),
        centres=sample["targets"][:, :2].numpy() if has_start else None,
        titles=[run.dataset.ids[i] for i in indices],
        are_axes=objective.is_axis,
    )
    return {"arrows": arrows}


@PICTURES.of(Regress)
def plot_numbers(run: Run | PooledFolds) -> Pictures:
    """Plot predicted against true numbers of the held-out images; of x and y also as paths in the plane."""
    objective: Any = run.objective
    indices, names = run.held_out, objective.axis_names
    predicted = run.outputs_of(indices)
    true = run.dataset.targets[indices].numpy()
    by_column = (dict(zip(names, values.T, strict=True)) for values in (predicted.numpy(), true))
    pictures: Pictures = {"predictions": figures.plot_predictions(*by_column)}
    if len(names) == 2 and objective.columns[0].replace("x", "y") == objective.columns[1]:
        breaks = np.flatnonzero(np.diff(indices) > 1) + 1
        stretches = zip(np.split(true, breaks), np.split(predicted.numpy(), breaks), strict=True)
        pictures["paths"] = figures.plot_paths([*stretches], names)
    return pictures


@PICTURES.of(Response)
def plot_responses(run: Run) -> Pictures:
    """Plot how well each neuron is predicted and its receptive field; returns the table of these numbers as well."""
    return neurons.plot_population(run, run.held_out)


def image_titles(run: Run | PooledFolds, indices: np.ndarray) -> list[str]:
    """Return the ids of images with a line break after each folder, to be used as narrow titles."""
    return [run.dataset.ids[i].replace("/", "/\n") for i in indices]
