"""Arrange images by emotion in folders train and val without changing the originals."""

import csv
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.cells import tidy
from neuro_noodle.data.folder import find_images
from neuro_noodle.data.splits import split_units
from neuro_noodle.learning.ranks import by_first
from neuro_noodle.plain import cell, counted

EMOTIONS = {"_Ha_": "happy", "_Sa_": "sad"}
LEFT_OUT = "left out"


def make_classification_dataset(data_dir: Path, out: Path, *, apart: bool, val_fraction: float, seed: int) -> dict:
    """Arrange `_Ha_` and `_Sa_` images as out/{train,val}/{happy,sad} without changing the originals.

    Args:
        data_dir: searched at any depth.
        out: created; a folder from an earlier call is replaced, one that holds anything else is refused.
        apart: keep all images of a person in one part; the person is the text before the first _ of a file name.
        val_fraction: share of the images (people) of each emotion for val.

    Returns:
        The number of images by part/emotion, and the number left out. `out/rejig.csv` has a row for every file.
    """
    return by_first(lambda: _arrange(data_dir, out, apart, val_fraction, seed))


def _arrange(data_dir: Path, out: Path, apart: bool, val_fraction: float, seed: int) -> dict:
    _refuse_other_files(out)
    for stale in out.parent.glob(f".{out.name}.*"):
        shutil.rmtree(stale)
    paths = find_images(data_dir)
    folders = _choose_folders(paths, data_dir, apart=apart, val_fraction=val_fraction, seed=seed)
    try:
        scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise UserError(f"cannot write {out}: {error.strerror}") from error
    rows = _copy_all(paths, folders, data_dir, scratch)
    with (scratch / "rejig.csv").open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.DictWriter(file, ["file", "to", "how"])
        writer.writeheader()
        writer.writerows(rows)
    scratch.chmod(0o755)
    if out.exists():
        out.rename(scratch.with_suffix(".old"))
    scratch.rename(out)
    shutil.rmtree(scratch.with_suffix(".old"), ignore_errors=True)
    return Counter("/".join(row["to"].split("/")[:2]) or LEFT_OUT for row in rows)


def _choose_folders(
    paths: list[Path], data_dir: Path, *, apart: bool, val_fraction: float, seed: int
) -> dict[Path, Path]:
    """Return the folder, such as train/happy, of every image whose name holds an emotion."""
    emotion_of = {path: emotion for path in paths if (emotion := _emotion(path))}
    emotions = np.array(list(emotion_of.values()))
    require(
        len(set(emotions.tolist())) == len(EMOTIONS),
        f"--rejig_data needs both {' and '.join(EMOTIONS)} in the file names below {data_dir}",
    )
    people, person_index = np.unique([tidy(path.name.split("_")[0]) for path in emotion_of], return_inverse=True)
    units = f"{len(people)} different person" if apart else counted(len(emotions), "image")
    unit_index = person_index if apart else np.arange(len(emotions))
    labels = np.unique(emotions, return_inverse=True)[1]
    validation = set(split_units(unit_index, labels, units, val_fraction=val_fraction, seed=seed)["validation"])
    return {
        path: Path("val" if index in validation else "train", emotion)
        for index, (path, emotion) in enumerate(emotion_of.items())
    }


def _emotion(path: Path) -> str | None:
    return next((emotion for key, emotion in EMOTIONS.items() if key in path.name), None)


def _copy_all(paths: list[Path], folders: dict[Path, Path], data_dir: Path, scratch: Path) -> list[dict[str, str]]:
    """Link or copy images into their folders below scratch; returns a row of rejig.csv for each file."""
    counts = Counter(path.name for path in paths)
    rows = []
    for path in paths:
        source = path.relative_to(data_dir)
        if path not in folders:
            rows.append(
                {
                    "file": cell(source.as_posix()),
                    "to": "",
                    "how": f"{LEFT_OUT}: neither {' nor '.join(EMOTIONS)} in its name",
                }
            )
            continue
        to = folders[path] / (path.name if counts[path.name] == 1 else "_".join(source.parts))
        rows.append({"file": cell(source.as_posix()), "to": to.as_posix(), "how": _link_or_copy(path, scratch / to)})
    return rows


def _refuse_other_files(out: Path) -> None:
    """Raise UserError if a folder holds a file that is not listed in its own rejig.csv."""
    if not out.exists():
        return
    listed = {"rejig.csv"}
    if (out / "rejig.csv").is_file():
        with (out / "rejig.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            listed |= {row["to"] for row in csv.DictReader(file)}
    others = [path for path in out.rglob("*") if path.is_file() and path.relative_to(out).as_posix() not in listed]
    if others or not out.is_dir() or out.is_symlink():
        raise UserError(
            f"{out} holds files that --rejig_data did not write, such as {others[:1] or out}; move them elsewhere"
        )


def _link_or_copy(source: Path, to: Path) -> str:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, to)
    except OSError:  # another disk, or a file system without hard links
        shutil.copy2(source, to)
        return "copy"
    return "hard link"
