"""The fastest loop that we can write in plain PyTorch: `tuned.py JOB DATA`. It checks, records and saves nothing."""

import ctypes
import os
import sys
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "3000")
LIBC = ctypes.CDLL(None)
LIBC.mallopt(-4, 0), LIBC.mallopt(-1, -1)  # keep freed memory

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from jobs import JOBS, SEED, Hsm, Job, as_float  # noqa: E402
from torch import Tensor, nn  # noqa: E402


def main(name: str, folder: Path) -> None:
    """Train; prints `step` after the first step, and the losses of each epoch."""
    job = JOBS[name]
    torch.manual_seed(SEED)
    network = job.network() if job.n_repetitions == 1 else Hsm(job.n_repetitions)
    if job.bf16:
        network = network.to(memory_format=torch.channels_last)
    x, y = job.tensors(folder)
    training, validation = job.split(len(x))
    optimizer = torch.optim.Adam(network.parameters(), job.lr, fused=True)
    is_first = True
    for epoch in range(job.n_epochs):
        network.train()
        losses = []
        for rows in batches(training, job.batch_size, job.n_repetitions):
            images, targets = gather(x, y, rows, job, is_training=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=job.bf16):
                prediction = network(images)
            loss = job.loss(prediction.float(), targets)
            optimizer.zero_grad()
            (loss + network.penalty() if isinstance(network, Hsm) else loss).backward()
            optimizer.step()
            losses.append(loss.detach())
            if is_first:
                print("step", flush=True)
                is_first = False
        value = evaluate(network, x, y, validation, job)
        print("epoch", epoch, torch.stack(losses).mean().item(), value, flush=True)


def batches(indices: Tensor, size: int, n_repetitions: int) -> tuple[Tensor, ...]:
    """Return shuffled batches of indices, (B,), or (R, B) for several repetitions."""
    orders = torch.stack([indices[torch.randperm(len(indices))] for _ in range(n_repetitions)])
    return (orders[0] if n_repetitions == 1 else orders).split(size, -1)


def gather(x: Tensor, y: Tensor, rows: Tensor, job: Job, *, is_training: bool = False) -> tuple[Tensor, Tensor]:
    """Return the images and targets of these rows; all images of a batch are augmented at once."""
    flat = rows.flatten()
    images = as_float(x.index_select(0, flat))
    if job.is_augmented and is_training:
        images = augment(images, is_geometric=x is not y)
    targets = images if x is y else y.index_select(0, flat)
    return (images, targets) if rows.ndim == 1 else (images.unflatten(0, rows.shape), targets.unflatten(0, rows.shape))


def augment(images: Tensor, *, is_geometric: bool) -> Tensor:
    """Crop and flip photographs to be classified; shift, rotate, zoom and brighten faces to be reconstructed."""
    n, _, height, width = images.shape
    matrix = torch.zeros(n, 2, 3)
    if is_geometric:
        area, ratio = 0.08 + 0.92 * torch.rand(n), torch.exp((2 * torch.rand(n) - 1) * 0.2877)
        size = torch.stack([(area * ratio).sqrt(), (area / ratio).sqrt()], 1).clamp(max=1)
        matrix[:, :, 2] = (2 * torch.rand(n, 2) - 1) * (1 - size)
        matrix[:, 0, 0] = size[:, 0] * torch.where(torch.rand(n) < 0.5, -1, 1)
        matrix[:, 1, 1] = size[:, 1]
    else:
        angle, zoom = (2 * torch.rand(n) - 1) * 0.0698, 1 + (2 * torch.rand(n) - 1) * 0.04
        matrix[:, 0, 0] = matrix[:, 1, 1] = angle.cos() * zoom
        matrix[:, 0, 1], matrix[:, 1, 0] = -angle.sin() * zoom, angle.sin() * zoom
        matrix[:, :, 2] = (2 * torch.rand(n, 2) - 1) * torch.tensor([6 / width, 6 / height])
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    images = F.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if is_geometric:
        return images
    gain, add = (2 * torch.rand(2, n, 1, 1, 1) - 1).unbind()
    mean = images.mean((1, 2, 3), keepdim=True)
    return (mean + (1 + gain * 0.1) * (images - mean) + add * 0.05).clamp_(0, 1)


@torch.no_grad()
def evaluate(network: nn.Module, x: Tensor, y: Tensor, indices: Tensor, job: Job) -> float:
    """Return the mean loss on the held-out images; of several repetitions, the mean over them."""
    network.eval()
    total = 0.0
    for rows in indices.split(job.batch_size):
        images, targets = gather(x, y, rows, job)
        with torch.autocast("cpu", torch.bfloat16, enabled=job.bf16):
            prediction = network(images)
        total += job.loss(prediction.float(), targets) * len(rows)
    return float(total) / len(indices) / job.n_repetitions


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
