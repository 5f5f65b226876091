"""One's own recordings from training to figures: splits, noise ceilings, tests on another session, comparisons."""

import json

import numpy as np
import pytest
from helpers import error_message, raises_user_error, result_of, train_silently

from neuro_noodle.runs.run import open_run
from neuro_noodle.runs.sources import open_sources
from neuro_noodle.views.neurons import plot_population
from Plotting import compare

TRAIN = "--recipe v1_ln --dataset recordings --split random --test_fraction 0.25 --n_epochs 2 --device cpu"


def write_session(path, seed=0, n_images=60, n_neurons=4, hide=0):
    """Write a session of Poisson neurons with linear receptive fields; hide images from some presentations."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (n_images, 10, 10), dtype=np.uint8)
    fields = np.random.default_rng(9).normal(size=(100, n_neurons)) / 10
    rates = np.exp((images.reshape(n_images, -1) / 255 - 0.5) @ fields + 1)
    trials = generator.poisson(rates, (8, *rates.shape)).astype(np.float32)
    trials[1:, :hide] = np.nan
    np.savez(path, images=images, trials=trials)
    return path


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    return write_session(tmp_path_factory.mktemp("recorded") / "monday.npz")


@pytest.fixture(scope="module")
def run(session, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    train_silently(f"{TRAIN} --data_dir {session} --save_dir {folder} --namestr run")
    return folder / "run"


def test_a_random_split_of_repeated_images_has_a_ceiling(run):
    test = result_of(run)["test"]
    assert (test["n"], test["ceiling"]["n_images"], test["ceiling"]["n_repeats"]) == (15, 15, 8)
    assert 0 < test["ceiling"]["r"] < 1


def test_a_recording_has_the_pictures_of_neurons(run):
    opened = open_run(run)
    pictures = plot_population(opened, opened.held_out)
    assert {"neurons", "responses", "receptive_fields"} <= pictures.keys()
    assert pictures["neurons.csv"]["neuron"] == list("0123")
    assert len(pictures["neurons.csv"]["ceiling"]) == 4


def test_a_run_is_tested_on_another_session_of_its_neurons(run, run_main, tmp_path):
    other = write_session(tmp_path / "tuesday.npz", seed=1, n_images=20)
    status, _, err = run_main("", f"--test --load_dir {run} --data_dir {other}")
    assert status == 0, err
    assert "tuesday.npz: images (20 x 10 x 10)" in err
    assert "the neurons have numbers, not names; each must be the same neuron as in training" in err
    assert result_of(run / "test-tuesday")["test"]["ceiling"]["n_images"] == 20


def test_a_session_of_other_neurons_is_refused(run, run_main, tmp_path):
    other = write_session(tmp_path / "other.npz", n_neurons=3)
    message = error_message(run_main, f"--test --load_dir {run} --data_dir {other}")
    assert "these responses are of other neurons (3) than those of" in message


def test_a_ceiling_of_some_test_images_is_announced(run_main, tmp_path):
    session = write_session(tmp_path / "mixed.npz", hide=30)
    status, _, err = run_main("", f"{TRAIN} --data_dir {session} --save_dir {tmp_path} --namestr run")
    assert status == 0, err
    test = result_of(tmp_path / "run")["test"]
    n = int(test["ceiling"]["n_images"])
    assert 3 <= n < test["n"] == 15
    assert f"{n} of 15 test images have two or more single trials, and the noise ceiling is of these" in err


def test_images_without_responses_are_left_out(run_main, tmp_path):
    session = write_session(tmp_path / "gaps.npz")
    with np.load(session) as file:
        arrays = dict(file)
    arrays["trials"][:, :7] = np.nan
    np.savez(session, **arrays)
    status, _, err = run_main("", f"{TRAIN} --data_dir {session} --save_dir {tmp_path} --namestr run")
    assert status == 0, err
    assert "gaps.npz: 7 of 60 images have no response" in err
    assert "7 of 60 images are left out, because they have no response" in err
    split = json.loads((tmp_path / "run" / "split.json").read_text())
    assert len(split["left_out"]) == 7
    assert sum(map(len, split.values())) == 60


def test_recorded_responses_are_compared_with_a_network(run, capsys):
    assert compare.main([str(run), "responses", "--parts", "test"]) == 0
    assert "responses" in capsys.readouterr().out


def test_responses_of_several_sessions_are_not_compared(session, tmp_path):
    for name in ("one", "two"):
        write_session(tmp_path / f"{name}.npz", seed=len(name) + ord(name[0]))
    train_silently(f"{TRAIN} --data_dir {tmp_path} --save_dir {tmp_path / 'weights'} --namestr run")
    with raises_user_error("responses: some neurons were not recorded for all images; train on one recording"):
        open_sources([str(tmp_path / "weights" / "run"), "responses"])


def test_negative_responses_name_the_loss_that_allows_them(session, run_main, tmp_path):
    with np.load(session) as file:
        np.savez(tmp_path / "z.npz", images=file["images"], responses=file["trials"].mean(0) - 3)
    words = f"{TRAIN} --data_dir {tmp_path / 'z.npz'} --save_dir {tmp_path}"
    assert "responses are below 0, so they are not counts; --objective response" in error_message(run_main, words)
    assert run_main("", f"{words} --objective response loss=gaussian output=linear")[0] == 0
