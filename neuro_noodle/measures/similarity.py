"""Similarity of two representations of the same images: CKA, RSA and Procrustes distance; and of two subspaces."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import svdvals
from scipy.optimize import nnls
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

from neuro_noodle.measures.permutations import by_group, shuffles

MIN_IMAGES = 4  # of the debiased CKA
N_SHUFFLES = 99  # of a permutation test
DECIMALS = 7  # of distances relative to the largest; the distance of equal images is up to 1e-8 by rounding errors


def cka(a: np.ndarray, b: np.ndarray) -> float:
    """Return the debiased linear centred kernel alignment (CKA) of two representations of the same images.

    It is 1 for representations that differ only by a rotation, a shift or a common factor, and 0 on average for
    independent ones, however few images and many dimensions there are. It can be slightly below 0.

    Args:
        a: (N, D) one representation.
        b: (N, K) the other.

    Returns:
        The alignment, at most 1; NaN for fewer than 4 images, or if a representation does not differ between images.

    Source: Kornblith et al. 2019, arXiv:1905.00414; debiased as in Nguyen et al. 2021, arXiv:2010.15327.
    """
    return _cka(compact(a), compact(b))


def _cka(a: np.ndarray, b: np.ndarray) -> float:
    if len(a) < MIN_IMAGES:
        return math.nan
    of_a, of_b = _hsic(a, a), _hsic(b, b)
    negligible = 1e-9 * np.square(a).sum() ** 2, 1e-9 * np.square(b).sum() ** 2
    return _hsic(a, b) / math.sqrt(of_a * of_b) if of_a > negligible[0] and of_b > negligible[1] else math.nan


def _hsic(a: np.ndarray, b: np.ndarray) -> float:
    """Return the unbiased Hilbert-Schmidt independence criterion with linear kernels, times N (N - 3).

    Source: Song et al. 2012, Journal of Machine Learning Research 13.
    """
    n, own_a, own_b = len(a), np.square(a).sum(1), np.square(b).sum(1)  # the diagonals of the Gram matrices
    products = np.square(a.T @ b).sum() - own_a @ own_b  # summed over all pairs of different images
    rows_a, rows_b = a @ a.sum(0) - own_a, b @ b.sum(0) - own_b  # (N,)
    mean = rows_a.sum() * rows_b.sum() / ((n - 1) * (n - 2))
    return float(products + mean - 2 * (rows_a @ rows_b) / (n - 2))


def procrustes_deg(a: np.ndarray, b: np.ndarray) -> float:
    """Return the angle between two representations after the rotation that aligns them best, in degrees.

    It is 0 for representations that differ only by a rotation or reflection, a shift or a common factor, and at most
    90. It is a metric: it obeys the triangle inequality. With few images and many dimensions, any two representations
    can be aligned, so compare it with its value for shuffled images.

    Args:
        a: (N, D) one representation; with fewer dimensions than the other, zeros are added.
        b: (N, K) the other.

    Returns:
        From 0 to 90; NaN if a representation does not differ between images.

    Source: Williams et al. 2021, arXiv:2110.14739.
    """
    return _procrustes_deg(compact(a), compact(b))


def _procrustes_deg(a: np.ndarray, b: np.ndarray) -> float:
    size = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.degrees(np.arccos(min(1.0, svdvals(a.T @ b).sum() / size)))) if size else math.nan


def compact(a: np.ndarray) -> np.ndarray:
    """Return (N, at most N) with the same distances between images as (N, D), centred, in double precision.

    All measures of similarity depend on these distances only.
    """
    a = _centred(a)
    if a.shape[1] <= len(a):
        return a
    values, vectors = np.linalg.eigh(a @ a.T)
    return vectors * np.sqrt(np.maximum(values, 0))


def dissimilarities(a: np.ndarray) -> np.ndarray:
    """Return the Euclidean distances between the representations (N, D) of all pairs of images, (N (N - 1) / 2,).

    They are rounded to 1e-7 of the largest, so that equal distances stay equal.
    """
    distances = pdist(_centred(a))
    largest = distances.max(initial=0) or 1.0
    return (distances / largest).round(DECIMALS) * largest


def rsa(a: np.ndarray, b: np.ndarray) -> float:
    """Return the Spearman correlation of two sets of dissimilarities (P,); NaN if one of them has no variance.

    Source: Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008.
    """
    ranks = [_centred(rankdata(values)) for values in (a, b)]
    size = np.linalg.norm(ranks[0]) * np.linalg.norm(ranks[1])
    return float(ranks[0] @ ranks[1] / size) if size else math.nan


def rsa_ceiling(trials: np.ndarray, *, n_splits: int = 20, seed: int = 0) -> float:
    """Return the RSA that a perfect model could reach with the mean of noisy responses.

    The RSA r between the means of two separate sets of k trials is measured for some k. Noise adds parts in 1 / k and
    in 1 / k**2 to the variance of distances, so 1 / r = 1 + a / k + b / k**2, from which r of all T trials follows. Its
    square root is the ceiling.

    Args:
        trials: (T, n, N) responses to repeated presentations of n images, without missing values; T is at least 2.
        n_splits: number of random splits that are averaged.
        seed: of the splits.

    Returns:
        From 0 to 1; NaN if the dissimilarities have no variance.
    """
    generator, n_trials = np.random.default_rng(seed), len(trials)
    counts = np.unique([1, max(1, n_trials // 4), n_trials // 2])  # values of k
    measured = []
    for k in counts:
        orders = [generator.permutation(n_trials) for _ in range(n_splits)]
        pairs = [(trials[order[:k]].mean(0), trials[order[k : 2 * k]].mean(0)) for order in orders]
        measured.append(np.mean([rsa(*map(dissimilarities, pair)) for pair in pairs]))
    if not np.isfinite(measured).all():
        return math.nan
    r = np.maximum(measured, 1e-3)
    design = np.stack([1 / counts, 1 / counts**2], 1)  # (K, 2)
    (a, b), _ = nnls(design * r[:, None] ** 2, (1 / r - 1) * r**2)  # weights: the variance of 1 / r grows as r**-4
    return 1 / math.sqrt(1 + a / n_trials + b / n_trials**2)


def subspace_overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the overlap of the subspaces that two sets of patterns span.

    The overlap is the mean squared cosine of the principal angles between the two subspaces: 1 if one contains the
    other, 0 if they are orthogonal.

    Args:
        a: (K, P) linearly independent patterns.
        b: (M, P) linearly independent patterns.
    """
    bases = [np.linalg.qr(patterns.T)[0] for patterns in (a, b)]  # (P, K) and (P, M)
    return float(np.square(bases[0].T @ bases[1]).sum() / min(len(a), len(b)))


def _centred(a: np.ndarray) -> np.ndarray:
    """Return the deviations from the mean over images, in double precision; 0 where only rounding errors are left."""
    deviations = a.astype(np.float64) - a.mean(0, dtype=np.float64)
    return np.where(np.abs(deviations).max(0) > 1e-12 * np.abs(a).max(0), deviations, 0.0)


# ------------------------------------------------------------------------------------------------ compared to chance


@dataclass(frozen=True)
class Measure:
    """A measure of similarity that a permutation test can compute many times.

    Attributes:
        title: what it is, with its range.
        prepare: function from values (N, D) to what `score` needs of them.
        score: function of two prepared representations.
        reorder: function of a prepared representation and an order (N,) of images.
        is_distance: whether low scores mean that two representations are similar.
    """

    title: str
    prepare: Callable[[np.ndarray], np.ndarray]
    score: Callable[[np.ndarray, np.ndarray], float]
    reorder: Callable[[np.ndarray, np.ndarray], np.ndarray]
    is_distance: bool = False


def _rank_matrix(values: np.ndarray) -> np.ndarray:
    """Return (N, N) ranked dissimilarities, such that the sum of the products of two matrices is their `rsa`."""
    ranks = _centred(rankdata(dissimilarities(values)))
    size = np.linalg.norm(ranks)
    return squareform(ranks / size if size else np.full_like(ranks, np.nan)) / math.sqrt(2)


MEASURES = {
    "cka": Measure(
        "linear CKA, debiased (1: equal up to rotation and size; 0: unrelated)",
        compact,
        _cka,
        lambda values, order: values[order],
    ),
    "rsa": Measure(
        "RSA, Spearman correlation of distances between images (1: same order; 0: unrelated)",
        _rank_matrix,
        lambda a, b: float((a * b).sum()),
        lambda values, order: values[order][:, order],
    ),
    "procrustes_deg": Measure(
        "Procrustes distance, degrees (0: equal up to rotation and size; at most 90)",
        compact,
        _procrustes_deg,
        lambda values, order: values[order],
        is_distance=True,
    ),
}


@dataclass(frozen=True)
class Similarity:
    """The similarity of two representations.

    Attributes:
        value: the score.
        chance: the mean score for shuffled images.
        level: the score that 95 % of shuffles stay below; of a distance, above.
        p: the share of shuffles, the true order included, that are at least as similar.
    """

    value: float
    chance: float
    level: float
    p: float


def compare(measure: Measure, a: np.ndarray, b: np.ndarray, groups: np.ndarray | None) -> Similarity:
    """Compare two prepared representations of the same images with each other, and with shuffled images.

    Args:
        measure: whose `prepare` returned a and b.
        groups: (N,) group of each image, or its index, see `permutations.shuffles`; None shuffles nothing.
    """
    if groups is None:
        return Similarity(measure.score(a, b), math.nan, math.nan, math.nan)
    members, sign = by_group(groups), -1 if measure.is_distance else 1
    a, value = measure.reorder(a, members), measure.score(a, b)
    if not math.isfinite(value):
        return Similarity(math.nan, math.nan, math.nan, math.nan)
    shuffled = np.array([measure.score(a, measure.reorder(b, order)) for order in shuffles(groups, N_SHUFFLES)])
    as_similar = int((sign * shuffled >= sign * value - 1e-12).sum())
    level = float(np.quantile(shuffled, 0.05 if measure.is_distance else 0.95))
    return Similarity(value, float(shuffled.mean()), level, (1 + as_similar) / (1 + N_SHUFFLES))
