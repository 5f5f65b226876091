"""Devices: which one trains, and what it can do."""

import torch

from neuro_noodle.choices import UserError
from neuro_noodle.plain import first_line


def choose_device(name: str) -> torch.device:
    """Return the torch device of this name; auto takes a GPU if there is one.

    Raises:
        UserError: if the device does not exist or is neither a CPU nor a CUDA GPU.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if name.partition(":")[0] not in ("cpu", "cuda"):
            raise RuntimeError("only cpu and cuda are supported")
        return torch.empty(1, device=torch.device(name)).device  # with its index, as tensors on it have
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} cannot be used: {first_line(error)}; try --device cpu") from error


def has_fast_bf16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 without emulating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))
