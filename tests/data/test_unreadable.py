"""Files that cannot be read: named with the reason, or skipped on request and counted."""

import numpy as np
import pytest
from test_folder import error_message, open_folder, save_image


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
    assert f"none of the 1 images in {tmp_path} can be read" in error_message(tmp_path, skip_unreadable=True)


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
