"""How a training uses memory and processor cores, and shares the cores with other trainings."""

import contextlib
import ctypes
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from neuro_noodle.learning.ranks import any_of, count, joined

try:
    import fcntl
except ImportError:  # Windows
    fcntl: Any = None  # type: ignore[no-redef]

TURN_S = 0.25  # a turn lasts at least so long, and until the end of a step
GRACE_S = 0.1  # if the turn is free for so long, the next in line is stopped, and any other may take it
MAX_WAIT_S = 60.0  # then the training that has the turn is stopped, or evaluates many images: compute without a turn
POLL_S = 0.002


@contextlib.contextmanager
def started(device: str) -> Iterator[None]:
    """Prepare this process for training on a device, the value of --device, and connect it to others, see `joined`."""
    keep_freed_memory()
    with joined(device):
        yield


def keep_freed_memory() -> None:
    """Keep freed memory in this process: each step allocates the same tensors again, and new pages are slow.

    Works with the allocator of the GNU C library; others are left as they are.
    """
    libc: Any = ctypes.CDLL(None) if fcntl else None  # Windows has no such library
    if hasattr(libc, "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4  # from malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, -1)


class Turns:
    """The right to compute, which trainings on the same cores pass on to each other between two steps.

    Without turns, each training has a thread on every core. Threads then wait for others that have no core, and
    oneDNN's convolutions wait without giving their core away: an arena epoch took 40 s in each of two trainings at
    once, and 6.6 s alone. Fewer threads would help too, but would change the rounding of sums, and so the result.

    There are two locks: the training that has `turn` computes, and a training that waits holds `next`, so that the
    first knows of it. Of several that wait, any may be next. A training takes no turns on a GPU, on Windows, with one
    thread, in several processes, or if OMP_NUM_THREADS is set, since its user has then divided the cores.

    Args:
        device: where the training computes.
        folder: of the two lock files; the system's temporary folder if None.
    """

    def __init__(self, device: torch.device, folder: Path | None = None) -> None:
        is_alone = device.type != "cpu" or torch.get_num_threads() == 1 or "OMP_NUM_THREADS" in os.environ or not fcntl
        is_alone = is_alone or count() > 1  # processes of one training wait for each other in every step
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        name = f"neuro_noodle-{sum(1 << core for core in cores):x}"
        folder = folder or Path(tempfile.gettempdir())
        self.paths = [] if is_alone else [folder / f"{name}.{lock}" for lock in ("turn", "next")]
        self.locks: list[int] = []
        self.has_turn = False
        self.turn_start_s = -TURN_S
        self.max_wait_s = MAX_WAIT_S

    def __enter__(self) -> "Turns":
        try:
            self.locks += map(_open, self.paths)
            for lock in self.locks:
                _lock(lock)
                _unlock(lock)
        except OSError:  # no temporary folder, or one that knows no locks
            self.__exit__()
        return self

    def __exit__(self, *_: object) -> None:
        for lock in self.locks:
            with contextlib.suppress(OSError):
                _unlock(lock)  # a forked process may keep the file open
            os.close(lock)
        self.locks = []

    def any(self, is_asked: bool) -> bool:
        """Return whether this process, or another one of the same training, was asked to stop."""
        return any_of(is_asked)

    def pass_on(self) -> None:
        """Let another training compute, if one waits and this turn has lasted long enough."""
        if not self.locks or time.monotonic() - self.turn_start_s < TURN_S:
            return
        turn, following = self.locks
        if self.has_turn:
            if _lock(following):  # nobody waits
                _unlock(following)
                return
            _unlock(turn)
        self._wait(turn, following)

    def _wait(self, turn: int, following: int) -> None:
        started = time.monotonic()
        while True:
            waited = time.monotonic() - started
            is_next = _lock(following)
            self.has_turn = (is_next or waited > GRACE_S) and _lock(turn)
            if self.has_turn or waited >= self.max_wait_s:
                break
            time.sleep(POLL_S)
        _unlock(following)
        self.max_wait_s = MAX_WAIT_S if self.has_turn else 0.0  # do not wait for a stopped training again
        self.turn_start_s = time.monotonic()


def _open(path: Path) -> int:
    """Open a lock file, which may belong to another user; create it if it is missing."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except PermissionError:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)


def _lock(file: int) -> bool:
    """Lock a file, unless another process has; returns whether it is locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unlock(file: int) -> None:
    fcntl.flock(file, fcntl.LOCK_UN)
