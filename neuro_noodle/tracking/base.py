"""What a tracker is, and the table of trackers.

To add one: a subclass of `Tracker` under @TRACKERS.add("name") in a file of this folder. `--track name` starts it; its
files go in a folder of the run with that name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from neuro_noodle.choices import Table
from neuro_noodle.plain import finite

TRACKERS = Table("tracker")


@dataclass(frozen=True)
class TrackedRun:
    """What trackers need to know of a run when it starts.

    Attributes:
        folder: of the run.
        settings: settings.json, which holds the accounts of online services.
        start_epoch, n_epochs: the first epoch to train, and the total.
        n_steps: steps per epoch.
        log_every: epochs between printed lines.
        experiment: that the run belongs to, by which services group runs; None for none.
        config: what config.json holds.
    """

    folder: Path
    settings: Path
    start_epoch: int
    n_epochs: int
    n_steps: int
    log_every: int
    experiment: str | None = None
    config: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Spread:
    """Median, 10th and 90th percentile over repetitions."""

    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, values: np.ndarray) -> "Spread":
        """Return the spread of (R,) values."""
        with np.errstate(invalid="ignore"):  # values that are not finite have no spread
            return cls(*(float(np.quantile(values, q)) for q in (0.5, 0.1, 0.9)))


class Tracker:
    """Record nothing; subclasses override what they record. Values of a record are (R,), one per repetition.

    Args:
        run: the run to track.
    """

    is_online = False  # whether it talks to a server, and so may fail or wait

    def __init__(self, run: TrackedRun) -> None:
        self.run = run

    @classmethod
    def require_ready(cls, settings: Path) -> None:
        """Raise UserError if the tracker cannot start, before a run's folder is made."""

    def parameters(self, config: dict) -> None:
        """Record the config of the run."""

    def progress(self, epochs: float) -> None:
        """Record how many epochs have been trained, fractions included; called after each step if not `is_online`."""

    def log(self, epoch: int, metrics: Mapping[str, np.ndarray]) -> None:
        """Record the metrics of an epoch, (R,) each."""

    def image(self, name: str, pixels: np.ndarray, epoch: int) -> None:
        """Record a picture, (H, W) or (H, W, 3) uint8."""

    def confusion(self, counts: np.ndarray, classes: list[str], epoch: int) -> None:
        """Record a confusion matrix (K, K): row the true class, column the predicted class."""

    def asset(self, path: Path) -> None:
        """Record a file."""

    def close(self) -> None:
        """Finish; called once, also after an error."""


def as_json(metrics: Mapping[str, np.ndarray]) -> dict:
    """Return the metrics of an epoch as JSON can hold them.

    For one network each is a number. For several repetitions each is the median, NAME_p10 and NAME_p90 are the 10th and
    90th percentile, and `repetitions` holds every value. A number that is not finite is None.
    """
    if all(len(values) == 1 for values in metrics.values()):
        return {name: finite(values[0]) for name, values in metrics.items()}
    spreads = {name: Spread.of(values) for name, values in metrics.items()}
    values = {name: finite(spread.median) for name, spread in spreads.items()}
    for name, spread in spreads.items():
        values |= {f"{name}_p10": finite(spread.p10), f"{name}_p90": finite(spread.p90)}
    return values | {"repetitions": {name: [*map(finite, each)] for name, each in metrics.items()}}
