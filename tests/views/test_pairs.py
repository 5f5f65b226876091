"""Two runs judged on the same images."""

import json

import numpy as np
import pytest
from helpers import train_silently

from neuro_noodle.runs.run import open_run
from neuro_noodle.views.pairs import Pair, format_pair, pairs
from Plotting import compare as compare_command

DIGITS = "--dataset digits --encoder fc hidden=8 start=random --augment none --test_fraction 0.2 --n_epochs 2"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Three autoencoders of digits, of which the last has another test part, and a classifier."""
    folder = tmp_path_factory.mktemp("runs")
    for name, words in {
        "two": "--latent_dim 2 --head fc hidden=8 start=random",
        "six": "--latent_dim 6 --head fc hidden=8 start=random",
        "other": "--latent_dim 6 --head fc hidden=8 start=random --split_seed 7",
        "digit": "--objective classify --latent_dim 6 --head linear",
    }.items():
        train_silently(f"{DIGITS} {words} --device cpu --save_dir {folder} --namestr {name}")
    return folder


def opened(folder, *names):
    return {name: open_run(folder / name) for name in names}


def test_two_runs_are_compared_on_their_test_images(runs):
    both = opened(runs, "two", "six")
    n = len(both["two"].dataset)
    (pair,) = pairs(both, np.ones(n, bool), None)
    value_of = {name: json.loads((runs / name / "result.json").read_text())["test"]["value"] for name in both}
    assert pair.names == tuple(sorted(value_of, key=value_of.get))
    assert pair.values == pytest.approx([value_of[name] for name in pair.names])
    assert pair.difference == pytest.approx(pair.values[1] - pair.values[0])
    indices = both["two"].held_out
    errors = [both[name].evidence(indices)["mse"].double().numpy() for name in pair.names]
    each = errors[1] - errors[0]
    half = 1.967 * each.std(ddof=1) / len(each) ** 0.5  # 97.5 % quantile of Student's t with 358 degrees of freedom
    assert pair.interval == pytest.approx((each.mean() - half, each.mean() + half), rel=1e-3)
    assert (pair.part, pair.n, pair.n_groups) == ("test", len(indices), None)


def test_groups_widen_the_interval_and_few_have_none(runs):
    both = opened(runs, "two", "six")
    is_held_out = np.ones(len(both["two"].dataset), bool)
    (alone,) = pairs(both, is_held_out, None)
    errors = [run.evidence(np.arange(len(is_held_out)))["mse"].numpy() for run in both.values()]
    alike = np.argsort(np.argsort(errors[0] - errors[1])) // 150
    (grouped,) = pairs(both, is_held_out, alike)
    assert np.ptp(grouped.interval) > 2 * np.ptp(alone.interval) and grouped.n_groups == 12
    (few,) = pairs(both, is_held_out, np.arange(len(is_held_out)) % 4)
    assert few.interval is None and "[no interval]" in format_pair(few)


def test_runs_without_common_images_or_task_are_no_pair(runs):
    both = opened(runs, "two", "other")
    assert list(pairs(both, np.zeros(len(both["two"].dataset), bool), None)) == []
    assert list(pairs(opened(runs, "two", "digit"), np.ones(len(both["two"].dataset), bool), None)) == []


def test_the_command_prints_and_writes_each_pair(runs, capsys, tmp_path):
    words = [*(str(runs / name) for name in ("two", "six", "digit")), "--out", str(tmp_path / "out.json")]
    assert compare_command.main(words) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    (pair,) = json.loads((tmp_path / "out.json").read_text())["pairs"]
    assert last.startswith(f"{pair['names'][0]} is better than {pair['names'][1]}: mse ") and "test images" in last


def test_a_difference_that_may_be_chance_is_said_to_be():
    pair = Pair(("a", "b"), "r2", (0.52, 0.5), 0.02, (-0.01, 0.05), "test", 40, 8)
    assert format_pair(pair) == (
        "a may be no better than b: r2 0.52 against 0.5, a difference of 0.02 [95 %: -0.01 to 0.05], "
        "40 test images in 8 groups"
    )
