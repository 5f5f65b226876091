"""Objectives: what to predict, how wrong a prediction is, and what we report.

An objective knows samples and predictions; it knows no encoder, optimizer or file.
To add one: a class under @OBJECTIVES.add("name") in this file, or in a new one that is imported here. Nothing else
changes.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import expit, logit
from torch import Generator, Tensor

import circular
import responses  # noqa: F401  (it fills the table)
from aims import OBJECTIVES, Evidence, Objective, Predictor
from augment import Noise
from choices import UserError, require
from components import principal_components, ridge_of_pixels
from intervals import wilson
from losses import link_of, named_loss, output_of


@OBJECTIVES.add("reconstruct")
class Reconstruct(Objective):
    """Reproduce the image; judged by the mean squared error of pixels in [0, 1].

    Args:
        loss: what training minimises: bce takes the pixel as the probability of white; mse, l1, huber or any other
            loss of torch that is least for the image itself.
        noise: standard deviation of Gaussian noise that is added to the input, where white is 1; the image without it
            is to be reproduced.
        second: a loss that is reported beside, or none.
    """

    metric = "mse"
    direction = "min"
    pictured_as = "reconstructions"

    def __init__(self, *, loss: str = "bce", noise: float = 0.0, second: str | None = None) -> None:
        super().__init__()
        self.loss_name, self.second = loss, second
        self._loss, self._second = named_loss(loss), named_loss(second) if second else None
        self.noise = Noise(sd=noise)
        self.draws = noise > 0

    def output_shape(self, image_shape: tuple[int, int, int], classes: list[str]) -> tuple[int, ...]:
        return image_shape

    def pair(self, sample: dict[str, Tensor], draw: Generator) -> tuple[Tensor, Tensor]:
        image = sample["image"]
        return self.noise.pixels(image, draw) if self.draws else image, image

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self._loss(prediction, target)

    def link(self, target: Tensor) -> Tensor:
        return link_of(self.loss_name, target)

    def output(self, prediction: Tensor) -> Tensor:
        return output_of(self.loss_name, prediction)

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        evidence = {"mse": (output - target).square().flatten(1).mean(1)}  # (B,)
        if self.second:
            loss = self._second(link_of(self.second, output, eps=1e-6), target, reduction="none")
            evidence[self.second] = loss.flatten(1).mean(1)
        return evidence

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        told = {name: values.double().mean().item() for name, values in evidence.items()}
        if self.draws:
            told["psnr_db"] = -10 * evidence["mse"].double().log10().mean().item()
        return told

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        pixels = target.flatten(1)  # (N, C*H*W)
        mean, components, _ = principal_components(pixels, latent_dim)

        def project(images: Tensor) -> Tensor:
            flat = images.flatten(1) - mean
            return (flat @ components.T @ components + mean).view_as(images)

        baselines = {"pca": project, "mean_image": lambda images: mean.view(images.shape[1:]).expand_as(images)}
        return baselines | ({"noisy_input": lambda images: images} if self.draws else {})

    def rows(self, evidence: Evidence, classes: list[str]) -> dict[str, list]:
        return {name: values.tolist() for name, values in evidence.items()}


@OBJECTIVES.add("classify")
class Classify(Objective):
    """Name the class of the image; judged by the share of images named rightly."""

    needs = ("image", "label")
    metric = "accuracy"
    direction = "max"
    pictured_as = "classes"
    n_classes = 0

    def check(self, provides: list[str], classes: list[str], neurons: Sequence[str] = ()) -> None:
        super().check(provides, classes)
        self.n_classes = len(classes)
        if len(classes) < 2:
            raise UserError(
                f"objective 'classify' needs two classes or more, but every image is labelled '{classes[0]}'; choose "
                "another column by --dataset folder label=COLUMN, made by a field of pattern="
            )

    def output_shape(self, image_shape: tuple[int, int, int], classes: list[str]) -> tuple[int, ...]:
        return (len(classes),)

    def pair(self, sample: dict[str, Tensor], draw: Generator) -> tuple[Tensor, Tensor]:
        return sample["image"], sample["label"]

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(prediction, target)

    def output(self, prediction: Tensor) -> Tensor:
        return prediction.softmax(1)

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        return {"probabilities": output, "label": target}

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        return {"accuracy": self._right(evidence).double().mean().item()}

    def interval(self, evidence: Evidence, groups: np.ndarray) -> tuple[float, float]:
        """Return the 95 % interval of the accuracy over groups of images, see `intervals.wilson`."""
        return wilson(self._right(evidence).double().cpu().numpy(), groups)

    def confusion(self, evidence: Evidence) -> Tensor:
        """Return (K, K) counts: row the true class, column the predicted one."""
        n_classes = evidence["probabilities"].shape[1]
        pairs = evidence["label"] * n_classes + evidence["probabilities"].argmax(1)
        return torch.bincount(pairs, minlength=n_classes**2).view(n_classes, n_classes)

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        counts = torch.bincount(target, minlength=self.n_classes)
        majority = F.one_hot(counts.argmax(), len(counts)).float()
        return {"majority_class": lambda images: majority.expand(len(images), -1)}

    def rows(self, evidence: Evidence, classes: list[str]) -> dict[str, list]:
        probability, index = evidence["probabilities"].max(1)
        return {
            "label": [classes[i] for i in evidence["label"].tolist()],
            "predicted": [classes[i] for i in index.tolist()],
            "probability": probability.tolist(),
        }

    @staticmethod
    def _right(evidence: Evidence) -> Tensor:
        return evidence["probabilities"].argmax(1) == evidence["label"]


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
