"""Embeddings: two-dimensional maps of latents or pixels, by UMAP, PCA or PaCMAP; 2-D latents need none.

To add one: a class under @EMBEDDINGS.add("name") that is fitted to values (n, D) and places others.
"""

import warnings
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from neuro_noodle.choices import Table, UserError, require
from neuro_noodle.measures.linear import principal_components

EMBEDDINGS = Table("map")
MIN_IMAGES = 4


class Embedding(Protocol):
    """A map that was fitted to the values (n, D) of some images, and places others on it.

    Attributes:
        axis_name: name of both axes.
        embedding: coordinates (n, 2) of the images that it was fitted to.
    """

    axis_name: str
    embedding: np.ndarray

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Return the coordinates (m, 2) of values (m, D)."""
        ...


def embed(values: np.ndarray, is_training: np.ndarray, how: str = "umap", *, seed: int = 42) -> np.ndarray:
    """Return a two-dimensional map of all rows, fitted to the training images only; two-dimensional values as they are.

    Args:
        values: (N, D) latents or pixels.
        is_training: (N,) bool.
        how: a choice from EMBEDDINGS.
        seed: the same seed gives the same map.

    Returns:
        (N, 2) coordinates.

    Raises:
        UserError: with fewer than 4 training images.
    """
    if values.shape[1] == 2:
        return values
    fitted = EMBEDDINGS.build(how, _require_enough(values[is_training]), seed)
    coordinates = np.empty((len(values), 2), np.float32)
    coordinates[is_training] = fitted.embedding
    if not is_training.all():
        coordinates[~is_training] = fitted.transform(values[~is_training])
    return coordinates


def axis_name(values: np.ndarray, how: str = "umap") -> str:
    """Return the name of the axes of the map of values (N, D); two-dimensional latents are their own."""
    return "latent" if values.shape[1] == 2 else EMBEDDINGS[EMBEDDINGS.parse(how).name].axis_name


def _require_enough(values: np.ndarray) -> np.ndarray:
    n = len(values)
    require(n >= MIN_IMAGES, f"a map needs at least {MIN_IMAGES} training images, not {n}")
    return values


@EMBEDDINGS.add("umap")
class Umap:
    """UMAP: keeps neighbours together; on 2 cores, 2,000 digits take 5 s, 10,000 take 50 s.

    Args:
        values: (n, D) of the images that it is fitted to.
        seed: the same seed gives the same map.
        neighbours: images that count as near, fewer if there are fewer images.

    Source: McInnes et al. 2018, arXiv:1802.03426.
    """

    axis_name = "UMAP"

    def __init__(self, values: np.ndarray, seed: int, *, neighbours: int = 15) -> None:
        from umap import UMAP

        require(neighbours >= 2, f"map 'umap': neighbours={neighbours} is less than 2")
        self.mapper = UMAP(min(neighbours, len(values) - 1), random_state=seed, n_jobs=1).fit(values)
        self.embedding = self.mapper.embedding_

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Return the coordinates (m, 2) of values (m, D)."""
        return self.mapper.transform(values)


class UmapOfDistances:
    """A UMAP that computes all distances first, so that `transform` is fast even when it is called many times.

    With values, UMAP takes 30 s in Python to find the neighbours of 3,000 images.

    Args:
        values: (n, D) of the images that it is fitted to.
        seed: the same seed gives the same map.
    """

    def __init__(self, values: np.ndarray, seed: int) -> None:
        from umap import UMAP

        self.fitted = _require_enough(values)
        n_neighbours = min(15, len(values) - 1)
        self.mapper = UMAP(n_neighbours, metric="precomputed", random_state=seed, transform_seed=seed, n_jobs=1)
        self._without_warning(self.mapper.fit, values)
        self.embedding = self.mapper.embedding_

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Return the coordinates (m, 2) of values (m, D)."""
        return self._without_warning(self.mapper.transform, values)

    def _without_warning(self, method: Callable[[np.ndarray], Any], values: np.ndarray) -> Any:
        """Call a method of UMAP with the distances of values to the fitted ones, without its warning about them."""
        from sklearn.metrics import pairwise_distances

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*precomputed metric.*")
            return method(pairwise_distances(values, self.fitted))


@EMBEDDINGS.add("pca")
class PcaMap:
    """The first two principal components: immediate, and distances keep their meaning."""

    axis_name = "component"

    def __init__(self, values: np.ndarray, seed: int) -> None:
        self.components = principal_components(values, 2)
        self.embedding = self.transform(values)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Return the coordinates (m, 2) of values (m, D)."""
        scores = (values - self.components.mean) @ self.components.directions.T  # (m, 0 to 2)
        return np.pad(scores, ((0, 0), (0, 2 - scores.shape[1])))


@EMBEDDINGS.add("pacmap")
class Pacmap:
    """PaCMAP: keeps neighbours and the large structure, in a tenth of UMAP's time. Needs `pip install pacmap`.

    Source: Wang et al. 2021, Journal of Machine Learning Research 22(201).
    """

    axis_name = "PaCMAP"

    def __init__(self, values: np.ndarray, seed: int) -> None:
        try:
            from pacmap import PaCMAP
        except ImportError:
            raise UserError("--map pacmap needs a package: pip install pacmap; or choose umap or pca") from None
        self.values = values
        self.mapper = PaCMAP(n_components=2, n_neighbors=min(10, len(values) - 1), random_state=seed)
        self.embedding = self.mapper.fit_transform(values)

    def transform(self, values: np.ndarray) -> np.ndarray:
        """Return the coordinates (m, 2) of values (m, D)."""
        return self.mapper.transform(values, basis=self.values)
