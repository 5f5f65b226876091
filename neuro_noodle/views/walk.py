"""A walk through the latent space: images decoded along the direction in which a metadata column changes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from neuro_noodle.choices import UserError, require, suggest
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.columns import name_of_column
from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.measures.scores import auc
from neuro_noodle.progress import Stage
from neuro_noodle.runs.metadata import read_column
from neuro_noodle.runs.run import Run, open_run
from neuro_noodle.views.figures import plot_image_rows
from neuro_noodle.views.map_columns import informative_columns
from neuro_noodle.views.outcomes import image_titles
from neuro_noodle.views.over_training import find_images
from neuro_noodle.views.saving import PNG
from neuro_noodle.views.texts import literal

N_IMAGES = 3
SHARES = np.linspace(-0.5, 1.5, 9)  # of the way from start to end; half as far beyond both
START, END = 2, 6  # where SHARES are 0 and 1
TAIL = 0.05  # share of the training images beyond each end of a number
MIN_IMAGES = 2  # training images with each of two classes
TINY = 1e-6  # less is a rounding error


@dataclass(frozen=True)
class Way:
    """Where the images are between two values of a metadata column.

    Attributes:
        column: its name.
        titles: the value at each of SHARES.
        share: (N,) 0 for the value at the start and 1 for that at the end; NaN for another class or no value.
        is_class: whether the two values are classes.
    """

    column: str
    titles: list[str]
    share: np.ndarray
    is_class: bool

    def choose(self, held_out: np.ndarray) -> np.ndarray:
        """Return up to three of the indices of images that are on the way, of the first class if there are any."""
        known = held_out[np.isfinite(self.share[held_out])]
        first = known[self.share[known] == 0] if self.is_class else known
        return evenly_spaced(first if len(first) else known, N_IMAGES)

    def __str__(self) -> str:
        return f"{self.column} from {self.titles[START]} to {self.titles[END]}"


@dataclass(frozen=True)
class Walk:
    """The direction in the latent space in which a metadata column changes.

    Attributes:
        way: from which value to which.
        step: (D,) from start to end: the difference of the mean latents of two classes, or the slope of a linear
            regression of the latents on a number; of training images.
        control: (D,) of the same length and at right angles, computed after the column was shuffled.
        text: how many images the direction comes from, and how well it sorts held-out ones.
    """

    way: Way
    step: np.ndarray
    control: np.ndarray
    text: str


@dataclass(frozen=True)
class Order:
    """How well places along a direction follow a column.

    Attributes:
        score: AUC for classes, r for numbers; None if places or values do not differ.
        chance: the score of a direction that has nothing to do with the column.
    """

    score: float | None
    chance: float

    @classmethod
    def of(cls, places: np.ndarray, shares: np.ndarray, is_class: bool) -> "Order":
        """Return the order of places (n,) along a direction, for images with shares (n,) of the way."""
        chance = 0.5 if is_class else 0.0
        if len(np.unique(shares)) < 2 or np.ptp(places) == 0:
            return cls(None, chance)
        return cls(auc(places, shares == 1) if is_class else float(np.corrcoef(places, shares)[0, 1]), chance)

    def is_better_than(self, control: "Order") -> bool:
        """Return whether the score is further above chance than that of a control is from it; true if unknown."""
        if self.score is None or control.score is None:
            return True
        return self.score - self.chance > abs(control.score - control.chance)

    def __str__(self) -> str:
        if self.score is None:
            return "no score, because they do not differ"
        return f"AUC {self.score:.3f} (chance 0.5)" if self.chance else f"r {self.score:.3f}"


def write_walk(
    load_dir: Path,
    *,
    column: str | None = None,
    start: str | None = None,
    end: str | None = None,
    images: Sequence[str] = (),
    data_dir: Path | None = None,
    trust_pickle: bool = False,
) -> Path:
    """Write figures/walk.png of a run and print what it shows; returns its path.

    Args:
        load_dir: a run that reconstructs images, or one of its sessions.
        column, start, end: see `find_walk`.
        images: ids of the images to change, see `plot_walk`.
        data_dir: the folder of the images, if it has moved since training.
        trust_pickle: also load a UMAP, which is stored as a pickle and can run code when loaded.
    """
    run = open_run(load_dir, data_dir, trust_pickle=trust_pickle)
    latents = run.latents()
    walk = find_walk(run, latents, column, start, end)
    print(walk.text)
    folder = run.folder / "figures"
    folder.mkdir(exist_ok=True)
    with Stage("drawing the walk"):
        return PNG.save(folder / "walk", plot_walk(run, latents, walk, images))[0]


def find_walk(
    run: Run, latents: np.ndarray, column: str | None = None, start: str | None = None, end: str | None = None
) -> Walk:
    """Return the direction in the latent space in which a metadata column changes.

    Args:
        run: reconstructs images.
        latents: (N, D) of all its images.
        column: of classes or numbers; the first informative one if None.
        start, end: two classes, or two numbers; None for the most frequent classes of the training images, or for the
            5th and the 95th percentile of their numbers.

    Raises:
        UserError: if the run makes no images, or a column or value does not exist or has too few training images.
    """
    run.require_decoder("name a run that reconstructs")
    is_training = run.part == "training"
    way = find_way(run.dataset, is_training, column or first_column(run.dataset), start, end)
    is_known = np.isfinite(way.share)
    fitted, shares = latents[is_training & is_known], way.share[is_training & is_known]
    step = slope(fitted, shares)
    control = find_control(step, slope(fitted, np.random.default_rng(0).permutation(shares)))
    held_out = run.held_out[is_known[run.held_out]]
    orders = [Order.of(latents[held_out] @ one, way.share[held_out], way.is_class) for one in (step, control)]
    text = (
        f"{way}: direction of {len(fitted)} training images; it orders {len(held_out)} held-out ones with {orders[0]}"
    )
    verdict = "" if orders[0].is_better_than(orders[1]) else "; so the direction is no better than its control"
    return Walk(way, step, control, f"{text}, the control with {orders[1]}{verdict}")


def slope(latents: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the change (D,) of latents (n, D) per unit of shares (n,), by linear regression.

    For shares of 0 and 1, it is the difference of the two mean latents.
    """
    centred = shares - shares.mean()
    return centred @ (latents - latents.mean(0)) / np.square(centred).sum()


def find_control(step: np.ndarray, shuffled: np.ndarray) -> np.ndarray:
    """Return the part of a shuffled direction (D,) at right angles to a step (D,), with its length; 0 if D is 1."""
    unit = step / max(np.linalg.norm(step), TINY)
    across = shuffled - unit * (shuffled @ unit)
    length = np.linalg.norm(across)
    return across * (np.linalg.norm(step) / length if length > TINY * np.linalg.norm(shuffled) else 0)


def plot_walk(run: Run, latents: np.ndarray, walk: Walk, names: Sequence[str] = ()) -> Figure:
    """Plot images, changed along a walk (upper row) and along its control (lower row).

    Args:
        run: its head decodes.
        latents: (N, D) of all its images.
        walk: from `find_walk`.
        names: ids of the images; up to three held-out ones if none are given.

    Raises:
        UserError: if no image is held out, or one of the given ids does not exist or has another class.
    """
    way = walk.way
    indices = np.array(find_images(run.dataset, names) or way.choose(run.held_out))
    require(len(indices) > 0, f"{way}: no held-out image has such a value; name images with --images")
    unknown = [run.dataset.ids[i] for i in indices if np.isnan(way.share[i])]
    require(not unknown, f"{way}: {', '.join(unknown)} has another {way.column} or none")
    rows: dict[str, np.ndarray] = {}
    for number, index in enumerate(indices, 1):
        image = run.images(np.array([index])).numpy()  # (1, C, H, W)
        for what, direction in ((f"along {way.column}", walk.step), ("control", walk.control)):
            points = latents[index] + (SHARES - way.share[index])[:, None] * direction  # (9, D)
            rows[literal(f"{number}: {what}")] = np.concatenate([image, run.decode(points)])  # (10, C, H, W)
    figure = plot_image_rows(rows, ["image", *way.titles])
    for number, title in enumerate(image_titles(run, indices)):
        figure.axes[2 * number * (1 + len(SHARES))].set_title(literal(f"{number + 1}: {title}"), fontsize=6)
    figure.suptitle(literal(walk.text), fontsize=8)
    return figure


# ------------------------------------------------------------------------------------------ between which values


def first_column(dataset: StimulusSet) -> str:
    """Return the first informative column of classes, else of numbers; the group and the folder come last."""
    kinds = {name: read_column(dataset, name) for name in dataset.columns}
    last = dataset.group, "folder"
    order = sorted(kinds, key=lambda name: (name in last, name != dataset.label, not kinds[name].is_class))
    names = informative_columns({name: dataset.columns[name] for name in order}, dataset.class_columns)
    found = next((name for name in names if kinds[name].period is None), None)
    if found is None:
        raise UserError("no metadata column has classes or numbers that differ, so there is nothing to change")
    return found


def find_way(dataset: StimulusSet, is_training: np.ndarray, name: str, start: str | None, end: str | None) -> Way:
    """Return where the images are between two values of a column; see `find_walk`."""
    stem = name_of_column(dataset.columns, name)
    require(stem in dataset.columns, f"no column {name}; {suggest(stem, dataset.columns)}")
    column = read_column(dataset, name)
    require(column.period is None, f"{name} holds angles, which have no ends; name another column")
    values, known = column.values, column.values[is_training & column.is_known]
    if column.is_class:
        classes = _two_classes(known, name, start, end)
        titles = [f"{share:.0%}" for share in SHARES]
        titles[START], titles[END] = classes
        return Way(name, titles, np.select([values == one for one in classes], [0.0, 1.0], np.nan), is_class=True)
    low, high = _two_numbers(known, name, start, end)
    titles = [f"{low + share * (high - low):.4g}" for share in SHARES]
    return Way(name, titles, (values - low) / (high - low), is_class=False)


def _two_classes(names: np.ndarray, column: str, start: str | None, end: str | None) -> tuple[str, str]:
    """Return two classes: those given, else the most frequent ones, in alphabetical order."""
    counts = Counter(names.tolist())
    wrong = [name for name in (start, end) if name and name not in counts]
    require(not wrong, f"no training image has {column} {' or '.join(wrong)}; {suggest(''.join(wrong[:1]), counts)}")
    others = [name for name, _ in counts.most_common() if name not in (start, end)]
    rest = iter(sorted(others[: (start, end).count(None)]))
    pair = start or next(rest, ""), end or next(rest, "")
    few = [name for name in pair if counts[name] < MIN_IMAGES]
    require(
        pair[0] != pair[1] and not few,
        f"a walk needs two values of {column}, each with {MIN_IMAGES} training images or more; there are "
        + ", ".join(f"{name} ({n})" for name, n in counts.most_common()),
    )
    return pair


def _two_numbers(values: np.ndarray, column: str, start: str | None, end: str | None) -> tuple[float, float]:
    """Return two numbers: those given, else a low and a high percentile."""
    require(len(np.unique(values)) > 1, f"all training images have the same {column}, so there is nothing to change")
    low, high = (float(value) for value in np.quantile(values, (TAIL, 1 - TAIL)))
    try:
        pair = low if start is None else float(start), high if end is None else float(end)
    except ValueError:
        raise UserError(f"{column} holds numbers, so --from and --to must be numbers, not {start} and {end}") from None
    require(pair[0] != pair[1] and all(np.isfinite(pair)), f"a walk needs two different values of {column}")
    return pair
