"""Runs that the tests of views look at."""

import shutil

import pytest
from helpers import SMALL, train_silently

from neuro_noodle.runs.run import open_run


@pytest.fixture(scope="session")
def face_runs(stimuli, tmp_path_factory):
    """A folder of three runs: `ae` with 3 sessions, the classifier `emotion`, and `plain` without metadata."""
    folder = tmp_path_factory.mktemp("face_runs")
    base = f"--data_dir {stimuli} --save_dir {folder}"
    # The learning rate rises until the loss increases, so that the best session is not the last.
    ae = "--n_epochs 3 --save_every 1 --keep all --lr 0.3 --schedule cosine warmup=3 --val_fraction 0.25"
    train_silently(f"{base} {SMALL['faces_ae']} {ae} --namestr ae")
    train_silently(f"{base} {SMALL['faces_emotion']} --n_epochs 1 --test_fraction 0.25 --namestr emotion")
    plain = tmp_path_factory.mktemp("plain")
    for number, path in enumerate(sorted(stimuli.rglob("*.JPG"))[:12]):
        to = plain / "ab"[number % 2] / f"image{number}.jpg"
        to.parent.mkdir(exist_ok=True)
        shutil.copy(path, to)
    train_silently(f"--data_dir {plain} --save_dir {folder} {SMALL['faces_ae']} --n_epochs 1 --namestr plain")
    return folder


@pytest.fixture
def run(face_runs):
    """The run `ae`, opened."""
    return open_run(face_runs / "ae")
