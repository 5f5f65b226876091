"""All trackers of a run as one."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from neuro_noodle.tracking.background import Background
from neuro_noodle.tracking.base import TRACKERS, TrackedRun, Tracker

ALWAYS = ("console", "records")
PATIENCE_S = 600.0  # for what is being sent when the run ends; a client gives up a dead connection long before


def require_ready(names: Sequence[str], settings: Path) -> None:
    """Raise UserError if one of the chosen trackers cannot start."""
    for name in names:
        TRACKERS[TRACKERS.parse(name).name].require_ready(settings)


class Trackers(Tracker):
    """Several trackers as one, always with the console and metrics.jsonl; closed at the end of a `with` block.

    Args:
        names: choices of the table, `NAME KEY=VALUE ...`.
        run: the run to track.
    """

    def __init__(self, names: Sequence[str], run: TrackedRun) -> None:
        super().__init__(run)
        self.each: list[Tracker] = []
        try:
            for name in dict.fromkeys((*ALWAYS, *names)):
                is_online = TRACKERS[TRACKERS.parse(name).name].is_online
                self.each.append(Background(run, name, PATIENCE_S) if is_online else TRACKERS.build(name, run))
            self.parameters(run.config)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Trackers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def parameters(self, config: dict) -> None:
        for tracker in self.each:
            tracker.parameters(config)

    def progress(self, epochs: float) -> None:
        for tracker in self.each:
            tracker.progress(epochs)

    def log(self, epoch: int, metrics: Mapping[str, np.ndarray]) -> None:
        for tracker in self.each:
            tracker.log(epoch, metrics)

    def image(self, name: str, pixels: np.ndarray, epoch: int) -> None:
        for tracker in self.each:
            tracker.image(name, pixels, epoch)

    def confusion(self, counts: np.ndarray, classes: list[str], epoch: int) -> None:
        for tracker in self.each:
            tracker.confusion(counts, classes, epoch)

    def asset(self, path: Path) -> None:
        for tracker in self.each:
            tracker.asset(path)

    def close(self) -> None:
        with ExitStack() as stack:  # closes all of them, also if one fails
            for tracker in reversed(self.each):
                stack.callback(tracker.close)
