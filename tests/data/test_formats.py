"""Image formats: exact values, upright, and nothing but the formats that are listed."""

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from test_folder import COLOUR, DEEP, GREY, error_message, open_folder, save_image, single_image

from neuro_noodle.choices import Size, UserError
from neuro_noodle.data.folder import _n_threads
from neuro_noodle.data.pictures import SUFFIXES, Header

LOSSLESS_GREY = ["png", "bmp", "tif", "tiff", "pgm", "gif", "apng"]
LOSSLESS_COLOUR = ["png", "bmp", "tif", "ppm", "webp", "j2k", "j2c", "jpc", "jpx"]
LOSSY = ["jpg", "jpe", "jpeg", "jfif", "avif"]


@pytest.mark.parametrize("ending", [*LOSSLESS_GREY, "PNG", "Tif"])
def test_lossless_8_bit_grey_keeps_its_exact_values(tmp_path, ending):
    save_image(tmp_path / f"a.{ending}")
    assert np.array_equal(single_image(tmp_path, "colour=grey"), GREY)


@pytest.mark.parametrize("ending", ["png", "tif", "pgm", "jp2"])
def test_16_bit_grey_keeps_its_exact_values(tmp_path, ending):
    save_image(tmp_path / f"a.{ending}", DEEP)
    dataset = open_folder(tmp_path)
    assert dataset.images.dtype == torch.uint16
    assert dataset.max_value == 65535
    assert np.array_equal(dataset.images[0, 0].numpy(), DEEP)


@pytest.mark.parametrize("ending", LOSSLESS_COLOUR)
def test_lossless_colour_keeps_its_exact_values(tmp_path, ending):
    save_image(tmp_path / f"a.{ending}", COLOUR, lossless=True)
    assert np.array_equal(single_image(tmp_path), COLOUR)


@pytest.mark.parametrize("ending", [*LOSSY, "JPG"])
def test_lossy_formats_keep_values_approximately(tmp_path, ending):
    smooth = np.linspace(20, 220, 32 * 24).reshape(32, 24).astype(np.uint8)
    save_image(tmp_path / f"a.{ending}", smooth, quality=95)
    assert np.abs(single_image(tmp_path, "colour=grey").astype(int) - smooth).max() <= 6


def test_every_ending_is_one_of_those_tested():
    assert {*LOSSLESS_GREY, *LOSSLESS_COLOUR, *LOSSY, "jp2", "pbm", "pnm"} == {suffix[1:] for suffix in SUFFIXES}


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


def test_16_bit_colour_read_with_8_bits_is_counted(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (6, 9, 3)).astype(">u2")
    (tmp_path / "a.ppm").write_bytes(b"P6 9 6 65535\n" + values.tobytes())
    dataset = open_folder(tmp_path)
    images = dataset.images
    assert dataset.reading.changed == {"images of 16 bit with colour or transparency, read with 8 bit": 1}
    assert images.dtype == torch.uint8
    assert np.abs(images[0].numpy().transpose(1, 2, 0) - values.astype(float) / 257).max() <= 1


def test_a_png_that_says_late_that_it_is_rotated_is_refused(tmp_path):
    """Its size would be known only after decoding."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    save_image(tmp_path / "a.png", GREY, exif=exif)
    whole = (tmp_path / "a.png").read_bytes()
    start, end = whole.index(b"eXIf") - 4, whole.index(b"IDAT") - 4
    last = whole.index(b"IEND") - 4
    (tmp_path / "a.png").write_bytes(whole[:start] + whole[end:last] + whole[start:end] + whole[last:])
    assert "it is stored rotated by 90 degrees, and says so only after its pixels" in error_message(tmp_path)


# ------------------------------------------------------------------------------------- other contents and formats


def test_an_image_may_have_the_ending_of_another_format(tmp_path):
    save_image(tmp_path / "a.jpg", GREY, format="PNG")
    assert np.array_equal(single_image(tmp_path), GREY)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n", "a PostScript document; convert it to PNG"),
        (b"%PDF-1.7", "a PDF document"),
        (b"\xd7\xcd\xc6\x9a" + bytes(60), "a Windows metafile"),
        (b"\0\0\0\x18ftypheic" + bytes(60), "an image in HEIC format; convert it to JPEG"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS; fetch its content: git lfs pull"),
        (b"words", "not an image"),
    ],
)
def test_a_file_of_another_format_is_named(tmp_path, content, message):
    (tmp_path / "a.png").write_bytes(content)
    assert f"a.png: {message}" in error_message(tmp_path)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "avif"])
def test_an_animation_is_refused_with_its_number_of_frames(tmp_path, ending):
    frames = [Image.fromarray(np.full((16, 16), 40 * i, np.uint8)) for i in range(5)]
    save_image(tmp_path / f"a.{ending}", frames[0], save_all=True, append_images=frames[1:])
    assert "it is an animation of 5 frames; extract them" in error_message(tmp_path)


def test_a_tiff_of_several_pages_is_refused_with_their_number(tmp_path):
    pages = [Image.fromarray(page) for page in (GREY, GREY, GREY)]
    save_image(tmp_path / "a.tif", pages[0], save_all=True, append_images=pages[1:])
    assert "it holds 3 images; save each in a file of its own" in error_message(tmp_path)


def test_the_first_image_of_a_photograph_with_preview_is_read(tmp_path):
    """Phones write MPO files, named .jpg: a photograph, then smaller versions of it."""
    photograph, preview = Image.new("L", (32, 32), 200), Image.new("L", (8, 8), 20)
    save_image(tmp_path / "a.jpg", photograph, format="MPO", save_all=True, append_images=[preview])
    dataset = open_folder(tmp_path)
    assert (dataset.images == 200).all()
    assert dataset.reading.changed == {"photographs with a preview (MPO), of which the first image was read": 1}


def test_an_image_of_too_many_pixels_is_refused(tmp_path):
    """Before it is decoded, and also where Pillow only warns."""
    save_image(tmp_path / "a.png", np.zeros((20, 30), np.uint8))
    save_image(tmp_path / "b.png", np.ones((20, 20), np.uint8))
    assert "it has 600 pixels (20x30), more than max_pixels=500" in error_message(tmp_path, "max_pixels=500 size=9x9")
    assert open_folder(tmp_path, "max_pixels=600 size=9x9").images.shape == (2, 1, 9, 9)


def test_fewer_large_images_are_decoded_at_once(monkeypatch):
    headers = [Header(Size(1, 1), False, False, False, n_bytes, "") for n_bytes in (1, 2**28)]
    assert _n_threads(headers) <= 4
    assert _n_threads([Header(Size(1, 1), False, False, False, 2**40, "")]) == 1


def test_limits_of_pillow_are_as_before_after_reading(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    save_image(tmp_path / "a.png")
    assert np.array_equal(single_image(tmp_path), GREY)
    assert Image.MAX_IMAGE_PIXELS == 10


# -------------------------------------------------------------------------------------------------- transparency

HALF = np.repeat([[0, 255]], 6, 0).repeat(4, 1).astype(np.uint8)  # left transparent, right opaque


def with_alpha(grey, alpha, mode):
    planes = [Image.fromarray(np.full_like(alpha, grey) if np.isscalar(grey) else grey)]
    return Image.merge(mode, planes * (len(mode) - 1) + [Image.fromarray(alpha)])


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
@pytest.mark.parametrize(("words", "level"), [("", 255), ("background=grey", 128), ("background=black", 0)])
def test_transparent_pixels_show_the_background(tmp_path, mode, words, level):
    """Not the colours that are hidden in them."""
    hidden = np.random.default_rng(0).integers(0, 256, HALF.shape, dtype=np.uint8)
    hidden[:, 4:] = 77
    save_image(tmp_path / "a.png", with_alpha(hidden, HALF, mode))
    save_image(tmp_path / "b.png", np.full(HALF.shape, 9, np.uint8))
    dataset = open_folder(tmp_path, f"{words} colour=grey")
    assert (dataset.images[0, 0, :, :4] == level).all()
    assert (dataset.images[0, 0, :, 4:] == 77).all()
    name = words.removeprefix("background=") or "white"
    assert dataset.reading.changed == {f"images with transparent pixels, drawn on {name}": 1}


def test_a_transparent_colour_of_a_palette_shows_the_background(tmp_path):
    palette = Image.fromarray(HALF).quantize(2)
    clear = palette.getpixel((0, 0))
    save_image(tmp_path / "a.png", palette, transparency=clear)
    save_image(tmp_path / "b.gif", palette, transparency=clear)
    assert (open_folder(tmp_path).images == 255).all()


def test_opaque_images_with_an_alpha_channel_are_unchanged(tmp_path):
    save_image(tmp_path / "a.png", with_alpha(GREY, np.full_like(GREY, 255), "LA"))
    dataset = open_folder(tmp_path)
    assert np.array_equal(dataset.images[0, 0].numpy(), GREY)
    assert dataset.reading.changed == {}


def test_a_transparent_level_of_16_bits_is_refused(tmp_path):
    save_image(tmp_path / "a.png", DEEP, transparency=int(DEEP[0, 0]))
    assert "it has 16 bits and a level that is transparent" in error_message(tmp_path)


def test_images_that_only_differ_in_hidden_colours_are_refused(tmp_path):
    for i in range(3):
        save_image(tmp_path / f"{i}.png", with_alpha(i, np.zeros_like(HALF), "RGBA"))
    with pytest.raises(UserError, match="all 3 images are the same .*; choose another background= for"):
        _ = open_folder(tmp_path).inventory
