"""A run in Python: what it gives for new images equals what it gives for its own, and each output means its name."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import raises_user_error, rows_of

from neuro_noodle.runs.latents import Latents, read_latents
from neuro_noodle.runs.run import Run, open_run
from Plotting import latents as latents_command

NAMES = ["faces_ae", "faces_emotion_scratch", "arena_angle", "v1_hsm"]
each_run = pytest.mark.parametrize("name", NAMES)


def folder_of(run: Run) -> Path:
    """Return the folder of the images of a run."""
    return Path(run.config["flags"]["data_dir"])


def own_outputs(run: Run) -> np.ndarray:
    """Return the outputs of a run for all of its own images, directions in degrees."""
    return run.objective.in_units(run.outputs_of(np.arange(len(run.dataset)))).numpy()


def forms(run: Run) -> dict:
    """Return the images of a run in every form in which it takes new ones."""
    folder = folder_of(run)
    found = {"folder": folder, "prepared": run.prepare(folder), "native": run.dataset.images, "floats": run.images()}
    if run.dataset.ids[0].endswith("JPG"):
        found["files"] = [folder / name for name in run.dataset.ids]
    elif (folder / "frames.npz").exists():
        found |= {"file": folder / "frames.npz", "array": np.load(folder / "frames.npz")["images"]}
    else:
        parts = [np.load(folder / "region1" / f"{part}_inputs.npy") for part in ("training", "validation")]
        found["rows"] = np.concatenate(parts)
    return found


@each_run
def test_own_images_give_the_same_as_new_ones(name, small_runs):
    run = open_run(small_runs / name)
    predicted, latents = own_outputs(run), run.latents()
    for form, images in forms(run).items():
        np.testing.assert_array_equal(run.predict(images), predicted, err_msg=form)
        np.testing.assert_array_equal(run.encode(images), latents, err_msg=form)


@each_run
def test_one_image_gives_what_many_give(name, small_runs):
    run = open_run(small_runs / name)
    one = run.dataset.images[3]
    assert np.allclose(run.predict(one), own_outputs(run)[3:4], rtol=1e-4, atol=1e-5)
    assert np.allclose(run.encode(one), run.latents()[3:4], rtol=1e-4, atol=1e-5)


def test_predictions_are_those_of_the_tables_of_the_run(small_runs):
    emotion, angle, neurons = (open_run(small_runs / name) for name in NAMES[1:])
    for run in (emotion, angle, neurons):
        indices = run.parts["test"]
        rows, found = rows_of(run.folder / "test.csv"), run.predict(run.images(np.array(indices)))
        assert [row["id"] for row in rows] == [run.dataset.ids[i] for i in indices]
        if run is emotion:
            assert np.allclose(found.sum(1), 1)
            assert [run.dataset.classes[i] for i in found.argmax(1)] == [row["predicted"] for row in rows]
            assert found.max(1) == pytest.approx([float(row["probability"]) for row in rows], rel=1e-4)
        elif run is angle:
            assert found.shape == (len(rows),) and found.min() >= 0 and found.max() <= 360
            assert found == pytest.approx([float(row["predicted_deg"]) for row in rows], rel=1e-4)
        else:
            assert found.min() >= 0
            name = run.dataset.neurons[1]
            assert found[:, 1] == pytest.approx([float(row[f"{name}_predicted"]) for row in rows], rel=1e-4)


def test_latents_decode_to_the_reconstructions(small_runs):
    run = open_run(small_runs / "faces_ae")
    images = run.dataset.images[:5]
    reconstructed = run.reconstruct(images)
    assert reconstructed.shape == (5, 1, 26, 20) and 0 <= reconstructed.min() < reconstructed.max() <= 1
    np.testing.assert_array_equal(run.decode(run.encode(images)), reconstructed)
    np.testing.assert_array_equal(run.decode(torch.from_numpy(run.encode(images))), reconstructed)


def test_latents_of_another_size_are_refused(small_runs):
    run = open_run(small_runs / "faces_ae")
    for latents in (np.zeros((2, 5)), np.zeros(4), np.zeros((2, 4), bool)):
        with raises_user_error("latents must be N x 4 numbers, not "):
            run.decode(latents)
    with raises_user_error("latents must be finite"):
        run.decode(np.full((1, 4), np.nan))


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("faces_emotion_scratch", "probabilities of classes"),
        ("arena_angle", "directions in degrees"),
        ("v1_hsm", "responses of neurons"),
    ],
)
def test_a_run_that_predicts_no_images_makes_none(name, what, small_runs):
    run = open_run(small_runs / name)
    for make in (run.reconstruct, run.decode):
        with raises_user_error(f"{name} predicts {what}, so it makes no images; use run.predict(images)"):
            make(run.images(np.arange(2)))


def test_a_umap_places_new_images(train_on_film):
    folder, _, _ = train_on_film("arena_umap")
    run = open_run(folder, trust_pickle=True)
    frames = run.dataset.images[:50]
    assert run.encode(frames).shape == (50, 3)
    np.testing.assert_array_equal(run.predict(frames), run.decode(run.encode(frames)))
    with raises_user_error("add --trust_pickle (in Python, trust_pickle=True)"):
        open_run(folder).predict(frames)
    np.savez(folder.parent / "new.npz", images=frames.numpy())
    words = [str(folder), "--images", str(folder.parent / "new.npz"), "--trust_pickle"]
    assert latents_command.main(words) == 0
    written = np.load(folder / "representations-new" / "run.npz")["latents"]
    np.testing.assert_allclose(written, run.encode(frames), atol=1e-5)


def test_a_denoiser_adds_no_noise_to_new_images(train_on_film):
    folder, _, _ = train_on_film("arena_ae", "--objective reconstruct loss=mse noise=0.5")
    run = open_run(folder)
    images = run.images(np.arange(5))
    with torch.no_grad():
        np.testing.assert_array_equal(run.predict(images), run.objective.output(run.model(images)).numpy())


def test_what_was_changed_is_printed_once(small_runs, capsys):
    run = open_run(small_runs / "faces_ae")
    prepared = run.prepare(folder_of(run) / run.dataset.ids[0])
    assert capsys.readouterr().err == "changed: images resized to 26x20 from 65x51 (1)\n"
    run.encode(prepared)
    assert capsys.readouterr().err == ""


def test_the_white_of_new_images_can_be_named(small_runs):
    run = open_run(small_runs / "v1_hsm")
    np.testing.assert_array_equal(run.encode(run.images(), max_value=1), run.latents())
    own = run.described_latents(folder_of(run), max_value=510e-6).values
    np.testing.assert_array_equal(own, run.encode(run.images() / 2))


# -------------------------------------------------------------------------------------------- latents and results


def test_latents_come_with_ids_parts_and_columns(small_runs, tmp_path):
    run = open_run(small_runs / "faces_ae")
    found = run.described_latents()
    np.testing.assert_array_equal(found.values, run.latents())
    assert found.ids == run.dataset.ids and found.part.tolist() == run.part.tolist()
    assert {name: values.tolist() for name, values in found.columns.items()} == run.dataset.columns
    table = found.table()
    assert list(table) == ["id", "part", *run.dataset.columns, "latent1", "latent2", "latent3", "latent4"]
    assert {len(column) for column in table.values()} == {len(run.dataset)}
    np.testing.assert_array_equal(table["latent2"], run.latents()[:, 1])
    saved = read_latents(run.save_latents(found.values))
    assert saved.columns.keys() == found.columns.keys() and saved.ids == found.ids


def test_latents_of_new_images_come_with_their_ids(small_runs):
    run = open_run(small_runs / "faces_ae")
    found = run.described_latents(folder_of(run))
    np.testing.assert_array_equal(found.values, run.latents())
    assert found.ids == run.dataset.ids and set(found.part) == {"new"} and found.columns == {}


def test_metadata_never_replaces_a_latent_in_a_table():
    columns = {name: np.array([name] * 2) for name in ("latent1", "part", "mood")}
    table = Latents(np.zeros((2, 1)), ["a", "b"], np.array(["test"] * 2), columns).table()
    assert list(table) == ["id", "part", "column_latent1", "column_part", "mood", "latent1"]
    assert table["latent1"].tolist() == [0, 0]


def test_a_run_has_the_content_of_its_result(small_runs, monkeypatch):
    run = open_run(small_runs / "faces_ae")
    assert run.result == json.loads((run.folder / "result.json").read_text())
    monkeypatch.setattr("neuro_noodle.runs.run.has_result", lambda folder: False)
    assert run.result is None


# --------------------------------------------------------------------------------------------------------- command


def test_the_command_writes_latents_of_new_images(small_runs, tmp_path, capsys):
    run = open_run(small_runs / "faces_ae")
    images = folder_of(run) / "01"
    words = [str(run.folder), f"{run.folder}:hidden1", "--images", str(images)]
    assert latents_command.main(words) == 0
    folder = run.folder / "representations-01"
    assert capsys.readouterr().out.split()[0] == str(folder / "faces_ae.npz")
    file, rows = np.load(folder / "faces_ae.npz"), rows_of(folder / "faces_ae.csv")
    np.testing.assert_allclose(file["latents"], run.encode(images), atol=1e-5)
    assert file["ids"].tolist() == [row["id"] for row in rows] == run.prepare(images).ids
    assert {row["part"] for row in rows} == {"new"}
    assert np.load(folder / "faces_ae_hidden1.npz")["latents"].shape == (6, 32)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("RUN@0", "RUN@0: for new images, name a saved session in place of @"),
        ("RUN column:person", "column:person: no such column"),
        ("RUN --components", "--components are fitted to training images; leave them out with --images"),
    ],
)
def test_the_command_refuses_what_new_images_lack(words, message, small_runs, capsys):
    run = open_run(small_runs / "faces_ae")
    words = [word.replace("RUN", str(run.folder)) for word in words.split()]
    assert latents_command.main([*words, "--images", str(folder_of(run))]) == 2
    assert message.replace("RUN", str(run.folder)) in capsys.readouterr().err


def test_the_command_never_replaces_the_new_images(small_runs, tmp_path, capsys):
    np.save(tmp_path / "a.npy", open_run(small_runs / "faces_ae").dataset.images[:3])
    np.savez(tmp_path / "faces_ae.npz", images=np.load(tmp_path / "a.npy"))
    words = [str(small_runs / "faces_ae"), "--images", str(tmp_path / "faces_ae.npz"), "--out", str(tmp_path)]
    assert latents_command.main(words) == 2
    assert "would replace a file to read" in capsys.readouterr().err
