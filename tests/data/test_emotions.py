"""--rejig_data: faces arranged by emotion, and the originals unchanged."""

import csv
import os
from pathlib import Path

import pytest
from helpers import bytes_by_path

from neuro_noodle.choices import UserError
from neuro_noodle.data.emotions import make_classification_dataset


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "stimuli"
    for person in range(5):
        for emotion in ("Ha", "Sa"):
            for step in range(4):
                path = folder / f"{person:02}" / f"{person:02}F_Ne_to_{emotion}_C{step:02}.JPG"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(f"{person}{emotion}{step}".encode())
    (folder / "template.png").write_bytes(b"neither")
    return folder


def arrange(photographs, out, apart=False, seed=1):
    return make_classification_dataset(photographs, out, apart=apart, val_fraction=0.2, seed=seed)


def test_the_originals_stay_and_every_file_is_listed(photographs, tmp_path):
    before = bytes_by_path(photographs)
    counts = arrange(photographs, tmp_path / "classify")
    assert bytes_by_path(photographs) == before
    assert counts == {"train/happy": 16, "train/sad": 16, "val/happy": 4, "val/sad": 4, "left out": 1}
    with (tmp_path / "classify" / "rejig.csv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file)}
    assert rows.keys() == before.keys()
    for name, row in rows.items():
        if not row["how"].startswith("left out"):
            assert (tmp_path / "classify" / row["to"]).read_bytes() == before[name]


def test_the_same_seed_gives_the_same_folders(photographs, tmp_path):
    arrange(photographs, tmp_path / "a")
    arrange(photographs, tmp_path / "b")
    arrange(photographs, tmp_path / "c", seed=2)
    assert bytes_by_path(tmp_path / "a") == bytes_by_path(tmp_path / "b") != bytes_by_path(tmp_path / "c")


def test_only_its_own_earlier_folders_are_replaced(photographs, tmp_path):
    out = tmp_path / "classify"
    arrange(photographs, out)
    arrange(photographs, out, seed=2)
    (out / "train" / "mine.txt").write_text("notes")
    before = bytes_by_path(out)
    with pytest.raises(UserError, match="mine.txt"):
        arrange(photographs, out)
    assert bytes_by_path(out) == before


def test_a_link_and_an_unwritable_place_are_refused(photographs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "classify").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="classify"):
        arrange(photographs, tmp_path / "classify")
    with pytest.raises(UserError, match="cannot write /proc/classify"):
        arrange(photographs, Path("/proc/classify"))


def test_whole_people_are_kept_apart_when_asked(photographs, tmp_path):
    arrange(photographs, tmp_path / "classify", apart=True)
    people = {
        part: {path.name[:2] for path in (tmp_path / "classify" / part).rglob("*.JPG")} for part in ("train", "val")
    }
    assert len(people["val"]) == 1 and not people["val"] & people["train"]


def test_two_files_of_one_name_are_both_kept(photographs, tmp_path):
    twin = photographs / "again" / "00F_Ne_to_Ha_C00.JPG"
    twin.parent.mkdir()
    twin.write_bytes(b"twin")
    counts = arrange(photographs, tmp_path / "classify")
    assert counts["train/happy"] + counts["val/happy"] == 21


def test_files_that_cannot_be_linked_are_copied(photographs, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError))
    arrange(photographs, tmp_path / "classify")
    with (tmp_path / "classify" / "rejig.csv").open() as file:
        assert {row["how"] for row in csv.DictReader(file)} == {"copy", "left out: neither _Ha_ nor _Sa_ in its name"}


def test_both_emotions_are_needed(photographs, tmp_path):
    for path in photographs.rglob("*_Sa_*"):
        path.unlink()
    with pytest.raises(UserError, match="_Ha_ and _Sa_"):
        arrange(photographs, tmp_path / "classify")
