"""Reading image files: exact values, upright, of one size, and a clear message about each unreadable file."""

import numpy as np
import pytest
import torch
from PIL import Image

from neuro_noodle.choices import UserError
from neuro_noodle.data.base import DATASETS, Source
from neuro_noodle.data.folder import SUFFIXES
from neuro_noodle.data.store import Store

GREY = np.random.default_rng(0).integers(0, 256, (6, 9), dtype=np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (6, 9)).astype(np.uint16)
CORNERS = [(slice(0, 14), slice(0, 14)), (slice(26, 40), slice(26, 40))]  # of a 40 x 40 image
COLOUR = np.random.default_rng(2).integers(0, 256, (6, 9, 3), dtype=np.uint8)


def save_image(path, values=GREY, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(path, **options)


def open_folder(path, words="", skip_unreadable=False):
    return DATASETS.build(f"folder {words}", Source(path, Store(path.parent / "cache"), skip_unreadable))


def single_image(path, words=""):
    """Return the only image of a folder, (H, W) or (H, W, C)."""
    images = open_folder(path, words).images
    assert len(images) == 1
    return images[0].permute(1, 2, 0).squeeze(2).numpy()


def error_message(path, words="", **settings) -> str:
    with pytest.raises(UserError) as caught:
        open_folder(path, words, **settings)
    return str(caught.value)


def disc(height, width, radius):
    """Return a white disc on black, (H, W)."""
    y, x = np.mgrid[:height, :width]
    inside = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2 <= radius**2
    return (inside * 255).astype(np.uint8)


def extent(image):
    """Return the height and width of the region brighter than 127."""
    bright = image > 127
    return bright.any(1).sum(), bright.any(0).sum()


# ---------------------------------------------------------------------------------------------- finding files


def test_images_are_found_at_any_depth_and_sorted_by_name(tmp_path):
    for name in ("b.png", "a/c.png", "a/d/e/f.PNG"):
        save_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("ignored")
    dataset = open_folder(tmp_path)
    assert dataset.ids == ["a/c.png", "a/d/e/f.PNG", "b.png"]
    assert dataset.columns["folder"] == ["a", "e", tmp_path.name]


def test_hidden_files_and_folders_are_ignored(tmp_path):
    save_image(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"written by macOS")
    save_image(tmp_path / ".thumbnails" / "a.png")
    assert open_folder(tmp_path).ids == ["a.png"]


def test_a_hidden_folder_above_the_given_one_hides_nothing(tmp_path):
    save_image(tmp_path / ".cache" / "set" / "a.png")
    assert open_folder(tmp_path / ".cache" / "set").ids == ["a.png"]


def test_a_folder_named_like_an_image_is_a_folder(tmp_path):
    save_image(tmp_path / "set.png" / "a.png")
    assert open_folder(tmp_path).ids == ["set.png/a.png"]


def test_a_missing_folder_is_named_with_what_to_do(tmp_path):
    message = error_message(tmp_path / "nowhere")
    assert f"no folder {tmp_path / 'nowhere'}" in message
    assert "--data_dir" in message


def test_a_folder_without_images_is_named_with_the_endings(tmp_path):
    message = error_message(tmp_path)
    assert f"no images in {tmp_path}" in message
    assert all(suffix in message for suffix in SUFFIXES)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
    save_image(tmp_path / "a.png")
    message = error_message(tmp_path / "a.png")
    assert f"{tmp_path / 'a.png'} is a file" in message
    assert "--data_dir needs a folder" in message


# ----------------------------------------------------------------------------------------------------- sizes


def test_images_of_several_sizes_are_refused_with_the_sizes(tmp_path):
    """The message suggests a size."""
    for name, shape in (("a", (6, 9)), ("b", (6, 9)), ("c", (4, 20))):
        save_image(tmp_path / f"{name}.png", np.zeros(shape, np.uint8))
    message = error_message(tmp_path)
    assert "2 different sizes" in message
    assert "6x9 (2 images), 4x20 (1 image)" in message
    assert "--dataset folder size=4x20" in message
    assert open_folder(tmp_path, "size=4x20").images.shape == (3, 1, 4, 20)


def test_resizing_to_the_same_size_changes_nothing(tmp_path):
    save_image(tmp_path / "a.png")
    for fit in ("crop", "stretch", "pad"):
        assert np.array_equal(single_image(tmp_path, f"size=6x9 fit={fit}"), GREY)


@pytest.mark.parametrize(("fit", "stays_round"), [("crop", True), ("pad", True), ("stretch", False)])
@pytest.mark.parametrize("shape", [(40, 80), (80, 40)])
def test_a_circle_stays_a_circle_unless_stretched(tmp_path, fit, stays_round, shape):
    save_image(tmp_path / "a.png", disc(*shape, 15))
    height, width = extent(single_image(tmp_path, f"size=60x60 fit={fit}"))
    assert (abs(int(height) - int(width)) <= 1) is stays_round


def test_only_images_of_another_aspect_ratio_count_as_stretched(tmp_path):
    for name, shape in (("a", (130, 101)), ("b", (65, 51)), ("c", (130, 130))):
        save_image(tmp_path / f"{name}.png", np.zeros(shape, np.uint8))
    counts = {fit: open_folder(tmp_path, f"size=65x51 fit={fit}").n_stretched for fit in ("crop", "stretch", "pad")}
    assert counts == {"crop": 0, "stretch": 1, "pad": 0}
    dataset = open_folder(tmp_path, "size=65x51 fit=stretch")
    assert dataset.stretch.tolist() == [[1, 1], [1, 1], [51 / 130, 65 / 130]] and "stretch" not in dataset.provides


@pytest.mark.parametrize("shape", [(40, 80), (80, 40)])
def test_crop_keeps_the_centre_and_pad_and_stretch_keep_all(tmp_path, shape):
    picture = np.full(shape, 60, np.uint8)
    picture[:4, :4] = picture[-4:, -4:] = picture[shape[0] // 2 - 2 : shape[0] // 2 + 2, 18:22] = 250
    picture[shape[0] // 2 - 2 : shape[0] // 2 + 2, shape[1] // 2 - 2 : shape[1] // 2 + 2] = 250
    save_image(tmp_path / "a.png", picture)
    corner = {}
    for fit in ("crop", "pad", "stretch"):
        image = single_image(tmp_path, f"size=40x40 fit={fit}")
        assert image[20, 20] > 200
        corner[fit] = sum(image[rows, columns].max() > 150 for rows, columns in CORNERS)
    assert corner == {"crop": 0, "pad": 2, "stretch": 2}


def test_padding_has_the_mean_grey_of_the_border(tmp_path):
    picture = np.full((20, 40), 90, np.uint8)
    picture[5:15, 10:30] = 255
    save_image(tmp_path / "a.png", picture)
    image = single_image(tmp_path, "size=40x40 fit=pad")
    assert set(image[:9].ravel()) | set(image[31:].ravel()) == {90}


def test_a_resized_16_bit_image_stays_within_its_range(tmp_path):
    """Its values stay close to the original ones."""
    picture = np.zeros((32, 32), np.uint16)
    picture[:, 16:] = 65535  # bicubic resampling overshoots at this edge
    save_image(tmp_path / "a.png", picture)
    image = single_image(tmp_path, "size=48x48")
    assert image[:, :23].max() < 6000
    assert image[:, 25:].min() > 59000
    save_image(tmp_path / "a.png", np.full((31, 17), 12345, np.uint16))
    assert (single_image(tmp_path, "size=48x48") == 12345).all()


# ----------------------------------------------------------------------------------------- every dataset


def test_a_sample_has_what_the_dataset_provides(tmp_path):
    for name in ("p1/a", "p1/b", "p2/c"):
        save_image(tmp_path / f"{name}.png")
    dataset = open_folder(tmp_path)
    sample = dataset.sample(torch.tensor([1, 1, 0]))
    assert set(sample) == set(dataset.provides)
    assert sample["image"].shape == (3, *dataset.image_shape)
    assert sample["label"].dtype == torch.int64
    assert len(set(dataset.ids)) == len(dataset) == len(dataset.images)


@pytest.mark.parametrize(("words", "white"), [("", 255), ("max_value=250", 250), ("max_value=248.5", 248.5)])
def test_max_value_is_the_value_of_white(tmp_path, words, white):
    save_image(tmp_path / "a.png")
    assert open_folder(tmp_path, words).max_value == white


def test_a_value_brighter_than_white_is_refused(tmp_path):
    save_image(tmp_path / "a.png")
    message = error_message(tmp_path, "max_value=100")
    assert f"values from {GREY.min()} to {GREY.max()}, outside 0 to 100" in message
    assert "max_value=" in message


def test_dark_16_bit_images_are_noted(tmp_path):
    save_image(tmp_path / "a.png", DEEP // 16)
    assert "max_value=40" in open_folder(tmp_path).notes[0]
    assert open_folder(tmp_path, "max_value=4095").notes == []


@pytest.mark.parametrize("value", ["0", "-3", "nan"])
def test_a_max_value_that_is_not_positive_is_refused(tmp_path, value):
    save_image(tmp_path / "a.png")
    assert "max_value" in error_message(tmp_path, f"max_value={value}")


def test_an_optional_pattern_and_group_may_be_missing(tmp_path):
    words = "pattern=?{person}_{mood} group=?person"
    for name in ("a.png", "b.png"):
        save_image(tmp_path / name)
    dataset = open_folder(tmp_path, words)
    assert dataset.group is None and list(dataset.columns) == ["folder"] and not dataset.notes
    save_image(tmp_path / "ann_happy.png")
    dataset = open_folder(tmp_path, words)
    assert dataset.group == "person" and dataset.columns["person"][1] == "ann"
    assert any("2 of 3 images have names that do not match" in note for note in dataset.notes)
