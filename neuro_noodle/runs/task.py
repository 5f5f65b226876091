"""The task of a run: its images, its objective and its split."""

from collections.abc import Mapping
from pathlib import Path

from neuro_noodle.choices import require
from neuro_noodle.data.base import DATASETS, Source, StimulusSet
from neuro_noodle.data.columns import merge
from neuro_noodle.data.splits import blocks
from neuro_noodle.data.store import Store
from neuro_noodle.objectives.base import OBJECTIVES, Objective

N_BLOCKS = 20


def open_store(flags: Mapping) -> Store:
    """Return where the images of a run lie decoded: --cache_dir, or a hidden folder beside the runs."""
    chosen = flags.get("cache_dir")
    return Store(Path(chosen or Path(flags["save_dir"]) / ".cache"), always=bool(chosen))


def open_dataset(flags: Mapping, data_dir: Path | None = None) -> StimulusSet:
    """Open the images of a run.

    Args:
        flags: the values of main's flags, as config.json has them too.
        data_dir: where the images are now, if not where the flags say.
    """
    source = Source(Path(data_dir or flags["data_dir"]), open_store(flags), flags["skip_unreadable"])
    dataset = DATASETS.build(flags["dataset"], source)
    if flags["split"] == "block":
        recordings = dataset.columns[dataset.group] if dataset.group else None
        merge(dataset.columns, {"block": blocks(dataset.ids, flags["n_blocks"] or N_BLOCKS, recordings)})
        dataset.in_blocks = True
    return dataset


def open_task(flags: Mapping, data_dir: Path | None = None) -> tuple[StimulusSet, Objective]:
    """Open the images of a run, and what is to be predicted of them; arguments as of `open_dataset`."""
    objective = OBJECTIVES.build(flags["objective"])
    dataset = open_dataset(flags, data_dir)
    objective.check(dataset.provides, dataset.classes, dataset.neurons)
    if objective.columns:
        dataset.aim_at(objective.columns)
        objective.check_values(dataset.values)
    if "response" in objective.needs:
        objective.check_values(dataset.responses)
    return dataset, objective


def leave_unknown_out(
    dataset: StimulusSet, objective: Objective, parts: dict[str, list[int]]
) -> tuple[dict[str, list[int]], list[str]]:
    """Leave images out of every part of which the numbers are not known that are to be predicted.

    Returns:
        The parts, and what the user should know.

    Raises:
        UserError: where a part would have no image left, or a column is empty in all of a part.
    """
    if dataset.values is None:
        return parts, []
    known = objective.known(dataset.values)  # (N,)
    for part in ("training", "validation", "test"):
        indices = parts.get(part, [])
        told = bool(known[indices].any()) and bool(dataset.values[indices].isfinite().any(0).all())
        require(told or not indices, f"a column to be predicted is empty for all {len(indices)} {part} images")
    unknown = set((~known).nonzero()[:, 0].tolist()) - set(parts.get("left_out", []))
    if not unknown:
        return parts, []
    kept = {part: [index for index in indices if index not in unknown] for part, indices in parts.items()}
    kept["left_out"] = sorted([*parts.get("left_out", []), *unknown])
    return kept, [f"{len(unknown)} images are left out, of which the numbers to be predicted are not known"]
