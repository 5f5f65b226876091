"""Linear models of pixels, the baselines of several objectives: ridge regression and logistic regression."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from neuro_noodle.measures.linear import MAX_COMPONENTS, logistic, principal_components, ridge_of_known
from neuro_noodle.objectives.base import Predictor

MAX_CLASSIFIED = 10_000  # images that a logistic regression is fitted to


def tensor_like(values: np.ndarray, like: Tensor) -> Tensor:
    """Return an array as a new tensor with the dtype and device of another tensor."""
    return torch.tensor(values, dtype=like.dtype, device=like.device)


@dataclass(frozen=True)
class PixelScores:
    """Images as scores on the first 500 principal components of their pixels.

    Attributes:
        mean: (P,) mean image.
        directions: (n_components, P).
        variance: along the first component.
        scores: (N, n_components) of the images they were fitted to.
    """

    mean: Tensor
    directions: Tensor
    variance: float
    scores: np.ndarray

    @classmethod
    def fit(cls, images: Tensor) -> "PixelScores":
        """Fit the components to images (N, C, H, W)."""
        pixels = images.flatten(1)  # (N, P)
        components = principal_components(pixels.cpu().numpy(), MAX_COMPONENTS)
        mean, directions = tensor_like(components.mean, pixels), tensor_like(components.directions, pixels)
        scores = ((pixels - mean) @ directions.T).double().cpu().numpy()  # (N, n_components)
        return cls(mean, directions, float(components.variances[0]) if len(directions) else 0.0, scores)

    def affine(self, weights: np.ndarray, bias: np.ndarray) -> Predictor:
        """Return the function from images (B, C, H, W) to scores times weights (n_components, K) plus bias (K,)."""
        filters = self.directions.T @ tensor_like(weights, self.mean)  # (P, K)
        offset = tensor_like(bias, self.mean) - self.mean @ filters
        return lambda images: images.flatten(1) @ filters + offset


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
    fitted = PixelScores.fit(images)
    weights, bias = ridge_of_known(fitted.scores, target.double().cpu().numpy(), fitted.variance)
    return fitted.affine(weights, bias)


def fit_pixel_classes(images: Tensor, label: Tensor, n_classes: int) -> Predictor:
    """Fit a logistic regression from pixels to classes, using their first 500 principal components.

    The strength is chosen by cross-validation over five folds with the classes in proportion.

    Args:
        images: (N, C, H, W) training images; a random 10,000 of more are used, and one of each class.
        label: (N,) class of each.
        n_classes: K.

    Returns:
        A function from images (B, C, H, W) to probabilities (B, K); 0 for a class without training images.
    """
    chosen = _sample(label.cpu().numpy())
    fitted, known = PixelScores.fit(images[chosen]), label[chosen].cpu().numpy()
    weights, bias = np.zeros((fitted.scores.shape[1], n_classes)), np.full(n_classes, -np.inf)
    classes, counts = np.unique(known, return_counts=True)
    if len(fitted.directions) and len(classes) > 1:
        model = logistic(fitted.scores / fitted.variance**0.5, known, None)
        sides = (0.0, 1.0) if len(classes) == 2 else 1.0  # of two classes, only the second has weights
        weights[:, classes], bias[classes] = sides * model.coef_.T / fitted.variance**0.5, sides * model.intercept_
    else:
        bias[classes] = np.log(counts)
    logits = fitted.affine(weights, bias)
    return lambda images: logits(images).softmax(1)


def _sample(label: np.ndarray) -> np.ndarray:
    """Return the indices of the images to fit to, given the class of each (N,), in their order."""
    random = np.random.default_rng(0).permutation(len(label))[:MAX_CLASSIFIED]
    return np.union1d(random, np.unique(label, return_index=True)[1])
