"""Noise ceilings: correlations, and ceilings that are neither too high nor too low."""

import numpy as np
import pytest
from helpers import DATA

from neuro_noodle.measures.ceilings import (
    Repeats,
    corrected_pearson,
    has_signal,
    mean_ceiling,
    noise_ceiling,
    pearson,
    reliability,
    share_of_ceiling,
    signal_variance,
    split_half,
)
from neuro_noodle.measures.intervals import jackknife

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
    trials = np.random.default_rng(1).standard_normal((10, 50, 300))
    assert reliability(Repeats.of(trials)).value.mean() == pytest.approx(0, abs=0.02)
    assert noise_ceiling(trials).mean() < 0.25  # by chance, because no ceiling is below 0
    assert np.isnan(mean_ceiling(Repeats.of(trials)))
    clean, _ = population(4, 50, 0)
    assert np.allclose(noise_ceiling(clean), 1)
    assert mean_ceiling(Repeats.of(clean)) == pytest.approx(1)


def test_signal_variance_is_unbiased():
    assert signal_variance(population(10, 400, 2.0)[0]).mean() == pytest.approx(1, abs=0.05)


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


def test_images_presented_once_do_not_change_the_ceiling():
    """With 25 images shown 10 times and 25 once, all of them gave 0.945 for a ceiling of 0.687."""
    trials, _ = population(10, 50, 3.0)
    trials[1:, 25:] = np.nan
    assert np.array_equal(noise_ceiling(trials), noise_ceiling(trials[:, :25]))
    assert np.array_equal(signal_variance(trials), signal_variance(trials[:, :25]))
    assert mean_ceiling(Repeats.of(trials)) == mean_ceiling(Repeats.of(trials[:, :25]))


@pytest.mark.parametrize("n_images", [2, 1, 0])
def test_too_few_repeated_images_have_no_ceiling(n_images):
    trials, _ = population(4, 20, 0.1, 3)
    trials[1:, n_images:] = np.nan
    assert np.isnan(noise_ceiling(trials)).all()
    assert np.isnan(mean_ceiling(Repeats.of(trials)))


# ------------------------------------------------------------------------------------------ share of the ceiling


def poisson_population(n_trials, seed, n_images=50, n_neurons=100):
    """Return trials (T, n, N) of Poisson neurons of many rates and modulations, their rates, and a model of r 0.8."""
    generator = np.random.default_rng(seed)
    means, widths = generator.lognormal(-0.7, 0.8, n_neurons), generator.uniform(0.3, 1, n_neurons)
    rates = generator.gamma(1 / widths**2, means * widths**2, (n_images, n_neurons))
    model = 0.8 * (rates - means) / (means * widths) + 0.6 * generator.standard_normal(rates.shape)
    return generator.poisson(rates, (n_trials, *rates.shape)), rates, model


@pytest.mark.parametrize("n_trials", [4, 6, 10, 12])
def test_a_perfect_model_reaches_all_of_the_ceiling(n_trials):
    perfect, model = [], []
    for seed in range(10):
        trials, rates, predicted = poisson_population(n_trials, seed)
        perfect.append(share_of_ceiling(rates, Repeats.of(trials)))
        model.append(share_of_ceiling(predicted, Repeats.of(trials)))
    assert np.mean(perfect) == pytest.approx(1, abs=0.02)
    assert np.mean(model) == pytest.approx(0.8, abs=0.02)


def test_the_interval_of_the_share_holds_the_truth():
    """In 40 simulated recordings of 10 neurons; of a method that holds it 95 % of the time, 35 or more in 98 %."""
    n_held = 0
    for seed in range(40):
        trials, _, predicted = poisson_population(8, seed, 30, 10)
        repeats = Repeats.of(trials)

        def share(is_kept, predicted=predicted, repeats=repeats):
            return share_of_ceiling(predicted[is_kept], repeats[is_kept])

        low, high = jackknife(share, np.arange(30), np.asarray, np.asarray)
        n_held += low < 0.8 < high
    assert n_held >= 35


def test_the_corrected_r_leaves_out_each_image_in_turn():
    predicted, recorded = RNG.standard_normal((2, 12, 3))
    recorded[4, 1] = np.nan
    for neuron, found in enumerate(corrected_pearson(predicted, recorded)):
        a, b = (values[np.isfinite(recorded[:, neuron]), neuron] for values in (predicted, recorded))
        without = [np.corrcoef(np.delete(a, i), np.delete(b, i))[0, 1] for i in range(len(a))]
        assert found == pytest.approx(len(a) * np.corrcoef(a, b)[0, 1] - (len(a) - 1) * np.mean(without))


def test_neurons_without_signal_are_found():
    """The test for signal finds none in 95 % of neurons whose rate is constant, and in none that follow the images."""
    silent = np.random.default_rng(0).poisson(0.5, (6, 50, 2000))
    assert has_signal(Repeats.of(silent)).mean() == pytest.approx(0.05, abs=0.02)
    assert has_signal(Repeats.of(population(10, 50, 1.0)[0])).all()
    assert not has_signal(Repeats.of(np.zeros((4, 50, 1)))).any()


@pytest.mark.skipif(not REGION.exists(), reason="the published recordings are not on this machine")
def test_the_ceiling_of_the_published_recordings():
    trials = np.load(REGION / "raw_validation_set.npy")
    assert mean_ceiling(Repeats.of(trials)) == pytest.approx(0.848, abs=0.001)
    assert np.median(split_half(trials)) == pytest.approx(0.64, abs=0.005)
