"""Linear models of pixels: principal components and ridge regression, to start from and to compare with."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MOST_EXACT = 3000  # images or pixels, whichever is fewer; a randomised decomposition beyond
NEGLIGIBLE = 1e-7  # variance relative to the first component's, at which float32 only holds rounding errors
MOST_COMPONENTS = 500  # that a regression rests on
N_FOLDS = 5
STRENGTHS = np.logspace(-7, 2, 19)  # of the ridge, beside the variance of the first component


@dataclass(frozen=True)
class Components:
    """A fitted PCA.

    Attributes:
        mean: (P,) mean image.
        directions: (K, P) components of unit length, by descending variance.
        variances: (K,) variance of the images along each component.
    """

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray


def principal_components(pixels: np.ndarray, n: int) -> Components:
    """Fit a PCA.

    Args:
        pixels: (N, P) images.
        n: number of components; fewer are returned if the images span fewer dimensions.
    """
    from sklearn.decomposition import PCA

    n = min(n, len(pixels) - 1, pixels.shape[1])
    if n < 1:
        return Components(pixels.mean(0), np.zeros_like(pixels, shape=(0, pixels.shape[1])), pixels[:0, 0])
    solver = "full" if min(pixels.shape) <= MOST_EXACT else "randomized"
    pca = PCA(n, svd_solver=solver, random_state=0).fit(pixels)
    mean, directions, variances = (
        values.astype(pixels.dtype, copy=False) for values in (pca.mean_, pca.components_, pca.explained_variance_)
    )
    is_spanned = variances > NEGLIGIBLE * variances.max()
    return Components(mean, directions[is_spanned], variances[is_spanned])


def ridge_of_pixels(images: Tensor, target: Tensor) -> Callable[[Tensor], Tensor]:
    """Fit a ridge regression from pixels to each column, by way of their first 500 principal components.

    Its strength is chosen by cross-validation over five stretches of the images, so that neighbours in a film do not
    tell of each other.

    Args:
        images: (N, C, H, W).
        target: (N, K); what is NaN is left out.

    Returns:
        From images (B, C, H, W) to predictions (B, K); a column known of fewer than five images is predicted by its
        mean, and so is all of images that are the same.
    """
    pixels = images.flatten(1)  # (N, P)
    found = principal_components(pixels.cpu().numpy(), MOST_COMPONENTS)
    mean, components, variances = (
        torch.from_numpy(values).to(pixels) for values in (found.mean, found.directions, found.variances)
    )
    scores = ((pixels - mean) @ components.T).double().cpu().numpy()  # (N, n_components)
    weights, bias = np.zeros((scores.shape[1], target.shape[1])), target.nanmean(0).double().cpu().numpy()
    wanted = target.double().cpu().numpy()
    masks, mask_index = np.unique(np.isfinite(wanted), axis=1, return_inverse=True)  # columns known of the same images
    for i, known in enumerate(masks.T):
        if known.sum() >= N_FOLDS and len(components):
            columns = mask_index.ravel() == i
            strengths = STRENGTHS * known.sum() * float(variances[0])
            weights[:, columns], bias[columns] = ridge(scores[known], wanted[known][:, columns], strengths)
    filters = components.T @ torch.as_tensor(weights).to(pixels)  # (P, K)
    bias = torch.as_tensor(bias).to(pixels) - mean @ filters
    return lambda images: images.flatten(1) @ filters + bias


def ridge(x: np.ndarray, y: np.ndarray, strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a ridge regression to each column, of the strength that errs least on five stretches in turn.

    Args:
        x: (N, P).
        y: (N, K).
        strengths: those to choose from, for each column of its own.

    Returns:
        (P, K) weights and (K,) bias.
    """
    from sklearn.model_selection import KFold
    from threadpoolctl import threadpool_limits

    errors = np.zeros((len(strengths), y.shape[1]))
    with threadpool_limits(1):  # on a busy machine, threads of so small systems mostly wait: 20 times as long
        for kept, left_out in KFold(N_FOLDS).split(x):
            solve, inputs = _solver(x[kept], y[kept]), x[left_out] - x[kept].mean(0)
            for i, strength in enumerate(strengths):
                predicted = inputs @ solve(np.full(y.shape[1], strength)) + y[kept].mean(0)
                errors[i] += np.square(predicted - y[left_out]).mean(0)
        weights = _solver(x, y)(strengths[errors.argmin(0)])
    return weights, y.mean(0) - x.mean(0) @ weights


def _solver(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from the strength for each column to the weights (P, K) of its ridge regression."""
    left, sizes, right = np.linalg.svd(x - x.mean(0), full_matrices=False)
    projected = left.T @ (y - y.mean(0))  # (min(N, P), K)
    return lambda strength: right.T @ (projected * (sizes[:, None] / (sizes[:, None] ** 2 + strength)))
