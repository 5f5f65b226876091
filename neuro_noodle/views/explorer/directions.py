"""The directions in the latent space in which metadata columns change, for the page."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from neuro_noodle.choices import UserError
from neuro_noodle.runs.metadata import read_column
from neuro_noodle.runs.run import Run
from neuro_noodle.views.walk import END, START, Walk, find_walk

MAX_CLASSES = 10  # of a column, the most frequent ones; there is a direction between each two


def find_directions(run: Run, latents: np.ndarray, columns: Sequence[str]) -> Iterator[Walk]:
    """Yield a direction for each column of numbers and for each two classes of the others; none for angles.

    Args:
        run: makes images.
        latents: (N, D) of all its images.
        columns: names of metadata columns.
    """
    is_training = run.part == "training"
    for name in columns:
        column = read_column(run.dataset, name)
        if column.period:
            continue
        counts = Counter(column.values[is_training & column.is_known].tolist())
        classes = sorted(value for value, _ in counts.most_common(MAX_CLASSES))
        for ends in combinations(classes, 2) if column.is_class else [(None, None)]:
            try:
                yield find_walk(run, latents, name, *ends)
            except UserError:  # too few training images
                continue


def ends_of(walk: Walk) -> tuple[str, str]:
    """Return the values at the start and at the end of a walk."""
    return walk.way.titles[START], walk.way.titles[END]
