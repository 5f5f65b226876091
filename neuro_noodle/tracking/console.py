"""The console: a progress bar on a terminal, and a line every so many epochs."""

import sys
from collections.abc import Mapping

import numpy as np
from tqdm import tqdm

from neuro_noodle.tracking.base import TRACKERS, Spread, TrackedRun, Tracker


@TRACKERS.add("console")
class Console(Tracker):
    """Print a line every --log_every epochs, below a progress bar on a terminal."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        self.bar = tqdm(
            total=run.n_epochs * run.n_steps,
            initial=run.start_epoch * run.n_steps,
            unit="step",
            dynamic_ncols=True,
            mininterval=1.0,  # each refresh interrupts the threads that compute
            disable=not sys.stderr.isatty(),
        )

    def progress(self, epochs: float) -> None:
        self.bar.update(round(epochs * self.run.n_steps) - self.bar.n)

    def log(self, epoch: int, metrics: Mapping[str, np.ndarray]) -> None:
        n_trained = epoch + 1
        self.bar.set_description(f"epoch {n_trained}/{self.run.n_epochs}")
        if n_trained % self.run.log_every == 0 or n_trained == self.run.n_epochs:
            values = "  ".join(f"{name} {format_values(values)}" for name, values in metrics.items())
            self.bar.write(f"epoch {n_trained}/{self.run.n_epochs}  {values}")

    def close(self) -> None:
        self.bar.close()


def format_values(values: np.ndarray) -> str:
    """Return (R,) values as text: the number, or the median and the 10th to 90th percentile over repetitions."""
    if len(values) == 1:
        return f"{values[0]:.5g}"
    spread = Spread.of(values)
    return f"{spread.median:.5g} ({spread.p10:.4g} to {spread.p90:.4g})"
