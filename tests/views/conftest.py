"""Runs that the tests of views look at."""

import csv
import shutil

import numpy as np
import pytest
from browser import browser
from helpers import SMALL, train_silently

from neuro_noodle.runs.run import open_run
from neuro_noodle.views.explorer.explorer import write_explorer

N = 240  # frames of the film
GROUPS = np.arange(N) // 20  # 12 animals


@pytest.fixture(scope="session")
def face_runs(stimuli, tmp_path_factory):
    """A folder of three runs: `ae` with 3 sessions, the classifier `emotion`, and `plain` without metadata."""
    folder = tmp_path_factory.mktemp("face_runs")
    base = f"--data_dir {stimuli} --save_dir {folder}"
    # The learning rate rises until the loss increases, so that the best session is not the last.
    random = "--encoder fc hidden=32 start=random --head fc start=random"
    ae = f"{random} --n_epochs 3 --save_every 1 --keep all --lr 0.2 --schedule cosine warmup=3 --val_fraction 0.25"
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


@pytest.fixture(scope="session")
def film(tmp_path_factory):
    """A folder of images of a spot at an angle, from 12 animals in one of two moods, with a table of metadata."""
    folder = tmp_path_factory.mktemp("film")
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, N)
    at = np.arange(12)
    x, y = (6 + 3 * function(angles)[:, None, None] for function in (np.cos, np.sin))
    images = 200 * np.exp(-((at - x) ** 2 + (at[:, None] - y) ** 2) / 8)  # (N, 12, 12)
    images[::2] += 40
    np.save(folder / "images.npy", images.astype(np.uint8))
    with (folder / "table.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["angle", "x", "mood", "animal"])
        for i, angle in enumerate(angles):
            table.writerow([angle, "" if i % 10 == 5 else x[i].item(), "sad" if i % 2 else "glad", f"m{GROUPS[i]}"])
    return folder


@pytest.fixture(scope="session")
def film_runs(film, tmp_path_factory):
    """A folder of runs: two with the same split, and one with the same animals in both parts."""
    folder = tmp_path_factory.mktemp("weights")
    base = f"--save_dir {folder} --recipe faces_ae --n_epochs 1 --latent_dim 4 --val_fraction 0.25 --data_dir {film}"
    arrays = "--dataset arrays file=images.npy metadata=table.csv group=animal"
    train_silently(f"{base} {arrays} --split group --encoder pca --namestr one")
    train_silently(f"{base} {arrays} --split group --encoder fc hidden=16 --save_every 1 --keep all --namestr two")
    train_silently(f"{base} {arrays} --split random --encoder pca --namestr mixed")
    return folder


@pytest.fixture(scope="session")
def odd_runs(tmp_path_factory):
    """A folder of two runs of images with two channels, digits as classes, and large numbers: `ae` and `digits`."""
    data, folder = tmp_path_factory.mktemp("odd_data"), tmp_path_factory.mktemp("odd_runs")
    np.save(data / "images.npy", np.random.default_rng(0).integers(0, 256, (40, 2, 9, 7), np.uint8))
    rows = [f"{i % 3},{1700000001 + i}.5" for i in range(40)]
    (data / "table.csv").write_text("\n".join(["digit,stamp", *rows]))
    base = f"--data_dir {data} --dataset arrays file=images.npy axes=NCHW metadata=table.csv label=digit --n_epochs 1"
    base += f" --save_dir {folder} --augment none --latent_dim 70 --encoder fc hidden=8 start=random"
    train_silently(f"{base} --head fc start=random --namestr ae --latents_every 1")
    train_silently(f"{base} --objective classify --head linear --namestr digits")
    return folder


@pytest.fixture(scope="session")
def odd_page(odd_runs):
    """The page of both."""
    return write_explorer([odd_runs / "ae", odd_runs / "digits"], how="pca")


@pytest.fixture(scope="session")
def flat_run(stimuli, tmp_path_factory):
    """A run with 2-D latents and snapshots of three epochs."""
    folder = tmp_path_factory.mktemp("flat")
    words = f"--data_dir {stimuli} {SMALL['faces_ae']} --latent_dim 2 --n_epochs 3 --latents_every 1"
    train_silently(f"{words} --save_dir {folder} --namestr flat")
    return folder / "flat"


@pytest.fixture(scope="session")
def flat_page(flat_run):
    """The page of the run with 2-D latents."""
    return write_explorer([flat_run])


@pytest.fixture(scope="session")
def pair_page(film_runs, tmp_path_factory):
    """The page of two runs of the same film, with the decoder of each."""
    out = tmp_path_factory.mktemp("pair") / "pair.html"
    return write_explorer([film_runs / "one", film_runs / "two"], out=out, how="pca")


@pytest.fixture(scope="session")
def running():
    """A headless browser."""
    with browser() as started:
        yield started
