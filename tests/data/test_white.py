"""The value of white: chosen by type and range, checked, and noted where most of the range is unused."""

import numpy as np
import pytest
import torch
from helpers import open_at, raises_user_error
from test_arrays import GENERATOR, save_npy

from neuro_noodle.data import white as white_module
from neuro_noodle.data.white import bounds


@pytest.mark.parametrize(
    ("kind", "top", "words", "white"),
    [
        ("u1", 128, "", 255),
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


@pytest.mark.parametrize(
    ("kind", "top", "white", "likely"),
    [
        ("u2", 656, 65535, 1023),
        ("u2", 4000, 65535, 4095),
        ("u2", 32767, 65535, 32767),
        ("u1", 20, 255, 20),
        ("u1", 127, 255, 127),
        ("f4", 0.25, 1, 0.25),
    ],
)
def test_dark_images_are_noted_with_a_better_max_value(tmp_path, kind, top, white, likely):
    """The same that is proposed for other types."""
    path = save_npy(tmp_path, np.full((2, 3, 3), top, kind))
    expected = f"the brightest image value is {top} of {white}; max_value={likely} would make {likely} white"
    assert open_at(path).notes == [expected]
    assert open_at(path, f"arrays max_value={white}").notes == []


@pytest.mark.parametrize(("kind", "top", "white"), [("u1", 2, 255), ("u2", 255, 65535), ("f4", 0.0039, 1)])
def test_nearly_black_images_are_refused_with_both_choices(tmp_path, kind, top, white):
    """A float scaled twice, 8 bits in 16, or the numbers of classes."""
    path = save_npy(tmp_path, np.full((2, 3, 3), top, kind))
    with raises_user_error(
        f"its brightest value is {top} of {white}; max_value={top} makes {top} white, max_value={white}"
    ):
        open_at(path)
    for value in (top, white):
        assert open_at(path, f"arrays max_value={value}").notes == []


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_whole_numbers_of_0_and_1_have_a_white_of_1(tmp_path, kind):
    path = save_npy(tmp_path, (GENERATOR.random((4, 3, 3)) > 0.5).astype(kind))
    dataset = open_at(path)
    assert dataset.max_value == 1
    assert dataset.notes == ["all image values are 0 or 1, so 1 is white; max_value= sets another white"]
    assert open_at(path, "arrays max_value=255").max_value == 255


@pytest.mark.parametrize(("top", "likely"), [(200, 255), (255, 255), (800, 1023), (4000, 4095), (60000, 65535), (9, 9)])
def test_an_error_suggests_the_likely_white(tmp_path, top, likely):
    with raises_user_error(f"from 0 to {top}, outside 0 to 1; set the value of white by max_value=, such as {likely}"):
        open_at(save_npy(tmp_path, np.array([0, top], "f4").reshape(2, 1, 1)))


def test_the_range_of_a_large_mapped_set_is_sampled(tmp_path, small_memory, monkeypatch):
    monkeypatch.setattr(white_module, "N_CHECKED", 2)
    dataset = open_at(save_npy(tmp_path, np.arange(8 * 25, dtype=np.uint8).reshape(8, 5, 5)))
    assert dataset.notes == ["the brightest image value is 124 of 255; max_value=124 would make 124 white"]


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
    monkeypatch.setattr(white_module, "CHUNK", 13)
    assert bounds(stored) == (stored.min(), stored.max())
    stored[5, 1, 1] = np.nan
    assert np.isnan(bounds(stored)).all()


@pytest.mark.parametrize("high", [1.2345612, 3.0000002, 1234567.0, 0.0123456])
def test_the_proposed_white_is_accepted(high):
    images = np.array([0, high], np.float32)
    with raises_user_error("such as ") as error:
        white_module.choose_white(images, high / 10, "a")
    likely = float(str(error.value).rpartition("such as ")[2])
    assert high * (1 - 1e-6) <= likely <= 1.001 * high
    assert white_module.choose_white(images, likely, "a")[0] == pytest.approx(likely)
