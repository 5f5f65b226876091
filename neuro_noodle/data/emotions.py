"""Arrange images by emotion as folders train and val, and leave the originals as they are."""

import csv
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import torch

from neuro_noodle.choices import UserError
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.folder import find_images
from neuro_noodle.data.splits import split

EMOTIONS = {"_Ha_": "happy", "_Sa_": "sad"}


def make_classification_dataset(data_dir: Path, out: Path, *, apart: bool, val_fraction: float, seed: int) -> dict:
    """Arrange `_Ha_` and `_Sa_` images as out/{train,val}/{happy,sad}; the originals stay as they are.

    Args:
        data_dir: searched at any depth.
        out: made anew; an earlier one of ours is replaced, a folder with anything else in it is refused.
        apart: keep whole people apart; the person is what stands before the first _ of a file name.
        val_fraction: share of the images (people) of each emotion for val.

    Returns:
        Counts, by (part, emotion), and of what was left out. `out/rejig.csv` has a row for every file.
    """
    _refuse_foreign(out)
    for stale in out.parent.glob(f".{out.name}.*"):
        shutil.rmtree(stale)
    paths = find_images(data_dir)
    emotions = [next((emotion for key, emotion in EMOTIONS.items() if key in path.name), "left out") for path in paths]
    kept = [i for i, emotion in enumerate(emotions) if emotion != "left out"]
    if len({emotions[i] for i in kept}) < 2:
        raise UserError(f"--rejig_data needs both {' and '.join(EMOTIONS)} in the file names below {data_dir}")
    columns = {"emotion": [emotions[i] for i in kept], "person": [paths[i].name.split("_")[0] for i in kept]}
    ids = [paths[i].relative_to(data_dir).as_posix() for i in kept]
    known = StimulusSet(torch.empty(0), ids, max_value=1, columns=columns, label="emotion", group="person")
    how = "group" if apart else "random"
    parts = split(known, how, val_fraction=val_fraction, test_fraction=0, fold=None, gap=0, seed=seed)
    validation = {kept[i] for i in parts["validation"]}
    repeated = {name for name, count in Counter(path.name for path in paths).items() if count > 1}

    try:
        scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    rows = []
    for i, path in enumerate(paths):
        source = path.relative_to(data_dir)
        if emotions[i] == "left out":
            rows.append({"file": source.as_posix(), "to": "", "how": "left out"})
            continue
        name = "_".join(source.parts) if path.name in repeated else path.name
        to = Path("val" if i in validation else "train", emotions[i], name)
        rows.append({"file": source.as_posix(), "to": to.as_posix(), "how": _link_or_copy(path, scratch / to)})
    with (scratch / "rejig.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["file", "to", "how"])
        writer.writeheader()
        writer.writerows(rows)
    scratch.chmod(0o755)
    if out.exists():
        out.rename(scratch.with_suffix(".old"))
    scratch.rename(out)
    shutil.rmtree(scratch.with_suffix(".old"), ignore_errors=True)
    return Counter("/".join(row["to"].split("/")[:2]) or "left out" for row in rows)


def _refuse_foreign(out: Path) -> None:
    """Raise UserError if a folder holds a file that is not in its own rejig.csv."""
    if not out.exists():
        return
    known = {"rejig.csv"}
    if (out / "rejig.csv").is_file():
        with (out / "rejig.csv").open(newline="") as file:
            known |= {row["to"] for row in csv.DictReader(file)}
    foreign = [path for path in out.rglob("*") if path.is_file() and path.relative_to(out).as_posix() not in known]
    if foreign or not out.is_dir() or out.is_symlink():
        raise UserError(
            f"{out} holds files that --rejig_data did not put there, such as {foreign[:1] or out}; move them away"
        )


def _link_or_copy(source: Path, to: Path) -> str:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, to)
    except OSError:  # another disk, or a file system without hard links
        shutil.copy2(source, to)
        return "copy"
    return "hard link"
