"""Records: a line per epoch in metrics.jsonl."""

import json
from pathlib import Path

from neuro_noodle.tracking.base import Tracker, summarised


class JsonLines(Tracker):
    """A line per epoch in metrics.jsonl; a resumed run goes on after the epochs it keeps."""

    def __init__(self, run: Path, start_epoch: int) -> None:
        kept = [record for record in read_records(run) if record["epoch"] < start_epoch]
        path = run / "metrics.jsonl"
        scratch = path.with_name(".metrics.jsonl.part")
        scratch.write_text("".join(json.dumps(record) + "\n" for record in kept))
        scratch.replace(path)
        self.file = path.open("a")

    def log(self, record: dict) -> None:
        self.file.write(json.dumps(summarised(record)) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def read_records(run: Path) -> list[dict]:
    """Return the records of a run's metrics.jsonl; a last line cut off by a kill is passed over."""
    path = run / "metrics.jsonl"
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
