"""What a model of neurons has learned: how well each is predicted beside its ceiling, and its receptive field."""

import copy
from pathlib import Path

import numpy as np
import torch

from neuro_noodle.measures.ceilings import explainable_variance, noise_ceiling, pearson, split_half
from neuro_noodle.measures.similarity import subspace_overlap
from neuro_noodle.runs.run import Run, evenly, outputs
from neuro_noodle.views import figures

MOST_GRADIENTS = 300  # images at which a receptive field is measured
MOST_SHOWN = 12  # neurons
MOST_FILTERS = 32
BATCH = 50
TRUTH = "truth.npz"  # of the built-in population


def draw(run: Run, indices: np.ndarray) -> dict[str, figures.Figure | dict]:
    """Return the figures of a model of neurons on some images, and the table neurons.csv of their numbers."""
    rates = outputs(run, indices)[1].numpy()  # (n, N)
    recorded = run.dataset.responses[indices].numpy()
    found = receptive_fields(run)  # (N, 2, H, W)
    table = measure(run, indices, pearson(rates, recorded), found)
    shown = np.argsort(-np.nan_to_num(table["r"], nan=-1))[:MOST_SHOWN]
    titles = [f"{table['neuron'][i]}\nr = {table['r'][i]:.2f}" for i in shown]
    best = f"the {len(shown)} best predicted of {len(table['r'])} neurons"
    images = f"{len(indices)} {run.part[indices[0]]} images"
    found_rows = {"most of\nthe change": found[shown, 0], "most of\nthe rest": found[shown, 1]}
    pictures = {
        "neurons.csv": {name: column.tolist() for name, column in table.items()},
        "neurons": figures.neurons(table["r"], table.get("ceiling"), images),
        "responses": figures.responses(rates[:, shown], recorded[:, shown], titles, f"{best}, {images}"),
        "receptive_fields": figures.fields(found_rows, titles, f"{best}: what in the image changes their response"),
    }
    if hasattr(run.model.encoder, "receptive_fields"):
        filters = run.model.encoder.receptive_fields().detach().numpy()[:MOST_FILTERS]
        titles = [str(i) for i in range(len(filters))]
        pictures["filters"] = figures.fields({"": filters}, titles, f"the first {len(filters)} filters of the encoder")
    return pictures


def measure(run: Run, indices: np.ndarray, r: np.ndarray, found: np.ndarray) -> dict[str, np.ndarray]:
    """Return columns with a value per neuron: its r, what can be reached, and for a known population what was found."""
    table = {"neuron": np.array(run.dataset.neurons), "r": r}
    trials = run.dataset.trials_of(indices.tolist())
    if trials is not None:
        table["ceiling"] = noise_ceiling(trials)
        table["explainable_variance"] = explainable_variance(trials)
        table["split_half_r"] = split_half(trials)
    path = Path(run.config["flags"]["data_dir"], TRUTH)
    if path.is_file():
        with np.load(path) as truth:
            table["field_overlap"] = recovered(found, truth["fields"])
    return table


def recovered(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return (N,), 0..1: how much of the true receptive fields lies in as many of those found.

    Args:
        found: (N, K, H, W), the most important first.
        true: (N, K, H, W); those that are 0 do not exist.
    """
    overlaps = []
    for ours, theirs in zip(found.reshape(*found.shape[:2], -1), true.reshape(*true.shape[:2], -1), strict=True):
        there = theirs[np.abs(theirs).sum(1) > 0]
        overlaps.append(subspace_overlap(ours[: len(there)], there))
    return np.array(overlaps)


def receptive_fields(run: Run, n: int = 2) -> np.ndarray:
    """Return (N, n, H, W): the patterns of light by which most of a neuron's predicted response changes.

    They are the first right singular vectors of its gradients at training images, (images, pixels), times their
    singular values: for a linear neuron the first is its filter, for a complex cell the two are its quadrature pair.
    The first is of the sign of the mean gradient.
    """
    training = np.flatnonzero(run.part == "training")
    training = training if len(training) else np.arange(len(run.part))
    chosen = evenly(training, MOST_GRADIENTS)
    gradients = np.concatenate([_gradients(run, some) for some in np.array_split(chosen, -(-len(chosen) // BATCH))])
    fields = []
    for of_one in gradients.transpose(1, 0, 2):  # (images, pixels)
        sizes, patterns = np.linalg.svd(of_one / len(of_one) ** 0.5, full_matrices=False)[1:]
        signs = np.where(patterns[:n] @ of_one.mean(0) < 0, -1, 1)
        fields.append(patterns[:n] * (signs * sizes[:n])[:, None])
    return np.stack(fields).reshape(gradients.shape[1], -1, *run.dataset.image_shape[1:])


def _gradients(run: Run, indices: np.ndarray) -> np.ndarray:
    """Return (n, N, H*W), the sum over colours of what each pixel changes of the response to each of n images."""
    model = copy.copy(run.model)
    model.precision = "fp32"

    def rates(image: torch.Tensor) -> torch.Tensor:
        return run.objective.output(model(image[None]))[0]  # (N,)

    gradients = torch.func.vmap(torch.func.jacrev(rates))(run.images(indices))  # (n, N, C, H, W)
    return gradients.sum(2).flatten(2).detach().numpy()
