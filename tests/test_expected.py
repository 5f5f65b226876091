"""What each recipe is expected to give, and the script that compares it with what it gives."""

import dataclasses
import math
import re

import pytest
from expected import find_error, judge, main
from helpers import HERE, result_of

from neuro_noodle.command import parse, resolve
from neuro_noodle.recipes import BUILT_IN, RECIPES, Expected
from neuro_noodle.simulate.kinds import KINDS

MEASURED = {name: recipe.expected for name, recipe in RECIPES.items() if recipe.expected}
each_measured = pytest.mark.parametrize("name", MEASURED)
IMAGENET = Expected(f"{BUILT_IN}faces", "validation", "accuracy", value=0.9, tolerance=0.1)
SMALL = "--dataset folder size=26x20 --encoder fc hidden=8 --latent_dim 2 --batch_size 32 --n_epochs 1"
FACES = f"{BUILT_IN}faces --n_people 3 --n_steps 2 --size 65x51"


def test_every_recipe_was_measured_but_the_one_without_weights():
    assert RECIPES.keys() - MEASURED == {"faces_emotion"}


@each_measured
def test_the_flags_of_an_expectation_give_its_part(name):
    expected = MEASURED[name]
    flags = resolve(parse(["--recipe", name, *expected.flags.split()], HERE))
    has_test_images = flags.split == "given" or flags.test_fraction > 0
    assert expected.part in (["validation", "test"] if has_test_images else ["validation"])


@each_measured
def test_an_expectation_allows_less_than_its_value(name):
    expected = MEASURED[name]
    assert math.isfinite(expected.value) and 0 < expected.tolerance < expected.value / 2


@each_measured
def test_the_data_of_an_expectation_exist(name):
    """They can be generated, or the list of data sets has their folder."""
    data = MEASURED[name].data
    paragraph = re.search(r"in folders named(.*?)\n\n", (HERE / "benchmarks" / "README.md").read_text(), re.DOTALL)[1]
    named = re.findall(r"`(\w+)`", paragraph)
    assert data.removeprefix(BUILT_IN).split()[0] in KINDS if data.startswith(BUILT_IN) else data in named


@pytest.fixture
def check(monkeypatch, tmp_path, capsys):
    """Return a function that checks recipes with other expectations: (exit status, row of each)."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))  # has no weights

    def run(**expectations: Expected | None) -> tuple[int, dict[str, list[str]]]:
        for name, expected in expectations.items():
            monkeypatch.setitem(RECIPES, name, dataclasses.replace(RECIPES[name], expected=expected))
        status = main(["--data", str(tmp_path), "--folder", str(tmp_path / "new"), *expectations])
        rows = [line.split(maxsplit=6) for line in capsys.readouterr().out.splitlines()[1:]]
        return status, {name: cells for name, *cells in rows}

    return run


@pytest.mark.parametrize(
    ("now", "verdict"),
    [(0.45, "as expected"), (0.55, "as expected"), (0.44, "drifts"), (0.56, "drifts"), (math.nan, "drifts")],
)
def test_a_value_drifts_if_it_differs_by_more_than_allowed(now, verdict):
    assert judge(now, Expected("mnist", "test", "mse", value=0.5, tolerance=0.0501)) == verdict


def test_a_drift_is_printed_and_gives_status_1(check, tmp_path):
    status, rows = check(faces_ae=Expected(FACES, "validation", "mse", value=0.5, tolerance=0.1, flags=SMALL))
    now = result_of(tmp_path / "new" / "faces_ae")["validation"]["metrics"]["mse"]
    expected, measured, difference, allowed, _, verdict = rows["faces_ae"]
    assert (status, verdict) == (1, "drifts")
    assert (expected, measured, allowed) == ("0.5", f"{now:.4g}", "0.1")
    assert float(difference) == pytest.approx(now - 0.5, rel=0.1) and 0 < now < 0.1


def test_what_cannot_be_checked_has_a_row_with_the_reason(check, tmp_path):
    failing = Expected(FACES, "validation", "mse", value=1, tolerance=0.1, flags="--latent_dim 0")
    status, rows = check(faces_ae=failing, faces_emotion=IMAGENET, mnist_ae=MEASURED["mnist_ae"], arena_ae=None)
    verdicts = {name: row[-1] for name, row in rows.items()}
    assert status == 1 and verdicts.pop("faces_ae").startswith("failed: error: ")
    assert verdicts == {
        "faces_emotion": "not run: no weights",
        "mnist_ae": f"not run: {tmp_path / 'mnist'} is missing",
        "arena_ae": "not run: no expected value",
    }
    assert rows["mnist_ae"][1:3] == ["-", "-"]


def test_what_is_not_run_does_not_change_the_exit_status(check):
    assert check(faces_emotion=IMAGENET)[0] == 0


@pytest.mark.parametrize(
    ("printed", "line"),
    [
        ("main.py --lr error: x\nmedian error: 3\nerror: the loss is NaN\n  lower --lr\n", "error: the loss is NaN"),
        ("main.py\nTraceback (most recent call last):\n  x = 1\nValueError: no\n", "ValueError: no"),
        ("main.py\nKilled\n", "Killed"),
        ("main.py", "main.py"),
    ],
)
def test_the_line_with_the_error_is_found(printed, line):
    assert find_error(printed) == line


def test_earlier_runs_are_not_taken_for_new_ones(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--folder", str(tmp_path)])
    assert f"{tmp_path} exists" in capsys.readouterr().err


def test_an_unknown_recipe_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["faces_au"])
    assert "unknown: faces_au; the recipes are faces_ae," in capsys.readouterr().err
