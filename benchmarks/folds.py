"""Cross-validate a classifier: each fold is the test part of one run, so that every image is tested once.

python benchmarks/folds.py N_FOLDS FOLDER [flags of main.py]      the runs are FOLDER/fold-1, FOLDER/fold-2, ...
"""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import torch
from runs import format_mean, read_result, train

from neuro_noodle.data.base import DATASETS
from neuro_noodle.objectives.classify import Classify


def main(n_folds: int, folder: Path, words: list[str]) -> None:
    """Train all folds and print the accuracy of each fold and of all images together."""
    rows, accuracies, seconds = [], [], 0.0
    for k in range(1, n_folds + 1):
        run = train(folder.resolve(), f"fold-{k}", [*words, "--fold", f"{k}/{n_folds}"])
        result = read_result(run)
        accuracies.append(result["test"]["value"])
        seconds += result["seconds"]
        with (run / "test.csv").open(newline="", encoding="utf-8") as file:
            rows += csv.DictReader(file)
        print(f"fold {k}/{n_folds}: {accuracies[-1]:.4f} of {result['test']['n']} images", flush=True)
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    group = DATASETS.parse(config["flags"]["dataset"]).options["group"] or "id"
    print(
        f"{format_accuracy(rows, config['classes'], group)}; folds {format_mean(accuracies, digits=4)}; "
        f"{seconds:.0f} s of training"
    )


def format_accuracy(rows: list[dict[str, str]], classes: list[str], group: str) -> str:
    """Return the accuracy over all tested images with its 95 % interval over groups, as text."""
    predicted, labels = (
        torch.tensor([classes.index(row[column]) for row in rows]) for column in ("predicted", "label")
    )
    evidence = {"probabilities": torch.eye(len(classes))[predicted], "label": labels}
    groups = np.array([row[group] for row in rows])
    low, high = Classify().interval(evidence, groups)
    return (
        f"accuracy {Classify().metrics(evidence)['accuracy']:.4f}  [95 %: {low:.4f} to {high:.4f}]  {len(rows)} images "
        f"of {len(set(groups))} different '{group}'"
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
