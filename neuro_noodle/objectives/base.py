"""What an objective is, and the table of them."""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor

from neuro_noodle.choices import Table, UserError
from neuro_noodle.measures.intervals import jackknife

OBJECTIVES = Table("objective")

Evidence = dict[str, Tensor]
Predictor = Callable[[Tensor], Tensor]


class Objective:
    """What every objective offers.

    Attributes:
        needs: what a sample must hold.
        columns: of the metadata, numbers that are to be predicted; a sample holds them as `values` (B, K).
        draws: whether the input of a sample is drawn anew each time.
        learned: what it has learned from the training images, as config.json can hold it.
        metric: the metric that chooses the best epoch.
        direction: whether the best metric is the "min" or the "max".
        pictured_as: what pictures show how held-out images came out.

    A *prediction* is what the head returns (logits, say), an *output* is what it means (probabilities), and
    *evidence* is what must be kept of each image to compute the metrics of a whole split.
    """

    needs: tuple[str, ...] = ("image",)
    columns: tuple[str, ...] = ()
    draws = False
    metric: str
    direction: Literal["min", "max"]
    pictured_as: Literal["reconstructions", "classes", "directions", "numbers", "responses"]

    def __init__(self) -> None:
        self.learned: dict[str, list[float]] = {}
        self._made: dict[str, tuple[list[float], Tensor]] = {}

    def check(self, provides: list[str], classes: list[str], neurons: Sequence[str] = ()) -> None:
        """Raise UserError if a dataset with these names of classes and neurons lacks what this objective needs."""
        missing = [need for need in self.needs if need not in provides]
        if missing:
            raise UserError(
                f"this objective needs {' and '.join(missing)}, but the dataset provides only {', '.join(provides)}; "
                "try --objective reconstruct"
            )

    def check_values(self, values: Tensor) -> None:
        """Raise UserError if these are no values (N, K) of its columns."""

    def known(self, values: Tensor) -> Tensor:
        """Return (N,) bool: of which images enough of its columns (N, K) is known to predict something."""
        return values.isfinite().all(1)

    def notes(self, augmentations: list) -> list[str]:
        """Return what the user should know of these augmentations."""
        return []

    def output_shape(self, image_shape: tuple[int, int, int], classes: list[str]) -> tuple[int, ...]:
        """Return the shape of one prediction."""
        raise NotImplementedError

    def pair(self, sample: dict[str, Tensor], draw: Generator) -> tuple[Tensor, Tensor]:
        """Return the network's input and the target of a batch of samples.

        Args:
            sample: as of `StimulusSet.sample`; and `turn` (B, 2, 2), what augmentation did to a vector x, y in px.
            draw: gives what is drawn.
        """
        raise NotImplementedError

    def learn(self, target: Tensor) -> None:
        """Learn from the training images' targets what losses and outputs rest on; nothing, unless it does."""

    def learned_as(self, name: str, like: Tensor) -> Tensor:
        """Return what was learned as a tensor beside another; made once, which takes longer than to add it."""
        values, tensor = self._made.get(name, (None, None))
        if values is not self.learned[name] or tensor.device != like.device:
            tensor = torch.tensor(self.learned[name], device=like.device)
            self._made[name] = self.learned[name], tensor
        return tensor

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss over the batch, a scalar."""
        raise NotImplementedError

    def link(self, target: Tensor) -> Tensor:
        """Return the prediction that would mean this target (for reconstruct bce: the logits)."""
        return target

    def output(self, prediction: Tensor) -> Tensor:
        """Return what a prediction means."""
        return prediction

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        """Return what is kept of each image, (B, ...) each."""
        raise NotImplementedError

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        """Return the metrics of a whole split."""
        raise NotImplementedError

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        """Fit what a prediction must beat on the training images; returns functions from input to output."""
        raise NotImplementedError

    def rows(self, evidence: Evidence, classes: list[str]) -> dict[str, list]:
        """Return the columns of the table that has a row per image."""
        raise NotImplementedError

    def ceiling(self, trials: np.ndarray) -> dict[str, float]:
        """Return what metrics can reach, by trials (T, n, N) of the same images; nothing, unless that is known."""
        return {}

    def rank(self, record: dict[str, float]) -> tuple[float, float]:
        """Return what orders the validated epochs, the best highest: the main metric, and at a tie the loss."""
        sign = 1 if self.direction == "max" else -1
        return sign * record[f"validation/{self.metric}"], -record["validation/loss"]

    def interval(self, evidence: Evidence, groups: np.ndarray) -> tuple[float, float] | None:
        """Return the 95 % interval of the main metric over groups of images, see `intervals.jackknife`.

        Args:
            evidence: of a whole split, (N, ...) each.
            groups: (N,) the person (animal, recording) of each image, or a name of its own.

        Returns:
            The two ends; None for a single group, which tells nothing of others.
        """

        def metric(kept: np.ndarray) -> float:
            return self.metrics({key: value[kept] for key, value in evidence.items()})[self.metric]

        return jackknife(metric, groups, *self.unbounded())

    def unbounded(self) -> tuple[Callable, Callable]:
        """Return what brings the main metric to a scale without ends, and back: the logarithm, of an error."""
        return np.log, np.exp
