"""Whether a network fits in memory, known before any of it is allocated."""

from collections.abc import Mapping
from typing import Any

import psutil
import torch

from neuro_noodle.choices import UserError, require
from neuro_noodle.networks.base import build_model
from neuro_noodle.plain import first_line, format_bytes

TRAINED = 20  # bytes per weight: 4 for each of weight, gradient, two moments of the optimizer, best weight so far
SAVED = 20  # and for each of these but the gradient while a session is saved, and once more for the best weight


def require_memory(description: Mapping[str, Any], n_repetitions: int, device: torch.device) -> None:
    """Raise UserError if the weights of the networks, and what training keeps of each weight, do not fit in memory.

    Args:
        description: the arguments of `build_model`.
        n_repetitions: networks trained at once.
        device: where they train.
    """
    try:
        with torch.device("meta"):  # shapes alone, without values
            model = build_model(**description)
    except (OverflowError, RuntimeError, TypeError) as error:
        reason = first_line(error)
        raise UserError(f"--encoder {description['encoder']} and its head cannot be built: {reason}") from error
    n_weights = n_repetitions * sum(parameter.numel() for parameter in model.parameters())
    is_cuda = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if is_cuda else psutil.virtual_memory().available
    needed = n_weights * (TRAINED if is_cuda else TRAINED + SAVED)
    require(
        needed <= free,
        f"{n_weights:,} weights need {format_bytes(needed)} to train, but {format_bytes(free)} of memory are free; "
        "choose a smaller --latent_dim or network, or fewer --repetitions",
    )
