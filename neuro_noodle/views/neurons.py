"""Pictures of a model of neurons: how well each neuron is predicted, its noise ceiling and its receptive field."""

import copy
from pathlib import Path
from typing import cast

import numpy as np
import torch

from neuro_noodle.data.columns import Columns
from neuro_noodle.measures.ceilings import Repeats, mean_ceiling
from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.measures.similarity import subspace_overlap
from neuro_noodle.objectives.base import Evidence
from neuro_noodle.objectives.response import Response
from neuro_noodle.runs.run import Run
from neuro_noodle.simulate.population import TRUTH
from neuro_noodle.views import figures

MAX_GRADIENTS = 300  # images at which a receptive field is measured
MAX_NEURONS = 12  # in a figure
MAX_FILTERS = 32
BATCH = 50


def plot_population(run: Run, indices: np.ndarray) -> dict[str, figures.Figure | Columns]:
    """Return the figures of a model of neurons on some images, and the table neurons.csv of its numbers."""
    evidence = run.objective.evidence(run.outputs_of(indices), run.dataset.responses[indices])  # (n, N) each
    predicted, recorded = (values.numpy() for values in evidence.values())
    fields = receptive_fields(run)  # (N, 2, H, W)
    trials = run.dataset.trials_of(indices.tolist())
    true = read_true_fields(run)
    table = measure_neurons(run, evidence, trials, fields, true)
    ceiling = None if trials is None else mean_ceiling(Repeats.of(trials))
    ranks = choose_ranks(int(np.isfinite(table["r"]).sum()) or len(table["r"]))
    shown = np.argsort(-table["r"])[ranks]  # NaN is last
    titles = [
        f"{table['neuron'][i]}\nr = {table['r'][i]:.2f}, rank {rank + 1}" for i, rank in zip(shown, ranks, strict=True)
    ]
    n = len(table["r"])
    which = f"best, median and worst predicted of {n} neurons" if n > len(shown) else f"all {n} neurons"
    images = f"{len(indices)} {run.part[indices[0]]} images"
    return {
        "neurons.csv": {name: column.tolist() for name, column in table.items()},
        "neurons": figures.plot_neurons(table.get("r_repeated", table["r"]), table.get("ceiling"), ceiling, images),
        "responses": figures.plot_responses(predicted[:, shown], recorded[:, shown], titles, f"{which}, {images}"),
        "receptive_fields": figures.plot_fields(
            name_fields(fields[shown], None if true is None else true[shown]),
            titles,
            f"receptive fields of {which}; red: light excites, blue: light inhibits",
        ),
    } | plot_filters(run)


def choose_ranks(n: int) -> np.ndarray:
    """Return the ranks, from 0, of the 4 best, the 4 median and the 4 worst of n neurons; all if there are fewer."""
    if n <= MAX_NEURONS:
        return np.arange(n)
    third = np.arange(MAX_NEURONS // 3)
    return np.concatenate([third, n // 2 - len(third) // 2 + third, n - len(third) + third])


def name_fields(found: np.ndarray, true: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return rows of images (N, H, W) by name: the components found, and the true fields on the scale of these.

    Args:
        found: (N, K, H, W).
        true: (N, L, H, W), or None if they are not known.
    """
    rows = {f"component\n{i + 1}": fields for i, fields in enumerate(found.swapaxes(0, 1))}
    if true is None:
        return rows
    largest_found, largest_true = (np.abs(fields).max((1, 2, 3), keepdims=True) for fields in (found, true))
    scaled = true * (largest_found / np.maximum(largest_true, 1e-9))
    return rows | {f"true\nfield {i + 1}": fields for i, fields in enumerate(scaled.swapaxes(0, 1))}


def plot_filters(run: Run) -> dict[str, figures.Figure]:
    """Plot the first filters of the encoder; nothing if it has none."""
    filters = run.model.encoder.receptive_fields()
    if filters is None:
        return {}
    shown = filters.detach().numpy()[:MAX_FILTERS]
    titles = [str(i) for i in range(len(shown))]
    return {
        "filters": figures.plot_fields(
            {"": shown}, titles, f"the first {len(shown)} filters of the encoder; red: above 0, blue: below 0"
        )
    }


def measure_neurons(
    run: Run, evidence: Evidence, trials: np.ndarray | None, fields: np.ndarray, true: np.ndarray | None
) -> dict[str, np.ndarray]:
    """Return a table with one row per neuron.

    Args:
        run: the run.
        evidence: predicted and recorded responses (n, N).
        trials: (T, n, N) responses to repeated presentations of the same images, or None.
        fields: (N, K, H, W) receptive fields.
        true: (N, K, H, W) true receptive fields, or None if they are not known.

    Returns:
        Columns (N,): neuron, r; if images were repeated, those of `measures.neurons.measure_neurons`; field_overlap if
        the true receptive fields are known.
    """
    numbers = cast(Response, run.objective).per_neuron(evidence, trials)
    table = {"neuron": np.array(run.dataset.neurons)} | numbers
    return table if true is None else table | {"field_overlap": field_overlap(fields, true)}


def read_true_fields(run: Run) -> np.ndarray | None:
    """Return the true receptive fields (N, 2, H, W) of simulated neurons; None for others."""
    path = Path(run.config["flags"]["data_dir"], TRUTH)
    if not path.is_file():
        return None
    with np.load(path) as truth:
        return truth["fields"]


def field_overlap(found: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return (N,) the overlap, 0..1, of the spaces spanned by found and by true receptive fields.

    Args:
        found: (N, K, H, W), the most important first; as many are used as there are true ones.
        true: (N, K, H, W); fields that are 0 everywhere do not count.
    """
    overlaps = []
    for ours, theirs in zip(found.reshape(*found.shape[:2], -1), true.reshape(*true.shape[:2], -1), strict=True):
        existing = theirs[np.abs(theirs).sum(1) > 0]
        overlaps.append(subspace_overlap(ours[: len(existing)], existing))
    return np.array(overlaps)


def receptive_fields(run: Run, n: int = 2) -> np.ndarray:
    """Return (N, n, H, W), the patterns that change a neuron's predicted response most.

    They are the first right singular vectors of its gradients at training images, (images, pixels), times their
    singular values. For a linear neuron the first is its filter; for a complex cell the two are its quadrature pair.
    The sign of each makes its product with the mean gradient positive.
    """
    training = np.flatnonzero(run.part == "training")
    candidates = training if len(training) else np.arange(len(run.part))
    indices = evenly_spaced(candidates, MAX_GRADIENTS)
    batches = np.array_split(indices, -(-len(indices) // BATCH))
    gradients = np.concatenate([_gradients(run, batch) for batch in batches])  # (images, N, H*W)
    fields = []
    for of_neuron in gradients.transpose(1, 0, 2):  # (images, H*W)
        sizes, patterns = np.linalg.svd(of_neuron / len(of_neuron) ** 0.5, full_matrices=False)[1:]
        signs = np.where(patterns[:n] @ of_neuron.mean(0) < 0, -1, 1)
        fields.append(patterns[:n] * (signs * sizes[:n])[:, None])
    return np.stack(fields).reshape(gradients.shape[1], -1, *run.dataset.image_shape[1:])


def _gradients(run: Run, indices: np.ndarray) -> np.ndarray:
    """Return (n, N, H*W) the gradients of N responses to n images by their pixels, summed over colours."""
    model = copy.copy(run.model)
    model.precision = "fp32"

    def rates(image: torch.Tensor) -> torch.Tensor:
        return run.objective.output(model(image[None]))[0]  # (N,)

    gradients = torch.func.vmap(torch.func.jacrev(rates))(run.images(indices))  # (n, N, C, H, W)
    return gradients.sum(2).flatten(2).detach().numpy()
