"""The V1 recipes on a small recording, with two repetitions each: results, figures, tests and refusals."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import HERE, error_message, raises_user_error, result_of, rows_of, train_silently
from matplotlib.image import imread

from neuro_noodle.recipes import RECIPES
from neuro_noodle.runs.run import open_run
from neuro_noodle.runs.sessions import load_model
from neuro_noodle.runs.sources import open_sources
from neuro_noodle.views.neurons import receptive_fields
from Plotting import bands, report

V1_RECIPES = [name for name in RECIPES if name.startswith("v1_")]
each_recipe = pytest.mark.parametrize("name", V1_RECIPES)
SHORT = "--n_epochs 2 --device cpu"
SMALLER = {
    "v1_what_where": "--encoder conv channels=4,4 kernel=5,3 --precision bf16",
    "v1_conv": "--encoder conv channels=4 kernel=5",
}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A recording of 8 neurons: 60 images of 17x17 px presented once, and 12 presented 16 times."""
    folder = tmp_path_factory.mktemp("drawn") / "v1"
    options = "--n_neurons 8 --n_images 60 --n_validation 12 --n_repeats 16 --size 17"
    command = [sys.executable, str(HERE / "Resources" / "simulate.py"), "v1", "--out", str(folder), *options.split()]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def weights(recording, tmp_path_factory):
    """A folder with a run of each recipe, of two repetitions each."""
    folder = tmp_path_factory.mktemp("weights")
    for name in V1_RECIPES:
        words = f"--recipe {name} {SMALLER.get(name, '')} {SHORT} --data_dir {recording} --save_dir {folder}"
        train_silently(f"{words} --repetitions 2")
    return folder


def copy_region(source, target, change=lambda name, values: values, without=()):
    """Copy the arrays of a region into a new folder, each changed by a function of its name and values."""
    target.mkdir(parents=True)
    for path in source.glob("*.npy"):
        if path.stem not in without:
            np.save(target / path.name, change(path.stem, np.load(path)))


@each_recipe
def test_a_v1_result_has_baselines_ceiling_and_spread(name, weights):
    result = result_of(weights / name)
    assert (result["metric"], result["validation"]["n"], result["test"]["n"]) == ("r", 12, 12)
    assert result["validation"]["ceiling"] is None
    ceiling = result["test"]["ceiling"]
    assert 0 < result["ceiling"] == ceiling["r"] < 1
    assert (ceiling["n_repeats"], ceiling["n_neurons"]) == (16, 8)
    assert ceiling["share_interval"][0] < ceiling["share"] < ceiling["share_interval"][1]
    assert result["test"]["baselines"].keys() == {"mean_rate", "linear_pixels"}
    assert result["test"]["baselines"]["mean_rate"] == 0
    spread = result["repetitions"]["test_spread"]["r"]
    assert spread["p10"] <= spread["median"] <= spread["p90"]
    rows = rows_of(weights / name / "test.csv")
    assert [row["id"] for row in rows] == [f"region1/test/{i:04}" for i in range(12)]
    assert {"region1/7_recorded", "region1/7_predicted"} <= rows[0].keys()


def test_images_shown_fewer_times_keep_a_noise_ceiling(recording, weights, tmp_path):
    def forget(name, values):
        if name == "raw_validation_set":
            values[15, :5] = np.nan
        return values

    copy_region(recording / "region1", tmp_path / "region1", forget)
    run, responses, _ = open_sources([str(weights / "v1_ln"), "responses"], tmp_path)
    trials = responses.trials(np.flatnonzero(run.run.part == "test"))
    assert trials.shape == (15, 12, 8) and np.isfinite(trials).all()


@each_recipe
def test_the_report_shows_neurons_fields_and_filters(name, weights):
    assert report.main([str(weights / name)]) == 0
    figures = weights / name / "figures"
    names = {path.stem for path in figures.glob("*.png")}
    assert {"neurons", "responses", "receptive_fields", "curves"} <= names
    assert ("filters" in names) == (name not in ("v1_ln", "v1_lnln", "v1_energy"))
    assert all(imread(path).std() > 0.01 for path in figures.glob("*.png"))
    rows = rows_of(figures / "neurons.csv")
    assert [row["neuron"] for row in rows] == [f"region1/{i}" for i in range(8)]
    ceiling = result_of(weights / name)["test"]["ceiling"]
    of_counts = ["bits_per_spike"] if name != "v1_energy" else []  # its loss is not that of counts
    for measure in ("single_trial_r", "oracle_r", "explainable_variance", "n_repeats", *of_counts):
        assert np.mean([float(row[measure]) for row in rows]) == pytest.approx(ceiling[measure], abs=1e-3)
    assert sum(float(row["has_signal"]) == 0 for row in rows) == ceiling["n_without_signal"]
    known = [float(row["ccnorm"]) for row in rows if row["ccnorm"]]
    assert (np.mean(known), len(known)) == (pytest.approx(ceiling["ccnorm"], abs=1e-3), ceiling["n_ccnorm"])
    r = np.mean([float(row["r"]) for row in rows])
    assert r == pytest.approx(result_of(weights / name)["test"]["value"], abs=1e-3)
    assert all(0 <= float(row["field_overlap"]) <= 1 + 1e-6 for row in rows)


def test_the_receptive_field_of_a_linear_neuron_is_its_weights(recording, tmp_path):
    train_silently(f"--recipe v1_ln {SHORT} --data_dir {recording} --save_dir {tmp_path} --namestr ln")
    run = open_run(tmp_path / "ln")
    first, second = receptive_fields(run).transpose(1, 0, 2, 3).reshape(2, 8, -1)
    filters = run.model.head.layer.weight.detach().numpy()
    cosine = (first * filters).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(filters, axis=1)
    assert np.allclose(cosine, 1, atol=1e-3)
    assert np.linalg.norm(second, axis=1).max() < 1e-3 * np.linalg.norm(first, axis=1).min()


def test_bands_show_the_spread_of_several_runs(weights, capsys, tmp_path):
    runs = [str(weights / name) for name in ("v1_hsm", "v1_ln")]
    assert bands.main([*runs, "--out", str(tmp_path / "bands.png")]) == 0
    out = capsys.readouterr().out
    assert "v1_hsm: test r " in out
    assert "n = 2" in out
    assert imread(tmp_path / "bands.png").std() > 0.01


def test_bands_refuse_an_unknown_value_and_an_unfinished_run(weights, capsys, tmp_path):
    assert bands.main([str(weights / "v1_hsm"), str(weights / "v1_ln"), "--value", "nothing"]) == 2
    assert "has no nothing in metrics.jsonl" in capsys.readouterr().err
    assert bands.main([str(tmp_path)]) == 2
    assert "is not a finished run" in capsys.readouterr().err


def test_a_test_of_repetitions_uses_the_best_of_them(weights):
    run = weights / "v1_hsm"
    train_silently(f"--test --load_dir {run}")
    trained, tested = result_of(run)["test"], result_of(run / "test")["test"]
    assert tested["value"] == pytest.approx(trained["value"], abs=1e-6)
    interval = tested["ceiling"].pop("share_interval")
    assert interval == pytest.approx(trained["ceiling"].pop("share_interval"), abs=1e-4)
    assert tested["ceiling"] == pytest.approx(trained["ceiling"], abs=1e-4)
    assert (run / "test" / "neurons.csv").exists()


def test_another_recording_is_refused(weights, recording, run_main, tmp_path):
    def drop_neurons_and_reverse_images(name, values):
        return values[..., :5] if name.endswith("_set") else values[:, ::-1]

    copy_region(recording / "region1", tmp_path / "region1", drop_neurons_and_reverse_images)
    run = weights / "v1_hsm"
    message = error_message(run_main, f"--load_dir {run} --data_dir {tmp_path} --n_epochs 4")
    assert f"the images differ from those {run} was trained on:" in message
    assert "have the same name but different content" in message
    message = error_message(run_main, f"--test --load_dir {run} --data_dir {tmp_path}")
    assert "these responses are of other neurons (5) than those of" in message


def test_a_ceiling_of_few_test_images_is_announced(recording, run_main, tmp_path):
    words = f"--recipe v1_ln {SHORT} --data_dir {recording} --save_dir {tmp_path} --split random"
    status, _, err = run_main("", words)
    assert status == 0, err
    n = sum("/test/" in row["id"] for row in rows_of(tmp_path / "v1_ln" / "validation.csv"))
    assert f"{n} of 14 validation images have two or more single trials" in err
    assert (result_of(tmp_path / "v1_ln")["ceiling"] is None) == (n < 3)


def test_a_missing_file_of_a_recording_is_named(recording, run_main, tmp_path):
    copy_region(recording / "region1", tmp_path / "region1", without=["training_inputs"])
    assert "no training_inputs.npy" in error_message(run_main, f"--recipe v1_hsm --data_dir {tmp_path}")


def test_repeated_images_are_used_for_the_test_only(weights):
    split = json.loads((weights / "v1_hsm" / "split.json").read_text())
    assert {part: len(ids) for part, ids in split.items()} == {"training": 48, "validation": 12, "test": 12}
    assert all("/test/" in name for name in split["test"])
    assert not any("/test/" in name for part in ("training", "validation") for name in split[part])


def test_a_session_of_repetitions_does_not_open_as_one_network(weights):
    with raises_user_error("holds 2 repetitions"):
        load_model(weights / "v1_hsm" / "1")


def test_r_of_all_folds_is_over_all_images(recording, run_main, tmp_path):
    words = f"--recipe v1_ln {SHORT} --data_dir {recording} --split random --folds 2 --save_dir {tmp_path}"
    status, _, err = run_main("", words)
    assert status == 0, err
    rows = rows_of(tmp_path / "v1_ln" / "test.csv")
    names = [name.removesuffix("_recorded") for name in rows[0] if name.endswith("_recorded")]
    pairs = [[[float(row[f"{name}_{what}"]) for row in rows] for what in ("recorded", "predicted")] for name in names]
    r = [np.corrcoef(*pair)[0, 1] for pair in pairs]
    test = result_of(tmp_path / "v1_ln")["test"]
    assert (len(rows), len(r)) == (72, 8) and test["value"] == pytest.approx(np.mean(r), rel=1e-4)
