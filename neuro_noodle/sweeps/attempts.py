"""An attempt at a run: start main.py, or resume what an earlier attempt has saved; in a process of the engine.

The lock of a run is passed to the training itself. So it is held until the training ends, even if the sweep was killed,
and the next attempt waits for it instead of training the same run twice.
"""

import contextlib
import fcntl
import os
import platform
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from neuro_noodle.choices import UserError
from neuro_noodle.runs.files import RESULT, folds_of, n_folds, read_json, sessions, write_json
from neuro_noodle.runs.lock import NO_LOCKS, OWNER

MAIN = Path(__file__).resolve().parents[2] / "main.py"
POLL_S = 0.1
FINISHED, FAILED, STOPPED, LOST, RUNNING, MISSING = "finished", "failed", "stopped", "lost", "running", "not started"
INTERRUPTED = 130  # exit status of a training that was asked to stop, and has saved
KILLED = (137, 143)  # as a shell reports a process that was killed


@dataclass(frozen=True)
class Job:
    """A run of a sweep.

    Attributes:
        sweep: the folder of the sweep.
        name: of the run, a folder in it.
        words: its command line, without --save_dir and --namestr.
        cwd: the folder in which the command line is meant.
        program: that trains.
    """

    sweep: Path
    name: str
    words: tuple[str, ...]
    cwd: Path = field(default_factory=Path.cwd)
    program: Path = field(default_factory=lambda: MAIN)

    @property
    def folder(self) -> Path:
        """Where the run is."""
        return self.sweep / self.name

    @property
    def is_finished(self) -> bool:
        """Whether the run has its result."""
        return (self.folder / RESULT).is_file()

    def log(self, ending: str) -> Path:
        """Return a file about the attempts: .txt is what they printed, .json their state."""
        return self.sweep / "logs" / f"{self.name}{ending}"

    @property
    def start(self) -> list[str]:
        """The first arguments of each attempt; a run draws no figures unless it has the flag --plot."""
        return [sys.executable, str(self.program), "--plot" if "--plot" in self.words else "--no-plot"]

    def command(self) -> list[str]:
        """Return the command line that starts a new run, as a list of arguments."""
        place = ["--save_dir", str(self.sweep), "--namestr", self.name, "--experiment", self.sweep.name]
        return [*self.start, *self.words, *place]

    def trained_runs(self) -> list[Path]:
        """Return the runs that main.py trains for it: itself, or its folds."""
        return folds_of(self.folder, n_folds(self.folder)) or [self.folder]

    def n_trained(self) -> int:
        """Return the number of epochs that have been saved."""
        return sum(int(sessions(run)[-1].name) + 1 for run in self.trained_runs() if sessions(run))

    def state(self) -> dict[str, Any]:
        """Return the state of the attempts: status, n_attempts, exit_status, host, pid."""
        try:
            return read_json(self.log(".json"))
        except UserError:
            return {"status": MISSING, "n_attempts": 0}


@dataclass(frozen=True)
class Share:
    """The part of a machine that one run may use.

    Attributes:
        n_threads: of the run; one per core, for two runs with two threads each on two cores take four times as long.
        cores: numbers of the cores on which it runs; empty for any.
        gpu: number (or name) of its GPU; None for those that it finds.
    """

    n_threads: int
    cores: Sequence[int] = ()
    gpu: str | None = None

    def environment(self) -> dict[str, str]:
        """Return the environment of a process with these threads and this GPU."""
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(self.n_threads))
        return os.environ | threads | ({} if self.gpu is None else {"CUDA_VISIBLE_DEVICES": self.gpu})


def attempt(job: Job, share: Share, stop: threading.Event | None = None) -> str:
    """Train a run to its end, unless it is finished; returns finished, failed or stopped.

    Args:
        job: the run.
        share: of the machine.
        stop: asks the training to save and stop; None if the engine sends it signals instead.
    """
    stop = stop or threading.Event()
    job.log("").parent.mkdir(parents=True, exist_ok=True)
    with _locked(job, stop) as lock:
        state = job.state()
        if job.is_finished:
            status = FINISHED
        elif stop.is_set():
            return STOPPED
        else:
            state = {"n_attempts": state["n_attempts"] + 1, "started": time.strftime("%Y-%m-%d %H:%M:%S")}
            write_json(job.log(".json"), state | {"status": RUNNING})
            state["exit_status"] = _train(job, state, share, stop, lock)
            status = _describe_end(job, state["exit_status"])
        write_json(job.log(".json"), state | {"status": status})
        return status


@contextlib.contextmanager
def _locked(job: Job, stop: threading.Event) -> Iterator[int]:
    """Hold the lock of a run, unless asked to stop while waiting; yields its file, which the training keeps open.

    On a file system without locks, only main.py keeps two processes from training the same run.
    """
    with job.log(".lock").open("wb") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (job.folder / OWNER).unlink(missing_ok=True)  # of a process that is dead, since its lock is free
            except BlockingIOError:
                if not stop.wait(POLL_S):
                    continue
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    raise
            break
        yield file.fileno()


def _train(job: Job, state: Mapping[str, Any], share: Share, stop: threading.Event, lock: int) -> int:
    """Run main.py until it ends; returns its exit status."""
    command = _prepare(job)
    with job.log(".txt").open("ab") as log:
        log.write(f"--- attempt {state['n_attempts']}, {state['started']}: {shlex.join(command[1:])}\n".encode())
        log.flush()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=job.cwd,
            env=share.environment(),
            pass_fds=[lock],
            start_new_session=True,  # Ctrl-C at the terminal goes to the sweep, which stops its trainings
        )
    where = {"host": platform.node(), "pid": process.pid}
    write_json(job.log(".json"), {**state, **where, "status": RUNNING})
    if share.cores and hasattr(psutil.Process, "cpu_affinity"):
        with contextlib.suppress(psutil.Error):
            psutil.Process(process.pid).cpu_affinity(list(share.cores))
    while process.poll() is None:
        if stop.wait(POLL_S):
            process.terminate()
            process.wait()
    return process.returncode


def _prepare(job: Job) -> list[str]:
    """Return the command line that continues a run, or starts it anew if nothing was saved."""
    if sessions(job.folder) or n_folds(job.folder):
        return [*job.start, "--load_dir", str(job.folder)]
    if job.folder.exists():
        shutil.rmtree(job.folder)
    return job.command()


def _describe_end(job: Job, exit_status: int) -> str:
    """Return what the exit status of main.py means."""
    if exit_status == 0 and job.is_finished:
        return FINISHED
    return STOPPED if exit_status < 0 or exit_status in (INTERRUPTED, *KILLED) else FAILED
