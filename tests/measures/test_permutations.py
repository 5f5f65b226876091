"""Permutation tests: what shuffles keep, and how often chance is called significant."""

import numpy as np
import pytest

from neuro_noodle.measures.permutations import permutation_test, shuffles

GROUPS = np.repeat(list("cabd"), [3, 5, 4, 4])


@pytest.mark.parametrize("groups", [GROUPS, np.arange(20), np.zeros(9)])
def test_a_shuffle_has_every_image_once(groups):
    for order in shuffles(groups, 20):
        assert sorted(order) == list(range(len(groups)))


def test_the_images_of_a_group_stay_together_and_in_their_circle():
    for order in shuffles(GROUPS, 50):
        names = GROUPS[order]
        assert 1 + (names[1:] != names[:-1]).sum() == 4
        for name in "abcd":
            steps = np.diff(order[names == name])
            assert ((steps == 1) | (steps == 1 - (name == GROUPS).sum())).all()


def test_values_of_whole_groups_are_compared_between_groups():
    """A column that is the same for a group has as many independent values as there are groups."""
    groups = np.repeat(np.arange(4), 50)
    values = np.array([0.0, 1.0, 2.0, 3.0])[groups]
    found = permutation_test(lambda i, j: float(values[i] @ values[j]), groups)
    assert found.p == pytest.approx(1 / 24, abs=0.02)  # of 24 orders of the groups, one is as good
    assert found.level in (13 * 50, 14 * 50)  # the two next best products


def test_labels_that_alternate_within_groups_can_be_significant():
    groups, labels = np.repeat(np.arange(20), 2), np.tile([0, 1], 20)
    assert permutation_test(lambda i, j: float((labels[i] == labels[j]).mean()), groups).p < 0.01


@pytest.mark.parametrize("per_group", [1, 5])
def test_unrelated_values_are_rarely_significant(per_group):
    generator, groups = np.random.default_rng(0), np.repeat(np.arange(30), per_group)
    found = []
    for _ in range(200):
        a, b = generator.normal(size=(2, 30))[:, groups] + 0.5 * generator.normal(size=(2, len(groups)))
        found.append(permutation_test(lambda i, j, a=a, b=b: float(a[i] @ b[j]), groups, n=99).p)
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.035)
