"""Responses of neurons: how well they are predicted, and how well they can be.

Arrays hold NaN where a neuron was not recorded; N neurons, n images, T presentations of each.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from neuro_noodle.choices import require
from neuro_noodle.measures.ceilings import noise_ceiling, pearson
from neuro_noodle.measures.linear import ridge_of_pixels
from neuro_noodle.objectives.base import OBJECTIVES, Evidence, Objective, Predictor

EPS = 1e-6  # of a rate, below which its logarithm does not fall
LEAST_RATE = 1e-3  # that a prediction can start from


@OBJECTIVES.add("response")
class Response(Objective):
    """Predict the responses of neurons; judged by Pearson's r over images, mean over neurons.

    Args:
        loss: poisson takes a response as a count about the predicted rate; gaussian is the squared error.
        output: softplus makes rates that are never below 0; linear is for responses that can be.

    What a head returns is added to what means the neuron's mean response in training. A neuron that never changes
    counts 0; responses that are not known (NaN) count for nothing.

    Source: Antolik et al. 2016, doi:10.1371/journal.pcbi.1004927.
    """

    needs = ("image", "response")
    metric = "r"
    direction = "max"
    pictured_as = "responses"

    def __init__(
        self, *, loss: Literal["poisson", "gaussian"] = "poisson", output: Literal["softplus", "linear"] = "softplus"
    ) -> None:
        super().__init__()
        require(
            loss == "gaussian" or output == "softplus",
            "objective 'response': loss=poisson needs rates above 0, so output=softplus",
        )
        self.loss_name, self.linear = loss, output == "linear"
        self.neurons: Sequence[str] = ()
        self.all_known = False  # once the responses have been looked at; then nothing is masked

    def check(self, provides: list[str], classes: list[str], neurons: Sequence[str] = ()) -> None:
        super().check(provides, classes)
        self.neurons = neurons

    def check_values(self, values: Tensor) -> None:
        self.all_known = not bool(values.isnan().any())
        require(
            self.linear or not bool((values < 0).any()),
            "objective 'response': there are responses below 0, which are no counts; take loss=gaussian output=linear",
        )

    def output_shape(self, image_shape: tuple[int, int, int], classes: list[str]) -> tuple[int, ...]:
        return (len(self.neurons),)

    def pair(self, sample: dict[str, Tensor], draw: Generator) -> tuple[Tensor, Tensor]:
        return sample["image"], sample["response"]

    def learn(self, target: Tensor) -> None:
        """Learn what to add to a prediction so that 0 means each neuron's mean response."""
        mean = target.double().nanmean(0).nan_to_num(0)
        self.learned = {"offset": (mean if self.linear else _inverse_softplus(mean)).tolist()}

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        rate = self.output(prediction)  # (B, N)
        if self.all_known:
            return self._loss_of_each(rate, target).mean()
        known = ~target.isnan()
        return (self._loss_of_each(rate, target.nan_to_num()) * known).sum() / known.sum().clamp(min=1)

    def _loss_of_each(self, rate: Tensor, recorded: Tensor) -> Tensor:
        return rate - recorded * torch.log(rate + EPS) if self.loss_name == "poisson" else (rate - recorded).square()

    def output(self, prediction: Tensor) -> Tensor:
        shifted = prediction + self.learned_as("offset", prediction)
        return shifted if self.linear else F.softplus(shifted)

    def link(self, target: Tensor) -> Tensor:
        return (target if self.linear else _inverse_softplus(target)) - self.learned_as("offset", target)

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        return {"predicted": output, "recorded": target}  # (B, N)

    def per_neuron(self, evidence: Evidence) -> np.ndarray:
        """Return (N,) the correlation of each neuron."""
        return pearson(*(evidence[key].double().cpu().numpy() for key in ("predicted", "recorded")))

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        r = self.per_neuron(evidence)
        return {"r": float(np.nanmean(r)), "r_median": float(np.nanmedian(r))}

    def ceiling(self, trials: np.ndarray) -> dict[str, float]:
        highest = noise_ceiling(trials)
        return {"r": float(np.nanmean(highest)), "r_median": float(np.nanmedian(highest))}

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        mean, ridge = target.nanmean(0), ridge_of_pixels(x, target)
        return {"mean_rate": lambda images: mean.expand(len(images), -1), "linear_pixels": ridge}

    def unbounded(self) -> tuple[Callable, Callable]:
        return np.arctanh, np.tanh

    def rows(self, evidence: Evidence, classes: list[str]) -> dict[str, list]:
        columns = {}
        for name, predicted, recorded in zip(
            self.neurons, evidence["predicted"].T, evidence["recorded"].T, strict=True
        ):
            columns |= {f"{name}_recorded": recorded.tolist(), f"{name}_predicted": predicted.tolist()}
        return columns


def _inverse_softplus(rate: Tensor) -> Tensor:
    rate = rate.clamp(min=LEAST_RATE)
    return rate + torch.log(-torch.expm1(-rate))
