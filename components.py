"""Linear models of pixels: principal components and ridge regression, to start from and to compare with."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

MOST_EXACT = 3000  # images or pixels, whichever is fewer; a randomised decomposition beyond
NEGLIGIBLE = 1e-7  # variance relative to the first component's, at which float32 only holds rounding errors
MOST_COMPONENTS = 500  # that a regression rests on
N_FOLDS = 5
STRENGTHS = np.logspace(-7, 2, 19)  # of the ridge, beside the variance of the first component


def principal_components(pixels: Tensor, n_components: int) -> tuple[Tensor, Tensor, Tensor]:
    """Fit a PCA.

    Args:
        pixels: (N, P) images.
        n_components: how many components are wanted; fewer are returned where the images span fewer.

    Returns:
        (P,) mean image, (K, P) components of unit length, (K,) variances, descending.
    """
    from sklearn.decomposition import PCA

    n_components = min(n_components, len(pixels) - 1, pixels.shape[1])
    if n_components < 1:
        return pixels.mean(0), pixels.new_zeros(0, pixels.shape[1]), pixels.new_zeros(0)
    solver = "full" if min(pixels.shape) <= MOST_EXACT else "randomized"
    pca = PCA(n_components, svd_solver=solver, random_state=0).fit(pixels.cpu().numpy())
    mean, components, variances = (
        torch.from_numpy(values).to(pixels) for values in (pca.mean_, pca.components_, pca.explained_variance_)
    )
    spanned = variances > NEGLIGIBLE * variances.max()
    return mean, components[spanned], variances[spanned]


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
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold
    from threadpoolctl import threadpool_limits

    pixels = images.flatten(1)  # (N, P)
    mean, components, variances = principal_components(pixels, MOST_COMPONENTS)
    scores = ((pixels - mean) @ components.T).double().cpu().numpy()  # (N, n_components)
    weights, bias = np.zeros((scores.shape[1], target.shape[1])), target.nanmean(0).double().cpu().numpy()
    for column, wanted in enumerate(target.double().cpu().numpy().T):
        known = np.isfinite(wanted)
        if known.sum() < N_FOLDS or not len(components):
            continue
        strengths = STRENGTHS * known.sum() * float(variances[0])
        ridge = RidgeCV(strengths, cv=KFold(N_FOLDS), scoring="neg_mean_squared_error")
        with threadpool_limits(1):  # on a busy machine, threads of so small systems mostly wait: 20 times as long
            ridge.fit(scores[known], wanted[known])
        weights[:, column], bias[column] = ridge.coef_, ridge.intercept_
    filters = components.T @ torch.as_tensor(weights).to(pixels)  # (P, K)
    bias = torch.as_tensor(bias).to(pixels) - mean @ filters
    return lambda images: images.flatten(1) @ filters + bias
