"""The console: a progress bar on a terminal, and a line every so many epochs."""

import shutil
import sys
from collections.abc import Mapping
from itertools import accumulate

import numpy as np
from tqdm import tqdm

from neuro_noodle.tracking.base import TRACKERS, Spread, TrackedRun, Tracker

N_ALWAYS = 3  # values of an epoch that are printed even if the line is longer than the terminal is wide


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
            self.bar.write(format_epoch(f"epoch {n_trained}/{self.run.n_epochs}", metrics))

    def close(self) -> None:
        self.bar.close()


def format_epoch(title: str, metrics: Mapping[str, np.ndarray]) -> str:
    """Return the metrics of an epoch as a line: both losses, the main metric, and as many others as fit on it.

    Args:
        title: start of the line.
        metrics: by name such as validation/loss, (R,) each; the main metric comes after the losses.
    """
    words = [f"{_short(name)} {format_values(values)}" for name, values in metrics.items()]
    width = shutil.get_terminal_size().columns
    ends = accumulate((len(word) + 2 for word in words), initial=len(title))
    n_fitting = sum(end <= width for end in ends) - 1
    return "  ".join([title, *words[: max(n_fitting, N_ALWAYS)]])


def _short(name: str) -> str:
    return name.replace("/", " ") if name.endswith("/loss") else name.removeprefix("validation/")


def format_values(values: np.ndarray) -> str:
    """Return (R,) values as text: the number, or the median and the 10th to 90th percentile over repetitions."""
    if len(values) == 1:
        return f"{values[0]:.5g}"
    spread = Spread.of(values)
    return f"{spread.median:.5g} ({spread.p10:.4g} to {spread.p90:.4g})"
