"""Train one network on a set of images: open the data, build the model, run the training loop, judge the result."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the other imports ends without a traceback

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from neuro_noodle import command, process, progress
from neuro_noodle.runs import files

if TYPE_CHECKING:
    import train
    import utils
    from neuro_noodle.learning import ranks, sharing
    from neuro_noodle.runs.task import Task
    from neuro_noodle.tracking.trackers import Trackers

SETTINGS = Path(__file__).resolve().parent / "settings.json"


@process.guarded
def main(words: list[str]) -> int:
    """Run the command line; returns the exit status: 0, 2 for a user's mistake, 130 if interrupted."""
    flags = command.parse(words, SETTINGS.parent)
    if flags.list or flags.clear_cache:
        print(command.describe_tables() if flags.list else command.clear_cache(flags))
    elif flags.test:
        test(flags)
    else:
        with contextlib.redirect_stdout(sys.stderr if flags.print_run else sys.stdout):
            folder, status = run(flags, words)
        if flags.print_run:
            print(files.short_path(folder))
        return status
    return 0


def run(flags: argparse.Namespace, words: list[str]) -> tuple[Path, int]:
    """Train as the flags say; returns the folder of the run (or of all folds), and the exit status."""
    with progress.Stage("starting PyTorch"):  # here, so that --help answers at once
        import utils
        from neuro_noodle.learning import sharing
        from neuro_noodle.runs import folds, sessions
        from neuro_noodle.tracking.trackers import require_ready
    with sharing.started(flags.device):  # together with the other processes of this training, if there are any
        flags = utils.arrange_by_emotion(command.resolve(flags))
        require_ready(command.chosen_trackers(flags), SETTINGS)
        if flags.folds:
            with folds.opened(flags.load_dir or files.new_run(flags.save_dir, flags.namestr)) as folder:
                each, resumed = command.split_folds(flags, folder), folds.find_sessions(folder, flags.folds)
                tasks = utils.open_tasks(flags, each, resumed)
                trainings = [partial(train_run, words, *one) for one in zip(each, resumed, tasks, strict=True)]
                status = folds.train_folds(folder, tasks, trainings, flags.batch_size)
        else:
            saved = sessions.find_resumed(flags.load_dir, command.plain(flags))  # to resume; None for a new run
            tasks = utils.open_tasks(flags, [flags], [saved])
            folder, status = train_run(words, flags, saved, *tasks)
    if flags.plot and not status:
        from neuro_noodle.views.ending import leave_report

        leave_report(folder, tasks)
    return folder, status


def train_run(words: list[str], flags: argparse.Namespace, saved: Path | None, task: "Task") -> tuple[Path, int]:
    """Train one run from the beginning or from a saved session; returns its folder, and the exit status."""
    import model
    import train
    import utils
    from neuro_noodle.learning import ranks, sharing
    from neuro_noodle.runs import result, result_text, sessions, split
    from neuro_noodle.tracking.trackers import Trackers

    started = time.monotonic()
    description = model.describe(flags, task, saved)  # shapes, precision
    network, latents = model.build(flags, task, description, saved)  # fitted, loaded; latents of a fixed encoder
    loaders = utils.dataloaders(flags, task, latents)
    learning = train.prepare(flags, network, task.objective)  # optimizer, schedule, patience, best weights
    state = sessions.load_state(saved, loaders["training"], learning, task.device)
    finished = sessions.settle_finished(saved, state["epoch"] + 1, learning)
    ranks.begin(network, latents, (description, state["epoch"], split.named(task.parts, task.dataset)))
    records = train.fit(network, loaders, learning, state["epoch"] + 1, flags.test_every)
    train_on = partial(loop, records, network, loaders, learning, sharing.Turns(task.device))
    if not ranks.is_writer():
        return Path(), 0 if finished or train_on(ranks.Follower(), ranks.Follower()) else 130
    with utils.open_session(flags, words, task, description, saved, state, started) as session:
        session.begin(network, latents, loaders["training"], learning)
        try:
            with Trackers(command.chosen_trackers(flags), session.tracked(SETTINGS, loaders["training"])) as trackers:
                if finished := finished or train_on(session, trackers):
                    outcome = result.judge_run(network, task, loaders, learning.patience, flags.seed, session.seconds)
                    result.save_result(session.folder, outcome, task)
                    result.track(outcome, task, loaders["validation"], trackers, with_images=flags.log_images)
                    progress.say(result_text.format_run(outcome, session.folder, flags.patience, flags.folds))
                session.send_assets(trackers)
        except KeyboardInterrupt:
            finished = False
        if not finished:
            print(f"stopped; {files.format_resume(session.folder)}", file=sys.stderr)
        return session.folder, 0 if finished else 130


def loop(
    records: Iterator["train.Record"],
    network: "utils.Model | utils.Repetitions",
    loaders: "dict[str, utils.Loader]",
    learning: "train.Learning",
    turns: "sharing.Turns",
    session: "utils.Session | ranks.Follower",
    trackers: "Trackers | ranks.Follower",
) -> bool:
    """Train, log, save and keep the best weights; returns False if training was interrupted."""
    with process.Interrupt() as interrupt, turns:
        for record in records:  # one after each step
            turns.pass_on()
            trackers.progress(record.epochs)
            session.save_snapshots(record.epochs, network, loaders["training"])
            if record.ends_epoch:
                learning.update(record, network)  # best weights, patience, learning rate
                trackers.log(record.epoch, record.metrics)
                stops = learning.has_finished(record.epoch + 1) or turns.any(interrupt.requested)
                if record.epochs and (stops or session.is_due(record.epoch)):
                    session.save(record.epoch, network, loaders["training"], learning)
                if stops:
                    return learning.has_finished(record.epoch + 1)
    return True


def test(flags: argparse.Namespace) -> None:
    """Judge the run of --load_dir on its test part, or on other images: numbers, a row per image, pictures, a film."""
    with progress.Stage("starting PyTorch"):
        from neuro_noodle.runs.task import TaskSource
        from neuro_noodle.views.report import write_test

    how = {"device": flags.device, "batch_size": flags.batch_size, "trust_pickle": flags.trust_pickle}
    for path in write_test(flags.load_dir, TaskSource.of(vars(command.resolve(flags))), **how):
        print(files.short_path(path), flush=True)


if __name__ == "__main__":
    sys.exit(main())
