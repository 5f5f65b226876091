"""Metrics that the data leave undefined: refused before training, or null with a reason."""

import json

import numpy as np
import pytest
from helpers import error_message, result_of, rows_of

import main
from neuro_noodle.runs.result_text import beaten_by, format_repetitions
from neuro_noodle.runs.undefined import explain
from neuro_noodle.views.report import write_report

N = 40
FC = "--encoder fc hidden=8 --latent_dim 2 --augment none --n_epochs 1 --device cpu"


def strict(path):
    """Read JSON as every other program would: without NaN."""

    def refuse(name):
        raise ValueError(name)

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


@pytest.fixture
def make_set(tmp_path):
    """Return a function that writes images with a table, and returns the words that name them."""

    def make(doses, parts=None) -> str:
        images = np.random.default_rng(0).integers(0, 256, (len(doses), 6, 6), np.uint8)
        np.save(tmp_path / "images.npy", images)
        rows = [f"{dose},{i},{part}" for i, (dose, part) in enumerate(zip(doses, parts or [""] * N, strict=False))]
        (tmp_path / "t.csv").write_text("\n".join(["dose,day,part", *rows]), encoding="utf-8")
        split = "given" if parts else "random"
        files = "arrays file=images.npy metadata=t.csv"
        return f"--data_dir {tmp_path} --save_dir {tmp_path / 'w'} --dataset {files} --split {split} {FC} --head linear"

    return make


def test_one_validation_image_cannot_choose_the_epoch(make_set, run_main, tmp_path):
    words = make_set(list(range(9))) + " --objective regress columns=dose,day"
    message = error_message(run_main, words)
    assert "r2, which chooses the best epoch, is undefined for 1 validation image:" in message
    assert "there is only one dose; there is only one day; raise --val_fraction" in message
    assert not (tmp_path / "w" / "faces_ae").exists()


def test_equal_validation_values_are_refused_whatever_the_lr(make_set, run_main):
    parts = ["train"] * 30 + ["val"] * 10
    words = make_set([i % 5 for i in range(30)] + [0.1] * 10, parts) + " --lr 1e-7 --objective regress columns=dose"
    assert "all 10 values of dose are 0.1" in error_message(run_main, words)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("repetitions", [1, 2])
def test_an_undefined_test_score_is_null_with_its_reason(make_set, capsys, tmp_path, repetitions):
    words = make_set([3 if i >= 30 else i % 5 for i in range(N)], ["train"] * 20 + ["val"] * 10 + ["test"] * 10)
    assert main.main(f"--no-plot {words} --objective regress columns=dose --repetitions {repetitions}".split()) == 0
    run, printed = tmp_path / "w" / "faces_ae", capsys.readouterr()
    assert "note: the test r2 is undefined: all 10 values of dose are 3" in printed.err
    assert "test r2 undefined (all 10 values of dose are 3)  n = 10 images  mean undefined" in printed.out
    test = strict(run / "result.json")["test"]
    assert (test["value"], test["interval"], test["metrics"]["r2"], test["baselines"]["mean"]) == (None,) * 4
    assert test["undefined"]["r2"] == test["undefined"]["interval"] == "all 10 values of dose are 3"
    assert test["metrics"]["mae_dose"] > 0
    assert main.main(["--test", "--load_dir", str(run)]) == 0
    assert strict(run / "test" / "result.json")["test"] | {"n_judged": 1} == test
    if repetitions == 2:
        assert "test r2: median undefined" in format_repetitions(result_of(run), 0)[1]


def test_perfect_reconstructions_have_no_psnr_but_a_reason():
    scores = {"": {"mse": 0.0, "psnr_db": np.inf}, "pca": {"mse": np.nan, "psnr_db": 1.0}}
    assert explain(scores, {}) == {"psnr_db": "it is infinite", "pca mse": "it is not a number"}
    assert explain(scores, {"mse": "there is no image"}) == {"mse": "there is no image", "psnr_db": "it is infinite"}


def test_an_undefined_baseline_does_not_beat_the_network():
    record = {"value": 2.0, "baselines": {"mean": None, "pca": 1.0}}
    assert beaten_by(record, "min") == ["pca"]


def test_a_number_that_is_missing_is_an_empty_cell(make_set, capsys, tmp_path):
    words = make_set(["" if i % 4 == 0 else i % 7 for i in range(N)]) + " --objective regress columns=dose,day"
    assert main.main(f"--no-plot {words} --val_fraction 0.4".split()) == 0
    rows = rows_of(tmp_path / "w" / "faces_ae" / "validation.csv")
    assert "" in {row["dose"] for row in rows} and "nan" not in {value for row in rows for value in row.values()}


def test_a_single_training_image_is_refused_before_training(make_set, run_main):
    words = make_set([0, 1]).replace("--head linear", "--head fc")
    assert "only one image is left for training" in error_message(run_main, words)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("head", ["--head fc", "--objective direction columns=day --head linear"])
def test_few_images_have_every_picture_but_the_map(make_set, capsys, tmp_path, head):
    words = make_set([0, 1, 2, 3]).replace("--head linear", f"{head} --val_fraction 0.25 --test_fraction 0.25")
    assert main.main(["--no-plot", *words.split()]) == 0
    pictures = {path.stem for path in write_report(tmp_path / "w" / "faces_ae")}
    assert "note: 2 training images are too few for a map, which needs 4" in capsys.readouterr().err
    assert "curves" in pictures and pictures & {"reconstructions", "arrows"} and "latent_map" not in pictures
