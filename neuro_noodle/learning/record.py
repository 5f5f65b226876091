"""Record: what the training loop yields after each step."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Record:
    """The state of training at the start or after a step, and the metrics if no epoch is under way.

    Attributes:
        epochs: trained so far; 1.25 is a quarter of the second epoch, 0 the start.
        metrics: (R,) each; empty within an epoch.
    """

    epochs: float
    metrics: Mapping[str, np.ndarray]

    @property
    def ends_epoch(self) -> bool:
        """Whether an epoch is complete; the start counts as one."""
        return bool(self.metrics)

    @property
    def epoch(self) -> int:
        """The index of the epoch that was trained last; -1 at the start."""
        return round(self.epochs) - 1

    def of_repetition(self, index: int) -> dict[str, float]:
        """Return the metrics of one repetition."""
        return {name: float(values[index]) for name, values in self.metrics.items()}


def falls_due(every: float | None, epochs: float, n_steps: int) -> bool:
    """Return whether the last of n_steps per epoch was the first to reach a multiple of so many epochs."""
    step = round(epochs * n_steps)
    if not every or not step:
        return bool(every)
    return math.floor(step / n_steps / every + 1e-9) > math.floor((step - 1) / n_steps / every + 1e-9)
