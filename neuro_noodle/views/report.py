"""Every picture of a run: `python Plotting/report.py weights/faces_ae` writes them to weights/faces_ae/figures."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from neuro_noodle.choices import UserError
from neuro_noodle.data.blocks import natural_order
from neuro_noodle.data.columns import require_columns
from neuro_noodle.runs.files import write_csv
from neuro_noodle.runs.run import Run, embed, evenly, latents, open_run, outputs, save
from neuro_noodle.tracking.records import read_records
from neuro_noodle.views import figures, neurons

MOST = 8  # images in a row
MOST_MAPPED = 5000  # images on a map
MOST_VALUES = 2**27  # of all their pixels, half a gigabyte
MOST_PANELS = 6
MOST_ARROWS = 25
MOST_FILMED = 200
FRAME_MS = 100


def main(words: list[str] | None = None) -> int:
    """Write every picture that the run's objective gives rise to; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("run", type=Path, help="a run, or one of its sessions")
    parser.add_argument("--data_dir", type=Path, help="where the images are now, if they have moved")
    parser.add_argument("--trust_pickle", action="store_true", help="open a UMAP, which can run code")
    parser.add_argument("--columns", help="columns that colour the maps, separated by commas; if none, telling ones")
    arguments = parser.parse_args(words)
    try:
        run = open_run(arguments.run, arguments.data_dir, trust_pickle=arguments.trust_pickle)
        pictures = draw(run, arguments.columns.split(",") if arguments.columns else [])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in write(run.folder / "figures", pictures):
        print(path)
    return 0


def write(folder: Path, pictures: dict[str, figures.Figure | dict]) -> list[Path]:
    """Write figures as PNG files, and tables, whose names end in .csv, as those; returns the paths of the figures."""
    folder.mkdir(exist_ok=True)
    paths = []
    for name, picture in pictures.items():
        if name.endswith(".csv"):
            write_csv(folder / name, picture)
        else:
            paths.append(folder / f"{name}.png")
            picture.savefig(paths[-1], dpi=150)
    return paths


def draw(run: Run, columns: list[str]) -> dict[str, object]:
    """Return the figures by name."""
    pictures = {"latent_map": draw_map(run, columns)}
    if run.config["flags"]["augment"]:
        pictures["augmented"] = draw_augmented(run)
    if (run.folder / "result.json").is_file():
        result = json.loads((run.folder / "result.json").read_text())
        told = (result["metric"], result["direction"], result["baselines"], result["best_epoch"])
        pictures["curves"] = figures.curves(read_records(run.folder), *told)
    if hasattr(run.model.encoder, "explains"):
        pictures["explained_variance"] = draw_explained(run)
    return pictures | draw_outcomes(run)


def draw_outcomes(run: Run) -> dict[str, figures.Figure | dict]:
    """Return what the model makes of held-out images, as its objective has it."""
    return OUTCOMES[run.objective.pictured_as](run)


def draw_map(run: Run, columns: list[str]) -> figures.Figure:
    """Return the map of the pixels above that of the latents, coloured by columns."""
    values = latents(run)
    save(run, values)
    most = min(len(run.dataset), MOST_MAPPED, MOST_VALUES // math.prod(run.dataset.image_shape))
    chosen = evenly(np.arange(len(run.dataset)), most)
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
    require_columns(columns, names)
    if names:
        return {name: columns[name] for name in names}
    told = [name for name in (run.dataset.label, run.dataset.group) if name not in (None, "folder")]
    order = dict.fromkeys([*told, *(name for name in columns if name != "folder"), *columns])
    telling = figures.telling_columns({name: columns[name] for name in order})
    return dict(list(telling.items())[:MOST_PANELS])


def draw_augmented(run: Run) -> figures.Figure:
    """Return training images, and below each four draws of what training showed in its place."""
    training = evenly(np.flatnonzero(run.part == "training"), MOST)
    rows = {"image": run.images(training).numpy()}
    rows |= {f"draw {seed + 1}": run.augmented(training, seed=seed).numpy() for seed in range(4)}
    return figures.image_rows(rows, [run.dataset.ids[i].replace("/", "/\n") for i in training])


def draw_explained(run: Run) -> figures.Figure:
    """Return the share of variance that the principal components explain, of training and of held-out images.

    The numbers go to explained_variance.csv beside the pictures.
    """
    encoder, indices = run.model.encoder, held_out(run)
    shares = {"training": encoder.explained.numpy(), "held out": encoder.explains(run.images(indices)).numpy()}
    table = np.column_stack([np.arange(1, encoder.latent_dim + 1), *shares.values(), *np.cumsum([*shares.values()], 1)])
    names = ",".join(["component", *shares, *(f"{name} up to it" for name in shares)])
    (run.folder / "figures").mkdir(exist_ok=True)
    where = run.folder / "figures" / "explained_variance.csv"
    np.savetxt(where, table, fmt=["%d", *["%.6f"] * 4], delimiter=",", header=names, comments="")
    return figures.explained_variance(shares)


def draw_directions(run: Run) -> dict[str, figures.Figure]:
    """Return held-out images with the true and the predicted direction; each where its vector begins, if it is told."""
    indices = evenly(held_out(run), MOST_ARROWS)
    _, vectors = outputs(run, indices)
    sample = run.dataset.sample(torch.as_tensor(indices))
    _, target = run.objective.pair(sample, torch.Generator())
    angles = run.objective.evidence(vectors, target)
    begins = sample["values"][:, :2].numpy() if len(run.objective.columns) == 4 else None
    names = [run.dataset.ids[i] for i in indices]
    told = angles["true"].numpy(), angles["predicted"].numpy()
    return {"arrows": figures.arrows(run.images(indices).numpy(), *told, begins, names)}


def draw_numbers(run: Run) -> dict[str, figures.Figure]:
    """Return predicted against true numbers of the held-out images."""
    indices = held_out(run)
    _, predicted = outputs(run, indices)
    true = run.dataset.values[indices].numpy()
    names = run.objective.columns
    columns = (dict(zip(names, values.T, strict=True)) for values in (predicted.numpy(), true))
    return {"predictions": figures.predictions(*columns)}


def draw_neurons(run: Run) -> dict[str, figures.Figure | dict]:
    """Return how well neurons are predicted on held-out images, and their receptive fields; and the table of both."""
    return neurons.draw(run, held_out(run))


def write_film(folder: Path, run: Run) -> list[Path]:
    """Write film.gif, held-out images in their order beside what the network makes of them; returns its path."""
    if run.objective.pictured_as != "reconstructions":
        return []
    indices = held_out(run)
    indices = indices[natural_order([run.dataset.ids[i] for i in indices])][:MOST_FILMED]
    titles = [run.dataset.ids[i] for i in indices]
    frames = [Image.fromarray(frame) for frame in figures.film(reconstructions(run, indices), titles)]
    path = folder / "film.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0)
    return [path]


def reconstructions(run: Run, indices: np.ndarray) -> dict[str, np.ndarray]:
    """Return images and what the network makes of them, (n, C, H, W) each, by name."""
    images, (given, made) = run.images(indices), outputs(run, indices)
    rows = {"image": images} | ({"input": given} if run.objective.draws else {})
    rows |= {"reconstruction": made, "|difference|": (made - images).abs()}
    return {name: values.numpy() for name, values in rows.items()}


def draw_reconstructions(run: Run) -> dict[str, figures.Figure]:
    """Return held-out images above what the network makes of them."""
    indices = evenly(held_out(run), MOST)
    titles = [run.dataset.ids[i].replace("/", "/\n") for i in indices]
    return {"reconstructions": figures.image_rows(reconstructions(run, indices), titles)}


def draw_classes(run: Run) -> dict[str, figures.Figure]:
    """Return the confusion matrix of the held-out images, and the images that were most surely named wrongly."""
    indices = held_out(run)
    images, (_, probabilities) = run.images(indices), outputs(run, indices)
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


OUTCOMES = {
    "reconstructions": draw_reconstructions,
    "classes": draw_classes,
    "directions": draw_directions,
    "numbers": draw_numbers,
    "responses": draw_neurons,
}


def held_out(run: Run) -> np.ndarray:
    """Return the indices of the test images, or of the validation images where there are none."""
    test = np.flatnonzero(run.part == "test")
    return test if len(test) else np.flatnonzero(run.part == "validation")


if __name__ == "__main__":
    sys.exit(main())
