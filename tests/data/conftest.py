"""Fixtures of the tests of data."""

import pytest

from neuro_noodle.data import arrays, layouts, store


@pytest.fixture
def small_memory(monkeypatch):
    """Lower the memory limit so that every array is stored in a file."""
    for module in (arrays, layouts, store):
        monkeypatch.setattr(module, "IN_MEMORY", 100)
