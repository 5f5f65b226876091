"""The training loop: the order of its events, the errors that stop it, and the memory it needs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import raises_user_error
from torch import nn

import train
from neuro_noodle.learning.best import Patience
from neuro_noodle.learning.evaluation import evaluate
from neuro_noodle.learning.optimizers import RateScale
from neuro_noodle.networks.base import Model, build_model
from neuro_noodle.objectives.base import OBJECTIVES, Objective


class Recorder(Model):
    """A model with one weight that writes what happens to it on a tape."""

    def __init__(self, tape: list[str]) -> None:
        nn.Module.__init__(self)
        self.tape, self.frozen = tape, []
        self.layer = nn.Linear(1, 1, bias=False)

    def forward(self, x):
        self.tape.append("forward in training" if self.training else "forward in evaluation")
        return self.layer(x)

    def stages(self):
        return {"layer": self.layer}

    def regularizer(self):
        return 0.0


class Squares(Objective):
    """The simplest objective: the squared error of each image."""

    metric, direction = "mse", "min"

    def loss(self, prediction, target):
        return (prediction - target).square().mean()

    def evidence(self, output, target):
        return {"mse": (output - target).square().flatten(1).mean(1)}

    def metrics(self, evidence):
        return {"mse": evidence["mse"].mean().item()}


class TapedSGD(torch.optim.SGD):
    """An optimizer that writes its calls on a tape."""

    def __init__(self, parameters, tape, lr=0.1):
        super().__init__(parameters, lr=lr)
        self.tape = tape

    def zero_grad(self, set_to_none=True):
        self.tape.append("zero_grad")
        super().zero_grad(set_to_none)

    def step(self, closure=None):
        self.tape.append("step")
        return super().step(closure)


def batches(*sizes):
    return [(torch.randn(n, 1), torch.randn(n, 1)) for n in sizes]


def learning_of(model, optimizer, n_epochs=1, patience=None):
    """Return the learning of a model with a constant rate."""
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda epoch: 1.0)
    rate_scale = RateScale(optimizer, torch.tensor(1.0))
    return train.Learning(Squares(), optimizer, schedule, Patience(1, patience), rate_scale, n_epochs)


def fit(model, training, validation, *, n_epochs=1, lr=0.1, tape=None, test_every=1):
    """Return the generator of the loop, with an optimizer that records its calls."""
    optimizer = TapedSGD([p for p in model.parameters() if p.requires_grad], [] if tape is None else tape, lr)
    loaders = {"training": training, "validation": validation}
    return train.fit(model, loaders, learning_of(model, optimizer, n_epochs), test_every=test_every)


def ends_of_epochs(records):
    return [record for record in records if record.ends_epoch]


# -------------------------------------------------------------------------------------------- the order of events


def test_nothing_happens_until_the_loop_is_iterated():
    tape = []
    fit(Recorder(tape), batches(2), batches(2), tape=tape)
    assert tape == []


def test_the_start_is_evaluated_then_each_epoch_after_its_steps():
    tape = []
    list(fit(Recorder(tape), batches(2, 2), batches(2, 1), tape=tape))
    evaluation = ["forward in evaluation"] * 2
    assert tape == evaluation + ["forward in training", "zero_grad", "step"] * 2 + evaluation


def test_a_record_follows_every_step():
    records = list(fit(Recorder([]), batches(2, 2), batches(2), n_epochs=2))
    assert [record.epochs for record in records] == [0, 0.5, 1, 1.5, 2]
    assert [record.epoch for record in ends_of_epochs(records)] == [-1, 0, 1]


def test_every_metric_is_an_array_over_repetitions():
    start, record = ends_of_epochs(fit(Recorder([]), batches(2), batches(2)))
    assert start.metrics.keys() == {"validation/loss", "validation/mse"}
    assert record.metrics.keys() == {"train/loss", "validation/loss", "validation/mse"}
    assert {values.shape for values in record.metrics.values()} == {(1,)}


def test_validation_follows_test_every_and_the_last_epoch():
    records = ends_of_epochs(fit(Recorder([]), batches(2), batches(2), n_epochs=5, test_every=2))
    assert [record.epoch for record in records if "validation/mse" in record.metrics] == [-1, 1, 3, 4]


def test_the_training_loss_is_a_mean_over_images():
    model = Recorder([])
    x, y = torch.ones(4, 1), torch.tensor([[0.0], [0.0], [0.0], [4.0]])
    with torch.no_grad():
        model.layer.weight.zero_()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    training = [(x[:3], y[:3]), (x[3:], y[3:])]
    steps = train.train_epoch(model, training, Squares(), optimizer, 1, train.step_loss)
    with pytest.raises(StopIteration) as stop:
        while True:
            next(steps)
    assert stop.value.value == pytest.approx(16 / 4)


def test_evaluation_does_not_depend_on_the_batches():
    model = Recorder([])
    x, y = torch.randn(7, 1), torch.randn(7, 1)
    whole = evaluate(model, [(x, y)], Squares())
    parts = evaluate(model, [(x[:5], y[:5]), (x[5:], y[5:])], Squares())
    assert {name: values.item() for name, values in parts.items()} == pytest.approx(
        {name: values.item() for name, values in whole.items()}
    )


def test_learning_keeps_the_weights_of_the_best_epoch():
    model = Recorder([])
    learning = learning_of(model, torch.optim.SGD(model.parameters(), lr=0.1), n_epochs=3)
    weights = []
    for epoch, mse in enumerate((2.0, 1.0, 3.0)):
        with torch.no_grad():
            model.layer.weight.fill_(epoch)
        metrics = {"validation/mse": np.array([mse]), "validation/loss": np.array([mse])}
        learning.optimizer.step()
        learning.update(train.Record(epoch + 1, metrics), model)
        weights.append(learning.best_weights["layer.weight"].item())
    assert weights == [0, 1, 1]
    assert learning.patience.best.epoch == 1


@pytest.mark.parametrize(("n_trained", "finished"), [(2, False), (3, True), (4, True)])
def test_learning_finishes_after_its_last_epoch(n_trained, finished):
    model = Recorder([])
    learning = learning_of(model, torch.optim.SGD(model.parameters(), lr=0.1), n_epochs=3)
    assert learning.has_finished(n_trained) is finished


# ------------------------------------------------------------------------------------------------ errors that stop it


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_epoch_step_and_rate(wrong):
    training = batches(2, 2, 2)
    training[1][1][0] = wrong
    with raises_user_error("epoch 0, step 1, learning rate 0.25"):
        list(fit(Recorder([]), training, batches(2), n_epochs=3, lr=0.25))


def test_a_weight_that_is_not_finite_is_an_error():
    with pytest.raises(ValueError, match="the largest weight is .* at the end of epoch 0"):
        list(fit(Recorder([]), batches(2), batches(2), lr=float("inf")))


def test_a_validation_loss_that_is_not_finite_is_an_error():
    validation = batches(2)
    validation[0][1][0] = float("nan")
    with raises_user_error("the validation loss is nan at the start"):
        list(fit(Recorder([]), batches(2), validation))


def test_a_stage_that_does_not_change_is_an_error():
    with pytest.raises(RuntimeError, match="layer"):
        list(fit(Recorder([]), batches(2), batches(2), lr=0.0))


def test_a_frozen_stage_need_not_change():
    model = Recorder([])
    model.free = nn.Linear(1, 1)
    model.layer.requires_grad_(False)
    model.stages = lambda: {"layer": model.layer, "free": model.free}
    model.forward = lambda x: model.free(model.layer(x))
    assert len(ends_of_epochs(fit(model, batches(4), batches(2)))) == 2  # the start, and an epoch


# ------------------------------------------------------------------------------------------------------------ memory


def test_memory_does_not_grow_with_the_number_of_steps():
    class Batches:
        """150 batches that are new at each iteration, as those of a loader are."""

        def __len__(self):
            return 150

        def __iter__(self):
            for i in range(150):
                x = torch.rand(64 - (i > 75), 1, 128, 128)
                yield x, x

    def n_bytes():
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))

    model = build_model("fc hidden=4", "fc", (1, 128, 128), (1, 128, 128), 2, "fp32")
    learning = learning_of(model, torch.optim.SGD(model.parameters(), lr=0.1))
    learning.objective = OBJECTIVES.build("reconstruct loss=mse")
    few = [next(iter(Batches()))]
    list(train.fit(model, {"training": few, "validation": few}, learning))
    before = n_bytes()
    list(train.fit(model, {"training": Batches(), "validation": Batches()}, learning))
    assert n_bytes() - before < 300e6  # the 300 batches hold 1.2 GB
