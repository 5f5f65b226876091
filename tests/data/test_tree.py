"""The walk through a folder: it always ends, and says what it passes over."""

import os

import pytest
from helpers import raises_user_error
from test_folder import open_folder, save_image

from neuro_noodle.data import tree
from neuro_noodle.data.folder import search
from neuro_noodle.data.mnist import find_idx
from neuro_noodle.data.tree import walk


def names(folder):
    return [path.relative_to(folder).as_posix() for path in walk(folder).files]


@pytest.mark.parametrize("target", ["/", "..", "."])
def test_a_link_to_a_parent_of_the_images_is_not_followed(tmp_path, target):
    folder = tmp_path / "images"
    save_image(folder / "sub" / "a.png")
    (folder / "sub" / "link").symlink_to(folder if target == "." else folder / target)
    found = walk(folder)
    assert names(folder) == ["sub/a.png"]
    assert found.passed_over == {"linked folders that contain --data_dir itself, such as sub/link": 1}


def test_a_linked_folder_is_read_once_by_its_own_name(tmp_path):
    """Whichever name comes first."""
    save_image(tmp_path / "real" / "a.png")
    (tmp_path / "another").symlink_to(tmp_path / "real")
    assert names(tmp_path) == ["real/a.png"]
    assert walk(tmp_path).passed_over == {"links to folders that are read by another name, such as another": 1}


def test_a_class_that_links_to_another_class_is_named(tmp_path):
    save_image(tmp_path / "sad" / "a.png")
    (tmp_path / "happy").symlink_to(tmp_path / "sad")
    dataset = open_folder(tmp_path, "label=folder")
    assert dataset.classes == ["sad"]
    assert dataset.reading.passed_over == {"links to folders that are read by another name, such as happy": 1}


def test_a_linked_folder_elsewhere_is_followed(tmp_path):
    save_image(tmp_path / "elsewhere" / "sub" / "a.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "link").symlink_to(tmp_path / "elsewhere")
    assert names(tmp_path / "images") == ["link/sub/a.png"]
    assert walk(tmp_path / "images").passed_over == {}


@pytest.fixture
def forbidden(monkeypatch):
    """Let folders with `locked` in their names be unreadable, also for root."""
    scan = os.scandir

    def refuse(path):
        if "locked" in str(path):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)


def test_unreadable_folders_are_counted(tmp_path, forbidden):
    save_image(tmp_path / "a.png")
    for name in ("locked1", "locked2"):
        (tmp_path / name).mkdir()
    assert open_folder(tmp_path).reading.passed_over == {"folders that cannot be read, such as locked1": 2}


def test_an_unreadable_data_folder_is_refused(tmp_path, forbidden):
    (tmp_path / "locked").mkdir()
    with raises_user_error(f"the folder {tmp_path / 'locked'} cannot be read: Permission denied"):
        open_folder(tmp_path / "locked")


def test_a_walk_through_millions_of_files_ends_early(tmp_path, monkeypatch):
    monkeypatch.setattr(tree, "MAX_ENTRIES", 3)
    for name in "abcd":
        (tmp_path / name).touch()
    with raises_user_error("holds more than 3 files, counting those in linked folders"):
        walk(tmp_path)


def test_other_files_are_counted_by_their_endings(tmp_path):
    for name in (
        "a.png",
        "a.heic",
        "b.HEIC",
        "c.svg",
        "t.csv",
        "readme.txt",
        "Thumbs.db",
        "README",
        "noending",
        ".hidden",
    ):
        (tmp_path / name).touch()
    (tmp_path / "gone").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    assert search(tmp_path).passed_over == {
        "tables, texts and system files": 4,
        ".heic files": 2,
        ".svg files": 1,
        "files without ending": 1,
        "broken links, such as gone": 1,
        "entries that are not files (pipes, sockets, ...), such as pipe.png": 1,
    }


def test_an_image_without_ending_is_read_and_others_are_counted(tmp_path):
    for name in ("a.png", "b.jpe", "noending", "copy.png.bak"):
        save_image(tmp_path / name, format="PNG")
    dataset = open_folder(tmp_path)
    assert dataset.ids == ["a.png", "b.jpe", "noending"]
    assert dataset.reading.passed_over == {".bak files that are images": 1}


def test_files_of_mnist_are_sought_by_the_same_walk(tmp_path, forbidden):
    (tmp_path / "locked").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    for part, name in (("train", "images-idx3"), ("train", "labels-idx1")):
        (tmp_path / f"{part}-{name}-ubyte").touch()
    assert list(find_idx(tmp_path)) == ["train"]
    assert find_idx(tmp_path / "missing") == {}
