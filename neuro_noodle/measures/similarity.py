"""Similarity: how alike two representations of the same images are."""

import math

import numpy as np


def cka(a: np.ndarray, b: np.ndarray) -> float:
    """Return the linear centred kernel alignment of two representations of the same images, from 0 to 1.

    It is the same for rotated, shifted or evenly scaled ones. With few images for the dimensions it is too high.

    Args:
        a: (N, D).
        b: (N, K).

    Returns:
        The alignment; NaN where all rows of one are the same.

    Source: Kornblith et al. 2019, arXiv:1905.00414.
    """
    a, b = (values.astype(np.float64) - values.mean(0, dtype=np.float64) for values in (a, b))
    if max(a.shape[1], b.shape[1]) > len(a):
        a, b = a @ a.T, b @ b.T  # (N, N), the smaller way to the same number
        shared, own, other = (a * b).sum(), np.linalg.norm(a), np.linalg.norm(b)
    else:
        shared, own, other = (a.T @ b).ravel() @ (a.T @ b).ravel(), np.linalg.norm(a.T @ a), np.linalg.norm(b.T @ b)
    return float(shared / (own * other)) if own * other else math.nan


def subspace_overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return how much of the space that some patterns span lies in that of others: 1 for the same space, 0 for none.

    It is the mean squared cosine of the angles between the two spaces.

    Args:
        a, b: (K, P) patterns each, independent of each other.
    """
    bases = [np.linalg.qr(patterns.T)[0] for patterns in (a, b)]  # (P, K)
    return float(np.square(bases[0].T @ bases[1]).sum() / min(len(a), len(b)))
