"""Is the share of the noise ceiling right? Simulated Poisson neurons, whose true share is known.

python -m benchmarks.simulations.ceilings [recordings, 200 by default]

A perfect model predicts the true rates; the other has a correlation of 0.8 with them over all possible images.
"""

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from neuro_noodle.measures.ceilings import Repeats, mean_ceiling, pearson, share_of_ceiling
from neuro_noodle.measures.intervals import jackknife
from neuro_noodle.simulate.population import draw_v1

N_IMAGES, N_NEURONS = 50, 100
REPEATS = (4, 6, 8, 10, 12)
POPULATIONS = {  # mean count of a presentation, coefficient of variation over images
    "0.07, 0.8": (0.07, 0.8),
    "0.3, 0.3": (0.3, 0.3),
    "0.3, 0.8": (0.3, 0.8),
    "1, 0.3": (1.0, 0.3),
    "1, 0.8": (1.0, 0.8),
    "5, 0.3": (5.0, 0.3),
    "mixed": (np.exp(np.random.default_rng(0).normal(-0.7, 0.8, N_NEURONS)), np.linspace(0.3, 1, N_NEURONS)),
}
Recording = tuple[np.ndarray, np.ndarray]  # rates and model, (n, N) each


def draw_gamma(rng: np.random.Generator, mean: np.ndarray | float, width: np.ndarray | float) -> Recording:
    """Return rates (n, N) with a gamma distribution, and the model of r 0.8."""
    rates = rng.gamma(1 / np.square(width), mean * np.square(width), (N_IMAGES, N_NEURONS))
    return rates, 0.8 * (rates - mean) / (mean * width) + 0.6 * rng.standard_normal(rates.shape)


def draw_built_in(rng: np.random.Generator, rates: np.ndarray) -> Recording:
    """Return the rates (n, N) of the built-in population at some of its images (m, N), and the model of r 0.8."""
    shown = rates[rng.choice(len(rates), N_IMAGES, replace=False)]
    return shown, 0.8 * (shown - rates.mean(0)) / rates.std(0) + 0.6 * rng.standard_normal(shown.shape)


def built_in_rates() -> np.ndarray:
    """Return the rates (1800, N) of the built-in population at its training images."""
    with tempfile.TemporaryDirectory() as folder:
        sizes = {"n_neurons": N_NEURONS, "n_images": 1800, "n_validation": 2, "n_repeats": 2, "size": 31}
        list(draw_v1(Path(folder), **sizes, seed=0))
        with np.load(Path(folder, "truth.npz")) as truth:
            return truth["training_rates"].astype(float)


def simulate(draw: Callable[[np.random.Generator], Recording], n_trials: int, n_drawn: int) -> Iterator[list[float]]:
    """Yield of each recording the ceiling, r of the true rates, old and new shares, and ends of both intervals."""
    for seed in range(n_drawn):
        rng = np.random.default_rng(seed)
        rates, model = draw(rng)
        repeats = Repeats.of(rng.poisson(rates, (n_trials, *rates.shape)))
        r = pearson(rates, repeats.mean).mean()
        row = [mean_ceiling(repeats), r, r / mean_of_roots(repeats)]
        for predicted in (rates, model):

            def share(is_kept: np.ndarray, predicted: np.ndarray = predicted, repeats: Repeats = repeats) -> float:
                return share_of_ceiling(predicted[is_kept], repeats[is_kept])

            ends = jackknife(share, np.arange(len(rates)), np.asarray, np.asarray)
            row += [share_of_ceiling(predicted, repeats), *(ends or (np.nan, np.nan))]
        yield row


def mean_of_roots(repeats: Repeats) -> float:
    """Return the mean ceiling as it was estimated before: the mean of roots, with negative signal variances at 0."""
    of_mean = repeats.mean.var(0, ddof=1)
    signal = np.maximum(of_mean - repeats.noise.mean(0), 0)
    return np.sqrt(np.divide(signal, of_mean, out=np.zeros_like(signal), where=of_mean > 0)).mean()


def format_row(rows: np.ndarray) -> str:
    """Return the cells of one line of the table, given what `simulate` yields of each recording."""
    ceiling, r, before = np.nanmean(rows[:, :3], 0)
    cells = [f"{r:.3f}", f"{ceiling:.3f}", f"{before:.1%}"]
    for column, truth in ((3, 1.0), (6, 0.8)):
        shares, low, high = rows[np.isfinite(rows[:, column + 1]), column : column + 3].T
        held = np.mean((low <= truth) & (truth <= high))
        cells.append(f"{shares.mean():.1%} ± {shares.std():.1%} ({held:.1%})")
    return " | ".join([*cells, f"{np.isfinite(rows[:, 4]).mean():.0%}"])


def main(n_drawn: int = 200) -> None:
    """Print a table of all populations and numbers of repeats."""
    print(
        f"{N_IMAGES} images, {N_NEURONS} neurons, {n_drawn} recordings; mean share ± sd (its interval holds the truth)"
    )
    print(
        "| mean count, CV of rates | repeats | r of true rates | ceiling | perfect model, old share | new share |",
        end="",
    )
    print(" model of 80 %, new share | recordings that have a share |")
    print("|" + "---|" * 8)
    draws = {name: partial(draw_gamma, mean=mean, width=width) for name, (mean, width) in POPULATIONS.items()}
    for name, draw in (draws | {"built-in": partial(draw_built_in, rates=built_in_rates())}).items():
        for n_trials in REPEATS:
            rows = np.array(list(simulate(draw, n_trials, n_drawn)))
            print(f"| {name} | {n_trials} | {format_row(rows)} |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
