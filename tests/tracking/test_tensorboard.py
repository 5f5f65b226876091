"""TensorBoard: what its own reader finds in the files of a run."""

import io

import numpy as np
import pytest
from helpers import error_message
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from neuro_noodle.runs.metrics import read_metrics
from neuro_noodle.tracking import tensorboard
from neuro_noodle.tracking.base import TrackedRun
from neuro_noodle.tracking.tensorboard import TensorBoard


@pytest.fixture
def tracked(tmp_path):
    return TrackedRun(tmp_path, tmp_path / "settings.json", start_epoch=0, n_epochs=2, n_steps=1, log_every=1)


def read(run) -> EventAccumulator:
    """Return what TensorBoard shows of a run."""
    return EventAccumulator(str(run / "tensorboard")).Reload()


def points(run, name) -> dict[int, float]:
    """Return the values of a curve by step; no step may have two."""
    events = read(run).Scalars(name)
    assert len({event.step for event in events}) == len(events)
    return {event.step: event.value for event in events}


def text(run, name) -> str:
    return read(run).Tensors(f"{name}/text_summary")[-1].tensor_proto.string_val[0].decode()


def test_curves_have_the_median_and_its_spread(tracked):
    tracker = TensorBoard(tracked)
    tracker.log(-1, {"validation/mse": np.array([3.0, 1.0, 2.0])})
    tracker.log(0, {"validation/mse": np.array([0.5, 0.5, np.nan])})
    tracker.log(1, {"validation/mse": np.array([6.0, 5.0, 4.0])})
    tracker.close()
    assert points(tracked.folder, "validation/mse") == {0: 2.0, 2: 5.0}
    assert points(tracked.folder, "validation/mse_p10") == pytest.approx({0: 1.2, 2: 4.2})
    assert "repetitions" not in read(tracked.folder).Tags()["scalars"]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_a_picture_keeps_its_pixels_and_epoch(shape, tracked):
    tracker = TensorBoard(tracked)
    tracker.image("reconstructions", np.full(shape, 200, np.uint8), 1)
    tracker.close()
    (image,) = read(tracked.folder).Images("reconstructions")
    pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
    assert pixels.shape[:2] == (4, 5) and (pixels == 200).all()
    assert image.step == 2


def test_a_confusion_matrix_is_a_table(tracked):
    tracker = TensorBoard(tracked)
    tracker.confusion(np.array([[5, 1], [0, 7]]), ["sad", "a|b"], 1)
    tracker.close()
    rows = text(tracked.folder, "confusion").splitlines()
    assert rows == [
        "| true \\ predicted | sad | a\\|b |",
        "| --- | --- | --- |",
        "| **sad** | 5 | 1 |",
        "| **a\\|b** | 0 | 7 |",
    ]


def test_a_killed_run_has_every_epoch_that_was_logged(tracked):
    tracker = TensorBoard(tracked)
    tracker.log(0, {"train/loss": np.array([2.0])})
    assert points(tracked.folder, "train/loss") == {1: 2.0}
    tracker.close()


def test_a_resumed_run_has_no_stale_points(run_main, tmp_path):
    """Epochs after the last saved session are trained again, here with other values."""
    run, words = tmp_path / "weights" / "run", "--namestr run --track tensorboard --experiment faces2"
    assert run_main("faces_ae", f"{words} --n_epochs 2")[0] == 0
    stale = TensorBoard(TrackedRun(run, run, start_epoch=2, n_epochs=4, n_steps=1, log_every=1))
    for epoch in range(2, 5):
        stale.log(epoch, {"train/loss": np.array([9.0])})
    stale.close()
    assert list(points(run, "train/loss")) == [1, 2, 3, 4, 5]
    assert run_main("", f"--load_dir {run} --n_epochs 4")[0] == 0
    expected = {record["epoch"] + 1: record["train/loss"] for record in read_metrics(run)[1:]}
    assert points(run, "train/loss") == pytest.approx(expected) and len(expected) == 4
    assert '"experiment": "faces2"' in text(run, "parameters")
    assert '"best_epoch"' in text(run, "result")


def test_without_the_package_the_message_says_how_to_install_it(run_main, tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "find_spec", lambda name: None)
    message = error_message(run_main, f"--track tensorboard --save_dir {tmp_path / 'weights'}")
    assert "pip install tensorboard" in message
    assert not (tmp_path / "weights").exists()
