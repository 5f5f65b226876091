"""What several tests share: small data, and the command lines called in this process."""

import contextlib
import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest
import torch

import main
from neuro_noodle import command
from neuro_noodle.choices import UserError
from neuro_noodle.data.base import DATASETS, Source, StimulusSet
from neuro_noodle.data.splits import split
from neuro_noodle.data.store import Store
from neuro_noodle.runs.files import write_json

HERE = Path(__file__).resolve().parent.parent
DATA = HERE.parent / "shared" / "data"

SMALL = {
    "faces_ae": "--dataset folder size=26x20 --encoder fc hidden=32 --latent_dim 4 --batch_size 8",
    "faces_emotion": "--recipe faces_emotion_scratch --dataset folder size=32x32 --batch_size 8 --test_every 1",
}
SMALL_CONV = "--encoder conv channels=4,8 --head conv channels=4,8 start=mean"
SMALL_ARENA = {
    "arena_ae": SMALL_CONV,
    "arena_pca": "--latent_dim 4 --head conv channels=4,8",
    "arena_umap": "--latent_dim 3 --head conv channels=4,8",
    "arena_angle": "--encoder conv channels=4,8",
}


def raises_user_error(text: str):
    """Expect a UserError whose message contains this text."""
    return pytest.raises(UserError, match=re.escape(text))


def error_message(run_main, words: str) -> str:
    """Return the message with which main.py refuses this command line."""
    status, _, message = run_main("", words)
    assert status == 2
    return message


def train_silently(words: str) -> None:
    """Run main.py's command line in this process, without figures unless it has --plot."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main.main(["--no-plot", *words.split()]) == 0


def draw_stimuli(out, words="", kind="faces") -> int:
    """Run the command line that draws the built-in stimuli in this process; returns its exit status."""
    import simulate

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["simulate.py", kind, "--out", str(out), *words.split()])
        try:
            return simulate.main()
        except SystemExit as stop:  # argparse's way of refusing
            return stop.code


NETWORK = {"encoder": "fc hidden=3", "head": "linear", "image_shape": [1, 2, 2], "output_shape": [2]}
NETWORK |= {"latent_dim": 2, "precision": "fp32"}


def write_config(run: Path, model: dict = NETWORK, flags: dict | None = None) -> None:
    """Write the config.json of a run that has this model and, except for those given, the default flags."""
    flags = command.plain(command.resolve(command.parse([], HERE))) | (flags or {})
    write_json(run / "config.json", {"flags": flags, "model": model, "learned": {}, "classes": [], "neurons": []})


def result_of(run: Path) -> dict:
    """Return the result.json of a run."""
    return json.loads((run / "result.json").read_text())


def rows_of(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open() as file:
        return list(csv.DictReader(file))


def weights_of(session: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a session."""
    return torch.load(session / "model.pth", weights_only=True)


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    """Return whether two sets of weights are equal, bit for bit."""
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def bytes_by_path(folder: Path) -> dict[str, bytes]:
    """Return the content of every file below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def indexed_images(n_people=10, per_person=6, with_labels=True) -> StimulusSet:
    """Return images that hold their own index, of people with two emotions."""
    people = [f"p{i:02}" for i in range(n_people) for _ in range(per_person)]
    emotions = ["happy" if i % 3 else "sad" for i in range(len(people))]
    ids = [f"{person}/{i}.png" for i, person in enumerate(people)]
    images = torch.arange(len(ids), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 4, 3)
    columns = {"person": people, "emotion": emotions}
    return StimulusSet(
        images, ids, max_value=255, columns=columns, label="emotion" if with_labels else None, group="person"
    )


def film_frames(n, columns=None, group=None, images=None) -> StimulusSet:
    """Return frames whose names are out of order as text: frame0, frame1, frame10, frame11, frame2 ..."""
    images = torch.zeros(n, 1, 4, 4, dtype=torch.uint8) if images is None else images
    ids = sorted(f"frame{i}" for i in range(n))
    return StimulusSet(images, ids, max_value=255, columns=columns or {}, group=group)


def split_images(dataset, how="random", val_fraction=0.1, test_fraction=0.0, fold=None, gap=0, seed=1):
    """Split a dataset with the defaults of most tests."""
    sizes = {"val_fraction": val_fraction, "test_fraction": test_fraction, "fold": fold, "gap": gap}
    return split(dataset, how, **sizes, seed=seed)


def open_at(path: Path, words="arrays", always=False) -> StimulusSet:
    """Open a dataset at a path."""
    return DATASETS.build(words, Source(path, Store(path.parent / "cache", always=always)))
