"""Leaks: what the held-out images share with the training images, counted and reported."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.columns import as_texts
from neuro_noodle.data.duplicates import Duplicates, near_duplicates
from neuro_noodle.data.recorded import MIN_REPEATED
from neuro_noodle.data.splits import Parts, given_parts

INDIVIDUALS = "person people face identity subject participant observer individual animal mouse rat monkey fish bird"
RECORDINGS = "session recording video clip movie day block experiment"
GROUPING_WORDS = {*INDIVIDUALS.split(), *RECORDINGS.split()}
PARTS = {"train", "training", "val", "validation", "test"}  # names of folders that are parts of a split
IF_GROUPS = "if they are people, animals or recordings, use --dataset folder"


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


def leaks(dataset: StimulusSet, parts: Parts, target: str | None) -> tuple[dict, list[str]]:
    """Look for groups and near-duplicates that training shares with the held-out parts.

    Args:
        dataset: the images.
        parts: the indices of the images in each part.
        target: the column that is predicted, which is no group.

    Returns:
        A record for result.json: `groups` that are in two parts, and `near_duplicates` by held-out part; and notes for
        the user.
    """
    groups, notes = _mixed_groups(dataset, parts, target)
    notes += _given_notes(dataset, parts)
    record = {}
    for part in ("validation", "test"):
        if parts[part]:
            duplicates = near_duplicates(dataset, parts["training"], parts[part])
            record[part] = {"n": duplicates.n, "checked": duplicates.n_checked}
            notes += [_duplicates_note(dataset, part, duplicates)] if duplicates.is_worth_noting else []
    notes += _repeated_notes(dataset, parts)
    return {"groups": groups, "near_duplicates": record}, notes


def _repeated_notes(dataset: StimulusSet, parts: Parts) -> list[str]:
    """Return a note if the noise ceiling holds only for some of the images on which the run is judged."""
    part = "test" if parts["test"] else "validation"
    n_repeated, n_images = len({*dataset.repeated.tolist()} & {*parts[part]}), len(parts[part])
    if not len(dataset.repeated) or n_repeated == n_images:
        return []
    ceiling = "too few for a noise ceiling" if n_repeated < MIN_REPEATED else "and the noise ceiling is of these"
    return [
        f"{n_repeated} of {n_images} {part} images have two or more single trials, {ceiling}; a column `part` (train, "
        "test) and --split given can make the repeated images the test part"
    ]


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


def suggested_groups(dataset: StimulusSet, target: str | None) -> SuggestedGroups | None:
    """Guess from the names of columns, folders and files which images show one person, animal or recording.

    Two folders, or two beginnings of file names, are more likely to be conditions than people.

    Returns:
        The groups, or None if nothing suggests any.
    """
    for name, column in dataset.columns.items():
        words = set(re.findall(r"[a-z]+", name.lower()))
        if name == "folder":
            words = set(re.findall(r"[a-z]+", column[0].lower()))  # subject01
        groups = as_texts(column)
        if name not in (target, "part") and words & GROUPING_WORDS and _repeats(groups):
            return SuggestedGroups(
                f"groups ('{name}')", f"to test new ones, use --dataset NAME group={name} and ", groups
            )
    folders, first_words = as_texts(dataset.columns.get("folder", [""] * len(dataset))), _first_words(dataset.ids)
    can_be_folders = target != "folder" and not set(map(str.lower, folders)) <= PARTS and _may_be_groups(folders)
    if dataset.label not in (None, "folder"):
        can_be_folders &= not _follow(folders, dataset.columns[dataset.label])
    are_numbers = len(set(zip(folders, first_words, strict=False))) == len(first_words)  # each once in a folder
    by_folder = SuggestedGroups("folders", f"{IF_GROUPS} group=folder and ", folders) if can_be_folders else None
    if by_folder and are_numbers:
        return by_folder
    if not _may_be_groups(first_words) or (dataset.label and _follow(first_words, dataset.columns[dataset.label])):
        return by_folder
    name = f"groups (beginnings of file names, such as {first_words[0]})"
    return SuggestedGroups(name, f"{IF_GROUPS} pattern={{person}}_{{}} group=person and ", first_words)


def _may_be_groups(names: Sequence[str]) -> bool:
    return _repeats(names) and len(set(names)) > 2


def _follow(names: Sequence[str], classes: Sequence) -> bool:
    """Return whether each name has images of one class only."""
    return len(set(zip(names, classes, strict=True))) == len(set(names))


def shared_groups(parts: Parts, groups: Sequence[str]) -> int:
    """Return how many groups are both in training and in another part; an empty name is no group."""
    trained = {groups[i] for i in parts["training"]} - {""}
    return len(trained & {groups[i] for part in ("validation", "test") for i in parts[part]})


def _mixed_groups(dataset: StimulusSet, parts: Parts, target: str | None) -> tuple[dict | None, list[str]]:
    """Return a record of the groups, declared or only suggested, that are in two parts; and notes for the user."""
    if dataset.group:
        found = SuggestedGroups(
            f"groups ('{dataset.group}')", "to test new ones, use ", as_texts(dataset.columns[dataset.group])
        )
    else:
        found = suggested_groups(dataset, target) or SuggestedGroups("", "", [])
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
    elif given_parts(dataset) is not None:
        remedy = "the test images are those of the dataset itself"
    else:
        remedy = "--split group or block keeps images together that belong together"
    return (
        f"at least {duplicates.n} of {duplicates.n_checked} {part} images have a near-duplicate in training, so the "
        f"result may reflect memory; {remedy}"
    )


def _first_words(ids: list[str]) -> list[str]:
    """Return the first word of each file name, after words that all file names share."""
    words = [re.split(r"[_\W]+", name.rsplit("/", 1)[-1].rsplit(".", 1)[0]) for name in ids]
    return next((list(column) for column in zip(*words, strict=False) if len(set(column)) > 1), [])


def _repeats(groups: Sequence[str]) -> bool:
    """Return whether there are at least two groups, with two images or more on average; an empty name is no group."""
    known = [group for group in groups if group]
    return 1 < len(set(known)) <= len(known) / 2
