"""Show patches of real photographs to a simulated population of neurons whose receptive fields and rates are known.

The files are those of Antolik et al. 2016 (doi:10.1371/journal.pcbi.1004927), as published for mouse primary visual
cortex: training images that are shown once, and validation images that are shown repeatedly. The neurons are Gabor
filters: a simple cell passes on the positive part of what its one field sees (a softplus of it), a complex cell the
energy of two that are a quarter of a cycle apart (the root of the sum of squares). Every field sums to zero, so that
uniform light drives nothing: it leaves a complex cell silent and a simple one at its resting rate.

truth.npz holds the `fields` (N, 2, size, size), the second one 0 for a simple cell, and the rates without noise,
`training_rates` and `validation_rates`. A field's drive is its dot product with an image that was z-scored by the mean
and sd of all training pixels; over the training images it has an sd of 1. A rate is `respond` of it, times what makes
its mean over the training images the neuron's `mean_rate`.

Lengths are in px of a patch, from its upper left corner, x right and y down; angles turn from x towards y.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

Row = dict[str, Any]

GABOR = ("x", "y", "orientation_deg", "cycles_per_px", "phase_deg", "sigma_px", "aspect")
COLUMNS = ("neuron", "kind", *GABOR, "mean_rate", "ceiling")
SETS = ("training_inputs", "training_set", "validation_inputs", "validation_set", "raw_validation_set")
FILES = (*(f"region1/{name}.npy" for name in SETS), "truth.npz")

GREY = 1e-6  # what one of 256 grey levels counts in the published images
SCALES = (1, 2)  # px of a photograph per px of a patch
STRIP = (0.475, 0.65)  # of a photograph's width: the columns of the validation images
CONTRAST = 26  # grey levels, the least standard deviation within a patch, as in the published validation images

PLACE = (0.3, 0.7)  # of the side, where a field's centre lies
CYCLES = (0.04, 0.12)  # per px
SIGMA = (2.5, 4.5)  # px across the stripes
ASPECT = (1.0, 1.8)  # sigma along the stripes per sigma across
MEAN_RATE = (0.07, 0.6)  # spikes per presentation, on average over the training images
SHARPNESS = 3  # of the bend of a simple cell's response, per standard deviation of its drive


class NoRoom(Exception):
    """More or larger patches than the photographs have room for, told in one line."""


class Cells(NamedTuple):
    """A neuron per entry, (N,) each; a Gabor's first field is brightest in its centre at a phase of 0."""

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
        """(N,) whether it is a complex cell: every second one is."""
        return np.arange(len(self.x)) % 2 == 1


# ---------------------------------------------------------------------------------------------------- patches


def _photographs() -> list[Image.Image]:
    """The photographs that come with scikit-learn, in grey."""
    from sklearn.datasets import load_sample_images  # takes seconds, which the other stimuli need not wait

    return [Image.fromarray(image).convert("L") for image in load_sample_images().images]


def _box_sums(values: np.ndarray, side: int) -> np.ndarray:
    """The sum of whole numbers in each square, (H, W) to (H - side + 1, W - side + 1)."""
    total = np.pad(values.cumsum(0).cumsum(1), ((1, 0), (1, 0)))  # (H + 1, W + 1)
    rows = total[side:] - total[:-side]
    return rows[:, side:] - rows[:, :-side]


def _has_contrast(photograph: np.ndarray, side: int) -> np.ndarray:
    """Whether the patch that begins at each pixel is more than empty sky, (H - side + 1, W - side + 1)."""
    grey = photograph.astype(np.int64)
    mean, square = _box_sums(grey, side) / side**2, _box_sums(grey**2, side) / side**2
    return square - mean**2 >= CONTRAST**2


def _corners(sheet: np.ndarray, side: int, held_out: bool) -> np.ndarray:
    """Where patches may begin, in the strip for validation or else outside of it, (places, 2) as y and x."""
    good = _has_contrast(sheet, side)
    left, (low, high) = np.arange(good.shape[1]), (part * sheet.shape[1] for part in STRIP)
    inside, outside = (left >= low) & (left + side <= high), (left + side <= low) | (left >= high)
    return np.argwhere(good & (inside if held_out else outside))


def cut(photographs: list[Image.Image], n: int, side: int, held_out: bool, rng: np.random.Generator) -> np.ndarray:
    """Cut patches from random places, no place twice, as many from either photograph at either scale.

    Args:
        photographs: grey ones.
        n: how many patches.
        side: of a patch, px.
        held_out: whether to cut from the strip for validation, or else from the rest.
        rng: what draws the places.

    Returns:
        (n, side, side) uint8.

    Raises:
        NoRoom: There are not so many places.
    """
    sheets = [np.asarray(photograph.reduce(scale)) for photograph in photographs for scale in SCALES]
    corners = [_corners(sheet, side, held_out) for sheet in sheets]
    places = np.concatenate([np.insert(found, 0, sheet, 1) for sheet, found in enumerate(corners)])  # (places, 3)
    if n > len(places):
        where = "the strip held out for validation" if held_out else "what is left for training"
        raise NoRoom(f"{where} has room for {len(places)} patches of {side} px, not {n}; ask for fewer or smaller ones")
    chances = np.concatenate([np.full(len(found), 1 / max(1, len(found))) for found in corners])
    chosen = places[rng.choice(len(places), n, replace=False, p=chances / chances.sum())].tolist()
    return np.stack([sheets[sheet][y : y + side, x : x + side] for sheet, y, x in chosen])


# ---------------------------------------------------------------------------------------------------- neurons


def invent_cells(n_neurons: int, size: int, seed: int) -> Cells:
    """Draw neurons of random traits; more of them leave those before as they were."""
    place = (PLACE[0] * size, PLACE[1] * size)
    low, high = np.transpose([place, place, (0, 180), CYCLES, (0, 360), SIGMA, ASPECT, np.log(MEAN_RATE)])
    traits = low + (high - low) * np.random.default_rng([seed, 1]).random((n_neurons, len(low)))
    traits[:, -1] = np.exp(traits[:, -1])
    return Cells(*traits.T)


def draw_fields(cells: Cells, size: int) -> np.ndarray:
    """The two fields of each neuron, (N, 2, size, size), of sum 0 and norm 1; a simple cell's second one is empty."""
    x, y, orientation, cycles, phase, sigma, aspect, _ = (values[:, None, None, None] for values in cells)
    at, turn = np.arange(size) + 0.5, np.radians(orientation)
    dx, dy = at - x, at[:, None] - y
    along, across = dx * np.cos(turn) + dy * np.sin(turn), dy * np.cos(turn) - dx * np.sin(turn)
    envelope = np.exp(-((along / aspect) ** 2 + across**2) / (2 * sigma**2))  # (N, 1, size, size)
    quarter = np.radians([0, 90])[:, None, None]
    fields = envelope * np.cos(2 * np.pi * cycles * across + np.radians(phase) - quarter)  # (N, 2, size, size)
    fields -= envelope * fields.sum((2, 3), keepdims=True) / envelope.sum((2, 3), keepdims=True)
    fields /= np.sqrt((fields**2).sum((2, 3), keepdims=True))
    fields[~cells.is_complex, 1] = 0
    return fields


def see(fields: np.ndarray, images: np.ndarray) -> np.ndarray:
    """The drive through each field, (N, 2, size, size), by z-scored images (n, size**2): (n, N, 2)."""
    flat = fields.reshape(-1, images.shape[1]).astype(np.float64)  # (N * 2, size**2)
    return (images @ flat.T).reshape(len(images), -1, 2)


def respond(drive: np.ndarray, is_complex: np.ndarray) -> np.ndarray:
    """How strongly neurons respond to a drive (n, N, 2), before their gain: (n, N)."""
    positive = np.logaddexp(0, SHARPNESS * drive[..., 0]) / SHARPNESS
    return np.where(is_complex, np.hypot(drive[..., 0], drive[..., 1]), positive)


def true_ceiling(rates: np.ndarray, n_repeats: int) -> np.ndarray:
    """The r of true rates (n, N) with the mean of so many Poisson counts, (N,)."""
    signal = rates.var(0, ddof=1)
    return np.sqrt(signal / (signal + rates.mean(0) / n_repeats))


def _rows(cells: Cells, ceilings: np.ndarray) -> Iterator[Row]:
    """The true row of each neuron."""
    kinds = np.where(cells.is_complex, "complex", "simple").tolist()
    for neuron, numbers in enumerate(np.stack([*cells, ceilings], 1).round(4).tolist()):
        yield dict(zip(COLUMNS, (neuron, kinds[neuron], *numbers), strict=True))


def scaled_fields(cells: Cells, size: int, images: np.ndarray) -> np.ndarray:
    """The fields through which z-scored images (n, size**2) cause drives of sd 1, (N, 2, size, size) float32."""
    fields = draw_fields(cells, size)
    variance = see(fields, images).var(0).sum(1) / np.where(cells.is_complex, 2, 1)  # (N,)
    return (fields / np.sqrt(variance)[:, None, None, None]).astype(np.float32)


def draw_v1(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    """Record a population into an empty folder; a row of true parameters per neuron."""
    (places, noise), photographs = (np.random.default_rng([args.seed, use]) for use in (0, 2)), _photographs()
    counts = ((args.n_images, False), (args.n_validation, True))
    patches = [cut(photographs, n, args.size, held_out, places).reshape(n, -1) for n, held_out in counts]
    shown = [(images - patches[0].mean()) / patches[0].std() for images in patches]  # z-scored, (n, size**2)
    cells = invent_cells(args.n_neurons, args.size, args.seed)
    fields = scaled_fields(cells, args.size, shown[0])
    responses = [respond(see(fields, images), cells.is_complex) for images in shown]
    training, validation = (values * cells.mean_rate / responses[0].mean(0) for values in responses)  # (n, N)
    once = noise.poisson(training).astype(np.float64)
    trials = noise.poisson(validation, (args.n_repeats, *validation.shape)).astype(np.float64)
    (folder / "region1").mkdir()
    for name, values in zip(SETS, (patches[0] * GREY, once, patches[1] * GREY, trials.mean(0), trials), strict=True):
        np.save(folder / "region1" / f"{name}.npy", values)
    rates = {"training_rates": training.astype(np.float32), "validation_rates": validation.astype(np.float32)}
    np.savez(folder / "truth.npz", fields=fields, **rates)
    return _rows(cells, true_ceiling(validation, args.n_repeats))
