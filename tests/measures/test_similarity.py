"""Similarity: what does not change it, what chance gives, and agreement with other implementations."""

import math
import warnings

import dcor
import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group, spearmanr

from neuro_noodle.measures.similarity import MEASURES as SIMILARITIES
from neuro_noodle.measures.similarity import cka, compact, dissimilarities, procrustes_deg, rsa, rsa_ceiling

MEASURES = {
    "cka": cka,
    "procrustes": lambda a, b: math.cos(math.radians(procrustes_deg(a, b))),
    "rsa": lambda a, b: rsa(dissimilarities(a), dissimilarities(b)),
}
every_measure = pytest.mark.parametrize("name", MEASURES)
shapes = pytest.mark.parametrize(("n", "d", "k"), [(40, 3, 8), (12, 30, 5), (9, 20, 50)])


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def related(n, d, k):
    """Return two representations that share a part."""
    shared = random(n, 2)
    return [shared @ random(2, size, seed=size) + 0.5 * random(n, size, seed=size + 1) for size in (d, k)]


@every_measure
@shapes
def test_rotating_shifting_and_scaling_change_nothing(name, n, d, k):
    a, b = related(n, d, k)
    moved = 3 * a @ ortho_group.rvs(d, random_state=0) - 7
    assert MEASURES[name](moved, a) == pytest.approx(1, abs=1e-9)
    assert MEASURES[name](moved, b) == pytest.approx(MEASURES[name](a, b), abs=1e-9)


@every_measure
@shapes
def test_similarity_is_symmetric(name, n, d, k):
    a, b = related(n, d, k)
    assert MEASURES[name](a, b) == pytest.approx(MEASURES[name](b, a), abs=1e-12)


@every_measure
def test_images_that_do_not_differ_have_no_similarity(name):
    constant = np.full((10, 3), 0.1)
    assert math.isnan(MEASURES[name](constant, random(10, 3)))


def test_rotated_latents_have_a_procrustes_distance_of_0():
    latents = random(50, 16)
    assert procrustes_deg(latents, latents @ ortho_group.rvs(16, random_state=1)) == pytest.approx(0, abs=1e-5)


def test_the_cka_of_independent_noise_is_0_on_average():
    found = [cka(random(50, 500, seed=i), random(50, 500, seed=1000 + i)) for i in range(200)]
    assert abs(np.mean(found)) < 0.005 and np.std(found) < 0.04


def test_equal_distances_stay_equal_after_compacting():
    classes = ((np.arange(60) // 2)[:, None] == np.arange(90)).astype(float)  # more columns than images
    other = random(60, 4)
    assert len(np.unique(dissimilarities(compact(classes)))) == 2
    expected = spearmanr(pdist(classes), pdist(other)).statistic
    table = SIMILARITIES["rsa"]
    assert table.score(table.prepare(compact(classes)), table.prepare(other)) == pytest.approx(expected, abs=1e-6)


def test_cka_of_few_images_is_not_defined():
    assert math.isnan(cka(random(3, 2), random(3, 2)))


@shapes
def test_cka_agrees_with_a_bias_corrected_distance_correlation(n, d, k):
    """Squared distances, U-centred, are -2 times a U-centred Gram matrix, so that both are the same number."""
    a, b = related(n, d, k)
    with warnings.catch_warnings(action="ignore"):  # squared distances do not detect every dependence
        expected = dcor.u_distance_correlation_sqr(a, b, exponent=2)
    assert cka(a, b) == pytest.approx(expected, abs=1e-6)


def test_procrustes_agrees_with_scipy():
    a, b = related(40, 6, 6)
    assert math.sin(math.radians(procrustes_deg(a, b))) ** 2 == pytest.approx(procrustes(a, b)[2], abs=1e-6)


@shapes
def test_rsa_agrees_with_scipy(n, d, k):
    a, b = related(n, d, k)
    assert rsa(dissimilarities(a), dissimilarities(b)) == pytest.approx(spearmanr(pdist(a), pdist(b))[0], abs=1e-6)


@pytest.mark.parametrize("noise", [0.5, 2.0, 4.0])
def test_the_ceiling_is_the_rsa_of_the_true_responses(noise):
    truth = random(60, 40) * np.linspace(0.2, 2, 60)[:, None]
    found, reached = [], []
    for seed in range(12):
        trials = truth + noise * random(6, 60, 40, seed=seed + 1)
        found.append(rsa_ceiling(trials))
        reached.append(rsa(dissimilarities(truth), dissimilarities(trials.mean(0))))
    assert np.mean(found) == pytest.approx(np.mean(reached), abs=0.03)
