"""Quantities: predict directions and other numbers from the metadata."""

from collections.abc import Callable, Sequence
from typing import Literal, Self

import numpy as np
import torch
from torch import Generator, Tensor

from neuro_noodle.choices import require
from neuro_noodle.measures import circular
from neuro_noodle.measures.intervals import Ends, from_root_scale, to_root_scale
from neuro_noodle.measures.scores import column_means, r_squared, why_constant
from neuro_noodle.objectives.base import OBJECTIVES, Dataset, Evidence, Meaning, Objective, Predictor
from neuro_noodle.objectives.pixels import fit_pixel_ridge
from neuro_noodle.plain import counted


class Quantities(Objective):
    """Base class of objectives that predict metadata columns; loss and metrics ignore missing values (NaN).

    Attributes:
        constant_baseline: name of the baseline that predicts the same for all images.
        after_stretch: what becomes of the targets {names} when images are stretched, for a note.
        n_stretched: number of images with another aspect ratio than their files, set by `on`.
    """

    constant_baseline: str
    after_stretch = "the targets {names} are still those of the files; fit=crop or fit=pad keeps angles"
    n_stretched = 0

    def on(self, dataset: Dataset) -> Self:
        require(
            dataset.targets is not None and dataset.targets.shape[1] == len(self.columns),
            f"this objective predicts the columns {', '.join(self.columns)}, but the dataset has other targets or "
            "none; call dataset.set_targets(objective.columns) first",
        )
        bound = super().on(dataset)
        bound.n_stretched = dataset.n_stretched
        return bound

    def notes(self, augmentations: list) -> list[str]:
        if not self.n_stretched:
            return []
        images, names = counted(self.n_stretched, "image"), ", ".join(self.columns)
        return [f"fit=stretch changes the angles in {images}; {self.after_stretch.format(names=names)}"]

    def has_target(self, dataset: Dataset) -> Tensor:
        return dataset.targets.isfinite().all(1)

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        linked = self.link(target)  # (B, K)
        is_known = linked.isfinite()
        return torch.where(is_known, prediction - linked, 0).square().sum() / is_known.sum().clamp(min=1)

    def n_terms(self, target: Tensor) -> Tensor:
        return self.link(target).isfinite().sum()

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        linked = self.link(target)  # (N, K)
        mean, ridge = linked.nanmean(0), fit_pixel_ridge(x, linked)
        return {
            self.constant_baseline: lambda images: self.output(mean.expand(len(images), -1)),
            "linear_pixels": lambda images: self.output(ridge(images)),
        }

    def interval(self, evidence: Evidence, groups: np.ndarray) -> Ends | None:
        is_known = evidence["true"].isfinite().reshape(len(groups), -1).any(1).cpu().numpy()
        kept = {key: values[is_known] for key, values in evidence.items()}
        return super().interval(kept, np.asarray(groups)[is_known])


@OBJECTIVES.add("direction")
class Direction(Quantities):
    """Predict a direction in the image plane; the metric is the mean angular error in degrees.

    The network predicts a vector of length 1. x points right and y points down, so angles increase clockwise on the
    screen. If an image is stretched, or a training image rotated or mirrored by augmentation, so is its direction.

    Args:
        columns: metadata columns: one angle; the x and y of a vector; or the x and y of a start point and of an end
            point, for example tail_x,tail_y,neck_x,neck_y.
        unit: unit of a single angle.
        axis: whether the opposite direction means the same, as for gratings and bars: orientations of 0 and 180 degrees
            are equal. The network then predicts the vector of the doubled angle.
    """

    predicts = "directions in degrees"
    metric = "error_deg"
    direction = "min"
    constant_baseline = "circular_mean"
    after_stretch = "the directions {names} are stretched with them, so results refer to the images as they are shown"

    def __init__(
        self, *, columns: tuple[str, ...] = ("angle",), unit: Literal["rad", "deg"] = "rad", axis: bool = False
    ) -> None:
        super().__init__()
        require(
            len(columns) in (1, 2, 4),
            f"objective 'direction': columns={','.join(columns)} names {len(columns)}; it needs one angle, or x,y of a "
            "vector, or x,y of a start point and x,y of an end point",
        )
        require(
            unit == "rad" or len(columns) == 1,
            "objective 'direction': unit=deg is only for a single angle, not for vectors or points",
        )
        self.columns, self.unit, self.is_axis = columns, unit, axis
        self.period_deg = 180 if axis else 360
        self.has_doubtful_unit = self.may_be_axis = False

    def on(self, dataset: Dataset) -> Self:
        bound = super().on(dataset)
        known = dataset.targets[dataset.targets.isfinite()]
        largest = float(known.abs().max()) if len(known) else 0.0
        require(
            len(self.columns) > 1 or self.unit == "deg" or largest <= 2 * np.pi + 1e-3,
            f"the column {self.columns[0]} contains {largest:.4g}, which is not an angle in radians; add unit=deg to "
            "--objective direction",
        )
        bound.has_doubtful_unit = self.unit == "deg" and largest <= 2 * np.pi
        half = 180 if self.unit == "deg" else np.pi
        is_half = len(self.columns) == 1 and bool((known >= 0).all()) and half / 2 < largest < half
        bound.may_be_axis = is_half and not self.is_axis
        return bound

    def notes(self, augmentations: list) -> list[str]:
        name, notes = self.columns[0], super().notes(augmentations)
        if self.has_doubtful_unit:
            notes.append(f"{name} spans less than 6.3 degrees; is it in radians?")
        if self.may_be_axis:
            notes.append(
                f"all values of {name} are below 180 degrees; if 0 and 180 mean the same, as for gratings and bars, "
                "add axis=true to --objective direction"
            )
        return notes

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (2,)

    def pair(self, sample: dict[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
        targets = sample["targets"]  # (B, 1, 2 or 4)
        if targets.shape[1] == 1:
            angle = targets[:, 0].deg2rad() if self.unit == "deg" else targets[:, 0]
            vector = torch.stack([angle.cos(), angle.sin()], 1)  # (B, 2)
        else:
            vector = targets[:, 2:] - targets[:, :2] if targets.shape[1] == 4 else targets
        vector = vector.float()  # only now: differences of large coordinates need all their digits
        if "stretch" in sample:
            vector = vector * sample["stretch"].float()
        if "turn" in sample:
            vector = (sample["turn"] @ vector[:, :, None])[:, :, 0]
        vector = vector / vector.norm(dim=1, keepdim=True)  # NaN for a vector of length 0
        if self.is_axis:  # double the angle
            x, y = vector.T
            vector = torch.stack([x.square() - y.square(), 2 * x * y], 1)
        return sample["image"], vector

    def asks(self) -> tuple:
        return *super().asks(), self.period_deg

    def describe_targets(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        _, vectors = self.pair(sample, Generator())
        return {"orientation_deg" if self.is_axis else "direction_deg": self.in_units(vectors)}

    def undefined(self, dataset: Dataset, indices: Sequence[int]) -> dict[str, str]:
        _, vectors = self.pair({"image": torch.empty(0), "targets": dataset.targets[indices]}, Generator())
        is_known = bool(vectors.isfinite().any())
        return {} if is_known else {"error_deg": "no image has a direction"}

    def in_units(self, output: Tensor) -> Tensor:
        """Return the angles (B,) of vectors (B, 2) in degrees, from 0 to 360, or to 180 for axes."""
        return self._angle_deg(output) % self.period_deg

    @property
    def meaning(self) -> Meaning:
        what = f"{'orientation' if self.is_axis else 'direction'} from 0 to {self.period_deg}, clockwise from the right"
        return Meaning(f"{what}, in the image as the network sees it", "degrees", period=self.period_deg)

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        return {"predicted": self._angle_deg(output), "true": self._angle_deg(target)}  # (B,)

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        errors = self._errors_deg(evidence)
        errors = errors[np.isfinite(errors)]
        size = np.abs(errors)
        if not len(errors):
            return {"error_deg": np.nan}
        scale = self.period_deg / 360
        metrics = {
            "error_deg": float(size.mean()),
            "median_deg": float(np.median(size)),
            "p90_deg": float(np.quantile(size, 0.9)),
            "bias_deg": scale * circular.mean_deg(errors / scale),
            "spread_deg": scale * circular.spread_deg(errors / scale),
        }
        return metrics if self.is_axis else metrics | {"reversed": float((size > 90).mean())}

    def interval_scale(self) -> tuple[Callable, Callable]:
        largest = self.period_deg / 2

        def from_odds(scaled: np.ndarray) -> np.ndarray:
            return largest / (1 + 1 / from_root_scale(scaled))

        return lambda error: to_root_scale(error / (largest - error)), from_odds

    def rows(self, evidence: Evidence) -> dict[str, list]:
        angles = {"true_deg": evidence["true"], "predicted_deg": evidence["predicted"]}
        columns = {name: (values % self.period_deg).tolist() for name, values in angles.items()}
        return columns | {"error_deg": self._errors_deg(evidence).tolist()}

    def _angle_deg(self, vector: Tensor) -> Tensor:
        return self.period_deg / 360 * torch.atan2(vector[:, 1], vector[:, 0]).rad2deg()  # (B,)

    def _errors_deg(self, evidence: Evidence) -> np.ndarray:
        return circular.difference_deg(evidence["predicted"], evidence["true"], self.period_deg).double().cpu().numpy()


@OBJECTIVES.add("regress")
class Regress(Quantities):
    """Predict numbers from the metadata; the metric is R2 (explained variance), averaged over columns.

    Args:
        columns: metadata columns, for example x,y,distance.
        unit: of all columns, or one for each, in pictures; for example px,px,cm.
    """

    predicts = "numbers"
    metric = "r2"
    direction = "max"
    constant_baseline = "mean"

    def __init__(self, *, columns: tuple[str, ...] = (), unit: tuple[str, ...] = ()) -> None:
        super().__init__()
        require(
            len(unit) in (0, 1, len(columns)),
            f"objective 'regress': unit={','.join(unit)} must be one unit, or one for each of {','.join(columns)}",
        )
        require(
            bool(columns) and len(set(columns)) == len(columns),
            f"objective 'regress': columns={','.join(columns) or 'none'} must name columns of the metadata, each once",
        )
        self.columns = columns
        self.units = unit * len(columns) if len(unit) == 1 else unit

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (len(self.columns),)

    @property
    def axis_names(self) -> list[str]:
        """The columns with their units."""
        return [f"{name} ({unit})" for name, unit in zip(self.columns, self.units, strict=False)] or [*self.columns]

    def has_target(self, dataset: Dataset) -> Tensor:
        return dataset.targets.isfinite().any(1)

    def describe_targets(self, sample: dict[str, Tensor]) -> dict[str, Tensor]:
        return dict(zip(self.columns, sample["targets"].T, strict=True))

    def notes(self, augmentations: list) -> list[str]:
        notes = super().notes(augmentations)
        if not any(augmentation.moves for augmentation in augmentations):
            return notes
        return [
            *notes,
            f"--augment moves the content of images, but the targets {', '.join(self.columns)} are not changed with "
            "it; --augment none avoids this",
        ]

    def pair(self, sample: dict[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
        return sample["image"], sample["targets"]

    def fit(self, target: Tensor) -> None:
        """Fit the mean and standard deviation of each column; the network predicts standardised values."""
        target = target.double().cpu().numpy()
        empty = [name for name, one in zip(self.columns, target.T, strict=True) if not np.isfinite(one).any()]
        require(not empty, f"objective 'regress': {', '.join(empty)} is empty for all training images")
        mean, sd = np.nanmean(target, 0), np.nanstd(target, 0)
        constant = [name for name, one in zip(self.columns, sd, strict=True) if not one > 0]
        require(not constant, f"objective 'regress': {', '.join(constant)} is the same for all training images")
        self.learned = {"mean": mean.tolist(), "sd": sd.tolist()}

    def link(self, target: Tensor) -> Tensor:
        scaled = (target - self.learned_tensor("mean", target)) / self.learned_tensor("sd", target)
        return scaled.float()  # only now: time stamps, for example, need all their digits

    def output(self, prediction: Tensor) -> Tensor:
        exact = prediction.double()
        return exact * self.learned_tensor("sd", exact) + self.learned_tensor("mean", exact)

    @property
    def meaning(self) -> Meaning:
        return Meaning("value of each column of the metadata", self.units, self.columns)

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        return {"predicted": output, "true": target}  # (B, K)

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        predicted, true = (evidence[key].double().cpu().numpy() for key in ("predicted", "true"))
        r2, size = r_squared(predicted, true), column_means(np.abs(predicted - true))
        metrics = {"r2": float(r2.mean())}
        if len(self.columns) > 1:
            metrics |= {f"r2_{name}": float(one) for name, one in zip(self.columns, r2, strict=True)}
        return metrics | {f"mae_{name}": float(one) for name, one in zip(self.columns, size, strict=True)}

    def undefined(self, dataset: Dataset, indices: Sequence[int]) -> dict[str, str]:
        values = dataset.targets[indices].cpu().numpy()  # (n, K)
        found = {name: why_constant(one, name) for name, one in zip(self.columns, values.T, strict=True)}
        reasons = {name: reason for name, reason in found.items() if reason}
        if not reasons:
            return {}
        each = {f"r2_{name}": reason for name, reason in reasons.items() if len(self.columns) > 1}
        return {"r2": "; ".join(reasons.values())} | each

    def interval_scale(self) -> tuple[Callable, Callable]:
        return lambda r2: to_root_scale(1 - r2), lambda scaled: 1 - from_root_scale(scaled)

    def rows(self, evidence: Evidence) -> dict[str, list]:
        columns = zip(self.columns, evidence["predicted"].T.tolist(), strict=True)
        return {f"{name}_predicted": values for name, values in columns}
