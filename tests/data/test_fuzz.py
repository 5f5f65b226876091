"""Two thousand damaged files: each is read, or refused with one clear message, quickly and with little memory."""

import gzip
import io
import random
import resource
import struct
import time
import warnings
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

from neuro_noodle.choices import UserError
from neuro_noodle.data import store
from neuro_noodle.data.base import DATASETS, Source
from neuro_noodle.data.store import Store

N_OF_EACH = 72
MAX_SECONDS = 10  # s
MAX_MEMORY = 3 * 2**29  # bytes
MAX_DISK = 2 * 2**30
GENERATOR = np.random.default_rng(0)
GREY = GENERATOR.integers(0, 256, (24, 20), dtype=np.uint8)
DEEP = GENERATOR.integers(0, 65536, (24, 20)).astype(np.uint16)
COLOUR = GENERATOR.integers(0, 256, (24, 20, 3), dtype=np.uint8)
DEEP_COLOUR = GENERATOR.integers(0, 65536, (24, 20, 3)).astype(np.uint16)
FRAMES = GENERATOR.integers(0, 256, (5, 6, 7), dtype=np.uint8)
HUGE = (0, 1, 255, 10**4, 12_000, 65535, 10**5, 10**6, 2**31 - 1, 2**31, 2**32 - 1, 10**9, 10**12, 2**63 - 1, -1, -7)


def picture(values: np.ndarray, kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, kind, **options)
    return file.getvalue()


def npy(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def npz(save, **arrays) -> bytes:
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape) + values.tobytes()


def tiff(values: np.ndarray, photometric: str) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, photometric=photometric)
    return file.getvalue()


def tiled_tiff() -> bytes:
    """Return a TIFF with one tile of 32x32, which Pillow reads but does not write."""
    tile = np.zeros((32, 32), np.uint8)
    tile[:24, :20] = GREY
    tags = [(256, 20), (257, 24), (258, 8), (259, 1), (262, 1), (277, 1), (322, 32), (323, 32), (324, 134), (325, 1024)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + b"\0" * 4 + tile.tobytes()


RATES = np.arange(15.0).reshape(5, 3)
COLUMNS = {"mouse": np.arange(5), "name": np.array(list("abcde"))}
TABLE = "file,person,age\n" + "".join(f"{name},p{i % 2},{i}\n" for i, name in enumerate(["a.png", "b.png", "c.png"]))
IDX = {"train-images-idx3-ubyte": FRAMES, "train-labels-idx1-ubyte": np.arange(5, dtype=np.uint8)}
V1 = {
    "training_inputs.npy": GENERATOR.uniform(0, 255e-6, (4, 9)),
    "training_set.npy": GENERATOR.normal(size=(4, 3)),
    "validation_inputs.npy": GENERATOR.uniform(0, 255e-6, (2, 9)),
    "validation_set.npy": GENERATOR.normal(size=(2, 3)),
    "raw_validation_set.npy": GENERATOR.normal(size=(5, 2, 3)),
}
REGION = {name: npy(values) for name, values in V1.items()}

# name of a kind: (the damaged file, its content, the other files, the datasets that read them)
PICTURES = ["folder", "folder size=24x20", "folder size=9x31 fit=pad colour=rgb", "folder colour=auto fit=stretch"]
TABLES = ["folder metadata=t.csv", "folder metadata=t.csv label=person group=age"]
ARRAYS = ["arrays", "arrays max_value=70000", "arrays size=6x7 max_value=1e30"]
TABLE_IMAGES = {f"{name}.png": picture(GREY, "png") for name in "abc"}
KINDS = {
    "png 8 bit": ("b.png", picture(GREY, "png"), {"a.png": picture(GREY, "png")}, PICTURES),
    "png 16 bit": ("b.png", picture(DEEP, "png"), {"a.png": picture(GREY, "png")}, PICTURES),
    "png colour": ("b.png", picture(COLOUR, "png"), {}, PICTURES),
    "jpeg": ("b.jpg", picture(GREY, "jpeg"), {"a.png": picture(GREY, "png")}, PICTURES),
    "jpeg colour": ("b.jpg", picture(COLOUR, "jpeg", progressive=True), {}, PICTURES),
    "bmp": ("b.bmp", picture(GREY, "bmp"), {"a.png": picture(GREY, "png")}, PICTURES),
    "bmp colour": ("b.bmp", picture(COLOUR, "bmp"), {}, PICTURES),
    "tiff": ("b.tif", picture(DEEP, "tiff"), {"a.png": picture(GREY, "png")}, PICTURES),
    "tiff lzw": ("b.tif", picture(COLOUR, "tiff", compression="tiff_lzw"), {}, PICTURES),
    "tiff deflate": ("b.tif", picture(GREY, "tiff", compression="tiff_adobe_deflate"), {}, PICTURES),
    "tiff tiled": ("b.tif", tiled_tiff(), {}, PICTURES),
    "pgm": ("b.pgm", picture(GREY, "ppm"), {"a.png": picture(GREY, "png")}, PICTURES),
    "pgm plain": ("b.pgm", b"P2 4 3 255\n" + b" ".join(b"%d" % i for i in range(12)), {}, PICTURES),
    "ppm": ("b.ppm", picture(COLOUR, "ppm"), {}, PICTURES),
    "tiff 16 bit colour": ("b.tif", tiff(DEEP_COLOUR, photometric="rgb"), {}, PICTURES),
    "tiff float": ("b.tif", tiff(GREY / np.float32(255), photometric="minisblack"), {}, PICTURES),
    "webp": ("b.webp", picture(COLOUR, "webp", lossless=True), {}, PICTURES),
    "avif": ("b.avif", picture(COLOUR, "avif"), {}, PICTURES),
    "jpeg 2000": ("b.jp2", picture(COLOUR, "jpeg2000"), {}, PICTURES),
    "gif": ("b.gif", picture(GREY, "gif"), {"a.png": picture(GREY, "png")}, PICTURES),
    "png transparent": ("b.png", picture(np.dstack([COLOUR, GREY]), "png"), {}, PICTURES),
    "npy uint8": ("x.npy", npy(FRAMES), {}, ARRAYS),
    "npy uint16": ("x.npy", npy(FRAMES.astype(">u2")), {}, ARRAYS),
    "npy float": ("x.npy", npy(FRAMES / np.float32(255)), {}, ARRAYS),
    "npy double": ("x.npy", npy(np.asfortranarray(FRAMES / 255)), {}, ARRAYS),
    "npy bool": ("x.npy", npy(FRAMES.reshape(5, 42) > 127), {}, ARRAYS),
    "npz": ("x.npz", npz(np.savez, x=FRAMES, **COLUMNS), {}, ARRAYS),
    "npz deflated": ("x.npz", npz(np.savez_compressed, x=FRAMES, **COLUMNS), {}, [*ARRAYS, "arrays array=x"]),
    "csv of arrays": ("t.csv", b"a;b\n" + b"1;x\n" * 5, {"x.npy": npy(FRAMES)}, ["arrays metadata=t.csv label=b"]),
    "npy of arrays": (
        "t.npy",
        npy(np.array([(1, "x")] * 5, [("a", int), ("b", "U2")])),
        {"x.npy": npy(FRAMES)},
        ["arrays file=x.npy metadata=t.npy label=b", "arrays file=x.npy metadata=t.npy"],
    ),
    "csv of pictures": ("t.csv", TABLE.encode(), TABLE_IMAGES, TABLES),
    "idx images": ("train-images-idx3-ubyte", idx(FRAMES), {k: idx(v) for k, v in IDX.items()}, ["mnist"]),
    "idx labels gz": (
        "train-labels-idx1-ubyte.gz",
        gzip.compress(idx(np.arange(5, dtype=np.uint8))),
        {"train-images-idx3-ubyte.gz": gzip.compress(idx(FRAMES))},
        ["mnist"],
    ),
    "idx images gz": (
        "train-images-idx3-ubyte.gz",
        gzip.compress(idx(FRAMES)),
        {"train-labels-idx1-ubyte": idx(IDX["train-labels-idx1-ubyte"])},
        ["mnist", "mnist name=fashion"],
    ),
    "npz of a recording": (
        "x.npz",
        npz(np.savez, images=FRAMES, responses=RATES, trials=np.stack([RATES, RATES])),
        {},
        ["recordings", "recordings trials=trials"],
    ),
    "csv of a recording": ("t.csv", b"n;u\n0;1,5\n1;2\n2;3\n3;4\n4;5", {"x.npy": npy(FRAMES)}, ["recordings"]),
    "v1": ("region1/training_set.npy", b"", {f"region1/{name}": one for name, one in REGION.items()}, ["v1"]),
}


def damage(whole: bytes, other: bytes, generator: random.Random) -> bytes:
    """Change a file in one to three places, as damage or an attack could."""
    for _ in range(generator.choice((1, 1, 2, 3))):
        at, to = sorted((generator.randrange(len(whole) + 1), generator.randrange(len(whole) + 1)))
        if generator.random() < 0.5:  # errors are most likely in the header
            n_first = min(len(whole), 140)
            at, to = sorted((generator.randrange(n_first + 1), generator.randrange(n_first + 1)))
        how = generator.choice(("flip", "cut", "twice", "out", "in", "number", "number", "digits", "digits", "splice"))
        if how == "flip":
            changed = bytearray(whole)
            for _ in range(generator.choice((1, 4, 40)) if whole else 0):
                changed[generator.randrange(at, len(whole)) if at < len(whole) else -1] ^= 1 << generator.randrange(8)
            whole = bytes(changed)
        elif how == "number":
            form = generator.choice(("<H", ">H", "<I", ">I", "<q", ">q"))
            size = struct.calcsize(form)
            number = (generator.choice(HUGE) % 256**size).to_bytes(size, "little" if form[0] == "<" else "big")
            whole = whole[:at] + number + whole[at + size :]
        elif how == "digits":  # for headers that are text
            runs = [i for i, byte in enumerate(whole[:400]) if 48 <= byte < 58]
            at = generator.choice(runs) if runs else at
            whole = whole[:at] + str(generator.choice(HUGE)).encode() + whole[at + 1 :]
        else:
            start = generator.randrange(len(other) + 1)
            whole = {
                "cut": whole[:to],
                "twice": whole[:to] + whole[at:],
                "out": whole[:at] + whole[to:],
                "in": whole[:at] + generator.randbytes(generator.choice((1, 3, 100))) + whole[at:],
                "splice": whole[:at] + other[start:],
            }[how]
    return whole


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.fixture
def attempt(tmp_path, monkeypatch):
    """Return a function that reads a dataset and returns it, or the message of its UserError.

    Fails on any other error, and if reading needs too much time, memory or disk space.
    """
    allocated = []
    true_allocate = store.os.posix_fallocate

    def allocate(file: int, offset: int, n_bytes: int) -> None:
        allocated.append(n_bytes)
        assert n_bytes <= MAX_DISK
        true_allocate(file, offset, n_bytes)

    monkeypatch.setattr(store.os, "posix_fallocate", allocate)
    before = peak_memory()

    def read(words: str, folder: Path, skip_unreadable: bool = False, always: bool = False):
        started = time.monotonic()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                source = Source(folder, Store(tmp_path / "cache", always=always), skip_unreadable)
                dataset = DATASETS.build(words, source)
                dataset.sample(torch.arange(len(dataset)))
        except UserError as error:
            dataset = str(error)
        assert time.monotonic() - started < MAX_SECONDS
        assert peak_memory() - before < MAX_MEMORY
        return dataset

    return read


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_read_or_refused_with_one_message(kind, attempt, tmp_path):
    """Quickly, and with little memory and disk space."""
    name, whole, other_files, readers = KINDS[kind]
    folder = tmp_path / "data"
    write(folder, other_files)
    generator = random.Random(kind)
    others = [content for _, content, _, _ in KINDS.values() if content]
    outcomes = set()
    for number in range(N_OF_EACH):
        if kind == "v1":
            write(folder, other_files)
            name = generator.choice(list(other_files))
            whole = other_files[name]
        write(folder, {name: damage(whole, generator.choice(others), generator)})
        try:
            read = attempt(generator.choice(readers), folder, generator.random() < 0.5, generator.random() < 0.3)
        except Exception as error:
            (tmp_path / f"{number}").write_bytes((folder / name).read_bytes())
            raise AssertionError(f"{kind} number {number}: {type(error).__name__}: {error}") from error
        outcomes.add(type(read))
    assert str in outcomes


# ------------------------------------------------------------------------- headers that announce too much


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def npy_header(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue()


def lying_npz(shape: tuple[int, ...], compressed: int | None = None) -> bytes:
    """Return an npz file that announces an array that is not there, with the right checksum."""
    file = io.BytesIO()
    content = npy_header(shape) + b"short"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", content)
        info = archive.getinfo("x.npy")
        info.file_size = len(content) - 5 + int(np.prod(shape, dtype=object))
        info.compress_size = compressed or info.compress_size
    return file.getvalue()


M = 10**6
ANNOUNCED = {
    "png": ("a.png", b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", M, M, 8, 0, 0, 0, 0))),
    "bmp": ("a.bmp", b"BM" + struct.pack("<IIIIiiHHIIIIII", 99, 0, 54, 40, M, M, 1, 24, 0, 0, 0, 0, 0, 0)),
    "pgm": ("a.pgm", b"P5 1000000 1000000 255\n"),
    "plain pgm": ("a.pgm", b"P2 1000000 1000000 255\n1 2 3"),
    "tiff": (
        "a.tif",
        tiled_tiff().replace(struct.pack("<I", 20), struct.pack("<I", M)).replace(b"\x18\0\0\0", b"@B\x0f\0"),
    ),
    "npy": ("x.npy", npy_header((M, 1000, 1000))),
    "npy overflowing": ("x.npy", npy_header((2**62, 2, 2)) + bytes(9)),
    "npy negative": ("x.npy", npy_header((-1, -5, 5)) + bytes(25)),
    "npz of 40 GB": ("x.npz", lying_npz((40, 1000 * M, 1))),
    "npz of 40 GB, said to be 40 MB": ("x.npz", lying_npz((40, 1000 * M, 1), 40 * M)),
    "npz that is cut off": ("x.npz", lying_npz((5, 20, 30))),
    "idx": ("train-images-idx3-ubyte", b"\0\0\x08\x03" + struct.pack(">III", M, 1000, 1000)),
    "idx gz": ("train-images-idx3-ubyte.gz", gzip.compress(b"\0\0\x08\x03" + struct.pack(">III", M, 1000, 1000))),
}


@pytest.mark.parametrize("always", [False, True])
@pytest.mark.parametrize("kind", ANNOUNCED)
def test_a_header_that_announces_too_much_is_refused(kind, always, attempt, tmp_path):
    """The message names the file."""
    name, content = ANNOUNCED[kind]
    folder = tmp_path / "data"
    write(folder, {name: content, "train-labels-idx1-ubyte": idx(np.arange(5, dtype=np.uint8))})
    words = {".npy": "arrays", ".npz": "arrays", "": "mnist", ".gz": "mnist"}.get(Path(name).suffix, "folder")
    message = attempt(words, folder, always=always)
    assert name in message and "cannot be read" in message
    assert len(message) < 600
    assert not list(tmp_path.glob("cache/*/array.npy"))
