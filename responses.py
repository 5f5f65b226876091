"""Responses of neurons: how well they are predicted, and how well they can be.

Arrays hold NaN where a neuron was not recorded; N neurons, n images, T presentations of each.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from aims import OBJECTIVES, Evidence, Objective, Predictor
from choices import require
from components import ridge_of_pixels

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


def pearson(predicted: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    """Return (N,) Pearson correlations over images (n, N); NaN for a neuron of which nothing is known.

    One without variance in either counts 0, as in Antolik et al. 2016.
    """
    known = np.isfinite(recorded) & np.isfinite(predicted)  # (n, N)
    a, b = (_deviations(values, known) for values in (predicted, recorded))
    size = np.sqrt(np.square(a).sum(0) * np.square(b).sum(0))  # (N,)
    unchanged = np.where(known.any(0), 0.0, np.nan)
    return np.divide((a * b).sum(0), size, out=unchanged, where=size > 0)


def _deviations(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return what known values (n, N) differ from their neuron's mean, 0 for rounding errors and the unknown."""
    values = np.where(known, values, 0.0)
    mean = values.sum(0) / np.maximum(known.sum(0), 1)
    deviations = np.where(known, values - mean, 0.0)
    return np.where(np.abs(deviations).max(0, initial=0) > 1e-6 * np.abs(mean), deviations, 0.0)


def signal_variance(trials: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return variances (N,) over images of trials (T, n, N): of the signal, of the mean response, of one presentation.

    The signal's is what is left of the mean's without the part that noise has in it, and so without bias; by chance it
    can be below 0.

    Source: Sahani & Linden 2003, How linear are auditory cortical responses?
    """
    counts = np.isfinite(trials).sum(0)  # (n, N)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # images shown once, neurons not recorded
        noise = np.nanvar(trials, 0, ddof=1)  # (n, N)
        of_mean = np.nanvar(np.nanmean(trials, 0), 0, ddof=1)  # (N,)
        in_mean = np.nanmean(np.where(counts > 1, noise / np.maximum(counts, 1), np.nan), 0)  # (N,)
        signal = of_mean - in_mean
        return signal, of_mean, signal + np.nanmean(noise, 0)


def noise_ceiling(trials: np.ndarray) -> np.ndarray:
    """Return (N,): the correlation that the true rates can be expected to have with the mean of trials (T, n, N).

    It is sqrt(signal variance / variance of the mean response); 0 where no signal is found, NaN where none can be.
    """
    signal, of_mean, _ = signal_variance(trials)
    return np.sqrt(_share(signal, of_mean))


def explainable_variance(trials: np.ndarray) -> np.ndarray:
    """Return (N,): the share of the variance of single presentations, trials (T, n, N), that the images explain."""
    signal, _, single = signal_variance(trials)
    return _share(signal, single)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, at least 0; 0 where the whole is, NaN where that is not known."""
    share = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return np.where(np.isnan(whole), np.nan, np.maximum(share, 0))


def split_half(trials: np.ndarray) -> np.ndarray:
    """Return (N,): the correlation between the means of odd and of even presentations, trials (T, n, N)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return pearson(np.nanmean(trials[::2], 0), np.nanmean(trials[1::2], 0))
