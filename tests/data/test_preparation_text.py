"""The description of how images are prepared: whoever follows it gets the same pixels."""

import numpy as np
import pytest
import torch
from helpers import open_at
from PIL import Image, ImageOps

from neuro_noodle.data.base import DATASETS
from neuro_noodle.data.new_images import Preparation
from neuro_noodle.data.store import Store

UPRIGHT_OF_SIX = 6  # EXIF orientation of a photograph taken with a turned camera


def smooth(height, width, channels=3, dtype=np.uint8) -> np.ndarray:
    """Return a smooth image, of which JPEG keeps most."""
    values = np.random.default_rng(0).random((6, 8, channels))
    top = np.iinfo(dtype).max
    planes = [Image.fromarray(np.float32(plane)).resize((width, height)) for plane in np.moveaxis(values, 2, 0)]
    return (np.stack([np.asarray(plane) for plane in planes], 2).clip(0, 1) * top).astype(dtype).squeeze()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of photographs: large, turned by the camera, grey, and with transparent pixels."""
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(smooth(200, 300)).save(folder / "large.jpg")
    exif = Image.Exif()
    exif[0x0112] = UPRIGHT_OF_SIX
    Image.fromarray(smooth(150, 90)).save(folder / "turned.jpg", exif=exif)
    Image.fromarray(smooth(40, 50, 1)).save(folder / "grey.png")
    rgba = smooth(64, 30, 4)
    Image.fromarray(rgba).save(folder / "transparent.png")
    return folder


def preparation_of(folder, words) -> Preparation:
    return Preparation(open_at(folder, words), DATASETS.parse(words), Store(folder / "cache"))


def follow(files: dict, path) -> np.ndarray:
    """Prepare an image file with Pillow as described; returns (C, H, W)."""
    image = Image.open(path)
    image.draft(image.mode, (files["jpeg_draft_px"],) * 2)
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, (files["background"],) * 3 + (255,))
        image = Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")
    image = image.convert(files["mode"])
    border = np.asarray(image, np.float32)
    border = np.concatenate([border[0], border[-1], border[:, 0], border[:, -1]]).mean(0).round().astype(int).tolist()
    border = tuple(border) if isinstance(border, list) else border
    expression = files["resize"]["pillow"].partition(", where")[0].replace("BORDER", str(border))
    image = eval(expression, {"Image": Image, "ImageOps": ImageOps, "image": image})
    values = np.asarray(image, np.float32).reshape(files["height"], files["width"], -1)
    return values.transpose(2, 0, 1) / np.float32(files["white"]["uint8"])


@pytest.mark.parametrize("colour", ["grey", "rgb"])
@pytest.mark.parametrize("fit", ["crop", "stretch", "pad"])
def test_pillow_makes_the_same_pixels_of_a_file(fit, colour, pictures):
    how = preparation_of(pictures, f"folder size=24x20 fit={fit} colour={colour} background=grey")
    files = how.description["files"]
    assert files["resize"]["fit"] == fit and files["background"] == 128 and files["colour_files"] == "converted"
    paths = sorted(path for path in pictures.iterdir() if path.is_file())
    prepared = how.prepare(paths).sample(torch.arange(len(paths)))["image"].numpy()
    for path, own in zip(paths, prepared, strict=True):
        np.testing.assert_array_equal(follow(files, path), own, err_msg=path.name)
    assert files["resize"]["pillow"] in files["sentence"]


def test_pillow_makes_the_same_pixels_of_a_file_of_16_bits(tmp_path):
    for name in "ab":
        Image.fromarray(smooth(30, 40, 1, np.uint16)).save(tmp_path / f"{name}.png")
    how = preparation_of(tmp_path, "folder size=24x20")
    files = how.description["files"]
    image = Image.fromarray(np.asarray(Image.open(tmp_path / "a.png"), np.float32))  # mode F
    image = eval(files["resize"]["pillow"], {"Image": Image, "ImageOps": ImageOps, "image": image})
    expected = np.asarray(image).round().clip(0, 65535) / files["white"]["uint16"]
    np.testing.assert_array_equal(how.prepare(tmp_path / "a.png").sample(torch.arange(1))["image"][0, 0], expected)


def test_a_jpeg_decoded_at_full_size_gives_other_pixels(pictures):
    """So the description has to name the size at which JPEGs are decoded."""
    files = preparation_of(pictures, "folder size=24x20").description["files"]
    path = pictures / "large.jpg"
    assert np.abs(follow(files, path) - follow(files | {"jpeg_draft_px": 300}, path)).max() > 0


def test_files_are_not_resized_if_training_images_were_not(tmp_path):
    Image.fromarray(smooth(9, 7, 1)).save(tmp_path / "a.png")
    Image.fromarray(smooth(9, 7, 1)[::-1]).save(tmp_path / "b.png")
    files = preparation_of(tmp_path, "folder").description["files"]
    assert files["resize"] is None and files["colour_files"] == "refused" and files["mode"] == "L"
    assert "it must have 9 x 7 px" in files["sentence"]


def test_white_follows_from_the_training_images(tmp_path):
    np.save(tmp_path / "images.npy", smooth(9, 7, 5, np.uint16).transpose(2, 0, 1) // 16)
    description = preparation_of(tmp_path / "images.npy", "arrays max_value=4095").description
    assert description["files"]["white"] == {"uint8": None, "uint16": 4095}
    assert (description["arrays"]["dtype"], description["arrays"]["white"]) == ("uint16", 4095)
    assert "which was 4095 in the uint16 arrays of training" in description["arrays"]["sentence"]


def test_images_of_two_channels_cannot_come_from_files(tmp_path):
    np.save(tmp_path / "images.npy", np.random.default_rng(0).random((5, 2, 9, 9)))
    assert preparation_of(tmp_path / "images.npy", "arrays axes=NCHW").description["files"] is None
