"""Files of tensors (.pth), opened without running code that is in them."""

import io
import pickle
from pathlib import Path

import torch

from neuro_noodle.choices import UserError, require
from neuro_noodle.plain import first_line


def read_tensors(content: bytes, path: Path) -> dict:
    """Return the tensors and plain values in the content of a .pth file.

    Args:
        content: of the file.
        path: named in errors.

    Raises:
        UserError: if it is damaged, or holds code.
    """
    try:
        tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # its own message advises to run the code
        raise UserError(f"{path} holds more than weights, and is not opened, because it could run code") from error
    except MemoryError:  # not the fault of the file
        raise
    except Exception as error:  # a damaged file fails in any way
        raise UserError(f"{path} is damaged ({first_line(error).partition('. ')[0]})") from error
    require(isinstance(tensors, dict), f"{path} does not hold weights by name")
    return tensors
