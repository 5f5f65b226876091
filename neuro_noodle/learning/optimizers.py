"""Optimizers, and the scale of each repetition's learning rate."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn, optim

from neuro_noodle.choices import Table, require

OPTIMIZERS = Table("optimizer")
PROPORTIONAL = (optim.AdamW, optim.SGD)  # their steps are proportional to the learning rate


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


class RateScale:
    """Scales the learning rate of each repetition: after a step, its weights move part of the way back.

    This is exact for optimizers whose steps are proportional to the learning rate, and for scales of 0 and 1.

    Args:
        optimizer: all repetitions share it.
        scales: from 0 to 1, (R,), or a scalar for a single model.
    """

    def __init__(self, optimizer: optim.Optimizer, scales: Tensor) -> None:
        self.scales = scales
        self.before: list[Tensor] = []
        optimizer.register_step_pre_hook(self._keep)
        optimizer.register_step_post_hook(self._go_back)

    def _keep(self, optimizer: optim.Optimizer, *_: object) -> None:
        is_scaled = bool((self.scales != 1).any())
        self.before = [weights.detach().clone() for weights in _weights(optimizer)] if is_scaled else []

    @torch.no_grad()
    def _go_back(self, optimizer: optim.Optimizer, *_: object) -> None:
        for before, weights in zip(self.before, _weights(optimizer) if self.before else [], strict=True):
            scales = self.scales.to(weights).view(*self.scales.shape, *[1] * (weights.ndim - self.scales.ndim))
            weights.copy_(before.lerp(weights, scales))


def require_proportional_steps(optimizer: optim.Optimizer, schedule: str) -> None:
    """Raise UserError if a schedule scales the rate of an optimizer whose steps are not proportional to it."""
    require(
        isinstance(optimizer, PROPORTIONAL),
        f"--schedule {schedule} cannot scale the steps of {type(optimizer).__name__}, which are not proportional to "
        "the learning rate; use --optimizer adam or sgd",
    )


def _weights(optimizer: optim.Optimizer) -> list[Tensor]:
    return [weights for group in optimizer.param_groups for weights in group["params"]]
