"""The console: a progress bar, and a line every so many epochs."""

import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator

from tqdm import tqdm

from neuro_noodle.tracking.base import Tracker, told


class Console(Tracker):
    """A progress bar on a terminal; elsewhere a line every so many epochs."""

    def __init__(self, start_epoch: int, n_epochs: int, n_steps: int, log_every: int) -> None:
        self.n_epochs = n_epochs
        self.log_every = log_every
        self.bar = tqdm(
            total=n_epochs * n_steps,
            initial=start_epoch * n_steps,
            unit="step",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def watch(self, batches: Iterable) -> "Watched":
        """Return the same batches, which move the bar as they are taken."""
        return Watched(batches, self.bar)

    def log(self, record: dict) -> None:
        done = record["epoch"] + 1
        self.bar.set_description(f"epoch {done}/{self.n_epochs}")
        if done % self.log_every == 0 or done == self.n_epochs:
            values = "  ".join(f"{key} {told(value)}" for key, value in record.items() if key != "epoch")
            self.bar.write(f"epoch {done}/{self.n_epochs}  {values}")

    def close(self) -> None:
        self.bar.close()


class Watched:
    """Batches that move a progress bar each time one is taken."""

    def __init__(self, batches: Iterable, bar: tqdm) -> None:
        self.batches = batches
        self.bar = bar

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator:
        for batch in self.batches:
            yield batch
            self.bar.update()


class Punctuated:
    """Batches that call back each time so many epochs, or a part of one, have been trained; and before the first.

    Args:
        batches: of one epoch, anew at each iteration.
        every: epochs between two calls.
        start_epoch: the one that the first iteration is.
        call: takes the epochs trained so far; runs between two batches, or after the last.
    """

    def __init__(self, batches: Collection, every: float, start_epoch: int, call: Callable[[float], None]) -> None:
        self.batches = batches
        self.every = every
        self.epoch = start_epoch
        self.call = call

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator:
        n = len(self.batches)
        if self.epoch == 0:
            self.call(0)
        for i, batch in enumerate(self.batches):
            if i:
                self._reach(self.epoch * n + i, n)
            yield batch
        self.epoch += 1
        self._reach(self.epoch * n, n)

    def _reach(self, n_steps: int, n: int) -> None:
        """Call back if the last step was the first to reach a multiple."""
        if math.floor(n_steps / n / self.every + 1e-9) > math.floor((n_steps - 1) / n / self.every + 1e-9):
            self.call(n_steps / n)
