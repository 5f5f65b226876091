"""The facts of a run, from config.json and result.json, and short texts about them: the result in a sentence, leaks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from neuro_noodle.choices import Choice
from neuro_noodle.data.splits import given_parts
from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.plain import counted
from neuro_noodle.runs.files import sessions
from neuro_noodle.runs.result import read_result
from neuro_noodle.runs.result_text import beaten_by
from neuro_noodle.runs.run import Run
from neuro_noodle.runs.undefined import format_score
from neuro_noodle.views import wording

METRICS = {
    "mse": "mean squared error (MSE) of pixels",
    "accuracy": "accuracy",
    "error_deg": "mean angular error in degrees",
    "r2": "R² (explained variance)",
    "r": "Pearson's r over images, averaged over neurons",
}
SHORT = {"mse": "MSE", "error_deg": "mean angular error", "r2": "R²", "r": "mean correlation r"}
UNITS = {"error_deg": "°"}
PEOPLE = {"person": "people", "mouse": "mice", "fish": "fish", "identity": "identities", "block": "blocks of frames"}
NOUNS = ("animal", "subject", "participant", "individual", "session", "recording", "video", "rat", "monkey", "bird")


@dataclass(frozen=True)
class Facts:
    """The facts of a run, or of all folds.

    Attributes:
        config: as config.json keeps it; that of the first fold.
        result: as in result.json.
        n_images: by part; of all folds only those of the first.
        n_groups: groups in each part; empty without groups, or if each image is a group of its own.
        group: the column that holds the groups.
        draws_validation: whether validation images are some of the training images of the data set.
        latent_dim: numbers in the latent.
        n_trained: epochs that were trained; 0 if folds were trained for different numbers.
    """

    config: Mapping[str, Any]
    result: Mapping[str, Any]
    n_images: Mapping[str, int]
    n_groups: Mapping[str, int]
    group: str
    draws_validation: bool
    latent_dim: int
    n_trained: int

    @classmethod
    def of(cls, run: Run, result: Mapping[str, Any], n_trained: int) -> Self:
        """Return the facts of a run, or those of all folds, given the first and their result."""
        dataset, parts = run.dataset, run.parts
        units = np.asarray(dataset.units())
        n_groups = {part: len(set(units[indices])) for part, indices in parts.items()}
        has_groups = bool(dataset.split_unit) and 1 < len(set(units)) < len(units)
        given = given_parts(dataset) if run.config["flags"]["split"] == "given" else None
        return cls(
            run.config,
            result,
            n_images={part: len(indices) for part, indices in parts.items()},
            n_groups=n_groups if has_groups else {},
            group=(dataset.split_unit or "") if has_groups else "",
            draws_validation=given is not None and "validation" not in given,
            latent_dim=run.model.encoder.latent_dim,
            n_trained=n_trained,
        )

    @property
    def flags(self) -> Mapping[str, Any]:
        """The values of all flags."""
        return self.config["flags"]

    @property
    def objective(self) -> Choice:
        """What was predicted."""
        return OBJECTIVES.parse(self.flags["objective"])

    @property
    def n_folds(self) -> int:
        """The number of folds; 0 for a single run."""
        return len(self.result.get("folds", {}).get("values", []))

    @property
    def metric(self) -> str:
        """The name of the main metric in sentences."""
        name = self.result["metric"]
        return SHORT.get(name, name)

    def score(self, value: float | None) -> str:
        """Return a value of the main metric with its unit."""
        return format_score(value) + (UNITS.get(self.result["metric"], "") if value is not None else "")

    @property
    def judged(self) -> dict[str, Mapping[str, Any]]:
        """The numbers of each part that was judged, the test first; each with its baselines."""
        test, validation = self.result.get("test"), self.result.get("validation")
        found = {"test": test} if test else {}
        return found | ({"validation": validation | {"baselines": self.result["baselines"]}} if validation else {})


def facts_of(run: Run) -> Facts:
    """Return the facts of a run that has finished."""
    return Facts.of(run, read_result(run.folder), int(sessions(run.folder)[-1].name) + 1)


def headline(facts: Facts) -> str:
    """Return the result in a sentence."""
    part, record = next(iter(facts.judged.items()))
    value, ends = record["value"], record["interval"]
    if value is None:
        return f"The {part} {facts.metric} is undefined: {record['undefined'].get(facts.result['metric'], '')}."
    interval = f" (95 % interval {format_ends(facts, ends)})" if ends else ""
    text = f"{_capital(facts.metric)} {facts.score(value)}{interval} on {format_count(facts, part, record)}"
    known = {name: one for name, one in record["baselines"].items() if one is not None}
    if not known:
        return f"{text}."
    better = beaten_by(record, facts.result["direction"])
    if better:
        listed = [f"{format_baseline(facts, name)} ({facts.score(known[name])})" for name in better]
        return f"{text}; {wording.join(listed)} did as well, or better."
    sign = 1 if facts.result["direction"] == "max" else -1
    best = max(known, key=lambda name: sign * known[name])
    return f"{text}; the best baseline, {format_baseline(facts, best)}, reached {facts.score(known[best])}."


def leaks(facts: Facts) -> list[str]:
    """Return what the held-out images share with training, in a sentence each; empty if nothing was found."""
    n_folds = facts.n_folds
    each = facts.result["folds"]["leaks"] if n_folds else [facts.result["leaks"]]
    found: dict[str, list[int]] = {}
    for k, leaked in enumerate(each, 1):
        for text in _leaks_of(leaked):
            found.setdefault(text, []).append(k)
    if not n_folds:
        return [*found]
    return [f"Fold {', '.join(map(str, ks))}: {text[0].lower()}{text[1:]}" for text, ks in found.items()]


def _leaks_of(leaked: Mapping[str, Any]) -> list[str]:
    groups, texts = leaked.get("groups"), []
    if groups:
        texts.append(
            f"{groups['in_two_parts']} of {groups['n']} {groups['what']} were in training and in another part."
        )
    for part, found in leaked.get("near_duplicates", {}).items():
        if found["n"]:
            checked = f"{found['n']} of {found['checked']} {part} images that were checked"
            texts.append(f"At least {checked} had a near-duplicate in training.")
    for part, n in leaked.get("encoder", {}).items():
        if n:
            texts.append(f"The loaded encoder had been trained on {counted(n, f'{part} image')}.")
    return texts


# ----------------------------------------------------------------------------------------------------------- parts


def amount(n: int, noun: str) -> str:
    """Return a number with a noun, with commas between thousands: 70,000 images."""
    return counted(n, noun).replace(str(n), f"{n:,}", 1)


def format_groups(name: str, n: int) -> str:
    """Return a number of groups with their noun: 36 people, 1 person, 4 groups."""
    if n == 1:
        return f"1 {noun(name)}"
    plural = PEOPLE.get(name) or (f"{name}s" if name in NOUNS else "")
    return f"{n:,} {plural or 'groups'}"


def noun(name: str) -> str:
    """Return what one group is called, given the column that holds the groups."""
    if name == "block":
        return "block of frames"
    return name if name in PEOPLE or name in NOUNS else "group"


def format_count(facts: Facts, part: str, record: Mapping[str, Any]) -> str:
    """Return the number of images of a part, in how many groups they come, and how many of these are in training."""
    n, n_groups, n_known = record["n"], record["n_groups"], record["n_known_groups"]
    text = amount(n, f"{part} image")
    if not n_groups or n_groups == n or not facts.group:
        return text
    known = f", {'all' if n_known == n_groups else n_known} of whom were in training too" if n_known else ""
    known = known if facts.group in ("person", "subject", "participant") else known.replace("whom", "which")
    return f"{text} of {format_groups(facts.group, n_groups)}{known}"


def format_units(facts: Facts, record: Mapping[str, Any]) -> str:
    """Return over what an interval is: images, or groups of them."""
    n_groups = record["n_groups"]
    if not n_groups or n_groups == record["n"]:
        return "images"
    return PEOPLE.get(facts.group) or (f"{facts.group}s" if facts.group in NOUNS else "groups")


def format_baseline(facts: Facts, name: str) -> str:
    """Return what a baseline is."""
    return wording.baseline(name, facts.latent_dim)


def format_ends(facts: Facts, ends: Sequence[float]) -> str:
    """Return both ends of an interval of the main metric."""
    return f"{facts.score(ends[0])} to {facts.score(ends[1])}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
