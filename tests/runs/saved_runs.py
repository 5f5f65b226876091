"""Small runs on disk, and a process that is killed while it writes one."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from helpers import write_config

from neuro_noodle.networks.base import build_model
from neuro_noodle.runs.files import new_run
from neuro_noodle.runs.sessions import save_session

OPERATIONS = ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")  # of os: all that change what a kill leaves


def new_saved_run(folder: Path) -> Path:
    """Return the folder of a run that has a config.json."""
    run = new_run(folder, "run")
    write_config(run)
    return run


def save(run: Path, epoch: int, weight: float = 0.0, keep_all: bool = False) -> None:
    """Save a session all of whose weights have the same value; it is 100 more in the best weights."""
    model = build_model("fc hidden=3", "linear", (1, 2, 2), (2,), 2, "fp32")
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, weight)
    best = {key: value + 100 for key, value in model.state_dict().items()}
    learning = SimpleNamespace(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), best_weights=best)
    files = {"config.json": (run / "config.json").read_bytes()}
    save_session(run, epoch, model, learning, {"epoch": epoch}, files, keep_all=keep_all)


class Killed(BaseException):
    """The process was killed."""


def kill_after(patch: pytest.MonkeyPatch, n_operations: int) -> None:
    """Kill this process, as it seems to the program, at its next operation on files after so many.

    A file that is being written then is left with half of its content.
    """
    count = [0]

    def wrap(name: str) -> None:
        true = getattr(os, name)

        def operate(target, *arguments, **options):
            count[0] += 1
            if count[0] > n_operations:
                if name == "fsync" and count[0] == n_operations + 1 and not Path(f"/proc/self/fd/{target}").is_dir():
                    os.ftruncate(target, os.fstat(target).st_size // 2)
                raise Killed
            return true(target, *arguments, **options)

        patch.setattr(os, name, operate)

    for name in OPERATIONS:
        wrap(name)


def kills(operate, after) -> int:
    """Call `operate` again and again, killed one step later each time, and `after` once each; returns the number."""
    n_done = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            kill_after(patch, n_done)
            try:
                operate()
            except Killed:
                n_done += 1
            else:
                return n_done
        after()
