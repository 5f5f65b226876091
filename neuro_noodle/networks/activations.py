"""Activations by name."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from torch import nn

Activation = Literal[
    "relu", "leakyrelu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus", "tanh", "tanhshrink",
    "sigmoid", "logsigmoid", "softmax",
]  # fmt: skip
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "celu": nn.CELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "tanhshrink": nn.Tanhshrink,
    "sigmoid": nn.Sigmoid,
    "logsigmoid": nn.LogSigmoid,
    "softmax": partial(nn.Softmax, 1),  # over units, or over channels at each position
}
