"""95 % intervals of a metric over images, of which those of one person (animal, recording) are not independent."""

from collections.abc import Callable

import numpy as np

MOST_GROUPS = 1000
Z = 1.959964  # of the normal distribution, at 97.5 %


def jackknife(
    metric: Callable[[np.ndarray], float], groups: np.ndarray, scale: Callable, back: Callable
) -> tuple[float, float] | None:
    """Return the 95 % interval of a metric by leaving out one group of images at a time.

    Args:
        metric: of the images that a mask (N,) keeps.
        groups: (N,) the group of each image.
        scale: brings the metric to a scale that has no end, so that the interval never tells of what cannot be.
        back: brings it back.

    Returns:
        The two ends; None for a single group, which tells nothing of others.

    Source: delete-a-group jackknife with Student's t, Kott 2001, Journal of Official Statistics 17(4).
    """
    from scipy.stats import t

    codes = np.random.default_rng(0).permutation(len(set(groups)))[np.unique(groups, return_inverse=True)[1]]
    codes %= MOST_GROUPS  # more are merged at random
    n_groups = int(codes.max()) + 1
    if n_groups < 2:
        return None
    values = np.array([metric(codes != code) for code in range(n_groups)])
    value = metric(codes >= 0)
    with np.errstate(divide="ignore"):
        scaled, middle = scale(values), scale(value)
    if not np.isfinite([*scaled, middle]).all():  # a metric at the end of its range
        back, scaled, middle = np.array, values, value
    half = t.ppf(0.975, n_groups - 1) * np.std(scaled) * np.sqrt(n_groups - 1)
    low, high = sorted(float(back(end)) for end in (middle - half, middle + half))
    return low, high


def wilson(right: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Return the 95 % Wilson interval of a share, with the sample size that the groups are worth.

    Images of one person are not independent, so the number of images is divided by the design effect;
    unlike resampling, this stays honest where every image is named rightly.

    Args:
        right: (N,) 1 for an image that is named rightly, else 0.
        groups: (N,) the group of each image.

    Source: Wilson 1927, doi:10.1080/01621459.1927.10502953; effective size as in Korn & Graubard 1998.
    """
    share, n_images = right.mean(), len(right)
    worth = _worth(right, np.unique(groups, return_inverse=True)[1])
    centre = (share + Z**2 / (2 * worth)) / (1 + Z**2 / worth)
    half = Z * np.sqrt(share * (1 - share) / worth + Z**2 / (4 * worth**2)) / (1 + Z**2 / worth)
    low = 0.0 if right.sum() == 0 else float(centre - half)
    return low, 1.0 if right.sum() == n_images else float(centre + half)


def _worth(right: np.ndarray, codes: np.ndarray) -> float:
    """Return how many independent images the groups are worth."""
    from scipy.stats import t

    n_images, n_groups, share = len(right), int(codes.max()) + 1, right.mean()
    if n_groups in (1, n_images) or share in (0, 1):
        return n_groups  # no groups, or nothing known of the spread between them
    excess = np.bincount(codes, right - share)  # (groups,)
    variance = n_groups / (n_groups - 1) * np.square(excess).sum() / n_images**2
    worth = share * (1 - share) / max(variance, share * (1 - share) / n_images)
    return worth * (t.ppf(0.975, n_images - 1) / t.ppf(0.975, n_groups - 1)) ** 2
