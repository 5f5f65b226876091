"""Files of a run: which session a path names, and writing that is never half done."""

import contextlib
import csv
import json
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from neuro_noodle.choices import UserError
from neuro_noodle.plain import cell, format_json, read_json

Columns = Mapping[str, Sequence]


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces `path` once it is complete; after an error `path` is as before.

    The file is flushed to the disk before it is renamed, so that a kill or a power cut at any instant leaves either
    the old content or the new.
    """
    scratch = path.with_name(f".{path.name}.part")
    try:
        yield scratch
        with scratch.open("rb") as file:
            os.fsync(file.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise UserError for what can go wrong in reading a damaged .npy or .npz file."""
    try:
        yield
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def write_json(path: Path, content: object) -> None:
    """Write a JSON file, with null for numbers that are not finite."""
    with atomic(path) as scratch:
        scratch.write_text(format_json(content, indent=2) + "\n", encoding="utf-8")


def write_csv(path: Path, columns: Columns) -> None:
    """Write columns of equal length as a CSV file, see `plain.cell`."""
    write_table(path, list(columns), zip(*columns.values(), strict=True))


def write_table(path: Path, names: Sequence[str], rows: Iterable[Iterable]) -> None:
    """Write rows below the names of their columns as a CSV file, see `plain.cell`."""
    with atomic(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(map(cell, names))
        writer.writerows(map(cell, row) for row in rows)


def by_epochs(folder: Path) -> dict[float, Path]:
    """Return the npz files of a folder that are named by epochs trained, in order of time."""
    found = {}
    for path in folder.glob("[0-9]*.npz"):
        with contextlib.suppress(ValueError):
            found[float(path.stem)] = path
    return dict(sorted(found.items()))


def new_run(save_dir: Path, name: str) -> Path:
    """Make and return the folder save_dir/name, or save_dir/name-2 and so on if that exists."""
    number = 1
    while True:
        run = save_dir / (name if number == 1 else f"{name}-{number}")
        try:
            run.mkdir(parents=True)
        except FileExistsError:
            number += 1
        except OSError as error:
            raise UserError(f"cannot write to --save_dir {save_dir}: {error.strerror}") from error
        else:
            return run


def sessions(run: Path) -> list[Path]:
    """Return the complete sessions of a run, the latest last."""
    found = [path for path in run.iterdir() if path.name.isdigit() and (path / "state.pth").is_file()]
    return sorted(found, key=lambda path: int(path.name))


def find_session(load_dir: Path) -> tuple[Path, Path]:
    """Return the run and the session that a path names: a run (its latest session), run/EPOCH or run/best.

    Raises:
        UserError: if there is no session.
    """
    if (load_dir / "config.json").is_file():
        complete = sessions(load_dir)
        if not complete:
            raise UserError(f"{load_dir} has no complete session: the run was stopped before the first was saved")
        return load_dir, complete[-1]
    if (load_dir / "model.pth").is_file() and (load_dir.parent / "config.json").is_file():
        return load_dir.parent, load_dir
    raise UserError(
        f"{load_dir} is not a session; name a run such as weights/faces_ae, or one of its sessions such as "
        "weights/faces_ae/39"
    )


def best_session(load_dir: Path) -> Path:
    """Return the session that a path names; for a run, the one with the best weights."""
    run, session = find_session(load_dir)
    return run / "best" if load_dir == run and (run / "best" / "model.pth").is_file() else session


def load_config(run: Path) -> dict:
    """Read the config.json of a run."""
    try:
        return read_json((run / "config.json").read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{run / 'config.json'} cannot be read: {error}") from error


def format_resume(run: Path) -> str:
    """Return how to resume a run, as text."""
    command = f"resume with: python main.py --load_dir {short_path(run)}"
    return command if sessions(run) else "nothing was saved yet"


def short_path(path: Path) -> str:
    """Return a path relative to the current folder if it is inside, else as it is."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
