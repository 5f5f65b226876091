"""Records: a line per epoch in metrics.jsonl."""

import json
from collections.abc import Mapping

import numpy as np

from neuro_noodle.tracking.base import TRACKERS, TrackedRun, Tracker, as_json

FILE = "metrics.jsonl"


@TRACKERS.add("records")
class Records(Tracker):
    """Append a line per epoch to metrics.jsonl."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        self.file = (run.folder / FILE).open("a")

    def log(self, epoch: int, metrics: Mapping[str, np.ndarray]) -> None:
        self.file.write(format_record({"epoch": epoch} | as_json(metrics)))
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def format_record(record: dict) -> str:
    """Return a record as a line of metrics.jsonl."""
    return json.dumps(record) + "\n"


def parse_records(content: bytes) -> tuple[list[dict], int]:
    """Return the records in the content of metrics.jsonl, and the number of damaged lines between them.

    The last line does not count as damaged if a kill has cut it off.
    """
    *lines, last = content.split(b"\n")
    records = [record for line in lines if (record := _parse(line)) is not None]
    return records, len(lines) - len(records)


def _parse(line: bytes) -> dict | None:
    """Return the record in a line; None if it is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_record = isinstance(record, dict) and type(record.get("epoch")) is int
    is_number = (
        [isinstance(value, int | float | None) for name, value in record.items() if name != "repetitions"]
        if is_record
        else []
    )
    return record if is_record and all(is_number) else None
