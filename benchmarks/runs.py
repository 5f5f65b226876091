"""Train runs by starting main.py as a process, read their results, and format numbers over several runs."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parent.parent
COMMAND_FILE = "benchmark_command.txt"  # in a run: the command line that trained it


def start(script: str, *words: str) -> None:
    """Run a script of the project, for example main.py; its output is printed only if it fails."""
    done = subprocess.run([sys.executable, str(PROJECT / script), *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{script} {shlex.join(words)}\n{done.stdout}{done.stderr}")


def start_and_print(script: str, *words: str) -> None:
    """Run a script of the project; its output is printed."""
    if subprocess.run([sys.executable, str(PROJECT / script), *words], check=False).returncode:
        raise SystemExit(f"{script} {shlex.join(words)}")


def train(folder: Path, name: str, words: Sequence[str]) -> Path:
    """Train a run, unless the folder already holds its result; a run that was interrupted is trained again.

    Args:
        folder: the folder of all runs of this benchmark.
        name: the name of the run.
        words: the command line of main.py, without --save_dir and --namestr.

    Returns:
        The folder of the run.

    Raises:
        SystemExit: The folder holds a run of that name that was trained with another command line, or something else.
    """
    run, command = folder / name, shlex.join(words)
    trained_by = run / COMMAND_FILE
    if (run / "result.json").exists():
        earlier = trained_by.read_text(encoding="utf-8") if trained_by.exists() else command
        if earlier != command:
            raise SystemExit(f"{run} was trained with other flags ({earlier}); choose another folder")
        return run
    if run.exists():
        if any(run.iterdir()) and not (run / "config.json").exists():
            raise SystemExit(f"{run} holds files but no run; choose another folder")
        shutil.rmtree(run)
    start("main.py", "--no-plot", *words, "--save_dir", str(folder), "--namestr", name, "--log_every", "1000")
    trained_by.write_text(command, encoding="utf-8")
    print(f"  trained {name}", flush=True)
    return run


class Training:
    """A training in a process of its own; `ends` has the time at which each line of an epoch was printed, s.

    Args:
        words: the command line of main.py.
        launcher: the options of Python that start main.py in several processes.
        n_threads: of each process; as many as there are cores if None.
    """

    def __init__(self, words: Sequence[str], launcher: Sequence[str] = (), n_threads: int | None = None) -> None:
        command = [sys.executable, *launcher, str(PROJECT / "main.py"), "--no-plot", *words]
        environment = os.environ | ({"OMP_NUM_THREADS": str(n_threads)} if n_threads else {})
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.ends: list[float] = []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            if line.startswith("epoch"):
                self.ends.append(time.perf_counter())

    def wait(self) -> None:
        """Wait until the process ends.

        Raises:
            SystemExit: it failed.
        """
        self.reader.join()
        if self.process.wait():
            raise SystemExit(f"{self.process.args} failed")


def read_result(folder: Path) -> dict:
    """Return the result of a run, or of one of its tests."""
    return json.loads((folder / "result.json").read_text(encoding="utf-8"))


def format_mean(values: Sequence[float], *, scale: float = 1.0, digits: int = 2) -> str:
    """Return the mean and the standard deviation of values, multiplied by `scale`, as text."""
    return f"{np.mean(values) * scale:.{digits}f} +- {np.std(values, ddof=1) * scale:.{digits}f}"


def format_median(values: Sequence[float]) -> str:
    """Return the median and the 10th and 90th percentile of values as text."""
    low, median, high = np.quantile(values, (0.1, 0.5, 0.9))
    return f"{median:.3f} ({low:.3f} to {high:.3f})"
