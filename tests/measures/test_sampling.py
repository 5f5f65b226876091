"""Evenly spaced samples."""

import numpy as np
import pytest

from neuro_noodle.measures.sampling import evenly_spaced


@pytest.mark.parametrize(
    ("n", "n_max", "expected"),
    [
        (5, 9, [0, 1, 2, 3, 4]),
        (5, 5, [0, 1, 2, 3, 4]),
        (9, 3, [0, 4, 8]),
        (9, 1, [0]),
        (10, 4, [0, 3, 6, 9]),
        (0, 3, []),
    ],
)
def test_a_sample_spans_the_range_evenly(n, n_max, expected):
    assert evenly_spaced(np.arange(n), n_max).tolist() == expected


def test_any_values_can_be_sampled():
    assert evenly_spaced(np.array([7, 3, 11]), 2).tolist() == [7, 11]
