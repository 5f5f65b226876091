"""Neuro Noodle: from a folder of images to a trained network, a map of what it learned, and an honest number."""


def __getattr__(name: str) -> object:
    """Import `open_run` when it is first used, so that importing the package does not import torch."""
    if name == "open_run":
        from neuro_noodle.runs.run import open_run

        return open_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
