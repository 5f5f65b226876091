"""Are the recipes as described? `expected.py [--data DIR] [RECIPE ...]` trains each and compares its result.

`expected` of a recipe (neuro_noodle/recipes.py) says on which data and with which further flags. Built-in stimuli are
generated; other data are in DIR, in folders named as in README.md. Each recipe has a row, also if it cannot be trained
here. The exit status is 1 if any of them drifts or fails.
"""

import argparse
import math
import re
import sys
import tempfile
import time
from pathlib import Path

from runs import read_result, start

from neuro_noodle.caches import has_imagenet_weights
from neuro_noodle.recipes import BUILT_IN, RECIPES, Expected

SEED = 42
ROW = "{:<22} {:>9} {:>9} {:>10} {:>9} {:>8}  {}"


def main(words: list[str] | None = None) -> int:
    """Check recipes, print a row for each, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="recipes to check (default: all)")
    parser.add_argument("--data", type=Path, default=Path(), help="folder of the data sets (default: this folder)")
    parser.add_argument("--folder", type=Path, help="new folder for stimuli and runs (default: a temporary one)")
    flags = parser.parse_args(words)
    if unknown := sorted(set(flags.recipes) - set(RECIPES)):
        parser.error(f"unknown: {', '.join(unknown)}; the recipes are {', '.join(RECIPES)}")
    if flags.folder and flags.folder.exists():
        parser.error(f"{flags.folder} exists; name a new folder, since earlier runs are not used")
    print(ROW.format("recipe", "expected", "now", "difference", "allowed", "seconds", ""))
    with tempfile.TemporaryDirectory() as temporary:
        folder = flags.folder or Path(temporary)
        verdicts = [check_and_print(name, folder, flags.data) for name in flags.recipes or RECIPES]
    return int(any(verdict.startswith(("drifts", "failed")) for verdict in verdicts))


def check_and_print(name: str, folder: Path, data: Path) -> str:
    """Check a recipe, print its row and return the verdict.

    Args:
        name: of the recipe.
        folder: for stimuli and runs.
        data: the folder of the data sets.
    """
    expected, started = RECIPES[name].expected, time.perf_counter()
    verdict, now = check(name, folder, data)
    numbers = ["-"] * 4
    if expected:
        measured = ("-", "-") if math.isnan(now) else (f"{now:.4g}", f"{now - expected.value:+.2g}")
        numbers = [f"{expected.value:.4g}", *measured, f"{expected.tolerance:g}"]
    print(ROW.format(name, *numbers, f"{time.perf_counter() - started:.0f}", verdict), flush=True)
    return verdict


def check(name: str, folder: Path, data: Path) -> tuple[str, float]:
    """Train a recipe; returns the verdict, and its metric: NaN if it was not measured. See `check_and_print`."""
    expected = RECIPES[name].expected
    if expected is None:
        return "not run: no expected value", math.nan
    if obstacle := find_obstacle(RECIPES[name].flags, expected, data):
        return f"not run: {obstacle}", math.nan
    try:
        now = measure(name, expected, folder, data)
    except (SystemExit, KeyError, TypeError, OSError) as error:
        return f"failed: {find_error(str(error))}", math.nan
    return judge(now, expected), now


def judge(now: float, expected: Expected) -> str:
    """Return the verdict on a measured value; NaN drifts."""
    return "as expected" if abs(now - expected.value) <= expected.tolerance else "drifts"


def find_obstacle(flags: dict[str, object], expected: Expected, data: Path) -> str:
    """Return why a recipe with these flags cannot be trained on this machine; empty if it can."""
    if "weights=imagenet" in str(flags) and not has_imagenet_weights():
        return "no weights"
    is_there = expected.data.startswith(BUILT_IN) or (data / expected.data).exists()
    return "" if is_there else f"{data / expected.data} is missing"


def measure(name: str, expected: Expected, folder: Path, data: Path) -> float:
    """Train a recipe and return its metric; NaN if it is undefined. See `check_and_print`."""
    is_built_in, kind = expected.data.startswith(BUILT_IN), expected.data.removeprefix(BUILT_IN)
    images = generate(kind, folder) if is_built_in else data / expected.data
    words = ["--data_dir", str(images), *expected.flags.split(), "--seed", str(SEED)]
    start("main.py", "--no-plot", "--recipe", name, "--save_dir", str(folder), "--namestr", name, *words)
    value = read_result(folder / name)[expected.part]["metrics"][expected.metric]
    return math.nan if value is None else value


def generate(kind: str, folder: Path) -> Path:
    """Return the folder of the built-in stimuli of a kind; they are generated when a recipe first needs them."""
    stimuli = folder / "stimuli" / kind
    if not stimuli.exists():
        start("Resources/simulate.py", *kind.split(), "--out", str(stimuli))
    return stimuli


def find_error(text: str) -> str:
    """Return the line with the error, in a failed command (the first line) and what it has printed."""
    command, *lines = text.splitlines()
    return next((line for line in lines if re.match(r"(error|[\w.]+Error): ", line)), lines[-1] if lines else command)


if __name__ == "__main__":
    sys.exit(main())
