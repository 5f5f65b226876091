"""Files of other formats: what they are, by their first bytes, and how to convert them."""

import re
from collections.abc import Iterable
from pathlib import Path

N_BYTES = 1024  # read of each file
FRAMES = "extract its frames: ffmpeg -i {file} frames/%06d.png"
UNPACK = "unpack it, and name the folder with --data_dir"
CONVERT = "convert it to PNG"
SAVE = 'save its array: import numpy, {module}; numpy.save("images.npy", {call})'
MATLAB = SAVE.format(module="scipy.io", call='scipy.io.loadmat("{file}")["NAME"]')
HDF5 = SAVE.format(module="h5py", call='h5py.File("{file}")["NAME"][()]')
TIFF = SAVE.format(module="tifffile", call='tifffile.imread("{file}")')
ARRAY = "read it with --dataset arrays file={file}"
FETCH = "fetch its content: {command}"
PICTURE = rb"\xff\xd8\xff|\x89PNG|BM....\0\0\0\0|RIFF....WEBP|P[1-6]\s"
OTHER_PICTURE = rb"GIF8|II[*+]\0|MM\0[*+]|....ftypavi[fs]|\0\0\0\x0cjP  |\xff\x4f\xff\x51"

KINDS = {  # a regular expression of the first bytes: what the file is, and what to do
    rb"MATLAB 7\.3": ("a MATLAB file (7.3)", f"{HDF5[:-1]}.T), then use axes=HWN"),
    rb"MATLAB ": ("a MATLAB file", f"{MATLAB}, then use axes=HWN if the images are on the last axis"),
    rb"\x89HDF\r\n": ("an HDF5 file", HDF5),
    rb"RIFF....AVI ": ("a film (AVI)", FRAMES),
    rb"....ftyp(heic|heix|heif|hevc|mif1|msf1)": ("an image in HEIC format", "convert it to JPEG"),
    rb"....(ftyp(?!avif|avis)|moov|mdat|wide)": ("a film (MP4 or MOV)", FRAMES),
    rb"\x1a\x45\xdf\xa3": ("a film (MKV or WebM)", FRAMES),
    rb"\0\0\x01[\xba\xb3]": ("a film (MPEG)", FRAMES),
    rb"GIF8": ("a GIF", f"if it is a film, {FRAMES}"),
    rb"II[*+]\0|MM\0[*+]": ("a TIFF", TIFF),
    PICTURE: (
        "an image file",
        "name its folder for --dataset folder",
    ),
    rb"\x93NUMPY": ("a NumPy array", ARRAY),
    rb"PK\x03\x04.{26}[^\0]{1,200}?\.npy": ("a file of NumPy arrays", ARRAY),
    rb"PK\x03\x04": ("a zip archive", UNPACK),
    rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!": ("a compressed file or archive", UNPACK),
    rb".{257}ustar": ("a tar archive", UNPACK),
    rb"%!PS|\xc5\xd0\xd3\xc6": ("a PostScript document", CONVERT),
    rb"%PDF": ("a PDF document", CONVERT),
    rb"\s*<(\?xml|svg)": ("an SVG or XML document", CONVERT),
    rb"8BPS": ("a Photoshop document", CONVERT),
    rb"\xd7\xcd\xc6\x9a": ("a Windows metafile", CONVERT),
    rb"\0\0[\x01\x02]\0": ("an icon, a cursor or a Targa image", CONVERT),
    rb".{128}DICM": ("a DICOM image", CONVERT),
    rb".{344}(n\+1|ni1)\0": ("a NIfTI volume", "save its array with nibabel and numpy.save"),
    rb"SIMPLE  =": ("a FITS image", CONVERT),
    rb"\x80[\x02-\x05]": ("a Python pickle, which is never opened", "save its array with numpy.save"),
    rb"version https://git-lfs": ("a pointer of Git LFS", FETCH.format(command="git lfs pull")),
    rb"/annex/objects/": ("a pointer of git-annex", FETCH.format(command="datalad get, or git annex get")),
}


def describe(path: Path) -> str | None:
    """Return what a file is, and how to convert it; None if that is unknown."""
    start = _first_bytes(path)
    for expression, (what, advice) in KINDS.items():
        if re.match(expression, start, re.DOTALL):
            return f"{what}; {advice.replace('{file}', path.name)}"
    return None


def is_picture(path: Path) -> bool:
    """Return whether a file starts like an image of one of the formats that --dataset folder reads."""
    return bool(re.match(PICTURE + b"|" + OTHER_PICTURE, _first_bytes(path), re.DOTALL))


def _first_bytes(path: Path) -> bytes:
    """Return the first bytes of a file, none if it cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(N_BYTES)
    except OSError:
        return b""


def describe_first(paths: Iterable[Path]) -> str:
    """Return a sentence about the first file that can be described, as the end of an error; empty if there is none."""
    described = ((path, describe(path)) for path in paths)
    return next((f"; {path.name} is {what}" for path, what in described if what), "")
