"""Files that cannot be read: named with the reason, or skipped on request and counted."""

import io

import numpy as np
import pytest
from PIL import Image
from test_folder import error_message, open_folder, save_image

from neuro_noodle.data.damage import explain_unreadable


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
    assert dataset.reading.unreadable == ["sub/bad.png"]
    assert dataset.reading.passed_over == {"unreadable images": 1}
    assert dataset.images.shape == (1, 1, 64, 64)
    assert len(dataset) == len(dataset.labels) == len(dataset.columns["folder"]) == 1


@pytest.mark.parametrize("how", ["truncated", "text"])
def test_a_folder_of_only_unreadable_files_is_an_error(tmp_path, how):
    """Also with --skip_unreadable."""
    write_damaged(tmp_path / "a.png", how)
    assert f"no image in {tmp_path} can be read, of 1" in error_message(tmp_path, skip_unreadable=True)


def test_only_the_first_of_many_unreadable_files_are_listed(tmp_path):
    for i in range(9):
        (tmp_path / f"{i}.png").write_text("words")
    message = error_message(tmp_path)
    assert "9 of 9 images" in message
    assert "4.png" in message
    assert "5.png" not in message
    assert "and 4 more" in message


def test_a_link_to_a_missing_image_is_an_unreadable_file(tmp_path):
    """DataLad and git-annex leave such links for content that was not fetched."""
    save_image(tmp_path / "good.png")
    (tmp_path / "bad.png").symlink_to("annex/objects/bad.png")
    assert "bad.png: a link to a file that does not exist; fetch it" in error_message(tmp_path)
    assert open_folder(tmp_path, skip_unreadable=True).reading.passed_over == {"unreadable images": 1}


def picture_bytes(name, **options):
    """Return an image file with colour, as one that compression does not make short."""
    values = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, name, **options)
    return file.getvalue()


LOST_END = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("WEBP", {}),
    ("WEBP", {"lossless": True}),
    ("AVIF", {}),
]


@pytest.mark.parametrize(("name", "options"), LOST_END)
def test_a_file_whose_end_became_zeros_is_damaged(tmp_path, name, options):
    """Decoders fill the rest with grey or black."""
    whole = picture_bytes(name, **options)
    n = len(whole) // 2
    (tmp_path / "a.png").write_bytes(whole[:-n] + bytes(n))
    message = f"a.png: its end is lost: the last {n:,} of {len(whole):,} bytes are zeros; fetch it again"
    assert message in error_message(tmp_path)


def test_the_end_marker_of_a_thumbnail_is_not_that_of_the_file(tmp_path):
    exif = b"Exif\0\0" + picture_bytes("JPEG")[:9000] + b"\xff\xd9"
    whole = picture_bytes("JPEG", exif=exif)
    (tmp_path / "a.jpg").write_bytes(whole[:-500] + bytes(500))
    assert "its end is lost: the last 500 of" in error_message(tmp_path)


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_zeros_after_the_end_of_a_whole_file_do_not_matter(tmp_path, name):
    (tmp_path / "a.png").write_bytes(picture_bytes(name) + bytes(500))
    assert len(open_folder(tmp_path)) == 1


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "PPM", "JPEG2000"])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_file_that_ends_early_is_said_to(tmp_path, name, share):
    whole = picture_bytes(name)
    (tmp_path / "a.png").write_bytes(whole[: int(share * len(whole))])
    assert "a.png: it ends early or is damaged" in error_message(tmp_path)


def test_an_empty_file_is_said_to_be_empty(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    assert "a.png: it is empty (0 bytes)" in error_message(tmp_path)


def test_a_file_that_may_not_be_opened_says_so(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    assert explain_unreadable(tmp_path / "a.png", PermissionError(13, "Permission denied")) == "Permission denied"
