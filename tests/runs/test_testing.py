"""Test mode on runs of the arena: the same numbers as after training, other images, and what it refuses."""

import json
import shutil

import numpy as np
import pytest
from helpers import bytes_by_path, error_message, result_of, rows_of, same, weights_of

from neuro_noodle.runs.metrics import read_metrics


@pytest.fixture
def run_test(run_main):
    """Return a function that tests a run, which must succeed: (stdout, stderr)."""

    def test(run, words="") -> tuple[str, str]:
        status, out, err = run_main("", f"--test --load_dir {run} {words}")
        assert status == 0, err
        return out, err

    return test


# ---------------------------------------------------------------------------------------------------- own images


def test_a_test_repeats_the_result_and_changes_no_file(train_on_film, run_test):
    run, _, _ = train_on_film("arena_ae", "--test_fraction 0.2")
    before = bytes_by_path(run)
    out, _ = run_test(run)
    trained, tested = result_of(run)["test"], result_of(run / "test")["test"]
    assert trained["value"] == pytest.approx(tested["value"], rel=1e-5)
    assert trained["baselines"] == pytest.approx(tested["baselines"], rel=1e-5)
    assert trained["n"] == tested["n"]
    assert {path: content for path, content in bytes_by_path(run).items() if path in before} == before
    assert f"{tested['value']:.4g}" in out


def test_a_test_writes_a_row_for_each_test_image(train_on_film, run_test):
    run, _, _ = train_on_film("arena_ae", "--test_fraction 0.2")
    run_test(run)
    files = {path.name for path in (run / "test").iterdir()}
    assert files == {"result.json", "test.csv", "reconstructions.png", "film.gif"}
    rows = rows_of(run / "test" / "test.csv")
    assert [row["id"] for row in rows] == list(json.loads((run / "split.json").read_text())["test"])
    mean_mse = np.mean([float(row["mse"]) for row in rows])
    assert mean_mse == pytest.approx(result_of(run / "test")["test"]["value"], rel=1e-4)


def test_a_test_of_directions_writes_arrows_and_degrees(train_on_film, run_test):
    run, _, _ = train_on_film("arena_angle", "--test_fraction 0.2")
    run_test(run)
    assert (run / "test" / "arrows.png").exists() and not (run / "test" / "film.gif").exists()
    rows = rows_of(run / "test" / "test.csv")
    angle_rad = [float(row["angle"]) for row in rows]
    assert np.degrees(angle_rad) == pytest.approx([float(row["true_deg"]) for row in rows], abs=0.1)


def test_a_test_of_numbers_writes_predictions(train_on_film, run_test):
    run, out, err = train_on_film("arena_angle", "--objective regress columns=x,y --augment shift --test_fraction 0.2")
    assert "--augment moves the content of images, but the targets x, y are not changed with it" in err
    assert "mae_x" in out
    run_test(run)
    assert (run / "test" / "predictions.png").exists()
    assert 0 < float(rows_of(run / "test" / "test.csv")[0]["x_predicted"]) < 50


def test_denoising_is_compared_with_the_noisy_input(train_on_film, run_test):
    run, out, _ = train_on_film("arena_ae", "--objective reconstruct loss=mse noise=0.1 second=l1 --test_fraction 0.2")
    noisy = result_of(run)["test"]["baseline_metrics"]["noisy_input"]
    assert 19.5 < noisy["psnr_db"] < 21.5 and "l1" in noisy
    assert "psnr_db" in out and len(read_metrics(run)) == 3
    run_test(run)
    again = result_of(run / "test")["test"]["baseline_metrics"]["noisy_input"]
    assert again["psnr_db"] == pytest.approx(noisy["psnr_db"], abs=1e-6)  # the noise is the same each time


def test_resuming_a_run_removes_its_earlier_test(train_on_film, run_main, run_test):
    run, _, _ = train_on_film("arena_pca", "--test_fraction 0.2")
    run_test(run)
    before = weights_of(run / "best")
    status, _, err = run_main("", f"--load_dir {run} --n_epochs 12")
    assert status == 0 and not same(before, weights_of(run / "best")) and not (run / "test").exists()
    assert f"removed {run / 'test'}, a test of earlier weights" in err


# -------------------------------------------------------------------------------------------------- other images


def test_other_images_are_all_tested(train_on_film, arena, run_test, tmp_path):
    run, _, _ = train_on_film("arena_ae", "--test_fraction 0.2")
    with np.load(arena / "frames.npz") as file:
        np.savez(tmp_path / "few.npz", images=file["images"][:30])
    run_test(run, f"--data_dir {tmp_path} --dataset arrays file=few.npz metadata=none")
    assert result_of(run / "test-few")["test"]["n"] == 30


def test_the_runs_own_images_elsewhere_keep_their_split(train_on_film, arena, run_test, tmp_path):
    run, _, _ = train_on_film("arena_ae", "--test_fraction 0.2")
    moved = shutil.copytree(arena, tmp_path / "moved")
    run_test(run, f"--data_dir {moved}")
    assert result_of(run / "test-frames")["test"]["n"] == result_of(run)["test"]["n"]


def test_without_its_training_images_a_test_has_no_baselines(train_on_film, arena, run_test, tmp_path):
    film = shutil.copytree(arena, tmp_path / "film")
    run, _, _ = train_on_film("arena_ae", f"--test_fraction 0.2 --data_dir {film}")
    shutil.rmtree(film)
    _, err = run_test(run, f"--data_dir {arena}")
    assert "no baselines" in err
    assert result_of(run / "test-frames")["test"]["baselines"] == {}


# ------------------------------------------------------------------------------------------------------ refusals


def test_images_that_were_changed_in_place_are_refused(train_on_film, arena, run_main, tmp_path):
    film = shutil.copytree(arena, tmp_path / "film")
    run, _, _ = train_on_film("arena_pca", f"--test_fraction 0.2 --data_dir {film}")
    with np.load(arena / "frames.npz") as file:
        np.savez(film / "frames.npz", images=file["images"][::-1])
    for words in (f"--test --load_dir {run}", f"--load_dir {run} --n_epochs 3"):
        message = error_message(run_main, words)
        assert f"the images differ from those {run} was trained on:" in message
        assert "have the same name but different content" in message


def test_a_run_without_a_test_part_cannot_be_tested(train_on_film, run_main):
    run, _, _ = train_on_film("arena_ae")
    assert "no test part; train with --test_fraction" in error_message(run_main, f"--test --load_dir {run}")


def test_images_of_another_size_cannot_be_tested(train_on_film, run_main, tmp_path):
    run, _, _ = train_on_film("arena_ae")
    path = tmp_path / "small.npz"
    np.savez(path, images=np.zeros((9, 20, 20), np.uint8))
    words = f"--test --load_dir {run} --data_dir {path} --dataset arrays file=none metadata=none"
    message = error_message(run_main, words)
    assert "(1, 20, 20)" in message and "(1, 50, 50)" in message


def test_training_flags_are_refused_in_test_mode(train_on_film, run_main):
    run, _, _ = train_on_film("arena_pca", "--test_fraction 0.2")
    for words in ("--n_epochs 9", "--latents_every 1", "--comet", "--rejig_data", "--load_encoder nowhere"):
        message = error_message(run_main, f"--test --load_dir {run} {words}")
        assert words.split()[0] in message
