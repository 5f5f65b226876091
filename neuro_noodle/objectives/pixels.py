"""Ridge regression from pixels: the linear baseline of several objectives."""

import numpy as np
import torch
from torch import Tensor

from neuro_noodle.measures.linear import MAX_COMPONENTS, N_FOLDS, STRENGTHS, principal_components, ridge
from neuro_noodle.objectives.base import Predictor


def tensor_like(values: np.ndarray, like: Tensor) -> Tensor:
    """Return an array as a new tensor with the dtype and device of another tensor."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)


def fit_pixel_ridge(images: Tensor, target: Tensor) -> Predictor:
    """Fit a ridge regression from pixels to each target column, using their first 500 principal components.

    The strength is chosen by cross-validation over five folds of consecutive images, so that neighbouring frames of a
    film are rarely in different folds.

    Args:
        images: (N, C, H, W) training images.
        target: (N, K) targets; images where a column is NaN are left out for that column.

    Returns:
        A function from images (B, C, H, W) to predictions (B, K). It predicts the mean for a column that fewer than
        five images have, and for every column if all images are identical.
    """
    pixels = images.flatten(1)  # (N, P)
    components = principal_components(pixels.cpu().numpy(), MAX_COMPONENTS)
    mean, directions = tensor_like(components.mean, pixels), tensor_like(components.directions, pixels)
    scores = ((pixels - mean) @ directions.T).double().cpu().numpy()  # (N, n_components)
    weights, bias = np.zeros((scores.shape[1], target.shape[1])), target.nanmean(0).double().cpu().numpy()
    values = target.double().cpu().numpy()
    masks, mask_index = np.unique(np.isfinite(values), axis=1, return_inverse=True)  # columns with the same images
    for i, is_known in enumerate(masks.T):
        if is_known.sum() >= N_FOLDS and len(directions):
            columns = mask_index.ravel() == i
            strengths = STRENGTHS * is_known.sum() * float(components.variances[0])
            weights[:, columns], bias[columns] = ridge(scores[is_known], values[is_known][:, columns], strengths)
    filters = directions.T @ torch.as_tensor(weights).to(pixels)  # (P, K)
    bias = torch.as_tensor(bias).to(pixels) - mean @ filters
    return lambda images: images.flatten(1) @ filters + bias
