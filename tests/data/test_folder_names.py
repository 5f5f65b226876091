"""Metadata of image files: columns from their names, their folders and a table."""

import numpy as np
import pytest
import torch
from helpers import open_at
from PIL import Image

from neuro_noodle.choices import UserError
from neuro_noodle.data.columns import read_names


def save_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 9), 90, np.uint8)).save(path)


def open_folder(path, words=""):
    return open_at(path, f"folder {words}")


def error_message(path, words) -> str:
    with pytest.raises(UserError) as caught:
        open_folder(path, words)
    return str(caught.value)


def save_people(path):
    for name in ("p1/p1_happy_C03", "p1/p1_sad_C04", "p2/p2_sad_C05"):
        save_image(path / f"{name}.png")


PATTERN = "pattern={person}/{}_{emotion}_C{step}"


def test_a_pattern_reads_columns_from_file_names(tmp_path):
    save_people(tmp_path)
    dataset = open_folder(tmp_path, f"{PATTERN} label=emotion group=person")
    assert dataset.columns["person"] == ["p1", "p1", "p2"]
    assert dataset.columns["emotion"] == ["happy", "sad", "sad"]
    assert dataset.columns["step"] == ["03", "04", "05"]
    assert dataset.classes == ["happy", "sad"]
    assert dataset.sample(torch.tensor([2, 0]))["label"].tolist() == [1, 0]
    assert (dataset.label, dataset.group) == ("emotion", "person")


@pytest.mark.parametrize(
    ("pattern", "name", "fields"),
    [
        ("{a}_{b}", "x/y/one_two.png", {"a": "one", "b": "two"}),
        ("{a}/{b}", "x/y/z.png", {"a": "y", "b": "z"}),
        ("{}_{b}", "one_two.png", {"b": "two"}),
        ("C{step}", "C07.1.JPG", {"step": "07.1"}),
        ("a.b({n})+", "a.b(3)+.png", {"n": "3"}),
        ("{a}_{b}", "one_two_three.png", {"a": "one", "b": "two_three"}),
    ],
)
def test_a_name_is_read_as_the_pattern_says(pattern, name, fields):
    assert read_names([name], pattern) == ({key: [value] for key, value in fields.items()}, [])


@pytest.mark.parametrize("pattern", ["plain", "{}_{}", "{a}_{a}"])
def test_a_pattern_needs_fields_each_once(tmp_path, pattern):
    save_image(tmp_path / "a_b.png")
    message = error_message(tmp_path, f"pattern={pattern}")
    assert f"pattern={pattern} needs fields in braces, each once" in message
    assert "{person}_{emotion}" in message


@pytest.mark.parametrize("pattern", ["{1}", "{1st}_{b}"])
def test_a_field_that_starts_with_a_digit_is_a_user_error(tmp_path, pattern):
    save_image(tmp_path / "a_b.png")
    assert "pattern=" in error_message(tmp_path, f"pattern={pattern}")


@pytest.mark.parametrize("options", ["", " label=emotion group=person"])
def test_names_that_do_not_match_the_pattern_are_noted(tmp_path, options):
    save_people(tmp_path)
    save_image(tmp_path / "p3" / "mean.png")
    dataset = open_folder(tmp_path, PATTERN + options)
    assert dataset.columns["emotion"] == ["happy", "sad", "sad", ""]
    assert "1 of 4 images have names that do not match" in dataset.notes[0]
    assert "p3/mean.png" in dataset.notes[0]


def test_a_pattern_that_matches_no_name_adds_no_columns(tmp_path):
    """A note says so."""
    save_people(tmp_path)
    dataset = open_folder(tmp_path, "pattern={a}-{b}")
    assert list(dataset.columns) == ["folder"]
    assert "3 of 3 images have names that do not match" in dataset.notes[0]


@pytest.mark.parametrize("option", ["label", "group"])
def test_an_unknown_column_is_refused_with_the_existing_ones(tmp_path, option):
    save_people(tmp_path)
    message = error_message(tmp_path, f"{PATTERN} {option}=mood")
    assert f"{option}=mood names no column" in message
    assert "allowed: folder, person, emotion, step" in message


@pytest.mark.parametrize("name", ["id", "folder"])
def test_a_field_cannot_take_the_name_of_another_column(tmp_path, name):
    save_image(tmp_path / "a_b.png")
    with pytest.raises(UserError, match=f"cannot be called {name}"):
        open_folder(tmp_path, f"pattern={{{name}}}_{{}}")


def test_an_image_without_a_label_has_no_class(tmp_path):
    """Whether its cell is empty, holds a missing mark, or it has no row at all."""
    save_people(tmp_path)
    save_image(tmp_path / "p3" / "mean.png")
    (tmp_path / "t.csv").write_text("file,mood\np1_happy_C03.png,good \np1_sad_C04.png,NA\np2_sad_C05.png,bad\n")
    dataset = open_folder(tmp_path, f"metadata={tmp_path}/t.csv label=mood")
    assert dataset.classes == ["bad", "good"] and dataset.labels.tolist() == [1, -1, 0, -1]
    assert dataset.columns["mood"] == ["good", "", "bad", ""]
    assert "these cells count as missing: 1 'NA' in mood" in dataset.notes


def test_key_chooses_the_column_that_names_the_files(tmp_path):
    for i in (1, 2, 3):
        save_image(tmp_path / f"{i}.png")
    (tmp_path / "t.csv").write_text("trial,shown\n1,2\n2,3\n3,1\n")
    assert "key=trial" in error_message(tmp_path, "metadata=t.csv label=none")
    assert open_folder(tmp_path, "metadata=t.csv key=shown").columns["trial"] == ["3", "1", "2"]
    assert "key= names a column of a table; add metadata=FILE" in error_message(tmp_path, "key=shown")


def test_accents_may_be_composed_or_not_in_names(tmp_path):
    """Ids stay as the files are called."""
    save_image(tmp_path / "Zoe\u0308_1.png")
    dataset = open_folder(tmp_path, "pattern={who}_{} label=who")
    assert (dataset.ids, dataset.classes) == (["Zoe\u0308_1.png"], ["Zo\u00eb"])
