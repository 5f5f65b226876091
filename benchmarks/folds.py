"""Cross-validation of a classifier: each fold is the test part of one run, and every image is tested once.

python benchmarks/folds.py 5 --namestr london FLAGS OF main.py ...
"""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HERE))

from objectives import Classify  # noqa: E402


def main(n_folds: int, flags: list[str]) -> None:
    """Run every fold, then print the accuracy of each and of all images together."""
    rows, shares, seconds = [], [], 0.0
    for k in range(1, n_folds + 1):
        command = [sys.executable, str(HERE / "main.py"), *flags, "--fold", f"{k}/{n_folds}", "--log_every", "1000"]
        told = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        run = Path(next(line for line in told.splitlines() if "written to" in line).split("written to ")[1])
        seconds += float(told.split(" s; written to")[0].split()[-1])
        with (run / "test.csv").open(newline="") as file:
            fold = list(csv.DictReader(file))
        rows += fold
        shares.append(np.mean([row["label"] == row["predicted"] for row in fold]))
        print(f"fold {k}/{n_folds}: {shares[-1]:.4f} of {len(fold)} images", flush=True)
    group = flags[[flag.startswith("group=") for flag in flags].index(True)].removeprefix("group=")
    classes = sorted({row["label"] for row in rows})
    probabilities = torch.eye(len(classes))[[classes.index(row["predicted"]) for row in rows]]
    evidence = {"probabilities": probabilities, "label": torch.tensor([classes.index(row["label"]) for row in rows])}
    groups = np.array([row[group] for row in rows])
    low, high = Classify().interval(evidence, groups)
    print(
        f"accuracy {Classify().metrics(evidence)['accuracy']:.4f}  [95 %: {low:.4f} to {high:.4f}]  {len(rows)} images "
        f"of {len(set(groups))} {group}s; folds {np.mean(shares):.4f} +- {np.std(shares, ddof=1):.4f}; {seconds:.0f} s"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
