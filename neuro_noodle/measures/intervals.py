"""95 % confidence intervals of a metric over images that come in groups.

Images of one group (a person, an animal, a recording) are not independent, so intervals are based on
whole groups.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import stdtrit  # a quantile of Student's t; scipy.stats takes a second to import

MAX_GROUPS = 1000
Z = 1.959964  # 97.5 % quantile of the normal distribution


def jackknife(
    metric: Callable[[np.ndarray], float], groups: np.ndarray, transform: Callable, inverse: Callable
) -> tuple[float, float] | None:
    """Return the 95 % interval of a metric, estimated by leaving out one group of images at a time.

    Args:
        metric: function from a mask (N,) of the images to include to the metric.
        groups: (N,) group of each image.
        transform: maps the metric to an unbounded scale, so that the interval never includes impossible values.
        inverse: maps it back.

    Returns:
        The lower and upper end; None if there is only one group, or if the groups are too few for finite ends (without
        one of them the metric can be undefined). If every group is predicted perfectly, both ends are the metric.

    Source: delete-a-group jackknife with Student's t, Kott 2001, Journal of Official Statistics 17(4).
    """
    shuffled: np.ndarray = np.random.default_rng(0).permutation(len(set(groups)))
    codes = shuffled[np.unique(groups, return_inverse=True)[1]]
    codes %= MAX_GROUPS  # with more groups, some are merged at random
    n_groups = int(codes.max()) + 1
    if n_groups < 2:
        return None
    values = np.array([metric(codes != code) for code in range(n_groups)])
    if not np.isfinite(values).all():
        return None
    value = metric(codes >= 0)
    with np.errstate(divide="ignore", over="ignore"):
        scaled, middle = transform(values), transform(value)
        if not np.isfinite([*scaled, middle]).all():  # the metric is at the end of its range
            inverse, scaled, middle = np.array, values, value
        half = stdtrit(n_groups - 1, 0.975) * np.std(scaled) * np.sqrt(n_groups - 1)
        low, high = sorted(float(inverse(end)) for end in (middle - half, middle + half))
    return (low, high) if np.isfinite([low, high]).all() else None


def wilson(is_correct: np.ndarray, groups: np.ndarray) -> tuple[float, float] | None:
    """Return the 95 % Wilson interval of the share of correct images, using the effective sample size of the groups.

    Images of one group are not independent, so the number of images is divided by the design effect. Unlike an
    interval from resampling, this one has a width above 0 even if all images are correct.

    Args:
        is_correct: (N,) 1 for an image that is classified correctly, else 0.
        groups: (N,) group of each image.

    Returns:
        The lower and upper end, from 0 to 1; None if there is only one group, whose spread is unknown.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953; effective size as in Korn & Graubard 1998.
    """
    if len(set(groups)) < 2:
        return None
    share, n_images = is_correct.mean(), len(is_correct)
    size = _effective_size(is_correct, np.unique(groups, return_inverse=True)[1])
    centre = (share + Z**2 / (2 * size)) / (1 + Z**2 / size)
    half = Z * np.sqrt(share * (1 - share) / size + Z**2 / (4 * size**2)) / (1 + Z**2 / size)
    low = 0.0 if is_correct.sum() == 0 else float(centre - half)
    return low, 1.0 if is_correct.sum() == n_images else float(centre + half)


def _effective_size(is_correct: np.ndarray, codes: np.ndarray) -> float:
    """Return the number of independent images that carry as much information as these groups of images."""
    n_images, n_groups, share = len(is_correct), int(codes.max()) + 1, is_correct.mean()
    if n_groups == n_images or share in (0, 1):
        return n_groups  # the spread between groups is either irrelevant or unknown
    excess = np.bincount(codes, is_correct - share)  # (n_groups,)
    variance = n_groups / (n_groups - 1) * np.square(excess).sum() / n_images**2
    size = share * (1 - share) / max(variance, share * (1 - share) / n_images)
    return size * (stdtrit(n_images - 1, 0.975) / stdtrit(n_groups - 1, 0.975)) ** 2
