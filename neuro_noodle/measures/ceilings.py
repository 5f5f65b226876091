"""Ceilings: how well the responses of neurons are predicted, and how well they can be."""

import warnings

import numpy as np


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
