"""Near-duplicates: held-out images that training contains nearly as they are, or shifted or mirrored."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from neuro_noodle.data.base import StimulusSet

SIDE = 32  # of thumbnails, px
COARSE = 8  # side of the smaller versions by which candidates are found, px
N_CANDIDATES = 8  # training images that are compared closely with each image
SHIFT_PX = 2  # that is searched at least, as far as thumbnails allow
MAX_REACH = 2  # of that search, px of a thumbnail
MIN_SPREAD = 1e-5  # sd between thumbnails below which all images are considered the same
SIMILAR = 0.9  # correlation of two thumbnails below which they are no near-duplicates in any set
SAME = 0.993  # correlation from which they are in any set
EQUAL = 0.9999  # correlation of the same thumbnails but for rounding
N_SPREADS = 5  # above the median training image, from which images are more alike than others of their set
NOTED_SHARE = 0.02  # a larger share of near-duplicates is reported to the user
CHUNK_VALUES = 2**24  # pixels that are reduced to thumbnails at a time
CHUNK = 100  # images that are compared closely at a time
MAX_CHECKED = 1000  # held-out images of a part that are compared ...
MAX_COMPARED = 50_000  # ... with at most this many training images ...
MAX_VALUES = 2**31  # ... and at most this many pixels of them
MAX_OWN = 250  # training images that are compared with the others


@dataclass(frozen=True)
class Duplicates:
    """The number of near-duplicates among held-out images.

    Attributes:
        n: held-out images that have a near-duplicate in training, at least.
        n_checked: held-out images that were compared.
    """

    n: int
    n_checked: int

    @property
    def is_worth_noting(self) -> bool:
        """Whether there are so many that the user should know."""
        return self.n > NOTED_SHARE * self.n_checked


def near_duplicates(
    dataset: StimulusSet, training: list[int], held_out: list[int], other: StimulusSet | None = None
) -> Duplicates:
    """Count the held-out images that are nearly identical to a training image; there can be more.

    Two images are near-duplicates if their thumbnails, less the mean training image, correlate far more than those of
    most training images do with their nearest neighbours, whatever their brightness and contrast; the limit is from 0.9
    to 0.993. Shifted and mirrored images have their own limit, which can reach 1: where shifts make many images of a
    set alike, as with gratings, they are no sign of a copy. At most 1,000 held-out images are compared with a limited
    number of training images, which include their neighbours in the order of the dataset.

    Args:
        training, held_out: indices of images.
        other: the dataset of the held-out images, if it is not the same.
    """
    checked = _every_kth(held_out, MAX_CHECKED)
    compared = _every_kth(training, min(MAX_COMPARED, MAX_VALUES // math.prod(dataset.image_shape)))
    if len(compared) < len(training) and other is None:
        neighbours = (checked[:, None] + np.array([-2, -1, 1, 2])).ravel()
        compared = np.union1d(compared, neighbours[np.isin(neighbours, training)])

    trained, new = thumbnails(dataset, compared), thumbnails(other or dataset, checked)
    reach = min(MAX_REACH, math.ceil(SHIFT_PX * SIDE / min(dataset.image_shape[1:])))
    gallery, own = Gallery(trained, reach), torch.as_tensor(_every_kth(list(range(len(trained))), MAX_OWN))
    limits = _limits(gallery.best(trained[own], own))
    is_found = gallery.best(new) >= limits[:, None]  # (2, n_checked)
    return Duplicates(int(is_found.any(0).sum()), len(checked))


class Gallery:
    """Training images, prepared for the search of the most similar one.

    Args:
        images: (n, 32, 32) thumbnails.
        reach: largest shift, px of a thumbnail.
    """

    def __init__(self, images: Tensor, reach: int) -> None:
        self.reach, self.images = reach, images
        coarse, some = _coarse(images), images[_every_kth(list(range(len(images))), MAX_CHECKED)]
        self.mean_coarse, self.mean_core = _shared(coarse), _shared(self._cores(some))
        self.coarse = F.normalize(coarse - self.mean_coarse)  # (n, 64)

    def best(self, images: Tensor, own: Tensor | None = None) -> Tensor:
        """Return (2, m): the highest correlation of thumbnails (m, 32, 32) as they are, and shifted or mirrored.

        Args:
            images: the thumbnails.
            own: (m,) the index of each one in the gallery, with which it is not compared; None if it is not there.
        """
        found = [self._correlations(images, own), self._correlations(images.flip(2), own)]
        middle = found[0].shape[1] // 2
        return torch.stack([found[0][:, middle], torch.cat(found, 1).amax(1)])

    def _correlations(self, images: Tensor, own: Tensor | None) -> Tensor:
        """Return (m, n_shifts): for each shift, the highest correlation with one of the candidates."""
        likeness = F.normalize(_coarse(images) - self.mean_coarse) @ self.coarse.T  # (m, n)
        if own is not None:
            likeness[torch.arange(len(own)), own] = -2
        candidates = likeness.topk(min(N_CANDIDATES, likeness.shape[1])).indices  # (m, k)
        found = []
        for chunk, near in zip(images.split(CHUNK), candidates.split(CHUNK), strict=True):
            windows = F.unfold(chunk[:, None], SIDE - 2 * self.reach).transpose(1, 2)  # (b, n_shifts, p)
            windows = F.normalize(_scaled(windows) - self.mean_core, dim=2)
            cores = F.normalize(self._cores(self.images[near]) - self.mean_core, dim=2)  # (b, k, p)
            found.append((windows @ cores.transpose(1, 2)).amax(2))  # (b, n_shifts)
        return torch.cat(found)

    def _cores(self, images: Tensor) -> Tensor:
        """Return thumbnails (..., 32, 32) without their border, scaled, as (..., p)."""
        return _scaled(images[..., self.reach : -self.reach, self.reach : -self.reach].flatten(-2))


def thumbnails(dataset: StimulusSet, indices: np.ndarray) -> Tensor:
    """Return (n, 32, 32): grey versions of images, in which every pixel is the mean of its area, slightly blurred."""
    height, width = (_blur() @ _area_weights(length) for length in dataset.image_shape[1:])
    small = torch.empty(len(indices), SIDE, SIDE)
    size = max(1, CHUNK_VALUES // math.prod(dataset.image_shape))
    for start in range(0, len(indices), size):
        chunk = torch.as_tensor(indices[start : start + size])
        if dataset.is_mapped:
            dataset.read_ahead(chunk)
        grey = dataset.sample(chunk)["image"].mean(1)  # (B, H, W)
        small[start : start + size] = height @ grey @ width.T  # (B, 32, 32)
    return small


def _limits(own: Tensor) -> Tensor:
    """Return the (2,) correlations from which images are near-duplicates: as they are, and shifted or mirrored.

    Args:
        own: (2, m) the highest correlations of training images with others. The lower half of them gives the spread,
            on the scale of Fisher's z, because the upper half can hold copies.
    """
    z = own.clamp(-EQUAL, EQUAL).atanh()
    low, median = z.quantile(torch.tensor([0.25, 0.5]), 1)  # (2,) each
    limits = torch.tanh(median + N_SPREADS * (median - low) / 0.6745)
    return limits.clamp(torch.tensor(SIMILAR), torch.tensor([SAME, EQUAL]))


def _shared(values: Tensor) -> Tensor:
    """Return the mean (p,) of images (n, p), which would make any two of them correlate; 0 if they are all the same."""
    return values.mean(0) * (values.std(0, correction=0).max() > MIN_SPREAD)


def _coarse(images: Tensor) -> Tensor:
    return _scaled(F.avg_pool2d(images[:, None], SIDE // COARSE).flatten(1))  # (n, 64)


def _scaled(values: Tensor) -> Tensor:
    """Return images (..., p) of mean 0 and length 1, which removes brightness and contrast."""
    return F.normalize(values - values.mean(-1, keepdim=True), dim=-1)


def _area_weights(length: int) -> Tensor:
    """Return (32, length): the weight of each pixel in each of 32 means."""
    edges = torch.linspace(0, length, SIDE + 1)
    pixel = torch.arange(length)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return overlap.clamp(min=0) * SIDE / length


def _blur() -> Tensor:
    """Return (32, 32): binomial weights 1, 4, 6, 4, 1 of the neighbours; the border is repeated."""
    place = torch.arange(SIDE)
    neighbours = torch.stack([place - 1, place, place, place + 1]).clamp(0, SIDE - 1)
    step = F.one_hot(neighbours, SIDE).float().mean(0)  # weights 1, 2, 1
    return step @ step


def _every_kth(indices: list[int], n_max: int) -> np.ndarray:
    """Return every k-th index, with the smallest k that gives at most n_max."""
    return np.array(indices)[:: -(-len(indices) // max(1, n_max))]
