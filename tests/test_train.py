"""The loop: the order of its events, what it refuses, what evaluation means."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

import train
from neuro_noodle.choices import UserError
from neuro_noodle.learning.evaluation import evaluate
from neuro_noodle.learning.optimizers import OPTIMIZERS
from neuro_noodle.learning.schedules import SCHEDULES, cosine, step
from neuro_noodle.networks.base import build_model
from neuro_noodle.objectives.base import OBJECTIVES


class Recorder(nn.Module):
    """A one-weight model that writes what happens to it on a tape."""

    def __init__(self, tape: list[str]) -> None:
        super().__init__()
        self.tape = tape
        self.layer = nn.Linear(1, 1, bias=False)

    def forward(self, x):
        self.tape.append("forward in training" if self.training else "forward in evaluation")
        return self.layer(x)

    def stages(self):
        return {"layer": self.layer}

    def regularizer(self):
        return 0.0


class Squares:
    """The least objective: squared error, per image."""

    metric, direction = "mse", "min"

    def loss(self, prediction, target):
        return (prediction - target).square().mean()

    def output(self, prediction):
        return prediction

    def evidence(self, output, target):
        return {"mse": (output - target).square().flatten(1).mean(1)}

    def metrics(self, evidence):
        return {"mse": evidence["mse"].mean().item()}


class TapedSGD(torch.optim.SGD):
    def __init__(self, parameters, tape):
        super().__init__(parameters, lr=0.1)
        self.tape = tape

    def zero_grad(self, set_to_none=True):
        self.tape.append("zero_grad")
        super().zero_grad(set_to_none)

    def step(self, closure=None):
        self.tape.append("step")
        return super().step(closure)


def batches(*sizes):
    return [(torch.randn(n, 1), torch.randn(n, 1)) for n in sizes]


def run(model, optimizer, training, validation, **settings):
    return train.fit(
        model, training, validation, Squares(), optimizer, **{"start_epoch": 0, "test_every": 1} | settings
    )


def test_nothing_happens_until_the_loop_is_iterated():
    tape = []
    model = Recorder(tape)
    run(model, TapedSGD(model.parameters(), tape), batches(2), batches(2), n_epochs=1)
    assert tape == []


def test_an_epoch_is_forward_zero_grad_step_per_batch_then_evaluation_without_steps():
    tape = []
    model = Recorder(tape)
    list(run(model, TapedSGD(model.parameters(), tape), batches(2, 2), batches(2, 1), n_epochs=1))
    assert tape == ["forward in training", "zero_grad", "step"] * 2 + ["forward in evaluation"] * 2


def test_validation_waits_for_test_every_and_never_misses_the_last_epoch():
    model = Recorder([])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    records = list(run(model, optimizer, batches(2), batches(2), n_epochs=5, test_every=2))
    assert [record["epoch"] for record in records if "validation/mse" in record] == [1, 3, 4]


def test_the_training_loss_is_a_mean_over_images_not_over_batches():
    model = Recorder([])
    x = torch.ones(4, 1)
    y = torch.tensor([[0.0], [0.0], [0.0], [4.0]])
    with torch.no_grad():
        model.layer.weight.zero_()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    loss = train.train_epoch(model, [(x[:3], y[:3]), (x[3:], y[3:])], Squares(), optimizer, epoch=1)
    assert loss == pytest.approx(16 / 4)


def test_evaluation_is_the_same_however_the_images_are_batched():
    model = Recorder([])
    x, y = torch.randn(7, 1), torch.randn(7, 1)
    whole = evaluate(model, [(x, y)], Squares())
    parts = evaluate(model, [(x[:5], y[:5]), (x[5:], y[5:])], Squares())
    assert parts == pytest.approx(whole)


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_model_in_the_mode_it_found(training):
    model = Recorder([]).train(training)
    evaluate(model, batches(2), Squares())
    assert model.training is training


@pytest.mark.parametrize("poison", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_and_names_epoch_step_and_rate(poison):
    model = Recorder([])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.25)
    training = batches(2, 2, 2)
    training[1][1][0] = poison
    with pytest.raises(UserError, match=r"epoch 0, step 1, learning rate 0.25"):
        list(run(model, optimizer, training, batches(2), n_epochs=3))


def test_weights_that_are_not_finite_after_the_last_step_stop_the_run():
    model = Recorder([])
    optimizer = torch.optim.SGD(model.parameters(), lr=float("inf"))
    with pytest.raises(UserError, match="the largest weight is .* at the end of epoch 0"):
        list(run(model, optimizer, batches(2), batches(2), n_epochs=1))


def test_a_stage_that_does_not_move_in_the_first_step_is_an_error():
    model = Recorder([])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with pytest.raises(RuntimeError, match="layer"):
        list(run(model, optimizer, batches(2), batches(2), n_epochs=1))


def test_a_frozen_stage_may_stay_as_it_is():
    model = Recorder([])
    model.free = nn.Linear(1, 1)
    model.layer.requires_grad_(False)
    model.stages = lambda: {"layer": model.layer, "free": model.free}
    model.forward = lambda x: model.free(model.layer(x))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    assert len(list(run(model, optimizer, batches(4), batches(2), n_epochs=1))) == 1


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_lowers_a_squared_error(name):
    weight = nn.Parameter(torch.tensor([3.0]))
    optimizer = OPTIMIZERS.build(name, [weight], 0.05)
    for _ in range(200):
        optimizer.zero_grad()
        (weight - 1).square().sum().backward()
        optimizer.step()
    assert weight.item() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", list(SCHEDULES))
def test_every_schedule_is_a_factor_between_0_and_1_that_depends_on_the_epoch_alone(name):
    choice = SCHEDULES.parse(name)
    factors = [SCHEDULES[name](epoch, 50, **choice.options) for epoch in range(60)]
    assert all(0 <= factor <= 1 for factor in factors)
    assert factors == [SCHEDULES[name](epoch, 50, **choice.options) for epoch in range(60)]


def test_a_cosine_falls_from_the_whole_rate_to_its_end_and_stays_there():
    assert cosine(0, 10, final=0.1) == 1
    assert cosine(5, 10, final=0.0) == pytest.approx(0.5)
    assert cosine(10, 10, final=0.1) == cosine(20, 10, final=0.1) == pytest.approx(0.1)
    assert [cosine(epoch, 10, warmup=3) for epoch in range(3)] == pytest.approx([0.25, 0.5, 0.75])


def test_a_step_schedule_multiplies_by_its_factor_each_time():
    assert [step(epoch, 9, every=3, factor=0.5) for epoch in (0, 2, 3, 6)] == [1, 1, 0.5, 0.25]
    assert math.isclose(step(60, 90), 0.01)


def test_memory_does_not_grow_with_the_number_of_steps():
    class Batches:
        """Made anew each time, as a loader makes them."""

        def __len__(self):
            return 150

        def __iter__(self):
            for i in range(150):
                x = torch.rand(64 - (i > 75), 1, 128, 128)
                yield x, x

    def held():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

    model = build_model("fc hidden=4", "fc", (1, 128, 128), (1, 128, 128), 2, "fp32")
    objective = OBJECTIVES.build("reconstruct loss=mse")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    train.train_epoch(model, [next(iter(Batches()))], objective, optimizer)
    before = held()
    train.train_epoch(model, Batches(), objective, optimizer, epoch=1)
    evaluate(model, Batches(), objective)
    assert held() - before < 300e6  # the 300 batches hold 1.2 GB
