"""Cross-validation of a classifier: each fold is the test part of one run, so every image is tested once.

python benchmarks/folds.py N_FOLDS FOLDER FLAGS OF main.py ...      runs are left in FOLDER/fold-1 and so on
"""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from neuro_noodle.choices import UserError
from neuro_noodle.data.base import DATASETS
from neuro_noodle.objectives.classify import Classify

HERE = Path(__file__).resolve().parent.parent


def run_fold(k: int, n_folds: int, folder: Path, flags: list[str]) -> Path:
    """Train one fold and return its run."""
    run = folder / f"fold-{k}"
    if run.exists():
        raise UserError(f"{run} exists already; name a new folder")
    where = ["--save_dir", str(folder), "--namestr", run.name, "--fold", f"{k}/{n_folds}", "--log_every", "1000"]
    subprocess.run([sys.executable, str(HERE / "main.py"), *flags, *where], stdout=subprocess.DEVNULL, check=True)
    return run


def main(n_folds: int, folder: Path, flags: list[str]) -> None:
    """Run every fold, then print the accuracy of each and of all images together."""
    rows, shares, seconds = [], [], 0.0
    for k in range(1, n_folds + 1):
        run = run_fold(k, n_folds, folder, flags)
        result = json.loads((run / "result.json").read_text())
        shares.append(result["test"]["value"])
        seconds += result["seconds"]
        with (run / "test.csv").open(newline="") as file:
            rows += csv.DictReader(file)
        print(f"fold {k}/{n_folds}: {shares[-1]:.4f} of {result['test']['n']} images", flush=True)
    config = json.loads((run / "config.json").read_text())
    group = DATASETS.parse(config["flags"]["dataset"]).options["group"] or "id"
    code = {name: index for index, name in enumerate(config["classes"])}
    probabilities = torch.eye(len(code))[[code[row["predicted"]] for row in rows]]
    evidence = {"probabilities": probabilities, "label": torch.tensor([code[row["label"]] for row in rows])}
    groups = np.array([row[group] for row in rows])
    low, high = Classify().interval(evidence, groups)
    print(
        f"accuracy {Classify().metrics(evidence)['accuracy']:.4f}  [95 %: {low:.4f} to {high:.4f}]  {len(rows)} images "
        f"of {len(set(groups))} different '{group}'; folds {np.mean(shares):.4f} +- {np.std(shares, ddof=1):.4f}; "
        f"{seconds:.0f} s of training"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
