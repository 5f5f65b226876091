"""An opened run: its weights, its images, their latents and the model's outputs."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

import neuro_noodle
from neuro_noodle.choices import UserError
from neuro_noodle.runs import latents
from neuro_noodle.runs.run import open_run


def weights_in(session):
    return torch.load(session / "model.pth", weights_only=True)


def has_weights_of(model, session):
    return all(torch.equal(value, model.state_dict()[key]) for key, value in weights_in(session).items())


def test_a_run_opens_with_its_best_weights(face_runs):
    folder = face_runs / "ae"
    best = json.loads((folder / "result.json").read_text())["best_epoch"]
    other = 2  # the last
    assert best != other
    assert not has_weights_of(open_run(folder / str(best)).model, folder / str(other))
    for asked, session in ((folder, "best"), (folder / "best", "best"), (folder / str(other), str(other))):
        opened = open_run(asked)
        assert (opened.session, opened.folder) == (session, folder)
        assert has_weights_of(opened.model, folder / session) and not opened.model.training
    assert has_weights_of(open_run(folder).model, folder / str(best))
    assert not has_weights_of(open_run(folder / str(other)).model, folder / "best")


def test_the_parts_are_those_of_training(face_runs):
    for name, parts in (("ae", {"training", "validation"}), ("emotion", {"training", "validation", "test"})):
        opened = open_run(face_runs / name)
        split = json.loads((face_runs / name / "split.json").read_text())
        assert set(opened.part) == parts
        for part in parts:
            assert [opened.dataset.ids[i] for i in np.flatnonzero(opened.part == part)] == sorted(split[part])


def test_images_are_found_in_a_new_folder(face_runs, stimuli, tmp_path):
    shutil.copytree(stimuli, tmp_path / "moved")
    opened = open_run(face_runs / "ae", tmp_path / "moved")
    assert torch.equal(opened.images(), open_run(face_runs / "ae").images())
    next((tmp_path / "moved").rglob("*.JPG")).unlink()
    with pytest.raises(UserError, match="the images differ from those .* 1 are missing"):
        open_run(face_runs / "ae", tmp_path / "moved")


def test_latents_are_in_the_order_of_the_ids(run, stimuli):
    values = run.latents()
    assert values.shape == (24, 4) and values.dtype == np.float32
    assert run.dataset.ids == sorted(path.relative_to(stimuli).as_posix() for path in stimuli.rglob("*.JPG"))
    for i in (0, 7, 23):
        with Image.open(stimuli / run.dataset.ids[i]) as image:
            grey = image.convert("L").resize((20, 26), Image.Resampling.BICUBIC, box=(0.5, 0, 50.5, 65))
        pixels = torch.from_numpy(np.array(grey)).float()[None, None] / 255  # (1, 1, H, W)
        assert torch.allclose(run.images(np.array([i])), pixels, atol=2 / 255)
        with torch.no_grad():
            expected = run.model.encoder(run.images(np.array([i])))[0].numpy()
        assert np.allclose(values[i], expected, rtol=1e-4, atol=1e-4)


def test_latents_do_not_depend_on_the_batch_size(run, monkeypatch):
    whole = run.latents()
    monkeypatch.setattr(latents, "BATCH", 5)
    assert np.allclose(run.latents(), whole, rtol=1e-4, atol=1e-4)


def test_outputs_are_images_or_probabilities(face_runs):
    for name in ("ae", "emotion"):
        opened = open_run(face_runs / name)
        images = opened.images(np.arange(5))
        inputs, outputs = opened.outputs(np.arange(5))
        assert torch.equal(inputs, images)
        assert torch.equal(outputs, opened.outputs_of(np.arange(5)))
        assert not outputs.requires_grad and outputs.min() >= 0 and outputs.max() <= 1
        if name == "ae":
            assert outputs.shape == images.shape
        else:
            assert outputs.shape == (5, 2) and torch.allclose(outputs.sum(1), torch.ones(5))


def test_saved_latents_hold_ids_parts_and_columns(run):
    values = run.latents()
    path = run.save_latents(values)
    assert path == run.folder / "latents" / "best.npz"
    with np.load(path, allow_pickle=False) as saved:
        assert np.array_equal(saved["latents"], values)
        assert saved["ids"].tolist() == run.dataset.ids
        assert saved["part"].tolist() == run.part.tolist()
        columns = {name.removeprefix("column_"): saved[name].tolist() for name in saved if name.startswith("column_")}
    assert columns == run.dataset.columns
    assert columns.keys() == {"folder", "person", "emotion", "step"}


def test_the_package_offers_open_run():
    assert neuro_noodle.open_run is open_run
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = neuro_noodle.no_such_name


def test_held_out_images_are_test_else_validation_images(face_runs):
    for name, part in (("ae", "validation"), ("emotion", "test")):
        opened = open_run(face_runs / name)
        assert opened.held_out.tolist() == np.flatnonzero(opened.part == part).tolist()
