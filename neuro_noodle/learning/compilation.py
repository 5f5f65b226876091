"""Compilation of a training step."""

import warnings
from collections.abc import Callable
from typing import Any

import torch

from neuro_noodle.choices import UserError
from neuro_noodle.plain import first_line


def compiled(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function compiled at its first call, and once more for each batch size."""
    from torch._dynamo.exc import TorchDynamoException  # takes a second, and only --compile needs it

    warnings.filterwarnings("ignore", "Dynamo detected a call to a `functools.lru_cache`")  # its value never changes
    fast = torch.compile(step, dynamic=False)

    def call(*arguments: Any) -> Any:
        try:
            return fast(*arguments)
        except TorchDynamoException as error:
            raise UserError(
                f"this network cannot be compiled here ({first_line(error)}); leave out --compile. It needs a C++ "
                "compiler (g++)"
            ) from error

    return call
