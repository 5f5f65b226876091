"""Noise ceilings: correlations, and ceilings that are neither too high nor too low."""

import numpy as np
import pytest
from helpers import DATA

from neuro_noodle.measures.ceilings import (
    explainable_variance,
    noise_ceiling,
    pearson,
    signal_variance,
    split_half,
)

RNG = np.random.default_rng(0)
REGION = DATA / "antolik2016_v1" / "region1"


def population(n_trials, n_images, noise, n_neurons=200):
    """Return trials (T, n, N) of a signal of variance 1 with noise of this sd, and the signal."""
    signal = RNG.standard_normal((n_images, n_neurons))
    return signal + noise * RNG.standard_normal((n_trials, n_images, n_neurons)), signal


# ------------------------------------------------------------------------------------------------ correlations


def test_pearson_equals_numpys_and_ignores_scale_and_offset():
    a, b = RNG.standard_normal((2, 30, 5))
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)]
    assert np.allclose(pearson(a, b), expected)
    assert np.allclose(pearson(3 * a + 7, b), expected)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_a_constant_prediction_or_recording_has_r_0(constant):
    varied = RNG.standard_normal((30, 1))
    still = np.full((30, 1), constant)
    assert pearson(still, varied) == pearson(varied, still) == pearson(still, still) == 0


def test_missing_responses_do_not_affect_r():
    a, b = RNG.standard_normal((2, 30, 2))
    b[::3, 0] = np.nan
    kept = np.isfinite(b[:, 0])
    assert np.allclose(pearson(a, b)[0], np.corrcoef(a[kept, 0], b[kept, 0])[0, 1])
    assert np.allclose(pearson(a, b)[1], np.corrcoef(a[:, 1], b[:, 1])[0, 1])
    assert np.isnan(pearson(a, np.full_like(a, np.nan))).all()


# ---------------------------------------------------------------------------------------------------- ceilings


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_the_ceiling_is_the_correlation_of_the_true_signal(noise):
    trials, signal = population(10, 400, noise)
    assert noise_ceiling(trials).mean() == pytest.approx(pearson(signal, trials.mean(0)).mean(), abs=0.02)


def test_the_ceiling_of_noise_is_near_0_and_without_noise_1():
    trials = RNG.standard_normal((10, 50, 300))
    assert noise_ceiling(trials).mean() < 0.2  # the rest is chance, because no ceiling is below 0
    assert np.median(noise_ceiling(trials)) == 0
    clean, _ = population(4, 50, 0)
    assert np.allclose(noise_ceiling(clean), 1)
    assert np.allclose(explainable_variance(clean), 1)


def test_explainable_variance_is_the_share_of_the_signal():
    trials, _ = population(10, 400, 2.0)
    assert explainable_variance(trials).mean() == pytest.approx(1 / 5, abs=0.02)


def test_signal_variance_is_unbiased():
    variance = signal_variance(population(10, 400, 2.0)[0])
    assert variance.signal.mean() == pytest.approx(1, abs=0.05)
    assert variance.of_mean.mean() == pytest.approx(1 + 4 / 10, abs=0.05)
    assert variance.of_trial.mean() == pytest.approx(1 + 4, abs=0.05)


def test_images_with_fewer_trials_are_handled():
    trials, signal = population(12, 600, 1.5)
    trials[6:, ::2] = np.nan
    assert noise_ceiling(trials).mean() == pytest.approx(pearson(signal, np.nanmean(trials, 0)).mean(), abs=0.02)


def test_a_silent_neuron_has_ceiling_0_and_a_missing_one_nan():
    trials, _ = population(5, 20, 1.0, 3)
    trials[..., 0], trials[..., 1] = 0, np.nan
    ceiling = noise_ceiling(trials)
    assert ceiling[0] == 0
    assert np.isnan(ceiling[1])
    assert 0 < ceiling[2] < 1


@pytest.mark.skipif(not REGION.exists(), reason="the published recordings are not on this machine")
def test_the_ceiling_of_the_published_recordings():
    trials = np.load(REGION / "raw_validation_set.npy")
    assert noise_ceiling(trials).mean() == pytest.approx(0.81, abs=0.005)
    assert np.median(split_half(trials)) == pytest.approx(0.64, abs=0.005)
