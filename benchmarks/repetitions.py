"""25 repetitions of the HSM: as one stacked model, compiled, one after another in the same code, in a textbook loop.

`repetitions.py DATA_DIR`, the folder of `Resources/simulate.py v1`, prints the seconds that an epoch of all takes, in
rounds in turn, and the ratios of each round.
"""

import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import utils
from neuro_noodle.learning.optimizers import OPTIMIZERS
from neuro_noodle.networks.base import build_model
from neuro_noodle.networks.repetitions import OfEach, stack
from train import compile_costs, costs, train_epoch

N_REPETITIONS = 25
N_ROUNDS = 9
N_STACKED = 5  # epochs in a row, as there are in training: the other ways have 25 for the machine to settle
BATCH_SIZE = 16
LR = 1e-3
L2 = 0.1
FLAGS = {"dataset": "v1", "split": "given", "skip_unreadable": False, "objective": "response", "save_dir": "weights"}


def ours(dataset, objective, parts: dict, n_repetitions: int, seed: int, *, compiled: bool = False):
    """Return a function that trains an epoch of so many repetitions of the recipe v1_hsm."""
    models = []
    for repetition in range(n_repetitions):
        torch.manual_seed(seed + repetition)
        shape, n_neurons = dataset.image_shape, len(dataset.neurons)
        models.append(build_model("dog", f"mlp hidden=0.2 l2={L2}", shape, (n_neurons,), 9, "fp32"))
    model = stack(models) if n_repetitions > 1 else models[0]
    judge = OfEach(objective, model) if n_repetitions > 1 else objective
    settings = {"batch_size": BATCH_SIZE, "augmentations": [], "device": torch.device("cpu"), "seed": seed}
    loader = utils.dataloaders(dataset, parts, objective, **settings, repetitions=n_repetitions)["training"]
    optimizer = OPTIMIZERS.build("adam", model.parameters(), LR)
    compute = compile_costs() if compiled else costs
    return lambda: train_epoch(model, loader, judge, optimizer, epoch=1, compute=compute)


class Textbook(nn.Module):
    """The HSM as one writes it down."""

    def __init__(self, size: int, n_neurons: int) -> None:
        super().__init__()
        self.x, self.y = nn.Parameter(torch.rand(9) * size), nn.Parameter(torch.rand(9) * size)
        self.centre, self.surround = nn.Parameter(1 + 2 * torch.rand(9)), nn.Parameter(1 + 4 * torch.rand(9))
        self.gain_centre, self.gain_surround = nn.Parameter(torch.rand(9)), nn.Parameter(torch.rand(9))
        self.hidden, self.out = nn.Linear(9, n_neurons // 5), nn.Linear(n_neurons // 5, n_neurons)
        rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
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
        hidden = F.softplus(self.hidden(images.flatten(1) @ filters.flatten(1).T))
        return F.softplus(self.out(hidden))


def textbook(images: Tensor, responses: Tensor, seed: int):
    """Return a function that trains an epoch of one model in a textbook loop."""
    torch.manual_seed(seed)
    model = Textbook(images.shape[-1], responses.shape[1])
    loader = DataLoader(TensorDataset(images, responses), batch_size=BATCH_SIZE, shuffle=True)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)

    def epoch() -> float:
        total = 0.0
        for x, y in loader:
            optimizer.zero_grad()
            rate = model(x)
            loss = (rate - y * torch.log(rate + 1e-6)).mean() + L2 * (model.out.weight**2).sum() / y.shape[1]
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / len(loader)

    return epoch


def main(data_dir: str) -> None:
    """Time an epoch of all repetitions in each way, in turn."""
    torch.set_flush_denormal(True)
    dataset, objective = utils.open_task(FLAGS | {"data_dir": data_dir})
    parts = {"training": [i for i, part in enumerate(dataset.columns["part"]) if part == "train"]}
    sample = dataset.sample(torch.tensor(parts["training"]))
    objective.learn(sample["response"])
    scaled = (sample["image"] - sample["image"].mean()) / sample["image"].std()
    ways = {
        "stacked": [ours(dataset, objective, parts, N_REPETITIONS, 0)] * N_STACKED,
        "stacked, compiled": [ours(dataset, objective, parts, N_REPETITIONS, 0, compiled=True)] * N_STACKED,
        "one after another": [ours(dataset, objective, parts, 1, seed) for seed in range(N_REPETITIONS)],
        "textbook": [textbook(scaled, sample["response"], seed) for seed in range(N_REPETITIONS)],
    }
    seconds = {name: [] for name in ways}
    for _ in range(N_ROUNDS + 1):
        for name, epochs in ways.items():
            started = time.perf_counter()
            for epoch in epochs:
                epoch()
            n_epochs = N_STACKED if name.startswith("stacked") else 1  # of all repetitions
            seconds[name].append((time.perf_counter() - started) / n_epochs)
    print(
        f"an epoch of {N_REPETITIONS} repetitions, {len(parts['training'])} images, batches of {BATCH_SIZE}, ", end=""
    )
    print(f"{torch.get_num_threads()} threads, {N_ROUNDS} rounds: median (least, most)")
    kept = {name: np.array(values[1:]) for name, values in seconds.items()}  # the first round warms up
    for name, values in kept.items():
        ratio = values / kept["stacked"]
        print(f"  {name:<20}{np.median(values):6.2f} s ({values.min():.2f}, {values.max():.2f})", end="")
        print(f"   {np.median(ratio):5.1f} times ({ratio.min():.1f}, {ratio.max():.1f})")


if __name__ == "__main__":
    main(sys.argv[1])
