"""Reading image files: exact values, upright, of one size, and a clear message about each unreadable file."""

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

from neuro_noodle.choices import UserError
from neuro_noodle.data.base import DATASETS, Source
from neuro_noodle.data.columns import read_names
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


# ---------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "tiff", "pgm", "PNG", "Tif"])
def test_lossless_8_bit_grey_keeps_its_exact_values(tmp_path, ending):
    save_image(tmp_path / f"a.{ending}")
    assert np.array_equal(single_image(tmp_path), GREY)


@pytest.mark.parametrize("ending", ["png", "tif", "pgm"])
def test_16_bit_grey_keeps_its_exact_values(tmp_path, ending):
    save_image(tmp_path / f"a.{ending}", DEEP)
    dataset = open_folder(tmp_path)
    assert dataset.images.dtype == torch.uint16
    assert dataset.max_value == 65535
    assert np.array_equal(dataset.images[0, 0].numpy(), DEEP)


@pytest.mark.parametrize("ending", ["png", "bmp", "tif", "ppm"])
def test_lossless_colour_keeps_its_exact_values(tmp_path, ending):
    save_image(tmp_path / f"a.{ending}", COLOUR)
    assert np.array_equal(single_image(tmp_path), COLOUR)


@pytest.mark.parametrize("ending", ["jpg", "jpeg", "JPG"])
def test_jpeg_keeps_values_approximately(tmp_path, ending):
    smooth = np.linspace(20, 220, 32 * 24).reshape(32, 24).astype(np.uint8)
    save_image(tmp_path / f"a.{ending}", smooth, quality=95)
    assert np.abs(single_image(tmp_path).astype(int) - smooth).max() <= 6


def test_every_ending_is_one_of_those_tested():
    assert {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".pgm", ".ppm", ".pnm"} == SUFFIXES


@pytest.mark.parametrize(
    ("picture", "channels", "values"),
    [
        (Image.new("RGB", (2, 3), (200, 10, 30)), 3, [200, 10, 30]),
        (Image.new("RGBA", (2, 3), (200, 10, 30, 255)), 3, [200, 10, 30]),
        (Image.new("RGB", (2, 3), (200, 10, 30)).quantize(4), 3, [200, 10, 30]),
        (Image.new("CMYK", (2, 3), (55, 245, 225, 0)), 3, [200, 10, 30]),
        (Image.new("LA", (2, 3), (77, 255)), 1, [77]),
        (Image.new("1", (2, 3), 1), 1, [255]),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_every_mode_becomes_8_bit_grey_or_colour(tmp_path, picture, channels, values):
    save_image(tmp_path / "a.tif", picture)
    dataset = open_folder(tmp_path)
    assert dataset.images.dtype == torch.uint8
    assert dataset.image_shape == (channels, 3, 2)
    assert dataset.images[0, :, 1, 1].tolist() == values


def test_16_bit_and_8_bit_images_together_are_both_exact(tmp_path):
    save_image(tmp_path / "deep.png", DEEP)
    save_image(tmp_path / "flat.png", GREY)
    images = open_folder(tmp_path).images[:, 0].numpy()
    assert np.array_equal(images[0], DEEP)
    assert np.array_equal(images[1], GREY.astype(np.uint16) * 257)


def test_a_16_bit_grey_image_among_colour_ones_has_3_channels(tmp_path):
    save_image(tmp_path / "colour.png", COLOUR)
    save_image(tmp_path / "deep.png", DEEP)
    images = open_folder(tmp_path).images.numpy()
    assert np.array_equal(images[0], COLOUR.transpose(2, 0, 1).astype(np.uint16) * 257)
    assert np.array_equal(images[1], np.stack([DEEP] * 3))


@pytest.mark.parametrize(("colour", "channels"), [("auto", 3), ("grey", 1), ("rgb", 3)])
def test_one_colour_image_gives_all_3_channels_by_default(tmp_path, colour, channels):
    save_image(tmp_path / "a.png", GREY)
    save_image(tmp_path / "b.png", COLOUR)
    images = open_folder(tmp_path, f"colour={colour}").images
    assert images.shape == (2, channels, 6, 9)
    assert all(np.array_equal(plane, GREY) for plane in images[0].numpy())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("ending", ["png", "tif"])
def test_a_rotated_or_mirrored_image_is_upright_or_refused(tmp_path, ending, orientation):
    stored = {
        1: GREY,
        2: GREY[:, ::-1],
        3: GREY[::-1, ::-1],
        4: GREY[::-1],
        5: GREY.T,
        6: np.rot90(GREY),
        7: GREY[::-1, ::-1].T,
        8: np.rot90(GREY, -1),
    }[orientation]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    save_image(tmp_path / f"a.{ending}", np.ascontiguousarray(stored), exif=exif)
    if ending == "tif" and orientation >= 5:
        with pytest.raises(UserError, match="save it upright"):
            open_folder(tmp_path)
    else:
        assert np.array_equal(single_image(tmp_path), GREY)


def test_a_float_image_is_exact_or_refused_but_never_rounded(tmp_path):
    save_image(tmp_path / "a.tif", np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4))
    try:
        dataset = open_folder(tmp_path)
    except UserError as caught:
        assert "a.tif" in str(caught)
    else:
        assert len(dataset.images.unique()) == 12


def test_16_bit_colour_is_read_with_8_bits(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (6, 9, 3)).astype(">u2")
    (tmp_path / "a.ppm").write_bytes(b"P6 9 6 65535\n" + values.tobytes())
    images = open_folder(tmp_path).images
    assert images.dtype == torch.uint8
    assert np.abs(images[0].numpy().transpose(1, 2, 0) - values.astype(float) / 257).max() <= 1


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


# ------------------------------------------------------------------------------------------- unreadable files


def write_damaged(path, how):
    save_image(path, np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    whole = path.read_bytes()
    middle = len(whole) // 2
    corrupt = whole[:middle] + bytes(byte ^ 255 for byte in whole[middle : middle + 200]) + whole[middle + 200 :]
    path.write_bytes({"truncated": whole[:middle], "empty": b"", "text": b"these are words", "corrupt": corrupt}[how])


@pytest.mark.parametrize("how", ["truncated", "empty", "text", "corrupt"])
def test_an_unreadable_file_is_named_or_skipped_on_request(tmp_path, how):
    """A skipped file is recorded."""
    save_image(tmp_path / "good.png", np.zeros((64, 64), np.uint8))
    write_damaged(tmp_path / "sub" / "bad.png", how)
    message = error_message(tmp_path)
    assert "1 of 2 images cannot be read" in message
    assert f"{tmp_path / 'sub' / 'bad.png'}: " in message
    assert "--skip_unreadable" in message
    dataset = open_folder(tmp_path, skip_unreadable=True)
    assert dataset.ids == ["good.png"]
    assert dataset.skipped == ["sub/bad.png"]
    assert dataset.images.shape == (1, 1, 64, 64)
    assert len(dataset) == len(dataset.labels) == len(dataset.columns["folder"]) == 1


@pytest.mark.parametrize("how", ["truncated", "text"])
def test_a_folder_of_only_unreadable_files_is_an_error(tmp_path, how):
    """Also with --skip_unreadable."""
    write_damaged(tmp_path / "a.png", how)
    assert f"none of the 1 images in {tmp_path} can be read" in error_message(tmp_path, skip_unreadable=True)


def test_only_the_first_of_many_unreadable_files_are_listed(tmp_path):
    for i in range(9):
        (tmp_path / f"{i}.png").write_text("words")
    message = error_message(tmp_path)
    assert "9 of 9 images" in message
    assert "4.png" in message
    assert "5.png" not in message
    assert "and 4 more" in message


# ----------------------------------------------------------------------------------------------------- sizes


def test_images_of_several_sizes_are_refused_with_the_sizes(tmp_path):
    """The message suggests a size."""
    for name, shape in (("a", (6, 9)), ("b", (6, 9)), ("c", (4, 20))):
        save_image(tmp_path / f"{name}.png", np.zeros(shape, np.uint8))
    message = error_message(tmp_path)
    assert "2 different sizes" in message
    assert "6x9 (2 images), 4x20 (1 images)" in message
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


# ------------------------------------------------------------------------------------- names, classes, groups


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
    assert (dataset.label, dataset.group, dataset.notes) == ("emotion", "person", [])


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


def test_names_that_do_not_match_the_pattern_are_noted(tmp_path):
    """They are an error if label or group are read from them."""
    save_people(tmp_path)
    save_image(tmp_path / "p3" / "mean.png")
    dataset = open_folder(tmp_path, PATTERN)
    assert dataset.columns["emotion"] == ["happy", "sad", "sad", ""]
    assert "1 of 4 images have names that do not match" in dataset.notes[0]
    assert "p3/mean.png" in dataset.notes[0]
    for option in ("label", "group"):
        message = error_message(tmp_path, f"{PATTERN} {option}=emotion")
        assert "p3/mean.png" in message
        assert "but emotion must have a value for every image" in message


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
    assert "there are folder, person, emotion, step" in message


# ----------------------------------------------------------------------------------------- every dataset


def test_a_sample_has_what_the_dataset_provides(tmp_path):
    save_people(tmp_path)
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


def test_images_without_a_label_are_counted_and_listed(tmp_path):
    save_people(tmp_path)
    (tmp_path / "t.csv").write_text("file,mood\np1_happy_C03.png,good\np1_sad_C04.png,\np2_sad_C05.png,bad\n")
    message = error_message(tmp_path, f"metadata={tmp_path}/t.csv label=mood")
    assert "label=mood is empty for 1 of 3 images" in message and "p1_sad_C04.png" in message


@pytest.mark.parametrize("value", ["0", "-3", "nan"])
def test_a_max_value_that_is_not_positive_is_refused(tmp_path, value):
    save_image(tmp_path / "a.png")
    assert "max_value" in error_message(tmp_path, f"max_value={value}")


@pytest.mark.parametrize("name", ["id", "folder"])
def test_a_field_cannot_take_the_name_of_another_column(tmp_path, name):
    save_image(tmp_path / "a_b.png", GREY)
    with pytest.raises(UserError, match=f"cannot be called {name}"):
        open_folder(tmp_path, f"pattern={{{name}}}_{{}}")
