"""Noise ceilings: how well responses of neurons are predicted, and how well they could be.

In all shapes T is the number of trials, n of images and N of neurons. NaN means that a neuron was not recorded. Images
that were presented to a neuron fewer than twice are left out, since they say nothing about noise.
How often these estimates hold the truth was simulated: see `benchmarks/simulations/ceilings.py`.
"""

import warnings
from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy.special import betaln, fdtrc  # scipy.stats takes a second to import

LEAST = 1e-9  # share of a sum below which what is left of it is a rounding error
ALPHA = 0.05  # level of the test for signal


@dataclass(frozen=True)
class Repeats:
    """Responses of N neurons to n images that were presented repeatedly.

    Attributes:
        mean: (n, N) response averaged over trials; NaN where an image was presented fewer than twice.
        noise: (n, N) variance of that mean, estimated from the variance over trials.
        counts: (n, N) number of presentations, 0 where there were fewer than two.
    """

    mean: np.ndarray
    noise: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, trials: np.ndarray) -> Self:
        """Summarise responses (T, n, N) in single trials."""
        trials = only_repeated(trials)
        counts = np.isfinite(trials).sum(0)
        with ignore_missing():
            return cls(np.nanmean(trials, 0), np.nanvar(trials, 0, ddof=1) / np.maximum(counts, 1), counts)

    @property
    def is_repeated(self) -> np.ndarray:
        """Whether an image was presented to a neuron at least twice, (n,)."""
        return self.counts.max(1) > 0

    def __getitem__(self, is_kept: np.ndarray) -> Self:
        """Return these responses to some of the images, given a mask (n,)."""
        return type(self)(self.mean[is_kept], self.noise[is_kept], self.counts[is_kept])


@dataclass(frozen=True)
class Estimate:
    """An estimate of one number for each of N neurons: its value (N,) and the variance (N,) of its error."""

    value: np.ndarray
    variance: np.ndarray


def ignore_missing() -> warnings.catch_warnings:
    """Return a context in which means over nothing are NaN without a warning (neurons that were not recorded)."""
    return warnings.catch_warnings(action="ignore", category=RuntimeWarning)


def only_repeated(trials: np.ndarray) -> np.ndarray:
    """Return responses (T, n, N), NaN where an image was presented to a neuron fewer than twice."""
    return np.where(np.isfinite(trials).sum(0) > 1, trials.astype(np.float64), np.nan)


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


def corrected_pearson(predicted: np.ndarray, recorded: np.ndarray) -> np.ndarray:
    """Return the Pearson correlation (N,) of each neuron, corrected by the jackknife for the small number of images.

    Args:
        predicted: (n, N) predicted responses.
        recorded: (n, N) recorded responses; NaN is ignored.
    """
    is_known = np.isfinite(recorded) & np.isfinite(predicted)  # (n, N)
    a, b = (_deviations(values, is_known) for values in (predicted, recorded))
    n = is_known.sum(0)
    size = np.sqrt(_without_each(np.square(a), n) * _without_each(np.square(b), n))  # (n, N)
    products = (a * b).sum(0) - a * b * _factor(n)
    return _jackknife(pearson(predicted, recorded), _ratio(products, size), n).value


def signal_variance(trials: np.ndarray) -> np.ndarray:
    """Return the variance of each neuron's response over images that is due to the images, not to noise.

    Args:
        trials: (T, n, N) responses to repeated presentations.

    Returns:
        (N,) the variance of the mean response minus the part of it that noise explains. It is unbiased, so it can be
        below 0 by chance.

    Source: Sahani & Linden 2003, How linear are auditory cortical responses?
    """
    repeats = Repeats.of(trials)
    with ignore_missing():
        return np.nanvar(repeats.mean, 0, ddof=1) - np.nanmean(repeats.noise, 0)


def has_signal(repeats: Repeats) -> np.ndarray:
    """Return whether the mean responses of a neuron (N,) differ between images more than by noise.

    This is the F test of a one-way analysis of variance, at a level of 5 %.
    """
    with ignore_missing():
        ratio = np.nanvar(repeats.mean, 0, ddof=1) / np.nanmean(repeats.noise, 0)
        degrees = (repeats.counts > 0).sum(0) - 1, np.maximum(repeats.counts - 1, 0).sum(0)
        return fdtrc(*degrees, ratio) < ALPHA


def reliability(repeats: Repeats) -> Estimate:
    """Return the share of the variance of each neuron's mean response that is signal.

    A ratio of two estimates is biased, so this one is corrected by the jackknife over images.

    Returns:
        (N,) shares: NaN with fewer than three images, and by chance below 0 or above 1.
    """
    is_known = np.isfinite(repeats.mean)  # (n, N)
    n, noise = is_known.sum(0), np.where(is_known, repeats.noise, 0)
    squares = np.square(_deviations(repeats.mean, is_known))
    whole = _signal_share(squares.sum(0), noise.sum(0), n)
    without_each = _signal_share(_without_each(squares, n), noise.sum(0) - noise, n - is_known)
    return _jackknife(np.where(n > 2, whole, np.nan), without_each, n)


def _signal_share(squares: np.ndarray, noise: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return 1 - noise / n / (squares / (n - 1)), given sums over n images; 0 without variance."""
    return _ratio(squares * n - noise * (n - 1), squares * n)


def noise_ceiling(trials: np.ndarray) -> np.ndarray:
    """Return the expected correlation of each neuron's true rates with its response averaged over trials.

    It equals sqrt(signal variance / variance of the mean response).

    Args:
        trials: (T, n, N) responses to repeated presentations.

    Returns:
        (N,) ceilings: 0 if the estimated signal variance is not above 0, NaN if it cannot be estimated.
    """
    return np.sqrt(np.clip(reliability(Repeats.of(trials)).value, 0, 1))


def mean_ceiling(repeats: Repeats) -> float:
    """Return the mean over neurons of their noise ceilings, of which each is the root of a reliability.

    The mean of the roots of noisy estimates would be too low. So the mean and the variance of the true reliabilities
    are estimated first (the variance is that of the estimates minus that of their errors); the mean root is that of a
    beta distribution with these two moments.

    Returns:
        The mean; NaN if the mean reliability is not more than two standard errors above 0.
    """
    estimate = reliability(repeats)
    is_known = np.isfinite(estimate.value)
    values, errors, n = estimate.value[is_known], estimate.variance[is_known], is_known.sum()
    if n == 0 or values.mean() <= 2 * np.sqrt(errors.sum()) / n:
        return np.nan
    mean, variance = values.mean(), values.var(ddof=1) - errors.mean() if n > 1 else 0
    if mean >= 1 or variance <= LEAST:
        return float(np.sqrt(min(mean, 1)))
    total = max(mean * (1 - mean) / variance - 1, LEAST)
    a, b = mean * total, (1 - mean) * total
    return float(np.exp(betaln(a + 0.5, b) - betaln(a, b)))


def share_of_ceiling(predicted: np.ndarray, repeats: Repeats) -> float:
    """Return the mean correlation over neurons divided by the mean noise ceiling; it is 1 for a perfect model.

    Both are corrected for the small number of images.

    Args:
        predicted: (n, N) predicted responses.
        repeats: the recorded ones.

    Returns:
        The share; NaN if the ceiling is unknown.
    """
    with ignore_missing():
        return float(np.nanmean(corrected_pearson(predicted, repeats.mean)) / mean_ceiling(repeats))


def split_half(trials: np.ndarray) -> np.ndarray:
    """Return the correlation between the mean responses of odd and even trials, (N,), for trials (T, n, N)."""
    with ignore_missing():
        return pearson(np.nanmean(trials[::2], 0), np.nanmean(trials[1::2], 0))


def _factor(n: np.ndarray) -> np.ndarray:
    """Return n / (n - 1), by which a product of deviations counts in what their sum loses without that image."""
    return n / np.maximum(n - 1, 1)


def _without_each(squares: np.ndarray, n: np.ndarray) -> np.ndarray:
    """Return (n, N) the sums of squared deviations without each image, given those of all images (n, N)."""
    total = squares.sum(0)
    left = total - squares * _factor(n)
    return np.where(left > LEAST * total, left, 0)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole; 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(part.shape), where=whole > 0)


def _jackknife(whole: np.ndarray, without_each: np.ndarray, n: np.ndarray) -> Estimate:
    """Return an estimate without the part of its bias that is proportional to 1 / number of images.

    Args:
        whole: (N,) estimates from all images.
        without_each: (n, N) estimates without each image; the same as from all for one that is unknown.
        n: (N,) number of known images.

    Source: Quenouille 1956, doi:10.1093/biomet/43.3-4.353.
    """
    n = np.maximum(n, 1)
    change = without_each - whole  # (n, N)
    total = change.sum(0)
    variance = (np.square(change).sum(0) - total**2 / n) * (n - 1) / n
    return Estimate(whole - total * (n - 1) / n, variance)
