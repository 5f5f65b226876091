"""The inventory of a dataset: what was read from its files, in a few lines of text and in numbers for result.json."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b

import numpy as np
from torch import Tensor

from neuro_noodle.choices import require
from neuro_noodle.plain import counted, readable

MAX_VALUES = 2**28  # image values that are inspected; of larger sets, evenly spaced images
CHUNK = 2**24  # values inspected at a time
DARK = 0.02  # of the brightest value of the set
MAX_LISTED = 6  # classes whose counts are printed
ORDINARY = "tables, texts and system files"  # passed over without a line of text


@dataclass(frozen=True)
class Reading:
    """What a reader left out or changed.

    Attributes:
        passed_over: the number of files and folders that were not read, by description.
        changed: the number of images that differ from their files (resized, for example), by description.
        unreadable: the names of files that cannot be read.
        n_stretched: the number of images with another aspect ratio than their files, which changes angles.
    """

    passed_over: Mapping[str, int] = field(default_factory=dict)
    changed: Mapping[str, int] = field(default_factory=dict)
    unreadable: Sequence[str] = ()
    n_stretched: int = 0

    @property
    def lines(self) -> list[str]:
        """What was left out and what was changed, in a line each; empty if there is nothing to say."""
        passed_over = {what: n for what, n in self.passed_over.items() if what != ORDINARY}
        return [
            f"{title}: {_format_numbers(numbers)}"
            for title, numbers in {"passed over": passed_over, "changed": self.changed}.items()
            if numbers
        ]

    @classmethod
    def of_all(cls, readings: Sequence["Reading"]) -> "Reading":
        """Return what several readers left out or changed together."""
        return cls(
            _added([one.passed_over for one in readings]),
            _added([one.changed for one in readings]),
            [name for one in readings for name in one.unreadable],
            sum(one.n_stretched for one in readings),
        )


@dataclass(frozen=True)
class Pixels:
    """What the images of a set are like.

    Attributes:
        n_checked: the number of images that were inspected.
        low, high: the smallest and the largest value.
        mean: over all images.
        n_constant: images whose pixels all have the same value.
        n_copies: images that are exactly equal to an earlier one.
        n_dark: images whose brightest value is above 0, but below 2 % of that of the set.
    """

    n_checked: int
    low: float
    high: float
    mean: float
    n_constant: int
    n_copies: int
    n_dark: int


@dataclass(frozen=True)
class Inventory:
    """What was read.

    Attributes:
        n_images, shape: of the set; shape is (C, H, W).
        white: the image value of white.
        pixels: range and mean of the values, constant and copied images.
        classes: the number of images of each class, empty if there is no label.
        groups: the number of images of each group, empty if there are none.
        reading: what was left out or changed.
    """

    n_images: int
    shape: tuple[int, int, int]
    white: float
    pixels: Pixels
    classes: Mapping[str, int]
    groups: Mapping[str, int]
    reading: Reading

    @property
    def record(self) -> dict:
        """The inventory for result.json."""
        sizes = [n for name, n in self.groups.items() if name]
        groups = {"n": len(sizes), "smallest": min(sizes), "largest": max(sizes)} if sizes else None
        return asdict(self) | {"groups": groups}

    @property
    def text(self) -> str:
        """The inventory in a few lines."""
        counts = [
            _format_counts(name, of)
            for name, of in {"classes": self.classes, "groups": self.groups}.items()
            if len(of) > 1
        ]
        return "\n".join(
            [
                f"read {self._format_images()}",
                *(["; ".join(counts)] if counts else []),
                *self.reading.lines,
                *self._format_copies(),
            ]
        )

    def _format_images(self) -> str:
        pixels, size = self.pixels, " x ".join(map(str, self.shape))
        checked = f" in {pixels.n_checked} of them" if pixels.n_checked < self.n_images else ""
        return (
            f"{counted(self.n_images, 'image')} of {size}: values {pixels.low:g} to {pixels.high:g}{checked}, white is "
            f"{self.white:g}, mean {pixels.mean / self.white:.2g} of white"
        )

    def _format_copies(self) -> list[str]:
        pixels = self.pixels
        found = {
            "have the same value everywhere": pixels.n_constant,
            "are exact copies of another image": pixels.n_copies,
            f"are nearly black next to others: none of their values reaches {DARK * pixels.high:g}": pixels.n_dark,
        }
        return [f"{n} of {counted(pixels.n_checked, 'image')} {what}" for what, n in found.items() if n]


def take_inventory(
    images: Tensor,
    white: float,
    classes: Sequence[str],
    groups: Sequence[str],
    reading: Reading,
) -> Inventory:
    """Take the inventory of a dataset.

    Args:
        images: (N, C, H, W).
        white: the image value of white.
        classes, groups: of each image; empty if there are none.
        reading: what its reader left out or changed.

    Raises:
        UserError: if all images are the same.
    """
    pixels = inspect(images)
    value = f" (every value is {pixels.low:g})" if pixels.low == pixels.high else ""
    is_transparent = any("transparent" in what for what in reading.changed)
    require(
        pixels.n_checked == 1 or pixels.n_copies < pixels.n_checked - 1,
        f"all {pixels.n_checked} images are the same{value}, so there is nothing to learn; "
        + ("choose another background= for their transparent pixels" if is_transparent else "look at the files"),
    )
    channels, height, width = images.shape[1:]
    return Inventory(len(images), (channels, height, width), white, pixels, _count(classes), _count(groups), reading)


def inspect(images: Tensor) -> Pixels:
    """Return the range of values of (N, C, H, W) images, and how many are constant or repeat another."""
    n_values = math.prod(images.shape[1:])
    indices = np.arange(0, len(images), math.ceil(images.numel() / MAX_VALUES))
    n_chunks = min(len(indices), math.ceil(len(indices) * n_values / CHUNK))
    ends, means, different = [], [], set()
    for chunk in np.array_split(indices, n_chunks):
        rows = images[chunk].reshape(len(chunk), -1).cpu().numpy()  # (B, C * H * W)
        ends.append(np.stack([rows.min(1), rows.max(1)]))
        means.append(rows.mean(1, dtype=np.float64))
        different |= {blake2b(row.tobytes(), digest_size=16).digest() for row in rows}
    low, high = np.concatenate(ends, 1)
    return Pixels(
        n_checked=len(indices),
        low=float(low.min()),
        high=float(high.max()),
        mean=float(np.concatenate(means).mean()),
        n_constant=int((low == high).sum()),
        n_copies=len(indices) - len(different),
        n_dark=int(((high > 0) & (high < DARK * high.max())).sum()),
    )


def _count(names: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _added(counts: Sequence[Mapping[str, int]]) -> dict[str, int]:
    return dict(sum(map(Counter, counts), Counter()))


def _format_counts(name: str, counts: Mapping[str, int]) -> str:
    """Return how many images each class (or group) has; of many, the smallest and the largest number."""
    if len(counts) <= MAX_LISTED:
        return f"{name}: " + ", ".join(f"{readable(one) or '(none)'} {n}" for one, n in counts.items())
    sizes = [n for one, n in counts.items() if one]
    least, most = min(sizes), max(sizes)
    unknown = f", {counts['']} images in none" if "" in counts else ""
    return f"{len(sizes)} {name} of {counted(most, 'image') if least == most else f'{least} to {most} images'}{unknown}"


def _format_numbers(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{what} ({n})" for what, n in numbers.items())
