"""How a training uses memory and processor cores, and shares the cores with other trainings."""

import contextlib
import ctypes
import fcntl
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

TURN_S = 0.25  # a turn lasts at least so long, and until the end of a step
MAX_WAIT_S = 60.0  # then the other training is stopped or evaluates many images, and this one no longer waits
POLL_S = 0.002


def keep_freed_memory() -> None:
    """Keep freed memory in this process: each step allocates the same tensors again, and new pages are slow.

    Works with the allocator of the GNU C library; others are left as they are.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        m_trim_threshold, m_mmap_max = -1, -4  # from malloc.h
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, -1)


class Turns:
    """The right to compute, which trainings on the same cores pass on to each other between two steps.

    Without turns, each training has a thread on every core. Threads then wait for others that have no core, and
    oneDNN's convolutions wait without giving their core away: two arena trainings at once took five times as long as
    one after the other. Fewer threads would help too, but would change the rounding of sums, and so the result.

    The holder of `turn` computes; one of those that wait holds `next`. The system releases the locks of a process that
    ends. A training takes part if it has a thread on every core it may use, as is the default, and more than one.

    Args:
        device: where the training computes; on a GPU there are no turns.
        folder: for the two lock files; the system's temporary folder if None.
    """

    def __init__(self, device: torch.device, folder: Path | None = None) -> None:
        cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self.takes_part = device.type == "cpu" and torch.get_num_threads() >= len(cores) > 1
        name = f"neuro_noodle-{sum(1 << core for core in cores):x}"
        self.paths = [(folder or Path(tempfile.gettempdir())) / f"{name}.{lock}" for lock in ("turn", "next")]
        self.locks: list[int] = []
        self.since = 0.0

    def __enter__(self) -> "Turns":
        try:
            self.locks = [_open(path) for path in self.paths] if self.takes_part else []
        except OSError:  # another user's file that must not be read, or no temporary folder
            self.takes_part = False
        self._wait()
        return self

    def __exit__(self, *_: Any) -> None:
        for lock in self.locks:
            os.close(lock)

    def pass_on(self) -> None:
        """Let another training compute, if one waits and the turn has lasted long enough."""
        if self.takes_part and time.monotonic() - self.since >= TURN_S and self._is_awaited():
            fcntl.flock(self.locks[0], fcntl.LOCK_UN)
            self._wait()

    def _is_awaited(self) -> bool:
        if not _lock(self.locks[1]):
            return True
        fcntl.flock(self.locks[1], fcntl.LOCK_UN)
        return False

    def _wait(self) -> None:
        """Wait for the own turn: first to be the next, then to be the one."""
        deadline = time.monotonic() + MAX_WAIT_S
        for lock in reversed(self.locks):
            while self.takes_part and not _lock(lock):
                self.takes_part = time.monotonic() < deadline
                time.sleep(POLL_S)
        if self.locks:
            fcntl.flock(self.locks[1], fcntl.LOCK_UN)
        self.since = time.monotonic()


def _open(path: Path) -> int:
    """Open a lock file, which may belong to another user, and make it if it does not exist."""
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDONLY)
    return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)


def _lock(file: int) -> bool:
    """Return whether the file could be locked at once."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
