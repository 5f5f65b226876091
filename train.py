"""Learning: the loop, one epoch of it, evaluation, optimizers and schedules.

Nothing here prints, writes files or knows a device. To add an optimizer or a schedule: a function under
@OPTIMIZERS.add("name") or @SCHEDULES.add("name") in this file. Nothing else changes.
"""

import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, optim

from neuro_noodle.choices import UserError, require
from neuro_noodle.learning.evaluation import Batches, evaluate


def fit(
    model, training, validation, objective, optimizer, *, start_epoch, n_epochs, test_every, compiled=False
) -> Iterator[dict]:
    """Train, yielding one record per epoch; nothing happens until it is iterated.

    Args:
        model: `Model`; its stages are watched: one that trains but did not move in the first step is an error.
        training, validation: batches (x, y), anew at each iteration.
        objective: `Objective`.
        optimizer: steps the weights of the model.
        start_epoch, n_epochs: the first epoch to train and the one to stop before.
        test_every: evaluate on validation after this many epochs, and after the last.
        compiled: whether what a training step computes is compiled first.

    Raises:
        UserError: where a loss or a weight is not finite, with epoch, step and learning rate; where it cannot be
            compiled.
        RuntimeError: where a stage does not train.
    """
    compute = compile_costs() if compiled else costs
    for epoch in range(start_epoch, n_epochs):
        loss = train_epoch(model, training, objective, optimizer, epoch=epoch, compute=compute)
        record = {"epoch": epoch, "train/loss": loss}
        if (epoch + 1) % test_every == 0 or epoch + 1 == n_epochs:
            record |= {f"validation/{key}": value for key, value in evaluate(model, validation, objective).items()}
            for name in ("loss", objective.metric):
                values = torch.tensor(record[f"validation/{name}"])
                require_finite(values, f"validation {name}", f"epoch {epoch}", optimizer)
        yield record


def costs(model, objective, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch, a scalar, (R,) for repetitions; and what a step lowers: that with its penalty."""
    loss = objective.loss(model(x), y)
    return loss.detach(), (loss + model.regularizer()).sum()


def compile_costs() -> Callable[..., tuple[Tensor, Tensor]]:
    """Return `costs` that is compiled when first called, once for each size of a batch."""
    from torch._dynamo.exc import TorchDynamoException

    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # of what never changes
    fast = torch.compile(costs, dynamic=False)

    def compute(model, objective, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        try:
            return fast(model, objective, x, y)
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise UserError(
                f"this network cannot be compiled here ({reason}); leave out --compile. It needs a C++ compiler (g++)"
            ) from error

    return compute


def train_epoch(
    model, training: Batches, objective, optimizer, *, epoch: int = 0, compute: Callable = costs
) -> float | list[float]:
    """Take one step per batch; return the mean loss over images, for repetitions that of each."""
    model.train()
    losses, sizes = torch.empty(0), []
    for step, (x, y) in enumerate(training):
        before = weight_sums(model) if epoch == step == 0 else None
        loss, cost = compute(model, objective, x, y)
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        if before:
            check_moved(before, weight_sums(model))
        if step == 0:
            losses = loss.new_zeros((len(training), *loss.shape))
        losses[step] = loss  # in place: small tensors kept between large freed ones would fragment memory
        sizes.append(y.shape[loss.ndim])
    losses = losses.double().cpu()  # (steps, ...), read once an epoch: reading makes a GPU wait
    finite = losses.isfinite().view(len(losses), -1).all(1)  # (steps,)
    worst = int(finite.logical_not().int().argmax())
    require_finite(losses[worst], "loss", f"epoch {epoch}, step {worst}", optimizer)
    largest = torch.stack([parameter.detach().abs().max() for parameter in model.parameters()]).max()
    require_finite(largest, "largest weight", f"the end of epoch {epoch}", optimizer)
    return torch.tensordot(torch.tensor(sizes).double() / sum(sizes), losses, 1).tolist()


def require_finite(values: Tensor, what: str, where: str, optimizer: optim.Optimizer) -> None:
    """Raise UserError where training has gone astray."""
    wrong = values[~values.isfinite()]
    require(
        not len(wrong),
        f"the {what} is {wrong[0].item() if len(wrong) else 0} at {where}, learning rate "
        f"{optimizer.param_groups[0]['lr']:g}; nothing after the last saved session is kept. Try a lower --lr",
    )


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
