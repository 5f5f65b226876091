"""Datasets: image files to samples."""

from neuro_noodle.choices import import_all

import_all(__name__, __path__)  # every file registers its entries, whoever imports the package
