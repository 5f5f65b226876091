"""A run is trained by one process at a time."""

import contextlib
import errno
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock, Timeout

from neuro_noodle.choices import UserError
from neuro_noodle.runs.files import read_json, short_path, write_json

LOCK = ".lock"  # held while a process trains the run; the system releases it when that process ends
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # errors of file systems without locks
OWNER = ".owner.json"  # describes that process; a killed one leaves it behind
CLOCK_S = 60.0  # by which a corrected clock may move the time at which a process started


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other processes from training a run.

    Raises:
        UserError: if another process trains it, or one on another host may do so.
    """
    lock = FileLock(run / LOCK)
    _acquire(lock, run)
    try:
        _require_no_owner(run)
        write_json(run / OWNER, _describe_self())
        try:
            yield
        finally:
            (run / OWNER).unlink(missing_ok=True)
    finally:
        lock.release()


def _acquire(lock: FileLock, run: Path) -> None:
    """Acquire the lock of a run, except on a file system without locks, where only its owner is known."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        owner = None
        with contextlib.suppress(UserError):  # damaged, but there is one
            owner = _read_owner(run)
        raise _busy(run, owner) from None
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise UserError(f"cannot write to {run}: {error.strerror}") from error


def _describe_self() -> dict[str, object]:
    started = time.strftime("%Y-%m-%d %H:%M:%S")
    created = psutil.Process().create_time()
    return {"pid": os.getpid(), "host": platform.node(), "started": started, "created": created}


def require_idle(run: Path) -> None:
    """Raise UserError if another process of this host is training a run.

    This is a check before the data are read; `locked` checks again.
    """
    owner = _read_owner(run)
    if owner and _still_runs(owner):
        raise _busy(run, owner)


def _require_no_owner(run: Path) -> None:
    """Raise UserError if the process that has trained the run last may still do so; prints a note if it was killed."""
    owner = _read_owner(run)
    if owner is None:
        return
    if owner.get("host") != platform.node():
        raise UserError(
            f"{_describe(owner)} was training {short_path(run)}, and did not exit cleanly; if it no longer runs there, "
            f"remove {short_path(run / OWNER)} and try again"
        )
    if _still_runs(owner):  # without locks, or because someone has removed the file of the lock
        raise _busy(run, owner)
    print(f"note: {_describe(owner)} was killed while it was training {short_path(run)}", file=sys.stderr)


def _read_owner(run: Path) -> dict[str, Any] | None:
    """Return the description of the process that trains a run, or was killed while it did; None if there is none.

    Raises:
        UserError: if it is damaged.
    """
    try:
        return read_json(run / OWNER)
    except UserError:
        if (run / OWNER).exists():
            raise
        return None


def _still_runs(owner: Mapping[str, Any]) -> bool:
    """Return whether an owner is a process of this host that still runs, rather than a later one with its number."""
    if owner.get("host") != platform.node() or owner.get("pid") == os.getpid():
        return False  # a container starts with the same number again
    with contextlib.suppress(psutil.Error, LookupError, OverflowError, TypeError, ValueError):
        return abs(psutil.Process(owner["pid"]).create_time() - owner["created"]) < CLOCK_S
    return False


def _busy(run: Path, owner: Mapping[str, Any] | None) -> UserError:
    return UserError(f"{_describe(owner)} is training {short_path(run)}; wait until it has finished")


def _describe(owner: Mapping[str, Any] | None) -> str:
    """Return which process an owner is, as text."""
    if owner is None:
        return "another process"
    return f"process {owner.get('pid')} on {owner.get('host')} (since {owner.get('started')})"
