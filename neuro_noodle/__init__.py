"""Neuro Noodle: from a folder of images to a trained network, a map of what it learned, and an honest number."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from neuro_noodle.caches import name_writable_caches
from neuro_noodle.choices import UserError

if TYPE_CHECKING:
    from neuro_noodle.runs.export import export_run
    from neuro_noodle.runs.run import Run, open_run
    from neuro_noodle.runs.sessions import load_model
    from neuro_noodle.runs.sources import read_sources

__all__ = ["Run", "UserError", "export_run", "load_model", "open_run", "read_sources"]
_MODULES = {  # in runs
    "Run": "run",
    "export_run": "export",
    "load_model": "sessions",
    "open_run": "run",
    "read_sources": "sources",
}
# How long idle threads spin, read when torch is imported; the default makes a shared machine many times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
name_writable_caches()  # before a library that needs one is imported


def __getattr__(name: str) -> Any:
    """Import what notebooks use when it is first used, since torch takes seconds."""
    if name in _MODULES:
        return getattr(import_module(f"neuro_noodle.runs.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'neuro_noodle' has no attribute '{name}'")
