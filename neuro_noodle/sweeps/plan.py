"""The plan of a sweep: its configurations, and the runs of each."""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuro_noodle import command
from neuro_noodle.choices import Choice, UserError, require
from neuro_noodle.flags import EVERY_FLAG
from neuro_noodle.runs.files import read_json
from neuro_noodle.sweeps.attempts import MAIN, Job
from neuro_noodle.sweeps.searches import SEARCHES
from neuro_noodle.sweeps.variations import Configuration, Variation

PLAN = "sweep.json"
OWN = {"save_dir", "namestr", "experiment", "rejig_data"} | {
    name for name, flag in EVERY_FLAG.items() if not flag.recorded and name not in ("trust_pickle", "plot")
}  # flags that the runs of a sweep cannot have


@dataclass(frozen=True)
class Plan:
    """What a sweep trains.

    Attributes:
        folder: of the sweep.
        variations: what varies.
        search: which combinations are trained.
        seeds: of each configuration; none for the seed of its flags.
        words: flags of all runs.
    """

    folder: Path
    variations: Sequence[Variation]
    search: Choice
    seeds: Sequence[int]
    words: Sequence[str]

    def __post_init__(self) -> None:
        varied = [one.name for one in self.variations]
        require(len(set(varied)) == len(varied), f"--vary {max(varied, key=varied.count, default='')} is given twice")
        _require_free(self.words, varied, bool(self.seeds), "after --")
        for one in self.variations:
            for setting in one.settings:
                others = [name for name in varied if name != one.name]
                _require_free(setting.words, others, bool(self.seeds), f"in {setting.name} {setting.label}")

    def configurations(self, scores: Sequence[float | None] = ()) -> list[Configuration]:
        """Return the configurations that are known, given the scores of the first ones."""
        return SEARCHES[self.search.name](self.variations, scores, **self.search.options)

    def jobs(self, configurations: Sequence[Configuration]) -> dict[str, list[Job]]:
        """Return the runs of each configuration by its name, one per seed."""
        named = {one.name.casefold(): one for one in configurations}
        for one in configurations:
            require(
                named[one.name.casefold()].words == one.words,
                f"two configurations would have the name {one.name}; name them in a file, with --configurations",
            )
        return {
            one.name: [
                Job(self.folder, f"{one.name},seed={seed}", (*self.words, *one.words, "--seed", str(seed)))
                for seed in self.seeds
            ]
            or [Job(self.folder, one.name, (*self.words, *one.words))]
            for one in configurations
        }

    def check(self, configurations: Sequence[Configuration]) -> argparse.Namespace:
        """Return the flags of the first configuration.

        Raises:
            UserError: if a command line is wrong, or if the configurations have different metrics.
        """
        each = []
        for configuration in configurations:
            try:
                each.append(command.resolve(command.parse([*self.words, *configuration.words], MAIN.parent)))
            except UserError as error:
                raise UserError(f"{configuration.name}: {error}") from None
        objectives = command.load_tables()["objective"]
        metrics = [objectives.build(flags.objective).metric for flags in each]
        require(
            len(set(metrics)) == 1,
            "configurations with different metrics cannot be compared; make a sweep for each: "
            + ", ".join(f"{one.name} has {metric}" for one, metric in zip(configurations, metrics, strict=True)),
        )
        require(
            not (each[0].folds and each[0].repetitions > 1),
            "--folds tests only the best of --repetitions, so a sweep cannot show both; leave out one of them",
        )
        return each[0]

    def saved(self) -> dict[str, Any]:
        """Return what an earlier command has written to sweep.json: flags of runs, scores of configurations.

        Raises:
            UserError: if the folder holds something else than a sweep.
        """
        path = self.folder / PLAN
        if path.exists():
            return read_json(path)
        others = [one.name for one in self.folder.glob("[!.]*") if one.name not in ("engine", "logs")]
        require(not others, f"{self.folder} holds {others[:1]}, but no sweep; choose another NAME")
        return {}

    def all_runs(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Return the flags of all runs of the sweep by their name, those of earlier commands included.

        Raises:
            UserError: if the folder holds another sweep, with other flags.
        """
        saved = self.saved().get("runs", {})
        runs = {job.name: shlex.join(job.words) for job in jobs}
        changed = next((name for name in runs if saved.get(name, runs[name]) != runs[name]), None)
        if changed:
            raise UserError(
                f"{self.folder} holds another sweep: {changed} has the flags {saved[changed]}, not {runs[changed]}; "
                "choose another NAME"
            )
        return saved | runs


def _require_free(words: Sequence[str], varied: Sequence[str], has_seeds: bool, where: str) -> None:
    """Raise UserError if words of the command line hold flags that the sweep sets itself."""
    given = {word.partition("=")[0].removeprefix("--").removeprefix("no-") for word in words if word.startswith("--")}
    both = sorted(given & set(varied))
    require(not both, f"--{' and --'.join(both)} is varied, but also given {where}; leave out one of them")
    own = sorted(given & OWN)
    require(
        not own, f"--{' and --'.join(own)} cannot be given {where}: a sweep names, places and starts its runs itself"
    )
    require(not (has_seeds and "seed" in given), f"--seed is given {where}, and --seeds too; leave out one of them")


def describe_spread(flags: argparse.Namespace, n_seeds: int) -> str:
    """Return over what the numbers of a configuration spread, as text."""
    kinds = []
    if n_seeds > 1:
        kinds.append(f"{n_seeds} seeds of {'weights' if flags.split_seed is not None else 'split and weights'}")
    if flags.repetitions > 1:
        kinds.append(f"{flags.repetitions} repetitions with other weights on the same split")
    if flags.folds:
        kinds.append(f"{flags.folds} folds, whose test images are judged together")
    return " x ".join(kinds) or "a single run"
