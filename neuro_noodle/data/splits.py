"""Splits: which image is for training, validation or test, and what leaks from one part into another."""

import re
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.columns import as_texts

PARTS = {"train": "training", "training": "training", "val": "validation", "validation": "validation"}
PARTS |= {"valid": "validation", "test": "test"}

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
    if how == "group" and dataset.split_unit is None:
        raise UserError(
            "--split group needs to know which images belong together: name a column by --dataset NAME group=COLUMN; "
            f"there are {', '.join(dataset.columns) or 'none'}"
        )
    if how == "random":
        names, codes, what = dataset.ids, np.arange(len(dataset)), f"{len(dataset)} images"
    else:
        names, codes = np.unique(as_texts(dataset.columns[dataset.split_unit]), return_inverse=True)
        what = f"{len(names)} different {dataset.split_unit}"
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
