"""The console: a progress bar on a terminal, and a line every so many epochs."""

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from itertools import accumulate

import numpy as np

from neuro_noodle.progress import Stage, say
from neuro_noodle.tracking.base import TRACKERS, Spread, TrackedRun, Tracker

N_ALWAYS = 3  # values of an epoch that are printed even if the line is longer than the terminal is wide


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
            say(format_epoch(f"epoch {n_trained}/{self.run.n_epochs}", metrics))

    def close(self) -> None:
        self.stack.close()


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
