"""Records: a line per epoch in metrics.jsonl."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from neuro_noodle.plain import format_json, read_json
from neuro_noodle.tracking.base import TRACKERS, TrackedRun, Tracker, as_json

FILE = "metrics.jsonl"


@TRACKERS.add("records")
class Records(Tracker):
    """Append a line per epoch to metrics.jsonl."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        self.file = (run.folder / FILE).open("a", encoding="utf-8")

    def log(self, epoch: int, metrics: Mapping[str, np.ndarray]) -> None:
        self.file.write(format_json({"epoch": epoch} | as_json(metrics)) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def read_records(run: Path) -> list[dict]:
    """Return the records of a run's metrics.jsonl, None for undefined numbers; a last line cut off is skipped."""
    path = run / FILE
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(read_json(line))
        except json.JSONDecodeError:
            break
    return records
