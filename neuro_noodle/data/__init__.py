"""Datasets: read image files and their metadata, split them, and check the split for leaks."""

from neuro_noodle.choices import import_all

import_all(__name__, __path__)  # importing any of its files imports all, so the table of datasets is complete
