"""Splits: how far folds of whole groups differ, against scikit-learn's: `python -m benchmarks.simulations.splits`.

For people with unequal shares of two classes: the standard deviation over 5 folds of the share of a class and of the
share of the images, means over data sets; and how many different ways of splitting ten seeds give. Takes a minute.
"""

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from neuro_noodle.data.splits import split_units

N_SETS = 20
N_SEEDS = 10  # for the number of different splits
SIZES = {
    "1 to 11 images each": lambda generator, n: generator.integers(1, 12, n),
    "geometric, mean 10": lambda generator, n: generator.geometric(0.1, n),
    "8 images each": lambda generator, n: np.full(n, 8),
    "one has 100, others 2": lambda generator, n: np.array([100, *[2] * (n - 1)]),
}


def draw_people(sizes: str, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the person and the class (0 or 1) of each image; people differ in their share of class 1."""
    generator = np.random.default_rng(seed)
    person = np.repeat(np.arange(n), SIZES[sizes](generator, n))
    return person, (generator.random(len(person)) < generator.beta(0.5, 1, n)[person]).astype(int)


def folds_of_ours(person: np.ndarray, label: np.ndarray, seed: int) -> list[list[int]]:
    """Return the images of each of 5 test parts."""
    return [split_units(person, label, "", val_fraction=0.1, fold=(k, 5), seed=seed)["test"] for k in range(1, 6)]


def folds_of_sklearn(person: np.ndarray, label: np.ndarray, seed: int) -> list[list[int]]:
    """Return the images of each of 5 test parts."""
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    return [test.tolist() for _, test in splitter.split(person, label, person)]


def main() -> None:
    """Print a row per kind of people and number of them."""
    print(
        "| sizes | people | class share: ours | scikit-learn | image share: ours | scikit-learn | splits by 10 seeds |"
    )
    print("|---|---|---|---|---|---|---|")
    for sizes in SIZES:
        for n in (12, 40, 60):
            cells = {}
            for name, split in (("ours", folds_of_ours), ("scikit-learn", folds_of_sklearn)):
                sets = [draw_people(sizes, n, seed) for seed in range(N_SETS)]
                folds = [split(*people, seed) for seed, people in enumerate(sets)]
                classes = [
                    np.std([label[fold].mean() for fold in one]) for one, (_, label) in zip(folds, sets, strict=True)
                ]
                images = [
                    np.std([len(fold) / len(label) for fold in one])
                    for one, (_, label) in zip(folds, sets, strict=True)
                ]
                different = {frozenset(map(tuple, split(*sets[0], seed))) for seed in range(N_SEEDS)}
                cells[name] = f"{np.mean(classes):.3f}", f"{np.mean(images):.3f}", str(len(different))
            pairs = [f"{ours} | {theirs}" for ours, theirs in zip(*cells.values(), strict=True)]
            print(f"| {sizes} | {n} | {pairs[0]} | {pairs[1]} | {pairs[2].replace(' | ', ', ')} |")


if __name__ == "__main__":
    main()
