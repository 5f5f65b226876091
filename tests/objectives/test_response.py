"""Responses of neurons: correlations, ceilings that are neither too high nor too low, and an objective for them."""

import numpy as np
import pytest
import torch
from helpers import DATA, raises_user_error

from neuro_noodle.measures.ceilings import explainable_variance, noise_ceiling, pearson, split_half
from neuro_noodle.objectives.base import OBJECTIVES

RNG = np.random.default_rng(0)
REGION = DATA / "antolik2016_v1" / "region1"


def population(n_trials, n_images, noise, n_neurons=200):
    """Trials (T, n, N) about a signal of variance 1, and that signal."""
    signal = RNG.standard_normal((n_images, n_neurons))
    return signal + noise * RNG.standard_normal((n_trials, n_images, n_neurons)), signal


def objective(loss="poisson", n_neurons=3):
    made = OBJECTIVES.build(f"response loss={loss}")
    made.check(["image", "response"], [], [f"region1/{i}" for i in range(n_neurons)])
    return made


# ------------------------------------------------------------------------------------------------ correlations


def test_pearson_is_that_of_numpy_and_does_not_care_for_scale_or_offset():
    a, b = RNG.standard_normal((2, 30, 5))
    expected = [np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)]
    assert np.allclose(pearson(a, b), expected)
    assert np.allclose(pearson(3 * a + 7, b), expected)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_a_neuron_without_variance_counts_nothing_in_prediction_or_recording(constant):
    varied = RNG.standard_normal((30, 1))
    still = np.full((30, 1), constant)
    assert pearson(still, varied) == pearson(varied, still) == pearson(still, still) == 0


def test_what_was_not_recorded_counts_for_nothing():
    a, b = RNG.standard_normal((2, 30, 2))
    b[::3, 0] = np.nan
    kept = np.isfinite(b[:, 0])
    assert np.allclose(pearson(a, b)[0], np.corrcoef(a[kept, 0], b[kept, 0])[0, 1])
    assert np.allclose(pearson(a, b)[1], np.corrcoef(a[:, 1], b[:, 1])[0, 1])
    assert np.isnan(pearson(a, np.full_like(a, np.nan))).all()


# ---------------------------------------------------------------------------------------------------- ceilings


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_the_ceiling_is_what_the_true_signal_reaches(noise):
    trials, signal = population(10, 400, noise)
    assert noise_ceiling(trials).mean() == pytest.approx(pearson(signal, trials.mean(0)).mean(), abs=0.02)


def test_the_ceiling_of_pure_noise_is_near_0_and_of_no_noise_1():
    trials = RNG.standard_normal((10, 50, 300))
    assert noise_ceiling(trials).mean() < 0.2  # what is left is chance, as nothing is below 0
    assert np.median(noise_ceiling(trials)) == 0
    clean, _ = population(4, 50, 0)
    assert np.allclose(noise_ceiling(clean), 1)
    assert np.allclose(explainable_variance(clean), 1)


def test_explainable_variance_is_the_share_of_signal_in_one_presentation():
    trials, _ = population(10, 400, 2.0)
    assert explainable_variance(trials).mean() == pytest.approx(1 / 5, abs=0.02)


def test_images_shown_less_often_weigh_by_what_was_shown():
    trials, signal = population(12, 600, 1.5)
    trials[6:, ::2] = np.nan
    assert noise_ceiling(trials).mean() == pytest.approx(pearson(signal, np.nanmean(trials, 0)).mean(), abs=0.02)


def test_a_silent_neuron_has_a_ceiling_of_0_and_one_not_recorded_has_none():
    trials, _ = population(5, 20, 1.0, 3)
    trials[..., 0], trials[..., 1] = 0, np.nan
    ceiling = noise_ceiling(trials)
    assert ceiling[0] == 0
    assert np.isnan(ceiling[1])
    assert 0 < ceiling[2] < 1


@pytest.mark.skipif(not REGION.exists(), reason="the published recordings are not here")
def test_the_ceiling_of_the_published_recordings_is_that_of_their_repeats():
    trials = np.load(REGION / "raw_validation_set.npy")
    assert noise_ceiling(trials).mean() == pytest.approx(0.81, abs=0.005)
    assert np.median(split_half(trials)) == pytest.approx(0.64, abs=0.005)


# --------------------------------------------------------------------------------------------------- objective


@pytest.mark.parametrize("loss", ["poisson", "gaussian"])
def test_a_prediction_of_0_means_the_mean_rate_of_training(loss):
    target = torch.rand(40, 3) * torch.tensor([0.1, 1.0, 20.0])
    made = objective(loss)
    made.learn(target)
    assert torch.allclose(made.output(torch.zeros(2, 3)), target.mean(0).expand(2, 3), rtol=1e-4)


@pytest.mark.parametrize("loss", ["poisson", "gaussian"])
def test_no_rate_is_least_costly_but_the_true_one(loss):
    made = objective(loss, 1)
    made.learn(torch.ones(4, 1))
    true = torch.poisson(torch.full((4000, 1), 2.0), generator=torch.Generator().manual_seed(0))
    costs = {rate: made.loss(made.link(torch.full_like(true, rate)), true).item() for rate in (1.6, 2.0, 2.4)}
    assert min(costs, key=costs.get) == 2.0


def test_linear_responses_may_be_below_0():
    made = objective("gaussian output=linear")
    target = torch.randn(40, 3) - 2
    made.learn(target)
    assert torch.allclose(made.output(torch.zeros(2, 3)), target.mean(0).expand(2, 3), rtol=1e-4)
    assert torch.allclose(made.output(made.link(target)), target, atol=1e-5)


def test_a_neuron_that_was_not_recorded_lowers_no_mean():
    made = objective()
    made.learn(torch.rand(9, 3))
    recorded = torch.rand(9, 3)
    alone = made.metrics(made.evidence(recorded[:, :2] + 0.3 * torch.rand(9, 2), recorded[:, :2]))
    recorded[:, 2] = torch.nan
    assert made.metrics(made.evidence(recorded.nan_to_num(1), recorded))["r"] == pytest.approx(1)
    assert 0 < alone["r"] < 1


@pytest.mark.parametrize("loss", ["poisson", "gaussian"])
def test_missing_responses_change_neither_loss_nor_gradient_of_the_others(loss):
    made = objective(loss)
    target = torch.rand(8, 3)
    made.learn(target)
    prediction = torch.randn(8, 3, requires_grad=True)
    known = torch.rand(8, 3) > 0.3
    made.loss(prediction, torch.where(known, target, torch.nan)).backward()
    assert prediction.grad.isfinite().all()
    assert (prediction.grad[~known] == 0).all()
    some = torch.where(known, target, torch.nan)
    one_by_one = [made.loss(prediction[i : i + 1], some[i : i + 1]) for i in range(8)]
    weights = known.sum(1).float()
    whole = made.loss(prediction, some)
    assert torch.allclose(whole, (torch.stack(one_by_one) * weights).sum() / weights.sum(), atol=1e-6)


@pytest.mark.parametrize("loss", ["poisson", "gaussian"])
def test_where_every_response_is_known_the_loss_is_what_it_is_where_some_could_be_missing(loss):
    made = objective(loss)
    target, prediction = torch.rand(8, 3), torch.randn(8, 3)
    made.learn(target)
    masked = made.loss(prediction, target)
    made.check_values(target)
    assert made.all_known
    assert torch.allclose(made.loss(prediction, target), masked, atol=1e-6)


def test_counts_below_0_are_refused_for_poisson_and_taken_as_they_are_otherwise():
    with raises_user_error("no counts; take loss=gaussian output=linear"):
        objective().check_values(torch.tensor([[0.5, -0.1, torch.nan]]))
    objective("gaussian output=linear").check_values(torch.tensor([[0.5, -0.1, torch.nan]]))
    with raises_user_error("loss=poisson needs rates above 0"):
        objective("poisson output=linear")
    objective().check_values(torch.tensor([[0.5, 0.0, torch.nan]]))


def test_the_mean_rate_scores_0_and_the_row_of_an_image_names_every_neuron():
    made = objective()
    x, target = torch.rand(30, 1, 4, 4), torch.rand(30, 3)
    made.learn(target)
    baselines = made.baselines(x, target, 9)
    assert made.metrics(made.evidence(baselines["mean_rate"](x), target))["r"] == 0
    assert made.metrics(made.evidence(baselines["linear_pixels"](x), target))["r"] > 0
    rows = made.rows(made.evidence(target, target), [])
    assert list(rows)[:2] == ["region1/0_recorded", "region1/0_predicted"]
    assert len(rows) == 6
    assert all(len(column) == 30 for column in rows.values())
