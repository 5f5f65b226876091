"""How the network learns: optimizer, schedule and patience; the training loop, one epoch of it, and its checks.

Nothing here prints, writes files or chooses a device. To add an optimizer or a schedule: a function in
neuro_noodle/learning; a dataset, an objective or a tracker: a class in neuro_noodle/{data,objectives,tracking}.
"""

import argparse
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, optim

from neuro_noodle.learning import ranks
from neuro_noodle.learning.best import Patience
from neuro_noodle.learning.checks import check_moved, require_finite, weight_sums
from neuro_noodle.learning.compilation import compiled
from neuro_noodle.learning.evaluation import Batches, evaluate
from neuro_noodle.learning.optimizers import (
    OPTIMIZERS,
    Moments,
    RateScale,
    require_suitable,
    spare_biases,
)
from neuro_noodle.learning.record import Record
from neuro_noodle.learning.schedules import SCHEDULES
from neuro_noodle.networks.base import Model
from neuro_noodle.networks.repetitions import Repetitions
from neuro_noodle.objectives.base import Objective

StepLoss = Callable[..., tuple[Tensor, Tensor]]


@dataclass
class Learning:
    """What changes the weights, how fast, and for how long.

    Attributes:
        objective: gives the loss, and the metrics that order the epochs.
        optimizer: updates the weights that train.
        schedule: sets the learning rate after each epoch.
        patience: keeps the best weights; reduces the rate of each repetition, and stops it.
        rate_scale: applies the reductions of each repetition.
        n_epochs: the total.
        is_compiled: whether the computations of a step are compiled.
    """

    objective: Objective
    optimizer: optim.Optimizer
    schedule: optim.lr_scheduler.LambdaLR
    patience: Patience
    rate_scale: RateScale
    n_epochs: int
    is_compiled: bool = False

    def update(self, record: Record, network: Model | Repetitions) -> None:
        """Update the learning rate after an epoch and, if it was evaluated, the best weights and the patience."""
        if record.epochs:
            self.schedule.step()
        if f"validation/{self.objective.metric}" in record.metrics:
            ranks = [self.objective.rank(record.of_repetition(index)) for index in range(network.n_repetitions)]
            self.patience.update(record.epoch, ranks, network, Moments(self.optimizer, network.n_repetitions))
            self.rate_scale.scales = self.patience.rate_scales()

    @property
    def best_weights(self) -> dict[str, Tensor] | None:
        """The best weights so far, of the best repetition; None before the first evaluation."""
        return self.patience.best.weights

    def has_finished(self, n_trained: int) -> bool:
        """Return whether there is nothing left to train after so many epochs."""
        return n_trained >= self.n_epochs or self.patience.has_stopped

    def state(self) -> dict:
        """Return what `restore` needs in addition to the state of the optimizer."""
        return {"schedule": self.schedule.state_dict(), "patience": self.patience.state()}

    def restore(self, state: dict) -> None:
        """Restore from the state of a session and of its optimizer; the learning rate follows the present n_epochs."""
        epoch = state["epoch"]
        names = [group.keys() for group in self.optimizer.param_groups]
        if [group.keys() for group in state["optimizer"]["param_groups"]] != names:
            raise ValueError("the optimizer is another one")
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.patience.restore(state["patience"], epoch)
        self.rate_scale.scales = self.patience.rate_scales()
        factors = zip(self.optimizer.param_groups, self.schedule.base_lrs, self.schedule.lr_lambdas, strict=True)
        for group, base, factor in factors:
            group["lr"] = base * factor(epoch + 1)


def prepare(flags: argparse.Namespace, network: Model | Repetitions, objective: Objective) -> Learning:
    """Build the optimizer of the weights that train, the schedule and the patience."""
    weights = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = OPTIMIZERS.build(flags.optimizer, weights, flags.lr)
    spare_biases(optimizer, network, flags.repetitions)
    schedule = SCHEDULES.parse(flags.schedule)
    require_suitable(optimizer, schedule.name, flags.repetitions)
    patience = Patience(flags.repetitions, flags.patience)
    if schedule.name == "plateau":
        patience = Patience(flags.repetitions, flags.patience, schedule.options["drops"], schedule.options["factor"])

    def factor(epoch: int) -> float:
        return SCHEDULES[schedule.name](epoch, flags.n_epochs, **schedule.options)

    return Learning(
        objective=objective,
        optimizer=optimizer,
        schedule=optim.lr_scheduler.LambdaLR(optimizer, factor),
        patience=patience,
        rate_scale=RateScale(optimizer, patience.rate_scales()),
        n_epochs=flags.n_epochs,
        is_compiled=flags.compile,
    )


def fit(
    network: Model | Repetitions,
    loaders: Mapping[str, Batches],
    learning: Learning,
    start_epoch: int = 0,
    test_every: int = 1,
) -> Iterator[Record]:
    """Train, yielding a record at the start, after each step within an epoch, and after each epoch.

    Nothing happens until the generator is iterated; stop iterating to stop training.

    Args:
        network: a stage that trains but does not change in the first step is an error.
        loaders: batches (x, y) of `training` and `validation`.
        learning: its objective gives the loss, its optimizer updates the weights.
        start_epoch: the first epoch to train.
        test_every: evaluate on validation after this many epochs, and after the last.

    Raises:
        UserError: if a loss or a weight is not finite, or if a step cannot be compiled.
        RuntimeError: if a stage does not train.
    """
    objective, compute = learning.objective, compiled(step_loss) if learning.is_compiled else step_loss
    if start_epoch == 0:
        yield Record(0, validate(network, loaders["validation"], learning, "the start"))
    for epoch in range(start_epoch, learning.n_epochs):
        loss = yield from train_epoch(network, loaders["training"], objective, learning.optimizer, epoch, compute)
        metrics = {"train/loss": loss}
        if (epoch + 1) % test_every == 0 or epoch + 1 == learning.n_epochs:
            metrics |= validate(network, loaders["validation"], learning, f"epoch {epoch}")
        yield Record(epoch + 1, metrics)


def validate(network: Model | Repetitions, loader: Batches, learning: Learning, when: str) -> dict[str, np.ndarray]:
    """Return the metrics of the validation images, (R,) each; raise UserError if they are not finite."""
    evaluated = ranks.of_first(evaluate(network, loader, learning.objective))
    for name in ("loss", learning.objective.metric):
        require_finite(evaluated[name], f"validation {name}", when, learning.optimizer)
    return {f"validation/{name}": values for name, values in evaluated.items()}


def train_epoch(
    network: Model | Repetitions,
    loader: Batches,
    objective: Objective,
    optimizer: optim.Optimizer,
    epoch: int,
    compute: StepLoss,
) -> Generator[Record, None, np.ndarray]:
    """Take one step per batch, yielding a record between two; returns the mean loss over images, (R,)."""
    network.train()
    losses, sizes = torch.empty(0), []
    for step, (x, y) in enumerate(loader):
        if step:
            yield Record(epoch + step / len(loader), {})
        before = weight_sums(network.stages()) if epoch == step == 0 else None
        loss, cost = compute(network, objective, x, y)
        optimizer.zero_grad()
        cost.backward()
        ranks.sum_gradients(optimizer)
        optimizer.step()
        if before:
            check_moved(before, weight_sums(network.stages()))
        if step == 0:
            losses = loss.new_zeros((len(loader), len(loss)))
        losses[step] = loss  # in place: small tensors kept between large freed ones would fragment memory
        sizes.append(y.shape[0] if network.n_repetitions == 1 else y.shape[1])
    losses = ranks.total(losses.double()).cpu()  # (steps, R), read once an epoch: reading makes a GPU wait
    worst = int(losses.isfinite().all(1).int().argmin())
    require_finite(losses[worst].numpy(), "loss", f"epoch {epoch}, step {worst}", optimizer)
    largest = torch.stack([parameter.detach().abs().max() for parameter in network.parameters()]).max()
    require_finite(largest.cpu().numpy()[None], "largest weight", f"the end of epoch {epoch}", optimizer)
    return torch.tensordot(torch.tensor(sizes).double() / sum(sizes), losses, 1).numpy()


def step_loss(network: Model | Repetitions, objective: Objective, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch, (R,), and the scalar that a step minimises: its sum with the penalties."""
    part = ranks.part_of(x, y, objective.n_terms, network.n_repetitions)  # of several processes; else the whole batch
    loss = part.of_loss(network.losses(objective, part.x, part.y))
    return loss.detach(), (loss + part.of_penalty(network.regularizer())).sum()
