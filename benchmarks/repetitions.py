"""Seconds per repetition of 1, 5, 25 and 100 repetitions at once: `repetitions.py DATA_DIR`.

DATA_DIR is the output of `Resources/simulate.py v1`. The time between two printed epochs is measured, from the second
epoch on, so that starting and compiling do not count. `side_by_side.py hsm25` compares with other programs.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from runs import Training

COUNTS = (1, 5, 25, 100)
N_EPOCHS = {"v1_hsm": 17, "v1_conv": 5}
COMMON = "--patience 1000 --schedule constant --precision fp32 --device cpu --log_every 1 --test_every 1000"


def main(data_dir: Path) -> None:
    """Time every number of repetitions, and print a line for each."""
    ways = [(recipe, n, "") for recipe in N_EPOCHS for n in COUNTS]
    ways.insert(len(COUNTS), ("v1_hsm", 25, "--compile"))
    print("recipe, repetitions: s per epoch, ms per repetition; median over epochs (minimum to maximum)")
    for recipe, n_repetitions, how in ways:
        seconds = epoch_seconds(data_dir, recipe, n_repetitions, how)
        print(
            f"  {recipe:<8} {n_repetitions:>4} {how:<10} {np.median(seconds):.2f} ({seconds.min():.2f} to "
            f"{seconds.max():.2f}), {1000 * np.median(seconds) / n_repetitions:.1f}",
            flush=True,
        )


def epoch_seconds(data_dir: Path, recipe: str, n_repetitions: int, how: str) -> np.ndarray:
    """Return the seconds of every epoch from the second on."""
    n_epochs = N_EPOCHS[recipe]
    with tempfile.TemporaryDirectory() as folder:
        words = f"--recipe {recipe} --data_dir {data_dir.resolve()} --repetitions {n_repetitions} {how} {COMMON}"
        words += f" --save_dir {folder} --save_every {n_epochs} --n_epochs {n_epochs}"
        training = Training(words.split())
        training.wait()
    return np.diff(training.ends)[:-1]  # the last one has an evaluation


if __name__ == "__main__":
    main(Path(sys.argv[1]))
