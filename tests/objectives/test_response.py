"""Responses of neurons: the fitted offset, missing responses, and baselines."""

import math
from types import SimpleNamespace

import pytest
import torch
from helpers import raises_user_error
from objective_cases import build

from neuro_noodle.objectives.base import OBJECTIVES

INCOMPLETE = torch.tensor([[0.5, 0.0, torch.nan]])
both_losses = pytest.mark.parametrize("loss", ["poisson", "gaussian"])


def objective(loss="poisson", n_neurons=3, responses=INCOMPLETE):
    """Return an objective for some neurons of which one response is missing."""
    return build(f"response loss={loss}", neurons=[f"region1/{i}" for i in range(n_neurons)], responses=responses)


@both_losses
def test_a_prediction_of_0_means_the_mean_rate_of_training(loss):
    target = torch.rand(40, 3) * torch.tensor([0.1, 1.0, 20.0])
    fitted = objective(loss)
    fitted.fit(target)
    assert torch.allclose(fitted.output(torch.zeros(2, 3)), target.mean(0).expand(2, 3), rtol=1e-4)


@both_losses
def test_the_true_rate_has_the_lowest_loss(loss):
    fitted = objective(loss, 1)
    fitted.fit(torch.ones(4, 1))
    true = torch.poisson(torch.full((4000, 1), 2.0), generator=torch.Generator().manual_seed(0))
    losses = {rate: fitted.loss(fitted.link(torch.full_like(true, rate)), true).item() for rate in (1.6, 2.0, 2.4)}
    assert min(losses, key=losses.get) == 2.0


def test_linear_responses_may_be_below_0():
    fitted = objective("gaussian output=linear")
    target = torch.randn(40, 3) - 2
    fitted.fit(target)
    assert torch.allclose(fitted.output(torch.zeros(2, 3)), target.mean(0).expand(2, 3), rtol=1e-4)
    assert torch.allclose(fitted.output(fitted.link(target)), target, atol=1e-5)


def test_a_neuron_that_was_not_recorded_lowers_no_mean():
    fitted = objective()
    fitted.fit(torch.rand(9, 3))
    recorded = torch.rand(9, 3)
    alone = fitted.metrics(fitted.evidence(recorded[:, :2] + 0.3 * torch.rand(9, 2), recorded[:, :2]))
    recorded[:, 2] = torch.nan
    assert fitted.metrics(fitted.evidence(recorded.nan_to_num(1), recorded))["r"] == pytest.approx(1)
    assert 0 < alone["r"] < 1


@both_losses
def test_missing_responses_affect_no_loss_and_no_gradient(loss):
    fitted = objective(loss)
    target = torch.rand(8, 3)
    fitted.fit(target)
    prediction = torch.randn(8, 3, requires_grad=True)
    is_known = torch.rand(8, 3) > 0.3
    some = torch.where(is_known, target, torch.nan)
    fitted.loss(prediction, some).backward()
    assert prediction.grad.isfinite().all()
    assert (prediction.grad[~is_known] == 0).all()
    one_by_one = [fitted.loss(prediction[i : i + 1], some[i : i + 1]) for i in range(8)]
    weights = is_known.sum(1).float()
    whole = fitted.loss(prediction, some)
    assert torch.allclose(whole, (torch.stack(one_by_one) * weights).sum() / weights.sum(), atol=1e-6)


@both_losses
def test_the_loss_with_a_mask_equals_the_loss_without(loss):
    """No mask is used if the dataset has all responses."""
    target, prediction = torch.rand(8, 3), torch.randn(8, 3)
    masked, unmasked = objective(loss), objective(loss, responses=target)
    assert unmasked.is_complete and not masked.is_complete
    masked.fit(target)
    unmasked.fit(target)
    assert torch.allclose(unmasked.loss(prediction, target), masked.loss(prediction, target), atol=1e-6)


def test_negative_responses_need_a_linear_output():
    negative = torch.tensor([[0.5, -0.1, torch.nan]])
    with raises_user_error("1 of 3 responses are below 0, so they are not counts; --objective response loss=gaussian"):
        objective(responses=negative)
    objective("gaussian output=linear", responses=negative)
    objective(responses=torch.tensor([[0.5, 0.0, torch.nan]]))


def test_a_poisson_loss_needs_positive_rates():
    with raises_user_error("loss=poisson needs rates above 0"):
        OBJECTIVES.build("response loss=poisson output=linear")


def test_the_mean_rate_has_r_0_and_linear_pixels_more():
    fitted = objective()
    x, target = torch.rand(30, 1, 4, 4), torch.rand(30, 3)
    fitted.fit(target)
    baselines = fitted.baselines(x, target, 9)
    assert fitted.metrics(fitted.evidence(baselines["mean_rate"](x), target))["r"] == 0
    assert fitted.metrics(fitted.evidence(baselines["linear_pixels"](x), target))["r"] > 0


def test_a_row_has_two_columns_per_neuron():
    target = torch.rand(30, 3)
    rows = objective().rows(objective().evidence(target, target))
    assert list(rows)[:2] == ["region1/0_recorded", "region1/0_predicted"]
    assert len(rows) == 6
    assert all(len(column) == 30 for column in rows.values())


def test_r_of_constant_responses_is_undefined_and_counted():
    varied, constant = torch.tensor([0.1, 0.9, 0.3]), torch.full((3,), 0.1)
    one = objective(responses=torch.stack([varied, constant, torch.full((3,), torch.nan)], 1))
    undefined = one.undefined(SimpleNamespace(responses=torch.stack([varied, constant, varied], 1)), [0, 1, 2])
    assert undefined == {"r of 1 of 3 neurons": "their responses are constant or unknown"}
    none = SimpleNamespace(responses=torch.stack([constant] * 3, 1))
    assert one.undefined(none, [0, 1])["r"] == "the responses of all 3 neurons are constant"
    assert one.undefined(none, [0])["r_median"] == "there is only one image"


@pytest.mark.filterwarnings("error")
def test_the_responses_decide_whether_r_is_defined():
    """A constant prediction of responses that vary has r = 0, as in Antolik et al. 2016."""
    varied = torch.rand(4, 3)
    metrics = [
        objective().metrics({"predicted": a, "recorded": b}) for a, b in ((varied * 0, varied), (varied, varied * 0))
    ]
    assert metrics[0]["r"] == 0 and math.isnan(metrics[1]["r"])
