"""Train the same network in one process and in several that torchrun starts: `ranks.py JOB DATA [N] [FLAGS]`.

JOB is a name in jobs.py, DATA the folder that has its images, and N the number of processes (2 if it is left out). It
prints the images per second of each, from the seconds between printed epochs, and the largest difference between their
losses.
"""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jobs import JOBS
from runs import Training

TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]


def main(name: str, data: Path, n: int, flags: Sequence[str]) -> None:
    """Train in one process, then in n, and print a line for each."""
    job = JOBS[name]
    words = [*job.ours.split(), "--batch_size", str(job.batch_size), "--data_dir", str((data / job.data).resolve())]
    with tempfile.TemporaryDirectory() as folder:
        losses = {}
        for count in (1, n):
            run = Path(folder) / f"run{count}"
            launcher = [*TORCHRUN, str(count)] if count > 1 else []
            n_threads = max(1, (os.cpu_count() or 1) // count)
            training = Training([*words, *flags, "--save_dir", folder, "--namestr", run.name], launcher, n_threads)
            training.wait()
            seconds = float(np.median(np.diff(training.ends)[1:]))  # without the first epoch
            split = json.loads((run / "split.json").read_text(encoding="utf-8"))
            print(f"{count} processes: {len(split['training']) / seconds:.0f} images/s, {seconds:.2f} s per epoch")
            losses[count] = read_losses(run)
    print(f"largest difference of the training and validation loss: {np.abs(losses[1] - losses[n]).max():.2g}")


def read_losses(run: Path) -> np.ndarray:
    """Return the training and validation loss of each epoch, (epochs, 2)."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines[1:]]  # without the start
    return np.array([[record["train/loss"], record["validation/loss"]] for record in records])


if __name__ == "__main__":
    n_given = [word for word in sys.argv[3:4] if word.isdecimal()]
    main(sys.argv[1], Path(sys.argv[2]), int((n_given or ["2"])[0]), sys.argv[3 + len(n_given) :])
