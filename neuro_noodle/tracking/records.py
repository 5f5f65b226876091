"""Records: a line per epoch in metrics.jsonl."""

import math
from collections.abc import Mapping

import numpy as np

from neuro_noodle.plain import format_json, parse_json
from neuro_noodle.tracking.base import TRACKERS, TrackedRun, Tracker, as_json

FILE = "metrics.jsonl"
START = -1  # the "epoch" of the record before the first epoch


@TRACKERS.add("records")
class Records(Tracker):
    """Append a line for the start and for each epoch to metrics.jsonl."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        self.file = (run.folder / FILE).open("a", encoding="utf-8")

    def log(self, epoch: int, metrics: Mapping[str, np.ndarray]) -> None:
        self.file.write(format_record({"epoch": epoch} | as_json(metrics)))
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def format_record(record: dict) -> str:
    """Return a record as a line of metrics.jsonl."""
    return format_json(record) + "\n"


def parse_records(content: bytes) -> tuple[list[dict], int]:
    """Return the records in the content of metrics.jsonl, and the number of damaged lines between them.

    The last line does not count as damaged if a kill has cut it off.
    """
    *lines, last = content.split(b"\n")
    records = [record for line in lines if (record := _parse(line)) is not None]
    whole_last = _parse(last)
    return records + ([whole_last] if whole_last else []), len(lines) - len(records)


def _parse(line: bytes) -> dict | None:
    """Return the record in a line; None if it is damaged."""
    try:
        record = parse_json(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or type(record.get("epoch")) is not int or record["epoch"] < START:
        return None
    values = [value for name, value in record.items() if name != "repetitions"]
    return record if all(value is None or _is_finite(value) for value in values) else None


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
