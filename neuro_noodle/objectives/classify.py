"""Classify: predict the class of an image."""

from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from neuro_noodle.choices import UserError
from neuro_noodle.measures.intervals import wilson
from neuro_noodle.objectives.base import OBJECTIVES, Dataset, Evidence, Objective, Predictor


@OBJECTIVES.add("classify")
class Classify(Objective):
    """Predict the class of the image; the metric is accuracy."""

    needs = ("image", "label")
    metric = "accuracy"
    direction = "max"

    def on(self, dataset: Dataset) -> Self:
        bound = super().on(dataset)
        if len(bound.classes) < 2:
            raise UserError(
                f"objective 'classify' needs at least two classes, but every image is labelled '{bound.classes[0]}'; "
                "choose another column with --dataset folder label=COLUMN, where COLUMN is a field of pattern="
            )
        return bound

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (len(self.classes),)

    def pair(self, sample: dict[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
        return sample["image"], sample["label"]

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(prediction, target)

    def output(self, prediction: Tensor) -> Tensor:
        return prediction.softmax(1)

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        return {"probabilities": output, "label": target}

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        return {"accuracy": self._is_correct(evidence).double().mean().item()}

    def interval(self, evidence: Evidence, groups: np.ndarray) -> tuple[float, float]:
        """Return the 95 % interval of the accuracy over groups of images, see `intervals.wilson`."""
        return wilson(self._is_correct(evidence).double().cpu().numpy(), groups)

    def confusion(self, evidence: Evidence) -> Tensor:
        """Return the confusion matrix, (K, K) counts: one row per true class, one column per predicted class."""
        n_classes = evidence["probabilities"].shape[1]
        pairs = evidence["label"] * n_classes + evidence["probabilities"].argmax(1)
        return torch.bincount(pairs, minlength=n_classes**2).view(n_classes, n_classes)

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        counts = torch.bincount(target, minlength=len(self.classes))
        majority = F.one_hot(counts.argmax(), len(counts)).float()
        return {"majority_class": lambda images: majority.expand(len(images), -1)}

    def rows(self, evidence: Evidence) -> dict[str, list]:
        probability, index = evidence["probabilities"].max(1)
        return {
            "label": [self.classes[i] for i in evidence["label"].tolist()],
            "predicted": [self.classes[i] for i in index.tolist()],
            "probability": probability.tolist(),
        }

    @staticmethod
    def _is_correct(evidence: Evidence) -> Tensor:
        return evidence["probabilities"].argmax(1) == evidence["label"]
