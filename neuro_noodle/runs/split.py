"""split.json: which image is in which part, by name and content."""

import sys
from pathlib import Path

from neuro_noodle.choices import require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.splits import Parts
from neuro_noodle.runs.config import load_config
from neuro_noodle.runs.files import SPLIT, find_session, parse_json
from neuro_noodle.runs.manifest import read_checked

PARTS = {"training", "validation", "test", "left_out"}

Named = dict[str, dict[str, str]]  # the content of each image, by part and id


def named(parts: Parts, dataset: StimulusSet) -> Named:
    """Return the id and the content of the images in each part, as split.json keeps them."""
    return {part: {dataset.ids[i]: dataset.contents[i] for i in indices} for part, indices in parts.items()}


def read_split(run: Path) -> Named:
    """Read the split.json of a run.

    Raises:
        UserError: if it is damaged, or if an image is in two parts.
    """
    path = run / SPLIT
    split = parse_json(read_checked(path), path)
    require(
        PARTS - {"left_out"} <= split.keys() <= PARTS and all(map(_has_contents, split.values())),
        f"{path} is damaged: it must hold the parts {', '.join(sorted(PARTS))}, and in each the content of each image",
    )
    ids = [name for part in split.values() for name in part]
    twice = next((name for name in ids if ids.count(name) > 1), None) if len(set(ids)) < len(ids) else None
    require(twice is None, f"{path} is damaged: {twice} is in two parts")
    return split


def _has_contents(part: object) -> bool:
    return isinstance(part, dict) and all(isinstance(content, str) for content in part.values())


def load_split(run: Path, dataset: StimulusSet) -> Parts:
    """Return the indices of the images in each part of a run's split.

    Raises:
        UserError: if the dataset no longer holds the same images: names and contents.
    """
    split = read_split(run)
    trained = {name: content for part in split.values() for name, content in part.items()}
    index = {name: i for i, name in enumerate(dataset.ids)}
    differing = {
        "are missing": [name for name in trained if name not in index],
        "are new": [name for name in index if name not in trained],
        "have the same name but different content": [
            name for name, i in index.items() if trained.get(name, dataset.contents[i]) != dataset.contents[i]
        ],
    }
    counts = [f"{len(names)} {what} (for example {names[0]})" for what, names in differing.items() if names]
    require(
        not counts,
        f"the images differ from those {run} was trained on: {', '.join(counts)}; name the right folder with "
        "--data_dir",
    )
    return {part: [index[name] for name in names] for part, names in split.items()}


def trained_on(load_dir: Path, dataset: StimulusSet) -> set[str]:
    """Return the ids of the dataset's images that the encoder of a run was trained on, in that run or before it."""
    seen: set[str] = set()
    runs: list[Path] = []
    following: Path | None = load_dir
    while following:
        if not following.exists():
            print(f"note: {following}, where the encoder comes from, is gone; its images do not count", file=sys.stderr)
            break
        run = find_session(following)[0].resolve()
        if run in runs:
            break
        runs.append(run)
        seen |= _seen_in(read_split(run), dataset)
        before = load_config(run)["flags"]["load_encoder"]
        following = Path(before) if before else None
    return seen


def _seen_in(split: Named, dataset: StimulusSet) -> set[str]:
    """Return the ids of the dataset's images that are in the training part of a split.

    Images are known by content. Those of a large array that are not hashed are known by name, if the hashes of others
    say that it is the same array.
    """
    trained, whole = split["training"], {content for part in split.values() for content in part.values()} - {""}
    is_same_array = whole >= set(dataset.contents) - {""}
    contents = set(trained.values()) - {""}
    return {
        name
        for name, content in zip(dataset.ids, dataset.contents, strict=True)
        if content in contents or (not content and is_same_array and name in trained)
    }
