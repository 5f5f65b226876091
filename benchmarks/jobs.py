"""The jobs of `side_by_side.py`: the images, batches and networks that all programs share, in plain numpy and torch."""

import gzip
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

SEED = 42
MOUSE = "tail_x,tail_y,neck_x,neck_y,snout_x,snout_y,head_angle,angle,x,y,distance,polar_angle,frame"
L2 = 0.1  # of the readout of the HSM


@dataclass(frozen=True)
class Job:
    """What is trained on what.

    Attributes:
        data: a folder in the folder of all data.
        load: returns images (N, C, H, W) uint8 or float32 and targets, or None to reconstruct the images.
        n_validation: images held out of training.
        batch_size, n_epochs, lr: of the training.
        network: builds the network in plain torch.
        loss: of predictions and targets.
        is_augmented: whether training images are changed at random; see `ours` for how.
        n_repetitions: networks that are trained at once.
        bf16: whether a tuned loop uses it.
        ours: the flags of main.py.
    """

    data: str
    load: Callable[[Path], tuple[np.ndarray, np.ndarray | None]]
    n_validation: int
    batch_size: int
    n_epochs: int
    lr: float
    network: Callable[[], nn.Module]
    loss: Callable[[Tensor, Tensor], Tensor]
    bf16: bool
    ours: str
    is_augmented: bool = False
    n_repetitions: int = 1

    def split(self, n: int) -> tuple[Tensor, Tensor]:
        """Return the indices of training and of validation images."""
        order = torch.randperm(n, generator=torch.Generator().manual_seed(SEED))
        return order[self.n_validation :], order[: self.n_validation]

    def tensors(self, folder: Path) -> tuple[Tensor, Tensor]:
        """Return all images (N, C, H, W) and their targets; images are their own targets in a reconstruction."""
        images, targets = self.load(folder / self.data)
        x = torch.from_numpy(images)
        return x, x if targets is None else torch.from_numpy(targets)


def as_float(images: Tensor) -> Tensor:
    """Return images as float32, uint8 scaled to [0, 1]; anything else is unchanged."""
    return images.float().div_(255) if images.dtype == torch.uint8 else images


def read_mnist(folder: Path) -> tuple[np.ndarray, None]:
    """Return all 70,000 digits."""
    parts = []
    for name in ("train-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte.gz"):
        with gzip.open(folder / name) as file:
            parts.append(np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28))
    return np.concatenate(parts), None


def read_london(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return 204 photographs at 224 px, and whether the person smiles."""
    paths = sorted(folder.rglob("*.jpg"))
    images = [np.asarray(Image.open(path).convert("RGB").resize((224, 224))) for path in paths]
    return np.stack(images).transpose(0, 3, 1, 2).copy(), np.array([label(path) for path in paths])


def label(path: Path) -> int:
    """Return whether the person in a photograph smiles."""
    return int("smiling" in path.parent.name)


def read_mouse(folder: Path) -> tuple[np.ndarray, None]:
    """Return 2,330 frames."""
    return np.load(folder / "mouse_arena_ims.npz")["arr_0"][:, None], None


def read_orl(folder: Path) -> tuple[np.ndarray, None]:
    """Return 400 photographs."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in (".png", ".pgm", ".jpg"))
    return np.stack([np.asarray(Image.open(path).convert("L")) for path in paths])[:, None], None


def read_v1(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return z-scored patches and the responses of all neurons."""
    images, responses = (np.load(folder / "region1" / f"training_{name}.npy") for name in ("inputs", "set"))
    side = round(images.shape[1] ** 0.5)
    images = (images - images.mean()) / images.std()
    return images.astype(np.float32).reshape(-1, 1, side, side), responses.astype(np.float32)


def dense(*widths: int) -> list[nn.Module]:
    """Return linear layers, with a rectifier between two."""
    layers: list[nn.Module] = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return layers[:-1]


def dense_autoencoder(shape: tuple[int, int, int], *widths: int) -> nn.Module:
    """Return a fully connected autoencoder."""
    n = int(np.prod(shape))
    return nn.Sequential(nn.Flatten(), *dense(n, *widths), *dense(*widths[::-1], n), nn.Unflatten(1, shape))


def conv_autoencoder() -> nn.Module:
    """Return the network of arena_ae."""

    def block(layer: nn.Module, n: int) -> list[nn.Module]:
        return [layer, nn.BatchNorm2d(n), nn.ReLU()]

    return nn.Sequential(
        *block(nn.Conv2d(1, 64, 3, padding=1, bias=False), 64),
        nn.MaxPool2d(2),
        *block(nn.Conv2d(64, 64, 3, padding=1, bias=False), 64),
        nn.MaxPool2d(2),
        *block(nn.Conv2d(64, 128, 3, padding=1, bias=False), 128),
        nn.Flatten(),
        nn.Linear(128 * 12 * 12, 16),
        nn.Linear(16, 128 * 12 * 12),
        nn.Unflatten(1, (128, 12, 12)),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        *block(nn.ConvTranspose2d(128, 64, 3, stride=2, bias=False), 64),
        *block(nn.ConvTranspose2d(64, 64, 3, stride=2, bias=False), 64),
        nn.ZeroPad2d((0, -1, 0, -1)),  # cuts off a row and a column, and keeps the layout of gradients
        nn.ConvTranspose2d(64, 1, 3, padding=1),
    )


def resnet() -> nn.Module:
    """Return torchvision's ResNet18 with two classes."""
    from torchvision.models import resnet18

    return resnet18(num_classes=2)


class Hsm(nn.Module):
    """R hierarchical structural models, written in the most direct way; with R = 1 it is a single one."""

    def __init__(self, n_repetitions: int, side: int = 31, n_neurons: int = 100) -> None:
        super().__init__()
        r, f, h = n_repetitions, 9, n_neurons // 5

        def uniform(low: float, high: float, *shape: int) -> nn.Parameter:
            return nn.Parameter(low + (high - low) * torch.rand(shape))

        self.x, self.y = uniform(0, side, r, f), uniform(0, side, r, f)
        self.centre, self.surround = uniform(1, 3, r, f), uniform(1, 5, r, f)
        self.gain_centre, self.gain_surround = uniform(0, 1, r, f), uniform(0, 1, r, f)
        self.hidden, self.hidden_bias = uniform(-(f**-0.5), f**-0.5, r, f, h), uniform(0, 0, r, 1, h)
        self.out, self.out_bias = uniform(-(h**-0.5), h**-0.5, r, h, n_neurons), uniform(0, 0, r, 1, n_neurons)
        self.register_buffer("axis", torch.arange(side).float())

    def filters(self) -> Tensor:
        """Return the differences of Gaussians, (R, F, side**2)."""
        filters: Tensor | float = 0.0
        for sigma, gain in (
            (self.centre, self.gain_centre),
            (self.centre + F.softplus(self.surround), -self.gain_surround),
        ):
            sharpness = -0.5 / sigma[..., None] ** 2
            columns = torch.exp((self.axis - self.x[..., None]) ** 2 * sharpness)  # (R, F, side)
            rows = torch.exp((self.axis - self.y[..., None]) ** 2 * sharpness)
            scale = gain[..., None, None] / (2 * torch.pi * sigma[..., None, None] ** 2)
            filters = filters + scale * rows[..., None] * columns[..., None, :]  # (R, F, side, side)
        return filters.flatten(2)

    def forward(self, images: Tensor) -> Tensor:
        hidden = F.softplus(images.flatten(-3) @ self.filters().mT @ self.hidden + self.hidden_bias)  # (R, B, H)
        return F.softplus(hidden @ self.out + self.out_bias)  # (R, B, N)

    def penalty(self) -> Tensor:
        """Return the shrinkage of the readouts, summed over repetitions."""
        return L2 * self.out.square().sum() / self.out.shape[-1]


def poisson(rate: Tensor, response: Tensor) -> Tensor:
    """Return the Poisson loss, a mean over images and neurons, summed over repetitions."""
    return (rate - response * torch.log(rate + 1e-6)).mean((-2, -1)).sum()


JOBS = {
    "mnist": Job(
        data="mnist",
        load=read_mnist,
        n_validation=10_000,
        batch_size=128,
        n_epochs=3,
        lr=1e-3,
        network=lambda: dense_autoencoder((1, 28, 28), 1000, 500, 250, 2),
        loss=F.binary_cross_entropy_with_logits,
        bf16=True,
        ours="--dataset mnist --encoder fc hidden=1000,500,250 start=random --head fc start=random --latent_dim 2 "
        "--augment none --split random --val_fraction 0.142857 --schedule constant",
    ),
    "resnet18": Job(
        data="london_faces",
        load=read_london,
        n_validation=12,
        batch_size=24,
        n_epochs=3,
        lr=1e-3,
        network=resnet,
        loss=F.cross_entropy,
        bf16=True,
        ours="--recipe faces_emotion_scratch --augment crop --augment flip --schedule constant --optimizer adam "
        "--split random --val_fraction 0.0588 "
        "--dataset folder size=224x224 colour=rgb pattern={expression}/{person}_{} label=expression",
        is_augmented=True,
    ),
    "arena": Job(
        data="mouse_openfield",
        load=read_mouse,
        n_validation=466,
        batch_size=64,
        n_epochs=3,
        lr=1e-3,
        network=conv_autoencoder,
        loss=F.mse_loss,
        bf16=True,
        ours="--recipe arena_ae --augment none --split random --schedule constant "
        f"--dataset arrays file=mouse_arena_ims.npz metadata=mouse_mdata.npy columns={MOUSE}",
    ),
    "faces_ae": Job(
        data="orl_faces",
        load=read_orl,
        n_validation=40,
        batch_size=32,
        n_epochs=20,
        lr=1e-3,
        network=lambda: dense_autoencoder((1, 112, 92), 256, 40),
        loss=F.binary_cross_entropy_with_logits,
        bf16=True,
        ours="--recipe faces_ae --dataset folder size=none --encoder fc hidden=256 --schedule constant "
        "--augment shift px=3 --augment rotate deg=4 --augment zoom by=0.04 --augment brightness add=0.05 contrast=0.1",
        is_augmented=True,
    ),
    "hsm25": Job(
        data="v1",
        load=read_v1,
        n_validation=360,
        batch_size=16,
        n_epochs=20,
        lr=1e-3,
        network=lambda: Hsm(1),
        loss=poisson,
        bf16=False,
        ours="--recipe v1_hsm --repetitions 25 --patience 1000 --schedule constant --save_every 100",
        n_repetitions=25,
    ),
}
