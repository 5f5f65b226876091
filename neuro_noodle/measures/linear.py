"""Linear models: principal components, ridge and logistic regression with cross-validation."""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

MAX_EXACT_SIZE = 3000  # the smaller of n_images and n_pixels; above it, a randomized decomposition is used
MIN_MANY_IMAGES = 10_000  # from which on the covariance of pixels is decomposed, if there are ten times fewer pixels
NEGLIGIBLE = 1e-7  # variance relative to the first component's; in float32 anything smaller is rounding error
MAX_COMPONENTS = 500  # used as predictors of a regression from pixels
N_FOLDS = 5
STRENGTHS = np.logspace(-7, 2, 19)  # of `ridge`, relative to n_images x the variance of the first component
GROUPED_STRENGTHS = np.logspace(-7, 3, 11)  # of `grouped_ridge`, per training image
INVERSE_STRENGTHS = np.logspace(-4, 2, 7)  # of `logistic`


@dataclass(frozen=True)
class Components:
    """Principal components of images.

    Attributes:
        mean: (P,) mean image.
        directions: (K, P) components of unit length.
        variances: (K,) variance along each component, in descending order.
    """

    mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray


def principal_components(pixels: np.ndarray, n_components: int) -> Components:
    """Fit a principal component analysis.

    Args:
        pixels: (N, P) images, float32 or float64.
        n_components: number of components; fewer are returned if the images span fewer dimensions.

    Returns:
        The components, with the dtype of the pixels.
    """
    n_components = min(n_components, len(pixels) - 1, pixels.shape[1])
    mean = pixels.mean(0)
    if n_components < 1:
        return Components(mean, np.zeros((0, pixels.shape[1]), pixels.dtype), np.zeros(0, pixels.dtype))
    if min(pixels.shape) > MAX_EXACT_SIZE:
        directions, variances = _approximate_components(pixels, n_components)
    elif len(pixels) >= max(MIN_MANY_IMAGES, 10 * pixels.shape[1]):
        directions, variances = _components_of_many(pixels - mean)
    else:
        _, scales, directions = scipy.linalg.svd(pixels - mean, full_matrices=False)
        variances = scales**2 / (len(pixels) - 1)
    directions, variances = directions[:n_components], variances[:n_components]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], 1)
    spanned = variances > pixels.dtype.type(NEGLIGIBLE) * variances.max()
    # contiguous, because LAPACK returns them in column-major order
    directions = np.ascontiguousarray((directions * np.sign(largest))[spanned], pixels.dtype)
    return Components(mean, directions, variances[spanned].astype(pixels.dtype))


def _components_of_many(centred: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all components and variances from the covariance of pixels, which for many images is several times faster.

    It is computed in double precision, since squaring would lose the small variances in single precision.
    """
    centred = centred.astype(np.float64)
    variances, directions = scipy.linalg.eigh(centred.T @ centred / (len(centred) - 1))
    return directions.T[::-1], variances[::-1]


def _approximate_components(pixels: np.ndarray, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the components and variances of a randomized decomposition."""
    from sklearn.decomposition import PCA  # importing it takes two to four seconds

    pca = PCA(n_components, svd_solver="randomized", random_state=0).fit(pixels)
    return pca.components_, pca.explained_variance_


def folds(n_images: int, groups: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the (training, test) indices of up to 5 cross-validation folds.

    Args:
        n_images: number of images.
        groups: (n_images,) group of each image, or None. A group is never divided between two folds.

    Returns:
        Folds of whole groups; folds of consecutive images if there are fewer than two groups.
    """
    from sklearn.model_selection import GroupKFold, KFold

    n_groups = 0 if groups is None else len(np.unique(groups))
    if n_groups > 1:
        return list(GroupKFold(min(N_FOLDS, n_groups)).split(np.empty(n_images), groups=groups))
    return list(KFold(min(N_FOLDS, n_images)).split(np.empty(n_images)))


def ridge(x: np.ndarray, y: np.ndarray, strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fit a ridge regression, with a strength chosen for each column of y.

    Each column gets the strength with the smallest mean squared error in cross-validation over consecutive folds.
    `grouped_ridge` differs in three ways: it keeps groups together, it chooses one strength for all columns, and it
    solves the normal equations. This one uses a singular value decomposition, which is much faster with many columns,
    because all strengths and columns share one decomposition per fold.

    Args:
        x: (N, P) predictors; N is at least 5.
        y: (N, K) targets.
        strengths: (S,) penalties to choose from.

    Returns:
        (P, K) weights and (K,) bias.
    """
    from threadpoolctl import threadpool_limits

    errors = np.zeros((len(strengths), y.shape[1]))
    with threadpool_limits(1):  # on a busy machine the threads of such small systems mostly wait: 20 times slower
        for training, test in folds(len(x), None):
            solve, inputs = _ridge_solver(x[training], y[training]), x[test] - x[training].mean(0)
            for i, strength in enumerate(strengths):
                predicted = inputs @ solve(np.full(y.shape[1], strength)) + y[training].mean(0)
                errors[i] += np.square(predicted - y[test]).mean(0)
        weights = _ridge_solver(x, y)(strengths[errors.argmin(0)])
    return weights, y.mean(0) - x.mean(0) @ weights


def ridge_of_known(x: np.ndarray, y: np.ndarray, variance: float) -> tuple[np.ndarray, np.ndarray]:
    """Fit a ridge regression to targets of which some are missing, with a strength chosen for each column of y.

    Args:
        x: (N, P) predictors.
        y: (N, K) targets; rows where a column is NaN are left out for that column.
        variance: a scale of x to which the strengths are relative, such as its variance along the first component.

    Returns:
        (P, K) weights and (K,) bias; weights of 0 for a column that fewer than five rows have.
    """
    weights, bias = np.zeros((x.shape[1], y.shape[1])), np.zeros(y.shape[1])
    masks, mask_index = np.unique(np.isfinite(y), axis=1, return_inverse=True)  # columns with the same rows
    for i, is_known in enumerate(masks.T):
        columns = mask_index.ravel() == i
        bias[columns] = y[is_known][:, columns].mean(0) if is_known.any() else np.nan
        if is_known.sum() >= N_FOLDS and x.shape[1]:
            strengths = STRENGTHS * is_known.sum() * variance
            weights[:, columns], bias[columns] = ridge(x[is_known], y[is_known][:, columns], strengths)
    return weights, bias


def grouped_ridge(x: np.ndarray, y: np.ndarray, groups: np.ndarray | None) -> Callable[[np.ndarray], np.ndarray]:
    """Fit a ridge regression, with one strength for all columns of y and no group in two cross-validation folds.

    See `ridge` for how the two differ.

    Args:
        x: (N, D) predictors.
        y: (N, K) targets.
        groups: (N,) group of each row, or None for folds of consecutive rows.

    Returns:
        A function from predictors (M, D) to predictions (M, K).
    """
    from sklearn.linear_model import RidgeCV
    from threadpoolctl import threadpool_limits

    model = RidgeCV(GROUPED_STRENGTHS * len(x), cv=folds(len(x), groups), scoring="neg_mean_squared_error")
    with threadpool_limits(1), warnings.catch_warnings():  # threads as in `ridge`
        warnings.filterwarnings("ignore", "Singular matrix|An ill-conditioned matrix")  # of strengths that are too weak
        model.fit(x, y)
    return lambda x: model.predict(x).reshape(len(x), -1)


def class_folds(names: np.ndarray, groups: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the `stratified_folds` that have test images and at least two training classes; there may be none."""
    pairs = stratified_folds(names, groups)
    return [(training, test) for training, test in pairs if len(test) and len(set(names[training])) > 1]


def stratified_folds(names: np.ndarray, groups: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the (training, test) indices of up to 5 cross-validation folds with the classes in proportion.

    Args:
        names: (N,) class of each image.
        groups: (N,) group of each image, or None. A group is never divided between two folds.

    Returns:
        The folds; none if there is a single image of each class.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    n_groups = 0 if groups is None else len(np.unique(groups))
    n_folds = min(N_FOLDS, max(Counter(names.tolist()).values()), n_groups if n_groups > 1 else N_FOLDS)
    if n_folds < 2:
        return []
    splitter = StratifiedGroupKFold(n_folds) if n_groups > 1 else StratifiedKFold(n_folds)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        return list(splitter.split(np.empty(len(names)), names, groups))


def logistic(x: np.ndarray, names: np.ndarray, groups: np.ndarray | None) -> Any:
    """Fit a logistic regression, its strength chosen by cross-validation with no group in two folds.

    Args:
        x: (N, D) predictors, with a standard deviation of at most 1.
        names: (N,) class of each row, at least two.
        groups: (N,) group of each row, or None.

    Returns:
        The fitted model of scikit-learn.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from threadpoolctl import threadpool_limits

    model, folds = LogisticRegression(max_iter=300), class_folds(names, groups)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # only weak penalties, which are not chosen
        if folds:
            search = GridSearchCV(model, {"C": INVERSE_STRENGTHS}, cv=folds, scoring="accuracy")
            return search.fit(x, names).best_estimator_
        return model.fit(x, names)


def _ridge_solver(x: np.ndarray, y: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from the strength of each column (K,) to the weights (P, K) of its ridge regression."""
    left, sizes, right = np.linalg.svd(x - x.mean(0), full_matrices=False)
    projected = left.T @ (y - y.mean(0))  # (min(N, P), K)
    return lambda strength: right.T @ (projected * (sizes[:, None] / (sizes[:, None] ** 2 + strength)))
