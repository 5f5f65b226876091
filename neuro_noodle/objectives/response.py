"""Response: predict the responses of neurons.

Arrays contain NaN where a neuron was not recorded. In shapes, N is the number of neurons, n of images and T of trials.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from neuro_noodle.choices import require
from neuro_noodle.measures.ceilings import Repeats, mean_ceiling, pearson, share_of_ceiling
from neuro_noodle.measures.intervals import Ends, jackknife
from neuro_noodle.measures.neurons import Table, are_counts, measure_neurons, summarise_neurons
from neuro_noodle.measures.scores import varies
from neuro_noodle.objectives.base import OBJECTIVES, Dataset, Evidence, Meaning, Objective, Predictor
from neuro_noodle.objectives.pixels import fit_pixel_ridge

EPS = 1e-6  # added to a rate before taking its logarithm
MIN_RATE = 1e-3  # lowest mean rate at which predictions can start


@OBJECTIVES.add("response")
class Response(Objective):
    """Predict the responses of neurons; the metric is Pearson's r over images, averaged over neurons.

    An offset is added to the head's prediction, so that a prediction of 0 means the neuron's mean response in
    training. A neuron whose response or prediction is constant has r = 0. Loss and metrics ignore missing responses
    (NaN).

    Args:
        loss: poisson treats a response as a count with the predicted rate as its mean; gaussian is the squared error.
        output: softplus keeps predicted rates above 0; linear is for responses that can be negative.

    Source: Antolik et al. 2016, doi:10.1371/journal.pcbi.1004927.
    """

    predicts = "responses of neurons"
    needs = ("image", "response")
    metric = "r"
    direction = "max"

    def __init__(
        self, *, loss: Literal["poisson", "gaussian"] = "poisson", output: Literal["softplus", "linear"] = "softplus"
    ) -> None:
        super().__init__()
        require(
            loss == "gaussian" or output == "softplus",
            "objective 'response': loss=poisson needs rates above 0, so it needs output=softplus",
        )
        self.loss_name, self.is_linear = loss, output == "linear"
        self.is_complete = False  # no response of the dataset is missing, so the loss needs no mask

    def on(self, dataset: Dataset) -> Self:
        bound = super().on(dataset)
        n_negative = int((dataset.responses < 0).sum())
        require(
            self.is_linear or not n_negative,
            f"objective 'response': {n_negative} of {dataset.responses.numel()} responses are below 0, so they are not "
            "counts; --objective response loss=gaussian output=linear predicts responses of any sign",
        )
        bound.is_complete = not bool(dataset.responses.isnan().any())
        return bound

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (len(self.neurons),)

    def target_names(self, dataset: Dataset) -> tuple[str, ...]:
        return ("response",)

    def has_target(self, dataset: Dataset) -> Tensor:
        return ~dataset.responses.isnan().all(1)

    def pair(self, sample: dict[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
        return sample["image"], sample["response"]

    def describe_targets(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"mean response": sample["response"].nanmean(1)}

    def fit(self, target: Tensor) -> None:
        """Fit the offset that makes a prediction of 0 mean each neuron's mean response."""
        mean = target.double().nanmean(0).nan_to_num(0)
        self.learned = {"offset": (mean if self.is_linear else _inverse_softplus(mean)).tolist()}

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        rate = self.output(prediction)  # (B, N)
        if self.is_complete:
            return self._elementwise_loss(rate, target).mean()
        is_known = ~target.isnan()
        return (self._elementwise_loss(rate, target.nan_to_num()) * is_known).sum() / is_known.sum().clamp(min=1)

    def n_terms(self, target: Tensor) -> Tensor:
        return (~target.isnan()).sum()

    def _elementwise_loss(self, rate: Tensor, recorded: Tensor) -> Tensor:
        return rate - recorded * torch.log(rate + EPS) if self.loss_name == "poisson" else (rate - recorded).square()

    def output(self, prediction: Tensor) -> Tensor:
        shifted = prediction + self.learned_tensor("offset", prediction)
        return shifted if self.is_linear else F.softplus(shifted)

    @property
    def meaning(self) -> Meaning:
        return Meaning("response of each neuron", "that of the recorded responses", self.neurons)

    def link(self, target: Tensor) -> Tensor:
        return (target if self.is_linear else _inverse_softplus(target)) - self.learned_tensor("offset", target)

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        return {"predicted": output, "recorded": target}  # (B, N)

    def per_neuron(self, evidence: Evidence, trials: np.ndarray | None = None) -> Table:
        """Return the columns (N,) of the table with one row per neuron: r, and what needs trials (T, n, N)."""
        predicted = to_numpy(evidence["predicted"])
        r = pearson(predicted, to_numpy(evidence["recorded"]))
        if trials is None:
            return {"r": r}
        is_poisson = self.loss_name == "poisson" and are_counts(trials)
        reference = to_numpy(self.output(torch.zeros(self.output_shape))) if is_poisson else None
        return {"r": r} | measure_neurons(predicted, trials, reference)

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        is_defined = varies(evidence["recorded"].cpu().numpy()).any()
        return _mean_and_median(self.per_neuron(evidence)["r"] if is_defined else np.empty(0))

    def undefined(self, dataset: Dataset, indices: Sequence[int]) -> dict[str, str]:
        is_constant = ~varies(dataset.responses[indices].cpu().numpy())  # (N,)
        n, n_neurons = int(is_constant.sum()), len(is_constant)
        if n == n_neurons:
            why = "there is only one image" if len(indices) == 1 else f"the responses of all {n} neurons are constant"
            return dict.fromkeys(("r", "r_median"), why)
        return {f"r of {n} of {n_neurons} neurons": "their responses are constant or unknown"} if n else {}

    def ceiling(self, evidence: Evidence, trials: np.ndarray) -> dict[str, float]:
        table, repeats = self.per_neuron(evidence, trials), Repeats.of(trials)
        return {
            "r": mean_ceiling(repeats),
            "r_median": _mean_and_median(table["ceiling"])["r_median"],
            "share": share_of_ceiling(to_numpy(evidence["predicted"]), repeats),
            "n_images": float(repeats.is_repeated.sum()),
        } | summarise_neurons(table)

    def share_interval(self, evidence: Evidence, trials: np.ndarray, groups: np.ndarray) -> Ends | None:
        repeats = Repeats.of(trials)
        is_repeated = repeats.is_repeated
        predicted, repeats = to_numpy(evidence["predicted"])[is_repeated], repeats[is_repeated]

        def share(is_kept: np.ndarray) -> float:
            return share_of_ceiling(predicted[is_kept], repeats[is_kept])

        return jackknife(share, groups[is_repeated], np.asarray, np.asarray)

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        mean, ridge = target.nanmean(0), fit_pixel_ridge(x, target)
        return {"mean_rate": lambda images: mean.expand(len(images), -1), "linear_pixels": ridge}

    def interval_scale(self) -> tuple[Callable, Callable]:
        return np.arctanh, np.tanh

    def rows(self, evidence: Evidence) -> dict[str, list]:
        columns: dict[str, list] = {}
        for name, predicted, recorded in zip(
            self.neurons, evidence["predicted"].T, evidence["recorded"].T, strict=True
        ):
            columns |= {f"{name}_recorded": recorded.tolist(), f"{name}_predicted": predicted.tolist()}
        return columns


def to_numpy(values: Tensor) -> np.ndarray:
    """Return the values of a tensor as float64."""
    return values.double().cpu().numpy()


def _mean_and_median(values: np.ndarray) -> dict[str, float]:
    """Return the mean and the median over neurons (N,) without NaN; NaN if nothing is left."""
    known = values[np.isfinite(values)]
    known = known if len(known) else np.full(1, np.nan)
    return {"r": float(known.mean()), "r_median": float(np.median(known))}


def _inverse_softplus(rate: Tensor) -> Tensor:
    rate = rate.clamp(min=MIN_RATE)
    return rate + torch.log(-torch.expm1(-rate))
