"""Every picture of a run: `python Plotting/report.py weights/faces_ae` writes them to weights/faces_ae/figures."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

import figures
from latents import Run, embed, latents, open_run, outputs, save_latents

from choices import UserError
from tracking import read_records

MOST = 8  # images in a row


def main(words: list[str] | None = None) -> int:
    """Write every picture that the run's objective gives rise to; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("run", type=Path, help="a run, or one of its sessions")
    parser.add_argument("--data_dir", type=Path, help="where the images are now, if they have moved")
    arguments = parser.parse_args(words)
    try:
        run = open_run(arguments.run, arguments.data_dir)
        pictures = draw(run)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = run.folder / "figures"
    folder.mkdir(exist_ok=True)
    for name, figure in pictures.items():
        figure.savefig(folder / f"{name}.png", dpi=150)
        print(folder / f"{name}.png")
    return 0


def draw(run: Run) -> dict[str, object]:
    """Return the figures by name."""
    pictures = {"latent_map": draw_map(run)}
    if (run.folder / "result.json").is_file():
        result = json.loads((run.folder / "result.json").read_text())
        told = (result["metric"], result["direction"], result["baselines"], result["best_epoch"])
        pictures["curves"] = figures.curves(read_records(run.folder), *told)
    if run.objective.metric == "mse":
        pictures["reconstructions"] = draw_reconstructions(run)
    if run.objective.metric == "accuracy":
        pictures |= draw_classes(run)
    return pictures


def draw_map(run: Run) -> figures.Figure:
    """Return the UMAP of the pixels above that of the latents, coloured by every telling column."""
    values = latents(run)
    save_latents(run, values)
    images = run.images().numpy()
    training = run.part == "training"
    embeddings = {
        "pixels": embed(images.reshape(len(images), -1), training),
        "latents": embed(values, training),
    }
    columns = figures.telling_columns(run.dataset.columns)
    return figures.maps(embeddings, columns, ~training, images, ("folder", run.dataset.label, run.dataset.group))


def draw_reconstructions(run: Run) -> figures.Figure:
    """Return held-out images above what the network makes of them."""
    indices = held_out(run)
    indices = indices[np.linspace(0, len(indices) - 1, min(MOST, len(indices))).astype(int)]
    images = run.images(indices)
    made = outputs(run, images)
    rows = {"image": images.numpy(), "reconstruction": made.numpy(), "|difference|": (made - images).abs().numpy()}
    return figures.image_rows(rows, [run.dataset.ids[i].replace("/", "/\n") for i in indices])


def draw_classes(run: Run) -> dict[str, figures.Figure]:
    """Return the confusion matrix of the held-out images, and the images that were most surely named wrongly."""
    indices = held_out(run)
    images = run.images(indices)
    probabilities = torch.cat([outputs(run, chunk) for chunk in images.split(64)])  # (n, K)
    labels = run.dataset.labels[indices]
    evidence = run.objective.evidence(probabilities, labels)
    part = run.part[indices[0]]
    title = f"{part}: {run.objective.metrics(evidence)['accuracy']:.1%} of {len(indices)}"
    pictures = {"confusion": figures.confusion(run.objective.confusion(evidence).numpy(), run.dataset.classes, title)}
    sureness, predicted = probabilities.max(1)
    wrong = np.flatnonzero((predicted != labels).numpy())
    wrong = wrong[np.argsort(-sureness.numpy()[wrong])][:MOST]
    if len(wrong):
        names = run.dataset.classes
        told = [run.dataset.ids[indices[i]].replace("/", "/\n") for i in wrong]
        titles = [f"{name}\n{names[predicted[i]]} {sureness[i]:.2f}" for name, i in zip(told, wrong, strict=True)]
        pictures["mistakes"] = figures.image_rows({"named wrongly": images[wrong].numpy()}, titles)
    return pictures


def held_out(run: Run) -> np.ndarray:
    """Return the indices of the test images, or of the validation images where there are none."""
    test = np.flatnonzero(run.part == "test")
    return test if len(test) else np.flatnonzero(run.part == "validation")


if __name__ == "__main__":
    sys.exit(main())
