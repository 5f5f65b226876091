"""Checks of training, devices, compilation and evaluation."""

import shutil

import numpy as np
import pytest
import torch
from helpers import raises_user_error
from torch import nn

from neuro_noodle.learning.checks import check_moved, require_finite, weight_sums
from neuro_noodle.learning.compilation import compiled
from neuro_noodle.learning.devices import choose_device, has_fast_bf16
from neuro_noodle.learning.evaluation import evaluate, join, predict


class Scaled(nn.Module):
    """A model of R repetitions that multiplies x by a number each; judged by squared error."""

    def __init__(self, *factors):
        super().__init__()
        self.factors = torch.tensor(factors)
        self.modes = []

    def judge(self, objective, x, y):
        self.modes.append(self.training)
        errors = (x[:, :1] * self.factors - y[:, None]).square()  # (B, R)
        return errors.mean(0), {"squared": errors}

    def metrics(self, objective, evidence):
        return {"mse": evidence["squared"].mean(0).numpy()}


def stages():
    return {"first": nn.Linear(3, 2), "second": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), "empty": nn.ReLU()}


# ---------------------------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_one_repetition_that_diverges_is_an_error(wrong):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.5)
    with raises_user_error(f"the loss is {wrong} at epoch 3, step 2, learning rate 0.5;") as error:
        require_finite(np.array([1.0, wrong, 2.0]), "loss", "epoch 3, step 2", optimizer)
    assert "Try a lower --lr" in str(error.value)


def test_finite_values_are_no_error():
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=0.5)
    require_finite(np.array([1e30, -1e30, 0.0]), "loss", "epoch 0", optimizer)


@pytest.mark.parametrize("name", ["first", "second"])
def test_a_stage_that_does_not_change_is_named(name):
    parts = stages()
    before = weight_sums(parts)
    with torch.no_grad():
        for other in parts.keys() - {name}:
            for parameter in parts[other].parameters():
                parameter.add_(0.1)
    with pytest.raises(RuntimeError, match=rf"no weight of {name} changed in the first step"):
        check_moved(before, weight_sums(parts))


def test_one_changed_weight_per_stage_is_enough():
    parts = stages()
    before = weight_sums(parts)
    with torch.no_grad():
        parts["first"].bias[0] += 1e-3
        parts["second"][1].weight[1] += 1e-3
    check_moved(before, weight_sums(parts))


def test_exchanged_weights_count_as_unchanged_only_if_equal():
    """A change that keeps the sum of a parameter is seen in its norm."""
    parts = {"layer": nn.Linear(2, 1, bias=False)}
    with torch.no_grad():
        parts["layer"].weight.copy_(torch.tensor([[1.0, 2.0]]))
        before = weight_sums(parts)
        parts["layer"].weight.copy_(torch.tensor([[0.0, 3.0]]))
    check_moved(before, weight_sums(parts))


def test_frozen_stages_need_not_change():
    parts = stages()
    for part in parts.values():
        part.requires_grad_(False)
    check_moved(weight_sums(parts), weight_sums(parts))


# --------------------------------------------------------------------------------------------------------- devices


def test_auto_chooses_a_gpu_only_if_there_is_one():
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_the_cpu_can_always_be_chosen():
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["tpu", "mps", "gpu", "cuda:99", "cpu:x", ""])
def test_a_device_that_cannot_be_used_is_named(name):
    with raises_user_error(f"--device {name} cannot be used: ") as error:
        choose_device(name)
    assert "try --device cpu" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("features", "is_fast"),
    [({}, False), ({"avx512_bf16": True}, True), ({"amx_bf16": True}, True), ({"avx512_bf16": False}, False)],
)
def test_bf16_is_fast_on_a_cpu_that_computes_in_it(features, is_fast, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    assert has_fast_bf16(torch.device("cpu")) is is_fast


# ----------------------------------------------------------------------------------------------------- compilation


@pytest.mark.skipif(not shutil.which("g++"), reason="compiling needs a C++ compiler")
def test_a_compiled_function_returns_the_same():
    def step(x):
        return (x * 2 + 1).sum(), x.square()

    x = torch.rand(5, 3)
    for ours, expected in zip(compiled(step)(x), step(x), strict=True):
        assert torch.allclose(ours, expected)


def test_an_error_of_the_function_itself_is_passed_on():
    def step(x):
        raise ZeroDivisionError("of its own")

    with pytest.raises(ZeroDivisionError, match="of its own"):
        compiled(step)(torch.ones(1))


# ------------------------------------------------------------------------------------------------------ evaluation


def test_evaluation_weights_batches_by_their_size():
    x, y = torch.ones(5, 1), torch.tensor([0.0, 0, 0, 0, 5])
    batches = [(x[:4], y[:4]), (x[4:], y[4:])]
    values = evaluate(Scaled(1.0, 2.0), batches, None)
    assert values["loss"].tolist() == pytest.approx([(4 + 16) / 5, (16 + 9) / 5])
    assert values["mse"].tolist() == pytest.approx(values["loss"].tolist())


@pytest.mark.parametrize("is_training", [True, False])
def test_evaluation_restores_the_mode_of_the_model(is_training):
    model = Scaled(1.0).train(is_training)
    predict(model, [(torch.ones(2, 1), torch.ones(2))], None)
    assert model.training is is_training
    assert model.modes == [False]


def test_evidence_keeps_the_order_of_images():
    x = torch.arange(7.0)[:, None]
    batches = [(x[:3], x[:3, 0]), (x[3:6], x[3:6, 0]), (x[6:], x[6:, 0])]
    _, evidence = predict(Scaled(0.0, 1.0), batches, None)
    assert torch.equal(evidence["squared"], torch.stack([x[:, 0] ** 2, torch.zeros(7)], 1))


def test_batches_are_joined_whatever_their_size():
    pieces = [{"a": torch.ones(3, 2), "b": torch.arange(3)}, {"a": torch.zeros(1, 2), "b": torch.tensor([7])}]
    whole = join(iter(pieces), len(pieces))
    assert whole["a"].shape == (4, 2)
    assert whole["b"].tolist() == [0, 1, 2, 7]
