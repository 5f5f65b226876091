"""Measures of latents: what a linear probe reads from them, and how alike two of them are (linear CKA)."""

import math
import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np

from neuro_noodle.measures.circular import difference_deg

N_FOLDS = 5
STRENGTHS = np.logspace(-7, 3, 11)  # of the ridge, per training image
INVERSE_STRENGTHS = np.logspace(-4, 2, 7)  # of the logistic regression


def probe(
    latents: np.ndarray,
    values: np.ndarray,
    training: np.ndarray,
    held_out: np.ndarray,
    groups: np.ndarray | None,
    period: float | None,
    *,
    standardise: bool = True,
) -> dict[str, float]:
    """Tell how well a ridge regression from latents, fitted on training images, predicts numbers of held-out ones.

    Its strength is chosen by cross-validation within the training images, no group in two folds.

    Args:
        latents: (N, D).
        values: (N,), in any unit; images where one is NaN are left out.
        training, held_out: (N,) bool; 5 and 1 at least of known value.
        groups: (N,) what belongs together (blocks of film, animals), or None: then folds are stretches of images.
        period: the full turn in the unit of values that are angles, whose cosine and sine are predicted; else None.
        standardise: scale every dimension by its own spread in training, rather than all by the largest.

    Returns:
        r2, over held-out images, that of cosine and sine together; NaN where all of these have the same value. Beside
        it mae, the mean absolute error in the unit of the values; or median_deg, the median of the absolute error of
        an angle, degrees.
    """
    known = np.isfinite(values)
    training, held_out = training & known, held_out & known
    target = values[:, None] if period is None else _on_circle(values, period)  # (N, 1 or 2)
    scaled = _scale(latents, training, each=standardise)
    predicted = _ridge(scaled[training], target[training], _of(groups, training))(scaled[held_out])
    score = {"r2": _r2(predicted, target[held_out])}
    if period is None:
        return score | {"mae": float(np.abs(predicted - target[held_out]).mean())}
    angles = np.degrees(np.arctan2(predicted[:, 1], predicted[:, 0]))
    errors = difference_deg(angles, values[held_out] * (360 / period))
    return score | {"median_deg": float(np.median(np.abs(errors)))}


def probe_class(
    latents: np.ndarray,
    names: Sequence[str],
    training: np.ndarray,
    held_out: np.ndarray,
    groups: np.ndarray | None,
    *,
    standardise: bool = True,
) -> dict[str, float]:
    """Tell how often a logistic regression from latents, fitted on training images, names held-out ones rightly.

    Args:
        latents: (N, D).
        names: N classes, two at least in training; images where one is empty are left out.
        training, held_out, groups, standardise: as for `probe`; folds hold the classes in their proportion.

    Returns:
        accuracy, and beside it majority, that of always naming the most frequent class of training.
    """
    names = np.array(names)
    training, held_out = training & (names != ""), held_out & (names != "")
    scaled = _scale(latents, training, each=standardise)
    predicted = _logistic(scaled[training], names[training], _of(groups, training))(scaled[held_out])
    majority = Counter(names[training].tolist()).most_common(1)[0][0]
    right = {"accuracy": predicted == names[held_out], "majority": majority == names[held_out]}
    return {name: float(each.mean()) for name, each in right.items()}


def folds(n_images: int, groups: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the (fitted, judged) indices of up to 5 folds of groups, or of stretches where there are no two groups."""
    from sklearn.model_selection import GroupKFold, KFold

    n_groups = 0 if groups is None else len(np.unique(groups))
    if n_groups > 1:
        return list(GroupKFold(min(N_FOLDS, n_groups)).split(np.empty(n_images), groups=groups))
    return list(KFold(min(N_FOLDS, n_images)).split(np.empty(n_images)))


def class_folds(names: np.ndarray, groups: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the same with classes in their proportion; without folds that would be fitted on a single class."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    n_groups = 0 if groups is None else len(np.unique(groups))
    n_folds = min(N_FOLDS, max(Counter(names.tolist()).values()), n_groups if n_groups > 1 else N_FOLDS)
    if n_folds < 2:
        return []
    splitter = StratifiedGroupKFold(n_folds) if n_groups > 1 else StratifiedKFold(n_folds)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")
        dealt = list(splitter.split(np.empty(len(names)), names, groups))
    return [(fitted, judged) for fitted, judged in dealt if len(judged) and len(set(names[fitted])) > 1]


def _ridge(latents: np.ndarray, target: np.ndarray, groups: np.ndarray | None):
    """Fit from (n, D) to (n, K); returns a function from latents to predictions."""
    from sklearn.linear_model import RidgeCV
    from threadpoolctl import threadpool_limits

    dealt = folds(len(latents), groups)
    ridge = RidgeCV(STRENGTHS * len(latents), cv=dealt, scoring="neg_mean_squared_error")
    with threadpool_limits(1):  # as in components
        ridge.fit(latents, target)
    return lambda latents: ridge.predict(latents).reshape(len(latents), -1)


def _logistic(latents: np.ndarray, names: np.ndarray, groups: np.ndarray | None):
    """Fit from (n, D) to n classes; returns a function from latents to classes."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from threadpoolctl import threadpool_limits

    model, dealt = LogisticRegression(max_iter=300), class_folds(names, groups)
    if dealt:
        model = GridSearchCV(model, {"C": INVERSE_STRENGTHS}, cv=dealt, scoring="accuracy")
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of strengths too weak to be chosen
        return model.fit(latents, names).predict


def _scale(latents: np.ndarray, training: np.ndarray, *, each: bool) -> np.ndarray:
    """Return (N, D) float64 with mean 0, and variance 1 of each dimension or of the widest, in training."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(latents[training].astype(np.float64))
    return scaler.transform(latents) if each else (latents - scaler.mean_) / scaler.scale_.max()


def _on_circle(angles: np.ndarray, period: float) -> np.ndarray:
    radians = angles * (2 * np.pi / period)
    return np.stack([np.cos(radians), np.sin(radians)], 1)  # (N, 2)


def _r2(predicted: np.ndarray, target: np.ndarray) -> float:
    total = ((target - target.mean(0)) ** 2).sum()
    return float(1 - ((predicted - target) ** 2).sum() / total) if total else math.nan


def _of(groups: np.ndarray | None, chosen: np.ndarray) -> np.ndarray | None:
    return None if groups is None else groups[chosen]
