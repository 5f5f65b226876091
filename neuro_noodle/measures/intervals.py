"""95 % intervals of a metric over images that come in groups.

Images of one group (a person, an animal, a recording) are not independent, so intervals are based on whole groups.
How often they hold the truth was simulated: see `benchmarks/simulations`.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import betaincinv, betaln, expit, stdtrit  # scipy.stats takes a second to import

MIN_GROUPS = 5  # with fewer, an interval would be nearly as wide as the range of the metric
MAX_GROUPS = 1000  # of a jackknife
TAILS = np.array([0.025, 0.975])
MAX_LOGIT = 40.0
MAX_DROP = 12.0  # of the logarithm of a density, below which it is neglected
MIN_CORRELATION = 1e-8

Ends = tuple[float, float]


def has_enough(groups: np.ndarray) -> bool:
    """Return whether these groups of images (N,) are enough for an interval."""
    return len(np.unique(groups)) >= MIN_GROUPS


def jackknife(
    metric: Callable[[np.ndarray], float], groups: np.ndarray, transform: Callable, inverse: Callable
) -> Ends | None:
    """Return the 95 % interval of a metric, estimated by leaving out one group of images at a time.

    Args:
        metric: function from a mask (N,) of the images to include to the metric.
        groups: (N,) group of each image.
        transform: maps the metric to an unbounded scale, so that the interval never includes impossible values.
        inverse: maps it back.

    Returns:
        The lower and upper end; None if there are fewer than 5 groups, if they differ so much that an end is infinite,
        or if the metric is undefined (or perfect) without one of them. If every group is predicted perfectly, both ends
        are the metric.

    Source: delete-a-group jackknife with Student's t, Kott 2001, Journal of Official Statistics 17(4).
    """
    if not has_enough(groups):
        return None
    shuffled: np.ndarray = np.random.default_rng(0).permutation(len(set(groups)))
    codes = shuffled[np.unique(groups, return_inverse=True)[1]]
    codes %= MAX_GROUPS  # with more groups, some are merged at random
    n_groups = int(codes.max()) + 1
    values = np.array([metric(codes != code) for code in range(n_groups)])
    if not np.isfinite(values).all():
        return None
    value = metric(codes >= 0)
    with np.errstate(divide="ignore", over="ignore"):
        scaled, middle = transform(values), transform(value)
        if not np.isfinite([*scaled, middle]).all():  # the metric is at the end of its range
            return (float(value), float(value)) if (values == value).all() else None
        half = stdtrit(n_groups - 1, TAILS[1]) * np.std(scaled) * np.sqrt(n_groups - 1)
        low, high = sorted(float(inverse(end)) for end in (middle - half, middle + half))
    return (low, high) if np.isfinite([low, high]).all() else None


def mean_interval(values: np.ndarray) -> Ends | None:
    """Return the 95 % interval of the mean of independent values (n,), by Student's t; None for fewer than two."""
    if len(values) < 2:
        return None
    half = stdtrit(len(values) - 1, TAILS[1]) * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(values.mean() - half), float(values.mean() + half)


def to_root_scale(error: np.ndarray) -> np.ndarray:
    """Return an error on the scale of -1 / sqrt(error).

    On it, the jackknife of a mean of skewed errors holds the truth more often than on the scale of logarithms.
    """
    return -1 / np.sqrt(error)


def from_root_scale(scaled: np.ndarray) -> np.ndarray:
    """Return the error of a value on the scale of `to_root_scale`; infinite for a value of 0 or more."""
    return 1 / np.square(np.minimum(scaled, 0.0))


def accuracy_interval(is_correct: np.ndarray, groups: np.ndarray) -> Ends | None:
    """Return the 95 % interval of the share of correct images.

    The number of correct images of a group has a beta-binomial distribution. The interval holds 95 % of the posterior
    of its mean, under Jeffreys' prior of the mean and a Beta(1/2, 1) prior of the correlation within groups. Unlike an
    interval from resampling, it has a width above 0 even if all images are correct. With one image in each group, it is
    Jeffreys' interval of a binomial share.

    Args:
        is_correct: (N,) 1 for an image that is classified correctly, else 0.
        groups: (N,) group of each image.

    Returns:
        The lower and upper end, from 0 to 1; None if there are fewer than 5 groups.

    Source: Jeffreys' interval in Brown, Cai & DasGupta 2001, doi:10.1214/ss/1009213286.
    """
    if not has_enough(groups):
        return None
    codes, n_correct, n_images = np.unique(groups, return_inverse=True)[1], is_correct.sum(), len(is_correct)
    correct, sizes = np.bincount(codes, is_correct), np.bincount(codes)
    if len(sizes) == n_images:
        low, high = betaincinv(n_correct + 0.5, n_images - n_correct + 0.5, TAILS)
    else:
        low, high = _beta_binomial(correct, sizes)
    return 0.0 if n_correct == 0 else float(low), 1.0 if n_correct == n_images else float(high)


def _beta_binomial(correct: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return the ends (2,) of the interval of the mean of a beta-binomial, given counts and sizes of groups (G,)."""
    pairs, counts = np.unique(np.stack([correct, sizes], 1), axis=0, return_counts=True)
    logits, roots = np.linspace(-MAX_LOGIT, MAX_LOGIT, 161), (np.arange(25) + 0.5) / 25
    density = _log_posterior(pairs, counts, logits, roots)
    logits, roots = (  # finer, where the posterior is
        np.linspace(*_widened(grid, density.max(axis)), n) for grid, axis, n in ((logits, 1, 200), (roots, 0, 25))
    )
    density = _log_posterior(pairs, counts, logits, roots)
    of_mean = np.exp(density - density.max()).sum(1)  # (200,)
    below = np.cumsum((of_mean[1:] + of_mean[:-1]) / 2)
    return expit(np.interp(TAILS, np.concatenate([[0], below]) / below[-1], logits))


def _widened(grid: np.ndarray, density: np.ndarray) -> tuple[float, float]:
    """Return the range of an evenly spaced grid in which the logarithm of a density is not negligible."""
    kept, step = grid[density > density.max() - MAX_DROP], grid[1] - grid[0]
    return max(kept[0] - step, grid[0]), min(kept[-1] + step, grid[-1])


def _log_posterior(pairs: np.ndarray, counts: np.ndarray, logits: np.ndarray, roots: np.ndarray) -> np.ndarray:
    """Return the logarithm of the posterior density (L, R) of the logit of the mean and the root of the correlation.

    Args:
        pairs: (U, 2) numbers of correct images and of images of a group.
        counts: (U,) groups with these numbers.
        logits: (L,) of the mean; Jeffreys' prior is the root of mean x (1 - mean) on this scale.
        roots: (R,) of the correlation; a Beta(1/2, 1) prior is uniform on this scale.
    """
    correlation = np.maximum(roots**2, MIN_CORRELATION)
    concentration = np.maximum((1 - correlation) / correlation, MIN_CORRELATION)  # (R,)
    a, b = (expit(sign * logits)[:, None] * concentration for sign in (1, -1))  # (L, R)
    prior = (np.log(expit(logits)) + np.log(expit(-logits))) / 2  # (L,)
    each = (n * betaln(a + k, b + (size - k)) for (k, size), n in zip(pairs, counts, strict=True))
    return sum(each) - counts.sum() * betaln(a, b) + prior[:, None]
