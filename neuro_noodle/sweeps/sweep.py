"""A sweep from start to end: train its runs on an engine, whatever stops them, and write its tables and pictures."""

import contextlib
import shlex
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from neuro_noodle.choices import Choice
from neuro_noodle.progress import Stage
from neuro_noodle.runs.files import short_path, write_json
from neuro_noodle.runs.lock import LOCK, locked
from neuro_noodle.sweeps.attempts import Job
from neuro_noodle.sweeps.engines import ENGINES, Submit
from neuro_noodle.sweeps.outcomes import score
from neuro_noodle.sweeps.pictures import write_pictures
from neuro_noodle.sweeps.plan import PLAN, Plan, describe_spread
from neuro_noodle.sweeps.table import collect, format_outcome, write_tables
from neuro_noodle.sweeps.training import Training


def print_commands(plan: Plan) -> None:
    """Print the command line of each run of a sweep."""
    configurations = plan.configurations()
    plan.check(configurations)
    for jobs in plan.jobs(configurations).values():
        for job in jobs:
            print(shlex.join(["python", *job.command()[1:]]))


def train_sweep(plan: Plan, engine: Choice, retries: int) -> int:
    """Train the runs of a sweep that are not finished yet, write its tables and print them; returns the exit status.

    Args:
        plan: what to train.
        engine: where to train.
        retries: how often a run that was stopped or killed is resumed.
    """
    with _opened(plan.folder), contextlib.ExitStack() as stack:
        known: dict[str, float | None] = plan.saved().get("scores", {})  # a search repeats itself with the same scores
        scores: list[float | None] = []
        submit: Submit | None = None
        tried: set[str] = set()
        while True:
            with Stage("reading flags"):
                configurations = plan.configurations(scores)
                flags = plan.check(configurations)
            jobs = plan.jobs(configurations)
            every = _by_seed(jobs.values())
            runs = plan.all_runs(every)
            missing = [job for job in every if not job.is_finished and job.name not in tried]
            if not missing and len(scores) >= len(configurations):
                break
            if missing:
                submit = submit or stack.enter_context(ENGINES.build(engine, plan.folder))
                write_json(plan.folder / PLAN, {"runs": runs, "scores": known})
                Training(submit, len(every), len(every) - len(missing), retries).train(missing)
                tried |= {job.name for job in missing}
            known = {one.name: score(jobs[one.name]) for one in configurations} | known
            scores = [known[one.name] for one in configurations]
            write_json(plan.folder / PLAN, {"runs": runs, "scores": known})
    distinct = list({one.name: one for one in configurations}.values())
    outcome = collect(plan.folder, distinct, jobs, plan.seeds, describe_spread(flags, len(plan.seeds)))
    print(*format_outcome(outcome), *map(short_path, write_tables(outcome)), sep="\n")
    print(*map(short_path, write_pictures(outcome, jobs)), sep="\n")
    return 0 if all(job.is_finished for job in every) else 1


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[None]:
    """Keep other processes from running a sweep; its folder is removed if no run is planned at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder):
            yield
    finally:
        if not (folder / PLAN).exists():
            (folder / LOCK).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # it holds something else
                folder.rmdir()


def _by_seed(jobs: Iterable[Sequence[Job]]) -> list[Job]:
    """Return all runs, those with the first seed of each configuration first, each once."""
    return list({job.name: job for of_seed in zip(*jobs, strict=True) for job in of_seed}.values())
