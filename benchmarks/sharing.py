"""Train the arena autoencoder alone, next to a busy thread, and two and four times at once: `sharing.py DATA`.

DATA is a folder that has `mouse_openfield`. It prints the seconds per epoch of each training, and the seconds until all
have ended, also relative to training one after the other.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from jobs import JOBS
from runs import Training

N_EPOCHS = 3
N_ROUNDS = 2
BUSY = "while True: pass"
SETTINGS = {"alone": (1, 0), "next to a busy thread": (1, 1), "two at once": (2, 0), "four at once": (4, 0)}


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
    words = [*job.ours.split(), "--batch_size", str(job.batch_size), "--n_epochs", str(N_EPOCHS), "--device", "cpu"]
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(n_busy)]
    try:
        with tempfile.TemporaryDirectory() as folder:
            words += ["--data_dir", str((data / job.data).resolve()), "--save_dir", folder]
            trainings = [Training([*words, "--namestr", f"run{index}"]) for index in range(n_trainings)]
            for training in trainings:
                training.wait()
    finally:
        for process in busy:
            process.kill()
    whole = time.perf_counter() - started
    return np.concatenate([np.diff(training.ends) for training in trainings]).tolist(), whole


def format_range(values: np.ndarray | list[float]) -> str:
    """Return median, minimum and maximum as text."""
    return f"{np.median(values):.2f} ({np.min(values):.2f} to {np.max(values):.2f})"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
