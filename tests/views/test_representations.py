"""Sources of representations: what each form of a source gives, what is refused, and what is written to files."""

import csv
import shutil

import numpy as np
import pytest
import torch
from helpers import raises_user_error, train_silently

import neuro_noodle
from neuro_noodle.runs.metadata import Column
from neuro_noodle.runs.representation_files import write_representations, write_rows
from neuro_noodle.runs.representations import Source, represent
from neuro_noodle.runs.run import open_run
from neuro_noodle.runs.sources import ParsedSource, complete_trials, first_run, open_sources
from Plotting import latents as latents_command

N = 240


def values_of(folder, *words):
    """Return the values (N, D) of sources by name, of which `two` means the run of that name; pixels are left out."""
    written = [f"{folder}/{word}" if word.startswith("two") else word for word in words]
    sources = open_sources([str(folder / "one"), *written])[1:-1]
    return {source.name: source.of(np.arange(N)) for source in sources}


def test_the_latents_and_the_stages_of_a_run(film_runs):
    run = open_run(film_runs / "two")
    found = values_of(film_runs, "two", "two:all")
    assert list(found) == ["two", "two:hidden1", "two:latent", "two:head"]
    with torch.no_grad():
        hidden = run.model.encoder.stages["hidden1"](run.images().flatten(1) - run.model.encoder.centre)
        head = run.model(run.images()).flatten(1)
    for name, expected in (("two", run.latents()), ("two:latent", run.latents()), ("two:hidden1", hidden.numpy())):
        np.testing.assert_allclose(found[name], expected, atol=1e-5)
    np.testing.assert_allclose(found["two:head"], head.numpy(), atol=1e-5)


def test_runs_of_the_same_name_keep_their_whole_path(film_runs, tmp_path):
    shutil.copytree(film_runs / "two", tmp_path / "two")
    found = open_sources([f"{film_runs}/two@0", f"{tmp_path}/two@all:head", f"{film_runs}/one"])
    names = [f"{film_runs}/two", f"{tmp_path}/two:head", "one", ""]
    assert [source.series for source in found] == names
    assert [source.name for source in found] == [f"{film_runs}/two@0", f"{tmp_path}/two@1:head", "one", "pixels"]


def test_sources_are_read_from_python_by_name(film_runs):
    found = neuro_noodle.read_sources(str(film_runs / "one"), f"{film_runs}/two:hidden1", "pixels")
    assert list(found) == ["one", "two:hidden1", "pixels"]
    np.testing.assert_array_equal(found["one"], open_run(film_runs / "one").latents())
    assert list(neuro_noodle.read_sources(str(film_runs / "one"))) == ["one"]


def test_a_metadata_column_is_a_source_by_its_kind(film_runs):
    dataset = open_run(film_runs / "one").dataset
    found = values_of(film_runs, "column:mood", "column:angle")
    moods, angles = np.array(dataset.columns["mood"]), np.array(dataset.columns["angle"], float)
    np.testing.assert_array_equal(found["column:mood"], np.stack([moods == mood for mood in sorted(set(moods))], 1))
    np.testing.assert_allclose(found["column:angle"], np.stack([np.cos(angles), np.sin(angles)], 1), atol=1e-6)
    with raises_user_error("column:weight: no such column; allowed: "):
        values_of(film_runs, "column:weight")
    with raises_user_error("column:x is empty for 24 of 240 images"):
        values_of(film_runs, "column:x")


def test_large_numbers_of_a_column_stay_apart():
    column = Column(np.array([1.7e9, 1.7e9 + 1, 1.7e9 + 2]), is_class=False)
    np.testing.assert_array_equal(column.coordinates()(np.arange(3)).ravel(), [-1, 0, 1])


def test_a_run_that_shares_a_name_with_a_file_keeps_its_path(film_runs, tmp_path):
    np.savez(tmp_path / "two.npz", hidden1=np.ones((N, 3)))
    found = open_sources([f"{film_runs}/two:hidden1", f"{tmp_path}/two.npz:hidden1"])
    assert [source.name for source in found] == [f"{film_runs}/two:hidden1", "two:hidden1", "pixels"]


def test_the_network_before_training_and_after_each_epoch(film_runs):
    found = values_of(film_runs, "two@0", "two@all")
    assert list(found) == ["two@0", "two@1"]
    assert not np.allclose(found["two@0"], found["two@1"])
    np.testing.assert_allclose(found["two@1"], open_run(film_runs / "two" / "0").latents(), atol=1e-5)


def test_files_and_torchvision_are_sources_too(film_runs, tmp_path):
    rows = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
    trials = rows + np.random.default_rng(1).normal(size=(4, N, 5)).astype(np.float32)
    trials[3, ::2] = np.nan
    np.save(tmp_path / "cells.npy", rows)
    np.savez(tmp_path / "session.npz", responses=rows, trials=trials)
    words = [str(tmp_path / "cells.npy"), f"{tmp_path}/session.npz:responses", "torchvision/resnet18@0:layer1"]
    found = values_of(film_runs, *words)
    np.testing.assert_array_equal(found["cells"], rows)
    np.testing.assert_array_equal(found["session:responses"], rows)
    assert found[words[2]].shape == (N, 64 * 3 * 3)
    source = open_sources([str(film_runs / "one"), words[1]])[1]
    np.testing.assert_array_equal(source.trials(np.array([1, 2])), trials[:3, [1, 2]])


def test_every_image_has_as_many_trials_as_the_one_with_fewest():
    trials = np.arange(24.0).reshape(4, 3, 2)
    trials[0, 1, 0] = trials[0, 0] = trials[2, 0] = np.nan
    found = complete_trials(trials)
    assert len(found) == 2  # the second image has three trials, the first only two
    np.testing.assert_array_equal(found[:, 0], trials[[1, 3], 0])
    np.testing.assert_array_equal(found[:, 1], trials[[1, 2], 1])
    np.testing.assert_array_equal(found[:, 2], trials[:2, 2])
    trials[:3, 2] = np.nan
    assert complete_trials(trials) is None


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("two:layer9", "no such stage; allowed: hidden1, latent, head"),
        ("two@7", "has saved nothing after 7 epochs; there are 0, 1 (0 is before training)"),
        ("nowhere", "nowhere"),
        ("responses", "responses: this dataset has none; name a file"),
        ("nowhere.npy", "no file nowhere.npy"),
        ("torchvision/resnet81@0", "did you mean 'resnet18'"),
        ("torchvision/resnet18@0:layer9", "no such stage; did you mean 'layer"),
        ("torchvision/resnet18@3", "pretrained, or new with @0"),
        ("two@last", "two@last: @ is followed by a number of epochs, or all"),
        ("two@", "two@: @ is followed by a number of epochs, or all"),
    ],
)
def test_a_source_that_does_not_exist_is_refused(film_runs, word, message):
    with raises_user_error(message):
        values_of(film_runs, word)


def test_a_file_with_other_rows_is_refused(film_runs, tmp_path):
    np.save(tmp_path / "few.npy", np.ones((7, 3)))
    with raises_user_error("few.npy has 7 rows for 240 images; one each"):
        values_of(film_runs, str(tmp_path / "few.npy"))
    np.savez(tmp_path / "pair.npz", a=np.ones((N, 3)), b=np.ones((N, 3)))
    with raises_user_error("has no array 'c'; allowed: a, b"):
        values_of(film_runs, f"{tmp_path}/pair.npz:c")
    with raises_user_error("pair.npz has a, b; name one with a row per image"):
        values_of(film_runs, f"{tmp_path}/pair.npz")
    np.savez(tmp_path / "odd.npz", responses=np.ones((N, 3)), trials=np.ones((N, 4, 3)))
    with raises_user_error("trials is (240, 4, 3), not trials x (240, 3)"):
        values_of(film_runs, f"{tmp_path}/odd.npz:responses")
    np.save(tmp_path / "names.npy", np.array(["a"] * N))
    with raises_user_error("names.npy holds no numbers"):
        values_of(film_runs, str(tmp_path / "names.npy"))
    whole = (tmp_path / "pair.npz").read_bytes()
    (tmp_path / "pair.npz").write_bytes(whole[: len(whole) // 2])
    with raises_user_error("pair.npz cannot be read"):
        values_of(film_runs, f"{tmp_path}/pair.npz:a")


def test_names_with_signs_of_the_grammar_are_paths_first(tmp_path):
    for name in ("a@2", "face@home", "time:9"):
        (tmp_path / name).mkdir()
    for word, expected in {
        "a@2": ("a@2", None, None),
        "a@2:conv1": ("a@2", None, "conv1"),
        "face@home:conv2": ("face@home", None, "conv2"),
        "face@home@3:all": ("face@home", "3", "all"),
        "time:9/b": ("time:9/b", None, None),
        "time:9/b@all:head": ("time:9/b", "all", "head"),
    }.items():
        path, epochs, stage = expected
        assert ParsedSource.of(f"{tmp_path}/{word}") == ParsedSource(f"{tmp_path}/{path}", epochs, stage)


def test_a_session_has_no_other_epochs(film_runs):
    with raises_user_error("name either a session or @EPOCHS of a run"):
        values_of(film_runs, "two/0@1")


def test_a_file_named_like_the_pixels_is_refused(film_runs, tmp_path):
    np.save(tmp_path / "pixels.npy", np.ones((N, 3)))
    with raises_user_error("two sources would have the name pixels"):
        values_of(film_runs, str(tmp_path / "pixels.npy"))


def test_the_images_come_from_a_run(tmp_path):
    with raises_user_error("name a run first"):
        open_sources([])
    with raises_user_error("cells is not a run; name a run first"):
        first_run([Source("cells", len)])


def test_a_stage_that_never_changes_is_still_compared():
    same = Source("dead", lambda indices: np.zeros((len(indices), 3000), np.float32))
    assert represent(same, np.arange(20), np.ones(20, bool)).values.shape == (20, 1)


def test_a_network_that_started_from_another_has_no_new_state(film_runs, film, tmp_path):
    words = (
        f"--recipe faces_ae --save_dir {tmp_path} --data_dir {film} --dataset arrays file=images.npy metadata=table.csv"
    )
    words += f" group=animal --split group --n_epochs 1 --val_fraction 0.25 --load_encoder {film_runs / 'two'}"
    train_silently(f"{words} --namestr second")
    with raises_user_error("second@0: it started from the encoder of"):
        open_sources([f"{tmp_path}/second@0"])


# ----------------------------------------------------------------------------------------------------------- files


def test_the_command_writes_numbers_ids_parts_and_metadata(film_runs, tmp_path, capsys):
    run = film_runs / "two"
    assert latents_command.main([str(run), f"{run}:hidden1", "--out", str(tmp_path)]) == 0
    paths = [tmp_path / name for name in ("two.npz", "two.csv", "two_hidden1.npz", "two_hidden1.csv")]
    assert capsys.readouterr().out.split() == [str(path) for path in paths]
    opened = open_run(run)
    file = np.load(paths[0])
    np.testing.assert_allclose(file["latents"], opened.latents(), atol=1e-5)
    assert file["ids"].tolist() == opened.dataset.ids
    assert file["part"].tolist() == opened.part.tolist()
    assert file["column_mood"].tolist() == list(opened.dataset.columns["mood"])
    with paths[1].open() as table:
        rows = list(csv.DictReader(table))
    assert list(rows[0]) == ["id", "part", "angle", "x", "mood", "animal", *(f"latent{i}" for i in range(1, 5))]
    assert [row["id"] for row in rows] == opened.dataset.ids
    np.testing.assert_allclose([float(row["latent2"]) for row in rows], opened.latents()[:, 1], atol=1e-5)


def test_a_column_named_part_does_not_replace_the_split(film_runs, tmp_path):
    opened = open_run(film_runs / "one")
    opened.dataset.columns["part"] = ["train"] * N
    write_rows(tmp_path / "rows.csv", Source("zeros", lambda i: np.zeros((len(i), 1))), 1, opened)
    with (tmp_path / "rows.csv").open() as table:
        rows = list(csv.DictReader(table))
    assert [row["part"] for row in rows] == opened.part.tolist() and rows[0]["column_part"] == "train"


def test_no_written_file_replaces_one_that_is_read(film_runs, tmp_path):
    np.savez(tmp_path / "cells.npz", rows=np.ones((N, 3)))
    for name in ("cells", "cells_rows"):
        np.save(tmp_path / f"{name}.npy", np.ones((N, 3)))
    words = [str(film_runs / "one"), f"{tmp_path}/cells.npz:rows"]
    with raises_user_error("two sources would be written to"):
        list(write_representations([*words, f"{tmp_path}/cells_rows.npy"], tmp_path))
    with raises_user_error("cells.npz would replace a file to read"):
        list(write_representations([*words, f"{tmp_path}/cells.npy"], tmp_path))
    assert np.load(tmp_path / "cells.npz")["rows"].shape == (N, 3)


def test_wide_representations_have_no_csv_but_components(film_runs, tmp_path, monkeypatch):
    for module in ("representation_files", "representations"):
        monkeypatch.setattr(f"neuro_noodle.runs.{module}.MAX_WIDTH", 100)
    monkeypatch.setattr("neuro_noodle.runs.representations.MAX_COMPONENTS", 20)
    words = [str(film_runs / "one"), "pixels"]
    *_, whole = write_representations(words, tmp_path)
    assert whole.name == "pixels.npz" and np.load(whole)["latents"].shape == (N, 144)
    *_, reduced, table = write_representations(words, tmp_path / "reduced", reduce=True)
    assert table.name == "pixels.csv" and np.load(reduced)["latents"].shape == (N, 20)
