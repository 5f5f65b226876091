"""Trainings that share a machine: `sharing.py DATA` trains the arena autoencoder alone, next to a busy thread of
another program, and two and four times at once. DATA is a folder that has `mouse_openfield`.

It prints the seconds per epoch of each training, and the seconds until all have ended, relative to training one after
the other.
"""

import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jobs import JOBS
from runs import PROJECT

N_EPOCHS = 3
N_ROUNDS = 2
BUSY = "while True: pass"
SETTINGS = {"alone": (1, 0), "next to a busy thread": (1, 1), "two at once": (2, 0), "four at once": (4, 0)}


@dataclass
class Training:
    """A training that runs.

    Attributes:
        ends: the time at which each epoch ended, s.
        ended: the time at which the process ended, s.
    """

    process: subprocess.Popen
    ends: list[float]
    ended: float = 0.0

    def watch(self) -> None:
        """Record times until the process ends."""
        for line in self.process.stdout or ():
            if line.startswith("epoch"):
                self.ends.append(time.perf_counter())
        if self.process.wait():
            raise SystemExit("main.py failed")
        self.ended = time.perf_counter()


def main(data: Path) -> None:
    """Measure each setting in turn and print a line for each."""
    epochs: dict[str, list[float]] = {name: [] for name in SETTINGS}
    wholes: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for _ in range(N_ROUNDS):
        for name, (n_trainings, n_busy) in SETTINGS.items():
            seconds, whole = measure(data, n_trainings, n_busy)
            epochs[name] += seconds
            wholes[name].append(whole)
    for name, (n_trainings, _) in SETTINGS.items():
        ratios = np.array(wholes[name]) / (n_trainings * np.array(wholes["alone"]))
        print(f"{name:<22} epoch {format_range(epochs[name])} s, all {format_range(wholes[name])} s, ", end="")
        print(f"{format_range(ratios)} of one after the other")


def measure(data: Path, n_trainings: int, n_busy: int) -> tuple[list[float], float]:
    """Return the seconds of every epoch but the first of each training, and until all have ended."""
    job, started = JOBS["arena"], time.perf_counter()
    words = f"{job.ours} --batch_size {job.batch_size} --n_epochs {N_EPOCHS} --data_dir {(data / job.data).resolve()}"
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(n_busy)]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(PROJECT / "main.py"), *words.split(), "--save_dir", folder]
        trainings = [Training(start(command, f"run{index}"), []) for index in range(n_trainings)]
        threads = [threading.Thread(target=training.watch) for training in trainings]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for process in busy:
        process.kill()
    seconds = np.concatenate([np.diff(training.ends) for training in trainings]).tolist()
    return seconds, max(training.ended for training in trainings) - started


def start(command: list[str], name: str) -> subprocess.Popen:
    """Start a training."""
    return subprocess.Popen([*command, "--namestr", name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def format_range(values: np.ndarray | list[float]) -> str:
    """Return median, minimum and maximum as text."""
    return f"{np.median(values):.2f} ({np.min(values):.2f} to {np.max(values):.2f})"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
