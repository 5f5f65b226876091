"""Measures of single neurons: equal to those of neuralpredictors, and right for responses whose truth is known."""

import numpy as np
import pytest

from neuro_noodle.measures.neurons import (
    are_counts,
    bits_per_spike,
    ccnorm,
    explainable_variance,
    feve,
    measure_neurons,
    oracle_r,
    single_trial_r,
    summarise_neurons,
)

RNG = np.random.default_rng(7)
RATES = RNG.gamma(2, 1, (12, 4))
TRIALS = RNG.poisson(RATES, (5, 12, 4)).astype(float)
PREDICTED = RATES * 1.2 + RNG.normal(0, 0.5, RATES.shape)
UNEQUAL = TRIALS.copy()  # every third image was presented three times, the others five times
UNEQUAL[3:, ::3] = np.nan
NEURALPREDICTORS = {  # 0.3.0: fev, oracle_corr_jackknife and corr of these responses, rounded to 9 digits
    "explainable_variance": [0.514103955, 0.550536481, 0.395337723, 0.336344562],
    "feve": [0.409660782, 0.989348788, 1.030750897, -0.476515822],
    "oracle_r": [0.637637345, 0.669714201, 0.524615039, 0.462622305],
    "single_trial_r": [0.510262867, 0.743478777, 0.63152146, 0.530407429],
}
NEURALPREDICTORS_UNEQUAL = {
    "explainable_variance": [0.50399449, 0.502373539, 0.205383393, 0.330601824],
    "feve": [0.498437074, 1.093438511, 1.730346, -0.55149451],
    "oracle_r": [0.599626006, 0.638964338, 0.387775342, 0.449360213],
}


@pytest.mark.parametrize(
    ("trials", "expected"), [(TRIALS, NEURALPREDICTORS), (UNEQUAL, NEURALPREDICTORS_UNEQUAL)], ids=["equal", "unequal"]
)
def test_measures_equal_those_of_neuralpredictors(trials, expected):
    table = measure_neurons(PREDICTED, trials, None)
    for name, values in expected.items():
        assert np.allclose(table[name], values, rtol=0, atol=1e-6), name


def noisy(n_trials=10, n_images=400, noise=2.0, n_neurons=100):
    """Return trials of a signal of variance 1 with noise of this sd, and the signal."""
    signal = RNG.standard_normal((n_images, n_neurons))
    return signal + noise * RNG.standard_normal((n_trials, n_images, n_neurons)), signal


def test_explainable_variance_is_the_share_of_the_signal():
    assert explainable_variance(noisy()[0]).mean() == pytest.approx(1 / 5, abs=0.02)
    assert np.allclose(explainable_variance(noisy(noise=0)[0]), 1)


def test_feve_is_1_for_a_perfect_model_and_sees_gain_and_offset():
    trials, signal = noisy()
    assert feve(signal, trials).mean() == pytest.approx(1, abs=0.03)
    assert feve(signal + 0.5, trials).mean() == pytest.approx(1 - 0.5**2, abs=0.03)
    assert feve(2 * signal, trials).mean() == pytest.approx(1 - 1, abs=0.03)
    assert single_trial_r(2 * signal + 0.5, trials) == pytest.approx(single_trial_r(signal, trials))


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        pytest.param(ccnorm, 0.7, id="ccnorm"),
        pytest.param(feve, 0.7**2, id="feve"),
        pytest.param(single_trial_r, 0.7 / np.sqrt(5), id="single_trial_r"),
    ],
)
@pytest.mark.parametrize("n_trials", [4, 10])
@pytest.mark.parametrize("share_missing", [0, 0.2])
def test_measures_of_a_known_model_equal_their_definition(measure, expected, n_trials, share_missing):
    """Predictions have r = 0.7 with the true rates and the gain that explains most; signal is 1/5 of the variance."""
    generator = np.random.default_rng(n_trials)
    rates, other, noise = (generator.standard_normal((n, 1000, 200)) for n in (1, 1, n_trials))
    trials = rates + 2 * noise
    trials[generator.random(trials.shape) < share_missing] = np.nan
    predicted = (0.7**2 * rates + 0.7 * np.sqrt(1 - 0.7**2) * other)[0]
    assert measure(predicted, trials).mean() == pytest.approx(expected, abs=0.01)


def test_ccnorm_equals_the_published_formula():
    """Schoppe et al. take the noise from the variance of each trial over images, which needs every trial."""
    trials, signal = noisy(n_neurons=20)
    predicted, n = signal + RNG.standard_normal(signal.shape), len(trials)
    power = (trials.sum(0).var(0, ddof=1) - trials.var(1, ddof=1).sum(0)) / n / (n - 1)
    covariance = [np.cov(p, y)[0, 1] for p, y in zip(predicted.T, trials.mean(0).T, strict=True)]
    assert ccnorm(predicted, trials) == pytest.approx(covariance / np.sqrt(predicted.var(0, ddof=1) * power), abs=0.01)


def test_ccnorm_of_three_images_is_as_by_hand():
    """Means 2, 3, 7 (variance 7) with noise variances 1, 1, 0 leave 19 / 3 of signal; the covariance is 5 / 2."""
    trials = np.array([[1.0, 2, 7], [3, 4, 7]])[..., None]
    assert ccnorm(np.array([[1.0], [2], [3]]), trials) == pytest.approx(0.9933992677987828)
    assert np.isnan(ccnorm(np.array([[1.0], [2], [3]]), trials - [[[1], [2], [6]]])).all()


def test_r_with_single_trials_is_the_root_of_the_signals_share():
    trials, signal = noisy()
    assert single_trial_r(signal, trials).mean() == pytest.approx(np.sqrt(1 / 5), abs=0.02)
    assert oracle_r(trials).mean() == pytest.approx(np.sqrt(1 / 5 / (1 + 4 / 9)), abs=0.02)


def test_bits_per_spike_are_the_gain_in_log_likelihood():
    rates, reference = np.array([[1.0], [3.0]]), np.array([2.0])
    counts = np.array([[[1], [4]], [[0], [3]]])
    log_likelihood = [np.sum(counts * np.log(rate) - rate) for rate in (rates, reference)]  # the factorials cancel
    expected = (log_likelihood[0] - log_likelihood[1]) / np.log(2) / 8
    assert bits_per_spike(rates, counts, reference) == pytest.approx(expected)
    assert bits_per_spike(np.full((2, 1), 2.0), counts, reference) == 0
    assert np.isnan(bits_per_spike(rates, np.zeros((2, 2, 1)), reference)).all()


def test_only_whole_numbers_from_0_are_counts():
    assert are_counts(UNEQUAL)
    assert not are_counts(TRIALS / 2)
    assert not are_counts(-TRIALS)


def test_images_presented_once_change_no_measure():
    trials = TRIALS.copy()
    trials[1:, 8:] = np.nan
    reference = TRIALS.mean((0, 1))
    table = measure_neurons(PREDICTED, trials, reference)
    without = measure_neurons(PREDICTED[:8], trials[:, :8], reference)
    assert all(np.allclose(table[name], without[name], equal_nan=True) for name in without if name != "split_half_r")


def test_silent_and_missing_neurons_have_no_measures():
    trials = TRIALS.copy()
    trials[..., 0], trials[..., 1] = 0, np.nan
    table = measure_neurons(PREDICTED, trials, np.ones(4))
    assert all(np.isnan(table[name][:2]).all() for name in ("r_over_ceiling", "ccnorm", "feve"))
    assert np.isnan(table["n_repeats"]).tolist() == [False, True, False, False]
    summary = summarise_neurons(table)
    assert (summary["n_neurons"], summary["n_without_signal"], summary["n_feve"], summary["n_repeats"]) == (3, 1, 2, 5)
    assert (summary["n_ccnorm"], summary["ccnorm"]) == (2, pytest.approx(ccnorm(PREDICTED, TRIALS)[2:].mean()))
    assert summary["feve"] == pytest.approx(np.mean(NEURALPREDICTORS["feve"][2:]), abs=1e-6)
