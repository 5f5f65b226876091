"""Draw the spread over repetitions against the epoch, of several experiments in one figure."""

import argparse
import json
import sys
from pathlib import Path

from neuro_noodle.choices import UserError, require
from neuro_noodle.tracking.base import told
from neuro_noodle.tracking.records import read_records
from neuro_noodle.views import figures


def main(words: list[str] | None = None) -> int:
    """Write the figure, and say what each experiment reached; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="runs, most often of --repetitions")
    parser.add_argument("--value", help="of the records, such as validation/loss; if none, what chose the best epoch")
    parser.add_argument("--out", type=Path, help="the picture; if none, bands.png in the figures of the first run")
    arguments = parser.parse_args(words)
    try:
        value = arguments.value or f"validation/{read_result(arguments.runs[0])['metric']}"
        names = [run.name for run in arguments.runs]
        names = names if len(set(names)) == len(names) else [str(run) for run in arguments.runs]
        series = {name: read_series(run, value) for name, run in zip(names, arguments.runs, strict=True)}
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    path = arguments.out or arguments.runs[0] / "figures" / "bands.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    figures.bands(series, value).savefig(path, dpi=150)
    for name, run in zip(names, arguments.runs, strict=True):
        finished = (run / "result.json").is_file()
        print("".join(f"{name}: {line}\n" for line in (tell(read_result(run)) if finished else [])), end="")
    print(path)
    return 0


def read_result(run: Path) -> dict:
    """Return the result of a finished run."""
    require((run / "result.json").is_file(), f"{run} is no finished run: it has no result.json")
    return json.loads((run / "result.json").read_text())


def tell(result: dict) -> list[str]:
    """Return what the repetitions of a run have reached, a line for each part."""
    metric, each = result["metric"], result.get("repetitions", {})
    parts = [part for part in ("validation", "test") if part in each]
    return [f"{part} {metric} {told(each[part][metric])}, n = {len(each['seeds'])}" for part in parts]


def read_series(run: Path, value: str) -> dict[int, list[float]]:
    """Return one value of every repetition, by epoch; of a run without repetitions its only one."""
    records = [record for record in read_records(run) if value in record]
    require(bool(records), f"{run} has no {value} in metrics.jsonl")
    return {record["epoch"] + 1: record.get("repetitions", {}).get(value, [record[value]]) for record in records}


if __name__ == "__main__":
    sys.exit(main())
