"""Changes of a run's files that are made together or not at all; see `manifest`."""

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from neuro_noodle.choices import UserError, require
from neuro_noodle.runs.files import (
    BEST,
    CONFIG,
    FITTED_STATE,
    MANIFEST,
    PAGE,
    RESULT,
    SPLIT,
    format_resume,
    is_left,
    put_back,
    read_json,
    sessions,
    short_path,
    stage,
    staged,
    sync_folder,
    write_bytes,
    writing,
)
from neuro_noodle.runs.manifest import Manifest, is_sha256, latest_manifest, read_manifest, sha256
from neuro_noodle.tracking.records import FILE as METRICS

KEPT = (CONFIG, SPLIT, FITTED_STATE)
RESULTS = (RESULT, "validation.csv", "test.csv")  # of the last epoch; a further one makes them out of date

Contents = Mapping[str, bytes]


def commit_session(run: Path, epoch: int, session: Contents, files: Contents, *, keep_all: bool) -> None:
    """Save a session and the files of the run that belong to it, all of them or none.

    Args:
        run: the folder of the run.
        epoch: the epoch just trained, from 0.
        session: contents of the files of the session, by name.
        files: contents of files of the run, by path in it.
        keep_all: keep earlier sessions.
    """
    require(run.is_dir(), f"{run} was removed while it was being trained")
    with writing(run / str(epoch), format_resume(run)):
        before = latest_manifest(run)
        kept = {name: value for name, value in before.run.items() if name not in RESULTS}
        kept |= {
            name: sha256((run / name).read_bytes()) for name in KEPT if name not in kept and (run / name).is_file()
        }
        metrics = _read_flushed(run / METRICS)
        scratch = run / ".session.part"
        with _discarding(scratch, *(staged(run / name) for name in files)):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            for name, content in session.items():
                write_bytes(scratch / name, content)
            listed = {name: sha256(content) for name, content in session.items()}
            manifest = Manifest(epoch, listed, kept | _stage_changed(run, files), sha256(metrics), len(metrics))
            write_bytes(scratch / MANIFEST, manifest.seal())
        _set_aside(run / str(epoch))
        scratch.rename(run / str(epoch))
        sync_folder(run)
        settle(run, keep_all=keep_all)


def _read_flushed(path: Path) -> bytes:
    """Return the content of a file, which is then on the disk; nothing if there is no such file."""
    if not path.is_file():
        return b""
    with path.open("r+b") as file:
        os.fsync(file.fileno())
        return file.read()


def commit_files(run: Path, files: Contents) -> None:
    """Replace files of a run that belong together, all of them or none, and list them with the latest session."""
    with writing(run, format_resume(run)):
        before, session = latest_manifest(run), sessions(run)[-1]
        with _discarding(*(staged(run / name) for name in files)):
            manifest = replace(before, run=before.run | _stage_changed(run, files))
        write_bytes(session / MANIFEST, manifest.seal())
        settle(run, keep_all=True)


@contextlib.contextmanager
def _discarding(*paths: Path) -> Iterator[None]:
    """Remove these paths after an error, since a full disk needs their space."""
    try:
        yield
    except BaseException:
        for path in paths:
            _remove(path)
        raise


def _set_aside(folder: Path) -> None:
    """Rename a folder that is in the place of a session."""
    if folder.exists():
        aside = folder.with_name(f"{folder.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        folder.rename(aside)
        print(f"note: {short_path(folder)} was no session; it is now {aside.name}", file=sys.stderr)


def _remove(path: Path) -> None:
    """Remove a file or a folder if it exists; of a link, only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _stage_changed(run: Path, files: Contents) -> dict[str, str]:
    """Write contents that are new next to the files that they will replace; returns the sha256 of all."""
    values = {name: sha256(content) for name, content in files.items()}
    for name, content in files.items():
        if not (run / name).is_file() or sha256((run / name).read_bytes()) != values[name]:
            (run / name).parent.mkdir(exist_ok=True)
            stage(run / name, content)
            sync_folder((run / name).parent)
    return values


def settle(run: Path, *, keep_all: bool) -> None:
    """Complete what the latest manifest says: staged files take their place, and what is out of date is removed.

    Results that are not listed, the page about them, tests of weights that are gone, and half-written sessions are
    removed; earlier sessions too, unless all are kept.
    """
    complete, manifest = sessions(run), latest_manifest(run)
    for name, wanted in manifest.run.items():
        part = staged(run / name)
        if part.is_file() and sha256(part.read_bytes()) == wanted:
            part.replace(run / name)
            sync_folder(part.parent)
    outdated = [name for name in RESULTS if name not in manifest.run]
    outdated += [PAGE] if RESULT in outdated else []
    for name in outdated if complete else ():
        (run / name).unlink(missing_ok=True)
    for session in [] if keep_all else complete[:-1]:
        session.rename(run / f".session.{session.name}.part")  # so that it is never seen half removed
    for scratch in run.glob(".session.*"):
        _remove(scratch)
    _remove_old_tests(run, manifest)


def recover(run: Path, *, keep_all: bool) -> None:
    """Settle a run, and remove what a process that was killed has left in it."""
    settle(run, keep_all=keep_all)
    put_back(run)
    for part in filter(is_left, run.rglob(".*.part")):
        _remove(part)


def _remove_old_tests(run: Path, manifest: Manifest) -> None:
    """Remove the results of --test for weights that the run no longer holds; other folders of such names stay."""
    try:
        known = {manifest.run.get(BEST), *(read_manifest(one).session.get("model.pth") for one in sessions(run))}
    except UserError:  # a damaged session is reported when it is opened
        return
    for tested in (run / "test", *run.glob("test-*")):
        with contextlib.suppress(UserError):
            weights = read_json(tested / RESULT).get("weights")
            if is_sha256(weights) and weights not in known:
                shutil.rmtree(tested)
                print(f"note: removed {short_path(tested)}, a test of earlier weights", file=sys.stderr)
