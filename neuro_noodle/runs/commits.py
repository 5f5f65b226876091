"""Changes of a run's files that are made together or not at all; see `manifest`."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from neuro_noodle.choices import require
from neuro_noodle.runs.files import (
    BEST,
    CONFIG,
    FITTED_STATE,
    MANIFEST,
    RESULT,
    SPLIT,
    format_resume,
    json_bytes,
    read_json,
    sessions,
    short_path,
    stage,
    staged,
    sync_folder,
    write_bytes,
    writing,
)
from neuro_noodle.runs.manifest import Manifest, latest_manifest, read_manifest, sha256
from neuro_noodle.tracking.records import FILE as METRICS
from neuro_noodle.tracking.records import format_record, parse_records

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
        metrics = (run / METRICS).read_bytes() if (run / METRICS).is_file() else b""
        scratch = run / ".session.part"
        with _discarding(scratch, *(staged(run / name) for name in files)):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            for name, content in session.items():
                write_bytes(scratch / name, content)
            listed = {name: sha256(content) for name, content in session.items()}
            manifest = Manifest(listed, kept | _stage_changed(run, files, before), sha256(metrics), len(metrics))
            write_bytes(scratch / MANIFEST, json_bytes(asdict(manifest)))
        scratch.rename(run / str(epoch))
        sync_folder(run)
        settle(run, keep_all=keep_all)


def commit_files(run: Path, files: Contents) -> None:
    """Replace files of a run that belong together, all of them or none, and list them with the latest session."""
    with writing(run, format_resume(run)):
        before, session = latest_manifest(run), sessions(run)[-1]
        with _discarding(*(staged(run / name) for name in files)):
            listed = asdict(before) | {"run": before.run | _stage_changed(run, files, before)}
        write_bytes(session / MANIFEST, json_bytes(listed))
        settle(run, keep_all=True)


@contextmanager
def _discarding(*paths: Path) -> Iterator[None]:
    """Remove these paths after an error, since a full disk needs their space."""
    try:
        yield
    except BaseException:
        for path in paths:
            _remove(path)
        raise


def _remove(path: Path) -> None:
    """Remove a file or a folder if it exists."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _stage_changed(run: Path, files: Contents, before: Manifest) -> dict[str, str]:
    """Write contents that are new next to the files that they will replace; returns the sha256 of all."""
    values = {name: sha256(content) for name, content in files.items()}
    for name, content in files.items():
        if before.run.get(name) != values[name] or not (run / name).is_file():
            (run / name).parent.mkdir(exist_ok=True)
            stage(run / name, content)
    return values


def settle(run: Path, *, keep_all: bool) -> None:
    """Complete what the latest manifest says: staged files take their place, and what is out of date is removed.

    Results that are not listed, tests of weights that are gone, and half-written sessions are removed; earlier sessions
    too, unless all are kept.
    """
    complete, manifest = sessions(run), latest_manifest(run)
    for name, wanted in manifest.run.items():
        part = staged(run / name)
        if part.is_file() and sha256(part.read_bytes()) == wanted:
            part.replace(run / name)
            sync_folder(part.parent)
    for name in RESULTS if complete else ():
        if name not in manifest.run:
            (run / name).unlink(missing_ok=True)
    for session in [] if keep_all else complete[:-1]:
        session.rename(run / f".session.{session.name}.part")  # so that it is never seen half removed
    for scratch in run.glob(".session.*"):
        shutil.rmtree(scratch)
    _remove_old_tests(run, manifest)


def recover(run: Path, *, keep_all: bool) -> None:
    """Settle a run, and remove what a process that was killed has left in it."""
    settle(run, keep_all=keep_all)
    for part in run.rglob(".*.part"):
        _remove(part)


def _remove_old_tests(run: Path, manifest: Manifest) -> None:
    """Remove the results of --test for weights that the run no longer holds."""
    known = {manifest.run.get(BEST), *(read_manifest(one).session.get("model.pth") for one in sessions(run))}
    for tested in (run / "test", *run.glob("test-*")):
        if (tested / RESULT).is_file() and read_json(tested / RESULT).get("weights") not in known:
            shutil.rmtree(tested)
            print(f"note: removed {short_path(tested)}, a test of earlier weights", file=sys.stderr)


# ------------------------------------------------------------------------------------------------------- metrics


def read_metrics(run: Path) -> list[dict]:
    """Return the records of metrics.jsonl; prints a note if the file was damaged or changed since it was written."""
    content = (run / METRICS).read_bytes() if (run / METRICS).is_file() else b""
    records, n_damaged = parse_records(content)
    if not _is_intact(content, latest_manifest(run)):
        print(
            f"note: {short_path(run / METRICS)} is damaged, or was changed by hand: {n_damaged} of its lines cannot be "
            "read, others may be wrong",
            file=sys.stderr,
        )
    return records


def restore_metrics(run: Path, session: Path) -> None:
    """Keep only the epochs up to a session in the run's metrics.jsonl.

    A damaged file is kept as metrics.damaged.jsonl; the lines in it that can be read stay.

    Args:
        run: the folder of the run, or of a new run with a copy of metrics.jsonl.
        session: the session from which the run resumes.
    """
    path, manifest = run / METRICS, read_manifest(session)
    content = path.read_bytes() if path.is_file() else b""
    if _is_intact(content, manifest):
        write_bytes(path, content[: manifest.n_metrics])
        return
    records = [record for record in parse_records(content)[0] if record["epoch"] <= int(session.name)]
    aside = path.with_name(f"metrics.damaged-{len(list(run.glob('metrics.damaged-*'))) + 1}.jsonl")
    write_bytes(aside, content)
    write_bytes(path, b"".join(format_record(record).encode() for record in records))
    n_missing = int(session.name) + 1 - len(records)
    print(
        f"note: {short_path(path)} is damaged, or was changed by hand; {n_missing} epochs are missing from it, others "
        f"may be wrong; it is kept as {aside.name}",
        file=sys.stderr,
    )


def _is_intact(content: bytes, manifest: Manifest) -> bool:
    """Return whether metrics.jsonl begins as the manifest says."""
    return sha256(content[: manifest.n_metrics]) == manifest.metrics
