"""TIFFs of microscopes and cameras: exact values, or an error that says what they hold."""

import numpy as np
import pytest
import tifffile
from test_folder import GREY, error_message, open_folder

RANDOM = np.random.default_rng(0)
RGB16 = RANDOM.integers(0, 65536, (6, 9, 3)).astype(np.uint16)
NUMBERS = RANDOM.integers(0, 65536, (6, 9))


def write(path, values, name="a.tif", **options):
    tifffile.imwrite(path / name, values, **options)
    return path


@pytest.mark.parametrize("photometric", ["rgb", "minisblack"])
@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_colour_of_16_bit_keeps_its_exact_values(tmp_path, photometric, planarconfig):
    values = RGB16 if planarconfig == "contig" else np.moveaxis(RGB16, 2, 0)
    dataset = open_folder(write(tmp_path, values, photometric=photometric, planarconfig=planarconfig))
    assert np.array_equal(dataset.images[0].numpy(), np.moveaxis(RGB16, 2, 0))


@pytest.mark.parametrize("kind", ["uint16", "uint32", "int32", "int64", ">u2", ">i4"])
def test_whole_numbers_of_any_type_keep_their_values(tmp_path, kind):
    dataset = open_folder(write(tmp_path, NUMBERS.astype(kind), photometric="minisblack"))
    assert np.array_equal(dataset.images[0, 0].numpy(), NUMBERS)
    assert dataset.max_value == 65535


@pytest.mark.parametrize("kind", ["float16", "float32", "float64"])
def test_floating_point_from_0_to_1_is_stored_with_16_bit(tmp_path, kind):
    values = np.linspace(0, 1, 54).reshape(6, 9).astype(kind)
    dataset = open_folder(write(tmp_path, values, photometric="minisblack"))
    assert np.abs(dataset.images[0, 0].numpy() / 65535 - values).max() <= 0.51 / 65535
    assert dataset.reading.changed == {"floating-point TIFFs, stored with 16 bit": 1}


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        (np.dstack([GREY] * 2), {"planarconfig": "contig"}, "it holds 2 channels of 8 bit (MINISBLACK); save it as"),
        (np.dstack([GREY] * 2).astype("u2"), {"planarconfig": "contig"}, "it holds 2 channels of 16 bit"),
        (np.dstack([GREY] * 3), {"planarconfig": "contig"}, "it holds 3 channels of 8 bit (MINISBLACK)"),
        (RGB16[..., [0, 0, 1, 2]], {"photometric": "rgb"}, "it holds 4 channels of 16 bit (RGB)"),
        (NUMBERS.astype("u2"), {"photometric": "miniswhite"}, "it holds 1 channel of 16 bit (MINISWHITE)"),
        (NUMBERS.astype("c8"), {}, "it holds 1 complex channel of 64 bit"),
        (NUMBERS - 40000, {}, "it holds values from -"),
        (NUMBERS * 9, {}, "white is 65535; scale them to 0 to 65535"),
        (NUMBERS / 9.0, {}, "but white is 1; scale them to 0 to 1"),
        (np.full((6, 9), np.nan), {}, "54 of its 54 values are NaN or infinite; replace them"),
        (RGB16, {"photometric": "rgb", "extratags": [(274, "H", 1, 3, True)]}, "it is stored rotated or mirrored"),
    ],
)
def test_an_unclear_tiff_is_refused_with_what_it_holds(tmp_path, values, options, message):
    write(tmp_path, values, **({"photometric": "minisblack"} | options))
    assert message in error_message(tmp_path)


def test_a_reduced_copy_in_a_tiff_is_not_another_image(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(GREY, photometric="minisblack")
        file.write(GREY[::2, ::2], photometric="minisblack", subfiletype=1)
    assert np.array_equal(open_folder(tmp_path).images[0, 0].numpy(), GREY)


@pytest.mark.parametrize("colour", ["grey", "rgb"])
def test_16_bit_colour_is_resized_and_converted(tmp_path, colour):
    flat = np.full((31, 17, 3), (10000, 20000, 30000), np.uint16)
    images = open_folder(write(tmp_path, flat, photometric="rgb"), f"size=20x20 colour={colour}").images
    expected = [10000, 20000, 30000] if colour == "rgb" else [18150]  # 0.299 R + 0.587 G + 0.114 B
    assert images[0, :, 10, 10].tolist() == expected
