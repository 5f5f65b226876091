"""Cost per image as a set grows: `large.py FOLDER` trains on 10,000, 100,000 and a million (sparse, black) images.

Each training sees two million images, so that images per second, measured over the second million, should not depend on
the size. The peak of the process's own memory (anonymous, that is without the pages of mapped files) is also printed.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from runs import Training

SHAPE = (64, 64)
N_SEEN = 1_000_000  # images in each half of a training
VAL_FRACTION = 0.01
COMMAND = "--encoder fc hidden=16 start=random --head fc start=random --latent_dim 4 --objective reconstruct loss=mse "
COMMAND += f"--augment none --optimizer adam --schedule constant --batch_size 128 --val_fraction {VAL_FRACTION} "
COMMAND += "--device cpu --dataset arrays"


def main(folder: Path) -> None:
    """Train on each size and print a line for it."""
    for n_images in (10_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory(dir=folder) as work:
            path = Path(work) / "images.npy"
            images = np.lib.format.open_memmap(path, "w+", np.uint8, (n_images, *SHAPE))
            images[::100, 0, 0] = np.arange(1, n_images // 100 + 1) % 256  # else nothing could be learned
            images.flush()
            read_once(path)
            seconds, peak = train_and_watch(path, Path(work), N_SEEN // n_images)
        rate = N_SEEN * (1 - VAL_FRACTION) / seconds
        print(
            f"{n_images:9,} images: {rate:,.0f} images per second, {peak / 2**30:.2f} GiB of its own memory", flush=True
        )


def read_once(path: Path) -> None:
    """Read a file, so that the system's file cache is in the same state before each training."""
    with path.open("rb", buffering=0) as file:
        while file.read(2**26):
            pass


def train_and_watch(path: Path, work: Path, n_epochs: int) -> tuple[float, int]:
    """Train twice n_epochs; returns the seconds of the second half, and the peak of the anonymous memory, bytes."""
    words = [*COMMAND.split(), "--data_dir", str(path), "--save_dir", str(work), "--n_epochs", str(2 * n_epochs)]
    words += ["--test_every", str(n_epochs), "--log_every", str(n_epochs), "--save_every", str(2 * n_epochs)]
    training, peak = Training(words), 0
    while training.process.poll() is None:
        lines = Path(f"/proc/{training.process.pid}/status").read_text(encoding="utf-8").splitlines()
        sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")]
        peak = max([peak, *sizes])
        time.sleep(0.1)
    training.wait()
    return training.ends[1] - training.ends[0], peak


if __name__ == "__main__":
    main(Path(sys.argv[1]))
