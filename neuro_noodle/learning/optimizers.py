"""Optimizers of torch by name, with their options; and the scale of each repetition's learning rate."""

import math
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn, optim

from neuro_noodle.choices import Table, UserError, require

OPTIMIZERS = Table("optimizer")
OPTIMIZERS.refuse("asgd", "the average of the weights, which it is for, would not be used; use sgd")
OPTIMIZERS.refuse("lbfgs", "it computes the loss several times per step, on the same batch; use adam")
OPTIMIZERS.refuse("sparseadam", "it needs sparse gradients, which no network here has; use adam")
OPTIMIZERS.refuse("muon", "it updates matrices only, and every network here has other weights too; use adam")
FUSED = (optim.AdamW, optim.SGD)  # their fused step is faster, and runs on every device
NOT_PROPORTIONAL = (optim.Rprop, optim.Adafactor)  # steps are not proportional to the learning rate
NOT_ELEMENTWISE = (optim.Adafactor,)  # a step depends on other elements of the same weight tensor

Weights = Iterable[nn.Parameter]
Pair = tuple[float, float]


@OPTIMIZERS.add("adam")
def adam(
    weights: Weights,
    lr: float,
    *,
    weight_decay: float = 0.0,
    betas: Pair = (0.9, 0.999),
    eps: float = 1e-8,
    amsgrad: bool = False,
) -> optim.Optimizer:
    """Adam; weight decay is decoupled (AdamW). As in every optimizer here, it does not apply to biases."""
    options = {"weight_decay": weight_decay, "betas": betas, "eps": eps, "amsgrad": amsgrad}
    return _build("adam", optim.AdamW, weights, lr, options)


@OPTIMIZERS.add("adamw")
def adamw(
    weights: Weights,
    lr: float,
    *,
    weight_decay: float = 0.01,
    betas: Pair = (0.9, 0.999),
    eps: float = 1e-8,
    amsgrad: bool = False,
) -> optim.Optimizer:
    """Adam with decoupled weight decay: as `adam`, with torch's default for the decay."""
    options = {"weight_decay": weight_decay, "betas": betas, "eps": eps, "amsgrad": amsgrad}
    return _build("adamw", optim.AdamW, weights, lr, options)


@OPTIMIZERS.add("sgd")
def sgd(
    weights: Weights,
    lr: float,
    *,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    nesterov: bool = False,
    dampening: float = 0.0,
) -> optim.Optimizer:
    """Stochastic gradient descent."""
    options = {"momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov, "dampening": dampening}
    return _build("sgd", optim.SGD, weights, lr, options)


@OPTIMIZERS.add("rmsprop")
def rmsprop(
    weights: Weights,
    lr: float,
    *,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    centered: bool = False,
) -> optim.Optimizer:
    """RMSprop: gradients divided by a running mean of their size."""
    options = {"alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum, "centered": centered}
    return _build("rmsprop", optim.RMSprop, weights, lr, options)


@OPTIMIZERS.add("rprop")
def rprop(weights: Weights, lr: float, *, etas: Pair = (0.5, 1.2), step_sizes: Pair = (1e-6, 50.0)) -> optim.Optimizer:
    """Rprop: steps follow the signs of gradients only; meant for batches of all images."""
    return _build("rprop", optim.Rprop, weights, lr, {"etas": etas, "step_sizes": step_sizes})


@OPTIMIZERS.add("adagrad")
def adagrad(
    weights: Weights,
    lr: float,
    *,
    lr_decay: float = 0.0,
    weight_decay: float = 0.0,
    initial_accumulator_value: float = 0.0,
    eps: float = 1e-10,
) -> optim.Optimizer:
    """Adagrad: gradients divided by the size of all earlier ones."""
    options = {"lr_decay": lr_decay, "weight_decay": weight_decay, "eps": eps}
    options["initial_accumulator_value"] = initial_accumulator_value
    return _build("adagrad", optim.Adagrad, weights, lr, options)


@OPTIMIZERS.add("adadelta")
def adadelta(
    weights: Weights, lr: float, *, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0
) -> optim.Optimizer:
    """Adadelta; its learning rate is usually 1."""
    return _build("adadelta", optim.Adadelta, weights, lr, {"rho": rho, "eps": eps, "weight_decay": weight_decay})


@OPTIMIZERS.add("adamax")
def adamax(
    weights: Weights, lr: float, *, betas: Pair = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0
) -> optim.Optimizer:
    """Adam with the infinity norm."""
    return _build("adamax", optim.Adamax, weights, lr, {"betas": betas, "eps": eps, "weight_decay": weight_decay})


@OPTIMIZERS.add("nadam")
def nadam(
    weights: Weights,
    lr: float,
    *,
    betas: Pair = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum_decay: float = 0.004,
    decoupled_weight_decay: bool = False,
) -> optim.Optimizer:
    """Adam with Nesterov momentum."""
    options = {"betas": betas, "eps": eps, "weight_decay": weight_decay, "momentum_decay": momentum_decay}
    options["decoupled_weight_decay"] = decoupled_weight_decay
    return _build("nadam", optim.NAdam, weights, lr, options)


@OPTIMIZERS.add("radam")
def radam(
    weights: Weights,
    lr: float,
    *,
    betas: Pair = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled_weight_decay: bool = False,
) -> optim.Optimizer:
    """Rectified Adam, which needs no warm-up."""
    options = {"betas": betas, "eps": eps, "weight_decay": weight_decay}
    options["decoupled_weight_decay"] = decoupled_weight_decay
    return _build("radam", optim.RAdam, weights, lr, options)


@OPTIMIZERS.add("adafactor")
def adafactor(
    weights: Weights, lr: float, *, beta2_decay: float = -0.8, d: float = 1.0, weight_decay: float = 0.0
) -> optim.Optimizer:
    """Adafactor, which keeps few numbers per weight."""
    options = {"beta2_decay": beta2_decay, "d": d, "weight_decay": weight_decay}
    return _build("adafactor", optim.Adafactor, weights, lr, options)


def _build(
    name: str, kind: type[optim.Optimizer], weights: Weights, lr: float, options: dict[str, Any]
) -> optim.Optimizer:
    """Build an optimizer of torch; values that it refuses, or with which training cannot work, are a UserError."""
    for key, value in options.items():
        numbers = value if isinstance(value, tuple) else (value,)
        require(all(map(math.isfinite, numbers)), f"optimizer '{name}': {key}={value} must be finite")
    momentum, decay = options.get("momentum", 0), options.get("weight_decay", 0)
    require(0 <= momentum < 1, f"optimizer '{name}': momentum={momentum} must be from 0 to below 1")
    require(decay >= 0, f"optimizer '{name}': weight_decay={decay} must be 0 or more")
    require(momentum > 0 or not options.get("nesterov"), f"optimizer '{name}': nesterov=true needs momentum above 0")
    try:
        return kind(weights, lr=lr, **options, **({"fused": True} if kind in FUSED else {}))  # type: ignore[call-arg]
    except ValueError as error:
        raise UserError(f"optimizer '{name}': {error}") from error


def spare_biases(optimizer: optim.Optimizer, network: nn.Module, n_repetitions: int) -> None:
    """Let weight decay shrink filters and matrices only.

    Biases, the gains of batch normalisation and what a module lists in its attribute `not_decayed` stay as they are.

    Args:
        optimizer: of the weights that train; it has taken no step yet.
        network: has these weights.
        n_repetitions: for several, every weight is (R, ...).
    """
    (group,) = optimizer.param_groups
    if group.get("weight_decay"):
        spared = {
            weights
            for module in network.modules()
            for name, weights in module.named_parameters(recurse=False)
            if weights.ndim - (n_repetitions > 1) < 2 or name in getattr(module, "not_decayed", ())
        }
        others = [weights for weights in group["params"] if weights in spared]
        group["params"] = [weights for weights in group["params"] if weights not in spared]
        optimizer.add_param_group(group | {"params": others, "weight_decay": 0.0})


class Moments:
    """What an optimizer remembers of each weight, such as the moments of Adam, for each repetition; see `Remembering`.

    The number of steps is not part of it, since all repetitions share it.

    Args:
        optimizer: all repetitions share it.
        n_repetitions: for several, every weight is (R, ...).
    """

    def __init__(self, optimizer: optim.Optimizer, n_repetitions: int) -> None:
        self.optimizer, self.is_stacked = optimizer, n_repetitions > 1

    def copy(self, index: int) -> list[dict[str, Tensor]]:
        """Return a copy on the CPU of what is remembered of one repetition, by name, for each weight."""
        return [
            {name: values.cpu().clone() for name, values in self._of(weights, index)}
            for weights in _weights(self.optimizer)
        ]

    def load(self, moments: list[dict[str, Tensor]], index: int) -> None:
        """Load what `copy` has returned; before the first step, nothing was remembered."""
        for weights, saved in zip(_weights(self.optimizer), moments, strict=True):
            for name, values in self._of(weights, index):
                values.copy_(saved.get(name, torch.zeros(())))

    def _of(self, weights: Tensor, index: int) -> Iterator[tuple[str, Tensor]]:
        for name, values in self.optimizer.state[weights].items():
            if name != "step" and isinstance(values, Tensor) and values.shape == weights.shape:
                yield name, values[index] if self.is_stacked else values


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
            moved = before.lerp(weights, scales)
            weights.copy_(torch.where(scales == 0, before, moved))  # a gradient of NaN moves nothing that has stopped


def require_suitable(optimizer: optim.Optimizer, schedule: str, n_repetitions: int) -> None:
    """Raise UserError if an optimizer cannot follow a schedule, or cannot train repetitions as if each were alone."""
    name = type(optimizer).__name__
    require(
        schedule == "constant" or not isinstance(optimizer, NOT_PROPORTIONAL),
        f"--schedule {schedule} (the recipe's, if you gave none) changes the learning rate, but the steps of {name} "
        "are not proportional to it; use --schedule constant, or --optimizer adam",
    )
    require(
        n_repetitions == 1 or not isinstance(optimizer, NOT_ELEMENTWISE),
        f"{name} computes a step from several weights at once, so --repetitions would influence each other; use "
        "--optimizer adam, or train one after another: vary --seed and keep --split_seed",
    )


def _weights(optimizer: optim.Optimizer) -> list[Tensor]:
    return [weights for group in optimizer.param_groups for weights in group["params"]]
