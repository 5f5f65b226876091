"""What each difference from the published V1 models changes: `published.py FOLDER DATA_DIR [R [STUDY...]]`.

Every row is a model with some of its options as its source has them, trained with R repetitions (10). They are compared
with the repetitions of the first row that have the same seeds. DATA_DIR is the output of `Resources/simulate.py v1`.
Models that FOLDER already holds are not trained again.
"""

import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from runs import format_median, read_result, train
from scipy.stats import t


@dataclass(frozen=True)
class Study:
    """A model, and the options in which the published one differs.

    Attributes:
        flags: of the model.
        differences: flag, option and its published value by the name of the difference.
    """

    flags: dict[str, str]
    differences: dict[str, tuple[str, str, str]]

    def command(self, names: Collection[str] = ()) -> list[str]:
        """Return the command line with the differences of these names."""
        flags = dict(self.flags)
        for flag, ours, published in (self.differences[name] for name in names):
            flags[flag] = flags[flag].replace(ours, published)
        return [word for flag, value in flags.items() for word in (flag, *value.split())]


STUDIES = {
    "what-where": Study(  # the recipe has 48 channels, and takes four times as long
        {
            "--recipe": "v1_what_where",
            "--encoder": "conv channels=24,24,24 group_relative=true last=active pad=false scale=zscore",
            "--head": "what_where absolute=false",
        },
        {
            "absolute group sparsity": ("--encoder", "group_relative=true", "group_relative=false"),
            "linear last convolution": ("--encoder", "last=active", "last=linear"),
            "absolute masks and features": ("--head", "absolute=false", "absolute=true"),
            "padding in layers 2 and 3": ("--encoder", "pad=false", "pad=false,true,true"),
            "pixelwise z-score": ("--encoder", "scale=zscore", "scale=pixelwise"),
        },
    ),
    "HSM": Study(
        {
            "--recipe": "v1_hsm",
            "--encoder": "dog width=sd sums=window max_gain=none inside=false",
            "--head": "mlp l2=0.1",
        },
        {
            "variances": ("--encoder", "width=sd", "width=variance"),
            "gains from 0 to 10": ("--encoder", "max_gain=none", "max_gain=10"),
            "sums over the plane": ("--encoder", "sums=window", "sums=plane"),
            "centres inside": ("--encoder", "inside=false", "inside=true"),
            "half the L2": ("--head", "l2=0.1", "l2=0.05"),
        },
    ),
}


def main(folder: str, data_dir: str, n_repetitions: str = "10", *names: str) -> None:
    """Train all models, or those of some studies, and print a row for each."""
    shared = ["--data_dir", data_dir, "--repetitions", n_repetitions]
    print("r: median (10th to 90th percentile) over repetitions; difference: mean over pairs [95 %]")
    print(f"{'':<42}{'validation r':<26}{'difference':<28}{'test r':<26}{'difference':<28}{'epoch':<7}seconds")
    for name, study in STUDIES.items():
        if names and name not in names:
            continue
        rows = {"none of these": []} | {difference: [difference] for difference in study.differences}
        rows["all of these"] = list(study.differences)
        first = None
        for row, differences in rows.items():
            run_name = f"{name}-{row}".replace(" ", "-")
            result = read_result(train(Path(folder).resolve(), run_name, [*study.command(differences), *shared]))
            first = first or result
            print(format_row(f"{name}, {row}", result, first), flush=True)


def format_row(name: str, result: dict, first: dict) -> str:
    """Return the row of a model; differences are to the first."""
    cells = []
    for part in ("validation", "test"):
        r, others = (np.array(one["repetitions"][part]["r"]) for one in (result, first))
        cells += [f"{format_median(r):<26}", f"{format_difference(r - others) if result is not first else '':<28}"]
    epoch = np.median(result["repetitions"]["best_epochs"]) + 1
    return f"{name:<42}{''.join(cells)}{epoch:<7.0f}{result['seconds']:.0f}"


def format_difference(differences: np.ndarray) -> str:
    """Return the mean of paired differences with its 95 % interval."""
    half = t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / len(differences) ** 0.5
    return f"{differences.mean():+.4f} [{differences.mean() - half:+.4f}, {differences.mean() + half:+.4f}]"


if __name__ == "__main__":
    main(*sys.argv[1:])
