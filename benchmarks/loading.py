"""Compare the speed of our loader with torchvision's: `loading.py mnist DATA_DIR` or `loading.py folder DATA_DIR`.

The loaders are timed in turn in each round, so that other load on the machine affects all of them. Printed are images
per second (median, minimum and maximum over rounds) and the median of the ratios within rounds.
"""

import argparse
import gzip
import os
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import cycle, islice
from pathlib import Path
from statistics import median

os.environ.setdefault("GOMP_SPINCOUNT", "3000")  # the same thread settings as in main.py

import torch
import torchvision
from torch.utils.data import DataLoader
from torchvision import transforms

from neuro_noodle.data.base import DATASETS, Source, StimulusSet
from neuro_noodle.data.folder import find_images
from neuro_noodle.data.store import Store
from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.runs.loaders import make_loaders
from neuro_noodle.runs.task import Task

BATCH_SIZE = 128
SIZE = (130, 101)  # height and width of the images of the folder, px


def main() -> None:
    """Run one of the two comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["mnist", "folder"])
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n_images", type=int, default=2000, help="files are copied until there are this many")
    flags = parser.parse_args()
    print(f"{os.cpu_count()} cores, torch {torch.__version__}, torchvision {torchvision.__version__}")
    if flags.what == "mnist":
        compare_mnist(flags.data_dir, flags.rounds)
    else:
        with tempfile.TemporaryDirectory() as folder:
            repeat_images(flags.data_dir, Path(folder) / "images" / "all", flags.n_images)
            compare_folder(Path(folder) / "images", flags.rounds)


def compare_mnist(data_dir: Path, rounds: int) -> None:
    """Time epochs over the 60,000 training images in shuffled, normalised batches."""
    dataset = DATASETS.build("mnist", Source(data_dir, Store(data_dir)))
    ours = our_loader(dataset, [i for i, part in enumerate(dataset.columns["part"]) if part == "train"], "classify")
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "MNIST" / "raw"
        raw.mkdir(parents=True)
        for path in data_dir.glob("*ubyte.gz"):
            with gzip.open(path) as packed:
                (raw / path.stem).write_bytes(packed.read())
        normalise = transforms.Compose([transforms.ToTensor(), transforms.Normalize(0.1307, 0.3081)])
        theirs = torchvision.datasets.MNIST(folder, transform=normalise)
        loaders = {
            "torchvision, in process": DataLoader(theirs, BATCH_SIZE, shuffle=True),
            "torchvision, 2 workers": DataLoader(theirs, BATCH_SIZE, shuffle=True, num_workers=2),
        }
        compare(loaders | {"ours": Normalised(ours)}, rounds)


def compare_folder(folder: Path, rounds: int) -> None:
    """Time the first epoch, including opening the folder, and later epochs."""
    resize = transforms.Compose([transforms.Resize(SIZE), transforms.ToTensor()])
    first = {"ImageFolder, 2 workers": [], "ours": []}
    for _ in range(rounds):
        start = time.perf_counter()
        theirs = torchvision.datasets.ImageFolder(folder, transform=resize)
        loader = DataLoader(theirs, BATCH_SIZE, shuffle=True, num_workers=2, persistent_workers=True)
        first["ImageFolder, 2 workers"].append(len(theirs) / (run_through(loader, start)))
        start = time.perf_counter()
        choice = f"folder size={SIZE[0]}x{SIZE[1]} fit=stretch"
        dataset = DATASETS.build(choice, Source(folder, Store(folder)))
        ours = our_loader(dataset, list(range(len(dataset))), "reconstruct")
        first["ours"].append(len(dataset) / (run_through(ours, start)))
    print_rates("first epoch, with opening", first)
    print("later epochs")
    compare({"ImageFolder, 2 workers": loader, "ours": ours}, rounds)


class Normalised:
    """Our loader with the normalisation of torchvision's example."""

    def __init__(self, loader: DataLoader) -> None:
        self.loader = loader
        self.dataset = loader.dataset

    def __iter__(self) -> Iterator:
        return ((x.sub_(0.1307).div_(0.3081), y) for x, y in self.loader)


def our_loader(dataset: StimulusSet, indices: list[int], objective: str) -> DataLoader:
    """Return the training loader that main.py uses."""
    parts = {"training": indices, "validation": [], "test": []}
    task = Task(dataset, OBJECTIVES.build(objective).on(dataset), parts, {}, torch.device("cpu"))
    return make_loaders(task, batch_size=BATCH_SIZE)["training"]


def compare(loaders: dict[str, Iterable], rounds: int) -> None:
    """Time epochs of each loader in turn, after one that is not counted, and print the rates."""
    rates = {name: [] for name in loaders}
    for is_counted in [False] + [True] * rounds:
        for name, loader in loaders.items():
            seconds = run_through(loader, time.perf_counter())
            if is_counted:
                rates[name].append(len(loader.dataset) / seconds)
    print_rates("images per second", rates)


def run_through(loader: Iterable, start: float) -> float:
    """Load every batch and return the seconds since `start`."""
    for _ in loader:
        pass
    return time.perf_counter() - start


def print_rates(title: str, rates: dict[str, list[float]]) -> None:
    """Print the images per second of each loader, and how many times faster ours is."""
    print(title)
    for name, values in rates.items():
        ratio = median(ours / theirs for ours, theirs in zip(rates["ours"], values, strict=True))
        print(f"  {name:<26}{median(values):>10,.0f}  ({min(values):,.0f} to {max(values):,.0f})   ours: {ratio:.1f} x")


def repeat_images(data_dir: Path, folder: Path, n_images: int) -> None:
    """Copy the images of a folder repeatedly until there are `n_images`."""
    folder.mkdir(parents=True)
    for number, path in enumerate(islice(cycle(find_images(data_dir)), n_images)):
        shutil.copy(path, folder / f"{number:05}{path.suffix}")


if __name__ == "__main__":
    main()
