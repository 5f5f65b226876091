"""Quantities: predict directions and other numbers of the metadata."""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from scipy.special import expit, logit
from torch import Generator, Tensor

from neuro_noodle.choices import require
from neuro_noodle.measures import circular
from neuro_noodle.measures.linear import ridge_of_pixels
from neuro_noodle.objectives.base import OBJECTIVES, Evidence, Objective, Predictor


class Quantities(Objective):
    """Predicts numbers of the metadata; what is not known of an image (NaN) counts for nothing."""

    constant: str  # the name of the baseline that is the same for all images

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        wanted = self.link(target)  # (B, K)
        known = wanted.isfinite()
        return torch.where(known, prediction - wanted, 0).square().sum() / known.sum().clamp(min=1)

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        wanted = self.link(target)  # (N, K)
        mean, ridge = wanted.nanmean(0), ridge_of_pixels(x, wanted)
        return {
            self.constant: lambda images: self.output(mean.expand(len(images), -1)),
            "linear_pixels": lambda images: self.output(ridge(images)),
        }

    def interval(self, evidence: Evidence, groups: np.ndarray) -> tuple[float, float] | None:
        known = evidence["true"].isfinite().reshape(len(groups), -1).any(1).cpu().numpy()
        return super().interval({key: values[known] for key, values in evidence.items()}, np.asarray(groups)[known])


@OBJECTIVES.add("direction")
class Direction(Quantities):
    """Tell a direction in the plane of the image; judged by the mean angular error, in degrees.

    Args:
        columns: of the metadata: one angle; the x and y of a vector; or x and y of where it begins and of where it
            ends, such as tail_x,tail_y,neck_x,neck_y.
        unit: of a single angle.

    The network predicts a vector of length 1; x to the right, y down, so angles go clockwise as seen. Where training
    images are turned or mirrored, so are their directions.
    """

    metric = "error_deg"
    direction = "min"
    pictured_as = "directions"
    constant = "circular_mean"

    def __init__(self, *, columns: tuple[str, ...] = ("angle",), unit: Literal["rad", "deg"] = "rad") -> None:
        super().__init__()
        require(
            len(columns) in (1, 2, 4),
            f"objective 'direction': columns={','.join(columns)} names {len(columns)}; it takes an angle, or x,y of a "
            "vector, or x,y of its beginning and x,y of its end",
        )
        require(unit == "rad" or len(columns) == 1, "objective 'direction': unit=deg is of an angle, not of a vector")
        self.columns, self.unit, self.in_doubt = columns, unit, False

    def notes(self, augmentations: list) -> list[str]:
        return [f"{self.columns[0]} spans less than 6.3 degrees; is it in radians?"] if self.in_doubt else []

    def output_shape(self, image_shape: tuple[int, int, int], classes: list[str]) -> tuple[int, ...]:
        return (2,)

    def pair(self, sample: dict[str, Tensor], draw: Generator) -> tuple[Tensor, Tensor]:
        values = sample["values"]  # (B, 1, 2 or 4 columns)
        if values.shape[1] == 1:
            angle = values[:, 0].deg2rad() if self.unit == "deg" else values[:, 0]
            vector = torch.stack([angle.cos(), angle.sin()], 1)  # (B, 2)
        else:
            vector = values[:, 2:] - values[:, :2] if values.shape[1] == 4 else values
        if "turn" in sample:
            vector = (sample["turn"] @ vector[:, :, None])[:, :, 0]
        return sample["image"], vector / vector.norm(dim=1, keepdim=True)  # NaN where there is none

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        return {"predicted": _angle_deg(output), "true": _angle_deg(target)}  # (B,)

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        errors = self._errors(evidence)
        errors = errors[np.isfinite(errors)]
        size = np.abs(errors)
        return {
            "error_deg": float(size.mean()),
            "median_deg": float(np.median(size)),
            "p90_deg": float(np.quantile(size, 0.9)),
            "bias_deg": circular.mean_deg(errors),
            "spread_deg": circular.spread_deg(errors),
            "reversed": float((size > 90).mean()),
        }

    def unbounded(self) -> tuple[Callable, Callable]:
        return lambda error: logit(error / 180), lambda scaled: 180 * expit(scaled)

    def check_values(self, values: Tensor) -> None:
        largest = float(values[values.isfinite()].abs().max()) if values.isfinite().any() else 0.0
        self.in_doubt = self.unit == "deg" and largest <= 2 * np.pi
        require(
            len(self.columns) > 1 or self.unit == "deg" or largest <= 2 * np.pi + 1e-3,
            f"the column {self.columns[0]} reaches {largest:.4g}, which is no angle in radians; add unit=deg to "
            "--objective direction",
        )

    def rows(self, evidence: Evidence, classes: list[str]) -> dict[str, list]:
        told = {"true_deg": evidence["true"], "predicted_deg": evidence["predicted"]}
        return {name: (angles % 360).tolist() for name, angles in told.items()} | {
            "error_deg": self._errors(evidence).tolist()
        }

    @staticmethod
    def _errors(evidence: Evidence) -> np.ndarray:
        return circular.difference_deg(evidence["predicted"], evidence["true"]).double().cpu().numpy()


@OBJECTIVES.add("regress")
class Regress(Quantities):
    """Predict numbers of the metadata; judged by R2, the share of their variance that is told, mean over columns.

    Args:
        columns: of the metadata, such as x,y,distance.
    """

    metric = "r2"
    direction = "max"
    pictured_as = "numbers"
    constant = "mean"

    def __init__(self, *, columns: tuple[str, ...] = ()) -> None:
        super().__init__()
        require(
            bool(columns) and len(set(columns)) == len(columns),
            f"objective 'regress': columns={','.join(columns) or 'none'} must name columns of the metadata, each once",
        )
        self.columns = columns

    def output_shape(self, image_shape: tuple[int, int, int], classes: list[str]) -> tuple[int, ...]:
        return (len(self.columns),)

    def known(self, values: Tensor) -> Tensor:
        return values.isfinite().any(1)

    def notes(self, augmentations: list) -> list[str]:
        moved = any(augmentation.moves for augmentation in augmentations)
        columns = ", ".join(self.columns)
        return [f"--augment moves things in the images, but {columns} stay as they are; see --augment none"] * moved

    def pair(self, sample: dict[str, Tensor], draw: Generator) -> tuple[Tensor, Tensor]:
        return sample["image"], sample["values"]

    def learn(self, target: Tensor) -> None:
        """Learn mean and standard deviation of each column; the network predicts multiples of them."""
        target = target.double().cpu().numpy()
        empty = [name for name, one in zip(self.columns, target.T, strict=True) if not np.isfinite(one).any()]
        require(not empty, f"objective 'regress': {', '.join(empty)} is empty for all training images")
        mean, sd = np.nanmean(target, 0), np.nanstd(target, 0)
        same = [name for name, one in zip(self.columns, sd, strict=True) if not one > 0]
        require(not same, f"objective 'regress': {', '.join(same)} is the same for all training images")
        self.learned = {"mean": mean.tolist(), "sd": sd.tolist()}

    def link(self, target: Tensor) -> Tensor:
        return (target - self.learned_as("mean", target)) / self.learned_as("sd", target)

    def output(self, prediction: Tensor) -> Tensor:
        return prediction * self.learned_as("sd", prediction) + self.learned_as("mean", prediction)

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        return {"predicted": output, "true": target}  # (B, K)

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        predicted, true = (evidence[key].double().cpu().numpy() for key in ("predicted", "true"))
        errors = np.where(np.isfinite(true), predicted - true, np.nan)
        r2 = 1 - np.nanmean(errors**2, 0) / np.nanvar(true, 0)
        told = {"r2": float(r2.mean())}
        if len(self.columns) > 1:
            told |= {f"r2_{name}": float(one) for name, one in zip(self.columns, r2, strict=True)}
        size = np.nanmean(np.abs(errors), 0)
        return told | {f"mae_{name}": float(one) for name, one in zip(self.columns, size, strict=True)}

    def unbounded(self) -> tuple[Callable, Callable]:
        return lambda r2: np.log(1 - r2), lambda scaled: 1 - np.exp(scaled)

    def rows(self, evidence: Evidence, classes: list[str]) -> dict[str, list]:
        columns = zip(self.columns, evidence["predicted"].T.tolist(), strict=True)
        return {f"{name}_predicted": values for name, values in columns}


def _angle_deg(vector: Tensor) -> Tensor:
    return torch.atan2(vector[:, 1], vector[:, 0]).rad2deg()  # (B,)
