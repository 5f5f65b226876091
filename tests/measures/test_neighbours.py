"""Nearest neighbours share more than random images, and no image is its own neighbour."""

import numpy as np

from neuro_noodle.measures.neighbours import Neighbours, compare_neighbours, distances


def test_distances_are_euclidean_and_infinite_to_oneself():
    values = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    found = distances(values, np.array([2, 0]))
    np.testing.assert_allclose(found, [[1, np.sqrt(18), np.inf], [np.inf, 5, 1]])


def test_the_nearest_and_all_others_are_summarised():
    apart = np.array([[2.0, 1.0, np.inf], [5.0, np.inf, 7.0]])
    differences = np.array([[1.0, 0.0, 9.0], [3.0, 9.0, 4.0]])
    assert compare_neighbours(apart, differences, np.mean) == Neighbours(nearest=1.5, random=2.0)
