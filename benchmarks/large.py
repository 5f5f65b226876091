"""A set larger than memory: `large.py FOLDER` trains on 1.25, 5 and 20 GB of (sparse, black) images made in FOLDER.

Each trains on as many images in all, so images per second should not depend on the size of the set; printed beside
them is the most memory of its own (anonymous, so without the pages of mapped files) that the process ever held.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent.parent
SHAPE = (128, 128)
N_IMAGES = 76_294  # 1.25 GB
FLAGS = "--encoder fc hidden=16 start=random --head fc start=random --latent_dim 4 --objective reconstruct loss=mse "
FLAGS += "--augment none --optimizer adam --schedule constant --batch_size 128 --val_fraction 0.01 --device cpu"


def main(folder: Path) -> None:
    """Train on each size and print a line for it."""
    for times in (1, 4, 16):
        with tempfile.TemporaryDirectory(dir=folder) as work:
            path = Path(work) / "images.npy"
            np.lib.format.open_memmap(path, "w+", np.uint8, (times * N_IMAGES, *SHAPE))
            read_once(path)
            peak = train(path, Path(work), 16 // times)
            result = json.loads((Path(work) / "faces_ae" / "result.json").read_text())
            n_seen = 16 * N_IMAGES * 0.99
            print(
                f"{path.stat().st_size / 1e9:5.2f} GB: {n_seen / result['seconds']:,.0f} images per second, "
                f"{peak / 2**30:.2f} GiB of memory of its own",
                flush=True,
            )


def read_once(path: Path) -> None:
    """Bring a file into the system's cache, so that each size begins alike."""
    with path.open("rb", buffering=0) as file:
        while file.read(2**26):
            pass


def train(path: Path, work: Path, n_epochs: int) -> int:
    """Run main.py; returns the most anonymous memory it held, bytes."""
    words = [sys.executable, str(HERE / "main.py"), *FLAGS.split(), "--data_dir", str(path), "--dataset", "arrays"]
    words += ["--save_dir", str(work), "--n_epochs", str(n_epochs), "--test_every", str(n_epochs)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        held = [int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")]
        peak = max([peak, *held])
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(f"main.py ended with status {process.returncode}")
    return peak


if __name__ == "__main__":
    main(Path(sys.argv[1]))
