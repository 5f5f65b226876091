"""Leaks: what the held-out images share with the training images, counted and reported."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.columns import as_texts
from neuro_noodle.data.splits import Parts, given_parts

THUMBNAIL_PX = 16
MIN_SPREAD = 1e-5  # sd between thumbnails below which all images are considered the same
MIN_CORRELATION = 0.99  # of two thumbnails that count as near-duplicates
NOTED_SHARE = 0.02  # a larger share of near-duplicates is reported to the user
CHUNK_VALUES = 2**24  # pixels that are reduced to thumbnails at a time
MAX_CHECKED = 1000  # held-out images of a part that are compared ...
MAX_COMPARED = 50_000  # ... with at most this many training images ...
MAX_VALUES = 2**31  # ... and at most this many pixels of them

INDIVIDUALS = "person people face identity subject participant observer individual animal mouse rat monkey fish bird"
RECORDINGS = "session recording video clip movie day block experiment"
GROUPING_WORDS = {*INDIVIDUALS.split(), *RECORDINGS.split()}


@dataclass(frozen=True)
class Duplicates:
    """The number of near-duplicates among held-out images.

    Attributes:
        n: held-out images that have a near-duplicate in training.
        n_checked: held-out images that were compared.
    """

    n: int
    n_checked: int

    @property
    def is_worth_noting(self) -> bool:
        """Whether there are so many that the user should know."""
        return self.n > NOTED_SHARE * self.n_checked


@dataclass(frozen=True)
class SuggestedGroups:
    """Groups of images guessed from the names of columns or files.

    Attributes:
        name: what the groups are, for messages.
        remedy: the option that would declare these groups, for messages; ends with " and ".
        groups: the group of each image, N texts, empty where it is missing.
    """

    name: str
    remedy: str
    groups: list[str]


def leaks(dataset: StimulusSet, parts: Parts) -> tuple[dict, list[str]]:
    """Look for groups and near-duplicates that training shares with the held-out parts.

    Returns:
        A record for result.json: `groups` that are in two parts, and `near_duplicates` by held-out part; and notes for
        the user.
    """
    groups, notes = _mixed_groups(dataset, parts)
    notes += _given_notes(dataset, parts)
    record = {}
    for part in ("validation", "test"):
        if parts[part]:
            duplicates = near_duplicates(dataset, parts["training"], parts[part])
            record[part] = {"n": duplicates.n, "checked": duplicates.n_checked}
            notes += [_duplicates_note(dataset, part, duplicates)] if duplicates.is_worth_noting else []
    if not set(dataset.repeated.tolist()) <= set(parts.get("test", [])):
        notes.append(
            "some images with repeated presentations are not in the test part, so no noise ceiling is reported; "
            "see --split given"
        )
    return {"groups": groups, "near_duplicates": record}, notes


def _given_notes(dataset: StimulusSet, parts: Parts) -> list[str]:
    """Return a note if training has images that the dataset itself keeps for validation or the test."""
    given = given_parts(dataset)
    if given is None:
        return []
    counts = {
        part: ((given == part).sum(), (given[parts["training"]] == part).sum()) for part in ("validation", "test")
    }
    mixed = " and ".join(f"{n} of {total} {part} images" for part, (total, n) in counts.items() if n)
    return [f"training has {mixed} of the dataset itself; --split given keeps them apart"] if mixed else []


def seen_before(dataset: StimulusSet, parts: Parts, seen: set[str]) -> tuple[dict, list[str]]:
    """Count the held-out images on which a loaded encoder was trained.

    Args:
        seen: ids of all images in the encoder's training.

    Returns:
        The number of such images by part, for result.json; and notes for the user.
    """
    counts = {part: sum(dataset.ids[i] in seen for i in parts[part]) for part in ("validation", "test")}
    images = " and ".join(f"{n} of {len(parts[part])} {part} images" for part, n in counts.items() if n)
    note = f"the loaded encoder was trained on {images}; train both with the same --split, --seed and fractions"
    return counts, [note] if images else []


def near_duplicates(
    dataset: StimulusSet, training: list[int], held_out: list[int], other: StimulusSet | None = None
) -> Duplicates:
    """Count the held-out images that are nearly identical to a training image.

    Two images are near-duplicates if their thumbnails, less the mean training image, correlate by 0.99 or more,
    whatever their brightness and contrast: frames of a film 1/30 s apart do, two photographs of one person do not.
    At most 1,000 held-out images are compared with a limited number of training images, which include the neighbours
    of each held-out image in the order of the dataset.

    Args:
        training, held_out: indices of images.
        other: the dataset of the held-out images, if it is not the same.
    """
    checked = _every_kth(held_out, MAX_CHECKED)
    compared = _every_kth(training, min(MAX_COMPARED, MAX_VALUES // math.prod(dataset.image_shape)))
    if len(compared) < len(training) and other is None:
        neighbours = (checked[:, None] + np.array([-2, -1, 1, 2])).ravel()
        compared = np.union1d(compared, neighbours[np.isin(neighbours, training)])

    trained, new = (
        F.normalize(small - small.mean(1, keepdim=True))  # removes brightness and contrast
        for small in (thumbnails(dataset, compared), thumbnails(other or dataset, checked))
    )
    is_varied = trained.std(0, correction=0).max() > MIN_SPREAD
    mean = trained.mean(0) if is_varied else 0  # what all images share would make any two correlate
    correlation = F.normalize(new - mean) @ F.normalize(trained - mean).T  # (n_checked, n_compared)
    return Duplicates(int((correlation.max(1).values >= MIN_CORRELATION).sum()), len(checked))


def thumbnails(dataset: StimulusSet, indices: np.ndarray) -> Tensor:
    """Return (n, 256): grey 16x16 versions of images, in which every pixel is the mean of its area."""
    height, width = (_area_weights(length) for length in dataset.image_shape[1:])
    small = torch.empty(len(indices), THUMBNAIL_PX**2)
    size = max(1, CHUNK_VALUES // math.prod(dataset.image_shape))
    for start in range(0, len(indices), size):
        chunk = torch.as_tensor(indices[start : start + size])
        if dataset.is_mapped:
            dataset.read_ahead(chunk)
        grey = dataset.sample(chunk)["image"].mean(1)  # (B, H, W)
        small[start : start + size] = (height @ grey @ width.T).flatten(1)  # (B, 256)
    return small


def suggested_groups(dataset: StimulusSet) -> SuggestedGroups | None:
    """Guess from the names of columns and files which images show one person, animal or recording.

    Returns:
        The groups, or None if nothing suggests any.
    """
    for name, column in dataset.columns.items():
        words = set(re.findall(r"[a-z]+", name.lower()))
        if name == "folder":
            words = set(re.findall(r"[a-z]+", column[0].lower()))  # subject01
        elif name in (dataset.label, "part"):
            continue
        groups = as_texts(column)
        if words & GROUPING_WORDS and _repeats(groups):
            return SuggestedGroups(
                f"groups ('{name}')", f"to test new ones, use --dataset NAME group={name} and ", groups
            )
    first_words = _first_words(dataset.ids)
    n_different = len(set(first_words))
    if not _repeats(first_words) or n_different == 2:  # two are more likely to be conditions than people
        return None
    if dataset.label and len(set(zip(first_words, dataset.columns[dataset.label], strict=True))) == n_different:
        return None  # they follow from the class
    remedy = "if they are people, animals or recordings, use --dataset folder pattern={person}_{} group=person and "
    return SuggestedGroups(f"groups (beginnings of file names, such as {first_words[0]})", remedy, first_words)


def shared_groups(parts: Parts, groups: Sequence[str]) -> int:
    """Return how many groups are both in training and in another part; an empty name is no group."""
    trained = {groups[i] for i in parts["training"]} - {""}
    return len(trained & {groups[i] for part in ("validation", "test") for i in parts[part]})


def _mixed_groups(dataset: StimulusSet, parts: Parts) -> tuple[dict | None, list[str]]:
    """Return a record of the groups, declared or only suggested, that are in two parts; and notes for the user."""
    if dataset.group:
        found = SuggestedGroups(
            f"groups ('{dataset.group}')", "to test new ones, use ", as_texts(dataset.columns[dataset.group])
        )
    else:
        found = suggested_groups(dataset) or SuggestedGroups("", "", [])
    n_groups = len(set(found.groups) - {""})
    n_shared = shared_groups(parts, found.groups) if n_groups > 1 else 0
    if not n_shared:
        return None, []
    return {"what": found.name, "n": n_groups, "in_two_parts": n_shared}, [
        f"{n_shared} of {n_groups} {found.name} are both in training and in another part, so the result holds only for "
        f"groups seen in training; {found.remedy}--split group"
    ]


def _duplicates_note(dataset: StimulusSet, part: str, duplicates: Duplicates) -> str:
    if dataset.has_blocks:
        remedy = "--gap leaves out the frames next to a block, but not later frames of the same scene"
    else:
        remedy = "--split group or block keeps images together that belong together"
    return (
        f"{duplicates.n} of {duplicates.n_checked} {part} images have a near-duplicate in training, so the result may "
        f"reflect memory; {remedy}"
    )


def _first_words(ids: list[str]) -> list[str]:
    """Return the first word of each file name, after words that all file names share."""
    words = [re.split(r"[_\W]+", name.rsplit("/", 1)[-1].rsplit(".", 1)[0]) for name in ids]
    return next((list(column) for column in zip(*words, strict=False) if len(set(column)) > 1), [])


def _repeats(groups: Sequence[str]) -> bool:
    """Return whether there are at least two groups, with two images or more on average; an empty name is no group."""
    known = [group for group in groups if group]
    return 1 < len(set(known)) <= len(known) / 2


def _area_weights(length: int) -> Tensor:
    """Return (16, length): the weight of each pixel in each of 16 means."""
    edges = torch.linspace(0, length, THUMBNAIL_PX + 1)
    pixel = torch.arange(length)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return overlap.clamp(min=0) * THUMBNAIL_PX / length


def _every_kth(indices: list[int], n_max: int) -> np.ndarray:
    """Return every k-th index, with the smallest k that gives at most n_max."""
    return np.array(indices)[:: -(-len(indices) // max(1, n_max))]
