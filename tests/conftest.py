"""What several tests share: a small set of drawn faces, and the command line called in this process."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # as main.py, before torch is imported

import pytest
import torch

from neuro_noodle.choices import UserError
from neuro_noodle.data.base import DATASETS, Source, StimulusSet
from neuro_noodle.data.splits import split
from neuro_noodle.data.store import Store

HERE = Path(__file__).resolve().parent.parent
DATA = HERE.parent / "shared" / "data"

sys.path[:0] = [str(HERE / "Plotting"), str(HERE / "Resources")]


@pytest.fixture(autouse=True)
def _same_draws():
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def stimuli(tmp_path_factory) -> Path:
    """A folder of 4 people x 2 emotions x 3 steps, drawn as the built-in stimuli are."""
    folder = tmp_path_factory.mktemp("drawn") / "stimuli"
    options = ["--out", str(folder), "--n_people", "4", "--n_steps", "3", "--size", "65x51"]
    subprocess.run([sys.executable, str(HERE / "Resources" / "simulate.py"), "faces", *options], check=True)
    return folder


@pytest.fixture
def data():
    """Return a function from a name to the folder of that real data set; skips the test where it is absent."""

    def find(name: str) -> Path:
        folder = DATA / name
        if not folder.exists():
            pytest.skip(f"the data set {name} is not on this machine")
        return folder

    return find


SMALL = {
    "faces_ae": "--dataset folder size=26x20 --encoder fc hidden=32 --latent_dim 4 --batch_size 8",
    "faces_emotion": "--recipe faces_emotion_scratch --dataset folder size=32x32 --batch_size 8",
}


@pytest.fixture
def noodle(stimuli, tmp_path, capsys):
    """Return a function that runs main.py's command line in this process: (exit status, stdout, stderr)."""
    import main

    def run(recipe: str, words: str = "") -> tuple[int, str, str]:
        base = f"--data_dir {stimuli} --save_dir {tmp_path / 'weights'} {SMALL[recipe]}" if recipe else ""
        status = main.main([*base.split(), *words.split()])
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def refusal(noodle, words: str) -> str:
    """Return the message with which main.py refuses this command line."""
    status, _, told = noodle("", words)
    assert status == 2
    return told


def draw(out, words="", kind="faces"):
    """Call the command line that draws stimuli in this process; returns its exit status."""
    import simulate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["simulate.py", kind, "--out", str(out), *words.split()])
        try:
            return simulate.main()
        except SystemExit as stop:  # argparse's way of refusing
            return stop.code


def contents(folder):
    """Return the bytes of every file below a folder, by its path."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="session")
def arena(tmp_path_factory) -> Path:
    """The built-in film, 120 frames of it."""
    folder = tmp_path_factory.mktemp("drawn") / "arena"
    command = [sys.executable, str(HERE / "Resources" / "simulate.py"), "arena", "--out", str(folder)]
    subprocess.run([*command, "--n_frames", "120"], check=True)
    return folder


SMALL_CONV = "--encoder conv channels=4,8 --head conv channels=4,8 start=mean"
SMALL_ARENA = {
    "arena_ae": SMALL_CONV,
    "arena_pca": "--latent_dim 4 --head conv channels=4,8",
    "arena_umap": "--latent_dim 3 --head conv channels=4,8",
    "arena_angle": "--encoder conv channels=4,8",
}


@pytest.fixture
def film(arena, noodle, tmp_path):
    """Return a function that runs a recipe on the film: (run, stdout, stderr); refuses to go on after an error."""

    def run(recipe: str, words: str = "", name: str = "run") -> tuple[Path, str, str]:
        base = f"--recipe {recipe} --data_dir {arena} --save_dir {tmp_path / 'weights'} --namestr {name}"
        status, out, err = noodle("", f"{base} --n_epochs 2 --batch_size 16 {SMALL_ARENA[recipe]} {words}")
        assert status == 0, err
        return tmp_path / "weights" / name, out, err

    return run


def train(words):
    """Run main.py's command line in this process, silently."""
    import main

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main.main(words.split()) == 0


def known(n_people=10, per_person=6, with_labels=True) -> StimulusSet:
    """Images that hold their own index, of people with two emotions."""
    people = [f"p{i:02}" for i in range(n_people) for _ in range(per_person)]
    emotions = ["happy" if i % 3 else "sad" for i in range(len(people))]
    ids = [f"{person}/{i}.png" for i, person in enumerate(people)]
    images = torch.arange(len(ids), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 3)
    columns = {"person": people, "emotion": emotions}
    return StimulusSet(
        images, ids, max_value=255, columns=columns, label="emotion" if with_labels else None, group="person"
    )


def deal(dataset, how="random", val_fraction=0.1, test_fraction=0.0, fold=None, gap=0, seed=1):
    """Split a dataset with the defaults of most tests."""
    sizes = {"val_fraction": val_fraction, "test_fraction": test_fraction, "fold": fold, "gap": gap}
    return split(dataset, how, **sizes, seed=seed)


def load(path, words="arrays", always=False):
    """Build a dataset of what lies at a path."""
    return DATASETS.build(words, Source(path, Store(path.parent / "cache", always=always)))


def refused(told: str):
    """Expect an error of the user's that says this."""
    return pytest.raises(UserError, match=re.escape(told))
