"""Representations: the numbers by which a stage of a network, the pixels or recorded responses describe each image."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from neuro_noodle.choices import require
from neuro_noodle.measures.linear import MAX_COMPONENTS, principal_components
from neuro_noodle.runs.run import Run

MAX_WIDTH = 2048  # numbers per image; wider representations are reduced to principal components
MAX_VALUES = 2**27  # that components are fitted to, half a gigabyte
CHUNK = 256  # images

Features = Callable[[np.ndarray], np.ndarray]  # from indices (n,) of images to (n, D)


@dataclass(frozen=True)
class Source:
    """Where the numbers of a representation come from.

    Attributes:
        name: as it was written, a path shortened to its last part.
        features: function from indices (n,) of images to (n, D).
        run: the run that it is of, or None.
        is_recorded: whether the numbers are recorded responses, which are noisy.
        column_kind: class, angle or number, if they stand for a metadata column.
        trials: function from indices (n,) of images to the (T, n, D) single trials that the numbers are the mean of;
            None if some of these images were not shown at least twice.
        series: of a run, the name without the number of epochs.
        epochs: trained when the numbers were computed; None if the name does not say it.
    """

    name: str
    features: Features
    run: Run | None = None
    is_recorded: bool = False
    column_kind: str | None = None
    trials: Callable[[np.ndarray], np.ndarray | None] = lambda indices: None
    series: str = ""
    epochs: float | None = None

    def of(self, indices: np.ndarray) -> np.ndarray:
        """Return the numbers of some images, (n, D), computed a few images at a time.

        Raises:
            UserError: if one is not finite.
        """
        values = np.concatenate([self.features(chunk) for chunk in in_chunks(indices)])
        require(bool(np.isfinite(values).all()), f"{self.name} has values that are not finite")
        return values


@dataclass(frozen=True)
class Representation:
    """The numbers that describe each image, or their principal components.

    Attributes:
        values: (n, D).
        width: numbers per image before they were reduced to principal components; D if they were not.
    """

    values: np.ndarray
    width: int

    @property
    def is_reduced(self) -> bool:
        """Whether the values are principal components, of which the last ones are mostly noise."""
        return self.values.shape[1] < self.width


def represent(source: Source, indices: np.ndarray, is_fitted: np.ndarray) -> Representation:
    """Compute a representation; a wide one is reduced to at most 500 principal components.

    Args:
        source: its features are computed a few images at a time.
        indices: (n,) of the images.
        is_fitted: (n,) bool; images to which principal components are fitted.

    Raises:
        UserError: if a number is not finite.
    """
    width = source.features(indices[:1]).shape[1]
    if width <= MAX_WIDTH:
        return Representation(source.of(indices), width)
    every = -(-int(is_fitted.sum()) // max(1, MAX_VALUES // width))
    found = principal_components(source.of(indices[is_fitted][::every]), MAX_COMPONENTS)
    reduced = Source(source.name, lambda chunk: (source.features(chunk) - found.mean) @ found.directions.T)
    values = reduced.of(indices)
    return Representation(values if values.shape[1] else np.zeros((len(indices), 1), values.dtype), width)


def in_chunks(indices: np.ndarray) -> list[np.ndarray]:
    """Return indices (n,) in pieces of at most 256."""
    return np.split(indices, range(CHUNK, len(indices), CHUNK))
