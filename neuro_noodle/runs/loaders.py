"""Loaders: batches (x, y) of each part of a split."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from neuro_noodle.augment import Augmentation, augment
from neuro_noodle.networks.repetitions import seed_of
from neuro_noodle.runs.task import Task

SAMPLE_VALUES = 2**27  # half a gigabyte of float32
N_FOR_FIT = 1000  # images to which an augmentation is fitted, at most
HELD_OUT = ("validation", "test")


class Batches(Dataset):
    """The images of one part as pairs (x, y), gathered, scaled and augmented a batch at a time.

    Args:
        task: the images and what is predicted.
        indices: of the images of the part.
        augmentations: applied to every batch.
        generators: sources of random numbers for training, one per repetition; without any, a batch is the same each
            time.
        latents: (N, D) latents of all images of the dataset, which replace them as x; or None.
    """

    def __init__(
        self,
        task: Task,
        indices: Sequence[int],
        augmentations: Sequence[Augmentation] = (),
        generators: Sequence[Generator] = (),
        latents: Tensor | None = None,
    ) -> None:
        self.task = task
        self.indices = torch.tensor(indices, dtype=torch.long)
        self.augmentations = augmentations
        self.generators = generators
        self.latents = latents

    def __len__(self) -> int:
        return len(self.indices)

    def __getitems__(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return (x, y) of the images at positions (B,) of this part, or (R, B) with a row per repetition."""
        if positions.ndim == 1:
            generator = self.generators[0] if self.generators else Generator().manual_seed(int(positions[0]))
            return self._augmented(positions, generator)
        if self.augmentations or self.task.objective.is_random:
            pairs = [self._augmented(row, own) for row, own in zip(positions, self.generators, strict=True)]
            x, y = (torch.stack(parts) for parts in zip(*pairs, strict=True))
            return x, y  # (R, B, ...)
        flat = positions.flatten()
        x, y = self._pair(self._sample(flat), flat, self.generators[0])
        return x.unflatten(0, positions.shape), y.unflatten(0, positions.shape)  # (R, B, ...)

    def sample_in_memory(self) -> tuple[Tensor, Tensor]:
        """Return (x, y) of all images without augmentation, or of evenly spaced ones if all would fill the memory."""
        n_max = max(1, SAMPLE_VALUES // math.prod(self.task.dataset.image_shape))
        positions = torch.arange(0, len(self), -(-len(self) // n_max))
        return self._pair(self._sample(positions), positions, Generator().manual_seed(0))

    def read_ahead(self, positions: Tensor) -> None:
        """Start reading the images at these positions from the disk."""
        self.task.dataset.read_ahead(self.indices[positions.flatten()])

    def _augmented(self, positions: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        sample = self._sample(positions)
        if self.augmentations:
            sample["image"], turn = augment(sample["image"], self.augmentations, generator)
            sample |= {} if turn is None else {"turn": turn}
        return self._pair(sample, positions, generator)

    def _pair(self, sample: dict[str, Tensor], positions: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        x, y = self.task.objective.pair(sample, generator)
        return (x if self.latents is None else self.latents[self.indices[positions].to(self.latents.device)]), y

    def _sample(self, positions: Tensor) -> dict[str, Tensor]:
        return self.task.dataset.sample(self.indices.index_select(0, positions), self.task.device)


class EvenBatches:
    """Positions 0 to n-1 in batches of nearly equal size, so that no image is dropped and no batch is small.

    Args:
        n: number of images.
        batch_size: images per batch, at most.
        generators: shuffle the positions at each iteration; without any, the order is kept. Several shuffle
            separately, one per repetition, and a batch is (R, B) positions.
        announce: called with each batch one batch early.
    """

    def __init__(
        self,
        n: int,
        batch_size: int,
        generators: Sequence[Generator] = (),
        announce: Callable[[Tensor], None] | None = None,
    ) -> None:
        self.n = n
        self.n_batches = -(-n // batch_size)
        self.generators = generators
        self.announce = announce

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[Tensor]:
        orders = [torch.randperm(self.n, generator=own) for own in self.generators] or [torch.arange(self.n)]
        order = torch.stack(orders) if len(orders) > 1 else orders[0]
        batches = order.tensor_split(self.n_batches, -1)
        if self.announce is None:
            yield from batches
            return
        self.announce(batches[0])
        for batch, following in zip(batches, (*batches[1:], batches[0][..., :0]), strict=True):
            self.announce(following)
            yield batch


class Loader(DataLoader):
    """A DataLoader of whole batches (x, y) of one part.

    The states of its generators are all that resuming needs to continue shuffling and augmentation exactly.
    """

    def __init__(self, batches: Batches, batch_size: int) -> None:
        self.batches, self.n_max = batches, batch_size
        announce = batches.read_ahead if batches.task.dataset.is_mapped else None
        sampler = EvenBatches(len(batches), batch_size, batches.generators, announce)
        super().__init__(batches, batch_sampler=sampler, collate_fn=_unchanged)

    def of_images(self) -> "Loader":
        """Return a loader of the same batches without augmentation; x is always an image, never a latent."""
        return Loader(Batches(self.batches.task, self.batches.indices.tolist()), self.n_max)

    def generator_states(self) -> list[Tensor]:
        """Return the state of each generator."""
        return [generator.get_state() for generator in self.batches.generators]

    def restore_generators(self, states: Sequence[Tensor]) -> None:
        """Restore the generators from `generator_states()`."""
        for generator, state in zip(self.batches.generators, states, strict=True):
            generator.set_state(state)


def make_loaders(
    task: Task,
    *,
    batch_size: int,
    seed: int = 0,
    n_repetitions: int = 1,
    latents: Tensor | None = None,
) -> dict[str, Loader]:
    """Return a loader for each part that has images; only training is shuffled and augmented.

    Args:
        task: the images, their split, what is predicted and the augmentations.
        batch_size: images per batch, at most; the batches of a part differ by one image at most.
        seed: of shuffling and augmentation; see `seed_of` for repetitions.
        n_repetitions: for several, training batches are stacked, (R, B, ...), each with its own order of images.
        latents: (N, D) latents of all images, which replace them as x; or None.
    """
    loaders = {}
    for part in ("training", *HELD_OUT):
        if not task.parts.get(part):
            continue
        if part == "training":
            generators = [Generator().manual_seed(seed_of(seed, r)) for r in range(n_repetitions)]
            batches = Batches(task, task.parts[part], task.augmentations, generators, latents)
        else:
            batches = Batches(task, task.parts[part], latents=latents)
        loaders[part] = Loader(batches, batch_size)
    return loaders


def training_sample(task: Task, latents: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return (x, y) of the training images without augmentation, as many as fit in memory."""
    return Batches(task, task.parts["training"], latents=latents).sample_in_memory()


def fit_augmentations(task: Task) -> list[str]:
    """Fit the augmentations that must see training images first, and return notes for the user."""
    waiting = [one for one in task.augmentations if one.needs_fit]
    if not waiting:
        return []
    training = torch.tensor(task.parts["training"])
    images = task.dataset.sample(training[:: math.ceil(len(training) / N_FOR_FIT)], task.device)["image"]
    return [note for one in waiting if (note := one.fit(images))]


def _unchanged(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch
