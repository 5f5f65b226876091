"""The base class of objectives, and the table that lists them.

An objective knows samples and predictions. It knows nothing of encoders, optimizers or files.
To add one, write a class under @OBJECTIVES.add("name") in this package; for pictures of its own, a function under
@PICTURES.of(TheObjective) in neuro_noodle/views/outcomes.py.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self

import numpy as np
import torch
from torch import Generator, Tensor

from neuro_noodle.choices import Table, UserError
from neuro_noodle.measures.intervals import Ends, from_root_scale, jackknife, to_root_scale

OBJECTIVES = Table("objective")
IMAGES = "images"  # what an objective predicts whose outputs are of the shape of images

Evidence = dict[str, Tensor]
Predictor = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Meaning:
    """What the numbers of an output mean, for someone who has only the numbers.

    Attributes:
        text: in words.
        unit: of the numbers, one for all or one for each; empty if it is not known.
        names: of the numbers of an output (K,); empty if they have none, as pixels.
        period: the difference between numbers that mean the same, as 0 and 360 degrees; None if there are none.
    """

    text: str
    unit: str | Sequence[str] = ""
    names: Sequence[str] = ()
    period: float | None = None


class Dataset(Protocol):
    """The part of a dataset that an objective reads when it is bound to one.

    Attributes:
        classes: names of the classes.
        neurons: names of the neurons.
        label: name of the column that holds the class; None without one.
        labels: (N,) index of the class of each image, -1 where it is missing; None without classes.
        targets: (N, K) columns to predict, NaN where a value is missing; None unless columns were chosen.
        responses: (N, n_neurons) responses, NaN where a neuron was not recorded; None unless `provides` names them.
    """

    classes: list[str]
    neurons: list[str]
    label: str | None
    labels: Tensor
    targets: Tensor
    responses: Tensor

    @property
    def provides(self) -> list[str]:
        """Names of what a sample contains."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Shape of an image, (C, H, W)."""

    @property
    def n_stretched(self) -> int:
        """Number of images with another aspect ratio than their files."""


class Objective:
    """Base class of all objectives.

    `OBJECTIVES.build(choice).on(dataset)` returns an objective that is ready for use. In training, `fit` is called
    once with the training targets; in a later session, `restore` instead.

    A *prediction* is what the head returns (for example logits), an *output* is what it means (probabilities), and
    *evidence* is what must be kept of each image to compute the metrics of a whole split.

    Attributes:
        predicts: what an output is, in the plural, as text.
        needs: what a sample must contain.
        columns: metadata columns to predict; a sample contains them as `targets` (B, K).
        is_random: whether the input of a sample changes from epoch to epoch.
        metric: name of the metric that selects the best epoch.
        direction: whether the best value of that metric is the "min" or the "max".
        interval_method: how the 95 % interval of that metric is computed.
        learned: statistics of the training targets, in a form that config.json can store.
        image_shape: (C, H, W) of the dataset, set by `on`.
        classes: class names of the dataset, set by `on`.
        neurons: neuron names of the dataset, set by `on`.
    """

    predicts: str
    needs: tuple[str, ...] = ("image",)
    columns: tuple[str, ...] = ()
    is_random = False
    metric: str
    direction: Literal["min", "max"]
    interval_method = "jackknife over groups, or over images without groups"
    image_shape: tuple[int, int, int]
    classes: Sequence[str] = ()
    neurons: Sequence[str] = ()

    def __init__(self) -> None:
        self.learned: dict[str, list[float]] = {}
        self._tensors: dict[str, tuple[list[float], Tensor]] = {}

    def on(self, dataset: Dataset) -> Self:
        """Return a copy of this objective that is ready for use with a dataset.

        Args:
            dataset: if the objective has `columns`, these must have been chosen as its targets.

        Raises:
            UserError: if the dataset lacks something that the objective needs.
        """
        missing = [need for need in self.needs if need not in dataset.provides]
        if missing:
            raise UserError(
                f"this objective needs {' and '.join(missing)}, but the dataset provides only "
                f"{', '.join(dataset.provides)}; try --objective reconstruct"
            )
        bound = copy.copy(self)
        bound.image_shape = dataset.image_shape
        bound.classes, bound.neurons = list(dataset.classes), list(dataset.neurons)
        bound.learned, bound._tensors = dict(self.learned), {}
        return bound

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of one prediction."""
        raise NotImplementedError

    def target_names(self, dataset: Dataset) -> tuple[str, ...]:
        """Return the names of what is predicted, for messages."""
        return self.columns or (f"{dataset.label} (the label)",)

    def has_target(self, dataset: Dataset) -> Tensor | None:
        """Return (N,) bool: whether enough of what is predicted is known to train on an image; None if it always is."""
        return None

    def check_parts(self, dataset: Dataset, parts: Mapping[str, list[int]]) -> list[str]:
        """Check the parts of a new run.

        Args:
            dataset: the one that the objective is bound to.
            parts: the indices of the images in training, validation and test.

        Returns:
            Notes for the user.

        Raises:
            UserError: if what is predicted cannot be learned from training, or the best epoch not be chosen.
        """
        return []

    def describe_targets(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return numbers (B,) that describe the targets of a batch, by name; empty for classes and images."""
        return {}

    def notes(self, augmentations: list) -> list[str]:
        """Return remarks for the user about the dataset and these augmentations."""
        return []

    def pair(self, sample: dict[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
        """Return the network's input and the target for a batch of samples.

        Args:
            sample: a batch from `StimulusSet.sample`; after a geometric augmentation also `turn` (B, 2, 2), its effect
                on a vector x, y in px.
            generator: source of random numbers.
        """
        raise NotImplementedError

    def fit(self, target: Tensor) -> None:
        """Fit statistics of the training targets (for example mean and sd). Does nothing by default."""

    def restore(self, learned: dict[str, list[float]]) -> None:
        """Restore the statistics that `fit` has learned in an earlier session.

        Raises:
            UserError: if they are not one number per value of a prediction.
        """
        n = math.prod(self.output_shape)
        wrong = next((name for name, values in learned.items() if len(values) != n), None)
        if wrong:
            raise UserError(f"config.json: 'learned' has {len(learned[wrong])} numbers called {wrong}, not {n}")
        self.learned = learned

    def learned_tensor(self, name: str, like: Tensor) -> Tensor:
        """Return an entry of `learned` with the device and type of another tensor, cached because copying is slow."""
        cached = self._tensors.get(name)
        if cached is None or cached[0] is not self.learned[name] or cached[1].device != like.device:
            exact = torch.tensor(self.learned[name], dtype=torch.float64, device=like.device)
            cached = self._tensors[name] = self.learned[name], exact
        return cached[1].to(like.dtype)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss over the batch, a scalar."""
        raise NotImplementedError

    def n_terms(self, target: Tensor) -> Tensor:
        """Return over how many values `loss` is a mean, up to a factor: by default the number of images (B)."""
        return torch.tensor(len(target), device=target.device)

    def least_loss(self, target: Tensor) -> float:
        """Return the loss that no prediction of targets (B, ...) can fall below, as far as it is known."""
        return 0.0

    def link(self, target: Tensor) -> Tensor:
        """Return the prediction whose output is this target (for reconstruct with bce: the logits)."""
        return target

    def output(self, prediction: Tensor) -> Tensor:
        """Return the output that a prediction stands for (for classify: probabilities)."""
        return prediction

    def in_units(self, output: Tensor) -> Tensor:
        """Return outputs (B, ...) as numbers that mean something to a person: degrees for directions."""
        return output

    @property
    def meaning(self) -> Meaning:
        """What the numbers of `in_units` mean."""
        return Meaning(self.predicts)

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        """Return what must be kept of each image to compute the metrics, (B, ...) each."""
        raise NotImplementedError

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        """Return the metrics of a whole split."""
        raise NotImplementedError

    def summary(self, evidence: Evidence) -> dict[str, float]:
        """Return metrics of a whole split that are computed once, for the result; none by default."""
        return {}

    def by_class(self, evidence: Evidence) -> dict[str, float]:
        """Return the main metric of each class; empty if the objective has no classes."""
        return {}

    def undefined(self, dataset: Dataset, indices: Sequence[int]) -> dict[str, str]:
        """Return by metric why the data of these images leave it undefined, whatever is predicted; empty by default."""
        return {}

    def confusion(self, evidence: Evidence) -> Tensor | None:
        """Return the confusion matrix (K, K); None if the objective has no classes."""
        return None

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        """Fit the baselines on training images.

        Args:
            x: (N, C, H, W) inputs.
            target: (N, ...) targets.
            latent_dim: size of the network's latent.

        Returns:
            Functions from input images to outputs, by name.
        """
        raise NotImplementedError

    def rows(self, evidence: Evidence) -> dict[str, list]:
        """Return the columns of the table that has one row per image."""
        raise NotImplementedError

    def ceiling(self, evidence: Evidence, trials: np.ndarray) -> dict[str, float]:
        """Return by metric the highest value it can reach, and numbers that depend on it; empty if there are none.

        Args:
            evidence: of a whole split, (n, ...) each.
            trials: (T, n, n_neurons) responses to repeated presentations of its images.
        """
        return {}

    def share_interval(self, evidence: Evidence, trials: np.ndarray, groups: np.ndarray) -> Ends | None:
        """Return the 95 % interval of `share`, one of the numbers of `ceiling`; None if it has none.

        Args:
            evidence: of a whole split, (n, ...) each.
            trials: (T, n, n_neurons) responses to repeated presentations of its images.
            groups: (n,) group of each image; image ids if there are no groups.
        """
        return None

    def rank(self, record: dict[str, float]) -> tuple[float, float]:
        """Return a sort key for validated epochs, largest for the best: the main metric, then the loss."""
        sign = 1 if self.direction == "max" else -1
        return sign * record[f"validation/{self.metric}"], -record["validation/loss"]

    def asks(self) -> tuple:
        """Return what is predicted and how it is scored; runs that differ in it cannot be compared."""
        return type(self), self.metric, self.output_shape, self.columns, tuple(self.classes), self.is_random

    def score(self, evidence: Evidence, is_kept: np.ndarray) -> float:
        """Return the main metric of some of the images, given a mask (N,)."""
        return self.metrics({key: values[is_kept] for key, values in evidence.items()})[self.metric]

    def interval(self, evidence: Evidence, groups: np.ndarray) -> Ends | None:
        """Return the 95 % interval of the main metric over groups of images, see `intervals.jackknife`.

        Args:
            evidence: of a whole split, (N, ...) each.
            groups: (N,) group (person, animal, recording) of each image; image ids if there are no groups.

        Returns:
            The lower and upper end; None if there are too few groups.
        """
        return jackknife(lambda is_kept: self.score(evidence, is_kept), groups, *self.interval_scale())

    def interval_scale(self) -> tuple[Callable, Callable]:
        """Return a transform of the main metric to an unbounded scale, and its inverse; for an error by default."""
        return to_root_scale, from_root_scale
