"""Objectives: what is predicted, and how wrong a prediction is."""

from neuro_noodle.choices import import_all

import_all(__name__, __path__)  # each file registers its entries, whichever module imports the package
