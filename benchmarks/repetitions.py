"""Seconds per repetition of 1, 5, 25 and 100 repetitions at once: `repetitions.py DATA_DIR`.

DATA_DIR is the output of `Resources/simulate.py v1`. An epoch is timed as the difference between a long and a short
training, so that starting and compiling do not count. `side_by_side.py hsm25` compares with other programs.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from runs import read_result, start

COUNTS = (1, 5, 25, 100)
N_ROUNDS = 2
EPOCHS = {"v1_hsm": (2, 42), "v1_conv": (1, 2)}  # of the short and of the long training
COMMON = "--patience 1000 --schedule constant --precision fp32 --device cpu --log_every 1000"


def main(data_dir: Path) -> None:
    """Time every number of repetitions in turn, and print a line for each."""
    ways = [(recipe, n, "") for recipe in EPOCHS for n in COUNTS]
    ways.insert(len(COUNTS), ("v1_hsm", 25, "--compile"))
    seconds: dict[tuple, list[float]] = {way: [] for way in ways}
    for _ in range(N_ROUNDS):
        for way in ways:
            seconds[way].append(epoch_seconds(data_dir, *way))
            print(way, f"{seconds[way][-1]:.3f} s", file=sys.stderr, flush=True)
    print(f"ms per epoch and repetition, {N_ROUNDS} rounds: median (minimum to maximum)")
    for (recipe, n, how), values in seconds.items():
        each = 1000 * np.array(values) / n
        print(f"  {recipe:<8} {n:>4} {how:<10} {np.median(each):7.1f} ({each.min():.1f} to {each.max():.1f})")


def epoch_seconds(data_dir: Path, recipe: str, n_repetitions: int, how: str) -> float:
    """Return the seconds per epoch of all repetitions."""
    seconds = []
    for n_epochs in EPOCHS[recipe]:
        with tempfile.TemporaryDirectory() as folder:
            words = f"--recipe {recipe} --data_dir {data_dir.resolve()} --repetitions {n_repetitions} {how} {COMMON}"
            words += f" --save_dir {folder} --namestr run --n_epochs {n_epochs}"
            start("main.py", *words.split(), "--test_every", str(n_epochs), "--save_every", str(n_epochs))
            seconds.append(read_result(Path(folder) / "run")["seconds"])
    return (seconds[1] - seconds[0]) / (EPOCHS[recipe][1] - EPOCHS[recipe][0])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
