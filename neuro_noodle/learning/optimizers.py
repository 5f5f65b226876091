"""Optimizers, and the scale of each repetition's learning rate."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn, optim

from neuro_noodle.choices import Table, require

OPTIMIZERS = Table("optimizer")


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
