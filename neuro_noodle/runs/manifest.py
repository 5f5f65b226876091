"""The manifest of a session: the sha256 of its files and of the run's, so that damage is noticed and no two disagree.

Files of a run that belong together change together. Their new contents are written next to them (`.NAME.part`), then
the manifest that lists the sha256 of each is written, then each takes its place. A kill at any instant leaves the
manifest before or the one after; `commits.settle` completes what the manifest says.
"""

import hashlib
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path

from neuro_noodle.choices import UserError, require
from neuro_noodle.runs.files import BEST, MANIFEST, RESULT, find_session, json_bytes, read_json, sessions, staged

SEAL = "sha256"  # of the rest of a manifest
N_TRIES = 5  # a run may save a session while another process reads it


@dataclass(frozen=True)
class Manifest:
    """What a manifest.json holds.

    Attributes:
        epoch: of the session, from 0; -1 before the first.
        session: sha256 of each file of the session, by name.
        run: sha256 of each file of the run, by path in it.
        metrics: sha256 of the first n_metrics bytes of metrics.jsonl, those of the epochs up to the session.
        n_metrics: number of these bytes.
    """

    epoch: int = -1
    session: dict[str, str] = field(default_factory=dict)
    run: dict[str, str] = field(default_factory=dict)
    metrics: str = hashlib.sha256().hexdigest()
    n_metrics: int = 0

    def seal(self) -> bytes:
        """Return the content of manifest.json, which ends with its own sha256."""
        content = asdict(self)
        return json_bytes(content | {SEAL: sha256(json_bytes(content))})


def sha256(data: bytes) -> str:
    """Return the sha256 of bytes, as hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def is_sha256(value: object) -> bool:
    """Return whether a value is the sha256 of something, as hexadecimal digits."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def read_manifest(session: Path) -> Manifest:
    """Read the manifest of a session.

    Raises:
        UserError: if it is damaged, or if the folder of the session was renamed.
    """
    content = read_json(session / MANIFEST)
    seal = content.pop(SEAL, None)
    is_whole = seal == sha256(json_bytes(content)) and _is_manifest(content)
    require(is_whole, f"{session / MANIFEST} is damaged, or was changed by hand; use another session")
    paths = [Path(name) for name in (*content["session"], *content["run"])]
    require(
        not any(path.is_absolute() or ".." in path.parts for path in paths),
        f"{session / MANIFEST} lists files of other folders",
    )
    require(
        content["epoch"] == int(session.name),
        f"{session} holds epoch {content['epoch']}; rename the folder to that",
    )
    return Manifest(**content)


def _is_manifest(content: dict) -> bool:
    """Return whether the content of a file has the fields of a manifest, with values of their types."""
    if content.keys() != asdict(Manifest()).keys():
        return False
    listed = [content[key] for key in ("session", "run")]
    are_listed = [isinstance(one, dict) and all(map(is_sha256, one.values())) for one in listed]
    are_whole = [type(content[key]) is int and content[key] >= 0 for key in ("epoch", "n_metrics")]
    return all(are_listed) and all(are_whole) and is_sha256(content["metrics"])


def latest_manifest(run: Path) -> Manifest:
    """Return the manifest of a run's latest session, even if another one is being saved; without any, an empty one."""
    for _ in range(N_TRIES):
        complete = sessions(run)
        if not complete:
            return Manifest()
        try:
            return read_manifest(complete[-1])
        except UserError:
            if complete == sessions(run):
                raise
    raise UserError(f"{run} keeps changing, because it is being trained; try again")


def read_checked(path: Path) -> bytes:
    """Read a file of a session or of a run, and compare its sha256 with the manifest.

    Raises:
        UserError: if the file is missing, damaged, or of another session than the rest.
    """
    if (path.parent / MANIFEST).is_file():
        return _read_matching(path, [path], read_manifest(path.parent).session.get(path.name))
    run = path.parent.parent if path.parent.name == "best" else path.parent
    for _ in range(N_TRIES):
        before = sessions(run)
        try:
            wanted = latest_manifest(run).run.get(path.relative_to(run).as_posix())
            return _read_matching(path, [path, staged(path)], wanted)
        except UserError:
            if before == sessions(run):
                raise
    raise UserError(f"{path} keeps changing, because {run} is being trained; try again")


def _read_matching(path: Path, places: list[Path], wanted: str | None) -> bytes:
    """Return the content of the first place that has this sha256; without one, of the first that exists."""
    found = None
    for place in filter(Path.is_file, places):
        found = place.read_bytes()
        if wanted in (None, sha256(found)):
            return found
    require(found is not None, f"{path} is missing; restore it from a copy, or use another session")
    raise UserError(
        f"{path} is damaged, or was changed by hand: its sha256 is not that in {MANIFEST}; restore it from a copy, or "
        "use another session"
    )


def best_session(load_dir: Path) -> Path:
    """Return the session that a path names; for a run, the one with the best weights."""
    run, session = find_session(load_dir)
    return run / "best" if load_dir == run and BEST in latest_manifest(run).run else session


def has_result(run: Path) -> bool:
    """Return whether a run has the result of its last epoch."""
    return RESULT in latest_manifest(run).run
