"""The digits: `mnist.py FOLDER DATA_DIR [RECIPE ...]` trains the recipes for MNIST and prints their errors.

Three seeds each (42, 1, 2), for 20 and for 60 epochs; the seed sets split and weights. Runs that FOLDER already holds
are not trained again. DATA_DIR holds the four files of MNIST.
"""

import sys
from pathlib import Path

from runs import format_mean, read_result, train

SEEDS = (42, 1, 2)
RECIPES = ("mnist_ae", "mnist_small")
EPOCHS = (20, 60)


def main(folder: Path, data_dir: str, *recipes: str) -> None:
    """Train everything and print a line for each recipe and number of epochs."""
    print("normalised MSE on validation and test images, of PCA on test images; best epochs; seconds; each test MSE")
    for recipe in recipes or RECIPES:
        for n_epochs in EPOCHS:
            words = ["--recipe", recipe, "--data_dir", data_dir, "--n_epochs", str(n_epochs), "--seed"]
            runs = [train(folder, f"{recipe}-{n_epochs}-{seed}", [*words, str(seed)]) for seed in SEEDS]
            results = [read_result(run) for run in runs]
            errors = [[one[part]["metrics"]["mse_normalised"] for one in results] for part in ("validation", "test")]
            errors.append([one["test"]["baseline_metrics"]["pca"]["mse_normalised"] for one in results])
            best = ", ".join(str(one["best_epoch"] + 1) for one in results)
            seconds = format_mean([one["seconds"] for one in results], digits=0)
            print(f"  {recipe:<12} {n_epochs}", *(format_mean(values, digits=4) for values in errors), best, seconds)
            print("   ", *(f"{value:.4f}" for value in errors[1]))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])
