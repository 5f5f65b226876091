"""Loaders: batches (x, y) of each part of a split."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from neuro_noodle.augment import Augmentation, augment
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.objectives.base import Objective

EXCERPT_VALUES = 2**27  # half a gigabyte of float32


FILL_GPU = 0.5  # the share of its free memory that images may take


class Batches(Dataset):
    """The images of one part as pairs (x, y), gathered, scaled and augmented a batch at a time.

    Args:
        draws: what training draws from, one for each repetition; without any, a batch is drawn in the same way each
            time.
        latents: (N, D) of all images of the dataset, to be x in place of them, or None.
    """

    def __init__(
        self,
        dataset: StimulusSet,
        indices: Sequence[int],
        objective: Objective,
        device: torch.device,
        augmentations: Sequence[Augmentation] = (),
        draws: Sequence[Generator] = (),
        latents: Tensor | None = None,
    ) -> None:
        self.dataset = dataset
        self.indices = torch.tensor(indices, dtype=torch.long)
        self.objective = objective
        self.device = device
        self.augmentations = augmentations
        self.draws = draws
        self.latents = latents

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return (x, y) of the images at (B,) positions of this part, or at (R, B), a row for each repetition."""
        if positions.ndim == 1:
            draw = self.draws[0] if self.draws else Generator().manual_seed(int(positions[0]))
            return self._changed(positions, draw)
        if self.augmentations or self.objective.draws:
            pairs = [self._changed(row, draw) for row, draw in zip(positions, self.draws, strict=True)]
            x, y = (torch.stack(parts) for parts in zip(*pairs, strict=True))
            return x, y
        flat = positions.flatten()
        x, y = self._pair(self._sample(flat), flat, self.draws[0])
        return x.unflatten(0, positions.shape), y.unflatten(0, positions.shape)

    def excerpt(self) -> tuple[Tensor, Tensor]:
        """Return (x, y) of all images, not augmented; of evenly spaced ones where all would fill too much memory."""
        most = max(1, EXCERPT_VALUES // math.prod(self.dataset.image_shape))
        positions = torch.arange(0, len(self), -(-len(self) // most))
        return self._pair(self._sample(positions), positions, Generator().manual_seed(0))

    def read_ahead(self, positions: Tensor) -> None:
        """Have the images at these positions fetched from the disk meanwhile."""
        self.dataset.read_ahead(self.indices[positions.flatten()])

    def _changed(self, positions: Tensor, draw: Generator) -> tuple[Tensor, Tensor]:
        sample = self._sample(positions)
        if self.augmentations:
            sample["image"], turn = augment(sample["image"], self.augmentations, draw)
            sample |= {} if turn is None else {"turn": turn}
        return self._pair(sample, positions, draw)

    def _pair(self, sample: dict[str, Tensor], positions: Tensor, draw: Generator) -> tuple[Tensor, Tensor]:
        x, y = self.objective.pair(sample, draw)
        return (x if self.latents is None else self.latents[self.indices[positions].to(self.latents.device)]), y

    def _sample(self, positions: Tensor) -> dict[str, Tensor]:
        return self.dataset.sample(self.indices[positions], self.device)


class EvenBatches:
    """Positions 0..n-1 in batches of nearly equal size: none is dropped, and no small one is left over.

    Args:
        draws: shuffle anew at each iteration; none keep the order. Several shuffle each for a repetition of its own,
            and a batch is (R, B) positions.
        announce: told each batch one batch early.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        draws: Sequence[Generator] = (),
        announce: Callable[[Tensor], None] | None = None,
    ) -> None:
        self.n = n
        self.n_batches = -(-n // batch_size)
        self.draws = draws
        self.announce = announce

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Tensor]:
        orders = [torch.randperm(self.n, generator=draw) for draw in self.draws] or [torch.arange(self.n)]
        order = torch.stack(orders) if len(orders) > 1 else orders[0]
        batches = order.tensor_split(self.n_batches, -1)
        if self.announce is None:
            yield from batches
            return
        self.announce(batches[0])
        for batch, following in zip(batches, (*batches[1:], batches[0][..., :0]), strict=True):
            self.announce(following)
            yield batch


def dataloaders(
    dataset: StimulusSet,
    parts: dict[str, list[int]],
    objective: Objective,
    *,
    batch_size: int,
    augmentations: Sequence[Augmentation],
    device: torch.device,
    seed: int,
    repetitions: int = 1,
    latents: Tensor | None = None,
) -> dict[str, DataLoader]:
    """Return a loader for each part that has images; only training is shuffled and augmented.

    The training loader's `batch_sampler.draws` are the one source of shuffling and augmentation: saving their states
    is what makes a resumed run continue exactly. With `latents` (N, D) of all images, x is those in place of images.
    With several repetitions, training batches are stacked, (R, B, ...), each shuffled and augmented from its own seed.
    """
    if device.type == "cuda" and dataset.images.nbytes < FILL_GPU * torch.cuda.mem_get_info(device)[0]:
        dataset.keep_on(device)
    loaders = {}
    for part in ("training", "validation", "test"):
        indices = parts.get(part)
        if not indices:
            continue
        draws = [Generator().manual_seed(seed + r) for r in range(repetitions)] if part == "training" else []
        batches = Batches(dataset, indices, objective, device, augmentations if draws else (), draws, latents)
        sampler = EvenBatches(len(indices), batch_size, draws, batches.read_ahead if dataset.is_mapped else None)
        loaders[part] = DataLoader(batches, batch_sampler=sampler, collate_fn=_as_it_is)
    return loaders


def _as_it_is(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch
