"""Handwritten digits: MNIST and similar sets from idx files, and the digits of scikit-learn."""

import gzip
import re
import struct

import numpy as np
import pytest
from helpers import open_at, raises_user_error

from neuro_noodle.choices import UserError
from neuro_noodle.data.mnist import read_idx

GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (3, 6, 9), dtype=np.uint8)


def idx(values, kind=8):
    return bytes([0, 0, kind, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def write_idx(path, parts=("train", "t10k"), ending="-idx{}-ubyte", n=4, n_labels=None, top=10, side=5):
    """Write files in the format of MNIST, with different images each; returns the images and labels by part."""
    written = {}
    path.mkdir(parents=True, exist_ok=True)
    for part in parts:
        pictures = GENERATOR.integers(0, 256, (n, side, side), dtype=np.uint8)
        labels = (np.arange(n_labels or n) % top).astype(np.uint8)
        for name, array in (("images", pictures), ("labels", labels)):
            file = path / f"{part}-{name}{ending.format(array.ndim)}"
            file.write_bytes(gzip.compress(idx(array)) if file.suffix == ".gz" else idx(array))
        written[part] = pictures, labels
    return written


@pytest.mark.parametrize("ending", ["-idx{}-ubyte", "-idx{}-ubyte.gz", ".idx{}-ubyte", ".idx{}-ubyte.gz"])
@pytest.mark.parametrize("inside", ["", "MNIST/raw"])
def test_both_parts_are_read_with_any_spelling_at_any_depth(tmp_path, ending, inside):
    written = write_idx(tmp_path / inside, ending=ending)
    dataset = open_at(tmp_path, "mnist")
    assert np.array_equal(dataset.images[:, 0].numpy(), np.concatenate([written[part][0] for part in written]))
    assert dataset.labels.tolist() == [0, 1, 2, 3] * 2
    assert dataset.columns["part"] == ["train"] * 4 + ["test"] * 4
    assert dataset.ids == [f"{part}/{i}" for part in ("train", "test") for i in range(4)]
    assert dataset.max_value == 255


def test_the_training_files_alone_are_a_dataset(tmp_path):
    write_idx(tmp_path, parts=["train"])
    assert open_at(tmp_path, "mnist").columns["part"] == ["train"] * 4


def test_a_plain_file_is_preferred_to_its_compressed_one(tmp_path):
    """A folder of the same name is ignored."""
    write_idx(tmp_path / "raw", ending="-idx{}-ubyte.gz")
    plain = write_idx(tmp_path / "raw", ending=".idx{}-ubyte")
    write_idx(tmp_path / "raw" / "train-images-idx3-ubyte")  # as Kaggle packs them
    assert np.array_equal(open_at(tmp_path, "mnist").images[:4, 0].numpy(), plain["train"][0])


def test_two_sets_in_one_folder_are_never_mixed(tmp_path):
    write_idx(tmp_path / "MNIST" / "raw")
    fashion = write_idx(tmp_path / "FashionMNIST" / "raw")
    with raises_user_error(f"{tmp_path} holds both {tmp_path / 'FashionMNIST'}"):
        open_at(tmp_path, "mnist")
    dataset = open_at(tmp_path / "FashionMNIST", "mnist name=fashion")
    assert np.array_equal(dataset.images[:4, 0].numpy(), fashion["train"][0])


@pytest.mark.parametrize(("name", "first"), [("mnist", "0"), ("fashion", "top"), ("kmnist", "o")])
def test_the_classes_have_the_names_of_the_set(tmp_path, name, first):
    write_idx(tmp_path, n=10)
    dataset = open_at(tmp_path, f"mnist name={name}")
    assert dataset.columns["class"][0] == dataset.columns["class"][10] == first
    assert len(dataset.classes) == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is not an idx file of bytes"),
        (b"\0\0\x08", "it is not an idx file of bytes"),
        (idx(GREY, kind=13), "it is not an idx file of bytes"),
        (b"\1" + idx(GREY)[1:], "it is not an idx file of bytes"),
        (idx(GREY)[:10], "it is truncated"),
        (idx(GREY)[:-1], "its header announces 162 values, but it holds fewer"),
        (idx(GREY) + b"x", "its header announces 162 values, but it holds more"),
        (b"\0\0\x08\3" + b"\xff" * 12 + bytes(50), "values, more than it can hold"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_an_idx_file_that_is_damaged_is_named_with_the_reason(tmp_path, content, message, packed):
    path = tmp_path / ("a.gz" if packed else "a")
    path.write_bytes(gzip.compress(content) if packed else content)
    with pytest.raises(UserError, match=f"{re.escape(str(path))} cannot be read: .*{message}"):
        read_idx(path)


@pytest.mark.parametrize(
    "content", [b"words", gzip.compress(idx(GREY))[:-20], gzip.compress(idx(GREY))[:5]], ids=range(3)
)
def test_a_compressed_file_that_is_damaged_is_named(tmp_path, content):
    (tmp_path / "a.gz").write_bytes(content)
    with raises_user_error(f"{tmp_path / 'a.gz'} cannot be read: "):
        read_idx(tmp_path / "a.gz")


def test_an_idx_array_has_its_exact_values_and_can_be_written(tmp_path):
    (tmp_path / "a").write_bytes(idx(GREY))
    read = read_idx(tmp_path / "a")
    assert np.array_equal(read, GREY)
    assert read.flags.writeable


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_labels": 3}, "do not belong together: (4, 5, 5) and (3,)"),
        ({"n_labels": 5}, "do not belong together: (4, 5, 5) and (5,)"),
        ({"n": 12, "top": 11}, "has labels up to 10, but mnist has 10 classes"),
        ({"parts": ["t10k"]}, "no train-images-idx3-ubyte and train-labels-idx1-ubyte (or .gz) in"),
        ({"parts": []}, "download them: --dataset mnist download=true"),
    ],
)
def test_images_and_labels_that_do_not_match_are_refused(tmp_path, options, message):
    write_idx(tmp_path, **options)
    with raises_user_error(message):
        open_at(tmp_path, "mnist")


def test_parts_of_different_image_sizes_are_refused(tmp_path):
    write_idx(tmp_path, ["train"])
    write_idx(tmp_path, ["t10k"], side=6)
    with raises_user_error("t10k-images-idx3-ubyte differ in size from the training images"):
        open_at(tmp_path, "mnist")


@pytest.mark.parametrize(("name", "kind"), [("mnist", "MNIST"), ("fashion", "FashionMNIST"), ("kmnist", "KMNIST")])
def test_a_download_writes_the_files_or_says_why_it_failed(tmp_path, monkeypatch, name, kind):
    def offline(root, download):
        raise RuntimeError("Error downloading\nand more")

    monkeypatch.setattr(f"torchvision.datasets.{kind}", offline)
    with raises_user_error(f"{name} cannot be downloaded to {tmp_path}: Error downloading"):
        open_at(tmp_path, f"mnist name={name} download=true")
    write_idx(tmp_path, ["train"])  # could be of another set

    class Online:
        def __init__(self, root, download):
            write_idx(tmp_path / kind / "raw")

    Online.__name__ = kind
    monkeypatch.setattr(f"torchvision.datasets.{kind}", Online)
    assert len(open_at(tmp_path, f"mnist name={name} download=true")) == 8


def test_the_digits_need_no_files(tmp_path):
    dataset = open_at(tmp_path / "nowhere", "digits")
    assert dataset.images.shape == (1797, 1, 8, 8)
    assert dataset.classes == list("0123456789")
    assert dataset.labels[:5].tolist() == [0, 1, 2, 3, 4]
    assert (dataset.images.max(), dataset.max_value) == (16, 16)
