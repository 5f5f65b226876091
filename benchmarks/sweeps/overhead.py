"""What a sweep costs per run: 100 runs that do nothing, on this machine, against the same processes without a sweep.

Run it from the folder of the project: `python -m benchmarks.sweeps.overhead`.
"""

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from neuro_noodle.command import load_tables
from neuro_noodle.sweeps import attempts
from neuro_noodle.sweeps.__main__ import main as sweep

N_RUNS, N_ROUNDS, N_CORES = 100, 3, 2
RESULT = (
    '{"metric": "mse", "direction": "min", "validation": {"value": 1.0, "metrics": {"mse": 1.0}}, "test": null, '
    '"baselines": {}, "ceiling": null, "best_epoch": 0, "seconds": 0.0}'
)
NOTHING = f"""\
import pathlib, sys
folder = pathlib.Path(sys.argv[sys.argv.index("--save_dir") + 1], sys.argv[sys.argv.index("--namestr") + 1])
folder.mkdir(parents=True)
(folder / "result.json").write_text({RESULT!r})
(folder / "metrics.jsonl").write_text('{{"epoch": 0, "validation/mse": 1.0}}\\n')
"""


def main() -> None:
    """Time both in turns, and print the seconds per run."""
    load_tables()  # so that importing PyTorch does not count
    seeds = ",".join(map(str, range(N_RUNS)))
    with tempfile.TemporaryDirectory() as name:
        attempts.MAIN = Path(name, "nothing.py")
        attempts.MAIN.write_text(NOTHING, encoding="utf-8")
        for number in range(N_ROUNDS):
            bare, swept = Path(name, f"bare{number}"), Path(name, f"swept{number}")
            started = time.monotonic()
            with ThreadPoolExecutor(N_CORES) as executor:
                list(executor.map(lambda i, folder=bare: start(folder, i), range(N_RUNS)))
            middle = time.monotonic()
            with redirect_stdout(StringIO()):
                sweep(["s", "--seeds", seeds, "--save_dir", str(swept), "--engine", "local", f"cores={N_CORES}"])
            seconds, without = time.monotonic() - middle, middle - started
            each = (seconds - without) / N_RUNS
            print(
                f"{N_RUNS} runs: {without:.1f} s bare, {seconds:.1f} s as a sweep, {each:.3f} s more per run",
                flush=True,
            )


def start(folder: Path, index: int) -> None:
    """Start a process that does nothing."""
    command = [sys.executable, str(attempts.MAIN), "--save_dir", str(folder), "--namestr", str(index)]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
