"""Learning: the loop, one epoch of it, evaluation, optimizers and schedules.

Nothing here prints, writes files or knows a device. To add an optimizer or a schedule: a function under
@OPTIMIZERS.add("name") or @SCHEDULES.add("name") in this file. Nothing else changes.
"""

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn, optim

from choices import Table, UserError

OPTIMIZERS = Table("optimizer")
SCHEDULES = Table("schedule")

Batches = Iterable[tuple[Tensor, Tensor]]


def fit(model, training, validation, objective, optimizer, *, start_epoch, n_epochs, test_every) -> Iterator[dict]:
    """Train, yielding one record per epoch; nothing happens until it is iterated.

    Args:
        model: `Model`; its stages are watched: one that trains but did not move in the first step is an error.
        training, validation: batches (x, y), anew at each iteration.
        objective: `Objective`.
        optimizer: steps the weights of the model.
        start_epoch, n_epochs: the first epoch to train and the one to stop before.
        test_every: evaluate on validation after this many epochs, and after the last.

    Raises:
        UserError: where the loss is not finite, with epoch, step and learning rate.
        RuntimeError: where a stage does not train.
    """
    for epoch in range(start_epoch, n_epochs):
        record = {"epoch": epoch, "train/loss": train_epoch(model, training, objective, optimizer, epoch=epoch)}
        if (epoch + 1) % test_every == 0 or epoch + 1 == n_epochs:
            record |= {f"validation/{key}": value for key, value in evaluate(model, validation, objective).items()}
        yield record


def train_epoch(model, training: Batches, objective, optimizer, *, epoch: int = 0) -> float:
    """Take one step per batch; return the mean loss over images."""
    model.train()
    losses, sizes = [], []
    for step, (x, y) in enumerate(training):
        before = weight_sums(model) if epoch == step == 0 else None
        loss = objective.loss(model(x), y)
        optimizer.zero_grad()
        (loss + model.regularizer()).backward()
        optimizer.step()
        if before:
            check_moved(before, weight_sums(model))
        losses.append(loss.detach())
        sizes.append(len(x))
    losses = torch.stack(losses).double().cpu()  # (steps,), read once an epoch: reading makes a GPU wait
    if not losses.isfinite().all():
        step = int(losses.isfinite().logical_not().nonzero()[0])
        raise UserError(
            f"the loss is {losses[step].item()} at epoch {epoch}, step {step}, learning rate "
            f"{optimizer.param_groups[0]['lr']:g}; nothing after the last saved session is kept. Try a lower --lr"
        )
    return torch.tensor(sizes).double().dot(losses).item() / sum(sizes)


def evaluate(model, loader: Batches, objective) -> dict[str, float]:
    """Return the mean loss over images and the metrics of the whole split."""
    loss, evidence = predict(model, loader, objective)
    return {"loss": loss} | objective.metrics(evidence)


@torch.no_grad()
def predict(model, loader: Batches, objective) -> tuple[float, dict[str, Tensor]]:
    """Run every batch through the model, which keeps the mode it was in.

    Returns:
        The mean loss over images, and the objective's evidence of all N images, (N, ...) each, on the CPU.
    """
    training = model.training
    model.eval()
    loss, pieces = 0.0, []
    for x, y in loader:
        prediction = model(x)
        loss += objective.loss(prediction, y).double() * len(x)
        pieces.append(objective.evidence(objective.output(prediction), y))
    model.train(training)
    evidence = {key: torch.cat([piece[key] for piece in pieces]).cpu() for key in pieces[0]}  # (N, ...)
    return float(loss) / len(next(iter(evidence.values()))), evidence


def weight_sums(model) -> dict[str, list[float]]:
    """Return two sums over each trainable parameter of each stage: cheap to keep, and any step changes them."""
    return {
        name: [s for p in stage.parameters() if p.requires_grad for s in (p.detach().sum(), p.detach().norm())]
        for name, stage in model.stages().items()
    }


def check_moved(before: dict[str, list], after: dict[str, list]) -> None:
    """Raise RuntimeError if a trainable stage is as it was."""
    still = [
        name for name, sums in before.items() if sums and all(a == b for a, b in zip(sums, after[name], strict=True))
    ]
    if still:
        raise RuntimeError(
            f"no weight of {', '.join(still)} changed in the first step: it gets no gradient, or its learning rate is 0"
        )


@OPTIMIZERS.add("adam")
def adam(parameters: Iterable[nn.Parameter], lr: float, *, weight_decay: float = 0.0) -> optim.Optimizer:
    """Adam; weight decay is decoupled (AdamW)."""
    return optim.AdamW(parameters, lr, weight_decay=weight_decay, fused=True)


@OPTIMIZERS.add("sgd")
def sgd(
    parameters: Iterable[nn.Parameter],
    lr: float,
    *,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
) -> optim.Optimizer:
    """Stochastic gradient descent."""
    return optim.SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, fused=True)


@SCHEDULES.add("constant")
def constant(epoch: int, n_epochs: int) -> float:
    """The learning rate stays."""
    return 1.0


@SCHEDULES.add("cosine")
def cosine(epoch: int, n_epochs: int, *, warmup: int = 0, final: float = 0.0) -> float:
    """The learning rate falls along half a cosine to `final` of it, after rising over `warmup` epochs."""
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    share = (epoch - warmup) / max(1, n_epochs - warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, share))) / 2


@SCHEDULES.add("step")
def step(epoch: int, n_epochs: int, *, every: int = 30, factor: float = 0.1) -> float:
    """The learning rate is multiplied by `factor` every so many epochs."""
    return factor ** (epoch // every)
