"""Folders in which other libraries cache what they compile and find."""

import atexit
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

IMAGENET_FILE = "resnet18-f37072fd.pth"  # torchvision's ResNet18 trained on ImageNet
VARIABLES = ("NUMBA_CACHE_DIR", "MPLCONFIGDIR")  # without a folder, UMAP cannot be imported and figures print warnings


def name_writable_caches() -> None:
    """Let the variables above name a temporary folder if the user's cache cannot be written, as in some containers."""
    unset = [name for name in VARIABLES if not os.environ.get(name)]
    if not unset or _is_writable(_user_cache()):
        return
    with contextlib.suppress(OSError):  # nothing can be written; then the libraries explain it
        folder = tempfile.mkdtemp(prefix="neuro_noodle-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ.update(dict.fromkeys(unset, folder))


def has_imagenet_weights() -> bool:
    """Return whether torch has the ImageNet weights of ResNet18 in its cache; torch is not imported."""
    home = Path(os.environ.get("TORCH_HOME") or _user_cache() / "torch")
    return (home / "hub" / "checkpoints" / IMAGENET_FILE).is_file()


def _user_cache() -> Path:
    home = Path(os.path.expanduser("~"))  # noqa: PTH111, since Path.home() is an error for a user without a home
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")


def _is_writable(folder: Path) -> bool:
    """Return whether a folder can be written, or made."""
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.exists(path))  # noqa: PTH110, since Path.exists is an error in a folder that may not be searched
    try:
        with tempfile.TemporaryFile(dir=existing):  # os.access does not know every file system
            return os.access(existing, os.W_OK)
    except OSError:
        return False
