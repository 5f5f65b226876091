"""The neurons that figures show, and their receptive fields next to the true ones."""

import numpy as np
import pytest

from neuro_noodle.views.neurons import choose_ranks, name_fields


@pytest.mark.parametrize(
    ("n", "ranks"),
    [
        (3, [0, 1, 2]),
        (12, [*range(12)]),
        (13, [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12]),
        (100, [0, 1, 2, 3, 48, 49, 50, 51, 96, 97, 98, 99]),
    ],
)
def test_the_best_the_median_and_the_worst_neurons_are_shown(n, ranks):
    assert choose_ranks(n).tolist() == ranks


def test_true_fields_have_the_scale_of_those_found():
    found, true = np.random.default_rng(0).normal(size=(2, 4, 2, 3, 3))
    true[1] = 0
    rows = name_fields(found, 7 * true)
    assert list(rows) == ["component\n1", "component\n2", "true\nfield 1", "true\nfield 2"]
    shown = np.stack([rows["true\nfield 1"], rows["true\nfield 2"]], 1)
    np.testing.assert_allclose(np.abs(shown[[0, 2, 3]]).max((1, 2, 3)), np.abs(found[[0, 2, 3]]).max((1, 2, 3)))
    assert not shown[1].any() and np.corrcoef(shown[0].ravel(), true[0].ravel())[0, 1] == pytest.approx(1)
    assert list(name_fields(found, None)) == list(rows)[:2]
