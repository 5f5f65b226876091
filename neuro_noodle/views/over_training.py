"""How the latents of a run changed during training: a picture and a film of maps of its snapshots."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.linalg import orthogonal_procrustes

from neuro_noodle.choices import require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.progress import Stage
from neuro_noodle.runs.config import load_config
from neuro_noodle.runs.files import require_one_run
from neuro_noodle.runs.latents import read_latents, snapshots
from neuro_noodle.runs.metadata import as_column
from neuro_noodle.runs.task import TaskSource
from neuro_noodle.views import films, map_columns, maps
from neuro_noodle.views.embeddings import UmapOfDistances
from neuro_noodle.views.pictures_over_training import write_pictures_over_training
from neuro_noodle.views.saving import PNG

MAX_MAPPED = 3000  # images
MAX_POINTS = 120_000  # images times snapshots; about two minutes
MIN_MAPPED = 100  # images, however many snapshots there are
MAX_ROWS = 2
MAX_THUMBNAILS = 5


@dataclass(frozen=True)
class Snapshots:
    """The latents of some images of a run at several times.

    Attributes:
        latents: by number of epochs trained, (n, D), in the order of time.
        indices: (n,) indices of the images in the dataset.
        part: (n,) training, validation, test or left_out.
        n_images: number of images of the run.
    """

    latents: dict[float, np.ndarray]
    indices: np.ndarray
    part: np.ndarray
    n_images: int

    @property
    def is_training(self) -> np.ndarray:
        """(n,) bool: True for training images."""
        return self.part == "training"

    @property
    def is_held_out(self) -> np.ndarray:
        """(n,) bool: True for validation and test images."""
        return np.isin(self.part, ("validation", "test"))


@dataclass(frozen=True)
class MapStyle:
    """What all maps of a run share; see `maps.plot_snapshots` for the attributes."""

    columns: Mapping[str, Sequence]
    held_out: np.ndarray
    thumbnails: Mapping[int, np.ndarray]
    limits: np.ndarray
    categories: Sequence[str]
    axis_name: str

    def plot(self, embeddings: Mapping[str, np.ndarray]) -> Figure:
        """Plot maps (n, 2) by their titles."""
        return maps.plot_snapshots(
            embeddings,
            columns=self.columns,
            held_out=self.held_out,
            thumbnails=self.thumbnails,
            limits=self.limits,
            categories=self.categories,
            axis_name=self.axis_name,
        )


@dataclass(frozen=True)
class OverTraining:
    """Maps of the latents of a run at several times.

    Attributes:
        picture: of some of them.
        maps: coordinates (n, 2) of all of them, by title.
        style: what they share.
    """

    picture: Figure
    maps: Mapping[str, np.ndarray]
    style: MapStyle

    def frames(self) -> list[np.ndarray]:
        """Draw the frames (H, W, 3) uint8 of a film of all times."""
        with Stage("drawing the film") as stage:
            each = stage.over(list(self.maps.items()))
            return [films.figure_to_array(self.style.plot({title: points})) for title, points in each]


def write_over_training(
    run: Path,
    *,
    fit: str = "last",
    columns: Sequence[str] = (),
    images: Sequence[str] = (),
    data_dir: Path | None = None,
    n_snapshots: int = 6,
    seed: int = 42,
) -> list[Path]:
    """Write a picture and a film of its latents, its reconstructions or both; returns their paths.

    The arguments are those of `plot_over_training`.
    """
    require(n_snapshots > 0, f"--snapshots {n_snapshots} is less than 1")
    pictures = write_pictures_over_training(run, n_snapshots=n_snapshots)
    if pictures and not snapshots(run):
        return pictures
    plotted = plot_over_training(
        run, fit=fit, columns=columns, images=images, data_dir=data_dir, n_snapshots=n_snapshots, seed=seed
    )
    folder = run / "figures"
    folder.mkdir(exist_ok=True)
    paths = [folder / "training.png", folder / "training.gif"]
    PNG.save(paths[0].with_suffix(""), plotted.picture)
    films.save_gif(paths[1], plotted.frames(), frame_ms=films.SNAPSHOT_MS, last_ms=films.LAST_MS, shared_palette=True)
    return pictures + paths


def plot_over_training(
    run: Path,
    *,
    fit: str = "last",
    columns: Sequence[str] = (),
    images: Sequence[str] = (),
    data_dir: Path | None = None,
    n_snapshots: int = 6,
    seed: int = 42,
) -> OverTraining:
    """Plot maps of the latents of a run at several times.

    Args:
        run: a run that was trained with --latents_every.
        fit: last, first, every or the path of another run, see `embed_snapshots`.
        columns: metadata columns that colour the maps; informative ones are chosen if none are given.
        images: ids of images shown above each map; three that end up far apart if none are given.
        data_dir: the folder of the images, if it has moved since training.
        n_snapshots: number of maps in the picture; the film has all.
        seed: seed of the UMAP.

    Raises:
        UserError: if the run has no snapshots, or a column or an image does not exist.
    """
    files = find_snapshots(run)
    dataset = TaskSource.of(load_config(run)["flags"], data_dir).open_images()
    shown = choose_columns(dataset, columns)
    named = find_images(dataset, images)
    found = load_snapshots(files, ids=dataset.ids, named=named)
    if len(found.indices) < found.n_images:
        print(f"note: the maps show {len(found.indices)} of {found.n_images} images", file=sys.stderr)
    embeddings = embed_snapshots(found, fit, seed)
    style = make_style(dataset, found, embeddings, columns=shown, named=named)
    titles = [f"after {epochs:.4g} epoch{'' if epochs == 1 else 's'}" for epochs in found.latents]
    chosen = np.unique(np.linspace(0, len(titles) - 1, n_snapshots).round().astype(int))
    picture = style.plot({titles[i]: embeddings[i] for i in chosen})
    return OverTraining(picture, dict(zip(titles, embeddings, strict=True)), style)


def make_style(
    dataset: StimulusSet,
    found: Snapshots,
    embeddings: Sequence[np.ndarray],
    *,
    columns: Mapping[str, Sequence],
    named: Sequence[int],
) -> MapStyle:
    """Return what the maps of all snapshots share.

    Args:
        dataset: the images.
        found: the snapshots.
        embeddings: (n, 2) for each snapshot.
        columns: by name, a value for each image of the dataset.
        named: indices in the dataset of the images to show; empty for three that are far apart on the last map.
    """
    last = embeddings[-1]
    points = np.flatnonzero(np.isin(found.indices, named)) if named else far_apart(last, found.is_held_out)
    points = points[np.argsort(last[points, 0])]  # from left to right, so that fewer lines cross
    images = dataset.sample(torch.as_tensor(found.indices[points]))["image"].numpy()
    return MapStyle(
        columns={name: [column[i] for i in found.indices] for name, column in columns.items()},
        held_out=found.is_held_out,
        thumbnails=dict(zip(points.tolist(), images, strict=True)),
        limits=np.array([np.min(embeddings, (0, 1)), np.max(embeddings, (0, 1))]),
        categories=dataset.class_columns,
        axis_name="scaled latent" if next(iter(found.latents.values())).shape[1] == 2 else "UMAP",
    )


# ------------------------------------------------------------------------------------------------------ reading


def find_snapshots(run: Path) -> dict[float, Path]:
    """Return the snapshot files of a run by number of epochs trained, in the order of time.

    Raises:
        UserError: if there is no run, or it has no snapshots.
    """
    require_one_run(run)
    require((run / "config.json").is_file(), f"{run} is not a run; name a run, for example weights/arena_ae")
    found = snapshots(run)
    require(
        bool(found),
        f"{run} has no snapshots of its latents; train with --latents_every 1 (or for reconstructions "
        "--pictures_every 1) to write one after each epoch",
    )
    return found


def load_snapshots(
    files: Mapping[float, Path], *, ids: list[str] | None = None, named: Sequence[int] = ()
) -> Snapshots:
    """Read snapshots of evenly spaced images.

    Args:
        files: by number of epochs trained.
        ids: the ids that the images must have; those of the first file if None.
        named: indices of images that are always included.

    Raises:
        UserError: if a file is damaged, or its images or latent size differ from those of the first file.
    """
    read = {epochs: read_latents(path) for epochs, path in files.items()}
    first = next(iter(read))
    ids, part, shape = ids or read[first].ids, read[first].part, read[first].values.shape
    for epochs, latents in read.items():
        values, path = latents.values, files[epochs]
        require(latents.ids == ids, f"{path} holds the latents of other images")
        sizes = f"{values.shape[1]} numbers, but {files[first]} of {shape[1]}"
        require(values.shape == shape, f"{path} holds latents of {sizes}")
        require(bool(np.isfinite(values).all()), f"{path} holds latents that are not finite")
    n_max = min(MAX_MAPPED, max(MAX_POINTS // len(read), MIN_MAPPED))
    chosen = np.union1d(evenly_spaced(np.arange(len(ids)), n_max), np.array(named, int))
    return Snapshots({epochs: read[epochs].values[chosen] for epochs in read}, chosen, part[chosen], len(ids))


def find_images(dataset: StimulusSet, names: Sequence[str]) -> list[int]:
    """Return the indices of images by id."""
    index_by_id = {name: i for i, name in enumerate(dataset.ids)}
    unknown = [name for name in names if name not in index_by_id]
    require(not unknown, f"--images: there is no {' or '.join(unknown)}; an example of an id is {dataset.ids[0]}")
    require(len(names) <= MAX_THUMBNAILS, f"--images: {len(names)} images are given, but at most {MAX_THUMBNAILS} fit")
    return [index_by_id[name] for name in names]


def choose_columns(dataset: StimulusSet, names: Sequence[str]) -> dict[str, Sequence]:
    """Return the columns that colour the maps: those asked for, or up to two informative ones, angles first."""
    columns, classes = dataset.columns, dataset.class_columns
    angles = [name for name in columns if as_column(name, columns[name], classes).kind == "angle"]
    first = [*angles, dataset.label, dataset.group]
    chosen = map_columns.choose_columns(columns, names, first=first, classes=classes, n_max=MAX_ROWS)
    return chosen or {"image": [""] * len(dataset)}


# ------------------------------------------------------------------------------------------------------ mapping


def embed_snapshots(found: Snapshots, fit: str, seed: int) -> list[np.ndarray]:
    """Return the two-dimensional coordinates (n, 2) of each snapshot.

    Args:
        found: the snapshots.
        fit: the snapshot whose training images the UMAP is fitted to: `first`, `last`, or the path of another run for
            its last snapshot; each snapshot is shifted and scaled to the spread of that one, because latents often grow
            a hundredfold. Or `every` for one UMAP per snapshot, each rotated onto the one before.
        seed: seed of the UMAP.
    """
    latents = list(found.latents.values())
    if fit == "every" and latents[0].shape[1] != 2:
        with Stage("fitting a map to every snapshot") as stage:
            own = [fit_map(values[found.is_training], seed)(values) for values in stage.over(latents)]
        return list(accumulate(own, rotate_onto))
    if fit in ("first", "last", "every"):
        fitted = latents[0 if fit == "first" else -1][found.is_training]
    else:
        fitted = last_training_latents(Path(fit))
        size = latents[0].shape[1]
        require(
            fitted.shape[1] == size,
            f"--fit {fit}: its latents have {fitted.shape[1]} numbers, but those of this run have {size}",
        )
    with Stage("fitting the map") as stage:
        embed = fit_map(fitted, seed)
        mapped = stage.over(latents, "mapping snapshots")
        return [embed(rescale(values, values[found.is_training], fitted)) for values in mapped]


def rescale(values: np.ndarray, training: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return values (n, D), shifted and scaled so that training ones (m, D) have the mean and spread of a reference."""
    spread, wanted = (float(np.sqrt(latents.var(0).sum())) for latents in (training, reference))
    factor = wanted / spread if spread else 1.0
    return values * factor + (reference.mean(0) - factor * training.mean(0))  # exactly the values for the reference


def rotate_onto(previous: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return points (n, 2) after the rotation, reflection and shift that bring them nearest to the previous ones."""
    centre, centre_before = points.mean(0), previous.mean(0)
    rotation, _ = orthogonal_procrustes(points - centre, previous - centre_before)
    return (points - centre) @ rotation + centre_before


def fit_map(fitted: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from latents (n, D) to the plane (n, 2): a UMAP, or none for two-dimensional latents.

    Raises:
        UserError: with fewer than 4 latents to fit.
    """
    return np.asarray if fitted.shape[1] == 2 else UmapOfDistances(fitted, seed).transform


def last_training_latents(run: Path) -> np.ndarray:
    """Return the latents (n, D) of the training images in the last snapshot of a run."""
    require(run.is_dir(), f"--fit {run} is neither last, first nor every, nor a run")
    epochs, path = list(find_snapshots(run).items())[-1]
    found = load_snapshots({epochs: path})
    return found.latents[epochs][found.is_training]


def far_apart(points: np.ndarray, is_eligible: np.ndarray, n: int = 3) -> np.ndarray:
    """Return the indices of up to n points that are far from each other.

    Args:
        points: (N, 2).
        is_eligible: (N,) bool; if it is False everywhere, all points are eligible.
        n: how many.
    """
    candidates = np.flatnonzero(is_eligible) if is_eligible.any() else np.arange(len(points))
    eligible = points[candidates]
    nearest = np.linalg.norm(eligible - eligible.mean(0), axis=1)  # the first is the farthest from the mean
    chosen: list[int] = []
    for _ in range(min(n, len(candidates))):
        chosen.append(int(np.argmax(nearest)))
        distance = np.linalg.norm(eligible - eligible[chosen[-1]], axis=1)
        nearest = distance if len(chosen) == 1 else np.minimum(nearest, distance)
    return candidates[chosen]
