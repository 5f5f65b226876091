"""Optimizers and schedules: their contract, what they refuse, and the rate of each repetition."""

import copy

import pytest
import torch
from helpers import raises_user_error
from torch import nn

from neuro_noodle.learning.optimizers import (
    NOT_PROPORTIONAL,
    OPTIMIZERS,
    Moments,
    RateScale,
    require_suitable,
    spare_biases,
)
from neuro_noodle.learning.schedules import SCHEDULES
from neuro_noodle.networks.base import ENCODERS, build_model
from neuro_noodle.networks.repetitions import Repetitions


def is_proportional(name):
    return not isinstance(OPTIMIZERS.build(name, [nn.Parameter(torch.ones(1))], 0.1), NOT_PROPORTIONAL)


every_optimizer = pytest.mark.parametrize("name", list(OPTIMIZERS))
every_proportional = pytest.mark.parametrize("name", list(filter(is_proportional, OPTIMIZERS)))


def train(choice, lr, scales=None, n_steps=4):
    """Take steps from the weights (0, 1, 2) and (3, 4, 5) towards a target that moves; return the weights."""
    weights = nn.Parameter(torch.arange(6.0).view(2, 3))
    optimizer = OPTIMIZERS.build(choice, [weights], lr)
    if scales is not None:
        RateScale(optimizer, torch.tensor(scales))
    for step in range(n_steps):
        optimizer.zero_grad()
        ((weights - step) ** 2).sum().backward()
        optimizer.step()
    return weights.detach()


# ------------------------------------------------------------------------------------------------------ optimizers


@every_proportional
def test_the_first_step_is_proportional_to_the_rate(name):
    start = torch.arange(6.0).view(2, 3)
    small, large = (train(name, lr, n_steps=1) - start for lr in (0.01, 0.02))
    assert torch.allclose(2 * small, large, atol=1e-5)


@every_optimizer
def test_a_restored_optimizer_takes_the_same_steps(name):
    def step(weights, optimizer):
        optimizer.zero_grad()
        (weights**2).sum().backward()
        optimizer.step()

    first = nn.Parameter(torch.ones(3))
    before = OPTIMIZERS.build(name, [first], 0.1)
    step(first, before)
    second = nn.Parameter(first.detach().clone())
    after = OPTIMIZERS.build(name, [second], 0.1)
    after.load_state_dict(copy.deepcopy(before.state_dict()))  # loaded tensors are shared, not copied
    step(first, before)
    step(second, after)
    assert torch.equal(first, second)


@every_optimizer
def test_every_optimizer_lowers_a_squared_error(name):
    weight = nn.Parameter(torch.tensor([3.0]))
    optimizer = OPTIMIZERS.build(name, [weight], 1.0 if name == "adadelta" else 0.05)
    for _ in range(2000):
        optimizer.zero_grad()
        (weight - 1).square().sum().backward()
        optimizer.step()
    assert weight.item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_weight_decay_shrinks_a_weight_without_gradient(name):
    weights = nn.Parameter(torch.ones(2))
    optimizer = OPTIMIZERS.build(f"{name} weight_decay=0.5", [weights], 0.1)
    weights.grad = torch.zeros(2)
    optimizer.step()
    assert torch.allclose(weights, torch.full((2,), 0.95))


@pytest.mark.parametrize("n_repetitions", [1, 3])
def test_weight_decay_spares_biases_and_batch_norm(n_repetitions):
    encoder = "conv channels=4,8 latent=linear"
    models = [build_model(encoder, "conv start=mean", (1, 20, 20), (1, 20, 20), 3) for _ in range(n_repetitions)]
    network = Repetitions(models) if n_repetitions > 1 else models[0]
    before = {name: weights.detach().clone() for name, weights in network.named_parameters()}
    optimizer = OPTIMIZERS.build("sgd weight_decay=0.5", list(network.parameters()), 0.1)
    spare_biases(optimizer, network, n_repetitions)
    for weights in network.parameters():
        weights.grad = torch.zeros_like(weights)
    optimizer.step()
    shrunk = {name for name, weights in network.named_parameters() if not torch.equal(weights, before[name])}
    spared = before.keys() - shrunk
    assert (
        len(shrunk) == 6
    )  # of the encoder two convolutions and the latent layer; of the head a layer and two convolutions
    assert all(name.endswith(("bias", "background", "1.weight", "2.weight")) for name in spared)


def test_weight_decay_spares_positions_and_gains_of_filters():
    encoder = ENCODERS.build("dog", (1, 9, 9), 4)
    before = encoder.receptive_fields().detach().clone()
    optimizer = OPTIMIZERS.build("sgd weight_decay=0.5", list(encoder.parameters()), 0.1)
    spare_biases(optimizer, encoder, 1)
    for weights in encoder.parameters():
        weights.grad = torch.zeros_like(weights)
    optimizer.step()
    assert torch.equal(encoder.receptive_fields(), before)


def test_moments_of_the_start_are_0():
    weights = nn.Parameter(torch.ones(3, 2))
    optimizer = OPTIMIZERS.build("adam", [weights], 0.1)
    moments = Moments(optimizer, 3)
    start = moments.copy(1)
    weights.grad = torch.ones(3, 2)
    optimizer.step()
    moments.load(start, 1)
    kept = optimizer.state[weights]["exp_avg"]
    assert (kept[1] == 0).all() and (kept[[0, 2]] != 0).all()


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ("adam weight_decay=-1", "optimizer 'adam': weight_decay=-1.0 must be 0 or more"),
        ("adam weight_decay=inf", "optimizer 'adam': weight_decay=inf must be finite"),
        ("adam betas=0.9,nan", "optimizer 'adam': betas=(0.9, nan) must be finite"),
        ("adam betas=0.9,1", "optimizer 'adam': Invalid beta parameter at index 1: 1.0"),
        ("sgd weight_decay=-1", "optimizer 'sgd': weight_decay=-1.0 must be 0 or more"),
        ("rmsprop momentum=1", "optimizer 'rmsprop': momentum=1.0 must be from 0 to below 1"),
        ("sgd momentum=0.9 nesterov=true dampening=0.5", "Nesterov momentum requires a momentum and zero dampening"),
        ("rprop etas=2,1", "optimizer 'rprop': Invalid eta values: 2.0, 1.0"),
        ("sgd momentum=1", "optimizer 'sgd': momentum=1.0 must be from 0 to below 1"),
        ("sgd momentum=-0.1", "optimizer 'sgd': momentum=-0.1 must be from 0 to below 1"),
        ("sgd nesterov=true", "optimizer 'sgd': nesterov=true needs momentum above 0"),
        ("lbfgs", "optimizer 'lbfgs' cannot be used: it computes the loss several times per step"),
        ("asgd", "optimizer 'asgd' cannot be used: the average of the weights"),
        ("muon", "optimizer 'muon' cannot be used: it updates matrices only"),
        ("rmsprob", "unknown optimizer 'rmsprob'; did you mean 'rmsprop'?"),
    ],
)
def test_an_option_of_an_optimizer_out_of_range_is_refused(choice, reason):
    with raises_user_error(reason):
        OPTIMIZERS.build(choice, [nn.Parameter(torch.ones(1))], 0.1)


# ----------------------------------------------------------------------------------------- the rate of each repetition


@pytest.mark.parametrize("optimizer", ["adam weight_decay=0.1", "sgd momentum=0.9 weight_decay=0.1"])
def test_slowing_one_repetition_does_not_change_the_others(optimizer):
    slowed, fast, slow = train(optimizer, 0.1, [1.0, 0.25]), train(optimizer, 0.1), train(optimizer, 0.025)
    assert torch.equal(slowed[0], fast[0])
    assert torch.allclose(slowed[1], slow[1], atol=1e-5)
    assert not torch.allclose(slowed[1], fast[1], atol=1e-3)
    assert torch.equal(train(optimizer, 0.1, [1.0, 0.0])[1], torch.tensor([3.0, 4.0, 5.0]))


@every_proportional
def test_the_rate_of_a_repetition_scales_all_of_its_steps(name):
    slowed, slow = train(name, 0.1, [1.0, 0.25]), train(name, 0.025)
    assert torch.allclose(slowed[1], slow[1], atol=1e-4)


@every_optimizer
def test_a_scale_of_1_changes_nothing(name):
    assert torch.equal(train(name, 0.1, [1.0, 1.0]), train(name, 0.1))
    assert torch.equal(train(name, 0.1, 1.0), train(name, 0.1))


@every_optimizer
def test_the_scale_of_a_single_model_applies_to_all_weights(name):
    assert torch.equal(train(name, 0.1, 0.0), torch.arange(6.0).view(2, 3))
    if is_proportional(name):
        assert torch.allclose(train(name, 0.1, 0.5), train(name, 0.05), atol=1e-4)


def test_a_stopped_repetition_cannot_diverge():
    """A scale of 0 keeps the weights even if a step would be large."""
    weights = train("sgd", 1e6, [0.0, 0.0])
    assert torch.equal(weights, torch.arange(6.0).view(2, 3))


@every_optimizer
def test_a_gradient_of_nan_moves_no_stopped_repetition(name):
    if name == "adafactor":
        pytest.skip("its steps mix repetitions, so it is refused for them")
    weights = nn.Parameter(torch.ones(2, 3))
    optimizer = OPTIMIZERS.build(name, [weights], 0.1)
    RateScale(optimizer, torch.tensor([1.0, 0.0]))
    weights.grad = torch.ones(2, 3)
    weights.grad[1] = torch.nan
    optimizer.step()
    assert (weights[0] < 1).all() and torch.equal(weights[1], torch.ones(3))


def test_a_scale_can_change_between_steps():
    weights = nn.Parameter(torch.ones(2, 1))
    optimizer = OPTIMIZERS.build("sgd", [weights], 0.1)
    scale = RateScale(optimizer, torch.ones(2))
    for scales in ([1.0, 1.0], [1.0, 0.0], [1.0, 1.0]):
        scale.scales = torch.tensor(scales)
        weights.grad = torch.ones(2, 1)
        optimizer.step()
    assert torch.allclose(weights, torch.tensor([[0.7], [0.8]]))


@every_proportional
@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_a_proportional_optimizer_follows_every_schedule(name, schedule):
    require_suitable(OPTIMIZERS.build(name, [nn.Parameter(torch.ones(1))], 0.1), schedule, 1)


@pytest.mark.parametrize("name", ["rprop", "adafactor"])
def test_a_schedule_refuses_an_optimizer_it_cannot_scale(name):
    optimizer = OPTIMIZERS.build(name, [nn.Parameter(torch.ones(1))], 0.1)
    require_suitable(optimizer, "constant", 1)
    for schedule in ("plateau", "cosine"):
        with raises_user_error(f"--schedule {schedule} (the recipe's, if you gave none) changes the learning rate"):
            require_suitable(optimizer, schedule, 1)


@every_optimizer
def test_stacked_repetitions_step_like_each_alone_or_are_refused(name):
    def steps(start):
        weights = nn.Parameter(start.clone())
        optimizer = OPTIMIZERS.build(name, [weights], 0.1)
        require_suitable(optimizer, "constant", 2 if start.ndim == 3 else 1)
        for step in range(3):
            optimizer.zero_grad()
            ((weights - step) ** 2 * torch.arange(1.0, 5.0).view(2, 2)).sum().backward()
            optimizer.step()
        return weights.detach()

    each = torch.arange(8.0).view(2, 2, 2)
    if name == "adafactor":
        with raises_user_error("Adafactor computes a step from several weights at once, so --repetitions"):
            steps(each)
    else:
        assert torch.allclose(steps(each), torch.stack([steps(one) for one in each]), atol=1e-6)


# -------------------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    ("choice", "reason"),
    [
        ("cosine warmup=-1", "schedule 'cosine': warmup=-1 or final=0.0 is out of range"),
        ("cosine final=2", "schedule 'cosine': warmup=0 or final=2.0 is out of range"),
        ("step every=0", "schedule 'step': every=0 or factor=0.1 is out of range"),
        ("step factor=0", "schedule 'step': every=30 or factor=0.0 is out of range"),
        ("plateau factor=1", "schedule 'plateau': factor=1.0 or drops=2 is out of range"),
        ("plateau drops=0", "schedule 'plateau': factor=0.333 or drops=0 is out of range"),
    ],
)
def test_an_option_of_a_schedule_out_of_range_is_refused(choice, reason):
    parsed = SCHEDULES.parse(choice)
    with raises_user_error(reason):
        SCHEDULES[parsed.name](0, 10, **parsed.options)


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_the_rate_of_some_schedules_ignores_the_epoch(name):
    options = SCHEDULES.parse(name).options
    assert {SCHEDULES[name](epoch, 10, **options) for epoch in range(12)} == {1.0}


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_a_schedule_works_for_a_single_epoch(name):
    assert SCHEDULES[name](0, 1, **SCHEDULES.parse(name).options) == 1


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_every_schedule_is_a_factor_from_0_to_1(name):
    """It depends on the epoch alone, so a resumed run has the rate of an uninterrupted one."""
    options = SCHEDULES.parse(name).options
    factors = [SCHEDULES[name](epoch, 50, **options) for epoch in range(60)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors == [SCHEDULES[name](epoch, 50, **options) for epoch in range(60)]


def test_a_cosine_falls_from_the_whole_rate_to_the_final_one():
    cosine = SCHEDULES["cosine"]
    assert cosine(0, 10, final=0.1) == 1
    assert cosine(5, 10, final=0.0) == pytest.approx(0.5)
    assert cosine(10, 10, final=0.1) == cosine(20, 10, final=0.1) == pytest.approx(0.1)
    assert [cosine(epoch, 10, warmup=3) for epoch in range(3)] == pytest.approx([0.25, 0.5, 0.75])


def test_a_step_schedule_multiplies_by_its_factor_each_time():
    step = SCHEDULES["step"]
    assert [step(epoch, 9, every=3, factor=0.5) for epoch in (0, 2, 3, 6)] == [1, 1, 0.5, 0.25]
    assert step(60, 90) == pytest.approx(0.01)


# -------------------------------------------------------------------------------------------------------- moments


def step(optimizer, weights, slope):
    weights.grad = slope * torch.ones_like(weights)
    optimizer.step()


@every_optimizer
@pytest.mark.parametrize("n_repetitions", [1, 2])
def test_steps_after_moments_were_restored_are_as_before(name, n_repetitions):
    """As if the steps in between, of the first repetition only, had not been made; their number counts."""
    if (name, n_repetitions) == ("adafactor", 2):
        pytest.skip("its steps mix repetitions, so it is refused for them")
    weights = nn.Parameter(torch.ones(2, 3))
    optimizer = OPTIMIZERS.build(name, [weights], 0.01)
    moments = Moments(optimizer, n_repetitions)
    step(optimizer, weights, 1.0)
    saved = moments.copy(0)
    before = {key: one.clone() for key, one in optimizer.state[weights].items() if one.shape == weights.shape}
    step(optimizer, weights, 5.0)
    changed = {key: one.clone() for key, one in optimizer.state[weights].items()}
    moments.load(saved, 0)
    for key, one in before.items():
        assert torch.equal(optimizer.state[weights][key][0], one[0])
        assert torch.equal(optimizer.state[weights][key][1], one[1] if n_repetitions == 1 else changed[key][1])
    assert all(set(one) == set(before) for one in saved)
