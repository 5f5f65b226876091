"""The plan of a sweep: its configurations, and the runs of each."""

import argparse
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from neuro_noodle import command
from neuro_noodle.choices import Choice, UserError, require
from neuro_noodle.runs.files import read_json
from neuro_noodle.sweeps.attempts import MAIN, Job
from neuro_noodle.sweeps.searches import SEARCHES
from neuro_noodle.sweeps.variations import Configuration, Variation

PLAN = "sweep.json"


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
        given = {word.removeprefix("--").removeprefix("no-") for word in self.words if word.startswith("--")}
        both = sorted(given & {one.name for one in self.variations})
        require(not both, f"--{' and --'.join(both)} vary, but are also given after --; leave out one of them")
        own = sorted(given & {"save_dir", "namestr", "experiment", "load_dir", "test", "list", "print_run", "debug"})
        require(not own, f"--{' and --'.join(own)} cannot be given after --: a sweep names and places its runs itself")
        require(
            not (self.seeds and "seed" in given), "--seed is given after --, and --seeds too; leave out one of them"
        )

    def configurations(self, scores: Sequence[float | None] = ()) -> list[Configuration]:
        """Return the configurations that are known, given the scores of the first ones."""
        return SEARCHES[self.search.name](self.variations, scores, **self.search.options)

    def jobs(self, configurations: Iterable[Configuration]) -> dict[str, list[Job]]:
        """Return the runs of each configuration by its name, one per seed."""
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
            UserError: if a command line is wrong.
        """
        each = []
        for configuration in configurations:
            try:
                each.append(command.resolve(command.parse([*self.words, *configuration.words], MAIN.parent)))
            except UserError as error:
                raise UserError(f"{configuration.name}: {error}") from None
        return each[0]

    def add(self, jobs: Sequence[Job]) -> dict[str, str]:
        """Return the flags of all runs of the sweep by their name, those of earlier commands included.

        Raises:
            UserError: if the folder holds another sweep, with other flags.
        """
        path = self.folder / PLAN
        saved = read_json(path)["runs"] if path.exists() else {}
        runs = {job.name: shlex.join(job.words) for job in jobs}
        changed = next((name for name in runs if saved.get(name, runs[name]) != runs[name]), None)
        if changed:
            raise UserError(
                f"{self.folder} holds another sweep: {changed} has the flags {saved[changed]}, not {runs[changed]}; "
                "choose another NAME"
            )
        return saved | runs


def describe_spread(flags: argparse.Namespace, n_seeds: int) -> str:
    """Return over what the numbers of a configuration spread, as text."""
    kinds = []
    if n_seeds > 1:
        kinds.append(f"{n_seeds} seeds of {'weights' if flags.split_seed is not None else 'split and weights'}")
    if flags.repetitions > 1:
        kinds.append(f"{flags.repetitions} repetitions with other weights on the same split")
    return " x ".join(kinds) or "a single run"
