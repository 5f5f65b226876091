"""metrics.jsonl, compared with the manifest of a session."""

import sys
from pathlib import Path

from neuro_noodle.plain import counted
from neuro_noodle.runs.files import short_path, write_bytes
from neuro_noodle.runs.manifest import Manifest, latest_manifest, read_manifest, sha256
from neuro_noodle.tracking.records import FILE as METRICS
from neuro_noodle.tracking.records import format_record, parse_records


def read_metrics(run: Path) -> list[dict]:
    """Return the records of metrics.jsonl; prints a note if the file was damaged or changed since it was written."""
    manifest = latest_manifest(run)  # before the file, which only grows
    content = (run / METRICS).read_bytes() if (run / METRICS).is_file() else b""
    records, n_damaged = parse_records(content)
    if not _is_intact(content, manifest):
        print(
            f"note: {short_path(run / METRICS)} is damaged, or was changed by hand: {n_damaged} of its lines cannot be "
            "read, others may be wrong",
            file=sys.stderr,
        )
    return records


def restore_metrics(run: Path, session: Path) -> None:
    """Keep only the epochs up to a session in the run's metrics.jsonl.

    A damaged file is kept as metrics.damaged-1.jsonl; the lines in it that can be read stay.

    Args:
        run: the folder of the run, or of a new run with a copy of metrics.jsonl.
        session: the session from which the run resumes.
    """
    path, manifest = run / METRICS, read_manifest(session)
    content = path.read_bytes() if path.is_file() else b""
    if _is_intact(content, manifest):
        n_lost = content.count(b"\n", manifest.n_metrics)
        if n_lost and session.parent == run:  # a copy for a new run loses nothing
            lost = f"{counted(n_lost, 'epoch')} in {METRICS} had not been saved"
            print(f"note: {lost}; training continues from {short_path(session)}", file=sys.stderr)
        write_bytes(path, content[: manifest.n_metrics])
        return
    epochs = {record["epoch"]: record for record in parse_records(content)[0] if record["epoch"] <= int(session.name)}
    aside = path.with_name(f"metrics.damaged-{len(list(run.glob('metrics.damaged-*'))) + 1}.jsonl")
    write_bytes(aside, content)
    write_bytes(path, "".join(format_record(epochs[epoch]) for epoch in sorted(epochs)).encode())
    print(
        f"note: {short_path(path)} is damaged, or was changed by hand; {int(session.name) + 2 - len(epochs)} of its "
        f"lines are missing, others may be wrong; it is kept as {aside.name}",
        file=sys.stderr,
    )


def _is_intact(content: bytes, manifest: Manifest) -> bool:
    """Return whether metrics.jsonl begins as the manifest says."""
    return sha256(content[: manifest.n_metrics]) == manifest.metrics
