"""Noise ceilings: how well responses of neurons are predicted, and how well they could be.

In all shapes T is the number of trials, n of images and N of neurons. NaN means that a neuron was not recorded.
"""

import warnings
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ResponseVariance:
    """Variances of the responses of N neurons over images.

    Attributes:
        signal: (N,) variance due to the images. The estimate is unbiased, so it can be below 0 by chance.
        of_mean: (N,) variance of the response averaged over trials.
        of_trial: (N,) variance of the response in a single trial.
    """

    signal: np.ndarray
    of_mean: np.ndarray
    of_trial: np.ndarray


def pearson(predicted: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    """Return the Pearson correlation of each neuron over images.

    Args:
        predicted: (n, N) predicted responses.
        recorded: (n, N) recorded responses; NaN is ignored.

    Returns:
        (N,) correlations: 0 if either has no variance, as in Antolik et al. 2016; NaN if nothing was recorded.
    """
    is_known = np.isfinite(recorded) & np.isfinite(predicted)  # (n, N)
    a, b = (_deviations(values, is_known) for values in (predicted, recorded))
    size = np.sqrt(np.square(a).sum(0) * np.square(b).sum(0))  # (N,)
    undefined = np.where(is_known.any(0), 0.0, np.nan)
    return np.divide((a * b).sum(0), size, out=undefined, where=size > 0)


def _deviations(values: np.ndarray, is_known: np.ndarray) -> np.ndarray:
    """Return the deviations (n, N) of known values from their neuron's mean; 0 for rounding errors and unknown ones."""
    values = np.where(is_known, values, 0.0)
    mean = values.sum(0) / np.maximum(is_known.sum(0), 1)
    deviations = np.where(is_known, values - mean, 0.0)
    return np.where(np.abs(deviations).max(0, initial=0) > 1e-6 * np.abs(mean), deviations, 0.0)


def signal_variance(trials: np.ndarray) -> ResponseVariance:
    """Return the variance of the signal, of the mean response and of a single trial.

    The signal variance is the variance of the mean response minus the part of it that noise explains.

    Args:
        trials: (T, n, N) responses to repeated presentations.

    Source: Sahani & Linden 2003, How linear are auditory cortical responses?
    """
    counts = np.isfinite(trials).sum(0)  # (n, N)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # images shown once, neurons not recorded
        noise = np.nanvar(trials, 0, ddof=1)  # (n, N)
        of_mean = np.nanvar(np.nanmean(trials, 0), 0, ddof=1)  # (N,)
        noise_of_mean = np.nanmean(np.where(counts > 1, noise / np.maximum(counts, 1), np.nan), 0)  # (N,)
        signal = of_mean - noise_of_mean
        return ResponseVariance(signal, of_mean, signal + np.nanmean(noise, 0))


def noise_ceiling(trials: np.ndarray) -> np.ndarray:
    """Return the expected correlation of each neuron's true rates with its response averaged over trials.

    It equals sqrt(signal variance / variance of the mean response).

    Args:
        trials: (T, n, N) responses to repeated presentations.

    Returns:
        (N,) ceilings: 0 if the estimated signal variance is not above 0, NaN if it cannot be estimated.
    """
    variance = signal_variance(trials)
    return np.sqrt(_share(variance.signal, variance.of_mean))


def explainable_variance(trials: np.ndarray) -> np.ndarray:
    """Return the share of each neuron's single-trial variance that the images explain, (N,), for trials (T, n, N)."""
    variance = signal_variance(trials)
    return _share(variance.signal, variance.of_trial)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, at least 0; 0 where the whole is 0, NaN where it is NaN."""
    share = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
    return np.where(np.isnan(whole), np.nan, np.maximum(share, 0))


def split_half(trials: np.ndarray) -> np.ndarray:
    """Return the correlation between the mean responses of odd and even trials, (N,), for trials (T, n, N)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # images shown once, neurons not recorded
        return pearson(np.nanmean(trials[::2], 0), np.nanmean(trials[1::2], 0))
