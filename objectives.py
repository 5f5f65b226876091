"""Objectives: what to predict, how wrong a prediction is, and what we report.

An objective knows samples and predictions; it knows no encoder, optimizer or file.
To add one: a class under @OBJECTIVES.add("name") in this file. Nothing else changes.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from choices import Table, UserError
from components import principal_components

OBJECTIVES = Table("objective")
MOST_GROUPS = 1000

Evidence = dict[str, Tensor]
Predictor = Callable[[Tensor], Tensor]


class Objective:
    """What every objective offers.

    Attributes:
        needs: what a sample must hold.
        metric: the metric that chooses the best epoch.
        direction: whether the best metric is the "min" or the "max".

    A *prediction* is what the head returns (logits, say), an *output* is what it means (probabilities), and
    *evidence* is what must be kept of each image to compute the metrics of a whole split.
    """

    needs: tuple[str, ...] = ("image",)
    metric: str
    direction: Literal["min", "max"]

    def check(self, provides: list[str], classes: list[str]) -> None:
        """Raise UserError if the dataset lacks what this objective needs."""
        missing = [need for need in self.needs if need not in provides]
        if missing:
            raise UserError(
                f"this objective needs {' and '.join(missing)}, but the dataset provides only {', '.join(provides)}; "
                "try --objective reconstruct"
            )

    def output_shape(self, image_shape: tuple[int, int, int], classes: list[str]) -> tuple[int, ...]:
        """Return the shape of one prediction."""
        raise NotImplementedError

    def pair(self, sample: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the network's input and the target of a batch of samples."""
        raise NotImplementedError

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss over the batch, a scalar."""
        raise NotImplementedError

    def link(self, target: Tensor) -> Tensor:
        """Return the prediction that would mean this target (for reconstruct bce: the logits)."""
        return target

    def output(self, prediction: Tensor) -> Tensor:
        """Return what a prediction means."""
        return prediction

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        """Return what is kept of each image, (B, ...) each."""
        raise NotImplementedError

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        """Return the metrics of a whole split."""
        raise NotImplementedError

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        """Fit what a prediction must beat on the training images; returns functions from input to output."""
        raise NotImplementedError

    def rows(self, evidence: Evidence, classes: list[str]) -> dict[str, list]:
        """Return the columns of the table that has a row per image."""
        raise NotImplementedError

    def rank(self, record: dict[str, float]) -> tuple[float, float]:
        """Return what orders the validated epochs, the best highest: the main metric, and at a tie the loss."""
        sign = 1 if self.direction == "max" else -1
        return sign * record[f"validation/{self.metric}"], -record["validation/loss"]

    def interval(self, evidence: Evidence, groups: np.ndarray) -> tuple[float, float] | None:
        """Return the 95 % interval of the main metric by leaving out one group of images at a time.

        That of an error is computed on its logarithm, since no error is below 0.

        Args:
            evidence: of a whole split, (N, ...) each.
            groups: (N,) the person (animal, recording) of each image, or a name of its own.

        Returns:
            The two ends; None for a single group, which tells nothing of others.

        Source: delete-a-group jackknife with Student's t, Kott 2001, Journal of Official Statistics 17(4).
        """
        from scipy.stats import t

        codes = np.random.default_rng(0).permutation(len(set(groups)))[np.unique(groups, return_inverse=True)[1]]
        codes %= MOST_GROUPS  # more are merged at random
        n_groups = int(codes.max()) + 1
        if n_groups < 2:
            return None
        left_out = ({key: value[codes != code] for key, value in evidence.items()} for code in range(n_groups))
        values = np.array([self.metrics(rest)[self.metric] for rest in left_out])
        value = self.metrics(evidence)[self.metric]
        scale, back = (np.log, np.exp) if min(values) > 0 and self.direction == "min" else (np.array, np.array)
        half = t.ppf(0.975, n_groups - 1) * np.std(scale(values)) * np.sqrt(n_groups - 1)
        return float(back(scale(value) - half)), float(back(scale(value) + half))


@OBJECTIVES.add("reconstruct")
class Reconstruct(Objective):
    """Reproduce the image; judged by the mean squared error of pixels in [0, 1].

    Args:
        loss: what training minimises; bce takes the pixel as the probability of white.
    """

    metric = "mse"
    direction = "min"

    def __init__(self, *, loss: Literal["bce", "mse", "l1"] = "bce") -> None:
        self.loss_name = loss
        self._loss = {"bce": F.binary_cross_entropy_with_logits, "mse": F.mse_loss, "l1": F.l1_loss}[loss]

    def output_shape(self, image_shape: tuple[int, int, int], classes: list[str]) -> tuple[int, ...]:
        return image_shape

    def pair(self, sample: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        return sample["image"], sample["image"]

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self._loss(prediction, target)

    def link(self, target: Tensor) -> Tensor:
        return target.logit(eps=1e-2) if self.loss_name == "bce" else target

    def output(self, prediction: Tensor) -> Tensor:
        return prediction.sigmoid() if self.loss_name == "bce" else prediction

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        return {"mse": (output - target).square().flatten(1).mean(1)}  # (B,)

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        return {"mse": evidence["mse"].double().mean().item()}

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        pixels = target.flatten(1)  # (N, C*H*W)
        mean, components, _ = principal_components(pixels, latent_dim)

        def project(images: Tensor) -> Tensor:
            flat = images.flatten(1) - mean
            return (flat @ components.T @ components + mean).view_as(images)

        return {"pca": project, "mean_image": lambda images: mean.view(images.shape[1:]).expand_as(images)}

    def rows(self, evidence: Evidence, classes: list[str]) -> dict[str, list]:
        return {"mse": evidence["mse"].tolist()}


@OBJECTIVES.add("classify")
class Classify(Objective):
    """Name the class of the image; judged by the share of images named rightly."""

    needs = ("image", "label")
    metric = "accuracy"
    direction = "max"
    n_classes = 0

    def check(self, provides: list[str], classes: list[str]) -> None:
        super().check(provides, classes)
        self.n_classes = len(classes)
        if len(classes) < 2:
            raise UserError(
                f"objective 'classify' needs two classes or more, but every image is labelled '{classes[0]}'; choose "
                "another column by --dataset folder label=COLUMN, made by a field of pattern="
            )

    def output_shape(self, image_shape: tuple[int, int, int], classes: list[str]) -> tuple[int, ...]:
        return (len(classes),)

    def pair(self, sample: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
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
        """Return the 95 % Wilson interval of the accuracy, with the sample size that the groups are worth.

        Images of one person are not independent, so the number of images is divided by the design effect;
        unlike resampling, this stays honest where every image is named rightly.

        Source: Wilson 1927, doi:10.1080/01621459.1927.10502953; effective size as in Korn & Graubard 1998.
        """
        right = self._right(evidence).double().cpu().numpy()
        share, n_images = right.mean(), len(right)
        worth = self._worth(right, np.unique(groups, return_inverse=True)[1])
        z = 1.959964
        centre = (share + z**2 / (2 * worth)) / (1 + z**2 / worth)
        half = z * np.sqrt(share * (1 - share) / worth + z**2 / (4 * worth**2)) / (1 + z**2 / worth)
        low = 0.0 if right.sum() == 0 else float(centre - half)
        return low, 1.0 if right.sum() == n_images else float(centre + half)

    @staticmethod
    def _worth(right: np.ndarray, codes: np.ndarray) -> float:
        """Return how many independent images the groups are worth."""
        from scipy.stats import t

        n_images, n_groups, share = len(right), int(codes.max()) + 1, right.mean()
        if n_groups in (1, n_images) or share in (0, 1):
            return n_groups  # no groups, or nothing known of the spread between them
        excess = np.bincount(codes, right - share)  # (groups,)
        variance = n_groups / (n_groups - 1) * np.square(excess).sum() / n_images**2
        worth = share * (1 - share) / max(variance, share * (1 - share) / n_images)
        return worth * (t.ppf(0.975, n_images - 1) / t.ppf(0.975, n_groups - 1)) ** 2

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
