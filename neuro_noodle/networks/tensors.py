"""Files of tensors (.pth), opened without running code that is in them."""

import io
import pickle
from pathlib import Path

import torch

from neuro_noodle.choices import UserError


def read_tensors(content: bytes, path: Path) -> dict:
    """Return the tensors and plain values in the content of a .pth file.

    Args:
        content: of the file.
        path: named in errors.

    Raises:
        UserError: if it is damaged, or holds code.
    """
    try:
        return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its own message advises to run the code
        raise UserError(f"{path} holds more than weights, and is not opened, because it could run code") from error
    except Exception as error:  # a damaged file fails in any way
        reason = (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
        raise UserError(f"{path} is damaged ({reason})") from error
