"""Array files: they are found, damaged ones are refused, and other arrays and tables become metadata."""

import zipfile

import numpy as np
import pytest
import torch
from helpers import open_at, raises_user_error

from neuro_noodle.data import arrays
from neuro_noodle.data.arrays import open_array, read_table_array
from neuro_noodle.data.store import Store

GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (3, 6, 9), dtype=np.uint8)
COLOUR = GENERATOR.integers(0, 256, (3, 3, 6, 9), dtype=np.uint8)


def save_npy(path, values, name="a.npy"):
    np.save(path / name, values)
    return path


def save_npz(path, *one, **several):
    np.savez(path / "a.npz", *one, **several)
    return path


# ---------------------------------------------------------------------------------------------------------- files


def test_the_file_is_found_by_path_by_name_or_if_it_is_the_only(tmp_path):
    save_npy(tmp_path, GREY)
    for path, words in ((tmp_path, "arrays"), (tmp_path / "a.npy", "arrays"), (tmp_path, "arrays file=a.npy")):
        assert np.array_equal(open_at(path, words).images[:, 0].numpy(), GREY)
    save_npy(tmp_path, 255 - GREY, "b.npy")
    assert np.array_equal(open_at(tmp_path, "arrays file=b.npy").images[:, 0].numpy(), 255 - GREY)
    with raises_user_error(
        f"{tmp_path} holds a.npy, b.npy; choose the one with the images: --dataset arrays file=NAME"
    ):
        open_at(tmp_path)
    with raises_user_error("no file c.npy"):
        open_at(tmp_path, "arrays file=c.npy")


def test_a_folder_without_array_files_is_refused_by_name(tmp_path):
    with raises_user_error(f"no .npy or .npz file in {tmp_path}; name it, or its folder, with --data_dir"):
        open_at(tmp_path)
    with raises_user_error(f"no folder {tmp_path / 'nowhere'}; name one with --data_dir, or create the built-in film"):
        open_at(tmp_path / "nowhere")


def test_1_d_arrays_of_an_npz_file_become_columns(tmp_path):
    """The images are the only array with the shape of images."""
    age, who = np.array([3, 4, 5]), np.array(["x", "y", "z"])
    save_npz(tmp_path, age=age, images=GREY, who=who, other=np.zeros(2), matrix=np.eye(3))
    dataset = open_at(tmp_path, "arrays label=who group=age")
    assert np.array_equal(dataset.images[:, 0].numpy(), GREY)
    assert {name: list(column) for name, column in dataset.columns.items()} == {
        "age": [3, 4, 5],
        "who": ["x", "y", "z"],
    }
    assert dataset.classes == ["x", "y", "z"]


def test_array_chooses_among_several_arrays_of_an_npz_file(tmp_path):
    save_npz(tmp_path, small=GREY[:2], large=COLOUR)
    with raises_user_error(
        "holds small (2 x 6 x 9), large (3 x 3 x 6 x 9); choose the array with the images: --dataset arrays array=NAME"
    ):
        open_at(tmp_path)
    with raises_user_error("has no array 'medium' of numbers; there are small, large"):
        open_at(tmp_path, "arrays array=medium")
    assert np.array_equal(open_at(tmp_path, "arrays array=small").images[:, 0].numpy(), GREY[:2])
    assert np.array_equal(open_at(tmp_path, "arrays array=large").images.numpy(), COLOUR)


def test_rows_of_pixels_are_images_if_an_npz_has_no_others(tmp_path):
    save_npz(tmp_path, pixels=GREY.reshape(3, -1), label=np.arange(3))
    assert np.array_equal(open_at(tmp_path, "arrays size=6x9").images[:, 0].numpy(), GREY)


def test_an_array_of_neither_numbers_nor_text_is_not_a_column(tmp_path):
    save_npz(tmp_path, images=GREY, when=np.zeros(3, "M8[s]"), age=np.arange(3))
    assert list(open_at(tmp_path, "arrays").columns) == ["age"]


def test_labels_of_shape_n_x_1_become_a_column(tmp_path):
    """As in MedMNIST."""
    parts = {"train_images": GREY, "train_labels": np.array([[7], [8], [7]], np.uint8), "val_images": GREY[:2]}
    save_npz(tmp_path, **parts, val_labels=np.zeros((2, 1)))
    dataset = open_at(tmp_path, "arrays array=train_images label=train_labels")
    assert dataset.classes == ["7", "8"]
    assert dataset.notes == ["not used from a.npz: val_images (2 x 6 x 9), val_labels (2 x 1)"]
    with raises_user_error("label=labels names no column; allowed: train_labels"):
        open_at(tmp_path, "arrays array=train_images label=labels")


@pytest.mark.parametrize("kind", [bool, np.uint8, np.float32])
def test_one_hot_labels_are_classes(tmp_path, kind):
    save_npz(tmp_path, images=GREY, y=np.array([[0, 1], [1, 0], [0, 1]], kind))
    dataset = open_at(tmp_path, "arrays array=images label=y")
    assert dataset.labels.tolist() == [1, 0, 1]
    assert dataset.notes == ["y is 3 x 2: the class is the column of the 1, counted from 0"]


@pytest.mark.parametrize(
    ("values", "what"),
    [
        (np.ones((3, 2)), "3 x 2, and not one-hot (a single 1 in each row, otherwise 0)"),
        (np.array([[2, 0], [0, 1], [1, 0]]), "3 x 2, and not one-hot (a single 1 in each row, otherwise 0)"),
        (np.array([[1, 2, -2], [0, 1, 0], [1, 0, 0]]), "3 x 3, and not one-hot (a single 1 in each row, otherwise 0)"),
        (np.full((3, 2), "a"), "3 x 2, and not one-hot (a single 1 in each row, otherwise 0)"),
        (np.zeros((3, 0)), "3 x 0, and not one-hot (a single 1 in each row, otherwise 0)"),
        (np.zeros(3, "M8[s]"), "3 values of type datetime64[s]"),
        (np.zeros(3, complex), "3 values of type complex128"),
        (np.array(["a", "b", "c"], object), "Python objects, which are never opened"),
        (np.zeros(2), "2 values"),
    ],
)
@pytest.mark.parametrize("option", ["label", "group"])
def test_an_array_that_cannot_be_labels_is_described(tmp_path, values, what, option):
    save_npz(tmp_path, images=GREY, y=values)
    what = what.partition(",")[0] if option == "group" and values.ndim == 2 else what
    with raises_user_error(f"{option}=y: this array holds {what}; save one number or text per image (y.astype(str) "):
        open_at(tmp_path, f"arrays array=images {option}=y")


def test_what_is_no_array_of_numbers_is_passed_over(tmp_path):
    save_npz(tmp_path, images=GREY, who=np.full(3, {}), age=np.arange(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive:
        archive.writestr("readme.txt", "words")
    dataset = open_at(tmp_path)
    assert list(dataset.columns) == ["age"]
    assert dataset.notes == [
        "not used from a.npz: who (Python objects, which are never opened), readme.txt (not an array)"
    ]
    with raises_user_error("has no array 'who' of numbers; there are images, age, who (Python objects"):
        open_at(tmp_path, "arrays array=who")


def test_an_npz_file_without_numbers_is_refused(tmp_path):
    save_npz(tmp_path, who=np.full(3, {}))
    with raises_user_error("holds no arrays of numbers; choose the array with the images"):
        open_at(tmp_path)


def test_values_per_frame_of_the_last_axis_become_a_column(tmp_path):
    save_npz(tmp_path, images=np.moveaxis(GREY, 0, 2), age=np.arange(3), rows=np.zeros(6))
    dataset = open_at(tmp_path, "arrays axes=HWN")
    assert list(dataset.columns) == ["age"]
    assert dataset.notes == ["not used from a.npz: rows (6 values of type float64)"]


def test_labels_of_the_last_axis_alone_ask_for_the_layout(tmp_path):
    save_npz(tmp_path, images=np.zeros((6, 9, 8)), label=np.arange(8))
    with raises_user_error("label has as many values as the last axis of the images, which are 6 x 9 x 8; if"):
        open_at(tmp_path, "arrays label=label")
    assert len(open_at(tmp_path, "arrays label=label axes=HWN").classes) == 8
    assert len(open_at(tmp_path, "arrays axes=NHW")) == 6


def test_a_table_with_a_row_per_last_index_suggests_the_layout(tmp_path):
    save_npy(tmp_path, np.zeros((6, 9, 8)))
    (tmp_path / "t.csv").write_text("age\n" + "1\n" * 8)
    with raises_user_error("has 8 rows for 6 images; if the last axis counts the images, choose axes=HWN"):
        open_at(tmp_path, "arrays metadata=t.csv")


def write_damaged_npy(path, how):
    np.save(path / "a.npy", np.full(3, {}) if how == "objects" else GREY, allow_pickle=True)
    whole = (path / "a.npy").read_bytes()
    damaged = {"cut": whole[:-1], "header": whole[:60], "words": b"words", "empty": b""}
    (path / "a.npy").write_bytes(damaged.get(how, whole))


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", "it is truncated: its header announces 290 bytes"),
        ("objects", "it holds Python objects"),
        ("header", ""),
        ("words", ""),
        ("empty", ""),
    ],
)
@pytest.mark.parametrize("large", [False, True])
def test_a_damaged_npy_file_is_named_with_the_reason(tmp_path, monkeypatch, how, message, large):
    monkeypatch.setattr(arrays, "IN_MEMORY", 0 if large else 2**30)
    write_damaged_npy(tmp_path, how)
    with raises_user_error(f"{tmp_path / 'a.npy'} cannot be read: {message}"):
        open_at(tmp_path)


def write_damaged_npz(path, how):
    file = path / "a.npz"
    if how == "objects":
        np.savez(file, images=np.full(3, {}))
    elif how == "bomb":
        np.save(path / "zeros", np.zeros((300, 100, 100), np.uint8))
        with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
            archive.write(path / "zeros.npy", "images.npy")
        (path / "zeros.npy").unlink()
    elif how == "short":
        np.save(path / "short", GREY)
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("images.npy", (path / "short.npy").read_bytes()[:-1])
        (path / "short.npy").unlink()
    else:
        np.savez(file, images=GREY)
        whole = file.read_bytes()
        at = whole.index(GREY.tobytes())
        file.write_bytes({"cut": whole[:200], "bit": whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]}[how])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("bomb", "the header of its array 'images' announces more than it can hold"),
        ("short", "its array 'images' is truncated"),
        ("cut", "it is not an npz file, or is truncated"),
        ("bit", "Bad CRC-32"),
    ],
)
@pytest.mark.parametrize("always", [False, True])
def test_a_damaged_npz_file_is_named_and_never_stored(tmp_path, how, message, always):
    write_damaged_npz(tmp_path, how)
    with raises_user_error(f"{tmp_path / 'a.npz'} cannot be read: {message}"):
        open_at(tmp_path / "a.npz", always=always)
    assert not list((tmp_path / "cache").glob("*/array.npy"))


# ------------------------------------------------------------------------------------------------------- metadata


def save_with_table(path, name="t.csv", content="who,age\nx,3\ny,4\nx,5\n"):
    save_npy(path, GREY)
    if isinstance(content, str):
        (path / name).write_text(content)
    else:
        np.save(path / name, content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "words", "columns"),
    [
        ("t.csv", "who,age\nx,3\ny,4\nx,5\n", "", {"who": ["x", "y", "x"], "age": ["3", "4", "5"]}),
        ("t.npy", np.eye(3)[:, :2], "", {"column_0": [1, 0, 0], "column_1": [0, 1, 0]}),
        ("t.npy", np.eye(3)[:, :2], "columns=x,y", {"x": [1, 0, 0], "y": [0, 1, 0]}),
        ("t.npy", np.array([7, 8, 9]), "columns=age", {"age": [7, 8, 9]}),
    ],
)
def test_each_image_has_its_row_of_the_table(tmp_path, name, content, words, columns):
    dataset = open_at(save_with_table(tmp_path, name, content), f"arrays file=a.npy metadata={name} {words}")
    assert {key: list(column) for key, column in dataset.columns.items()} == columns


def test_a_column_of_a_table_can_be_label_and_group(tmp_path):
    dataset = open_at(save_with_table(tmp_path), "arrays file=a.npy metadata=t.csv label=who group=age")
    assert dataset.classes == ["x", "y"]
    assert dataset.sample(torch.arange(3))["label"].tolist() == [0, 1, 0]
    with raises_user_error("label=mood names no column; allowed: who, age"):
        open_at(tmp_path, "arrays metadata=t.csv label=mood")


@pytest.mark.parametrize(
    ("name", "content", "words", "message"),
    [
        ("t.csv", "a\n1\n2\n", "metadata=t.csv", "t.csv has 2 rows for 3 images"),
        ("t.npy", np.eye(4), "metadata=t.npy", "t.npy has 4 rows for 3 images"),
        ("t.npy", np.zeros((0, 2)), "metadata=t.npy", "t.npy has 0 rows for 3 images"),
        ("t.npy", np.eye(3), "metadata=t.npy columns=a,b", "t.npy has 3 columns, but columns= names 2: a, b"),
        ("t.npy", np.zeros((3, 1, 1)), "metadata=t.npy", "t.npy is 3 x 1 x 1, but a table is N rows by K columns"),
        ("t.csv", "a\n1\n2\n3\n", "metadata=t.csv columns=a", "columns= names the columns of a .npy table, but"),
        ("t.csv", "a\n1\n2\n3\n", "metadata=u.csv", "no file u.csv"),
        ("t.csv", "a\n1\n2\n3\n", "columns=a", "columns= names the columns of a table; add metadata=FILE"),
    ],
)
def test_a_table_that_does_not_fit_the_images_is_refused(tmp_path, name, content, words, message):
    with raises_user_error(message):
        open_at(save_with_table(tmp_path, name, content), f"arrays file=a.npy {words}")


def test_a_column_in_both_table_and_npz_file_is_refused(tmp_path):
    save_npz(tmp_path, images=GREY, who=np.arange(3))
    (tmp_path / "t.csv").write_text("who\n1\n2\n3\n")
    with raises_user_error("two sources provide a column who"):
        open_at(tmp_path, "arrays metadata=t.csv")


def test_a_table_larger_than_memory_is_refused(tmp_path, small_memory):
    np.save(tmp_path / "t.npy", np.zeros(100))
    with raises_user_error(f"{tmp_path / 't.npy'} holds more than 0.0 MiB, too much for a table"):
        read_table_array(tmp_path / "t.npy")


def test_a_table_array_is_read_exactly(tmp_path):
    np.save(tmp_path / "t.npy", np.linspace(0, 1, 7))
    assert np.array_equal(read_table_array(tmp_path / "t.npy"), np.linspace(0, 1, 7))
    assert open_array(tmp_path / "t.npy", None, Store(tmp_path)).others == {}
