"""Simulate V1 neurons that no model here describes exactly: surround suppression, and noise that is not Poisson.

The response of a neuron in `population` is raised to a power and divided by 1 + suppression * pool (Heeger 1992,
doi:10.1017/S0952523800009640), and a resting rate is added. The pool is the mean energy of complex cells at the
neuron's centre and on a ring around it, in four orientations, most in the neuron's own; it has a mean of 1 over the
training images. Some neurons have no suppression.

A spike count is Poisson with the rate times three gains, each with mean 1 (Goris et al. 2014, doi:10.1038/nn.3711): one
that all neurons share in a presentation, one of the neuron in the presentation, and the slow drift of the neuron. The
training images are presented first, then all validation images in turn, n_repeats times.

The images are patches of photographs and of drawn scenes, turned and mirrored. truth.npz also holds the drift,
`training_drift` (n, N) and `validation_drift` (n_repeats, n, N). The ceiling in the table is the expected correlation,
given the drift, of the true rates with the response averaged over the repeats.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from neuro_noodle.simulate import population
from neuro_noodle.simulate.base import Kind, Row
from neuro_noodle.simulate.population import Cells
from neuro_noodle.simulate.scenes import draw_scene

COLUMNS = (*population.COLUMNS[:-1], "exponent", "suppression", "ceiling")

N_SCENES = 6
REDUCED = 1.5  # the photographs are also used at this fraction of their size

# Ranges of the parameters of the neurons that `population` does not have, or not like this.
MEAN_RATE = (0.4, 2.5)  # spikes per presentation; with RESTING, half of the responses are 0, as in recordings
RESTING = 0.3  # share of the mean rate that does not depend on the image
EXPONENT = (1.0, 1.4)
SUPPRESSION = (1.0, 5.0)
UNSUPPRESSED = 0.2  # share of neurons without suppression

RING_SIGMAS = 2.5  # radius of the ring, in sds of the centre's envelope
N_ON_RING = 8
TUNING = {0: 1.0, 45: 0.4, 90: 0.2, 135: 0.4}  # weight in the pool by orientation relative to the neuron's, degrees

SHARED_VARIANCE = 0.15  # of the gain that all neurons share
PRIVATE_VARIANCE = 0.15  # of the gain of each neuron
DRIFT_SD = 0.25  # of the logarithm of the drift
N_WAVES = 8  # sine waves that add up to the drift ...
PERIODS = (400, 4000)  # ... and their periods, presentations


class Normalization(NamedTuple):
    """How the drive of each neuron becomes its response, (N,) each."""

    exponent: np.ndarray
    suppression: np.ndarray


# ---------------------------------------------------------------------------------------------------- patches


def pictures(seed: int) -> list[Image.Image]:
    """Return the pictures that patches are cut from: photographs in two sizes, and drawn scenes."""
    photographs = population.load_photographs()
    smaller = [image.resize((round(image.width / REDUCED), round(image.height / REDUCED))) for image in photographs]
    return photographs + smaller + [draw_scene(np.random.default_rng([seed, 3, scene])) for scene in range(N_SCENES)]


def turn(patches: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return square patches (n, side, side), turned by random multiples of 90 degrees and half of them mirrored."""
    ways = generator.integers([4, 2], size=(len(patches), 2)).tolist()
    return np.stack(
        [
            np.rot90(patch[:, ::-1] if is_mirrored else patch, quarters)
            for patch, (quarters, is_mirrored) in zip(patches, ways, strict=True)
        ]
    )


# ---------------------------------------------------------------------------------------------------- neurons


def random_normalization(n_neurons: int, seed: int) -> Normalization:
    """Return random parameters; those of the first neurons do not depend on the number of neurons."""
    exponent, suppression, chance = np.random.default_rng([seed, 4]).random((n_neurons, 3)).T
    strength = SUPPRESSION[0] + (SUPPRESSION[1] - SUPPRESSION[0]) * suppression
    return Normalization(
        EXPONENT[0] + (EXPONENT[1] - EXPONENT[0]) * exponent, np.where(chance < UNSUPPRESSED, 0, strength)
    )


def pool_of(cells: Cells, neuron: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the quadrature pairs (K, 2, size, size) and weights (K,) of the pool that suppresses a neuron."""
    x, y, orientation, cycles, _, sigma, _, _ = (values[neuron] for values in cells)
    angle = 2 * np.pi * np.arange(N_ON_RING) / N_ON_RING
    distance = RING_SIGMAS * sigma * np.stack([np.cos(angle), np.sin(angle)])
    places = np.clip([[x], [y]] + np.insert(distance, 0, 0, 1), 0, size)  # (2, 1 + N_ON_RING)
    (columns, rows), turned = np.repeat(places, len(TUNING), 1), np.tile(list(TUNING), places.shape[1])
    same = np.ones(len(turned))
    pool = Cells(columns, rows, orientation + turned, cycles * same, 0 * same, sigma * same, same, same)
    return population.gabor_fields(pool, size), np.tile(list(TUNING.values()), places.shape[1])


def pool_energies(cells: Cells, size: int, images: tuple[np.ndarray, ...]) -> list[np.ndarray]:
    """Return the energies (n, N) of the pools for sets of z-scored images (n, size**2), with mean 1 over the first."""
    energies = [np.empty((len(values), len(cells.x))) for values in images]
    for neuron in range(len(cells.x)):
        pairs, weights = pool_of(cells, neuron, size)
        for energy, values in zip(energies, images, strict=True):
            energy[:, neuron] = np.square(population.drive(pairs, values)).sum(2) @ weights
    return [energy / energies[0].mean(0) for energy in energies]


def respond(drives: np.ndarray, pool: np.ndarray, is_complex: np.ndarray, normalization: Normalization) -> np.ndarray:
    """Return the responses (n, N) to drives (n, N, 2) and pools (n, N), before they are scaled to the mean rate."""
    return population.respond(drives, is_complex) ** normalization.exponent / (1 + normalization.suppression * pool)


# ---------------------------------------------------------------------------------------------------- noise


def random_drift(n_presentations: int, n_neurons: int, seed: int) -> np.ndarray:
    """Return the slow gain of each neuron, (n_presentations, N), with an expected value of 1."""
    generator, time = np.random.default_rng([seed, 5]), np.arange(n_presentations)
    drift = np.empty((n_presentations, n_neurons))
    for neuron in range(n_neurons):
        periods = PERIODS[0] * (PERIODS[1] / PERIODS[0]) ** generator.random(N_WAVES)
        waves = np.exp(2j * np.pi * time[:, None] / periods)  # (n_presentations, N_WAVES)
        sizes = generator.standard_normal((2, N_WAVES)) / np.sqrt(N_WAVES)
        drift[:, neuron] = waves.real @ sizes[0] + waves.imag @ sizes[1]
    return np.exp(DRIFT_SD * drift - DRIFT_SD**2 / 2)


def spikes(rates: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return spike counts with these rates (..., N) before the gains of a presentation."""
    shared = generator.gamma(1 / SHARED_VARIANCE, SHARED_VARIANCE, (*rates.shape[:-1], 1))
    private = generator.gamma(1 / PRIVATE_VARIANCE, PRIVATE_VARIANCE, rates.shape)
    return generator.poisson(rates * shared * private)


def spike_variance(rates: np.ndarray) -> np.ndarray:
    """Return the variance of `spikes`."""
    return rates + ((1 + SHARED_VARIANCE) * (1 + PRIVATE_VARIANCE) - 1) * rates**2


def draw_surround(
    folder: Path, *, n_neurons: int, n_images: int, n_validation: int, n_repeats: int, size: int, seed: int
) -> Iterator[Row]:
    """Simulate a recording of V1 with surround suppression; see `population.draw_v1` for the arguments."""
    generator = np.random.default_rng([seed, 6])
    cut = population.random_patches(pictures(seed), (n_images, n_validation), size, seed)
    patches = turn(cut[0], generator), turn(cut[1], generator)
    images = population.zscored(*patches)
    cells = population.random_cells(n_neurons, size, seed, MEAN_RATE)
    normalization = random_normalization(n_neurons, seed)
    fields = population.scaled_fields(cells, size, images[0])
    responses = [
        respond(population.drive(fields, values), pool, cells.is_complex, normalization)
        for values, pool in zip(images, pool_energies(cells, size, images), strict=True)
    ]
    training, validation = (
        cells.mean_rate * (RESTING + (1 - RESTING) * values / responses[0].mean(0)) for values in responses
    )  # (n, N)
    drift = random_drift(n_images + n_repeats * n_validation, n_neurons, seed)
    first, then = drift[:n_images], drift[n_images:].reshape(n_repeats, n_validation, n_neurons)
    once, trials = spikes(training * first, generator), spikes(validation * then, generator)
    rates = {"training_rates": training, "validation_rates": validation}
    drifts = {"training_drift": first, "validation_drift": then}
    population.save_recording(folder, patches, once, trials, {"fields": fields} | rates | drifts)
    noise = spike_variance(validation * then).mean((0, 1)) / n_repeats
    ceiling = population.true_ceiling(validation, validation * then.mean(0), noise)
    return population.table_rows(COLUMNS, cells.is_complex, [*cells, *normalization, ceiling])


V1_SURROUND = Kind(
    draw=draw_surround,
    summary="as v1, with surround suppression, drifting and correlated noise, and patches of more pictures",
    folder="v1_surround",
    columns=COLUMNS,
    options=population.OPTIONS,
    files=population.FILES,
    row_noun="neurons",
)
