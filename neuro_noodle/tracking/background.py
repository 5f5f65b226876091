"""A tracker in a thread of its own: whatever it does, or fails to do, the training goes on."""

import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

import numpy as np

from neuro_noodle.plain import first_line
from neuro_noodle.tracking.base import TRACKERS, TrackedRun, Tracker

NOTED_S = 2.0  # a longer wait is announced

Call = Callable[[Tracker], None]


class Background(Tracker):
    """Another tracker, built and called in a thread of its own; an error in it is printed and ends only the tracker.

    Args:
        run: the run to track.
        name: the other tracker, `NAME KEY=VALUE ...`.
        patience_s: how long to wait at the end for what has not been sent.
    """

    def __init__(self, run: TrackedRun, name: str, patience_s: float) -> None:
        super().__init__(run)
        self.name, self.patience_s = name, patience_s
        self.calls: SimpleQueue[Call | None] = SimpleQueue()
        self.thread = Thread(target=self._work, daemon=True)  # the process can end without it
        self.thread.start()

    def parameters(self, config: dict) -> None:
        self._call(lambda tracker: tracker.parameters(config))

    def log(self, epoch: int, metrics: Mapping[str, np.ndarray]) -> None:
        self._call(lambda tracker: tracker.log(epoch, metrics))

    def image(self, name: str, pixels: np.ndarray, epoch: int) -> None:
        self._call(lambda tracker: tracker.image(name, pixels, epoch))

    def confusion(self, counts: np.ndarray, classes: list[str], epoch: int) -> None:
        self._call(lambda tracker: tracker.confusion(counts, classes, epoch))

    def asset(self, path: Path) -> None:
        self._call(lambda tracker: tracker.asset(path))

    def _call(self, call: Call) -> None:
        if self.thread.is_alive():
            self.calls.put(call)

    def close(self) -> None:
        self.calls.put(None)
        self.thread.join(min(NOTED_S, self.patience_s))
        if self.thread.is_alive():
            print(f"waiting for the tracker {self.name}; Ctrl-C skips this", file=sys.stderr)
            with contextlib.suppress(KeyboardInterrupt):
                self.thread.join(self.patience_s)
        if self.thread.is_alive():
            self._report("has not sent everything")

    def _work(self) -> None:
        try:
            tracker = TRACKERS.build(self.name, self.run)
            for call in iter(self.calls.get, None):
                call(tracker)
            tracker.close()
        except Exception as error:  # a library that talks to a server can fail in any way
            self._report(f"stopped ({type(error).__name__}: {first_line(error)})")

    def _report(self, what: str) -> None:
        print(
            f"note: the tracker {self.name} {what}; the run goes on without it, and all metrics are in metrics.jsonl",
            file=sys.stderr,
        )
