"""Neuro Noodle: from a folder of images to a trained network, a map of what it learned, and an honest number."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neuro_noodle.runs.run import Run, open_run
    from neuro_noodle.runs.sessions import load_model

__all__ = ["Run", "load_model", "open_run"]
# How long idle threads spin, read when torch is imported; the default makes a shared machine many times slower.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def __getattr__(name: str) -> Any:
    """Import what notebooks use when it is first used, since torch takes seconds."""
    if name in ("Run", "open_run"):
        from neuro_noodle.runs import run

        return getattr(run, name)
    if name == "load_model":
        from neuro_noodle.runs.sessions import load_model

        return load_model
    raise AttributeError(f"module 'neuro_noodle' has no attribute '{name}'")
