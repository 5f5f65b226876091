"""The tables of V1: `v1.py FOLDER DATA_DIR [N]` trains every model with N repetitions (25) and prints what they reach.

DATA_DIR is the folder of `Resources/simulate.py v1`, a population whose receptive fields and noise are known. What
FOLDER has already is not trained again.
"""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from neuro_noodle.tracking.base import spread

HERE = Path(__file__).resolve().parent.parent

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


def train(folder: Path, name: str, words: str, data_dir: str, n: int) -> Path:
    """Train unless the folder has it, and draw the pictures; returns the run."""
    run = folder / name.replace(", ", "-").replace(" ", "-")
    if not (run / "result.json").exists():
        shutil.rmtree(run, ignore_errors=True)
        where = ["--data_dir", data_dir, "--save_dir", str(folder), "--namestr", run.name, "--log_every", "1000"]
        call("main.py", *words.split(), *where, "--repetitions", str(n))
    if not (run / "figures" / "neurons.csv").exists():
        call("Plotting/report.py", str(run))
    return run


def call(script: str, *words: str) -> None:
    """Run a script, whose output is shown only where it fails."""
    done = subprocess.run([sys.executable, str(HERE / script), *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")


def told(values: list[float]) -> str:
    """Return median, 10th and 90th percentile."""
    median, low, high = spread(values)
    return f"{median:.3f} ({low:.3f} to {high:.3f})"


def main(folder: str, data_dir: str, n: str = "25") -> None:
    """Train all and print a row for each."""
    with Path(data_dir, "metadata.csv").open() as file:
        neurons = list(csv.DictReader(file))
    ceiling = np.mean([float(one["ceiling"]) for one in neurons])
    simple = np.array([one["kind"] == "simple" for one in neurons])
    print(
        f"true ceiling {ceiling:.3f}; median (10th to 90th percentile) over repetitions; fields found, of 1: best run"
    )
    print(f"{'':<22}{'validation r':<26}{'test r':<26}{'of ceiling':<12}{'simple':<8}{'complex':<8}n    epoch  seconds")
    for name, words in MODELS.items():
        run = train(Path(folder).resolve(), name, words, data_dir, int(n))
        result = json.loads((run / "result.json").read_text())
        each = result["repetitions"]
        rows = csv.DictReader((run / "figures" / "neurons.csv").open())
        found = np.array([float(row["field_overlap"]) for row in rows])
        print(
            f"{name:<22}{told(each['validation']['r']):<26}{told(each['test']['r']):<26}"
            f"{np.median(each['test']['r']) / ceiling:<12.3f}{found[simple].mean():<8.2f}{found[~simple].mean():<8.2f}"
            f"{len(each['seeds']):<5}{np.median(each['best_epochs']) + 1:<7.0f}{result['seconds']:.0f}",
            flush=True,
        )
        if name == "HSM":
            for baseline, metrics in result["test"]["baseline_metrics"].items():
                print(f"{baseline:<22}{'':<26}{metrics['r']:<26.3f}{metrics['r'] / ceiling:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
