"""Trackers: where the records of a run go while it trains."""

from neuro_noodle.choices import import_all

import_all(__name__, __path__)  # every file registers its tracker
