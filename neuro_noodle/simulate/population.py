"""Simulate the responses of V1 neurons with known receptive fields and rates to patches of photographs.

The files have the format of Antolik et al. 2016 (doi:10.1371/journal.pcbi.1004927), recorded in mouse primary visual
cortex: training images are shown once, validation images repeatedly. The neurons are Gabor filters. A simple cell
responds with the positive part (softplus) of the drive of its one field, a complex cell with the energy (root of the
sum of squares) of two fields that differ by a quarter of a cycle. Every field sums to zero, so that uniform light
leaves complex cells silent and simple cells at their resting rate.

truth.npz holds `fields` (N, 2, size, size), where the second field of a simple cell is 0, and the rates without noise,
`training_rates` and `validation_rates`. The drive of a field is its dot product with an image that was z-scored by the
mean and sd of all training pixels; it has an sd of 1 over the training images. The rate is `respond` of the drive,
scaled so that its mean over the training images is the neuron's `mean_rate`.

Lengths are in px of a patch, relative to its upper left corner, x right and y down; angles run from x towards y.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from neuro_noodle.choices import UserError
from neuro_noodle.simulate.base import Kind, Option, Row, whole_number

GABOR = ("x", "y", "orientation_deg", "cycles_per_px", "phase_deg", "sigma_px", "aspect")
COLUMNS = ("neuron", "kind", *GABOR, "mean_rate", "ceiling")
SETS = ("training_inputs", "training_set", "validation_inputs", "validation_set", "raw_validation_set")
TRUTH = "truth.npz"
FILES = (*(f"region1/{name}.npy" for name in SETS), TRUTH)

GREY = 1e-6  # value of one of 256 grey levels in the published images
SCALES = (1, 2)  # px of a photograph per px of a patch
STRIP = (0.475, 0.65)  # columns of the validation images, as fractions of a photograph's width
MIN_CONTRAST = 26  # smallest sd of a patch in grey levels, as in the published validation images

# Ranges of the parameters of the neurons.
CENTRE = (0.3, 0.7)  # position of a field's centre, as a fraction of the side
CYCLES = (0.04, 0.12)  # spatial frequency, cycles per px
SIGMA = (2.5, 4.5)  # sd of the envelope across the stripes, px
ASPECT = (1.0, 1.8)  # sd along the stripes divided by sd across
MEAN_RATE = (0.07, 0.6)  # spikes per presentation, mean over the training images
SHARPNESS = 3  # of the softplus of a simple cell, per sd of its drive


class Cells(NamedTuple):
    """The parameters of the neurons, (N,) each; at phase 0 the first field is brightest at its centre."""

    x: np.ndarray
    y: np.ndarray
    orientation_deg: np.ndarray  # of the stripes, from 0 to 180
    cycles_per_px: np.ndarray
    phase_deg: np.ndarray
    sigma_px: np.ndarray
    aspect: np.ndarray
    mean_rate: np.ndarray

    @property
    def is_complex(self) -> np.ndarray:
        """Whether each neuron is a complex cell, (N,): every second one is."""
        return np.arange(len(self.x)) % 2 == 1


# ---------------------------------------------------------------------------------------------------- patches


def load_photographs() -> list[Image.Image]:
    """Return the photographs included in scikit-learn, converted to grey."""
    from sklearn.datasets import load_sample_images  # importing it takes seconds

    return [Image.fromarray(image).convert("L") for image in load_sample_images().images]


def _box_sums(values: np.ndarray, side: int) -> np.ndarray:
    """Return the sums of integers (H, W) over all squares of a side, (H - side + 1, W - side + 1)."""
    total = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # (H + 1, W + 1)
    rows = total[side:] - total[:-side]
    return rows[:, side:] - rows[:, :-side]


def _has_contrast(photograph: np.ndarray, side: int) -> np.ndarray:
    """Return whether the patch at each corner has enough contrast, (H - side + 1, W - side + 1) bool."""
    grey = photograph.astype(np.int64)
    mean, square = _box_sums(grey, side) / side**2, _box_sums(grey**2, side) / side**2
    return square - mean**2 >= MIN_CONTRAST**2


def _corners(photograph: np.ndarray, side: int, is_held_out: bool) -> np.ndarray:
    """Return the possible corners (y, x) of patches inside the validation strip or outside it, (n, 2)."""
    good = _has_contrast(photograph, side)
    left, (low, high) = np.arange(good.shape[1]), (part * photograph.shape[1] for part in STRIP)
    inside, outside = (left >= low) & (left + side <= high), (left + side <= low) | (left >= high)
    return np.argwhere(good & (inside if is_held_out else outside))


def cut_patches(
    photographs: list[Image.Image], n: int, side: int, is_held_out: bool, generator: np.random.Generator
) -> np.ndarray:
    """Return patches from different random positions, with equal chances for each photograph and scale.

    Args:
        photographs: grey photographs.
        n: number of patches.
        side: height and width of a patch, px.
        is_held_out: cut from the strip for validation if True, from the rest if False.
        generator: the source of the random positions.

    Returns:
        (n, side, side) uint8.

    Raises:
        UserError: There are fewer than n positions.
    """
    scaled = [np.asarray(photograph.reduce(scale)) for photograph in photographs for scale in SCALES]
    corners = [_corners(photograph, side, is_held_out) for photograph in scaled]
    positions = np.concatenate([np.insert(found, 0, index, 1) for index, found in enumerate(corners)])  # (P, 3)
    if n > len(positions):
        where = "the strip held out for validation" if is_held_out else "the part for training"
        raise UserError(
            f"{where} has room for {len(positions)} patches of {side} px, not {n}; ask for fewer or smaller ones"
        )
    chances = np.concatenate([np.full(len(found), 1 / max(1, len(found))) for found in corners])
    chosen = positions[generator.choice(len(positions), n, replace=False, p=chances / chances.sum())].tolist()
    return np.stack([scaled[index][y : y + side, x : x + side] for index, y, x in chosen])


# ---------------------------------------------------------------------------------------------------- neurons


def random_cells(n_neurons: int, size: int, seed: int, mean_rate: tuple[float, float] = MEAN_RATE) -> Cells:
    """Return neurons with random parameters; the first ones do not depend on the number of neurons."""
    centre = (CENTRE[0] * size, CENTRE[1] * size)
    low, high = np.transpose([centre, centre, (0, 180), CYCLES, (0, 360), SIGMA, ASPECT, np.log(mean_rate)])
    parameters = low + (high - low) * np.random.default_rng([seed, 1]).random((n_neurons, len(low)))
    parameters[:, -1] = np.exp(parameters[:, -1])
    return Cells(*parameters.T)


def gabor_fields(cells: Cells, size: int) -> np.ndarray:
    """Return two fields per neuron, a quarter of a cycle apart, (N, 2, size, size), with sum 0 and norm 1."""
    x, y, orientation, cycles, phase, sigma, aspect, _ = (values[:, None, None, None] for values in cells)
    pixel, angle = np.arange(size) + 0.5, np.radians(orientation)
    dx, dy = pixel - x, pixel[:, None] - y
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    envelope = np.exp(-((along / aspect) ** 2 + across**2) / (2 * sigma**2))  # (N, 1, size, size)
    quarter = np.radians([0, 90])[:, None, None]
    fields = envelope * np.cos(2 * np.pi * cycles * across + np.radians(phase) - quarter)  # (N, 2, size, size)
    fields -= envelope * fields.sum((2, 3), keepdims=True) / envelope.sum((2, 3), keepdims=True)
    return fields / np.sqrt((fields**2).sum((2, 3), keepdims=True))


def drive(fields: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return the drive (n, N, 2) of fields (N, 2, size, size) by z-scored images (n, size**2)."""
    flat = fields.reshape(-1, images.shape[1]).astype(np.float64)  # (N * 2, size**2)
    return (images @ flat.T).reshape(len(images), -1, 2)


def respond(drives: np.ndarray, is_complex: np.ndarray) -> np.ndarray:
    """Return the responses (n, N) to drives (n, N, 2), before they are scaled to the mean rate."""
    positive = np.logaddexp(0, SHARPNESS * drives[..., 0]) / SHARPNESS
    return np.where(is_complex, np.hypot(drives[..., 0], drives[..., 1]), positive)


def true_ceiling(rates: np.ndarray, expected: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Return the expected correlation of true rates with responses averaged over presentations.

    Args:
        rates: (n, N) the true rates.
        expected: (n, N) the expected values of the averaged responses.
        noise: (N,) their variance due to noise, mean over the images.

    Returns:
        (N,) ceilings.
    """
    covariance = ((rates - rates.mean(0)) * (expected - expected.mean(0))).sum(0) / (len(rates) - 1)
    return covariance / np.sqrt(rates.var(0, ddof=1) * (expected.var(0, ddof=1) + noise))


def table_rows(columns: tuple[str, ...], is_complex: np.ndarray, parameters: list[np.ndarray]) -> Iterator[Row]:
    """Yield the number, kind and parameters, (N,) each, of each neuron."""
    kinds = np.where(is_complex, "complex", "simple").tolist()
    for neuron, numbers in enumerate(np.stack(parameters, 1).round(4).tolist()):
        yield dict(zip(columns, (neuron, kinds[neuron], *numbers), strict=True))


def scaled_fields(cells: Cells, size: int, images: np.ndarray) -> np.ndarray:
    """Return fields (N, 2, size, size) float32 whose drives by z-scored images (n, size**2) have an sd of 1.

    A simple cell's second field is 0.
    """
    fields = gabor_fields(cells, size)
    fields[~cells.is_complex, 1] = 0
    variance = drive(fields, images).var(0).sum(1) / np.where(cells.is_complex, 2, 1)  # (N,)
    return (fields / np.sqrt(variance)[:, None, None, None]).astype(np.float32)


def random_patches(
    photographs: list[Image.Image], counts: tuple[int, int], side: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return training and validation patches, as many as `counts` says, (n, side, side) uint8 each."""
    generator = np.random.default_rng([seed, 0])
    training, validation = (
        cut_patches(photographs, n, side, is_held_out, generator)
        for n, is_held_out in zip(counts, (False, True), strict=True)
    )
    return training, validation


def zscored(training: np.ndarray, validation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return patches (n, side, side) as rows (n, side**2), z-scored by the mean and sd of all training pixels."""
    mean, sd = training.mean(), training.std()
    first, second = ((patches.reshape(len(patches), -1) - mean) / sd for patches in (training, validation))
    return first, second


def save_recording(
    folder: Path,
    patches: tuple[np.ndarray, np.ndarray],
    once: np.ndarray,
    trials: np.ndarray,
    truth: dict[str, np.ndarray],
) -> None:
    """Save a recording in the published format.

    Args:
        folder: an empty folder.
        patches: training and validation images, (n, side, side) uint8.
        once: (n, N) responses to the training images.
        trials: (T, n, N) responses to the validation images.
        truth: the content of truth.npz.
    """
    training, validation = (values.reshape(len(values), -1) * GREY for values in patches)
    once, trials = once.astype(np.float64), trials.astype(np.float64)
    (folder / "region1").mkdir()
    for name, values in zip(SETS, (training, once, validation, trials.mean(0), trials), strict=True):
        np.save(folder / "region1" / f"{name}.npy", values)
    arrays: dict[str, Any] = {name: values.astype(np.float32) for name, values in truth.items()}
    np.savez(folder / TRUTH, **arrays)


def draw_v1(
    folder: Path, *, n_neurons: int, n_images: int, n_validation: int, n_repeats: int, size: int, seed: int
) -> Iterator[Row]:
    """Simulate a recording of V1.

    Args:
        folder: an empty folder.
        n_neurons: number of neurons, alternately simple and complex cells.
        n_images: number of training images, each shown once.
        n_validation: number of validation images.
        n_repeats: number of presentations of each validation image.
        size: height and width of an image, px.
        seed: the same seed gives the same recording.

    Returns:
        A row of true parameters for each neuron.
    """
    patches = random_patches(load_photographs(), (n_images, n_validation), size, seed)
    images = zscored(*patches)
    cells = random_cells(n_neurons, size, seed)
    fields = scaled_fields(cells, size, images[0])
    responses = [respond(drive(fields, values), cells.is_complex) for values in images]
    training, validation = (values * cells.mean_rate / responses[0].mean(0) for values in responses)  # (n, N)
    generator = np.random.default_rng([seed, 2])
    once, trials = generator.poisson(training), generator.poisson(validation, (n_repeats, *validation.shape))
    truth = {"fields": fields, "training_rates": training, "validation_rates": validation}
    save_recording(folder, patches, once, trials, truth)
    ceiling = true_ceiling(validation, validation, validation.mean(0) / n_repeats)
    return table_rows(COLUMNS, cells.is_complex, [*cells, ceiling])


OPTIONS = (
    Option("n_neurons", whole_number(1, 1000), 100, "number of neurons, half of them simple cells"),
    Option("n_images", whole_number(10, 1_000_000), 1800, "number of training images, each shown once"),
    Option("n_validation", whole_number(2, 10_000), 50, "number of validation images, each shown repeatedly"),
    Option("n_repeats", whole_number(2, 1000), 10, "number of presentations of each validation image"),
    Option("size", whole_number(16, 1000), 31, "side of an image in pixels"),
)

V1 = Kind(
    draw=draw_v1,
    summary="responses of simulated V1 neurons to patches of photographs, in the format of published recordings",
    folder="v1",
    columns=COLUMNS,
    options=OPTIONS,
    files=FILES,
    row_noun="neurons",
)
