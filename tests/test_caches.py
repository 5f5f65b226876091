"""Caches of other libraries where the home of the user cannot be written."""

import os

import pytest

from neuro_noodle.caches import VARIABLES, name_writable_caches


@pytest.fixture
def variables(monkeypatch, tmp_path):
    """Return the environment, in which no cache is named and the cache of the user is a new folder."""
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache" / "new"))
    return os.environ


def test_a_cache_that_can_be_written_is_used(variables):
    name_writable_caches()
    assert {variables[name] for name in VARIABLES} == {""}


def test_a_read_only_home_is_replaced_by_a_temporary_folder(variables, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    monkeypatch.setenv(VARIABLES[0], "/mine")
    name_writable_caches()
    assert variables[VARIABLES[0]] == "/mine"
    assert os.path.isdir(variables[VARIABLES[1]])  # noqa: PTH112


def test_a_home_that_only_seems_to_be_writable_is_replaced(variables, monkeypatch):
    def refuse(dir):
        raise OSError(2, "No such file or directory")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    name_writable_caches()
    assert all(variables[name] for name in VARIABLES)


def test_without_any_folder_to_write_the_import_still_works(variables, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: (_ for _ in ()).throw(OSError("read-only")))
    name_writable_caches()
    assert {variables[name] for name in VARIABLES} == {""}
