"""Datasets larger than memory: `large.py FOLDER` trains on 1.25, 5 and 20 GB of (sparse, black) images.

The number of images seen in training is the same for each, so that images per second should not depend on the size. The
peak of the process's own memory (anonymous, that is without the pages of mapped files) is also printed.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from runs import PROJECT, read_result

SHAPE = (128, 128)
N_IMAGES = 76_294  # 1.25 GB
VAL_FRACTION = 0.01
COMMAND = "--encoder fc hidden=16 start=random --head fc start=random --latent_dim 4 --objective reconstruct loss=mse "
COMMAND += f"--augment none --optimizer adam --schedule constant --batch_size 128 --val_fraction {VAL_FRACTION} "
COMMAND += "--device cpu --dataset arrays"


def main(folder: Path) -> None:
    """Train on each size and print a line for it."""
    for factor in (1, 4, 16):
        with tempfile.TemporaryDirectory(dir=folder) as work:
            path = Path(work) / "images.npy"
            np.lib.format.open_memmap(path, "w+", np.uint8, (factor * N_IMAGES, *SHAPE))
            read_once(path)
            peak = train_and_watch(path, Path(work), 16 // factor)
            seconds = read_result(Path(work) / "faces_ae")["seconds"]
            n_seen = 16 * N_IMAGES * (1 - VAL_FRACTION)
            print(
                f"{path.stat().st_size / 1e9:5.2f} GB: {n_seen / seconds:,.0f} images per second, "
                f"{peak / 2**30:.2f} GiB of memory of its own",
                flush=True,
            )


def read_once(path: Path) -> None:
    """Read a file, so that the system's file cache is in the same state before each training."""
    with path.open("rb", buffering=0) as file:
        while file.read(2**26):
            pass


def train_and_watch(path: Path, work: Path, n_epochs: int) -> int:
    """Train on an array of images and return the peak of the process's anonymous memory, bytes."""
    words = [*COMMAND.split(), "--data_dir", str(path), "--save_dir", str(work)]
    words += ["--n_epochs", str(n_epochs), "--test_every", str(n_epochs)]
    process = subprocess.Popen([sys.executable, str(PROJECT / "main.py"), *words], stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")]
        peak = max([peak, *sizes])
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"main.py ended with status {process.returncode}")
    return peak


if __name__ == "__main__":
    main(Path(sys.argv[1]))
