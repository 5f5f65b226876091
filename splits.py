"""Splits: which image is for training, validation or test, and what leaks from one part into another."""

import math
import re
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from choices import UserError, require
from datasets import StimulusSet
from metadata import as_texts

PARTS = {"train": "training", "training": "training", "val": "validation", "validation": "validation"}
PARTS |= {"valid": "validation", "test": "test"}
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

Parts = dict[str, list[int]]


def split(
    dataset: StimulusSet,
    how: str,
    *,
    val_fraction: float,
    test_fraction: float,
    fold: tuple[int, int] | None,
    gap: int,
    seed: int,
) -> Parts:
    """Deal the images out to training, validation and test.

    Args:
        dataset: its ids, labels, columns and groups are used, never its images.
        how: random (balanced by class), group (no person in two parts), block (the same with stretches of frames), or
            given (by the column `part`, else by the top folders train, val, test).
        test_fraction: share of the images, or of the groups.
        val_fraction: share of what is not test.
        fold: (k, K): the k-th of K equal parts, from 1, is the test part.
        gap: training images within so many of a held-out one are left out of every part.
        seed: of the dealing alone.

    Returns:
        The (sorted) indices of each part; test is empty unless asked for.

    Raises:
        UserError: where a part that was asked for would be empty, or wishes contradict each other.
    """
    if test_fraction and (fold or how == "given"):
        raise UserError(f"--test_fraction makes a test part, as {'--fold' if fold else '--split given'} does; give one")
    if fold and how == "given":
        raise UserError("--fold deals images out, and --split given takes them as they are; give one")
    require(gap == 0 or how == "block", f"--gap leaves out frames beside held-out blocks; --split {how} makes none")
    if how == "given":
        return _given(dataset, val_fraction, seed)
    if how == "group" and dataset.unit is None:
        raise UserError(
            "--split group needs to know which images belong together: name a column by --dataset NAME group=COLUMN; "
            f"there are {', '.join(dataset.columns) or 'none'}"
        )
    if how == "random":
        names, codes, what = dataset.ids, np.arange(len(dataset)), f"{len(dataset)} images"
    else:
        names, codes = np.unique(as_texts(dataset.columns[dataset.unit]), return_inverse=True)
        what = f"{len(names)} different {dataset.unit}"
    order = _balanced_order(codes, dataset.labels, seed)
    if fold:
        slices = np.array_split(order, fold[1])
        test = slices[fold[0] - 1]
        order = np.concatenate(slices[: fold[0] - 1] + slices[fold[0] :])
    else:
        n_test = max(1, round(test_fraction * len(order))) if test_fraction else 0
        test, order = order[:n_test], order[n_test:]
    n_validation = max(1, round(val_fraction * len(order)))
    chosen = {"training": order[n_validation:], "validation": order[:n_validation], "test": test}
    parts = {part: np.flatnonzero(np.isin(codes, dealt)).tolist() for part, dealt in chosen.items()}
    if gap:
        parts = _leave_gap(parts, natural_order(dataset.ids), gap)
    wanted = ["training", "validation"] + (["test"] if fold or test_fraction else [])
    empty = [part for part in wanted if not parts[part]]
    require(not empty, f"{what} are too few to deal out: nothing is left for {' and '.join(empty)}")
    return parts


def blocks(ids: list[str], n_blocks: int, recordings: Sequence | None) -> list[str]:
    """Cut frames into contiguous blocks of nearly equal length, none across two recordings.

    Args:
        ids: N names, whose numbers tell the order.
        n_blocks: how many, about, in all; each recording has one at least.
        recordings: of each frame, or None for a single one.

    Returns:
        The block of each frame, N texts.
    """
    order = natural_order(ids)
    recording = (
        np.unique(as_texts(recordings), return_inverse=True)[1] if recordings is not None else np.zeros(len(ids))
    )
    names = [""] * len(ids)
    number = 0
    for one in np.unique(recording):
        frames = order[recording[order] == one]
        for block in np.array_split(frames, min(len(frames), max(1, round(n_blocks * len(frames) / len(ids))))):
            for frame in block:
                names[frame] = f"{number:03}"
            number += 1
    return names


def natural_order(ids: list[str]) -> np.ndarray:
    """Return the (N,) indices that sort names by the numbers in them: frame9 before frame10."""

    def parts(index: int) -> list:
        return [(int(text), "") if text.isdecimal() else (-1, text) for text in re.split(r"(\d+)", ids[index])]

    return np.array(sorted(range(len(ids)), key=parts))


def _leave_gap(parts: Parts, order: np.ndarray, gap: int) -> Parts:
    held_out = np.zeros(len(order), bool)
    held_out[parts["validation"] + parts["test"]] = True
    n_before = np.cumsum([0, *held_out[order]])  # held-out ones before each place in order
    place = np.arange(len(order))
    near = n_before[np.minimum(place + gap + 1, len(order))] > n_before[np.maximum(place - gap, 0)]
    left_out = set(order[near & ~held_out[order]].tolist())
    training = [index for index in parts["training"] if index not in left_out]
    return parts | {"training": training, "left_out": sorted(left_out)}


def _balanced_order(codes: np.ndarray, labels: Tensor | None, seed: int) -> np.ndarray:
    """Return the units in random order, such that every stretch of it holds the classes in their proportion.

    Args:
        codes: (N,) the unit (image or group) of each image, 0 to the number of units.
        labels: (N,) the class of each image.
    """
    draw = np.random.default_rng(seed)
    first = np.unique(codes, return_index=True)[1]
    shuffled = draw.permutation(len(first))
    if labels is None:
        return shuffled
    labels = labels.numpy()[first][shuffled]  # a unit of several classes counts as that of its first image
    place = np.empty(len(first))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = (np.arange(len(members)) + draw.random()) / len(members)
    return shuffled[np.argsort(place, kind="stable")]


def _given(dataset: StimulusSet, val_fraction: float, seed: int) -> Parts:
    """Take the parts as they are told; where none is for validation, deal some of training out to it."""
    column = dataset.columns.get("part")
    names = [name.split("/")[0] for name in dataset.ids] if column is None else as_texts(column)
    parts = {"training": [], "validation": [], "test": []}
    for index, name in enumerate(names):
        part = PARTS.get(name.lower())
        if part is None:
            where = (
                f"has the part '{name}'"
                if column is not None
                else "has no column `part`, and lies in no folder train, val or test of --data_dir"
            )
            raise UserError(f"--split given: {dataset.ids[index]} {where}; the parts are {', '.join(PARTS)}")
        parts[part].append(index)
    if parts["training"] and not parts["validation"]:
        training = np.array(parts["training"])
        labels = None if dataset.labels is None else dataset.labels[training]
        order = training[_balanced_order(np.arange(len(training)), labels, seed)]
        n_validation = min(len(order) - 1, max(1, round(val_fraction * len(order))))
        parts |= {
            "training": sorted(order[n_validation:].tolist()),
            "validation": sorted(order[:n_validation].tolist()),
        }
    empty = [part for part in ("training", "validation") if not parts[part]]
    why = "".join(f"{note}; " for note in dataset.notes)
    require(
        not empty, f"{why}--split given: no image for {' and '.join(empty)}; it needs a part train, and at best val"
    )
    return parts


# ----------------------------------------------------------------------------------------------------- leaks


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
                if dataset.in_blocks:
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
