"""How the latents of a run changed while it trained: `python Plotting/training.py weights/arena_ae`.

Takes the latents that `--latents_every` has written, and writes figures/training.png and training.gif.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.columns import as_numbers, require_columns
from neuro_noodle.measures import circular
from neuro_noodle.runs.files import load_config
from neuro_noodle.runs.latents import read_latents, snapshots
from neuro_noodle.runs.task import open_dataset
from neuro_noodle.views import figures

MOST_MAPPED = 3000  # images
MOST_PLACED = 120_000  # images times snapshots; about two minutes
MOST_ROWS = 2
MOST_CALLED = 5
FRAME_MS, LAST_MS = 330, 2000
Map = Callable[[np.ndarray], np.ndarray]


@dataclass
class Snapshots:
    """The latents of some images of a run at several times.

    Attributes:
        latents: by epochs trained, (n, D), in the order of time.
        indices: (n,) of the images in the dataset.
        part: (n,) training, validation, test or left_out.
        n_images: of the run.
    """

    latents: dict[float, np.ndarray]
    indices: np.ndarray
    part: np.ndarray
    n_images: int

    @property
    def training(self) -> np.ndarray:
        """Whether each was trained on, (n,) bool."""
        return self.part == "training"

    @property
    def held_out(self) -> np.ndarray:
        """Whether each was held out, (n,) bool."""
        return np.isin(self.part, ("validation", "test"))


def main(words: list[str] | None = None) -> int:
    """Write the picture and the film; returns the exit status."""
    arguments = build_parser().parse_args(words)
    try:
        pictures = draw(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    folder = arguments.run / "figures"
    folder.mkdir(exist_ok=True)
    pictures[0].savefig(folder / "training.png", dpi=150)
    save_film(folder / "training.gif", pictures[1])
    print(folder / "training.png", folder / "training.gif", sep="\n")
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("run", type=Path, help="a run that was trained with --latents_every")
    add("--fit", default="last", metavar="last|first|every|RUN", help="the snapshot on whose training images the UMAP "
        "is fitted, every for each anew, or another run for its last; two-dimensional latents need none")  # fmt: skip
    add("--columns", help="columns that colour the maps, separated by commas; if none, the most telling, angles first")
    add("--images", help="ids of images to call out, separated by commas; if none, three that end up far apart")
    add("--data_dir", type=Path, help="where the images are now, if they have moved")
    add("--snapshots", type=int, default=6, help="how many the picture shows; the film shows all")
    add("--seed", type=int, default=42, help="of the UMAP")
    return parser


def draw(arguments: argparse.Namespace) -> tuple[figures.Figure, list[np.ndarray]]:
    """Return the picture and the frames of the film."""
    require(arguments.snapshots > 0, f"--snapshots {arguments.snapshots} is less than 1")
    files = find_snapshots(arguments.run)
    dataset = open_dataset(load_config(arguments.run)["flags"], arguments.data_dir)
    columns = choose_columns(dataset, split(arguments.columns))
    named = find_images(dataset, split(arguments.images))
    run = load_snapshots(files, dataset.ids, named)
    if len(run.indices) < run.n_images:
        print(f"note: the maps show {len(run.indices)} of {run.n_images} images", file=sys.stderr)
    placed = place(run, arguments.fit, arguments.seed)
    called = np.flatnonzero(np.isin(run.indices, named)) if named else far_apart(placed[-1], run.held_out)
    called = called[np.argsort(placed[-1][called, 0])]  # so that fewer lines cross
    thumbnails = dataset.sample(torch.as_tensor(run.indices[called]))["image"].numpy()
    shared = Shared(
        columns={name: [column[i] for i in run.indices] for name, column in columns.items()},
        held_out=run.held_out,
        called=dict(zip(called.tolist(), thumbnails, strict=True)),
        limits=np.array([np.min(placed, (0, 1)), np.max(placed, (0, 1))]),
        categories=["folder", dataset.label, dataset.group],
        axis_name="latent" if next(iter(run.latents.values())).shape[1] == 2 else "UMAP",
    )
    titles = [f"after {epochs:.4g} epoch{'' if epochs == 1 else 's'}" for epochs in run.latents]
    shown = np.unique(np.linspace(0, len(titles) - 1, arguments.snapshots).round().astype(int))
    picture = shared.draw({titles[i]: placed[i] for i in shown})
    frames = (shared.draw({title: points}) for title, points in zip(titles, placed, strict=True))
    return picture, [figures.as_array(frame) for frame in frames]


@dataclass
class Shared:
    """What all maps of a run share; see `figures.snapshots`."""

    columns: Mapping[str, Sequence]
    held_out: np.ndarray
    called: Mapping[int, np.ndarray]
    limits: np.ndarray
    categories: Sequence[str]
    axis_name: str

    def draw(self, placed: Mapping[str, np.ndarray]) -> figures.Figure:
        """Draw maps (n, 2) by their titles."""
        points = self.columns, self.held_out, self.called
        return figures.snapshots(placed, *points, self.limits, self.categories, self.axis_name)


# ------------------------------------------------------------------------------------------------------ reading


def find_snapshots(run: Path) -> dict[float, Path]:
    """Return the files of a run's snapshots by epochs trained, in the order of time.

    Raises:
        UserError: where there is no run, or it has none.
    """
    require((run / "config.json").is_file(), f"{run} is no run; name one such as weights/arena_ae")
    found = snapshots(run)
    require(
        bool(found), f"{run} has no snapshots of its latents; train with --latents_every 1 to have one after each epoch"
    )
    return found


def load_snapshots(files: Mapping[float, Path], ids: list[str] | None = None, named: Sequence[int] = ()) -> Snapshots:
    """Read snapshots of evenly chosen images.

    Args:
        ids: what the images must be; None takes any.
        named: indices of images to have among them.

    Raises:
        UserError: where a file is damaged, or of other images or sizes than the first.
    """
    read = {epochs: read_latents(path) for epochs, path in files.items()}
    first = next(iter(read))
    latents, ids, part = read[first][0], ids or read[first][1], read[first][2]
    for epochs, (values, found, _) in read.items():
        require(found == ids, f"{files[epochs]} holds the latents of other images")
        sizes = f"{values.shape[1]} numbers, but {files[first]} of {latents.shape[1]}"
        require(values.shape == latents.shape, f"{files[epochs]} holds latents of {sizes}")
        require(bool(np.isfinite(values).all()), f"{files[epochs]} holds latents that are not finite")
    most = min(len(ids), MOST_MAPPED, max(MOST_PLACED // len(read), 100))
    chosen = np.union1d(np.linspace(0, len(ids) - 1, most).astype(int), np.array(named, int))
    return Snapshots({epochs: read[epochs][0][chosen] for epochs in read}, chosen, part[chosen], len(ids))


def split(words: str | None) -> list[str]:
    """Return what is separated by commas."""
    return words.split(",") if words else []


def find_images(dataset: StimulusSet, names: list[str]) -> list[int]:
    """Return the indices of images by id."""
    known = {name: i for i, name in enumerate(dataset.ids)}
    unknown = [name for name in names if name not in known]
    require(not unknown, f"--images: there is no {' or '.join(unknown)}; ids are such as {dataset.ids[0]}")
    require(len(names) <= MOST_CALLED, f"--images: {len(names)} are more than the {MOST_CALLED} that can be told apart")
    return [known[name] for name in names]


def choose_columns(dataset: StimulusSet, names: list[str]) -> dict[str, Sequence]:
    """Return the columns of these names; for none up to two telling ones, angles first."""
    columns = dataset.columns
    require_columns(columns, names)
    if names:
        return {name: columns[name] for name in names}
    categories = ("folder", dataset.label, dataset.group)
    angles = [name for name in columns if name not in categories and holds_angles(name, columns[name])]
    told = [name for name in (dataset.label, dataset.group) if name in columns]
    order = [*told, *(name for name in columns if name != "folder"), *columns]
    telling = figures.telling_columns({name: columns[name] for name in order})
    chosen = list(dict.fromkeys([*angles, *telling]))[:MOST_ROWS]
    return {name: columns[name] for name in chosen} or {"image": [""] * len(dataset)}


def holds_angles(name: str, column: Sequence) -> bool:
    """Return whether a column holds angles that differ."""
    try:
        numbers = as_numbers(column, name)
    except UserError:
        return False
    return circular.period(name, numbers) is not None and np.nanmin(numbers) < np.nanmax(numbers)


# ------------------------------------------------------------------------------------------------------ mapping


def place(run: Snapshots, fit: str, seed: int) -> list[np.ndarray]:
    """Return the map of each snapshot, (n, 2).

    Args:
        fit: first, last, every, or another run; of its training images the map is made, see `fit_map`.
    """
    latents = list(run.latents.values())
    if fit == "every":
        return [fit_map(values[run.training], seed)(values) for values in latents]
    if fit in ("first", "last"):
        given = latents[0 if fit == "first" else -1][run.training]
    else:
        given = last_of(Path(fit))
        size = latents[0].shape[1]
        require(
            given.shape[1] == size, f"--fit {fit}: its latents have {given.shape[1]} numbers, but those here {size}"
        )
    to_plane = fit_map(given, seed)
    return [to_plane(values) for values in latents]


def last_of(run: Path) -> np.ndarray:
    """Return the training images' latents of a run's last snapshot, (n, D)."""
    require(run.is_dir(), f"--fit {run} is neither last, first nor every, nor a run")
    epochs, path = list(find_snapshots(run).items())[-1]
    found = load_snapshots({epochs: path})
    return found.latents[epochs][found.training]


def fit_map(given: np.ndarray, seed: int) -> Map:
    """Return what takes latents (n, D) to a plane (n, 2): a UMAP of those given; two numbers stay as they are.

    Raises:
        UserError: with fewer than 4 latents.

    Source: McInnes et al. 2018, arXiv:1802.03426.
    """
    require(len(given) >= 4, f"a map needs at least 4 training images, not {len(given)}")
    if given.shape[1] == 2:
        return np.asarray
    from sklearn.metrics import pairwise_distances
    from umap import UMAP

    n_neighbors = min(15, len(given) - 1)
    mapper = UMAP(n_neighbors, metric="precomputed", random_state=seed, transform_seed=seed, n_jobs=1)

    def quietly(placing: Callable[[np.ndarray], object], values: np.ndarray) -> object:
        # Of distances: to find old neighbours of new points, UMAP else takes 30 s in Python for 3,000 of them.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*precomputed metric.*")
            return placing(pairwise_distances(values, given))

    quietly(mapper.fit, given)
    return partial(quietly, mapper.transform)


def far_apart(placed: np.ndarray, eligible: np.ndarray, n: int = 3) -> np.ndarray:
    """Return the indices of eligible points (n, 2), or of any where none is, each far from those before."""
    among = np.flatnonzero(eligible) if eligible.any() else np.arange(len(placed))
    points = placed[among]
    nearest = np.linalg.norm(points - points.mean(0), axis=1)
    chosen: list[int] = []
    for _ in range(min(n, len(among))):
        chosen.append(int(nearest.argmax()))
        distance = np.linalg.norm(points - points[chosen[-1]], axis=1)
        nearest = distance if len(chosen) == 1 else np.minimum(nearest, distance)
    return among[chosen]


def save_film(path: Path, frames: list[np.ndarray]) -> None:
    """Write frames (H, W, 3) uint8 as a GIF, about three per second, the last one held."""
    palette = Image.fromarray(frames[-1]).quantize(256)  # one for all, so that colours do not flicker
    shown = [Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    durations = [FRAME_MS] * (len(shown) - 1) + [LAST_MS]
    shown[0].save(path, save_all=True, append_images=shown[1:], duration=durations, loop=0)


if __name__ == "__main__":
    sys.exit(main())
