"""Similarity of two representations of the same images."""

import math

import numpy as np


def cka(a: np.ndarray, b: np.ndarray) -> float:
    """Return the linear centred kernel alignment (CKA) of two representations of the same images.

    CKA does not change if a representation is rotated, shifted, or scaled as a whole. It is biased upwards if there
    are few images relative to the number of dimensions.

    Args:
        a: (N, D) one representation.
        b: (N, K) the other.

    Returns:
        The alignment, from 0 to 1; NaN if all rows of either are identical.

    Source: Kornblith et al. 2019, arXiv:1905.00414.
    """
    a, b = (values.astype(np.float64) - values.mean(0, dtype=np.float64) for values in (a, b))
    if max(a.shape[1], b.shape[1]) > len(a):
        a, b = a @ a.T, b @ b.T  # (N, N): the same result from smaller matrices
        shared, norm_a, norm_b = (a * b).sum(), np.linalg.norm(a), np.linalg.norm(b)
    else:
        cross = (a.T @ b).ravel()  # (D * K,)
        shared, norm_a, norm_b = cross @ cross, np.linalg.norm(a.T @ a), np.linalg.norm(b.T @ b)
    return float(shared / (norm_a * norm_b)) if norm_a * norm_b else math.nan


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
