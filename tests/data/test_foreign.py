"""Files of other formats are recognised by their first bytes, with advice on how to convert them."""

import zipfile

import numpy as np
import pytest
import scipy.io
from helpers import open_at, raises_user_error
from PIL import Image
from test_arrays import GREY
from test_folder import error_message

from neuro_noodle.data.foreign import KINDS, describe


def write_mat(path):
    scipy.io.savemat(path, {"images": GREY})


def write_hdf5(path):
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(50))


def write_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", b"")


def write_gif(path):
    frames = [Image.fromarray(frame) for frame in GREY]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def write_tiff(path):
    Image.fromarray(GREY[0]).save(path, format="TIFF")


def write_film(path):
    path.write_bytes(b"\0\0\0\x18ftypisom" + bytes(50))


FILES = {
    "a.mat": (
        write_mat,
        'a MATLAB file; save its array: import numpy, scipy.io; numpy.save("images.npy", scipy',
    ),
    "a.h5": (
        write_hdf5,
        'an HDF5 file; save its array: import numpy, h5py; numpy.save("images.npy", h5py.File("a',
    ),
    "a.zip": (write_zip, "a zip archive; unpack it"),
    "a.gif": (write_gif, "a GIF; if it is a film, extract its frames: ffmpeg -i a.gif frames/%06d.png"),
    "a.mp4": (write_film, "a film (MP4 or MOV); extract its frames: ffmpeg -i a.mp4 frames/%06d.png"),
    "a.tif": (write_tiff, "a TIFF; save its array: import numpy, tifffile"),
}


@pytest.mark.parametrize("name", FILES)
def test_the_arrays_dataset_says_what_another_file_is(tmp_path, name):
    """Named by --data_dir, by file=, or the only file of its folder."""
    write, message = FILES[name]
    write(tmp_path / name)
    for path, words in ((tmp_path / name, "arrays"), (tmp_path, f"arrays file={name}"), (tmp_path, "arrays")):
        with raises_user_error(message):
            open_at(path, words)


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("a.gif", "a.tif")])
def test_the_folder_dataset_says_what_another_file_is(tmp_path, name):
    write, message = FILES[name]
    write(tmp_path / name)
    assert f"{name} is {message}" in error_message(tmp_path)
    assert f"{name} is {message}" in error_message(tmp_path / name)


def test_the_folder_dataset_points_to_the_arrays_dataset(tmp_path):
    np.savez(tmp_path / "a.npz", GREY)
    assert "a.npz is a file of NumPy arrays; read it with --dataset arrays file=a.npz" in error_message(tmp_path)


def test_the_advice_for_a_matlab_file_gives_its_images(tmp_path, monkeypatch):
    write_mat(tmp_path / "a.mat")
    monkeypatch.chdir(tmp_path)
    advice = describe(tmp_path / "a.mat").partition("save its array: ")[2].partition(", then")[0]
    exec(advice.replace("NAME", "images"))
    assert np.array_equal(open_at(tmp_path / "images.npy").images[:, 0].numpy(), GREY)


STARTS = {
    b"MATLAB 7.3 MAT-file": "a MATLAB file (7.3)",
    b"RIFF\0\0\0\0AVI LIST": "a film (AVI)",
    b"\0\0\0\x18ftypheic": "an image in HEIC format",
    b"\0\0\0\x14ftypqt  ": "a film (MP4 or MOV)",
    b"\x1a\x45\xdf\xa3": "a film (MKV or WebM)",
    b"\0\0\x01\xba": "a film (MPEG)",
    b"\xff\xd8\xff\xe0": "an image file",
    b"\x93NUMPY": "a NumPy array",
    b"\x1f\x8b\x08": "a compressed file or archive",
    bytes(257) + b"ustar": "a tar archive",
    b"%!PS-Adobe": "a PostScript document",
    b"%PDF-1.4": "a PDF document",
    b"<?xml version='1.0'?>": "an SVG or XML document",
    b"8BPS": "a Photoshop document",
    b"\xd7\xcd\xc6\x9a": "a Windows metafile",
    b"\0\0\x01\0": "an icon, a cursor or a Targa image",
    bytes(128) + b"DICM": "a DICOM image",
    bytes(344) + b"n+1\0": "a NIfTI volume",
    b"SIMPLE  =": "a FITS image",
    b"\x80\x04": "a Python pickle, which is never opened",
    b"version https://git-lfs.github.com": "a pointer of Git LFS",
    b"/annex/objects/MD5E": "a pointer of git-annex",
}


@pytest.mark.parametrize("start", STARTS, ids=lambda start: STARTS[start])
def test_each_kind_is_recognised_by_its_first_bytes(tmp_path, start):
    (tmp_path / "a").write_bytes(start + b"more")
    what, _, advice = describe(tmp_path / "a").partition("; ")
    assert what == STARTS[start]
    assert advice and "{" not in advice


def test_every_kind_is_one_of_those_tested():
    tested = {message.partition(";")[0] for _, message in FILES.values()} | set(STARTS.values())
    assert {what for what, _ in KINDS.values()} - tested == {"a file of NumPy arrays"}


def test_a_file_that_is_unknown_or_unreadable_has_no_description(tmp_path):
    (tmp_path / "a").write_bytes(b"words")
    assert describe(tmp_path / "a") is None
    assert describe(tmp_path / "missing") is None
