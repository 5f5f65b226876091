"""A training as in a tutorial: `textbook.py JOB DATA`. A Dataset of single images, a DataLoader with workers, Adam."""

import sys
from pathlib import Path

import numpy as np
import torch
from jobs import JOBS, SEED, Hsm, Job, as_float
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms

N_WORKERS = 2
AUGMENTATIONS = {
    "resnet18": [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()],
    "faces_ae": [
        transforms.RandomAffine(4, (3 / 92, 3 / 112), (0.96, 1.04)),
        transforms.ColorJitter(brightness=0.05, contrast=0.1),
    ],
}


class Images(Dataset):
    """Images and targets, one at a time."""

    def __init__(self, job: Job, folder: Path, transform: transforms.Compose | None) -> None:
        images, targets = job.load(folder / job.data)
        self.images = [as_pil(image) if image.dtype == np.uint8 else torch.from_numpy(image) for image in images]
        self.targets, self.transform = targets, transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self.images[index]
        image = self.transform(image) if self.transform else image
        return image, image if self.targets is None else torch.as_tensor(self.targets[index])


def as_pil(image: np.ndarray) -> Image.Image:
    """Return an image (C, H, W) as Pillow has it."""
    return Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))


def main(name: str, folder: Path) -> None:
    """Train; prints `step` after the first step, and the losses of each epoch."""
    job = JOBS[name]
    torch.manual_seed(SEED)
    is_photograph = name != "hsm25"
    changed = transforms.Compose([*AUGMENTATIONS.get(name, []), transforms.ToTensor()]) if is_photograph else None
    plain = transforms.ToTensor() if is_photograph else None
    training, validation = job.split(len(job.load(folder / job.data)[0]))
    loader = DataLoader(
        Subset(Images(job, folder, changed), training.tolist()),
        batch_size=job.batch_size,
        shuffle=True,
        num_workers=N_WORKERS if is_photograph else 0,
        persistent_workers=is_photograph,
    )
    held_out = DataLoader(Subset(Images(job, folder, plain), validation.tolist()), batch_size=job.batch_size)
    networks = [job.network() for _ in range(job.n_repetitions)]
    optimizers = [torch.optim.Adam(network.parameters(), job.lr) for network in networks]
    for epoch in range(job.n_epochs):
        losses = [
            (train_epoch(network, optimizer, loader, job), evaluate(network, held_out, job))
            for network, optimizer in zip(networks, optimizers, strict=True)
        ]
        print("epoch", epoch, *np.mean(losses, 0), flush=True)


def train_epoch(network: nn.Module, optimizer: torch.optim.Optimizer, loader: DataLoader, job: Job) -> float:
    """Train for an epoch; returns the mean loss."""
    network.train()
    total, n = 0.0, 0
    for x, y in loader:
        x, y = as_float(x), as_float(y)
        optimizer.zero_grad()
        loss = job.loss(network(x), y)
        (loss + network.penalty() if isinstance(network, Hsm) else loss).backward()
        optimizer.step()
        if not n:
            print("step", flush=True)
        total, n = total + loss.item() * len(x), n + len(x)
    return total / n


@torch.no_grad()
def evaluate(network: nn.Module, loader: DataLoader, job: Job) -> float:
    """Return the mean loss on the held-out images."""
    network.eval()
    losses = [(job.loss(network(as_float(x)), as_float(y)).item(), len(x)) for x, y in loader]
    return sum(loss * n for loss, n in losses) / sum(n for _, n in losses)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
