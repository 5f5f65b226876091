"""A PCA of augmented images as baseline: `augmented_pca.py RUN ...` compares autoencoders with it.

Each RUN is an autoencoder. Its training images and N_COPIES augmented copies of them, changed as in its training, get a
PCA of the same size; a row has the MSE x 0.001 of its validation images.
"""

import sys

import numpy as np
from runs import read_result

from neuro_noodle.measures.linear import principal_components
from neuro_noodle.runs.run import Run, open_run

N_COPIES = 8


def main(folders: list[str]) -> None:
    """Print a row for each run, and the mean."""
    print("validation MSE x 0.001: the run, PCA of training images, PCA of augmented ones too; the run's gain on each")
    rows = []
    for folder in folders:
        run = open_run(folder)
        result = read_result(run.folder)["validation"]
        rows.append([result["value"], result["baseline_metrics"]["pca"]["mse"], augmented_pca_error(run)])
        print_row(run.folder.name, np.array(rows[-1]))
    print_row("mean", np.mean(rows, 0))


def augmented_pca_error(run: Run) -> float:
    """Return the MSE of the validation images of a run, reconstructed by a PCA of augmented training images."""
    training, validation = (np.array(run.parts[part]) for part in ("training", "validation"))
    copies = [run.augmented(training, seed=seed) for seed in range(1, N_COPIES + 1)]
    pixels = np.concatenate([images.flatten(1).numpy() for images in (run.images(training), *copies)])
    mean = pixels.mean(0)
    directions = principal_components(pixels, run.model.encoder.latent_dim).directions  # (D, pixels)
    centred = run.images(validation).flatten(1).numpy() - mean
    return float(np.square(centred - centred @ directions.T @ directions).mean())


def print_row(name: str, errors: np.ndarray) -> None:
    """Print the errors (3,) of a run and its gains on the two PCAs."""
    gains = errors[0] / errors[1:] - 1
    print(f"{name:<24}", *(f"{1e3 * error:6.2f}" for error in errors), *(f"{gain:+7.1%}" for gain in gains))


if __name__ == "__main__":
    main(sys.argv[1:])
