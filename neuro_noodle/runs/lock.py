"""A run is trained by one process at a time."""

import errno
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from neuro_noodle.choices import UserError
from neuro_noodle.runs.files import is_running, read_json, short_path, write_json

LOCK = ".lock"  # held while a process trains the run; the system releases it when that process ends
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # errors of file systems without locks
OWNER = ".owner.json"  # describes that process; a killed one leaves it behind


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keep other processes from training a run.

    Raises:
        UserError: if another process trains it, or one on another host may do so.
    """
    lock = FileLock(run / LOCK)
    is_locked = _acquire(lock, run)
    try:
        _require_no_owner(run, is_locked=is_locked)
        owner = {"pid": os.getpid(), "host": platform.node(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
        write_json(run / OWNER, owner)
        try:
            yield
        finally:
            (run / OWNER).unlink(missing_ok=True)
    finally:
        lock.release()


def _acquire(lock: FileLock, run: Path) -> bool:
    """Acquire the lock of a run; returns False on a file system without locks."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{_describe(run)} is training {short_path(run)}; wait until it has finished") from None
    except (NotImplementedError, OSError) as error:
        if isinstance(error, NotImplementedError) or error.errno in NO_LOCKS:
            return False
        raise UserError(f"cannot write to {run}: {error.strerror}") from error
    return True


def _require_no_owner(run: Path, *, is_locked: bool) -> None:
    """Raise UserError if the process that has trained the run last may still do so; prints a note if it was killed."""
    if not (run / OWNER).is_file():
        return
    owner = read_json(run / OWNER)
    if owner.get("host") != platform.node():
        raise UserError(
            f"{_describe(run)} was training {short_path(run)}, and did not exit cleanly; if it no longer runs there, "
            f"remove {short_path(run / OWNER)} and try again"
        )
    if not is_locked and not (type(owner.get("pid")) is int and not is_running(owner["pid"])):
        raise UserError(f"{_describe(run)} is training {short_path(run)}; wait until it has finished")
    print(f"note: {_describe(run)} was killed while it was training {short_path(run)}", file=sys.stderr)


def _describe(run: Path) -> str:
    """Return which process trains a run, as text."""
    try:
        owner = read_json(run / OWNER)
    except UserError:
        return "another process"
    return f"process {owner.get('pid')} on {owner.get('host')} (since {owner.get('started')})"
