"""Devices: which one trains."""

from neuro_noodle.choices import UserError


def choose_device(name: str):
    """Return the torch device of this name, or the best there is for auto."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if name.partition(":")[0] not in ("cpu", "cuda"):
            raise RuntimeError("only cpu and cuda can")
        device = torch.empty(1, device=torch.device(name)).device  # with its index, as tensors on it tell it
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} cannot be used: {str(error).splitlines()[0]}; try --device cpu") from error
    return device
