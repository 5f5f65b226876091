"""New images, prepared as those of a dataset: layouts, types, white, and what is refused."""

import numpy as np
import pytest
import torch
from helpers import open_at, raises_user_error
from PIL import Image

from neuro_noodle.data.base import DATASETS
from neuro_noodle.data.new_images import Preparation
from neuro_noodle.data.store import Store

H, W = 9, 12


def drawn(*shape: int, dtype=np.uint8) -> np.ndarray:
    """Return random images with values from 0 to 255."""
    values = np.random.default_rng(0).integers(0, 256, shape)
    values.flat[:2] = 0, 255
    return values.astype(dtype)


def like_arrays(tmp_path, images: np.ndarray, words="arrays") -> Preparation:
    """Return the preparation of new images as those of an array file."""
    np.save(tmp_path / "trained.npy", images)
    return Preparation(open_at(tmp_path / "trained.npy", words), DATASETS.parse(words), Store(tmp_path / "cache"))


def like_files(tmp_path, images: np.ndarray, words="folder") -> Preparation:
    """Return the preparation of new images as those of a folder of image files."""
    (tmp_path / "files").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "files" / f"{number}.png")
    return Preparation(open_at(tmp_path / "files", words), DATASETS.parse(words), Store(tmp_path / "cache"))


def pixels(dataset) -> np.ndarray:
    """Return (N, C, H, W) images from 0 to 1."""
    return dataset.sample(torch.arange(len(dataset)))["image"].numpy()


def with_white(how: Preparation, white: float) -> Preparation:
    return Preparation(how.like, how.choice, how.store, white)


# --------------------------------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("order", ["NHW", "NCHW", "NHWC", "NP"])
def test_grey_arrays_are_read_in_every_layout(order, tmp_path):
    images = drawn(5, H, W)
    how = like_arrays(tmp_path, images)
    forms = {"NHW": images, "NCHW": images[:, None], "NHWC": images[..., None], "NP": images.reshape(5, -1)}
    assert np.array_equal(pixels(how.prepare(forms[order])), pixels(how.like))
    assert np.array_equal(pixels(how.prepare(torch.from_numpy(forms[order]))), pixels(how.like))


def test_one_image_needs_no_axis_that_counts(tmp_path):
    grey, colour = drawn(5, H, W), drawn(5, H, W, 3)
    how = like_arrays(tmp_path, grey)
    for form in (grey[2], grey[2, None], grey[2, :, :, None]):
        assert np.array_equal(pixels(how.prepare(form)), pixels(how.like)[2:3])
    how = like_arrays(tmp_path, colour)
    for form in (colour[2], colour[2].transpose(2, 0, 1), colour[2:3], colour[2:3].transpose(0, 3, 1, 2)):
        assert np.array_equal(pixels(how.prepare(form)), pixels(how.like)[2:3])


def test_the_layout_of_training_is_read_too(tmp_path):
    images = drawn(5, H, W)
    how = like_arrays(tmp_path, images.transpose(1, 2, 0), "arrays axes=HWN")
    for form in (images, images.transpose(1, 2, 0)):
        assert np.array_equal(pixels(how.prepare(form)), pixels(how.like))


def test_an_unclear_layout_is_refused(tmp_path):
    images = drawn(H, H, H)
    how = like_arrays(tmp_path, images, "arrays axes=HWN")
    with raises_user_error("9 x 9 x 9, and it is unclear which axis is which (NHW or HWN); make it N x C x H x W"):
        how.prepare(images)
    assert len(how.prepare(images[:, None])) == H


@pytest.mark.parametrize("shape", [(W, H), (5, W, H), (5, H, W, 3), (5, H + 1, W), (H * W,), (5, 1, H, W, 1)])
def test_another_shape_is_refused(shape, tmp_path):
    how = like_arrays(tmp_path, drawn(5, H, W))
    given = " x ".join(map(str, shape))
    with raises_user_error(f"the array is {given}, but must be one of 9 x 12, N x 9 x 12, 9 x 12 x 1, N x 1 x 9 x 12"):
        how.prepare(drawn(*shape))


def test_transparent_arrays_are_drawn_as_in_training(tmp_path):
    images = drawn(5, H, W, 4)
    how = like_arrays(tmp_path, images, "arrays background=grey")
    assert how.like.image_shape == (3, H, W)
    found = how.prepare(images)
    assert np.array_equal(pixels(found), pixels(how.like))
    assert "drawn on grey" in found.reading.lines[0]


# ----------------------------------------------------------------------------------------------------------- white


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_the_usual_white_of_each_type_means_the_same(dtype, tmp_path):
    images = drawn(5, H, W)
    white = {np.uint8: 255, np.uint16: 65535}.get(dtype, 1)
    for trained in (images, images.astype(np.uint16) * 257, images / np.float32(255)):
        how = like_arrays(tmp_path, trained)
        found = pixels(how.prepare((images * (white / 255)).astype(dtype)))
        assert np.allclose(found, pixels(how.like), atol=1e-3 if dtype == np.float16 else 1e-6)


def test_arrays_of_the_type_of_training_have_its_white(tmp_path):
    for images, white in ((drawn(5, H, W, dtype=np.uint16), 4095), (drawn(5, H, W) * 1e-6, 255e-6)):
        how = like_arrays(tmp_path, images, f"arrays max_value={white}")
        assert np.array_equal(pixels(how.prepare(images)), pixels(how.like))
    assert np.allclose(pixels(how.prepare(drawn(5, H, W) / 255)), pixels(how.like))  # numbers from 0 to 1
    assert pixels(how.prepare(np.zeros((H, W)))).max() == 0
    assert pixels(how.prepare(np.ones((H, W), bool))).min() == 1


@pytest.mark.parametrize(
    ("trained", "white", "given", "message"),
    [
        (np.uint8, 255, (drawn(H, W) > 9).astype(np.uint8), "holds uint8 up to 1, and it is unclear which value is"),
        (np.uint8, 255, drawn(H, W, dtype=int), "holds int64 up to 255, and it is unclear which value is white"),
        (np.uint16, 4095, drawn(H, W), "holds uint8 up to 255, and it is unclear which value is white"),
        (np.uint8, 255, (drawn(H, W) > 9) * 1e-7, "holds float32 up to 1e-07, and it is unclear which"),
        (
            np.uint8,
            255,
            drawn(H, W, dtype=float),
            "values from 0 to 255, outside 0 to 1; set the value of white by max",
        ),
        (np.uint8, 255, drawn(H, W) - 1.0, "images cannot be negative"),
        (np.uint8, 255, np.full((H, W), np.nan), "the array holds values that are not finite"),
        (np.uint8, 255, drawn(H, W).astype(complex), "the array holds complex128, but images are plain real numbers"),
        (np.uint8, 255, drawn(H, W)[:0], "the array is 0 x 12"),
    ],
)
def test_an_unclear_white_is_refused(trained, white, given, message, tmp_path):
    how = like_arrays(tmp_path, drawn(5, H, W, dtype=trained), f"arrays max_value={white}")
    with raises_user_error(message):
        how.prepare(given)


def test_numbers_that_can_be_dark_or_from_0_to_1_are_refused(tmp_path):
    how = like_arrays(tmp_path, drawn(5, H, W) / 10, "arrays max_value=30")
    for high, white in ((25.5, 30), (0.1, 1)):
        assert pixels(how.prepare(drawn(H, W) * (high / 255))).max() == pytest.approx(high / white)
    with raises_user_error(
        "up to 0.9, and it is unclear which value is white (the training images are float32, and 30"
    ):
        how.prepare(drawn(H, W) * (0.9 / 255))


def test_a_named_white_is_used(tmp_path):
    images = drawn(5, H, W)
    how = like_arrays(tmp_path, images)
    for given, white in ((images.astype(int), 255), (images.astype(float), 255), (images // 255, 1)):
        assert np.allclose(pixels(with_white(how, white).prepare(given)), given[:, None] / white)
    with raises_user_error("max_value=0 must be above 0"):
        with_white(how, 0).prepare(images)
    with raises_user_error("these images are prepared already; name max_value= when you prepare them"):
        with_white(how, 255).prepare(how.like)


# ----------------------------------------------------------------------------------------------------------- files


def test_files_are_prepared_as_in_training(tmp_path):
    how = like_files(tmp_path, drawn(5, 30, 40, 3), "folder size=9x12 fit=pad colour=grey")
    paths = [tmp_path / "files" / name for name in how.like.ids]
    for given in (tmp_path / "files", str(tmp_path / "files"), paths, list(map(str, paths))):
        found = how.prepare(given)
        assert found.ids == how.like.ids
        assert np.array_equal(pixels(found), pixels(how.like))
    assert np.array_equal(pixels(how.prepare(paths[2])), pixels(how.like)[2:3])
    assert how.prepare(paths[::-1]).ids == how.like.ids[::-1]
    assert how.prepare(paths[0]).reading.lines == ["changed: images resized to 9x12 from 30x40 (1)"]
    assert how.prepare(how.like) is how.like


def test_files_of_another_bit_depth_or_brightness_fit(tmp_path):
    images = drawn(3, H, W)
    how = like_files(tmp_path, images)
    Image.fromarray(images[0].astype(np.uint16) * 257).save(tmp_path / "deep.png")
    Image.fromarray(images[0] // 128).save(tmp_path / "dark.png")
    assert np.array_equal(pixels(how.prepare(tmp_path / "deep.png")), pixels(how.like)[:1])
    assert np.array_equal(pixels(how.prepare(tmp_path / "dark.png")), (images[:1, None] // 128) / np.float32(255))
    assert pixels(with_white(how, 1).prepare(tmp_path / "dark.png")).max() == 1


def test_grey_files_become_colour_but_colour_is_not_lost(tmp_path):
    grey, colour = drawn(1, H, W), drawn(3, H, W, 3)
    how = like_files(tmp_path, colour)
    Image.fromarray(grey[0]).save(tmp_path / "grey.png")
    assert np.array_equal(pixels(how.prepare(tmp_path / "grey.png"))[0], np.repeat(grey, 3, 0) / np.float32(255))
    how = like_arrays(tmp_path, grey.repeat(2, 0))
    with raises_user_error("0.png are 3 x 9 x 12 (channels x height x width), those of training 1 x 9 x 12"):
        how.prepare(tmp_path / "files" / "0.png")


def test_what_was_not_resized_in_training_must_have_its_size(tmp_path):
    for how in (like_files(tmp_path, drawn(3, H, W)), like_arrays(tmp_path, drawn(3, H, W))):
        Image.fromarray(drawn(H, W + 1)).save(tmp_path / "wide.png")
        with raises_user_error("1 of 2 images are not 9x12, the size of the training images, which were not resized"):
            how.prepare([tmp_path / "files" / "0.png", tmp_path / "wide.png"])
        assert np.array_equal(pixels(how.prepare(tmp_path / "files"))[:3], pixels(how.like))


def test_files_of_an_unclear_white_are_refused(tmp_path):
    how = like_arrays(tmp_path, drawn(3, H, W, dtype=np.uint16), "arrays max_value=4095")
    Image.fromarray(drawn(H, W)).save(tmp_path / "grey.png")
    with raises_user_error("grey.png holds uint8 up to 255, and it is unclear which value is white"):
        how.prepare(tmp_path / "grey.png")
    assert pixels(with_white(how, 255).prepare(tmp_path / "grey.png")).max() == 1


def test_files_that_cannot_be_used_are_refused(tmp_path):
    how = like_files(tmp_path, drawn(3, H, W))
    (tmp_path / "text.png").write_text("text")
    (tmp_path / "empty").mkdir()
    for given, message in {
        tmp_path / "nowhere": f"no file or folder {tmp_path / 'nowhere'}",
        (tmp_path, "nowhere.png"): f"2 of 2 images are not files: {tmp_path}, nowhere.png",
        tmp_path / "text.png": "1 of 1 images cannot be read:",
        tmp_path / "empty": f"no images in {tmp_path / 'empty'}",
        (): "the list of images is empty",
        (1, 2): "a list of file names or a folder, not list of int; numpy.stack makes one array of several",
        None: "an array, a tensor, a file name, a list of file names or a folder, not NoneType",
        b"0.png": "a list of file names or a folder, not bytes",
    }.items():
        with raises_user_error(message):
            how.prepare(given)


# ----------------------------------------------------------------------------------------------------- array files


def test_an_array_file_is_read_as_in_training(tmp_path):
    images = drawn(5, H, W)
    how = like_arrays(tmp_path, images, "arrays file=trained.npy")
    np.savez(tmp_path / "other.npz", frames=images[2:])
    (tmp_path / "one").mkdir()
    np.save(tmp_path / "one" / "any.npy", images[:2])
    for given, expected in {"other.npz": images[2:], "one": images[:2], "one/any.npy": images[:2], "": images}.items():
        assert np.array_equal(how.prepare(tmp_path / given).images.numpy()[:, 0], expected)
    (tmp_path / "trained.npy").unlink()
    (tmp_path / "one" / "any.npy").rename(tmp_path / "second.npy")
    with raises_user_error(f"{tmp_path} holds other.npz, second.npy; name the file with the images"):
        how.prepare(tmp_path)


def test_a_folder_of_images_may_hold_arrays_too(tmp_path):
    how = like_files(tmp_path, drawn(3, H, W))
    np.save(tmp_path / "files" / "features.npy", drawn(3, H, W))
    found = how.prepare(tmp_path / "files")
    assert found.ids == how.like.ids and found.reading.lines == ["passed over: .npy files (1)"]


def test_images_of_recordings_are_prepared_as_in_training(tmp_path):
    images, rates = drawn(6, 18, 24), np.random.default_rng(0).random((6, 2))
    like_files(tmp_path, images)
    np.save(tmp_path / "rates.npy", rates)
    words = f"recordings images={tmp_path / 'files'} responses=rates.npy size=9x12"
    how = Preparation(open_at(tmp_path, words), DATASETS.parse(words), Store(tmp_path / "cache"))
    assert np.array_equal(pixels(how.prepare(tmp_path / "files")), pixels(how.like))
    np.savez(tmp_path / "session.npz", shown=images, other=images[:2], responses=rates)
    words = "recordings images=shown"
    path = tmp_path / "session.npz"
    how = Preparation(open_at(path, words), DATASETS.parse(words), Store(tmp_path / "cache"))
    assert np.array_equal(pixels(how.prepare(path)), pixels(how.like))
