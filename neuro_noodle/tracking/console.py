"""The console: a progress bar on a terminal, and a line every so many epochs."""

from collections.abc import Mapping
from contextlib import ExitStack

import numpy as np

from neuro_noodle.progress import Stage, say
from neuro_noodle.tracking.base import TRACKERS, Spread, TrackedRun, Tracker


@TRACKERS.add("console")
class Console(Tracker):
    """Print a line every --log_every epochs, below a progress bar on a terminal."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        n_done, n_total = run.start_epoch * run.n_steps, run.n_epochs * run.n_steps
        self.stack = ExitStack()
        self.stage = self.stack.enter_context(Stage("training", n_total, n=n_done, unit="step"))

    def progress(self, epochs: float) -> None:
        self.stage.n = round(epochs * self.run.n_steps)

    def log(self, epoch: int, metrics: Mapping[str, np.ndarray]) -> None:
        n_trained = epoch + 1
        self.stage.what = f"epoch {n_trained}/{self.run.n_epochs}"
        if n_trained % self.run.log_every == 0 or n_trained == self.run.n_epochs:
            values = "  ".join(f"{name} {format_values(values)}" for name, values in metrics.items())
            say(f"epoch {n_trained}/{self.run.n_epochs}  {values}")

    def close(self) -> None:
        self.stack.close()


def format_values(values: np.ndarray) -> str:
    """Return (R,) values as text: the number, or the median and the 10th to 90th percentile over repetitions."""
    if len(values) == 1:
        return f"{values[0]:.5g}"
    spread = Spread.of(values)
    return f"{spread.median:.5g} ({spread.p10:.4g} to {spread.p90:.4g})"
