"""The layout of arrays: every layout and type keeps its exact values, and an unclear layout is refused."""

import numpy as np
import pytest
import torch
from helpers import open_at, raises_user_error
from test_arrays import COLOUR, GENERATOR, GREY, save_npy, save_npz

from neuro_noodle.data.store import Mapped


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
    (np.moveaxis(GREY, 0, 2), "axes=HWN", GREY[:, None]),
    (np.asfortranarray(np.moveaxis(GREY, 0, 2)), "axes=HWN", GREY[:, None]),
    (np.moveaxis(COLOUR, (0, 1), (3, 2)), "axes=HWCN", COLOUR),
    (COLOUR, "axes=NCHW", COLOUR),
]


@pytest.mark.parametrize(("stored", "words", "images"), LAYOUTS)
def test_every_layout_becomes_images_channels_height_width(tmp_path, stored, words, images):
    dataset = open_at(save_npy(tmp_path, stored), f"arrays {words}")
    assert np.array_equal(dataset.images.numpy(), images)
    assert dataset.image_shape == images.shape[1:]
    assert dataset.ids == ["0", "1", "2"]


@pytest.mark.parametrize(("stored", "words", "images"), LAYOUTS)
@pytest.mark.parametrize("always", [False, True])
def test_an_npz_file_holds_the_same_layouts(tmp_path, stored, words, images, always):
    dataset = open_at(save_npz(tmp_path, stored) / "a.npz", f"arrays {words}", always=always)
    assert np.array_equal(dataset.images.numpy(), images)


@pytest.mark.parametrize("kind", ["npy", "npz"])
@pytest.mark.parametrize(("stored", "words", "images"), [one for one in LAYOUTS if "axes=H" not in one[1]])
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
        (np.zeros((0, 6, 9)), "", "is 0 x 6 x 9: it holds no images"),
        (np.zeros((3, 6, 0)), "", "is 3 x 6 x 0: it holds no images"),
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


@pytest.mark.parametrize(
    ("shape", "choices"),
    [
        ((48, 40, 300), "axes=NHW, axes=HWN"),
        ((64, 64, 12), "axes=NHW, axes=HWN"),
        ((64, 64, 100), "axes=NHW, axes=HWN"),
        ((64, 64, 64), "axes=NHW, axes=HWN"),
        ((48, 40, 60), "axes=NHW, axes=HWN"),
        ((32, 32, 64, 7), "axes=NCHW, axes=NHWC, axes=HWCN"),
        ((9, 3, 8, 3), "axes=NCHW, axes=NHWC"),
        ((8, 9, 1, 3), "axes=NHWC, axes=HWCN"),
    ],
)
def test_an_unclear_layout_is_refused_with_the_choices(tmp_path, shape, choices):
    path = save_npy(tmp_path, np.zeros(shape, np.uint8))
    with raises_user_error(f"and it is unclear which axis is which; choose one of {choices} (N images of C channels"):
        open_at(path)
    for axes in choices.split(", "):
        assert len(open_at(path, f"arrays {axes}")) == shape[axes.removeprefix("axes=").index("N")]


@pytest.mark.parametrize(
    ("shape", "images"),
    [
        ((500, 40, 300), (500, 1, 40, 300)),
        ((32, 32, 3, 200), (200, 3, 32, 32)),
        ((200, 32, 24, 3), (200, 3, 32, 24)),
        ((200, 4, 32, 24), (200, 4, 32, 24)),
    ],
)
def test_the_only_likely_layout_is_chosen(tmp_path, shape, images):
    dataset = open_at(save_npy(tmp_path, np.zeros(shape, np.uint8)), "arrays background=none")
    assert (len(dataset), *dataset.image_shape) == images


def test_a_layout_of_another_number_of_axes_is_refused(tmp_path):
    with raises_user_error("is 3 x 6 x 9, but axes=NHWC names 4 axes"):
        open_at(save_npy(tmp_path, GREY), "arrays axes=NHWC")


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
        (GREY, "with the images on the last axis"),
    ],
)
def test_a_large_array_that_torch_cannot_map_is_refused(tmp_path, small_memory, stored, message):
    with raises_user_error(message):
        open_at(save_npy(tmp_path, stored), f"arrays max_value=255 axes={'HWN' if 'last' in message else 'none'}")


# -------------------------------------------------------------------------------------------------- transparency

RGBA = np.stack([np.full((2, 6, 9), value, np.uint8) for value in (200, 100, 0, 255)], 3)  # (N, H, W, C)
RGBA[0, :, :4, 3] = 0
RGBA[0, :, 4:8, 3] = 51  # a fifth of 255


@pytest.mark.parametrize(("kind", "white"), [("u1", 255), ("u2", 65535), ("f4", 1)])
@pytest.mark.parametrize(("background", "level"), [("white", 255), ("grey", 128), ("black", 0)])
def test_transparent_pixels_of_arrays_show_the_background(tmp_path, kind, white, background, level):
    """As those of image files do, by the same option."""
    path = save_npy(tmp_path, (RGBA * (white / 255)).astype(kind))
    dataset = open_at(path, f"arrays background={background}")
    images = dataset.sample(torch.arange(2))["image"].numpy() * 255  # (N, 3, H, W)
    colour = np.array([200, 100, 0])
    assert dataset.image_shape == (3, 6, 9)
    assert np.allclose(images[0, :, :, 0].T, level, atol=1e-3)
    assert np.allclose(images[0, :, :, 4].T, 0.2 * colour + 0.8 * level, atol=0.51)
    assert np.allclose(images[0, :, :, 8].T, colour, atol=1e-3)
    assert np.allclose(images[1].T, colour, atol=1e-3)
    (what,) = dataset.reading.changed
    assert what.startswith(f"images of 4 channels, drawn on {background} as RGB with transparent pixels")


def test_an_opacity_of_0_to_1_goes_with_any_white(tmp_path):
    values = RGBA // np.array([1, 1, 1, 255], np.uint8)
    images = open_at(save_npy(tmp_path, values)).images
    assert images[0, :, 0, [0, 8]].T.tolist() == [[255, 255, 255], [200, 100, 0]]


def test_a_background_of_none_keeps_4_channels(tmp_path, small_memory):
    path = save_npy(tmp_path, RGBA.transpose(0, 3, 1, 2).copy())
    dataset = open_at(path, "arrays background=none")
    assert np.array_equal(dataset.images.numpy(), RGBA.transpose(0, 3, 1, 2))
    assert dataset.reading.changed == {}
    with raises_user_error("is large and has 4 channels: save it as RGB, or choose background=none"):
        open_at(path)
