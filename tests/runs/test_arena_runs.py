"""Training on the film of the arena: its recipes, frozen and loaded encoders, latents saved during training."""

import pickle
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import HERE, SMALL_ARENA, error_message, result_of

import main
from neuro_noodle.learning.record import falls_due
from neuro_noodle.networks.projections import Pca
from neuro_noodle.recipes import RECIPES
from neuro_noodle.runs.commits import commit_files
from neuro_noodle.runs.metrics import read_metrics
from neuro_noodle.runs.run import open_run
from Plotting import report

each_recipe = pytest.mark.parametrize("recipe", SMALL_ARENA)
CLEAN_FILM = "--dataset arrays file=clean.npz metadata=metadata.csv"


def weights_of(session):
    return torch.load(session / "model.pth", weights_only=True)


def are_equal(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def resume(run_main, run, n_epochs):
    """Resume a run, which must succeed."""
    status, _, err = run_main("", f"--load_dir {run} --n_epochs {n_epochs}")
    assert status == 0, err


@pytest.fixture
def train_with_encoder_of(arena, run_main, tmp_path):
    """Return a function that trains arena_angle for an epoch with the encoder of a run: (run, stdout, stderr)."""

    def run(source: Path, words: str = "", name: str = "angle") -> tuple[Path, str, str]:
        base = f"--recipe arena_angle --data_dir {arena} --save_dir {tmp_path / 'weights'} --namestr {name}"
        status, out, err = run_main("", f"{base} --load_encoder {source} --n_epochs 1 --batch_size 16 {words}")
        assert status == 0, err
        return tmp_path / "weights" / name, out, err

    return run


class Trap:
    """Creates a file when its pickle is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


# ------------------------------------------------------------------------------------------------------ recipes


@each_recipe
def test_an_arena_recipe_writes_its_result_and_figures(recipe, train_on_film):
    run, out, _ = train_on_film(recipe, "--test_fraction 0.2")
    result = result_of(run)
    expected = {"circular_mean", "linear_pixels"} if recipe == "arena_angle" else {"pca", "mean_image"}
    assert result["baselines"].keys() == result["test"]["baseline_metrics"].keys() == expected
    assert f"{result['test']['value']:.4g}" in out
    assert report.main([str(run)]) == 0
    figures = {path.stem for path in (run / "figures").iterdir()}
    assert {"latent_map", "curves"} < figures
    assert ("arrows" in figures) == (recipe == "arena_angle")
    assert ("explained_variance" in figures) == (recipe == "arena_pca")


@each_recipe
def test_four_epochs_equal_two_and_two_more_bit_for_bit(recipe, train_on_film, run_main):
    """The optimizer, the schedule, the batch-norm statistics and the latents of a UMAP are all restored."""
    words = "--schedule step every=1 factor=0.7"
    whole, _, _ = train_on_film(recipe, f"{words} --n_epochs 4", "whole")
    halves, _, _ = train_on_film(recipe, words, "halves")
    resume(run_main, halves, n_epochs=4)
    assert are_equal(weights_of(whole / "3"), weights_of(halves / "3"))
    assert read_metrics(whole) == read_metrics(halves)


@each_recipe
def test_every_arena_recipe_splits_the_film_by_blocks(recipe):
    assert RECIPES[recipe].flags["split"] == "block"


def test_held_out_frames_are_blocks_of_the_film(train_on_film):
    run, _, _ = train_on_film("arena_pca", "--n_epochs 1 --test_fraction 0.2")
    part = open_run(run).part
    n_changes = int((part[1:] != part[:-1]).sum())
    assert n_changes < 20  # a random split would have about 60
    assert set(part) == {"training", "validation", "test"}


def test_a_missing_film_is_refused_with_how_to_create_it(run_main, tmp_path):
    message = error_message(run_main, f"--recipe arena_ae --data_dir {tmp_path / 'none'} --save_dir {tmp_path}")
    assert "python Resources/simulate.py arena" in message


def test_the_built_in_film_is_found_from_any_folder(monkeypatch, tmp_path):
    received = []
    monkeypatch.setattr(main, "run", lambda flags, words: received.append(flags) or (tmp_path, 0))
    monkeypatch.chdir(tmp_path)
    assert main.main(["--no-plot", "--recipe", "arena_ae"]) == 0
    assert [flags.data_dir for flags in received] == [HERE / "Resources" / "arena"]


def test_frames_without_a_target_are_dropped_and_counted(train_on_film, arena, run_main, tmp_path):
    film = shutil.copytree(arena, tmp_path / "film")
    empty_every_13th(film / "metadata.csv", "tail_x")
    run, _, err = train_on_film("arena_angle", f"--test_fraction 0.2 --data_dir {film}")
    assert re.search(r"10 of \d+ images are left out, because they have no tail_x or ", err)
    assert (open_run(run).part == "left_out").sum() == 10
    assert run_main("", f"--test --load_dir {run}")[0] == 0
    resume(run_main, run, n_epochs=3)


def empty_every_13th(path, column):
    """Empty a column of a CSV file in every 13th row, from the first."""
    header, *rows = [line.split(",") for line in path.read_text().splitlines()]
    for row in rows[::13]:
        row[header.index(column)] = ""
    path.write_text("".join(",".join(row) + "\n" for row in [header, *rows]))


def test_a_variational_run_has_the_same_latents_each_time(train_on_film):
    run, _, _ = train_on_film("arena_ae", "--encoder conv channels=4,8 beta=1")
    opened = open_run(run)
    assert np.array_equal(opened.latents(), opened.latents())
    assert "encoder.stages.latent.1.layer.log_variance.weight" in weights_of(run / "1")


def test_radians_declared_as_degrees_are_reported(train_on_film):
    _, _, err = train_on_film("arena_angle", "--objective direction columns=angle unit=deg")
    assert "angle spans less than 6.3 degrees; is it in radians?" in err


def test_a_baseline_as_good_as_the_network_is_reported(train_on_film):
    _, out, _ = train_on_film("arena_ae", "--lr 1e-5")
    last = out.splitlines()[-1]
    assert last.startswith("note: pca ")
    assert last.endswith(" did as well as the network, or better")


# ----------------------------------------------------------------------------------------------- frozen encoders


def test_a_frozen_encoder_encodes_each_image_once(train_on_film, monkeypatch):
    n_encoded = []
    forward = Pca.forward
    monkeypatch.setattr(Pca, "forward", lambda self, images: n_encoded.append(len(images)) or forward(self, images))
    train_on_film("arena_pca", "--n_epochs 5")
    assert sum(n_encoded) == 120


def test_a_head_learns_the_same_from_precomputed_latents(train_on_film, monkeypatch):
    precomputed, _, _ = train_on_film("arena_pca", "", "precomputed")
    monkeypatch.setattr("model.precompute", lambda *_: None)
    encoded, _, _ = train_on_film("arena_pca", "", "encoded")
    for key, value in weights_of(precomputed / "1").items():
        assert torch.allclose(value.float(), weights_of(encoded / "1")[key].float(), atol=1e-4), key


@pytest.mark.parametrize("words", ["--augment shift", "--objective reconstruct loss=mse noise=0.1"])
def test_a_umap_refuses_images_that_change(words, arena, run_main, tmp_path):
    base = f"--recipe arena_umap --data_dir {arena} --save_dir {tmp_path}"
    message = error_message(run_main, f"{base} {SMALL_ARENA['arena_umap']} {words}")
    assert "encodes each image only once, so images cannot change between epochs" in message
    assert "leave out --augment and noise=" in message


def test_the_pickle_of_a_umap_is_opened_only_when_trusted(train_on_film, run_main, tmp_path):
    run, _, _ = train_on_film("arena_umap", "--test_fraction 0.2")
    assert {path.name for path in run.glob("*.pkl")} == {"encoder.pkl"}
    sprung = tmp_path / "sprung"
    (run / "encoder.pkl").write_bytes(pickle.dumps(Trap(sprung)))
    resume(run_main, run, n_epochs=3)
    assert run_main("", f"--test --load_dir {run}")[0] == 0
    assert open_run(run).latents().shape == (120, 3)
    assert report.main([str(run)]) == 0
    assert "--trust_pickle" in error_message(run_main, f"--test --load_dir {run} {CLEAN_FILM}")
    trusted = error_message(run_main, f"--test --load_dir {run} {CLEAN_FILM} --trust_pickle")
    assert "encoder.pkl is damaged, or was changed by hand" in trusted and not sprung.exists()
    commit_files(run, {"encoder.pkl": pickle.dumps(Trap(sprung))})
    with pytest.raises(AttributeError):  # the trap leaves a file object in place of the UMAP
        run_main("", f"--test --load_dir {run} {CLEAN_FILM} --trust_pickle")
    assert sprung.exists()


def test_a_trusted_umap_embeds_other_images(train_on_film, run_main):
    run, _, _ = train_on_film("arena_umap", "--test_fraction 0.2")
    status, _, err = run_main("", f"--test --load_dir {run} {CLEAN_FILM} --trust_pickle")
    assert status == 0, err
    tested = result_of(run / "test-clean")
    assert tested["test"]["n"] == 120
    assert tested["leaks"]["same_name"] == 0  # the names of frames are their numbers, which say nothing
    assert tested["leaks"]["near_duplicates"]["n"] > 0 and "near-duplicates of one" in err
    assert (run / "test-clean" / "film.gif").exists()


# ----------------------------------------------------------------------------------------------- loaded encoders


def test_a_loaded_encoder_keeps_its_frozen_stages(train_on_film, train_with_encoder_of, run_main):
    """Its architecture comes with it, and the run that it came from is not needed to resume."""
    source, _, _ = train_on_film("arena_ae", "", "source")
    run, out, _ = train_with_encoder_of(source, "--n_epochs 2 --trainable_stages 2 --augment none")
    trains = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line.endswith(("  no", "  yes"))}
    assert trains == {"conv1": "no", "conv2": "no", "latent": "yes", "head": "yes"}
    before, after = weights_of(source / "best"), weights_of(run / "1")
    for key, value in after.items():
        if key.startswith("encoder."):
            assert torch.equal(value, before[key]) == ("latent" not in key), key
    shutil.rmtree(source)
    resume(run_main, run, n_epochs=3)


def test_a_fresh_stage_starts_from_new_random_weights(train_on_film, train_with_encoder_of):
    source, _, _ = train_on_film("arena_ae", "", "source")

    def latent_weights(n_fresh):
        words = f"--trainable_stages 2 --fresh_stages {n_fresh} --lr 1e-6 --seed 7 --augment none"
        run, _, _ = train_with_encoder_of(source, words, f"fresh{n_fresh}")
        return weights_of(run / "0")["encoder.stages.latent.1.layer.weight"]

    loaded = weights_of(source / "best")["encoder.stages.latent.1.layer.weight"]
    assert torch.allclose(loaded, latent_weights(n_fresh=1), atol=1e-4)
    assert not torch.allclose(loaded, latent_weights(n_fresh=2), atol=0.1)


def test_an_encoder_trained_on_held_out_images_is_reported(train_on_film, train_with_encoder_of):
    source, _, _ = train_on_film("arena_ae", "--seed 1", "source")
    for seed, leaks in ((1, False), (2, True)):
        run, _, err = train_with_encoder_of(source, f"--seed {seed}", f"seed{seed}")
        assert ("the loaded encoder was trained on" in err) == leaks
        assert (result_of(run)["leaks"]["encoder"]["validation"] > 0) == leaks


# ------------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--fresh_stages 2", "--fresh_stages re-initialises stages of --load_encoder, which is not given"),
        ("--load_encoder {source} --trainable_stages 1 --fresh_stages 2", "raise --trainable_stages"),
        ("--load_encoder {source} --trainable_stages 9", "4 stages: conv1, conv2, latent, head"),
        ("--load_encoder {source} --fresh_stages 9", "4 stages: conv1, conv2, latent, head"),
        ("--load_encoder {source} --latent_dim 3", "does not fit"),
        ("--load_encoder {source} --encoder fc", "does not fit"),
        ("--load_encoder nowhere", "there is no folder nowhere"),
        ("--latents_every 0.01", "less than a step"),
        ("--objective direction columns=heading", "cannot predict heading: no such column; there are frame"),
        ("--objective regress", "must name columns"),
        ("--objective reconstruct loss=kl_div", "'kl_div' is not a loss for reconstructions"),
        ("--test", "name it with --load_dir"),
        ("--objective direction columns=frame", "not an angle in radians; add unit=deg"),
        ("--batch_size 1", "batch normalisation cannot train on one; use 2 or more"),
        ("--data_dir {file}", "is a file, but --dataset names another, file=frames.npz"),
    ],
)
def test_a_mistake_ends_with_one_message_and_no_run(words, expected, train_on_film, arena, run_main, tmp_path):
    source = train_on_film("arena_ae", "--n_epochs 1", "source")[0] if "{source}" in words else None
    base = f"--recipe arena_angle --data_dir {arena} --save_dir {tmp_path / 'none'} --batch_size 16"
    message = error_message(run_main, f"{base} {words.format(source=source, file=arena / 'clean.npz')}")
    assert expected in message
    assert not (tmp_path / "none").exists()


# ----------------------------------------------------------------------------------------- latents over training


def test_saving_latents_does_not_change_training(train_on_film):
    without, _, _ = train_on_film("arena_ae", "", "without")
    saving, _, _ = train_on_film("arena_ae", "--latents_every 0.5", "saving")
    assert are_equal(weights_of(without / "1"), weights_of(saving / "1"))
    assert read_metrics(without) == read_metrics(saving)


def test_saved_latents_are_those_of_the_network_at_that_time(train_on_film):
    folder, _, _ = train_on_film("arena_ae", "--latents_every 0.5")
    files = {path.stem: path for path in (folder / "latents").iterdir()}
    assert files.keys() == {"0", "0.5", "1", "1.5", "2"}
    with np.load(files["2"], allow_pickle=False) as file:
        last, ids, part = file["latents"], file["ids"].tolist(), file["part"].tolist()
        assert "column_angle" in file
    with np.load(files["0"]) as file:
        assert not np.allclose(file["latents"], last, atol=1e-3)
    run = open_run(folder / "1")
    assert np.allclose(run.latents(), last, atol=1e-5)
    assert ids == run.dataset.ids and part == run.part.tolist()
    assert run.save_latents(last) == files["2"]


def test_a_resumed_run_continues_to_save_latents(train_on_film, run_main):
    run, _, _ = train_on_film("arena_ae", "--latents_every 1")
    before = (run / "latents" / "0.npz").stat().st_mtime_ns
    resume(run_main, run, n_epochs=3)
    assert {path.stem for path in (run / "latents").iterdir()} == {"0", "1", "2", "3"}
    assert (run / "latents" / "0.npz").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("every", "due"),
    [(1.0, [0, 1, 2]), (0.5, [0, 0.5, 1, 1.5, 2]), (2.0, [0, 2]), (0.25, [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2])],
)
def test_latents_are_due_at_the_first_step_past_a_multiple(every, due):
    assert [step / 4 for step in range(9) if falls_due(every, step / 4, n_steps=4)] == due
