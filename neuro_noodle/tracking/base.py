"""Trackers: where the record of a run goes while it trains. The only file that knows Comet.

Every tracker is a `Tracker`, which itself records nothing. To add one: a subclass in this file, started in main.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


class Tracker:
    """Records nothing; each method may be overridden."""

    def parameters(self, config: dict) -> None:
        """Take the values that make the run."""

    def log(self, record: dict) -> None:
        """Take one epoch's record."""

    def image(self, name: str, pixels, epoch: int) -> None:
        """Take a picture, (H, W) or (H, W, 3) uint8."""

    def confusion(self, counts: list[list[int]], classes: list[str], epoch: int) -> None:
        """Take a confusion matrix: row the true class, column the predicted one."""

    def asset(self, path: Path) -> None:
        """Take a file."""

    def close(self) -> None:
        """Finish; called once, also after an error."""


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return median, 10th and 90th percentile."""
    return tuple(float(np.quantile(values, share)) for share in (0.5, 0.1, 0.9))


def told(value: float | Sequence[float]) -> str:
    """Return a number as text; of repetitions the median, from the 10th to the 90th percentile."""
    if not isinstance(value, list):
        return f"{value:.5g}"
    median, low, high = spread(value)
    return f"{median:.5g} ({low:.4g} to {high:.4g})"


def summarised(record: dict) -> dict:
    """Return a record of repetitions with the median, 10th and 90th percentile of each value, and all of them."""
    of_all = {key: values for key, values in record.items() if isinstance(values, list)}
    for key, values in of_all.items():
        record = record | dict(zip((key, f"{key}_p10", f"{key}_p90"), spread(values), strict=True))
    return record | ({"repetitions": of_all} if of_all else {})
