"""Learning: the loop, one epoch of it, evaluation, optimizers and schedules.

Nothing here prints, writes files or knows a device. To add an optimizer or a schedule: a function under
@OPTIMIZERS.add("name") or @SCHEDULES.add("name") in this file. Nothing else changes.
"""

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator

import torch
from torch import Tensor, nn, optim

from choices import Table, UserError, require

OPTIMIZERS = Table("optimizer")
SCHEDULES = Table("schedule")

Batches = Collection[tuple[Tensor, Tensor]]


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


def evaluate(model, loader: Batches, objective) -> dict[str, float | list[float]]:
    """Return the mean loss over images and the metrics of the whole split, for repetitions those of each."""
    loss, evidence = predict(model, loader, objective)
    return {"loss": loss} | objective.metrics(evidence)


@torch.no_grad()
def predict(model, loader: Batches, objective) -> tuple[float | list[float], dict[str, Tensor]]:
    """Run every batch through the model, which keeps the mode it was in.

    Returns:
        The mean loss over images, and the objective's evidence of all N images, (N, ...) each, on the CPU.
    """
    training, loss = model.training, torch.zeros(())

    def pieces() -> Iterator[dict[str, Tensor]]:
        nonlocal loss
        for x, y in loader:
            prediction = model(x)
            loss = loss + objective.loss(prediction, y).double() * len(x)
            yield objective.evidence(objective.output(prediction), y)

    model.eval()
    evidence = join(pieces(), len(loader))
    model.train(training)
    return (loss / len(next(iter(evidence.values())))).tolist(), evidence


def join(pieces: Iterable[dict[str, Tensor]], n_batches: int) -> dict[str, Tensor]:
    """Return the evidence of all batches, of which none is larger than the first, as one: (N, ...) each, on the CPU."""
    whole, n = {}, 0
    for piece in pieces:
        size = len(next(iter(piece.values())))
        for key, values in piece.items():
            if key not in whole:  # in place: see train_epoch
                whole[key] = values.new_empty((n_batches * size, *values.shape[1:]))
            whole[key][n : n + size] = values
        n += size
    return {key: values[:n].cpu() for key, values in whole.items()}


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
    require(0 <= weight_decay < math.inf, f"optimizer 'adam': weight_decay={weight_decay} must be 0 or more")
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
    require(0 <= momentum < 1, f"optimizer 'sgd': momentum={momentum} must be from 0 to below 1")
    require(0 <= weight_decay < math.inf, f"optimizer 'sgd': weight_decay={weight_decay} must be 0 or more")
    require(momentum > 0 or not nesterov, "optimizer 'sgd': nesterov=true needs momentum above 0")
    return optim.SGD(parameters, lr, momentum=momentum, weight_decay=weight_decay, nesterov=nesterov, fused=True)


@SCHEDULES.add("constant")
def constant(epoch: int, n_epochs: int) -> float:
    """The learning rate stays."""
    return 1.0


@SCHEDULES.add("cosine")
def cosine(epoch: int, n_epochs: int, *, warmup: int = 0, final: float = 0.0) -> float:
    """The learning rate falls along half a cosine to `final` of it, after rising over `warmup` epochs."""
    require(warmup >= 0 and 0 <= final <= 1, f"schedule 'cosine': warmup={warmup} or final={final} is out of range")
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    share = (epoch - warmup) / max(1, n_epochs - warmup)
    return final + (1 - final) * (1 + math.cos(math.pi * min(1.0, share))) / 2


@SCHEDULES.add("step")
def step(epoch: int, n_epochs: int, *, every: int = 30, factor: float = 0.1) -> float:
    """The learning rate is multiplied by `factor` every so many epochs."""
    require(every >= 1 and 0 < factor <= 1, f"schedule 'step': every={every} or factor={factor} is out of range")
    return factor ** (epoch // every)


@SCHEDULES.add("plateau")
def plateau(epoch: int, n_epochs: int, *, factor: float = 0.333, drops: int = 2) -> float:
    """When --patience runs out, training goes on from the best weights with `factor` of the rate, `drops` times."""
    require(0 < factor < 1 and drops >= 1, f"schedule 'plateau': factor={factor} or drops={drops} is out of range")
    return 1.0  # the drops come from `Paces`, as each repetition has its own


class Paces:
    """Lets each repetition take its own share of the learning rate: after a step, its weights go part of the way back.

    Exact for optimizers whose steps are in proportion to the learning rate, as all of these are.

    Args:
        optimizer: whose steps.
        shares: from 0 to 1, (R,), or a scalar for a single model.
    """

    def __init__(self, optimizer: optim.Optimizer, shares: Tensor) -> None:
        self.shares = shares
        self.before: list[Tensor] = []
        optimizer.register_step_pre_hook(self._keep)
        optimizer.register_step_post_hook(self._go_back)

    def _keep(self, optimizer: optim.Optimizer, *_: object) -> None:
        slowed = bool((self.shares != 1).any())
        self.before = [weights.detach().clone() for weights in _stepped(optimizer)] if slowed else []

    @torch.no_grad()
    def _go_back(self, optimizer: optim.Optimizer, *_: object) -> None:
        for before, weights in zip(self.before, _stepped(optimizer) if self.before else [], strict=True):
            shares = self.shares.to(weights).view(*self.shares.shape, *[1] * (weights.ndim - self.shares.ndim))
            weights.copy_(before.lerp(weights, shares))


def _stepped(optimizer: optim.Optimizer) -> list[Tensor]:
    return [weights for group in optimizer.param_groups for weights in group["params"]]
