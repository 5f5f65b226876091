"""The store: an array is made once, completely or not at all, and damaged files are refused."""

import json
import mmap
import multiprocessing
import os
import re
import shutil

import numpy as np
import pytest

from neuro_noodle.choices import UserError
from neuro_noodle.data import store
from neuro_noodle.data.store import ArrayHeader, Mapped, Store, fingerprint, read_header
from neuro_noodle.plain import format_bytes

KEY = "0123456789abcdef" * 2
VALUES = np.arange(5 * 3000, dtype=np.uint16).reshape(5, 3000)


def write_values(out):
    out[:] = VALUES
    return {"n": 7}


def never(*_):
    raise AssertionError("called")


def store_values(folder, filler=write_values, key=KEY, always=True):
    """Return the values and the dictionary from a store, and whether they are mapped from a file."""
    array, about = Store(folder, always=always).array(lambda: key, VALUES.shape, VALUES.dtype, filler)
    is_mapped = isinstance(array, Mapped)
    return np.array(array), about, is_mapped


def names_without_locks(folder):
    """Return the names of everything in a folder but locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def error_message(folder, **options) -> str:
    with pytest.raises(UserError) as caught:
        store_values(folder, **options)
    return str(caught.value)


# ------------------------------------------------------------------------------------------------- made once


def test_a_small_array_stays_in_memory_without_a_folder(tmp_path):
    values, about, is_mapped = store_values(tmp_path / "cache", key=None, always=False)
    assert np.array_equal(values, VALUES)
    assert (about, is_mapped) == ({"n": 7}, False)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("larger", [0, 1])
def test_an_array_above_the_memory_limit_is_stored_in_a_file(tmp_path, monkeypatch, larger):
    monkeypatch.setattr(store, "IN_MEMORY", VALUES.nbytes - larger)
    values, about, is_mapped = store_values(tmp_path, always=False)
    assert np.array_equal(values, VALUES)
    assert (about, is_mapped) == ({"n": 7}, bool(larger))
    assert names_without_locks(tmp_path) == [KEY] * larger


def test_a_stored_array_is_read_again_and_not_made_again(tmp_path):
    first = store_values(tmp_path / "deep" / "cache")
    values, about, is_mapped = store_values(tmp_path / "deep" / "cache", filler=never)
    assert np.array_equal(values, first[0])
    assert np.array_equal(values, VALUES)
    assert (about, is_mapped) == ({"n": 7}, True)


def test_each_key_has_its_own_array(tmp_path):
    store_values(tmp_path)
    other = "f" * 32
    assert np.array_equal(store_values(tmp_path, key=other, filler=lambda out: write_values(out) | {"n": 8})[0], VALUES)
    assert store_values(tmp_path, filler=never)[1] == {"n": 7}
    assert store_values(tmp_path, filler=never, key=other)[1] == {"n": 8}
    assert names_without_locks(tmp_path) == sorted([KEY, other])


def test_a_stored_array_is_a_plain_npy_file_with_a_json_file(tmp_path):
    store_values(tmp_path)
    assert np.array_equal(np.load(tmp_path / KEY / "array.npy"), VALUES)
    assert json.loads((tmp_path / KEY / "about.json").read_text()) == {"n": 7}


def _store_slowly(folder, start, calls):
    def slow(out):
        with calls.get_lock():
            calls.value += 1
        start.wait(0.3)  # never set; gives the other process time to start
        return write_values(out)

    assert np.array_equal(store_values(folder, slow)[0], VALUES)


def test_two_processes_at_once_make_an_array_once(tmp_path):
    context = multiprocessing.get_context("fork")
    calls, start = context.Value("i", 0), context.Event()
    both = [context.Process(target=_store_slowly, args=(tmp_path, start, calls)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert calls.value == 1


# ------------------------------------------------------------------------------------------ completely or not at all


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_a_stopped_run_leaves_no_incomplete_array(tmp_path, kind):
    """The next run makes the array."""

    def stopped(out):
        out[:2] = VALUES[:2]
        raise kind

    with pytest.raises(kind):
        store_values(tmp_path, stopped)
    assert names_without_locks(tmp_path) == []
    assert np.array_equal(store_values(tmp_path)[0], VALUES)


def test_files_left_by_a_killed_run_are_replaced(tmp_path):
    def killed(folder):
        store_values(folder, lambda _: os._exit(9))

    process = multiprocessing.get_context("fork").Process(target=killed, args=(tmp_path,))
    process.start()
    process.join(30)
    assert names_without_locks(tmp_path) == [f"{KEY}.part"]
    assert np.array_equal(store_values(tmp_path)[0], VALUES)
    assert names_without_locks(tmp_path) == [KEY]


def test_a_full_disk_is_reported_before_anything_is_decoded(tmp_path, monkeypatch):
    """Nothing is left on the disk."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    message = error_message(tmp_path, filler=never)
    assert f"cannot keep 0.0 MiB of decoded images in {tmp_path}: No space left on device" in message
    assert "--cache_dir" in message
    assert names_without_locks(tmp_path) == []


@pytest.fixture
def other_system(monkeypatch):
    """Take away the calls that Windows or macOS lack."""

    class Pages(mmap.mmap):
        def __getattribute__(self, name):
            if name == "madvise":
                raise AttributeError(name)
            return super().__getattribute__(name)

    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(mmap, "mmap", Pages)


def test_arrays_are_stored_on_systems_without_linux_calls(tmp_path, other_system):
    assert np.array_equal(store_values(tmp_path)[0], VALUES)
    array = Mapped(tmp_path / KEY / "array.npy")
    array.read_ahead(range(len(VALUES)))
    assert np.array_equal(array, VALUES)


def test_a_full_disk_is_reported_on_systems_without_fallocate(tmp_path, other_system, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 0, VALUES.nbytes))
    assert "No space left on device" in error_message(tmp_path, filler=never)
    assert names_without_locks(tmp_path) == []


def test_a_folder_that_cannot_be_created_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("a file with the name of the folder")
    assert "--cache_dir" in error_message(tmp_path / "file" / "cache")


def test_too_little_memory_is_a_user_error(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "IN_MEMORY", 2**61)
    with pytest.raises(UserError, match="1073741824.0 GiB of images do not fit in memory"):
        Store(tmp_path).array(never, (2**60,), np.uint8, never)


def test_an_array_stored_by_an_earlier_version_is_refused(tmp_path):
    """Its description had another name; the message says how to remove it."""
    store_values(tmp_path)
    (tmp_path / KEY / "about.json").rename(tmp_path / KEY / "told.json")
    message = error_message(tmp_path, filler=never)
    assert f"{tmp_path / KEY} is damaged, or was written by an earlier version" in message
    assert "--clear_cache" in message


def test_a_truncated_stored_array_is_refused(tmp_path):
    store_values(tmp_path)
    os.truncate(tmp_path / KEY / "array.npy", 1000)
    assert "it is truncated" in error_message(tmp_path, filler=never)


# -------------------------------------------------------------------------------------------------------- clear


def test_clear_removes_all_arrays_and_returns_their_size(tmp_path):
    """Also those that were left incomplete."""
    store_values(tmp_path)
    store_values(tmp_path, key="a" * 32)
    (tmp_path / f"{'b' * 32}.part").mkdir()
    (tmp_path / f"{'b' * 32}.lock").touch()
    freed = Store(tmp_path).clear()
    assert 2 * VALUES.nbytes <= freed <= 2 * VALUES.nbytes + 4 * 4096
    assert list(tmp_path.iterdir()) == []
    assert Store(tmp_path).clear() == Store(tmp_path / "nowhere").clear() == 0


def test_clear_keeps_an_array_that_is_being_made(tmp_path):
    def clear(out):
        assert Store(tmp_path).clear() == 0
        return write_values(out)

    assert np.array_equal(store_values(tmp_path, filler=clear)[0], VALUES)


@pytest.mark.parametrize("name", ["array.npy", f"{KEY}.npy", KEY[:31], f"{KEY}0", f"{KEY}.png", KEY.upper()])
@pytest.mark.parametrize("inside", [None, "array.npy"])
def test_clear_keeps_files_and_folders_of_other_names(tmp_path, name, inside):
    path = tmp_path / name / inside if inside else tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    store_values(tmp_path)
    Store(tmp_path).clear()
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", [KEY, f"{KEY}/mine.jpg", f"{KEY}.part/mine.jpg", f"{KEY}.lock/mine.jpg"])
def test_clear_keeps_files_that_only_look_like_stored_arrays(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    assert Store(tmp_path).clear() == 0
    assert path.read_text() == "mine"


# ------------------------------------------------------------------------------------------------- mapped files


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_a_mapped_file_has_the_same_values_and_is_read_only(tmp_path, order, version):
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.asarray(VALUES, order=order), version)
    array = Mapped(path)
    assert np.array_equal(array, VALUES)
    assert array.dtype == VALUES.dtype
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_a_mapped_file_truncated_at_any_byte_is_refused(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, VALUES)
    for n_bytes in (path.stat().st_size - 1, 200, 100, 9, 0):
        os.truncate(path, n_bytes)
        with pytest.raises(ValueError):
            Mapped(path)


@pytest.mark.parametrize("shape", [(5, 3000), (5, 1), (1, 1), (3, 4096), (3, 8192)])
def test_all_rows_can_be_read_ahead_and_keep_their_values(tmp_path, shape):
    values = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.save(tmp_path / "a.npy", values)
    mapped = Mapped(tmp_path / "a.npy")
    offset = (tmp_path / "a.npy").stat().st_size - values.nbytes
    asked = []
    whole, mapped._pages = mapped._pages, type("Spy", (), {"madvise": lambda _, *given: asked.append(given)})()
    mapped.read_ahead(range(len(values)))
    for index, (_, first, length) in enumerate(asked):
        whole.madvise(*asked[index])
        start = offset + index * shape[1]
        assert first <= start < start + shape[1] <= first + length <= len(whole)
    assert len(asked) == len(values)
    assert np.array_equal(mapped, values)


# ------------------------------------------------------------------------------------------------------- headers


def write_header(path, text: str):
    line = text.encode() + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + bytes(64))
    return path.open("rb")


PLAIN = "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 8)}"


def test_a_header_holds_shape_order_and_type(tmp_path):
    """The file is then at its first value."""
    with write_header(tmp_path / "a.npy", PLAIN) as file:
        assert read_header(file) == ArrayHeader((8, 8), False, np.dtype(np.uint8))
        assert len(file.read()) == 64


@pytest.mark.parametrize("array", [np.array([{}, None]), np.zeros(2, [("a", "i4"), ("b", object)])], ids=str)
def test_pickled_objects_are_never_opened(tmp_path, array):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with (tmp_path / "a.npy").open("rb") as file, pytest.raises(ValueError, match="Python objects, which are never"):
        read_header(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PLAIN.replace("}", ""), "header is damaged"),
        (PLAIN.replace("8)", "8"), "header is damaged"),
        (PLAIN.replace("(8", "(08"), "Cannot parse header"),
        (PLAIN.replace("(8", "(-8"), "negative size"),
        (PLAIN.replace("8)", "'8')"), "shape is not valid"),
        (PLAIN.replace("|u1", "|?9"), "not a valid dtype"),
    ],
)
def test_an_invalid_header_is_a_value_error(tmp_path, text, message):
    with write_header(tmp_path / "a.npy", text) as file, pytest.raises(ValueError, match=message):
        read_header(file)


# -------------------------------------------------------------------------------------------------- fingerprints


def test_a_fingerprint_is_reproducible(tmp_path):
    """It has the form of the names that clear removes."""
    (tmp_path / "a").write_bytes(b"abc")
    one = fingerprint(["a", tmp_path / "a"])
    assert re.fullmatch("[0-9a-f]{32}", one)
    os.utime(tmp_path / "a", (1, 1))
    assert fingerprint(iter(["a", tmp_path / "a"])) == one


def test_a_name_that_is_not_utf_8_has_a_fingerprint():
    assert fingerprint(["caf\udce9.png"]) != fingerprint(["caf\udcea.png"])


@pytest.mark.parametrize("chunk", [2, 2**24])
def test_a_fingerprint_depends_on_content_names_and_order(tmp_path, monkeypatch, chunk):
    """It does not depend on the size of the pieces that are read."""
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abd")
    a, b = tmp_path / "a", tmp_path / "b"
    usual = fingerprint(["a", a])
    monkeypatch.setattr(store, "CHUNK", chunk)
    assert fingerprint(["a", a]) == usual == fingerprint(["a", "abc"])
    others = [["a", b], ["b", a], [a, "a"], ["a"], ["aabc"], ["a", a, ""], ["aa", "bc"], []]
    assert len({usual, *map(fingerprint, others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("n_bytes", "message"),
    [(2**19, "0.5 MiB"), (2**30 - 2**20, "1023.0 MiB"), (2**30, "1.0 GiB"), (2.5 * 2**30, "2.5 GiB")],
)
def test_bytes_are_formatted_in_the_larger_unit(n_bytes, message):
    assert format_bytes(n_bytes) == message
