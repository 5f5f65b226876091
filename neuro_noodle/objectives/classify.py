"""Classify: name the class of an image."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from neuro_noodle.choices import UserError
from neuro_noodle.measures.intervals import wilson
from neuro_noodle.objectives.base import OBJECTIVES, Evidence, Objective, Predictor


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
