"""Compare the time of training 25 repetitions of the HSM: stacked, compiled, one after another, and a textbook loop.

`repetitions.py DATA_DIR`, the output of `Resources/simulate.py v1`, prints the seconds per epoch of all repetitions
and their ratio to the stacked model. The ways are timed in turn in each round, so that other load on the machine
affects all of them. An epoch of main.py is timed as the difference between a long and a short training, so that
starting and compiling do not count; "one after another" is 25 times the epoch of one repetition.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # the same thread settings as in main.py

import numpy as np
import torch
import torch.nn.functional as F
from runs import read_result, start
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

N_REPETITIONS = 25
N_ROUNDS = 5
SHORT, LONG = 2, 102  # epochs; many, since the time that compiling takes varies by about a second
BATCH_SIZE = 16
LR = 1e-3
L2 = 0.1
COMMAND = f"--recipe v1_hsm --batch_size {BATCH_SIZE} --lr {LR} --precision fp32 --device cpu --schedule constant"


def main(data_dir: Path) -> None:
    """Time all ways in turn and print a line for each."""
    torch.set_flush_denormal(True)
    images, responses = load_training_set(data_dir)
    epochs = [textbook(images, responses, seed) for seed in range(N_REPETITIONS)]
    stacked = f"{COMMAND} --data_dir {data_dir.resolve()} --repetitions {N_REPETITIONS}"
    single = f"{COMMAND} --data_dir {data_dir.resolve()} --repetitions 1"
    ways = {
        "stacked": lambda: epoch_seconds(stacked),
        "stacked, compiled": lambda: epoch_seconds(f"{stacked} --compile"),
        "one after another": lambda: N_REPETITIONS * epoch_seconds(single),
        "textbook": lambda: time_all(epochs),
    }
    time_all(epochs)  # the first epoch is slower
    seconds = {name: [] for name in ways}
    for _ in range(N_ROUNDS):
        for name, measure in ways.items():
            seconds[name].append(measure())
    print(f"an epoch of {N_REPETITIONS} repetitions, {len(images)} images, batches of {BATCH_SIZE}, ", end="")
    print(f"{torch.get_num_threads()} threads, {N_ROUNDS} rounds: median (minimum to maximum)")
    for name, values in seconds.items():
        ratios = np.array(values) / np.array(seconds["stacked"])
        print(f"  {name:<20}{np.median(values):6.2f} s ({min(values):.2f} to {max(values):.2f})", end="")
        print(f"   {np.median(ratios):5.1f} times ({ratios.min():.1f} to {ratios.max():.1f})")


def epoch_seconds(command: str) -> float:
    """Return the seconds per epoch of a command line of main.py."""
    seconds = []
    for n_epochs in (SHORT, LONG):
        with tempfile.TemporaryDirectory() as folder:
            words = [*command.split(), "--save_dir", folder, "--namestr", "run", "--n_epochs", str(n_epochs)]
            words += ["--test_every", str(n_epochs), "--save_every", str(n_epochs)]
            start("main.py", *words)
            seconds.append(read_result(Path(folder) / "run")["seconds"])
    return (seconds[1] - seconds[0]) / (LONG - SHORT)


def time_all(functions: list[Callable[[], float]]) -> float:
    """Return the seconds that calling all functions takes."""
    started = time.perf_counter()
    for function in functions:
        function()
    return time.perf_counter() - started


def load_training_set(data_dir: Path) -> tuple[Tensor, Tensor]:
    """Return z-scored training images (n, side**2) and responses (n, N)."""
    images, responses = (np.load(data_dir / "region1" / f"training_{name}.npy") for name in ("inputs", "set"))
    scaled = (images - images.mean()) / images.std()
    return torch.tensor(scaled, dtype=torch.float32), torch.tensor(responses, dtype=torch.float32)


class Textbook(nn.Module):
    """The HSM written in the most direct way."""

    def __init__(self, side: int, n_neurons: int) -> None:
        super().__init__()
        self.x, self.y = nn.Parameter(torch.rand(9) * side), nn.Parameter(torch.rand(9) * side)
        self.centre, self.surround = nn.Parameter(1 + 2 * torch.rand(9)), nn.Parameter(1 + 4 * torch.rand(9))
        self.gain_centre, self.gain_surround = nn.Parameter(torch.rand(9)), nn.Parameter(torch.rand(9))
        self.hidden, self.out = nn.Linear(9, n_neurons // 5), nn.Linear(n_neurons // 5, n_neurons)
        rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        self.register_buffer("rows", rows.float())
        self.register_buffer("columns", columns.float())

    def forward(self, images: Tensor) -> Tensor:
        squared = (self.columns - self.x[:, None, None]) ** 2 + (self.rows - self.y[:, None, None]) ** 2
        filters = 0.0
        for sigma, gain in (
            (self.centre, self.gain_centre),
            (self.centre + F.softplus(self.surround), -self.gain_surround),
        ):
            variance = sigma[:, None, None] ** 2
            filters = filters + gain[:, None, None] * torch.exp(-squared / (2 * variance)) / (2 * torch.pi * variance)
        hidden = F.softplus(self.hidden(images @ filters.flatten(1).T))  # (B, H)
        return F.softplus(self.out(hidden))  # (B, N)


def textbook(images: Tensor, responses: Tensor, seed: int) -> Callable[[], float]:
    """Return a function that trains one model for an epoch in a textbook loop and returns the mean loss."""
    torch.manual_seed(seed)
    model = Textbook(round(images.shape[1] ** 0.5), responses.shape[1])
    loader = DataLoader(TensorDataset(images, responses), batch_size=BATCH_SIZE, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)

    def train_epoch() -> float:
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            rate = model(x)
            loss = (rate - y * torch.log(rate + 1e-6)).mean() + L2 * (model.out.weight**2).sum() / y.shape[1]
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / len(loader)

    return train_epoch


if __name__ == "__main__":
    main(Path(sys.argv[1]))
