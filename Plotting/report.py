"""Every picture of a run: `python Plotting/report.py weights/faces_ae` writes them to weights/faces_ae/figures."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

import figures
from latents import Run, embed, latents, open_run, outputs, save_latents

from choices import UserError, require
from tracking import read_records

MOST = 8  # images in a row
MOST_MAPPED = 5000  # images on a map
MOST_VALUES = 2**27  # of all their pixels, half a gigabyte
MOST_PANELS = 6


def main(words: list[str] | None = None) -> int:
    """Write every picture that the run's objective gives rise to; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("run", type=Path, help="a run, or one of its sessions")
    parser.add_argument("--data_dir", type=Path, help="where the images are now, if they have moved")
    parser.add_argument("--columns", help="columns that colour the maps, separated by commas; if none, telling ones")
    arguments = parser.parse_args(words)
    try:
        run = open_run(arguments.run, arguments.data_dir)
        pictures = draw(run, arguments.columns.split(",") if arguments.columns else [])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = run.folder / "figures"
    folder.mkdir(exist_ok=True)
    for name, figure in pictures.items():
        figure.savefig(folder / f"{name}.png", dpi=150)
        print(folder / f"{name}.png")
    return 0


def draw(run: Run, columns: list[str]) -> dict[str, object]:
    """Return the figures by name."""
    pictures = {"latent_map": draw_map(run, columns)}
    if run.config["flags"]["augment"]:
        pictures["augmented"] = draw_augmented(run)
    if (run.folder / "result.json").is_file():
        result = json.loads((run.folder / "result.json").read_text())
        told = (result["metric"], result["direction"], result["baselines"], result["best_epoch"])
        pictures["curves"] = figures.curves(read_records(run.folder), *told)
    if run.objective.metric == "mse":
        pictures["reconstructions"] = draw_reconstructions(run)
    if run.objective.metric == "accuracy":
        pictures |= draw_classes(run)
    return pictures


def draw_map(run: Run, columns: list[str]) -> figures.Figure:
    """Return the map of the pixels above that of the latents, coloured by columns."""
    values = latents(run)
    save_latents(run, values)
    most = min(len(run.dataset), MOST_MAPPED, MOST_VALUES // math.prod(run.dataset.image_shape))
    chosen = np.linspace(0, len(run.dataset) - 1, most).astype(int)
    images, training = run.images(chosen).numpy(), run.part[chosen] == "training"
    held_out = np.isin(run.part[chosen], ("validation", "test"))
    some = "" if most == len(run.dataset) else f" of {most} of {len(run.dataset)} images"
    flat = values.shape[1] == 2
    embeddings = {
        f"pixels{some}": embed(images.reshape(most, -1), training),
        f"latents{some}": values[chosen] if flat else embed(values[chosen], training),
    }
    shown = {name: [column[i] for i in chosen] for name, column in choose_columns(run, columns).items()}
    categories = ("folder", run.dataset.label, run.dataset.group)
    names = {f"latents{some}": "latent"} if flat else {}
    return figures.maps(embeddings, shown, held_out, images, categories, names)


def choose_columns(run: Run, names: list[str]) -> dict[str, Sequence]:
    """Return the columns of these names; for none the most telling, those that the run was told of first."""
    columns = run.dataset.columns
    unknown = [name for name in names if name not in columns]
    require(not unknown, f"--columns: there is no {' or '.join(unknown)}; there are {', '.join(columns)}")
    if names:
        return {name: columns[name] for name in names}
    told = [name for name in (run.dataset.label, run.dataset.group) if name not in (None, "folder")]
    order = dict.fromkeys([*told, *(name for name in columns if name != "folder"), *columns])
    telling = figures.telling_columns({name: columns[name] for name in order})
    return dict(list(telling.items())[:MOST_PANELS])


def draw_augmented(run: Run) -> figures.Figure:
    """Return training images, and below each four draws of what training showed in its place."""
    training = np.flatnonzero(run.part == "training")
    training = training[np.linspace(0, len(training) - 1, min(MOST, len(training))).astype(int)]
    rows = {"image": run.images(training).numpy()}
    rows |= {f"draw {seed + 1}": run.augmented(training, seed=seed).numpy() for seed in range(4)}
    return figures.image_rows(rows, [run.dataset.ids[i].replace("/", "/\n") for i in training])


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
        titles = [f"{name}\nas {names[predicted[i]]} {sureness[i]:.2f}" for name, i in zip(told, wrong, strict=True)]
        pictures["mistakes"] = figures.image_rows({"named wrongly": images[wrong].numpy()}, titles)
    return pictures


def held_out(run: Run) -> np.ndarray:
    """Return the indices of the test images, or of the validation images where there are none."""
    test = np.flatnonzero(run.part == "test")
    return test if len(test) else np.flatnonzero(run.part == "validation")


if __name__ == "__main__":
    sys.exit(main())
