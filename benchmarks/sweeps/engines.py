"""Run the same sweep on this machine, on a real Slurm and on a real Grid Engine, and compare the tables.

Run it from the folder of the project, as root on Debian: `python -m benchmarks.sweeps.engines`. A batch system that
cannot be installed and started is skipped with the reason.
"""

import contextlib
import csv
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.sweeps.clusters import CLUSTERS, Unavailable

HERE = Path(__file__).resolve().parents[2]
VARIED = ["--vary", "latent_dim=2,8,16", "--vary", "optimizer=adam | sgd momentum=0.9"]
SMALL = "--dataset digits --encoder fc hidden=32 --head fc --n_epochs 3 --repetitions 3 --augment none"
OPTIONS = {"local": "", "slurm": "jobs=2 time=00:20:00", "gridengine": "jobs=2 time=00:20:00"}
TIMES = {"seconds"}  # columns that may differ


def main() -> None:
    """Run the sweep on each engine, and compare the tables."""
    with tempfile.TemporaryDirectory() as name:
        tables = {}
        for engine, options in OPTIONS.items():
            folder = Path(name, engine)
            try:
                with (
                    CLUSTERS[engine](Path(name, f"{engine}-daemons"))
                    if engine in CLUSTERS
                    else contextlib.nullcontext()
                ):
                    started = time.monotonic()
                    tables[engine] = sweep(folder, engine, options)
                    seconds = time.monotonic() - started
            except Unavailable as reason:
                print(f"{engine}: skipped, because {reason}", flush=True)
                continue
            same = "identical to local" if tables[engine] == tables["local"] else "DIFFERENT from local"
            print(f"{engine}: {len(tables[engine])} rows, {same}, {seconds:.0f} s", flush=True)


def sweep(folder: Path, engine: str, options: str) -> list[dict[str, str]]:
    """Run the sweep, and return the rows of its table without times."""
    command = [sys.executable, "-m", "neuro_noodle.sweeps", "s", *VARIED, "--save_dir", str(folder)]
    command += ["--engine", engine, *options.split(), "--", *SMALL.split()]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{engine}: {done.stdout}\n{done.stderr}")
    with (folder / "s" / "runs.csv").open(encoding="utf-8", newline="") as file:
        return [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(file)]


if __name__ == "__main__":
    main()
