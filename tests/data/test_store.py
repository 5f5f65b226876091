"""The store: an array is made once, whole or not at all, and a file is never trusted further than it reaches."""

import json
import multiprocessing
import os
import re

import numpy as np
import pytest

from neuro_noodle.choices import UserError
from neuro_noodle.data import store
from neuro_noodle.data.store import Mapped, Store, fingerprint, read_header, told_bytes

KEY = "0123456789abcdef" * 2
VALUES = np.arange(5 * 3000, dtype=np.uint16).reshape(5, 3000)


def fill(out):
    out[:] = VALUES
    return {"told": 7}


def never(*_):
    raise AssertionError("called")


def stored(folder, filler=fill, key=KEY, always=True):
    """The values and the dictionary that a store returns, and whether they lie in a file."""
    array, told = Store(folder, always=always).array(lambda: key, VALUES.shape, VALUES.dtype, filler)
    mapped = isinstance(array, Mapped)
    return np.array(array), told, mapped


def names(folder):
    """What lies in a folder beside locks."""
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def error(folder, **options) -> str:
    with pytest.raises(UserError) as told:
        stored(folder, **options)
    return str(told.value)


# ------------------------------------------------------------------------------------------------- made once


def test_a_small_array_stays_in_memory_and_leaves_no_folder(tmp_path):
    values, told, mapped = stored(tmp_path / "cache", key=None, always=False)
    assert np.array_equal(values, VALUES)
    assert (told, mapped) == ({"told": 7}, False)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("larger", [0, 1])
def test_an_array_is_stored_in_a_file_where_it_is_larger_than_may_be_in_memory(tmp_path, monkeypatch, larger):
    monkeypatch.setattr(store, "IN_MEMORY", VALUES.nbytes - larger)
    values, told, mapped = stored(tmp_path, always=False)
    assert np.array_equal(values, VALUES)
    assert (told, mapped) == ({"told": 7}, bool(larger))
    assert names(tmp_path) == [KEY] * larger


def test_a_stored_array_is_read_again_without_being_made_again(tmp_path):
    first = stored(tmp_path / "deep" / "cache")
    values, told, mapped = stored(tmp_path / "deep" / "cache", filler=never)
    assert np.array_equal(values, first[0])
    assert np.array_equal(values, VALUES)
    assert (told, mapped) == ({"told": 7}, True)


def test_another_key_makes_another_array(tmp_path):
    stored(tmp_path)
    other = "f" * 32
    assert np.array_equal(stored(tmp_path, key=other, filler=lambda out: fill(out) | {"told": 8})[0], VALUES)
    assert stored(tmp_path, filler=never)[1] == {"told": 7}
    assert stored(tmp_path, filler=never, key=other)[1] == {"told": 8}
    assert names(tmp_path) == sorted([KEY, other])


def test_a_stored_array_is_a_plain_npy_file_with_what_is_told_beside_it(tmp_path):
    stored(tmp_path)
    assert np.array_equal(np.load(tmp_path / KEY / "array.npy"), VALUES)
    assert json.loads((tmp_path / KEY / "told.json").read_text()) == {"told": 7}


def _slowly(folder, start, calls):
    def slow(out):
        with calls.get_lock():
            calls.value += 1
        start.wait(0.3)  # never set: time for the other to come
        return fill(out)

    assert np.array_equal(stored(folder, slow)[0], VALUES)


def test_two_processes_at_once_make_an_array_once(tmp_path):
    context = multiprocessing.get_context("fork")
    calls, start = context.Value("i", 0), context.Event()
    both = [context.Process(target=_slowly, args=(tmp_path, start, calls)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(30)
    assert [process.exitcode for process in both] == [0, 0]
    assert calls.value == 1


# --------------------------------------------------------------------------------------------- whole or not at all


@pytest.mark.parametrize("kind", [KeyboardInterrupt, RuntimeError])
def test_a_run_that_is_stopped_leaves_nothing_half_made_and_the_next_makes_it(tmp_path, kind):
    def stopped(out):
        out[:2] = VALUES[:2]
        raise kind

    with pytest.raises(kind):
        stored(tmp_path, stopped)
    assert names(tmp_path) == []
    assert np.array_equal(stored(tmp_path)[0], VALUES)


def test_what_a_killed_run_left_is_replaced(tmp_path):
    def killed(folder):
        stored(folder, lambda _: os._exit(9))

    process = multiprocessing.get_context("fork").Process(target=killed, args=(tmp_path,))
    process.start()
    process.join(30)
    assert names(tmp_path) == [f"{KEY}.part"]
    assert np.array_equal(stored(tmp_path)[0], VALUES)
    assert names(tmp_path) == [KEY]


def test_a_full_disk_is_told_before_anything_is_decoded_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    told = error(tmp_path, filler=never)
    assert f"cannot keep 0.0 MiB of decoded images in {tmp_path}: No space left on device" in told
    assert "--cache_dir" in told
    assert names(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_a_user_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "--cache_dir" in error(tmp_path / "file" / "cache")


def test_more_than_the_machine_has_in_memory_is_a_user_error(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "IN_MEMORY", 2**61)
    with pytest.raises(UserError, match="1073741824.0 GiB of images do not fit in memory"):
        Store(tmp_path).array(never, (2**60,), np.uint8, never)


def test_a_stored_array_that_lost_its_end_is_refused(tmp_path):
    stored(tmp_path)
    os.truncate(tmp_path / KEY / "array.npy", 1000)
    assert "it is cut off" in error(tmp_path, filler=never)


# -------------------------------------------------------------------------------------------------------- clear


def test_clear_removes_stored_and_half_made_arrays_and_tells_the_bytes(tmp_path):
    stored(tmp_path)
    stored(tmp_path, key="a" * 32)
    (tmp_path / f"{'b' * 32}.part").mkdir()
    (tmp_path / f"{'b' * 32}.lock").touch()
    freed = Store(tmp_path).clear()
    assert 2 * VALUES.nbytes <= freed <= 2 * VALUES.nbytes + 4 * 4096
    assert list(tmp_path.iterdir()) == []
    assert Store(tmp_path).clear() == Store(tmp_path / "nowhere").clear() == 0


def test_clear_leaves_an_array_that_is_being_made(tmp_path):
    def clear(out):
        assert Store(tmp_path).clear() == 0
        return fill(out)

    assert np.array_equal(stored(tmp_path, filler=clear)[0], VALUES)


@pytest.mark.parametrize("name", ["array.npy", f"{KEY}.npy", KEY[:31], f"{KEY}0", f"{KEY}.png", KEY.upper()])
@pytest.mark.parametrize("inside", [None, "array.npy"])
def test_clear_never_touches_a_file_or_folder_of_another_name(tmp_path, name, inside):
    path = tmp_path / name / inside if inside else tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    stored(tmp_path)
    Store(tmp_path).clear()
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert path.read_text() == "mine"


@pytest.mark.parametrize("name", [KEY, f"{KEY}/mine.jpg", f"{KEY}.part/mine.jpg", f"{KEY}.lock/mine.jpg"])
def test_clear_leaves_what_only_has_the_name_of_a_stored_array(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine")
    assert Store(tmp_path).clear() == 0
    assert path.read_text() == "mine"


# ------------------------------------------------------------------------------------------------- mapped files


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_a_mapped_file_has_the_same_values_and_cannot_be_written(tmp_path, order, version):
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.asarray(VALUES, order=order), version)
    array = Mapped(path)
    assert np.array_equal(array, VALUES)
    assert array.dtype == VALUES.dtype
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


def test_a_mapped_file_that_is_cut_off_is_refused_at_any_byte(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, VALUES)
    for n_bytes in (path.stat().st_size - 1, 200, 100, 9, 0):
        os.truncate(path, n_bytes)
        with pytest.raises(ValueError):
            Mapped(path)


@pytest.mark.parametrize("shape", [(5, 3000), (5, 1), (1, 1), (3, 4096), (3, 8192)])
def test_rows_are_read_ahead_from_the_first_to_the_last_and_stay_the_same(tmp_path, shape):
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


def header(path, text: str):
    line = text.encode() + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(line).to_bytes(2, "little") + line + bytes(64))
    return path.open("rb")


PLAIN = "{'descr': '|u1', 'fortran_order': False, 'shape': (8, 8)}"


def test_a_header_tells_shape_order_and_type_and_leaves_the_file_at_the_first_value(tmp_path):
    with header(tmp_path / "a.npy", PLAIN) as file:
        assert read_header(file) == ((8, 8), False, np.dtype(np.uint8))
        assert len(file.read()) == 64


@pytest.mark.parametrize("array", [np.array([{}, None]), np.zeros(2, [("a", "i4"), ("b", object)])], ids=str)
def test_pickled_objects_are_never_opened(tmp_path, array):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with (tmp_path / "a.npy").open("rb") as file, pytest.raises(ValueError, match="Python objects, which are never"):
        read_header(file)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (PLAIN.replace("}", ""), "header is damaged"),
        (PLAIN.replace("8)", "8"), "header is damaged"),
        (PLAIN.replace("(8", "(08"), "Cannot parse header"),
        (PLAIN.replace("(8", "(-8"), "negative size"),
        (PLAIN.replace("8)", "'8')"), "shape is not valid"),
        (PLAIN.replace("|u1", "|?9"), "not a valid dtype"),
    ],
)
def test_a_header_that_makes_no_sense_is_a_value_error(tmp_path, text, told):
    with header(tmp_path / "a.npy", text) as file, pytest.raises(ValueError, match=told):
        read_header(file)


# -------------------------------------------------------------------------------------------------- fingerprints


def test_a_fingerprint_is_a_name_that_clear_knows_and_comes_out_the_same_again(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    one = fingerprint(["a", tmp_path / "a"])
    assert re.fullmatch("[0-9a-f]{32}", one)
    os.utime(tmp_path / "a", (1, 1))
    assert fingerprint(iter(["a", tmp_path / "a"])) == one


@pytest.mark.parametrize("chunk", [2, 2**24])
def test_a_fingerprint_changes_with_a_byte_a_name_and_the_order_and_not_with_the_chunks(tmp_path, monkeypatch, chunk):
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"abd")
    a, b = tmp_path / "a", tmp_path / "b"
    usual = fingerprint(["a", a])
    monkeypatch.setattr(store, "CHUNK", chunk)
    assert fingerprint(["a", a]) == usual == fingerprint(["a", "abc"])
    others = [["a", b], ["b", a], [a, "a"], ["a"], ["aabc"], ["a", a, ""], ["aa", "bc"], []]
    assert len({usual, *map(fingerprint, others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("n_bytes", "told"),
    [(2**19, "0.5 MiB"), (2**30 - 2**20, "1023.0 MiB"), (2**30, "1.0 GiB"), (2.5 * 2**30, "2.5 GiB")],
)
def test_bytes_are_told_in_the_larger_unit(n_bytes, told):
    assert told_bytes(n_bytes) == told
