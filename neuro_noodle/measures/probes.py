"""Linear probes: how well metadata can be read from latents."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from neuro_noodle.measures.circular import difference_deg, period_deg
from neuro_noodle.measures.intervals import accuracy_interval, from_root_scale, jackknife, to_root_scale
from neuro_noodle.measures.linear import grouped_ridge, logistic
from neuro_noodle.measures.permutations import permutation_test
from neuro_noodle.measures.scores import varies


@dataclass(frozen=True)
class ProbeSplit:
    """Which images a probe is fitted to, and which it predicts.

    Attributes:
        is_training: (N,) bool.
        is_held_out: (N,) bool; an image is held out in at most one fold.
    """

    is_training: np.ndarray
    is_held_out: np.ndarray

    def known(self, is_known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both masks for the images whose value is known."""
        return self.is_training & is_known, self.is_held_out & is_known


def probe(
    latents: np.ndarray,
    values: np.ndarray,
    folds: Sequence[ProbeSplit],
    groups: np.ndarray | None,
    period: float | None,
    *,
    standardise: bool = True,
) -> dict[str, float]:
    """Return how well a ridge regression from latents predicts the numbers of held-out images.

    Its strength is chosen by cross-validation among training images, with no group in two folds. For angles, cosine and
    sine are predicted.

    Args:
        latents: (N, D) latents.
        values: (N,) numbers to predict, in any unit; images whose value is NaN are left out.
        folds: a regression is fitted for each, to at least 5 images with a value; at least 1 held-out image has one.
        groups: (N,) group of each image (block of frames, animal), or None for folds of consecutive images.
        period: of the values if they are angles or axes, see `circular.period`; else None.
        standardise: scale each dimension by its own standard deviation in training; if False, all by the largest.

    Returns:
        r2 over held-out images (for angles that of cosine and sine together; NaN if all held-out values are equal);
        low and high, the ends of its 95 % interval over groups, NaN with fewer than 5 of them; p of a permutation
        test, and level, the r2 that 95 % of shuffles stay below; and either mae, the mean absolute error in the unit of
        the values, or for angles median_deg, the median absolute error in degrees.
    """
    target = values[:, None] if period is None else _on_circle(values, period)  # (N, 1 or 2)
    predicted, is_held_out = np.empty_like(target, dtype=np.float64), np.zeros(len(values), bool)
    for fold in folds:
        fitted, judged = fold.known(np.isfinite(values))
        scaled = _scale(latents, fitted, each=standardise)
        predict = grouped_ridge(scaled[fitted], target[fitted], _subset(groups, fitted))
        predicted[judged] = predict(scaled[judged])
        is_held_out |= judged
    predicted, true = predicted[is_held_out], target[is_held_out]
    units = _units(groups, is_held_out)
    score = {"r2": _r2(predicted, true)} | _r2_interval(predicted, true, units) | _r2_chance(predicted, true, units)
    if period is None:
        return score | {"mae": float(np.abs(predicted - true).mean())}
    scale = period_deg(period)
    errors = difference_deg(_angles(predicted, scale), values[is_held_out] * (scale / period), scale)
    return score | {"median_deg": float(np.median(np.abs(errors)))}


def probe_class(
    latents: np.ndarray,
    names: Sequence[str] | np.ndarray,
    folds: Sequence[ProbeSplit],
    groups: np.ndarray | None,
    *,
    standardise: bool = True,
) -> dict[str, float]:
    """Return how often a logistic regression from latents names the class of held-out images correctly.

    Args:
        latents: (N, D) latents.
        names: N class names, at least two among the fitted images of each fold; images whose name is empty are left
            out.
        folds: a regression is fitted for each; at least 1 held-out image has a name.
        groups: (N,) group of each image, or None; as in `probe`, but folds keep the proportions of the classes.
        standardise: as in `probe`.

    Returns:
        accuracy; low and high, the ends of its 95 % interval, NaN with fewer than 5 groups; p of a permutation test of
        predicted and true names, and level, the accuracy that 95 % of shuffles stay below; and
        majority, the accuracy of always naming the most frequent class of the fitted images.
    """
    classes = np.array(names)  # (N,)
    predicted, majority, is_held_out = np.empty_like(classes), np.empty_like(classes), np.zeros(len(classes), bool)
    for fold in folds:
        fitted, judged = fold.known(classes != "")
        scaled = _scale(latents, fitted, each=standardise)
        predicted[judged] = logistic(scaled[fitted], classes[fitted], _subset(groups, fitted)).predict(scaled[judged])
        majority[judged] = Counter(classes[fitted].tolist()).most_common(1)[0][0]
        is_held_out |= judged
    predicted, majority, true = predicted[is_held_out], majority[is_held_out], classes[is_held_out]
    units = _units(groups, is_held_out)
    chance = permutation_test(lambda i, j: float((predicted[i] == true[j]).mean()), units)
    score = {"accuracy": float((predicted == true).mean()), "majority": float((majority == true).mean())}
    return score | _interval(accuracy_interval((predicted == true).astype(float), units)) | asdict(chance)


def _scale(latents: np.ndarray, is_training: np.ndarray, *, each: bool) -> np.ndarray:
    """Return (N, D) float64 with training mean 0 and variance 1, of each dimension or of the one that varies most."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(latents[is_training].astype(np.float64))
    return scaler.transform(latents) if each else (latents - scaler.mean_) / scaler.scale_.max()


def _on_circle(angles: np.ndarray, period: float) -> np.ndarray:
    radians = angles * (2 * np.pi / period)
    return np.stack([np.cos(radians), np.sin(radians)], 1)  # (N, 2)


def _angles(vectors: np.ndarray, period: float) -> np.ndarray:
    """Return the angles (N,) of vectors (N, 2), of which a whole turn is `period`."""
    return np.arctan2(vectors[:, 1], vectors[:, 0]) * (period / (2 * np.pi))


def _r2(predicted: np.ndarray, target: np.ndarray) -> float:
    if not varies(target).any():
        return math.nan
    return float(1 - ((predicted - target) ** 2).sum() / ((target - target.mean(0)) ** 2).sum())


def _r2_interval(predicted: np.ndarray, true: np.ndarray, units: np.ndarray) -> dict[str, float]:
    """Return the 95 % interval of R² over groups, estimated on the scale of the error 1 - R²."""

    def unexplained(is_kept: np.ndarray) -> float:
        return 1 - _r2(predicted[is_kept], true[is_kept])

    ends = jackknife(unexplained, units, to_root_scale, from_root_scale)
    return _interval(ends and (1 - ends[1], 1 - ends[0]))


def _r2_chance(predicted: np.ndarray, true: np.ndarray, units: np.ndarray) -> dict[str, float]:
    """Compare R² with that of shuffled images, which is lower by twice what the correlation of the two loses."""
    (a, a_size), (b, b_size) = (_unit_deviations(values) for values in (predicted, true))

    def correlation(i: np.ndarray, j: np.ndarray) -> float:
        return float((a[i] * b[j]).sum())

    chance = permutation_test(correlation, units)
    lost = correlation(np.arange(len(a)), np.arange(len(a))) - chance.level
    return {"p": chance.p, "level": _r2(predicted, true) - 2 * lost * (a_size / b_size if b_size else math.nan)}


def _unit_deviations(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the deviations of values (N, K) from their mean, divided by their length; and this length.

    They are 0 if only rounding errors are left.
    """
    deviations = values - values.mean(0)
    size = float(np.linalg.norm(deviations))
    return (deviations / size, size) if size > 1e-9 * np.linalg.norm(values) else (np.zeros_like(deviations), 0.0)


def _interval(ends: tuple[float, float] | None) -> dict[str, float]:
    low, high = ends or (math.nan, math.nan)
    return {"low": low, "high": high}


def _units(groups: np.ndarray | None, is_chosen: np.ndarray) -> np.ndarray:
    """Return the group of each chosen image, its index without groups."""
    return np.flatnonzero(is_chosen) if groups is None else groups[is_chosen]


def _subset(groups: np.ndarray | None, is_chosen: np.ndarray) -> np.ndarray | None:
    return None if groups is None else groups[is_chosen]
