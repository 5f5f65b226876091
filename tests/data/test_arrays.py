"""Array files: every layout and type keeps its exact values, and sizes announced by a header are checked."""

import zipfile

import numpy as np
import pytest
import torch
from helpers import open_at, raises_user_error
from PIL import Image
from test_mnist import write_idx
from test_v1 import write_region

from neuro_noodle.data import arrays, store
from neuro_noodle.data.arrays import bounds, open_array, read_table_array
from neuro_noodle.data.base import DATASETS
from neuro_noodle.data.store import Mapped, Store

GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (3, 6, 9), dtype=np.uint8)
COLOUR = GENERATOR.integers(0, 256, (3, 3, 6, 9), dtype=np.uint8)


@pytest.fixture
def small_memory(monkeypatch):
    """Lower the memory limit so that every array is stored in a file."""
    for module in (arrays, store):
        monkeypatch.setattr(module, "IN_MEMORY", 100)


def save_npy(path, values, name="a.npy"):
    np.save(path / name, values)
    return path


def save_npz(path, *one, **several):
    np.savez(path / "a.npz", *one, **several)
    return path


def image_values(dataset):
    """Return the image values from the samples of a dataset, in the units of its file."""
    return dataset.sample(torch.arange(len(dataset)))["image"].double().numpy() * dataset.max_value


# -------------------------------------------------------------------------------------------------------- layouts

LAYOUTS = [
    (GREY, "", GREY[:, None]),
    (GREY[:, None], "", GREY[:, None]),
    (GREY[..., None], "", GREY[:, None]),
    (COLOUR, "", COLOUR),
    (np.moveaxis(COLOUR, 1, 3), "", COLOUR),
    (np.ascontiguousarray(np.moveaxis(COLOUR, 1, 3)), "", COLOUR),
    (GREY.reshape(3, 54), "size=6x9", GREY[:, None]),
    (GREY, "size=6x9", GREY[:, None]),
    (np.asfortranarray(GREY), "", GREY[:, None]),
]


@pytest.mark.parametrize(("stored", "words", "images"), LAYOUTS)
def test_every_layout_becomes_images_channels_height_width(tmp_path, stored, words, images):
    dataset = open_at(save_npy(tmp_path, stored), f"arrays {words}")
    assert np.array_equal(dataset.images.numpy(), images)
    assert dataset.image_shape == images.shape[1:]
    assert dataset.ids == ["0", "1", "2"]


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize(("stored", "words", "images"), LAYOUTS)
def test_a_large_array_is_mapped_with_equal_values(tmp_path, small_memory, kind, stored, words, images):
    stored = np.ascontiguousarray(stored)
    (save_npy if kind == "npy" else save_npz)(tmp_path, stored)
    path = tmp_path / f"a.{kind}"
    dataset = open_at(path, f"arrays {words}")
    assert isinstance(dataset._mapped, Mapped)
    assert np.array_equal(image_values(dataset).round(), images)
    assert np.array_equal(dataset.images.numpy(), images)
    dataset.read_ahead(torch.tensor([0, 2]))
    assert len(list((path.parent / "cache").glob("*/array.npy"))) == (kind == "npz")


def test_a_large_npz_file_is_unpacked_again_only_after_a_change(tmp_path, small_memory):
    file = tmp_path / "a.npz"
    for stored, n_stored in ((GREY, 1), (GREY, 1), (255 - GREY, 2)):
        np.savez_compressed(file, images=stored)
        assert np.array_equal(open_at(file).images[:, 0].numpy(), stored)
        assert len(list((tmp_path / "cache").glob("*/array.npy"))) == n_stored


@pytest.mark.parametrize(
    ("stored", "words", "message"),
    [
        (np.zeros((3, 54)), "", "is 3 x 54, but images are N x H x W or N x C x H x W; rows of pixels need size="),
        (np.zeros((3, 54)), "size=5x9", "is 3 x 54, but images are"),
        (np.zeros(3), "", "is 3, but images are"),
        (np.array(3), "", "is a single value, but images are"),
        (np.zeros((1, 1, 1, 1, 1)), "", "is 1 x 1 x 1 x 1 x 1, but images are"),
        (np.zeros((0, 6, 9)), "", "is 0 x 6 x 9, but images are"),
        (np.zeros((3, 6, 0)), "", "is 3 x 6 x 0, but images are"),
        (GREY, "size=9x6", "is 3 x 6 x 9, not images of 9x6; arrays are never resized"),
        (np.zeros((3, 6, 9), complex), "", "holds complex128, but images are plain real numbers"),
        (np.zeros((3, 6, 9), np.longdouble), "", "but images are plain real numbers"),
        (np.zeros((3, 6, 9), "U2"), "", "holds <U2, but images are plain real numbers"),
    ],
)
@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_an_array_that_cannot_be_images_is_refused(tmp_path, kind, stored, words, message):
    path = save_npy(tmp_path, stored) if kind == "npy" else save_npz(tmp_path, x=stored)
    with raises_user_error(message):
        open_at(path, f"arrays {words} array={'x' if kind == 'npz' else 'none'}")


# ---------------------------------------------------------------------------------------------------------- types

TYPES = ["u1", "<u2", ">u2", "<u4", ">u4", "u8", "i1", "<i2", ">i2", "i4", "i8", "<f2", ">f2", "f4", ">f4", "f8", ">f8"]


@pytest.mark.parametrize("kind", [*TYPES, "?"])
@pytest.mark.parametrize("file", ["npy", "npz", "stored npz"])
def test_every_type_keeps_its_exact_values(tmp_path, kind, file):
    most = {"?": 1, "i1": 127, "u1": 255}.get(kind, 2000)
    stored = GENERATOR.integers(0, most + 1, GREY.shape).astype(kind)
    path = save_npy(tmp_path, stored) if file == "npy" else save_npz(tmp_path, images=stored) / "a.npz"
    dataset = open_at(path, f"arrays max_value={most}", always=file == "stored npz")
    assert np.allclose(image_values(dataset)[:, 0], stored.astype(float), rtol=1e-7, atol=0)
    assert np.array_equal(dataset.images[:, 0].double().numpy(), stored.astype(float))
    assert dataset.max_value == most


@pytest.mark.parametrize("kind", ["<u2", ">u2"])
def test_16_bit_images_stay_16_bit(tmp_path, kind):
    stored = GENERATOR.integers(0, 65536, GREY.shape).astype(kind)
    dataset = open_at(save_npy(tmp_path, stored))
    assert dataset.images.dtype == torch.uint16
    assert np.array_equal(dataset.images[:, 0].numpy(), stored)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (np.asfortranarray(GREY), "is large, and in Fortran"),
        (GREY.astype(">u2"), "is large"),
        (GREY.astype("u4"), "large"),
    ],
)
def test_a_large_array_that_torch_cannot_map_is_refused(tmp_path, small_memory, stored, message):
    with raises_user_error(message):
        open_at(save_npy(tmp_path, stored), "arrays max_value=255")


@pytest.mark.parametrize(
    ("kind", "top", "words", "white"),
    [
        ("u1", 9, "", 255),
        ("u1", 9, "max_value=9", 9),
        ("u2", 40000, "", 65535),
        ("u2", 4000, "max_value=4095", 4095),
        ("f4", 1, "", 1),
        ("f8", 0.5, "", 1),
        ("?", 1, "", 1),
        ("i4", 1, "", 1),
        ("i4", 300, "max_value=300", 300),
        ("f4", 0.1, "max_value=0.1", 0.1),
        ("f2", 0.3, "max_value=0.3", 0.3),
    ],
)
def test_white_is_the_maximum_of_the_type_or_1_by_default(tmp_path, kind, top, words, white):
    dataset = open_at(save_npy(tmp_path, np.full((2, 3, 3), top, kind)), f"arrays {words}")
    assert dataset.max_value == pytest.approx(white, rel=1e-3 if kind == "f2" else 1e-7)
    assert dataset.notes == []
    assert dataset.sample(torch.tensor([0]))["image"].max() <= 1


@pytest.mark.parametrize("top", [0, 1, 4000, 32767])
def test_dark_16_bit_images_are_noted_with_a_better_max_value(tmp_path, top):
    notes = open_at(save_npy(tmp_path, np.full((2, 3, 3), top, np.uint16))).notes
    expected = f"the brightest image value is {top} of 65535; max_value={top} would make it white"
    assert notes == ([expected] if top else [])


@pytest.mark.parametrize(
    ("stored", "words", "message"),
    [
        (
            [0, 200],
            "max_value=199",
            "holds values from 0 to 200, outside 0 to 199; set the value of white by max_value=",
        ),
        ([0.0, 1.001], "", "holds values from 0 to 1.001, outside 0 to 1; set the value of white"),
        ([-1, 1], "", "holds values from -1 to 1, outside 0 to 1; images cannot be negative; add a constant first"),
        ([-1, 300], "max_value=300", "images cannot be negative"),
        ([0, np.nan], "", "holds values that are not finite (NaN or infinite)"),
        ([0, np.inf], "", "not finite"),
        ([0, -np.inf], "", "not finite"),
        ([0, 1e300], "max_value=1e300", "not finite"),
        *(
            ([0, 1], f"max_value={white}", "must be above 0 and finite: it is the image value")
            for white in ("0", "-1", "nan", "inf")
        ),
    ],
)
def test_values_outside_0_to_white_are_refused_with_their_range(tmp_path, stored, words, message):
    with raises_user_error(message):
        open_at(save_npy(tmp_path, np.array(stored).reshape(2, 1, 1)), f"arrays {words}")


def test_bounds_are_the_same_when_read_in_pieces(monkeypatch):
    stored = GENERATOR.normal(size=(7, 2, 3))
    assert bounds(stored) == (stored.min(), stored.max())
    monkeypatch.setattr(arrays, "CHUNK", 13)
    assert bounds(stored) == (stored.min(), stored.max())
    stored[5, 1, 1] = np.nan
    assert np.isnan(bounds(stored)).all()


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
    with raises_user_error("has no array 'medium'; there are small, large"):
        open_at(tmp_path, "arrays array=medium")
    assert np.array_equal(open_at(tmp_path, "arrays array=small").images[:, 0].numpy(), GREY[:2])
    assert np.array_equal(open_at(tmp_path, "arrays array=large").images.numpy(), COLOUR)


def test_rows_of_pixels_are_images_if_an_npz_has_no_others(tmp_path):
    save_npz(tmp_path, pixels=GREY.reshape(3, -1), label=np.arange(3))
    assert np.array_equal(open_at(tmp_path, "arrays size=6x9").images[:, 0].numpy(), GREY)


def test_an_array_of_neither_numbers_nor_text_is_not_a_column(tmp_path):
    save_npz(tmp_path, images=GREY, when=np.zeros(3, "M8[s]"), age=np.arange(3))
    assert list(open_at(tmp_path, "arrays").columns) == ["age"]


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
    if how == "fortran":
        np.savez(file, images=np.asfortranarray(GREY))
    elif how == "objects":
        np.savez(file, images=GREY, who=np.full(3, {}))
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
        ("fortran", "its images are in Fortran order; save numpy.ascontiguousarray of them"),
        ("objects", "it holds Python objects, which are never opened"),
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
    with raises_user_error("label=mood names no column; there are who, age"):
        open_at(tmp_path, "arrays metadata=t.csv label=mood")


@pytest.mark.parametrize(
    ("name", "content", "words", "message"),
    [
        ("t.csv", "a\n1\n2\n", "metadata=t.csv", "t.csv has 2 rows, but there are 3 images"),
        ("t.npy", np.eye(4), "metadata=t.npy", "t.npy has 4 rows, but there are 3 images"),
        ("t.npy", np.zeros((0, 2)), "metadata=t.npy", "t.npy has 0 rows, but there are 3 images"),
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
    assert open_array(tmp_path / "t.npy", None, Store(tmp_path))[1] == {}


# -------------------------------------------------------------------------------------------------- every dataset


MAKE = {
    "folder": lambda path: [Image.fromarray(image).save(path / f"{i}.png") for i, image in enumerate(GREY)],
    "arrays": lambda path: save_npz(path, images=COLOUR, label=np.arange(3)),
    "mnist": write_idx,
    "digits": lambda path: None,
    "v1": write_region,
}


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_dataset_provides_what_it_declares(tmp_path, name):
    MAKE[name](tmp_path)
    dataset = open_at(tmp_path, "arrays label=label" if name == "arrays" else name)
    n = len(dataset)
    sample = dataset.sample(torch.arange(n))
    assert list(sample) == dataset.provides
    assert sample["image"].dtype == torch.float32
    assert sample["image"].shape == (n, *dataset.image_shape)
    assert 0 <= sample["image"].min() < sample["image"].max() <= 1
    assert len(set(dataset.ids)) == n == len(dataset.images)
    assert all(len(column) == n for column in dataset.columns.values())
    assert ("label" in sample) == (name != "v1")
    if "label" in sample:
        assert sample["label"].dtype == torch.int64
        names = [dataset.classes[label] for label in sample["label"]]
        assert names == [str(value).removesuffix(".0") for value in dataset.columns[dataset.label]]
