"""Whether a network fits in memory, known before any of it is allocated."""

from collections.abc import Mapping
from typing import Any

import psutil
import torch

from neuro_noodle.choices import UserError, require
from neuro_noodle.networks.base import build_model

BYTES_PER_WEIGHT = 20  # 4 for each of: weight, gradient, two moments of the optimizer, best weight so far


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
        reason = str(error).splitlines()[0]
        raise UserError(f"--encoder {description['encoder']} and its head cannot be built: {reason}") from error
    n_weights = n_repetitions * sum(parameter.numel() for parameter in model.parameters())
    is_cuda = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if is_cuda else psutil.virtual_memory().available
    require(
        n_weights * BYTES_PER_WEIGHT <= free,
        f"{n_weights:,} weights need {n_weights * BYTES_PER_WEIGHT / 2**30:,.0f} GiB to train, but {free / 2**30:,.0f} "
        "GiB of memory are free; choose a smaller --latent_dim or network, or fewer --repetitions",
    )
