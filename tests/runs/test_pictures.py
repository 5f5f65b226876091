"""Pictures over training: which images are kept, what resuming does to them, and what is drawn."""

import numpy as np
import pytest
import torch
from helpers import error_message, raises_user_error
from PIL import Image

from neuro_noodle.runs.pictures import read_pictures, saved_pictures
from neuro_noodle.runs.run import open_run
from neuro_noodle.views.pictures_over_training import plot_pictures, write_pictures_over_training
from Plotting import training as training_command


@pytest.fixture
def run(train_on_film):
    """A run that has kept pictures."""
    return train_on_film("arena_ae", "--pictures_every 0.5 --objective reconstruct loss=mse noise=0.1")[0]


def test_the_pictures_of_every_time_show_the_same_images(run):
    files = saved_pictures(run)
    assert list(files) == [0, 0.5, 1, 1.5, 2]
    first, *_, last = map(read_pictures, files.values())
    assert first.ids == last.ids and first.part.tolist() == ["training"] * 6 + ["validation"] * 6
    np.testing.assert_array_equal(first.targets, last.targets)
    np.testing.assert_array_equal(first.inputs, last.inputs)
    assert not np.array_equal(first.outputs, last.outputs) and not np.array_equal(last.inputs, last.targets)
    opened = open_run(run / "1")
    indices = np.array([opened.dataset.ids.index(name) for name in last.ids])
    np.testing.assert_allclose(last.targets, opened.images(indices).numpy(), atol=0.003)
    with torch.no_grad():
        outputs = opened.objective.output(opened.model(torch.from_numpy(last.inputs))).clamp(0, 1)
    np.testing.assert_allclose(last.outputs, outputs.numpy(), atol=0.02)


def test_keeping_pictures_changes_no_number(train_on_film, run):
    plain = train_on_film("arena_ae", "--objective reconstruct loss=mse noise=0.1", "plain")[0]
    assert (plain / "metrics.jsonl").read_text() == (run / "metrics.jsonl").read_text()


def test_a_run_resumed_elsewhere_keeps_earlier_pictures(run, run_main):
    status, _, err = run_main("", f"--load_dir {run} --n_epochs 3 --namestr longer --save_dir {run.parent}")
    assert status == 0, err
    assert list(saved_pictures(run.parent / "longer")) == [0, 0.5, 1, 1.5, 2, 2.5, 3]


def test_the_command_draws_a_picture_and_a_film(run, capsys):
    assert training_command.main([str(run), "--snapshots", "3"]) == 0
    png, gif = capsys.readouterr().out.split()
    assert Image.open(gif).n_frames == 5 and Image.open(png).width > 1000
    figure = plot_pictures({epochs: read_pictures(path) for epochs, path in saved_pictures(run).items()})
    names = [axis.get_ylabel() for axis in figure.axes if axis.get_ylabel()]
    assert names == ["image", "input", "0 epochs", "0.5 epochs", "1 epoch", "1.5 epochs", "2 epochs"]


def test_damaged_and_foreign_pictures_are_refused(run):
    path = run / "pictures" / "1.npz"
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | {"ids": arrays["ids"][::-1]})
    with raises_user_error("1.npz holds other images than"):
        write_pictures_over_training(run)
    path.write_bytes(b"no pictures")
    with raises_user_error("1.npz cannot be read"):
        write_pictures_over_training(run)


def test_pictures_need_reconstructions(run_main, stimuli):
    words = f"--recipe faces_emotion_scratch --data_dir {stimuli} --dataset folder size=32x32 --pictures_every 1"
    assert "--pictures_every is about reconstructions, which --objective classify" in error_message(run_main, words)
