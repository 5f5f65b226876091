"""Fixtures: drawn stimuli, real data, and main.py run on them."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import DATA, HERE, SMALL, SMALL_ARENA, train_silently

import main
from neuro_noodle import progress
from neuro_noodle.plain import LAUNCHER


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _started_with_python(monkeypatch):
    """Let commands be printed as for `python main.py`, also if run.sh has started the tests."""
    monkeypatch.delenv(LAUNCHER, raising=False)


@pytest.fixture(autouse=True)
def _no_progress(monkeypatch):
    """Keep what takes long on a busy machine from writing to standard error."""
    monkeypatch.setattr(progress, "FIRST_S", float("inf"))


def _draw(tmp_path_factory, kind: str, *options: str) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / kind
    command = [sys.executable, str(HERE / "Resources" / "simulate.py"), kind, "--out", str(folder), *options]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def stimuli(tmp_path_factory) -> Path:
    """A folder of 4 people x 2 emotions x 3 steps, drawn as the built-in stimuli are."""
    return _draw(tmp_path_factory, "faces", "--n_people", "4", "--n_steps", "3", "--size", "65x51")


@pytest.fixture(scope="session")
def arena(tmp_path_factory) -> Path:
    """The built-in film, 120 frames of it."""
    return _draw(tmp_path_factory, "arena", "--n_frames", "120")


@pytest.fixture(scope="session")
def small_runs(stimuli, arena, tmp_path_factory) -> Path:
    """A folder of short runs: faces_ae, faces_emotion_scratch, arena_angle and v1_hsm."""
    folder = tmp_path_factory.mktemp("small") / "weights"
    v1 = _draw(tmp_path_factory, "v1", "--n_neurons", "4", "--n_images", "40", "--n_validation", "8")
    for words in (
        f"--data_dir {stimuli} {SMALL['faces_ae']} --n_epochs 1",
        f"--data_dir {stimuli} {SMALL['faces_emotion']} --n_epochs 1 --test_fraction 0.25",
        f"--data_dir {arena} --recipe arena_angle {SMALL_ARENA['arena_angle']} --n_epochs 2 --test_fraction 0.2",
        f"--data_dir {v1} --recipe v1_hsm --n_epochs 2 --repetitions 2",
    ):
        train_silently(f"{words} --save_dir {folder}")
    return folder


@pytest.fixture
def real_data():
    """Return a function from a name to the folder of that real data set; skips the test where it is absent."""

    def find(name: str) -> Path:
        if not (DATA / name).exists():
            pytest.skip(f"the data set {name} is not on this machine")
        return DATA / name

    return find


@pytest.fixture
def run_main(stimuli, tmp_path, capsys):
    """Return a function that runs main.py's command line in this process: (exit status, stdout, stderr).

    No figures are drawn unless it has --plot.
    """

    def run(recipe: str, words: str = "") -> tuple[int, str, str]:
        base = f"--data_dir {stimuli} --save_dir {tmp_path / 'weights'} {SMALL[recipe]}" if recipe else ""
        status = main.main(["--no-plot", *base.split(), *words.split()])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


@pytest.fixture
def train_on_film(arena, run_main, tmp_path):
    """Return a function that runs a recipe on the film: (run, stdout, stderr); refuses to go on after an error."""

    def run(recipe: str, words: str = "", name: str = "run") -> tuple[Path, str, str]:
        base = f"--recipe {recipe} --data_dir {arena} --save_dir {tmp_path / 'weights'} --namestr {name}"
        status, out, err = run_main("", f"{base} --n_epochs 2 --batch_size 16 {SMALL_ARENA[recipe]} {words}")
        assert status == 0, err
        return tmp_path / "weights" / name, out, err

    return run
