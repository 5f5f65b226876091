"""How often 95 % intervals hold the truth, for people who differ from each other.

Run it from the folder of the project: `python -m benchmarks.simulations.intervals [N]`. N (1000) is the number of data
sets of each row.
"""

import sys
from collections.abc import Callable, Iterator

import numpy as np

from neuro_noodle.measures.ceilings import pearson
from neuro_noodle.measures.intervals import Ends, accuracy_interval, from_root_scale, jackknife, to_root_scale
from neuro_noodle.measures.scores import r_squared

N_NEURONS = 30

Draw = Callable[[np.random.Generator], tuple[Ends | None, float]]


def main(n: int) -> None:
    """Print a row for each kind of data: coverage, misses on each side, and the median width of the interval."""
    print(f"{'metric':<44}{'holds':>7}{'above':>7}{'below':>7}{'width':>8}{'none':>7}")
    for title, draw in rows():
        generator = np.random.default_rng(0)
        found = [draw(generator) for _ in range(n)]
        drawn = [(*ends, truth) for ends, truth in found if ends]
        low, high, truth = np.array(drawn).T
        shares = [100 * values.mean() for values in ((low <= truth) & (truth <= high), low > truth, high < truth)]
        print(f"{title:<44}" + "".join(f"{share:7.1f}" for share in shares), end="")
        print(f"{np.median(high - low):8.3f}{n - len(drawn):7}", flush=True)


def rows() -> Iterator[tuple[str, Draw]]:
    """Yield the title of each row, and a function that draws a data set and returns its interval and the truth."""
    for correlation, share in ((0.1, 0.7), (0.3, 0.95)):
        for n_people in (5, 12, 40):
            title = f"accuracy {share}, correlation {correlation}, {n_people} people"
            yield title, accuracy(correlation, share, np.full(n_people, 8))
    yield "accuracy 0.95, correlation 0.3, 12 people x 40", accuracy(0.3, 0.95, np.full(12, 40))
    unequal = np.maximum(1, (60 * 0.85 ** np.arange(40)).round().astype(int))
    yield "accuracy 0.7, correlation 0.1, 40 unequal", accuracy(0.1, 0.7, unequal)
    yield "accuracy 0.9, correlation 0.3, 12 unequal", accuracy(0.3, 0.9, unequal[:12])
    yield "accuracy 0.95, 200 images without groups", accuracy(0, 0.95, np.full(200, 1))
    for spread in (0, 0.3, 0.8):
        for n_people in (5, 12, 40):
            yield f"mean error, sd {spread} of its log, {n_people} people", mean_error(spread, n_people)
    for spread in (0, 0.5):
        for n_people in (5, 12, 40):
            yield f"R2 0.5, sd {spread} of person, {n_people} people", explained(spread, n_people)
    yield "mean r 0.5 of 30 neurons, 50 images", correlation_of_neurons()
    for n_images, n_people in ((48, 12), (240, 12), (400, 40)):
        yield f"accuracy 0.85, best of 60 epochs, {n_images} images", chosen(n_images, n_people)


def accuracy(correlation: float, share: float, sizes: np.ndarray) -> Draw:
    """Return how to draw people with `sizes` images each, whose accuracy has a beta distribution."""
    groups = np.repeat(np.arange(len(sizes)), sizes)

    def draw(generator: np.random.Generator) -> tuple[Ends | None, float]:
        ability = np.full(len(sizes), share)
        if correlation:
            concentration = 1 / correlation - 1
            ability = generator.beta(share * concentration, (1 - share) * concentration, len(sizes))
        return accuracy_interval((generator.random(len(groups)) < ability[groups]).astype(float), groups), share

    return draw


def mean_error(spread: float, n_people: int, n_each: int = 8) -> Draw:
    """Return how to draw errors with log-normal distributions, of images and of people."""
    groups = np.repeat(np.arange(n_people), n_each)

    def draw(generator: np.random.Generator) -> tuple[Ends | None, float]:
        logs = spread * generator.normal(size=n_people)[groups] + 0.5 * generator.normal(size=len(groups))
        errors = np.exp(logs)
        ends = jackknife(lambda is_kept: float(errors[is_kept].mean()), groups, to_root_scale, from_root_scale)
        return ends, float(np.exp((spread**2 + 0.5**2) / 2))

    return draw


def explained(spread: float, n_people: int, n_each: int = 20) -> Draw:
    """Return how to draw predictions with an R2 of 0.5, and an error that people share."""
    groups = np.repeat(np.arange(n_people), n_each)

    def draw(generator: np.random.Generator) -> tuple[Ends | None, float]:
        true = generator.normal(size=(len(groups), 1))
        noise = spread * generator.normal(size=(n_people, 1))[groups] + generator.normal(size=true.shape)
        predicted = true + noise * np.sqrt(0.5 / (1 + spread**2))

        def unexplained(is_kept: np.ndarray) -> float:
            return float(1 - r_squared(predicted[is_kept], true[is_kept])[0])

        ends = jackknife(unexplained, groups, to_root_scale, from_root_scale)
        return ends and (1 - ends[1], 1 - ends[0]), 0.5

    return draw


def correlation_of_neurons() -> Draw:
    """Return how to draw responses of neurons that share noise; each has an r of 0.5 with its prediction."""

    def draw(generator: np.random.Generator) -> tuple[Ends | None, float]:
        predicted = generator.normal(size=(50, N_NEURONS))
        shared = generator.normal(size=(50, 1))
        noise = np.sqrt(0.3) * shared + np.sqrt(0.7) * generator.normal(size=predicted.shape)
        recorded = predicted + np.sqrt(3) * noise

        def mean_r(is_kept: np.ndarray) -> float:
            return float(pearson(predicted[is_kept], recorded[is_kept]).mean())

        return jackknife(mean_r, np.arange(50), np.arctanh, np.tanh), 0.5

    return draw


def chosen(n_images: int, n_people: int, n_epochs: int = 60) -> Draw:
    """Return how to draw the accuracy of the best of equally good epochs, whose errors are correlated.

    The interval of this value is what the program printed for validation until 2026-11.
    """
    groups = np.arange(n_images) % n_people

    def draw(generator: np.random.Generator) -> tuple[Ends | None, float]:
        ability = generator.normal(size=n_people)[groups] * np.sqrt(0.1)
        ability = ability + generator.normal(size=n_images) * np.sqrt(0.6)
        scores = ability + generator.normal(size=(n_epochs, n_images)) * np.sqrt(0.3)
        is_correct = scores > -1.0364334  # the 15 % quantile of the normal distribution
        best = is_correct[is_correct.mean(1).argmax()]
        return accuracy_interval(best.astype(float), groups), 0.85

    return draw


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
