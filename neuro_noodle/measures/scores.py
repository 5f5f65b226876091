"""Scores of predicted numbers by column, NaN where the true values leave them undefined, and why they do."""

import numpy as np


def r_squared(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return R2 (the share of variance that is explained) of each column.

    Args:
        predicted: (n, K).
        true: (n, K); NaN is ignored.

    Returns:
        (K,), at most 1; NaN for a column whose true values are all equal, or unknown.
    """
    is_known = np.isfinite(true)
    deviations = np.where(is_known, true - column_means(true), 0.0)
    errors = np.where(is_known, predicted - true, 0.0)
    undefined = np.full(true.shape[1], np.nan)
    return 1 - np.divide(np.square(errors).sum(0), np.square(deviations).sum(0), out=undefined, where=varies(true))


def column_means(values: np.ndarray) -> np.ndarray:
    """Return the mean of the known values of each column, (K,) for (n, K); NaN for a column without any."""
    is_known = np.isfinite(values)
    undefined = np.full(values.shape[1], np.nan)
    return np.divide(np.where(is_known, values, 0.0).sum(0), is_known.sum(0), out=undefined, where=is_known.any(0))


def varies(values: np.ndarray) -> np.ndarray:
    """Return (K,) bool for values (n, K): whether a column has two known values that differ.

    A variance would not do: that of equal values can be above 0 by a rounding error.
    """
    is_known = np.isfinite(values)
    lowest = np.where(is_known, values, np.inf).min(0, initial=np.inf)
    return lowest < np.where(is_known, values, -np.inf).max(0, initial=-np.inf)


def why_constant(values: np.ndarray, name: str) -> str | None:
    """Return as text why values (n,) of this name have no variance; None if they have some."""
    known = values[np.isfinite(values)]
    if not len(known):
        return f"no {name} is known"
    if varies(known[:, None])[0]:
        return None
    return f"there is only one {name}" if len(known) == 1 else f"all {len(known)} values of {name} are {known[0]:.6g}"


def auc(scores: np.ndarray, is_positive: np.ndarray) -> float:
    """Return the area under the ROC curve: how often a positive item has a higher score than a negative one.

    Args:
        scores: (N,) numbers.
        is_positive: (N,) bool, both values must occur.
    """
    from scipy.stats import mannwhitneyu  # importing it takes a second

    positive, negative = scores[is_positive], scores[~is_positive]
    return float(mannwhitneyu(positive, negative).statistic / (len(positive) * len(negative)))
