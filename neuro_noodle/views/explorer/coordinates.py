"""Where the images of a run are on its map, at the end and at earlier times of its training."""

from collections.abc import Sequence

import numpy as np

from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.progress import Stage
from neuro_noodle.views.embeddings import EMBEDDINGS, UmapOfDistances
from neuro_noodle.views.over_training import rescale

MAX_FITTED = 3000  # images that a map is fitted to; the others are placed on it
CHUNK = 5000  # images placed at a time
SEED = 42


def place(latents: Sequence[np.ndarray], is_training: np.ndarray, how: str) -> list[np.ndarray]:
    """Return the coordinates (n, 2) of the images at several times, on one map.

    The map is fitted to training images at the last time. The latents of earlier times are shifted and scaled to the
    spread of the last ones, because latents often grow a hundredfold. Latents of two numbers are their own map.

    Args:
        latents: (n, D) at each time.
        is_training: (n,) bool.
        how: a choice from EMBEDDINGS.

    Raises:
        UserError: with fewer than 4 training images.
    """
    last = latents[-1][is_training]
    scaled = [rescale(values, values[is_training], last) for values in latents]
    if last.shape[1] == 2:
        return scaled
    fitted = evenly_spaced(last, MAX_FITTED)
    with Stage(f"fitting the map ({how})"):
        mapper = UmapOfDistances(fitted, SEED) if how == "umap" else EMBEDDINGS.build(how, fitted, SEED)
    with Stage("placing the images on the map") as stage:
        pieces = [(values, start) for values in scaled for start in range(0, len(values), CHUNK)]
        placed = [mapper.transform(values[start : start + CHUNK]) for values, start in stage.over(pieces)]
    return np.split(np.concatenate(placed), len(latents))
