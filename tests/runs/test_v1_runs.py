"""V1 as its users run it: every recipe on a small population, its pictures and numbers, alone and repeated."""

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import HERE, error_message, raises_user_error, train_silently
from matplotlib.image import imread

from neuro_noodle.recipes import RECIPES
from neuro_noodle.runs.sessions import load_model
from Plotting import bands, report

RECIPES_OF_V1 = [name for name in RECIPES if name.startswith("v1_")]
FEW = "--n_epochs 2 --device cpu"
SMALLER = {
    "v1_what_where": "--encoder conv channels=4,4 kernel=5,3 --precision bf16",
    "v1_conv": "--encoder conv channels=4 kernel=5",
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A population of 8 neurons that saw 60 images of 17x17 once, and 12 four times."""
    folder = tmp_path_factory.mktemp("drawn") / "v1"
    options = "--n_neurons 8 --n_images 60 --n_validation 12 --n_repeats 4 --size 17"
    command = [sys.executable, str(HERE / "Resources" / "simulate.py"), "v1", "--out", str(folder), *options.split()]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def weights(recording, tmp_path_factory):
    """A folder with a run of each recipe, two repetitions each."""
    folder = tmp_path_factory.mktemp("weights")
    for name in RECIPES_OF_V1:
        words = f"--recipe {name} {SMALLER.get(name, '')} {FEW} --data_dir {recording} --save_dir {folder}"
        train_silently(f"{words} --repetitions 2")
    return folder


def result(run):
    return json.loads((run / "result.json").read_text())


@pytest.mark.parametrize("name", RECIPES_OF_V1)
def test_every_recipe_leaves_numbers_beside_baselines_and_the_ceiling(name, weights):
    told = result(weights / name)
    assert (told["metric"], told["validation"]["n"], told["test"]["n"]) == ("r", 12, 12)
    assert told["validation"]["ceiling"] is None
    assert 0 < told["ceiling"] == told["test"]["ceiling"]["r"] < 1
    assert told["test"]["baselines"].keys() == {"mean_rate", "linear_pixels"}
    assert told["test"]["baselines"]["mean_rate"] == 0
    spread = told["repetitions"]["test_spread"]["r"]
    assert spread["p10"] <= spread["median"] <= spread["p90"]
    rows = list(csv.DictReader((weights / name / "test.csv").open()))
    assert [row["id"] for row in rows] == [f"region1/test/{i:04}" for i in range(12)]
    assert {"region1/7_recorded", "region1/7_predicted"} <= rows[0].keys()


@pytest.mark.parametrize("name", RECIPES_OF_V1)
def test_the_report_shows_neurons_fields_and_filters(name, weights, capsys):
    assert report.main([str(weights / name)]) == 0
    figures = weights / name / "figures"
    drawn = {path.stem for path in figures.glob("*.png")}
    assert {"neurons", "responses", "receptive_fields", "curves"} <= drawn
    assert ("filters" in drawn) == (name not in ("v1_ln", "v1_lnln"))
    assert all(imread(path).std() > 0.01 for path in figures.glob("*.png"))
    rows = list(csv.DictReader((figures / "neurons.csv").open()))
    assert [row["neuron"] for row in rows] == [f"region1/{i}" for i in range(8)]
    r = np.mean([float(row["r"]) for row in rows])
    assert r == pytest.approx(result(weights / name)["test"]["value"], abs=1e-3)
    assert all(0 <= float(row["field_overlap"]) <= 1 + 1e-6 for row in rows)
    capsys.readouterr()


def test_a_linear_neuron_has_its_weights_as_its_receptive_field(recording, tmp_path):
    from neuro_noodle.runs.run import open_run
    from neuro_noodle.views.neurons import receptive_fields

    train_silently(f"--recipe v1_ln {FEW} --data_dir {recording} --save_dir {tmp_path} --namestr ln")
    run = open_run(tmp_path / "ln")
    first, second = receptive_fields(run).transpose(1, 0, 2, 3).reshape(2, 8, -1)
    filters = run.model.head.layer.weight.detach().numpy()
    cosine = (first * filters).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(filters, axis=1)
    assert np.allclose(cosine, 1, atol=1e-3)
    assert np.linalg.norm(second, axis=1).max() < 1e-3 * np.linalg.norm(first, axis=1).min()


def test_bands_of_several_experiments_are_drawn_and_told(weights, capsys, tmp_path):
    runs = [str(weights / name) for name in ("v1_hsm", "v1_ln")]
    assert bands.main([*runs, "--out", str(tmp_path / "bands.png")]) == 0
    said = capsys.readouterr().out
    assert "v1_hsm: test r " in said
    assert "n = 2" in said
    assert imread(tmp_path / "bands.png").std() > 0.01
    assert bands.main([*runs, "--value", "nothing"]) == 2
    assert "has no nothing in metrics.jsonl" in capsys.readouterr().err
    assert bands.main([str(tmp_path)]) == 2
    assert "is no finished run" in capsys.readouterr().err


def test_a_run_of_repetitions_is_tested_as_its_best_one(weights, capsys):
    run = weights / "v1_hsm"
    train_silently(f"--test --load_dir {run}")
    again = json.loads((run / "test" / "result.json").read_text())
    assert again["test"]["value"] == pytest.approx(result(run)["test"]["value"], abs=1e-6)
    assert again["test"]["ceiling"] == result(run)["test"]["ceiling"]
    assert (run / "test" / "neurons.csv").exists()


def test_another_recording_is_not_taken_for_the_runs_own(weights, recording, run_main, tmp_path):
    other = tmp_path / "other"
    (other / "region1").mkdir(parents=True)
    for path in (recording / "region1").glob("*.npy"):
        values = np.load(path)
        changed = values[..., :5] if path.stem.endswith("_set") else values[:, ::-1]
        np.save(other / "region1" / path.name, changed)
    said = error_message(run_main, f"--load_dir {weights / 'v1_hsm'} --data_dir {other} --n_epochs 4")
    assert "these are as many images as" in said
    said = error_message(run_main, f"--test --load_dir {weights / 'v1_hsm'} --data_dir {other}")
    assert "these are other neurons (5) than those of" in said


def test_repeated_images_that_are_dealt_out_cost_the_ceiling_and_that_is_said(recording, run_main, tmp_path):
    _, _, said = run_main("", f"--recipe v1_ln {FEW} --data_dir {recording} --save_dir {tmp_path} --split random")
    assert "so no noise ceiling is told; see --split given" in said


def test_a_recording_without_its_training_images_says_which_file_is_missing(recording, run_main, tmp_path):
    folder = tmp_path / "region1"
    folder.mkdir()
    for path in (recording / "region1").glob("*.npy"):
        if path.stem != "training_inputs":
            (folder / path.name).write_bytes(path.read_bytes())
    assert "no training_inputs.npy" in error_message(run_main, f"--recipe v1_hsm --data_dir {tmp_path}")


def test_the_repeated_images_are_never_trained_on_nor_choose_an_epoch(weights):
    split = json.loads((weights / "v1_hsm" / "split.json").read_text())
    assert {part: len(ids) for part, ids in split.items()} == {"training": 48, "validation": 12, "test": 12}
    assert all("/test/" in name for name in split["test"])
    assert not any("/test/" in name for part in ("training", "validation") for name in split[part])
    with raises_user_error("holds 2 repetitions"):
        load_model(weights / "v1_hsm" / "1")
