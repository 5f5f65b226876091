"""What a training leaves when it ends: the figures of its run, drawn in a few seconds."""

import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from neuro_noodle.plain import command_line, first_line, is_follower
from neuro_noodle.progress import say
from neuro_noodle.runs.files import PAGE, folds_of, n_folds, short_path
from neuro_noodle.runs.pooled import PooledFolds
from neuro_noodle.runs.run import run_of
from neuro_noodle.runs.task import Task
from neuro_noodle.views.report import write_report_of_folds, write_report_of_run

FAST = "pca"  # kind of the map


def leave_report(folder: Path, tasks: Sequence[Task]) -> None:
    """Draw the figures of a run that has just been trained, or of all folds, and print where they are.

    Nothing is drawn in the processes of torchrun after the first. An error is printed as a note, because the run is
    complete without its figures.

    Args:
        folder: of the run, or of the folds.
        tasks: of the run, or of each fold; their images are open already.
    """
    if is_follower():
        return
    where = short_path(folder)
    try:
        _write(folder, tasks)
    except Exception as error:
        again = command_line(f"Plotting/report.py {where}")
        print(f"note: the figures could not be drawn ({first_line(error)}); try again: {again}", file=sys.stderr)
    else:
        say(f"figures: {where}/figures ({PAGE} is in {where})")


def _write(folder: Path, tasks: Sequence[Task]) -> None:
    if n := n_folds(folder):
        runs = [run_of(fold, task) for fold, task in zip(folds_of(folder, n), tasks, strict=True)]
        deque(write_report_of_folds(PooledFolds(runs), folder), maxlen=0)
    else:
        deque(write_report_of_run(run_of(folder, tasks[0]), how=FAST), maxlen=0)
