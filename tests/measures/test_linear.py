"""Linear models: principal components and ridge regression."""

import numpy as np
import pytest

from neuro_noodle.measures import linear
from neuro_noodle.measures.linear import folds, grouped_ridge, principal_components, ridge

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_components_are_orthonormal_and_sorted_by_variance(dtype):
    pixels = (RNG.normal(size=(50, 12)) * np.arange(1, 13) + 7).astype(dtype)
    found = principal_components(pixels, 5)
    assert found.mean.dtype == found.directions.dtype == found.variances.dtype == dtype
    assert np.allclose(found.mean, pixels.mean(0), atol=1e-4)
    assert np.allclose(found.directions @ found.directions.T, np.eye(5), atol=1e-5)
    assert (np.diff(found.variances) <= 0).all()
    scores = (pixels - found.mean) @ found.directions.T
    assert np.allclose(scores.var(0, ddof=1), found.variances, rtol=1e-4)


def test_many_images_have_the_same_components_as_few(monkeypatch):
    images = np.random.default_rng(0).random((400, 30)).astype(np.float32) * np.linspace(1, 0.1, 30, dtype=np.float32)
    exact = principal_components(images, 8)
    monkeypatch.setattr(linear, "MIN_MANY_IMAGES", 400)
    of_many = principal_components(images, 8)
    assert np.allclose(of_many.directions, exact.directions, atol=1e-3)
    assert np.allclose(of_many.variances, exact.variances, rtol=1e-4)
    assert of_many.directions.dtype == of_many.variances.dtype == np.float32


def test_there_are_no_more_components_than_images_span():
    pixels = (RNG.normal(size=(40, 3)) @ RNG.normal(size=(3, 20))).astype(np.float32)
    assert principal_components(pixels, 10).directions.shape == (3, 20)
    one = principal_components(pixels[:1], 10)
    assert one.directions.shape == (0, 20) and one.variances.shape == (0,)
    assert np.array_equal(one.mean, pixels[0])


def test_both_ridge_regressions_find_a_linear_map():
    x = RNG.normal(size=(80, 6))
    y = x @ RNG.normal(size=(6, 3)) + [1, 20, -3]
    weights, bias = ridge(x, y, np.logspace(-7, 2, 19))
    assert np.allclose(x @ weights + bias, y, atol=1e-4)
    assert np.allclose(grouped_ridge(x, y, np.arange(80) // 8)(x), y, atol=1e-3)


def test_ridge_chooses_a_strength_for_each_column():
    """A column of noise is shrunk towards its mean, next to one that is linear in x."""
    x, noise = RNG.normal(size=(60, 20)), RNG.normal(size=60)
    y = np.stack([x[:, 0], noise], 1)
    strengths = np.logspace(-4, 6, 11)
    weights, bias = ridge(x, y, strengths)
    assert weights[0, 0] == pytest.approx(1, abs=0.01)
    unpenalised = np.linalg.lstsq(x - x.mean(0), noise - noise.mean(), rcond=None)[0]
    assert np.linalg.norm(weights[:, 1]) < 0.8 * np.linalg.norm(unpenalised)
    for column in (0, 1):
        alone, own_bias = ridge(x, y[:, [column]], strengths)
        assert np.allclose(alone[:, 0], weights[:, column]) and np.allclose(own_bias, bias[column])


def test_folds_keep_groups_together_or_images_in_order():
    groups = np.tile(["a", "b", "c", "d", "e", "f", "g"], 10)
    pairs = folds(70, groups)
    assert len(pairs) == 5
    for training, test in pairs:
        assert not set(groups[training]) & set(groups[test])
        assert sorted([*training, *test]) == list(range(70))
    assert len(folds(70, groups == "a")) == 2
    for ungrouped in (folds(70, None), folds(70, np.zeros(70))):
        assert len(ungrouped) == 5
        assert all(np.all(np.diff(test) == 1) for _, test in ungrouped)
