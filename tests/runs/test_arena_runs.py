"""The arena's recipes as their user meets them: frozen encoders, loaded ones, test mode, latents over training."""

import csv
import json
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import HERE, SMALL_ARENA, SMALL_CONV

from neuro_noodle.recipes import RECIPES
from neuro_noodle.runs.run import open_run
from neuro_noodle.runs.sessions import load_pth
from neuro_noodle.tracking.records import read_records
from Plotting import report
from utils import Session

EVERY = pytest.mark.parametrize("recipe", SMALL_ARENA)
OTHER = "--dataset arrays file=clean.npz metadata=metadata.csv"


def weights_of(path):
    return torch.load(path / "model.pth", weights_only=True)


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def result_of(run):
    return json.loads((run / "result.json").read_text())


class Bomb:
    """Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


# ------------------------------------------------------------------------------------------------------ recipes


@EVERY
def test_every_recipe_of_the_arena_trains_and_makes_its_pictures(recipe, train_on_film):
    run, out, _ = train_on_film(recipe, "--test_fraction 0.2")
    result = result_of(run)
    expected = {"circular_mean", "linear_pixels"} if recipe == "arena_angle" else {"pca", "mean_image"}
    assert result["baselines"].keys() == result["test"]["baseline_metrics"].keys() == expected
    assert f"{result['test']['value']:.4g}" in out
    assert report.main([str(run)]) == 0
    drawn = {path.stem for path in (run / "figures").iterdir()}
    assert {"latent_map", "curves"} < drawn
    assert ("arrows" in drawn) == (recipe == "arena_angle")
    assert ("explained_variance" in drawn) == (recipe == "arena_pca")


@EVERY
def test_four_epochs_of_the_film_are_two_and_two_bit_for_bit(recipe, train_on_film, run_main):
    """Optimizer, schedule, batch-norm statistics and the latents of a UMAP among what is kept."""
    words = "--schedule step every=1 factor=0.7"
    whole, _, _ = train_on_film(recipe, f"{words} --n_epochs 4", "whole")
    halves, _, _ = train_on_film(recipe, words, "halves")
    status, _, err = run_main("", f"--load_dir {halves} --n_epochs 4")
    assert status == 0, err
    if recipe == "arena_umap":  # two UMAPs of one seed are the same here, but that is no promise
        again, first = (load_pth(run / "3" / "model.pth") for run in (halves, whole))
        assert again.keys() == first.keys() and read_records(halves)[:2] == read_records(whole)[:2]
    assert same(weights_of(whole / "3"), weights_of(halves / "3"))
    assert read_records(whole) == read_records(halves)


@EVERY
def test_frames_of_a_film_are_never_dealt_at_random_by_a_recipe(recipe):
    assert RECIPES[recipe].flags["split"] == "block"


def test_held_out_frames_are_whole_stretches_of_the_film(train_on_film):
    run, _, _ = train_on_film("arena_pca", "--n_epochs 1 --test_fraction 0.2")
    part = open_run(run).part
    n_changes = int((part[1:] != part[:-1]).sum())
    assert n_changes < 20  # blocks; dealt at random there would be about 60
    assert set(part) == {"training", "validation", "test"}


def test_a_film_that_is_not_there_is_named_with_how_to_draw_it(run_main, tmp_path):
    status, _, err = run_main("", f"--recipe arena_ae --data_dir {tmp_path / 'none'} --save_dir {tmp_path}")
    assert status == 2 and "python Resources/simulate.py arena" in err


def test_the_recipes_look_for_the_film_in_the_project_wherever_they_are_started(monkeypatch, tmp_path):
    from neuro_noodle.command import parse

    monkeypatch.chdir(tmp_path)
    assert parse(["--recipe", "arena_ae"]).data_dir == HERE / "Resources" / "arena"


# ----------------------------------------------------------------------------------------------- frozen encoders


def test_a_frozen_encoder_runs_once_however_long_its_head_trains(train_on_film, monkeypatch):
    from neuro_noodle.networks.projections import Pca

    passes = []
    forward = Pca.forward
    monkeypatch.setattr(Pca, "forward", lambda self, images: passes.append(len(images)) or forward(self, images))
    train_on_film("arena_pca", "--n_epochs 5")
    assert sum(passes) == 120


def test_a_head_on_known_latents_learns_as_one_on_images_that_are_encoded_each_time(train_on_film, monkeypatch):
    cached, _, _ = train_on_film("arena_pca", "", "cached")
    import wiring

    monkeypatch.setattr(wiring, "fixed_latents", lambda *_: None)
    encoded, _, _ = train_on_film("arena_pca", "", "encoded")
    for key, value in weights_of(cached / "1").items():
        assert torch.allclose(value.float(), weights_of(encoded / "1")[key].float(), atol=1e-4), key


@pytest.mark.parametrize("words", ["--augment shift", "--objective reconstruct loss=mse noise=0.1"])
def test_a_umap_refuses_images_that_change(words, arena, run_main, tmp_path):
    base = f"--recipe arena_umap --data_dir {arena} --save_dir {tmp_path}"
    status, _, err = run_main("", f"{base} {SMALL_ARENA['arena_umap']} {words}")
    assert status == 2 and "places every image once" in err and "--augment and noise=" in err


def test_the_pickle_of_a_umap_is_never_opened_unless_trusted(train_on_film, run_main, arena, tmp_path):
    run, _, _ = train_on_film("arena_umap", "--test_fraction 0.2")
    assert {path.name for path in run.glob("*.pkl")} == {"encoder.pkl"}
    with (run / "encoder.pkl").open("wb") as file:
        pickle.dump(Bomb(tmp_path / "fired"), file)
    for words in (f"--load_dir {run} --n_epochs 3", f"--test --load_dir {run}"):
        status, _, err = run_main("", words)
        assert status == 0, err
    assert open_run(run).latents().shape == (120, 3)
    assert report.main([str(run)]) == 0
    status, _, err = run_main("", f"--test --load_dir {run} {OTHER}")
    assert status == 2 and "--trust_pickle" in err
    assert not (tmp_path / "fired").exists()
    with pytest.raises(AttributeError):  # what the bomb opened is no UMAP
        run_main("", f"--test --load_dir {run} {OTHER} --trust_pickle")
    assert (tmp_path / "fired").exists()


def test_a_trusted_umap_places_other_images(train_on_film, run_main):
    run, _, _ = train_on_film("arena_umap", "--test_fraction 0.2")
    status, _, err = run_main("", f"--test --load_dir {run} {OTHER} --trust_pickle")
    assert status == 0, err
    tested = result_of(run / "test-clean")
    assert tested["test"]["n"] == 120
    assert tested["leaks"]["called_alike"] == (open_run(run).part == "training").sum()
    assert "are called as training images" in err
    assert (run / "test-clean" / "film.gif").exists()


# ----------------------------------------------------------------------------------------------- loaded encoders


def test_a_loaded_encoder_keeps_its_frozen_stages_and_brings_its_own_architecture(
    train_on_film, arena, run_main, tmp_path
):
    ae, _, _ = train_on_film("arena_ae", "", "ae")
    base = f"--recipe arena_angle --data_dir {arena} --save_dir {tmp_path / 'weights'} --n_epochs 2 --batch_size 16"
    status, out, err = run_main("", f"{base} --namestr angle --load_encoder {ae} --trainable_stages 2 --augment none")
    assert status == 0, err
    rows = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line.endswith(("  no", "  yes"))}
    assert rows == {"conv1": "no", "conv2": "no", "latent": "yes", "head": "yes"}
    before, after = weights_of(ae / "best"), weights_of(tmp_path / "weights" / "angle" / "1")
    for key, value in after.items():
        if key.startswith("encoder."):
            assert torch.equal(value, before[key]) == ("latent" not in key), key
    shutil.rmtree(ae)  # a run needs the one that its encoder came from no more
    status, _, err = run_main("", f"--load_dir {tmp_path / 'weights' / 'angle'} --n_epochs 3")
    assert status == 0, err


def test_a_fresh_stage_does_not_begin_where_the_loaded_run_ended(train_on_film, arena, run_main, tmp_path):
    ae, _, _ = train_on_film("arena_ae", "", "ae")
    base = f"--recipe arena_angle --data_dir {arena} --save_dir {tmp_path / 'weights'} --n_epochs 1 --augment none"
    for name, n_fresh in (("kept", 1), ("fresh", 2)):
        words = f"--namestr {name} --load_encoder {ae} --trainable_stages 2 --fresh_stages {n_fresh} --lr 1e-6 --seed 7"
        assert run_main("", f"{base} {words}")[0] == 0
    key = "encoder.stages.latent.1.layer.weight"
    old, kept, fresh = (
        weights_of(path)[key] for path in (ae / "best", *(tmp_path / "weights" / n / "0" for n in ("kept", "fresh")))
    )
    assert torch.allclose(old, kept, atol=1e-4) and not torch.allclose(old, fresh, atol=0.1)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--fresh_stages 2", "--fresh_stages says what of --load_encoder starts anew"),
        ("--load_encoder {ae} --trainable_stages 1 --fresh_stages 2", "raise --trainable_stages"),
        ("--load_encoder {ae} --trainable_stages 9", "4 stages: conv1, conv2, latent, head"),
        ("--load_encoder {ae} --fresh_stages 9", "4 stages: conv1, conv2, latent, head"),
        ("--load_encoder {ae} --latent_dim 3", "does not fit"),
        ("--load_encoder {ae} --encoder fc", "does not fit"),
        ("--load_encoder nowhere", "nowhere is no session"),
        ("--latents_every 0.01", "less than a step"),
        ("--objective direction columns=heading", "no column heading to be predicted; there are frame"),
        ("--objective regress", "must name columns"),
        ("--objective reconstruct loss=kl_div", "no loss of reconstructions"),
        ("--test", "name it by --load_dir"),
        ("--objective direction columns=frame", "not an angle in radians; add unit=deg"),
        ("--batch_size 1", "cannot train batch normalisation"),
        ("--data_dir {file}", "is a file, but --dataset names another, file=frames.npz"),
    ],
)
def test_mistakes_end_with_one_message(words, told, train_on_film, arena, run_main, tmp_path):
    ae = train_on_film("arena_ae", "--n_epochs 1", "ae")[0] if "{ae}" in words else None
    base = f"--recipe arena_angle --data_dir {arena} --save_dir {tmp_path / 'none'} --batch_size 16"
    status, _, err = run_main("", f"{base} {words.format(ae=ae, file=arena / 'clean.npz')}")
    assert status == 2 and told in err
    assert not (tmp_path / "none").exists()


# ----------------------------------------------------------------------------------------------------- test mode


def test_test_mode_tells_the_same_as_training_did_and_leaves_the_run_as_it_is(train_on_film, run_main):
    run, _, _ = train_on_film("arena_ae", "--test_fraction 0.2")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    status, out, err = run_main("", f"--test --load_dir {run}")
    assert status == 0, err
    told, tested = result_of(run)["test"], result_of(run / "test")["test"]
    assert told["value"] == pytest.approx(tested["value"], rel=1e-5)
    assert told["baselines"] == pytest.approx(tested["baselines"], rel=1e-5) and told["n"] == tested["n"]
    assert {path: path.read_bytes() for path in before} == before
    assert {path.name for path in (run / "test").iterdir()} == {
        "result.json",
        "test.csv",
        "reconstructions.png",
        "film.gif",
    }
    with (run / "test" / "test.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == json.loads((run / "split.json").read_text())["test"]
    assert np.mean([float(row["mse"]) for row in rows]) == pytest.approx(tested["value"], rel=1e-4)
    assert f"{tested['value']:.4g}" in out


def test_directions_are_tested_with_arrows_and_a_row_for_each_image(train_on_film, run_main):
    run, _, _ = train_on_film("arena_angle", "--test_fraction 0.2")
    status, _, err = run_main("", f"--test --load_dir {run}")
    assert status == 0, err
    assert (run / "test" / "arrows.png").exists() and not (run / "test" / "film.gif").exists()
    with (run / "test" / "test.csv").open() as file:
        rows = list(csv.DictReader(file))
    true = [float(row["angle"]) for row in rows]
    assert np.degrees(true) == pytest.approx([float(row["true_deg"]) for row in rows], abs=0.1)


def test_numbers_are_regressed_and_tested(train_on_film, run_main):
    run, out, err = train_on_film("arena_angle", "--objective regress columns=x,y --augment shift --test_fraction 0.2")
    assert "--augment moves the content of images, but the targets x, y are not changed with it" in err
    assert "mae_x" in out
    assert run_main("", f"--test --load_dir {run}")[0] == 0
    assert (run / "test" / "predictions.png").exists()
    with (run / "test" / "test.csv").open() as file:
        row = next(csv.DictReader(file))
    assert 0 < float(row["x_predicted"]) < 50


def test_images_that_were_changed_in_place_are_not_taken_for_the_runs_own(train_on_film, arena, run_main, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(arena, mine)
    run, _, _ = train_on_film("arena_pca", f"--test_fraction 0.2 --data_dir {mine}")
    with np.load(arena / "frames.npz") as file:
        np.savez(mine / "frames.npz", images=file["images"][::-1])
    for words in (f"--test --load_dir {run}", f"--load_dir {run} --n_epochs 3"):
        status, _, err = run_main("", words)
        assert status == 2 and "as many images" in err and "but others" in err


def test_an_encoder_that_was_trained_on_held_out_images_is_told_of(train_on_film, run_main, arena, tmp_path):
    ae, _, _ = train_on_film("arena_ae", "--seed 1", "ae")
    base = f"--recipe arena_angle --data_dir {arena} --save_dir {tmp_path / 'weights'} --n_epochs 1 --load_encoder {ae}"
    for seed, leaks in ((1, False), (2, True)):
        status, _, err = run_main("", f"{base} --seed {seed} --namestr seed{seed}")
        assert status == 0 and ("the loaded encoder was trained on" in err) == leaks
        counted = result_of(tmp_path / "weights" / f"seed{seed}")["leaks"]["encoder"]["validation"]
        assert (counted > 0) == leaks


def test_frames_without_a_label_are_left_out_and_said_so(train_on_film, arena, run_main, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(arena, mine)
    with (arena / "metadata.csv").open() as file:
        rows = list(csv.reader(file))
    at = rows[0].index("tail_x")
    for row in rows[1::13]:
        row[at] = ""
    with (mine / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    run, _, err = train_on_film("arena_angle", f"--test_fraction 0.2 --data_dir {mine}")
    assert "10 images are left out" in err
    assert (open_run(run).part == "left_out").sum() == 10
    assert run_main("", f"--test --load_dir {run}")[0] == 0
    assert run_main("", f"--load_dir {run} --n_epochs 3")[0] == 0


def test_other_images_are_tested_all_and_the_runs_own_under_another_name_only_where_held_out(
    train_on_film, arena, run_main, tmp_path
):
    run, _, _ = train_on_film("arena_ae", "--test_fraction 0.2")
    few = tmp_path / "few"
    few.mkdir()
    with np.load(arena / "frames.npz") as file:
        np.savez(few / "few.npz", images=file["images"][:30])
    status, _, err = run_main(
        "", f"--test --load_dir {run} --data_dir {few} --dataset arrays file=few.npz metadata=none"
    )
    assert status == 0, err
    assert result_of(run / "test-few")["test"]["n"] == 30
    moved = tmp_path / "moved"
    shutil.copytree(arena, moved)
    status, _, err = run_main("", f"--test --load_dir {run} --data_dir {moved}")
    assert status == 0, err
    assert result_of(run / "test-frames")["test"]["n"] == result_of(run)["test"]["n"]


def test_without_its_training_images_a_run_is_tested_without_baselines(train_on_film, arena, run_main, tmp_path):
    mine = tmp_path / "mine"
    shutil.copytree(arena, mine)
    run, _, _ = train_on_film("arena_ae", f"--test_fraction 0.2 --data_dir {mine}")
    shutil.rmtree(mine)
    status, _, err = run_main("", f"--test --load_dir {run} --data_dir {arena}")
    assert status == 0 and "no baselines" in err
    assert result_of(run / "test-frames")["test"]["baselines"] == {}


def test_what_cannot_be_tested_is_told(train_on_film, arena, run_main, tmp_path):
    run, _, _ = train_on_film("arena_ae")
    status, _, err = run_main("", f"--test --load_dir {run}")
    assert status == 2 and "no test part; train with --test_fraction" in err
    np.savez(tmp_path / "small.npz", images=np.zeros((9, 20, 20), np.uint8))
    status, _, err = run_main(
        "", f"--test --load_dir {run} --data_dir {tmp_path / 'small.npz'} --dataset arrays file=none metadata=none"
    )
    assert status == 2 and "(1, 20, 20)" in err and "(1, 50, 50)" in err


def test_denoising_is_reported_beside_the_noisy_input_and_shown(train_on_film, run_main):
    run, out, _ = train_on_film("arena_ae", "--objective reconstruct loss=mse noise=0.1 second=l1 --test_fraction 0.2")
    result = result_of(run)
    noisy = result["test"]["baseline_metrics"]["noisy_input"]
    assert 19.5 < noisy["psnr_db"] < 21.5 and "l1" in noisy
    assert "psnr_db" in out and len(read_records(run)) == 2
    assert run_main("", f"--test --load_dir {run}")[0] == 0
    again = result_of(run / "test")["test"]["baseline_metrics"]["noisy_input"]
    assert again["psnr_db"] == pytest.approx(noisy["psnr_db"], abs=1e-6)  # the same noise each time


# ----------------------------------------------------------------------------------------- latents over training


def test_latents_are_written_as_training_goes_and_do_not_change_it(train_on_film):
    plain, _, _ = train_on_film("arena_ae", "", "plain")
    watched, _, _ = train_on_film("arena_ae", "--latents_every 0.5", "watched")
    assert same(weights_of(plain / "1"), weights_of(watched / "1"))
    assert read_records(plain) == read_records(watched)
    files = {path.stem: path for path in (watched / "latents").iterdir()}
    assert files.keys() == {"0", "0.5", "1", "1.5", "2"}
    with np.load(files["2"], allow_pickle=False) as file:
        last, ids, part = file["latents"], file["ids"].tolist(), file["part"].tolist()
        assert "column_angle" in file
    with np.load(files["0"]) as file:
        assert not np.allclose(file["latents"], last, atol=1e-3)
    run = open_run(watched / "1")
    assert np.allclose(run.latents(), last, atol=1e-5)
    assert ids == run.dataset.ids and part == run.part.tolist()
    assert run.save_latents(last) == files["2"]


def test_a_resumed_run_goes_on_writing_latents(train_on_film, run_main):
    run, _, _ = train_on_film("arena_ae", "--latents_every 1")
    before = (run / "latents" / "0.npz").stat().st_mtime_ns
    assert run_main("", f"--load_dir {run} --n_epochs 3")[0] == 0
    assert {path.stem for path in (run / "latents").iterdir()} == {"0", "1", "2", "3"}
    assert (run / "latents" / "0.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("every", "called"),
    [(1.0, [0, 1, 2]), (0.5, [0, 0.5, 1, 1.5, 2]), (2.0, [0, 2]), (0.25, [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2])],
)
def test_latents_are_due_at_the_first_step_past_a_multiple(every, called):
    session = Session(Path(), {}, SimpleNamespace(latents_every=every), 0, 0.0, 0.0)
    assert [step / 4 for step in range(9) if session.latents_are_due(step / 4, n_steps=4)] == called


def test_a_variational_run_trains_draws_and_is_steady_when_judged(train_on_film):
    run, _, _ = train_on_film("arena_ae", f"{SMALL_CONV.replace('4,8 --head', '4,8 beta=1 --head')}")
    opened = open_run(run)
    assert np.array_equal(opened.latents(), opened.latents())
    assert "encoder.stages.latent.1.layer.log_variance.weight" in weights_of(run / "1")


def test_training_flags_have_no_meaning_in_test_mode_and_a_resumed_run_forgets_its_tests(train_on_film, run_main):
    run, _, _ = train_on_film("arena_pca", "--test_fraction 0.2")
    for words in ("--n_epochs 9", "--latents_every 1", "--comet", "--rejig_data", "--load_encoder nowhere"):
        status, _, err = run_main("", f"--test --load_dir {run} {words}")
        assert status == 2 and words.split()[0] in err
    assert run_main("", f"--test --load_dir {run}")[0] == 0 and (run / "test").exists()
    status, _, err = run_main("", f"--load_dir {run} --n_epochs 3")
    assert status == 0 and not (run / "test").exists() and "judged the run as it was, and is removed" in err


def test_a_number_in_degrees_that_may_be_radians_and_one_that_is_beaten_are_told_of(train_on_film):
    _, _, err = train_on_film("arena_angle", "--objective direction columns=angle unit=deg")
    assert "angle spans less than 6.3 degrees; is it in radians?" in err
    _, _, err = train_on_film("arena_ae", "--lr 1e-5", "still")
    assert "pca" in err and "did as well or better on the validation images" in err
