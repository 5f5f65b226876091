"""Classify: predict the class of an image."""

import re
from collections.abc import Mapping
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from neuro_noodle.choices import UserError, require
from neuro_noodle.measures.intervals import Ends, accuracy_interval
from neuro_noodle.measures.scores import auc
from neuro_noodle.objectives.base import OBJECTIVES, Dataset, Evidence, Meaning, Objective, Predictor
from neuro_noodle.objectives.pixels import fit_pixel_classes

LEAST_PROBABILITY = 1e-12  # of the true class, in the log loss


@OBJECTIVES.add("classify")
class Classify(Objective):
    """Predict the class of the image; the metric is accuracy."""

    predicts = "probabilities of classes"
    needs = ("image", "label")
    metric = "accuracy"
    direction = "max"
    interval_method = "posterior of a beta-binomial distribution over groups, or over images without groups"

    def on(self, dataset: Dataset) -> Self:
        bound = super().on(dataset)
        if len(bound.classes) < 2:
            found = f"every label is '{bound.classes[0]}'" if bound.classes else "every label is missing"
            raise UserError(
                f"objective 'classify' needs at least two classes, but {found}; "
                "choose another column with --dataset folder label=COLUMN, where COLUMN is a field of pattern="
            )
        return bound

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (len(self.classes),)

    def has_target(self, dataset: Dataset) -> Tensor:
        return dataset.labels >= 0

    def check_parts(self, dataset: Dataset, parts: Mapping[str, list[int]]) -> list[str]:
        """Check that training has every class, and validation more than one; see the base class."""
        counts = {
            part: torch.bincount(dataset.labels[parts[part]].cpu(), minlength=len(self.classes)).numpy()  # (K,)
            for part in ("training", "validation", "test")
            if parts.get(part)
        }
        total = np.sum(list(counts.values()), 0)
        untrained = (counts["training"] == 0) & (total > 0)
        require(
            not untrained.any(),
            f"training has no image of the class {self._named(untrained, total)}, so it cannot be learned; "
            "each part needs images (with --split group: groups) of it; try another --split_seed or --val_fraction",
        )
        validated = np.flatnonzero(counts["validation"])
        require(
            len(validated) > 1,
            f"every validation image has the class '{self.classes[int(validated[0])]}', so accuracy cannot choose the "
            "best epoch; try another --split_seed, a larger --val_fraction or, with --split group, more groups",
        )
        return [
            f"{part} has no image of the class {self._named(n == 0, total)}"
            for part, n in counts.items()
            if (n == 0).any()
        ]

    def _named(self, mask: np.ndarray, total: np.ndarray) -> str:
        """Return the classes of a mask (K,) as text; says which of them have one image or none in all parts."""
        few = {0: " (in no part)", 1: " (a single image)"}
        names = [f"'{self.classes[i]}'{few.get(int(total[i]), '')}" for i in np.flatnonzero(mask).tolist()]
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

    def notes(self, augmentations: list) -> list[str]:
        notes = []
        for augmentation in augmentations:
            named = [name for name in self.classes if augmentation.mixes & set(re.findall("[a-z]+", name.lower()))]
            kind = type(augmentation).__name__.lower()
            notes += [
                f"--augment {kind} changes the direction in an image, but not its class ({' and '.join(named[:4])}); "
                "--augment none avoids this"
            ] * bool(named)
        return notes

    def pair(self, sample: dict[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
        return sample["image"], sample["label"]

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(prediction, target)

    def output(self, prediction: Tensor) -> Tensor:
        return prediction.softmax(1)

    @property
    def meaning(self) -> Meaning:
        return Meaning("probability of each class; they sum to 1", "probability", self.classes)

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        return {"probabilities": output, "label": target}

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        return {"accuracy": self._is_correct(evidence).double().mean().item()}

    def summary(self, evidence: Evidence) -> dict[str, float]:
        """Return balanced accuracy, area under the ROC curve (of two classes), log loss and overconfidence.

        Balanced accuracy is the mean over classes of the share that is named correctly. Log loss is in nats.
        Overconfidence is the mean probability of the predicted class minus the accuracy.
        """
        probabilities, label = (evidence[key].double().cpu().numpy() for key in ("probabilities", "label"))
        confidence = float(probabilities.max(1).mean() - self.metrics(evidence)["accuracy"])
        of_true = np.take_along_axis(probabilities, label[:, None].astype(int), 1)  # (N, 1)
        log_loss = -float(np.log(of_true.clip(LEAST_PROBABILITY)).mean())
        balanced = {"balanced_accuracy": float(np.mean(list(self.by_class(evidence).values())))}
        if len(self.classes) == 2 and len(np.unique(label)) == 2:
            balanced["auc"] = auc(probabilities[:, 1], label == 1)
        return balanced | {"log_loss": log_loss, "overconfidence": confidence}

    def by_class(self, evidence: Evidence) -> dict[str, float]:
        """Return the share of the images of each class that is named correctly; classes without images are left out."""
        counts = self.confusion(evidence).double()
        return {
            name: float(count[i] / count.sum())
            for i, (name, count) in enumerate(zip(self.classes, counts, strict=True))
            if count.sum()
        }

    def interval(self, evidence: Evidence, groups: np.ndarray) -> Ends | None:
        """Return the 95 % interval of the accuracy over groups of images, see `intervals.accuracy_interval`."""
        return accuracy_interval(self._is_correct(evidence).double().cpu().numpy(), groups)

    def confusion(self, evidence: Evidence) -> Tensor:
        """Return the confusion matrix, (K, K) counts: one row per true class, one column per predicted class."""
        n_classes = evidence["probabilities"].shape[1]
        pairs = evidence["label"] * n_classes + evidence["probabilities"].argmax(1)
        return torch.bincount(pairs, minlength=n_classes**2).view(n_classes, n_classes)

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        shares = torch.bincount(target, minlength=len(self.classes)) / len(target)
        linear = fit_pixel_classes(x, target, len(self.classes))
        return {"majority_class": lambda images: shares.expand(len(images), -1), "linear_pixels": linear}

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
