"""Pairs of runs judged on the same images: which predicts them better, and by how much."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from neuro_noodle.measures.intervals import jackknife
from neuro_noodle.plain import counted, readable
from neuro_noodle.runs.run import Run


@dataclass(frozen=True)
class Pair:
    """Two runs judged on the same images.

    Attributes:
        names: of the two runs, the better one first.
        metric: their main metric.
        values: of the two on these images.
        difference: how much better the first is, 0 or more.
        interval: its 95 % interval over groups (over images, if there are none); None for validation images, which
            chose the epochs, and for too few groups.
        part: test if both runs have a test part, else validation.
        n, n_groups: number of images and of their groups; None without groups.
    """

    names: tuple[str, str]
    metric: str
    values: tuple[float, float]
    difference: float
    interval: tuple[float, float] | None
    part: str
    n: int
    n_groups: int | None


def pairs(runs: Mapping[str, Run], is_held_out: np.ndarray, groups: np.ndarray | None) -> Iterator[Pair]:
    """Yield the comparison of every two runs that predict the same and have test (or validation) images in common.

    Args:
        runs: of the same images, by name.
        is_held_out: (N,) bool, images that no run was trained on.
        groups: (N,) group of each image; None without groups.
    """
    for names in combinations(runs, 2):
        both = [runs[name] for name in names]
        if both[0].objective.asks() != both[1].objective.asks():
            continue
        for part in ("test", "validation"):
            is_shared = is_held_out & (both[0].part == part) & (both[1].part == part)
            if is_shared.sum() > 1:
                found = _compare(names, both, part, np.flatnonzero(is_shared), groups)
                if found:
                    yield found
                break


def _compare(
    names: tuple[str, str], both: list[Run], part: str, indices: np.ndarray, groups: np.ndarray | None
) -> Pair | None:
    """Return the comparison of two runs on some images; None if the metric is undefined there."""
    objective, each = both[0].objective, [run.evidence(indices) for run in both]
    sign = 1 if objective.direction == "max" else -1
    values = [objective.score(evidence, np.ones(len(indices), bool)) for evidence in each]
    if not all(map(math.isfinite, values)):
        return None
    if sign * (values[0] - values[1]) < 0:
        names, values, each = (names[1], names[0]), values[::-1], each[::-1]

    def gain(is_kept: np.ndarray) -> float:
        return sign * (objective.score(each[0], is_kept) - objective.score(each[1], is_kept))

    units = indices if groups is None else groups[indices]
    return Pair(
        names,
        objective.metric,
        (values[0], values[1]),
        abs(values[0] - values[1]),
        jackknife(gain, units, np.asarray, np.asarray) if part == "test" else None,
        part,
        len(indices),
        None if groups is None else len(set(units)),
    )


def format_pair(pair: Pair) -> str:
    """Return a comparison of two runs as a line."""
    better, worse = map(readable, pair.names)
    verdict = "is better than" if pair.interval and pair.interval[0] > 0 else "may be no better than"
    ends = f" [95 %: {pair.interval[0]:.3g} to {pair.interval[1]:.3g}]" if pair.interval else " [no interval]"
    groups = f" in {counted(pair.n_groups, 'group')}" if pair.n_groups else ""
    return (
        f"{better} {verdict} {worse}: {pair.metric} {pair.values[0]:.4g} against {pair.values[1]:.4g}, a difference of "
        f"{pair.difference:.3g}{ends}, {counted(pair.n, f'{pair.part} image')}{groups}"
    )
