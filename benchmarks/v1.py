"""The tables of V1: `v1.py FOLDER DATA_DIR [R]` trains every model with R repetitions (25) and prints the results.

DATA_DIR is the output of `Resources/simulate.py v1` or `v1_surround`: a population with known receptive fields and
noise. Models that FOLDER already holds are not trained again.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from runs import format_median, read_result, start, train

from neuro_noodle.measures.ceilings import pearson

MODELS = {
    "LN": "--recipe v1_ln",
    "LNLN": "--recipe v1_lnln",
    "HSM": "--recipe v1_hsm",
    "conv": "--recipe v1_conv",
    "what-where": "--recipe v1_what_where",
    "HSM, raw": "--recipe v1_hsm --encoder dog scale=none --dataset v1 max_value=1",
    "LNLN, raw": "--recipe v1_lnln --encoder identity scale=none --dataset v1 max_value=1",
    "HSM, not z-scored": "--recipe v1_hsm --encoder dog scale=none",
    "LNLN, not z-scored": "--recipe v1_lnln --encoder identity scale=none",
}


def main(folder: str, data_dir: str, n_repetitions: str = "25") -> None:
    """Train all models and print a row for each."""
    neurons = read_table(Path(data_dir) / "metadata.csv")
    ceiling = r_of_true_rates(Path(data_dir))
    is_simple = np.array([neuron["kind"] == "simple" for neuron in neurons])
    print(f"the true rates reach r = {ceiling:.3f}; median (10th to 90th percentile) over repetitions;")
    print("simple, complex: overlap of the best repetition's receptive fields with the true ones, at most 1")
    print(f"{'':<22}{'validation r':<26}{'test r':<26}{'of ceiling':<12}{'simple':<8}{'complex':<8}n    epoch  seconds")
    for name, words in MODELS.items():
        run_name = name.replace(", ", "-").replace(" ", "-")
        words = [*words.split(), "--data_dir", data_dir, "--repetitions", n_repetitions]
        run = train(Path(folder).resolve(), run_name, words)
        if not (run / "figures" / "neurons.csv").exists():
            start("Plotting/report.py", str(run))
        result = read_result(run)
        print(format_row(name, result, read_table(run / "figures" / "neurons.csv"), is_simple, ceiling), flush=True)
        if name == "HSM":
            for baseline, metrics in result["test"]["baseline_metrics"].items():
                print(f"{baseline:<22}{'':<26}{metrics['r']:<26.3f}{metrics['r'] / ceiling:.3f}")


def r_of_true_rates(data_dir: Path) -> float:
    """Return the mean r over neurons that the true rates reach with the recorded trials: what a perfect model would."""
    with np.load(data_dir / "truth.npz") as truth:
        rates = truth["validation_rates"]
    return float(pearson(rates, np.load(data_dir / "region1" / "validation_set.npy")).mean())


def read_table(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def format_row(name: str, result: dict, fields: list[dict[str, str]], is_simple: np.ndarray, ceiling: float) -> str:
    """Return the row of a model.

    Args:
        name: name of the model.
        result: content of result.json.
        fields: rows of neurons.csv.
        is_simple: (N,) bool, True for simple cells.
        ceiling: r that the true rates reach.
    """
    repetitions = result["repetitions"]
    test_r, overlap = repetitions["test"]["r"], np.array([float(row["field_overlap"]) for row in fields])
    return (
        f"{name:<22}{format_median(repetitions['validation']['r']):<26}{format_median(test_r):<26}"
        f"{np.median(test_r) / ceiling:<12.3f}{overlap[is_simple].mean():<8.2f}{overlap[~is_simple].mean():<8.2f}"
        f"{len(repetitions['seeds']):<5}{np.median(repetitions['best_epochs']) + 1:<7.0f}{result['seconds']:.0f}"
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
