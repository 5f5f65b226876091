"""Metrics that are undefined: refused before training where they would choose the epoch, else null with a reason."""

import math
from collections.abc import Mapping

from neuro_noodle.choices import require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.splits import Parts
from neuro_noodle.objectives.base import Objective
from neuro_noodle.plain import counted, finite_each

Scores = Mapping[str, float]


def require_defined(dataset: StimulusSet, objective: Objective, parts: Parts) -> list[str]:
    """Return a note for each metric that the data of a held-out part leave undefined.

    Raises:
        UserError: if it is the metric that chooses the best epoch, or if there is only one training image.
    """
    require(len(parts["training"]) > 1, "only one image is left for training, from which a network learns nothing")
    notes = []
    for part in ("validation", "test"):
        indices = parts.get(part) or []
        reasons = objective.undefined(dataset, indices) if indices else {}
        require(
            part == "test" or objective.metric not in reasons,
            f"{objective.metric}, which chooses the best epoch, is undefined for "
            f"{counted(len(indices), 'validation image')}: {reasons.get(objective.metric)}; "
            f"raise --val_fraction, or choose another --seed or --split",
        )
        notes += [f"the {part} {name} is undefined: {reason}" for name, reason in reasons.items()]
    return notes


def explain(scores: Mapping[str, Scores], reasons: Mapping[str, str]) -> dict[str, str]:
    """Return why scores are undefined, by name: the reasons in the data, and a word for each other infinite score.

    Args:
        scores: by metric, of the network (its name is empty) and of each baseline.
        reasons: by metric, those that hold for every prediction.
    """
    others = {
        f"{name} {metric}".strip(): "it is not a number" if math.isnan(value) else "it is infinite"
        for name, one in scores.items()
        for metric, value in one.items()
        if not math.isfinite(value) and metric not in reasons
    }
    return dict(reasons) | others


def defined(scores: Scores, reasons: Mapping[str, str]) -> dict[str, float | None]:
    """Return scores by metric, None for those that have a reason to be undefined or are not finite."""
    return finite_each(scores) | dict.fromkeys(scores.keys() & reasons.keys())


def format_score(value: float | None, reason: str = "") -> str:
    """Return a score as text; an undefined one with its reason."""
    if value is None:
        return f"undefined ({reason})" if reason else "undefined"
    return f"{value:.4g}"
