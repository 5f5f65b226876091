"""Leaks: what the held-out images share with training, counted and reported."""

import math
import re
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.columns import as_texts
from neuro_noodle.data.splits import Parts

SAME = 1e-5  # the spread of thumbnails below which all images are one


ALIKE = 0.99  # the correlation from which on two images are near-duplicates


THUMBNAIL = 16  # px


PIECE = 2**24  # pixels made small at a time


WORTH_SAYING = 0.02  # the share of near-duplicates that is


MOST_CHECKED = 1000  # held-out images of a part ...


MOST_COMPARED = 50_000  # ... beside so many training images


MOST_VALUES = 2**31  # ... of so many pixels


INDIVIDUALS = "person people face identity subject participant observer individual animal mouse rat monkey fish bird"


RECORDINGS = "session recording video clip movie day block experiment"


GROUPING = {*INDIVIDUALS.split(), *RECORDINGS.split()}


def leaks(dataset: StimulusSet, parts: Parts) -> tuple[dict, list[str]]:
    """Look for what training images give away of held-out ones.

    Returns:
        For the record: `groups` that are in two parts, and `near_duplicates` by held-out part; and what to say of it.
    """
    groups, notes = _mixed_groups(dataset, parts)
    duplicates = {}
    for part in ("validation", "test"):
        if parts[part]:
            n_found, n_checked = near_duplicates(dataset, parts["training"], parts[part])
            duplicates[part] = {"n": n_found, "checked": n_checked}
            if n_found > WORTH_SAYING * n_checked:
                if dataset.has_blocks:
                    remedy = "--gap leaves out the frames beside a block, though not those of a place returned to"
                else:
                    remedy = "--split group or block keeps together what belongs together"
                notes.append(
                    f"{n_found} of {n_checked} {part} images have a near-duplicate in training, so the result may tell "
                    f"of memory; {remedy}"
                )
    if not set(dataset.repeated.tolist()) <= set(parts.get("test", [])):
        notes.append("images shown repeatedly are not all for the test, so no noise ceiling is told; see --split given")
    return {"groups": groups, "near_duplicates": duplicates}, notes


def seen_before(dataset: StimulusSet, parts: Parts, seen: set[str]) -> tuple[dict, list[str]]:
    """Tell of held-out images that a loaded encoder was trained on.

    Args:
        seen: ids of all images that it was trained on.

    Returns:
        For the record, their number by part; and what to say of it.
    """
    counts = {part: sum(dataset.ids[i] in seen for i in parts[part]) for part in ("validation", "test")}
    told = " and ".join(f"{n} of {len(parts[part])} {part} images" for part, n in counts.items() if n)
    note = f"the loaded encoder was trained on {told}; train both with the same --split, --seed and fractions"
    return counts, [note] if told else []


def _mixed_groups(dataset: StimulusSet, parts: Parts) -> tuple[dict | None, list[str]]:
    """Return how many groups, told or only suggested, are in two parts."""
    if dataset.group:
        what, remedy, groups = f"'{dataset.group}'", "", as_texts(dataset.columns[dataset.group])
    else:
        what, remedy, groups = suggested_groups(dataset) or ("", "", [])
    n_groups = len(set(groups))
    n_shared = shared_groups(parts, groups) if n_groups > 1 else 0
    if not n_shared:
        return None, []
    return {"what": what, "n": n_groups, "in_two_parts": n_shared}, [
        f"{n_shared} of {n_groups} different {what} are both in training and in another part, so the result tells how "
        f"well known ones are known; {remedy}--split group tells of new ones"
    ]


def suggested_groups(dataset: StimulusSet) -> tuple[str, str, list[str]] | None:
    """Guess by the names of columns and files which images belong to one person, animal or recording.

    Returns:
        What the groups are, how to tell the program so, and the group of each image; None where nothing suggests any.
    """
    for name, column in dataset.columns.items():
        words = set(re.findall(r"[a-z]+", name.lower()))
        if name == "folder":
            words = set(re.findall(r"[a-z]+", column[0].lower()))  # subject01
        elif name in (dataset.label, "part"):
            continue
        if words & GROUPING and _repeats(as_texts(column)):
            return f"'{name}'", f"--dataset NAME group={name} and ", as_texts(column)
    beginnings = _beginnings(dataset.ids)
    n_different = len(set(beginnings))
    if not _repeats(beginnings) or n_different == 2:  # two are conditions rather than people
        return None
    if dataset.label and len(set(zip(beginnings, dataset.columns[dataset.label], strict=True))) == n_different:
        return None  # they are, or tell, the class
    remedy = "if these are people, animals or recordings, --dataset folder pattern={person}_{} group=person and "
    return f"beginnings of file names, such as {beginnings[0]},", remedy, beginnings


def _beginnings(ids: list[str]) -> list[str]:
    """Return the first word of each file name, leaving out words that all have in common."""
    words = [re.split(r"[_\W]+", name.rsplit("/", 1)[-1].rsplit(".", 1)[0]) for name in ids]
    return next((list(column) for column in zip(*words, strict=False) if len(set(column)) > 1), [])


def _repeats(groups: Sequence[str]) -> bool:
    """Return whether these are several, of two images or more on average."""
    return 1 < len(set(groups)) <= len(groups) / 2


def shared_groups(parts: Parts, groups: Sequence[str]) -> int:
    """Return how many groups stand both in training and in another part."""
    trained = {groups[i] for i in parts["training"]}
    return len(trained & {groups[i] for part in ("validation", "test") for i in parts[part]})


def near_duplicates(
    dataset: StimulusSet, training: list[int], held_out: list[int], other: StimulusSet | None = None
) -> tuple[int, int]:
    """Count held-out images that are nearly a training image, whatever their brightness and contrast.

    Two images are nearly the same where small versions of them, less the mean training image, correlate by 0.99 or
    more: frames of a film 1/30 s apart do, two photographs of one person do not.

    Args:
        other: the dataset that the held-out images are of, where it is another one.

    Returns:
        How many were found, and how many were looked at: a thousand at most, beside a limited number of training
        images, among them those next to them in order.
    """
    checked = _evenly(held_out, MOST_CHECKED)
    compared = _evenly(training, min(MOST_COMPARED, MOST_VALUES // math.prod(dataset.image_shape)))
    if len(compared) < len(training) and other is None:
        beside = (checked[:, None] + np.array([-2, -1, 1, 2])).ravel()
        compared = np.union1d(compared, beside[np.isin(beside, training)])

    known, new = (
        F.normalize(small - small.mean(1, keepdim=True))  # whatever the brightness and contrast
        for small in (thumbnails(dataset, compared), thumbnails(other or dataset, checked))
    )
    mean = known.mean(0) if known.std(0, correction=0).max() > SAME else 0  # what all images share tells nothing
    alike = F.normalize(new - mean) @ F.normalize(known - mean).T  # (checked, compared)
    return int((alike.max(1).values >= ALIKE).sum()), len(checked)


def thumbnails(dataset: StimulusSet, indices: np.ndarray) -> Tensor:
    """Return (n, 256): grey 16x16 versions of images, every pixel the mean of its area."""
    height, width = (_areas(length) for length in dataset.image_shape[1:])
    small = torch.empty(len(indices), THUMBNAIL**2)
    size = max(1, PIECE // math.prod(dataset.image_shape))
    for start in range(0, len(indices), size):
        chunk = torch.as_tensor(indices[start : start + size])
        if dataset.is_mapped:
            dataset.read_ahead(chunk)
        grey = dataset.sample(chunk)["image"].mean(1)  # (B, H, W)
        small[start : start + size] = (height @ grey @ width.T).flatten(1)
    return small


def _areas(length: int) -> Tensor:
    """Return (16, length): how much each pixel counts in each of 16 means."""
    edges = torch.linspace(0, length, THUMBNAIL + 1)
    pixel = torch.arange(length)
    overlap = torch.minimum(edges[1:, None], pixel + 1) - torch.maximum(edges[:-1, None], pixel)
    return overlap.clamp(min=0) * THUMBNAIL / length


def _evenly(indices: list[int], most: int) -> np.ndarray:
    return np.array(indices)[:: -(-len(indices) // max(1, most))]
