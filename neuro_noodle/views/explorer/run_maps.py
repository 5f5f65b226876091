"""The map of one run for the page: its points over training, its latents, its decoder and its directions."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from neuro_noodle.choices import require
from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.objectives.base import IMAGES
from neuro_noodle.progress import Stage
from neuro_noodle.runs.latents import read_latents, snapshots
from neuro_noodle.runs.onnx_parts import Answer
from neuro_noodle.runs.run import Run
from neuro_noodle.views.embeddings import axis_name
from neuro_noodle.views.explorer.arrays import Arrays
from neuro_noodle.views.explorer.coordinates import place
from neuro_noodle.views.explorer.decoder import TOLERANCE, Graph, decode_grid, export_graph, rounding_error
from neuro_noodle.views.explorer.directions import ends_of, find_directions
from neuro_noodle.views.facts import facts_of, headline
from neuro_noodle.views.walk import Walk

MARGIN = 0.92  # of the map that the points fill
TAIL = 0.01  # share of the images beyond each end of a slider
N_CHECKED = 256  # images on which rounding is checked
PLACE = "decoded from the average latent of the 5 nearest images, the nearer the more"


def describe_map(
    run: Run,
    latents: np.ndarray,
    indices: np.ndarray,
    arrays: Arrays,
    how: str,
    *,
    columns: Sequence[str],
    decodes: bool,
) -> dict[str, Any]:
    """Return the map of a run for the manifest of the page.

    Args:
        run: the run.
        latents: (N, D) of all its images.
        indices: (n,) of the images on the page.
        arrays: get the coordinates, latents and weights.
        how: kind of the map, see `embeddings`.
        columns: names of the columns along which images can be moved.
        decodes: whether the page may decode; a decoder shows what the stimuli look like.
    """
    shown = latents[indices]
    hidden = no_decoder("this page has no images")
    return {
        "text": describe_result(run),
        "axes": describe_axes(latents, how),
        "is_latent": latents.shape[1] == 2,
        "place_text": PLACE,
        "time_note": describe_times(run, latents.shape[1], how),
        **describe_points(run, shown, indices, arrays, how),
        **(describe_decoder(run, latents, shown, arrays, columns) if decodes else hidden),
    }


def describe_points(run: Run, shown: np.ndarray, indices: np.ndarray, arrays: Arrays, how: str) -> dict[str, Any]:
    """Return where images, whose latents are shown (n, D), are at each time, from -1 to 1, and the scale of that."""
    snapshots = read_snapshots(run, indices) | {"best weights": shown}
    placed = place(list(snapshots.values()), run.part[indices] == "training", how)
    low, high = np.min(placed, (0, 1)), np.max(placed, (0, 1))
    centre, factor = (low + high) / 2, float(max(*(high - low), 1e-9)) / 2 / MARGIN
    times = [
        {"label": label, "x": arrays.add((x - centre[0]) / factor), "y": arrays.add((y - centre[1]) / factor)}
        for label, (x, y) in zip(snapshots, (points.T for points in placed), strict=True)
    ]
    return {"times": times, "scale": {"factor": factor, "centre": centre.tolist()}}


def read_snapshots(run: Run, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Return the latents (n, D) of images that --latents_every has written, by the time in training."""
    found = {}
    for epochs, path in snapshots(run.folder).items():
        latents = read_latents(path)
        require(latents.ids == run.dataset.ids, f"{path} holds the latents of other images")
        label = f"{epochs:g} epoch{'' if epochs == 1 else 's'}" if epochs else "before training"
        found[label] = latents.values[indices]
    return found


def describe_axes(latents: np.ndarray, how: str) -> str:
    """Return what the axes of a map of latents (N, D) are."""
    width = latents.shape[1]
    if width == 2:
        return "axes: latents 1 and 2"
    name = axis_name(latents, how)
    return f"axes: {'principal components' if name == 'component' else name} of {width} latents"


def describe_times(run: Run, width: int, how: str) -> str:
    """Return what to know of a map of latents of some width at earlier times."""
    texts = ["Earlier latents are scaled to the spread of the last ones."]
    if width > 2 and how != "pca":
        texts.append(
            f"The map ({how}) was fitted to the last ones and places earlier ones on their structure, whether they had "
            "it or not; --map pca does not."
        )
    if run.objective.predicts == IMAGES:
        texts.append("Images are decoded by the best weights at all times.")
    return " ".join(texts)


def describe_result(run: Run) -> str:
    """Return the result of a run in a sentence."""
    return headline(facts_of(run)) if run.result else "The training of this run has not finished."


def no_decoder(reason: str) -> dict[str, Any]:
    """Return the entries of a run that decodes no image."""
    return {"decoder": None, "grid": None, "latents": None, "sliders": None, "directions": [], "no_decoder": reason}


def describe_decoder(
    run: Run, latents: np.ndarray, shown: np.ndarray, arrays: Arrays, columns: Sequence[str]
) -> dict[str, Any]:
    """Return the decoder of a run for the page, and the latents (n, D) that it decodes."""
    if run.objective.predicts != IMAGES:
        return no_decoder(f"{run.name} predicts {run.objective.predicts}, so it decodes no images")
    decode = Answer(run.model.head, run.objective)
    with Stage("exporting the decoder"):
        graph = export_graph(decode, latents.shape[1])
    low, high = np.quantile(latents, (TAIL, 1 - TAIL), axis=0)  # (D,) each
    if graph.obstacle and latents.shape[1] != 2:
        print(f"note: the decoder of {run.name} {graph.obstacle}, so the page decodes no images", file=sys.stderr)
        return no_decoder(f"the decoder of {run.name} {graph.obstacle}")
    is_exact = rounding_error(decode, evenly_spaced(shown, N_CHECKED)) > TOLERANCE
    dtype = "f4" if is_exact else "f2"
    return {
        "decoder": graph.manifest(arrays, dtype) if not graph.obstacle else None,
        "grid": describe_grid(run, graph, arrays, low, high) if graph.obstacle else None,
        "latents": arrays.add(shown, dtype),
        "sliders": {
            "low": low.tolist(), "high": high.tolist(), "order": np.argsort(-latents.std(0), kind="stable").tolist(),
        },
        "directions": [describe_direction(walk, arrays) for walk in find_directions(run, latents, columns)],
        "no_decoder": "",
    }  # fmt: skip


def describe_grid(run: Run, graph: Graph, arrays: Arrays, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    """Return images decoded on a grid over a 2-D latent, in place of a decoder."""
    print(
        f"note: the decoder of {run.name} {graph.obstacle}, so the page has a grid of decoded images", file=sys.stderr
    )
    return {"low": low.tolist(), "high": high.tolist(), "images": arrays.add(decode_grid(run, low, high), "u1")}


def describe_direction(walk: Walk, arrays: Arrays) -> dict[str, Any]:
    """Return a direction for the page."""
    start, end = ends_of(walk)
    return {
        "column": walk.way.column,
        "from": start,
        "to": end,
        "step": arrays.add(walk.step),
        "control": arrays.add(walk.control),
        "text": walk.text,
    }
