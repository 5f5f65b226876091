"""Splits: which images are used for training, validation and test."""

from collections.abc import Sequence

import numpy as np

from neuro_noodle.choices import UserError, require
from neuro_noodle.data.balance import balance
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.blocks import natural_order
from neuro_noodle.data.columns import as_texts
from neuro_noodle.plain import counted

PART_OF_NAME = {
    "train": "training",
    "training": "training",
    "val": "validation",
    "validation": "validation",
    "valid": "validation",
    "validate": "validation",
    "dev": "validation",
    "test": "test",
}

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
    """Split the images into training, validation and test.

    Args:
        dataset: its ids, labels, columns and groups are used, but not its images.
        how: random (classes balanced), group (no person in two parts), block (no block of frames in two parts), given
            (by the column `part` or top folders), or auto (given if possible and no other test part is asked for).
        val_fraction: share of the images that remain after the test part, as near as whole groups or blocks allow.
        test_fraction: share of the images.
        fold: (k, K): the test part is the k-th of K equal parts, counted from 1.
        gap: validation frames at most this many from a test frame are left out, then training frames near either.
        seed: of the split only.

    Returns:
        The sorted indices of each part; `left_out` only with a gap, or if the group of an image is missing.

    Raises:
        UserError: if a requested part would be empty, or if options contradict each other.
    """
    how = resolved(how, dataset, test_fraction, fold)
    _refuse_contradictions(how, test_fraction, fold, gap)
    if how == "given":
        return _given_parts(dataset, val_fraction, seed)
    unit_index, units = _unit_index(dataset, how)
    labels = None if dataset.labels is None else dataset.labels.numpy()
    shares = {"val_fraction": val_fraction, "test_fraction": test_fraction}
    parts = split_units(unit_index, labels, units, **shares, fold=fold, seed=seed)
    if gap:
        parts = _leave_gap(parts, natural_order(dataset.ids), gap)
        _require_images(parts, ["training", "validation"], units)
    return parts


def resolved(how: str, dataset: StimulusSet, test_fraction: float, fold: tuple[int, int] | None) -> str:
    """Return the kind of split that `auto` means for a dataset; any other is returned as it is."""
    if how != "auto":
        return how
    if test_fraction or fold:
        return "random"
    names = {name.strip().lower() for name in _part_names(dataset)}
    unknown = sorted(names - PART_OF_NAME.keys())
    known = {PART_OF_NAME.get(name) for name in names}
    require(
        "training" not in known or not unknown or known == {"training", None} and "part" not in dataset.columns,
        f"the images seem to come with parts, but {', '.join(map(repr, unknown[:5]))} is none of "
        f"{', '.join(PART_OF_NAME)}; rename it, or choose --split random, which mixes the parts",
    )
    return "random" if given_parts(dataset) is None else "given"


def require_no_test_part(dataset: StimulusSet) -> None:
    """Raise UserError if a dataset comes with a test part, which folds would mix with its other images."""
    part = given_parts(dataset)
    require(
        part is None or "test" not in part,
        "the images come with a test part, which --folds would mix with the others; leave out --folds, or choose "
        "--split random, group or block",
    )


def split_units(
    unit_index: np.ndarray,
    labels: np.ndarray | None,
    units: str,
    *,
    val_fraction: float,
    test_fraction: float = 0.0,
    fold: tuple[int, int] | None = None,
    seed: int,
) -> Parts:
    """Split images into parts such that no unit is in two parts, and sizes and classes are balanced.

    Args:
        unit_index: (N,) the unit (image, group or block) of each image, from 0; -1 for an image that is in no part.
        labels: (N,) the class of each image, -1 where it is missing, or None.
        units: the number and kind of units, for the error message.
        val_fraction, test_fraction, fold, seed: as for `split`.

    Returns:
        The sorted indices of training, validation and test; and of `left_out` if an image is in no unit.

    Raises:
        UserError: if a requested part would be empty.
    """
    order = _balanced_order(unit_index, labels, seed)
    counts = None if len(order) == len(unit_index) else _class_counts(unit_index, labels)
    n_test = max(1, round(test_fraction * len(order))) if test_fraction else 0
    slices = np.array_split(order, fold[1]) if fold else np.split(order, [n_test])
    test = balance(slices, counts, seed)[fold[0] - 1 if fold else 0]
    order = order[~np.isin(order, test)]
    n_validation = max(1, round(val_fraction * len(order)))
    validation, training = balance(np.split(order, [n_validation]), counts, seed)
    units_of = {"training": training, "validation": validation, "test": test}
    parts = {part: np.flatnonzero(np.isin(unit_index, chosen)).tolist() for part, chosen in units_of.items()}
    _require_images(parts, ["training", "validation"] + (["test"] if fold or test_fraction else []), units)
    left_out = np.flatnonzero(unit_index < 0).tolist()
    return parts | ({"left_out": left_out} if left_out else {})


def _refuse_contradictions(how: str, test_fraction: float, fold: tuple[int, int] | None, gap: int) -> None:
    """Raise UserError if the options of a split contradict each other."""
    if test_fraction and (fold or how == "given"):
        raise UserError(
            f"--test_fraction and {'--fold' if fold else '--split given'} both define the test part; give one of them"
        )
    if fold and how == "given":
        raise UserError("--fold chooses the parts, but --split given uses existing ones; give one of them")
    require(gap == 0 or how == "block", f"--gap leaves out frames next to held-out blocks; --split {how} has no blocks")


def _unit_index(dataset: StimulusSet, how: str) -> tuple[np.ndarray, str]:
    """Return the (N,) index of the image, group or block of each image (-1 if missing), and their number in words."""
    if how == "random":
        return np.arange(len(dataset)), counted(len(dataset), "image")
    column = dataset.split_unit
    if column is None:
        raise UserError(
            "--split group needs to know which images belong together (show one person, animal or recording): name a "
            f"column with --dataset NAME group=COLUMN (columns: {', '.join(dataset.columns) or 'none'}), or make one "
            "from file names such as 001_03.jpg: --dataset folder pattern={person}_{} group=person"
        )
    texts = as_texts(dataset.columns[column])
    names = sorted(set(texts) - {""})
    require(bool(names), f"--split {how}: {column} is missing for every image")
    index = {name: i for i, name in enumerate(names)}
    other = "" if dataset.has_blocks else "; group=COLUMN of --dataset names another column"
    return np.array([index.get(text, -1) for text in texts]), f"{len(names)} different {column}{other}"


def _require_images(parts: Parts, wanted: Sequence[str], units: str) -> None:
    empty = [part for part in wanted if not parts[part]]
    require(not empty, f"too few to split ({units}): nothing is left for {' and '.join(empty)}")


def _leave_gap(parts: Parts, order: np.ndarray, gap: int) -> Parts:
    """Move validation frames near a test frame, then training frames near any held-out one, to the part `left_out`."""
    parts = parts | {"left_out": parts.get("left_out", [])}
    for part, others in (("validation", ["test"]), ("training", ["validation", "test"])):
        is_other = np.isin(order, [index for other in others for index in parts[other]])
        n_before = np.cumsum([0, *is_other])  # number of frames of the other parts before each position in time
        position = np.arange(len(order))
        is_near = n_before[np.minimum(position + gap + 1, len(order))] > n_before[np.maximum(position - gap, 0)]
        near = {*order[is_near].tolist()}
        parts["left_out"] = sorted([*parts["left_out"], *near.intersection(parts[part])])
        parts[part] = [index for index in parts[part] if index not in near]
    return parts


def _balanced_order(unit_index: np.ndarray, labels: np.ndarray | None, seed: int) -> np.ndarray:
    """Return the units in random order; if each is one image, every stretch has the classes in proportion.

    Args:
        unit_index: (N,) the unit of each image, from 0; -1 for none.
        labels: (N,) the class of each image, -1 where it is missing, or None.
    """
    generator = np.random.default_rng(seed)
    n_units = int(unit_index.max()) + 1
    shuffled = generator.permutation(n_units)
    if labels is None or len(unit_index) > n_units:
        return shuffled
    labels = labels[np.argsort(unit_index)][shuffled]
    position = np.empty(n_units)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        position[members] = (np.arange(len(members)) + generator.random()) / len(members)
    return shuffled[np.argsort(position, kind="stable")]


def _class_counts(unit_index: np.ndarray, labels: np.ndarray | None) -> np.ndarray:
    """Return how many images of each class each unit has, (n_units, n_classes); those without a label are a class."""
    classes, label_index = np.unique(unit_index * 0 if labels is None else labels, return_inverse=True)
    counts = np.zeros((unit_index.max() + 1, len(classes)), int)
    is_in_unit = unit_index >= 0
    np.add.at(counts, (unit_index[is_in_unit], label_index[is_in_unit]), 1)
    return counts[:, counts.any(0)]


def _given_parts(dataset: StimulusSet, val_fraction: float, seed: int) -> Parts:
    """Return the existing parts; if none is for validation, use some of the training images for it."""
    parts: Parts = {"training": [], "validation": [], "test": []}
    for index, part in enumerate(_part_of_each(dataset)):
        parts[part].append(index)
    if parts["training"] and not parts["validation"]:
        training = np.array(parts["training"])
        labels = None if dataset.labels is None else dataset.labels.numpy()[training]
        order = training[_balanced_order(np.arange(len(training)), labels, seed)]
        n_validation = min(len(order) - 1, max(1, round(val_fraction * len(order))))
        parts["training"] = sorted(order[n_validation:].tolist())
        parts["validation"] = sorted(order[:n_validation].tolist())
    empty = [part for part in ("training", "validation") if not parts[part]]
    require(
        not empty,
        f"--split given: no image for {' and '.join(empty)}; it needs a part train, and preferably a part val; --split "
        "random makes parts of the images that there are",
    )
    return parts


def given_parts(dataset: StimulusSet) -> np.ndarray | None:
    """Return the part (N,) that each image has in the dataset itself; None unless training and another part exist."""
    try:
        part = np.array(_part_of_each(dataset))
    except UserError:
        return None
    return part if {"training"} < set(part.tolist()) else None


def _part_names(dataset: StimulusSet) -> list[str]:
    """Return the name of the part of each image: the column `part`, or else its top folder."""
    column = dataset.columns.get("part")
    return [name.split("/")[0] for name in dataset.ids] if column is None else as_texts(column)


def _part_of_each(dataset: StimulusSet) -> list[str]:
    """Return the part of each image, from the column `part` or else from its top folder.

    Raises:
        UserError: if the name of a part is unknown.
    """
    column, names = dataset.columns.get("part"), _part_names(dataset)
    for image, name in zip(dataset.ids, names, strict=True):
        where = (
            f"has the part '{name}'"
            if column is not None
            else "has no column `part`, and is in no folder train, val or test of --data_dir; --split random needs none"
        )
        require(
            name.lower() in PART_OF_NAME, f"--split given: {image} {where}; the parts are {', '.join(PART_OF_NAME)}"
        )
    return [PART_OF_NAME[name.lower()] for name in names]
