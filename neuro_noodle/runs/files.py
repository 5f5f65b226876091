"""Files of a run: which session a path names, and writing that is never half done."""

import contextlib
import csv
import io
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil

from neuro_noodle import plain
from neuro_noodle.choices import UserError, require
from neuro_noodle.plain import command_line

MANIFEST = "manifest.json"  # of a session, written last: a session that has it is complete
CONFIG, SPLIT, FITTED_STATE = "config.json", "split.json", "encoder.pkl"  # written when a run starts
BEST, RESULT = "best/model.pth", "result.json"
TESTED = "tested.json"  # the epoch of all weights that the test part has judged, by their sha256
PAGE = "report.html"  # about the result
BEFORE = ".before."  # starts the name of a folder that is being replaced

Columns = Mapping[str, Sequence]


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which replaces `path` once it is complete; after an error `path` is as before.

    The file is flushed to the disk before it is renamed, so that a kill or a power cut at any instant leaves either
    the old content or the new.

    Raises:
        UserError: if the disk is full, or the file cannot be written for another reason.
    """
    scratch = staged(path, os.getpid())
    try:
        with writing(path):
            yield scratch
            with scratch.open("r+b") as file:  # Windows flushes only what it can write
                os.fsync(file.fileno())
            scratch.replace(path)
            sync_folder(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def staged(path: Path, process: int | None = None) -> Path:
    """Return where the new content of a file is written before it replaces the file; by one process, if it is given."""
    return path.with_name(f".{path.name}.{f'{process}.' if process else ''}part")


def is_left(part: Path) -> bool:
    """Return whether no other process of this system still writes such a file."""
    process = part.name.removesuffix(".part").rpartition(".")[2]
    is_number = process.isdecimal() and len(process) < 10
    return not is_number or int(process) == os.getpid() or not psutil.pid_exists(int(process))


def stage(path: Path, content: bytes) -> None:
    """Write the new content of a file next to it, flushed to the disk; raises OSError."""
    with staged(path).open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, completely or not at all."""
    with atomic(path) as scratch:
        scratch.write_bytes(content)


def write_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    """Write a folder of files, completely or not at all; it replaces an earlier one."""
    scratch, before = staged(path, os.getpid()), path.with_name(f"{BEFORE}{path.name}.part")
    with writing(path):
        put_back(path.parent)
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            scratch.mkdir()
            for name, content in contents.items():
                write_bytes(scratch / name, content)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        if path.exists():
            path.rename(before)
        scratch.rename(path)
        sync_folder(path.parent)
        shutil.rmtree(before, ignore_errors=True)


def put_back(parent: Path) -> None:
    """Put back the folders that a kill has left renamed while others were to replace them."""
    for before in parent.glob(f"{BEFORE}*.part"):
        path = parent / before.name.removeprefix(BEFORE).removesuffix(".part")
        if path.exists():
            shutil.rmtree(before)
        else:
            before.rename(path)


@contextmanager
def writing(path: Path, hint: str = "") -> Iterator[None]:
    """Raise UserError, with a hint, where the system cannot write: the disk is full, the folder read-only or gone."""
    try:
        yield
    except (OSError, UserError) as error:
        reason = str(error) if isinstance(error, UserError) else f"cannot write {path}: {error.strerror or error}"
        raise UserError("; ".join(filter(None, (reason, hint)))) from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raise UserError for what can go wrong in reading a damaged file."""
    try:
        yield
    except (OSError, ValueError, KeyError, EOFError, RecursionError, zlib.error, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def sync_folder(folder: Path) -> None:
    """Flush the entries of a folder to the disk, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


def json_bytes(content: object) -> bytes:
    """Return the content of a JSON file."""
    return (plain.format_json(content, indent=2) + "\n").encode()


def csv_bytes(columns: Columns) -> bytes:
    """Return columns of equal length as the content of a CSV file, see `plain.cell`."""
    return table_bytes(list(columns), zip(*columns.values(), strict=True))


def table_bytes(names: Sequence[str], rows: Iterable[Iterable]) -> bytes:
    """Return rows below the names of their columns as the content of a CSV file, see `plain.cell`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(map(plain.cell, names))
    writer.writerows(map(plain.cell, row) for row in rows)
    return text.getvalue().encode()


def write_json(path: Path, content: object) -> None:
    """Write a JSON file."""
    write_bytes(path, json_bytes(content))


def write_csv(path: Path, columns: Columns) -> None:
    """Write columns of equal length as a CSV file."""
    write_bytes(path, csv_bytes(columns))


def parse_json(content: bytes, path: Path) -> dict:
    """Return the object in the content of a JSON file.

    Raises:
        UserError: if it is not an object in JSON, or if it has a key twice.
    """
    with reading(path):
        value = plain.parse_json(content)
        if not isinstance(value, dict):
            raise ValueError(f"it holds {type(value).__name__}, but must hold an object in braces")
        return value


def read_json(path: Path) -> dict:
    """Read a JSON file that holds an object."""
    with reading(path):
        content = path.read_bytes()
    return parse_json(content, path)


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
    found = [path.parent for path in run.glob(f"[0-9]*/{MANIFEST}") if path.parent.name.isdecimal() and path.is_file()]
    return sorted(found, key=lambda path: int(path.name))


def find_session(load_dir: Path) -> tuple[Path, Path]:
    """Return the run and the session that a path names: a run (its latest session), run/EPOCH or run/best.

    Raises:
        UserError: if there is no session.
    """
    require(
        load_dir.exists(), f"there is no folder {load_dir}" + ("" if load_dir.is_absolute() else f" in {Path.cwd()}")
    )
    require_one_run(load_dir)
    run = load_dir if (load_dir / CONFIG).is_file() else load_dir.parent
    if (run / CONFIG).is_file():
        refuse_links(run)
    if (load_dir / CONFIG).is_file():
        complete = sessions(load_dir)
        if not complete:
            raise UserError(
                f"{load_dir} has no complete session: the run was stopped before the first was saved, or is of an "
                "earlier version of the program"
            )
        return load_dir, complete[-1]
    is_session = (load_dir / MANIFEST).is_file() or (load_dir.name == "best" and sessions(load_dir.parent))
    if is_session and (load_dir.parent / CONFIG).is_file():
        return load_dir.parent, load_dir
    raise UserError(
        f"{load_dir} is not a session; name a run such as weights/faces_ae, or one of its sessions such as "
        "weights/faces_ae/39"
    )


def refuse_links(run: Path) -> None:
    """Raise UserError if a run holds links, which could lead writing out of it."""
    links = [path.name for path in run.glob("*") if path.is_symlink()]
    require(not links, f"{run} holds links ({', '.join(links)}); a run must hold its own files: replace them by copies")


def fold_of(folder: Path, k: int) -> Path:
    """Return the run of the k-th fold, from 1, in a folder of --folds."""
    return folder / f"fold{k}"


def folds_of(folder: Path, n: int) -> list[Path]:
    """Return the runs of n folds in a folder of --folds."""
    return [fold_of(folder, k) for k in range(1, n + 1)]


def n_folds(folder: Path) -> int:
    """Return how many folds a folder of --folds has; 0 for any other folder, or if the first fold is damaged."""
    flags = None
    with contextlib.suppress(UserError):
        flags = read_json(fold_of(folder, 1) / CONFIG).get("flags")
    n = flags.get("folds") if isinstance(flags, dict) else None
    return n if type(n) is int else 0


def require_one_run(folder: Path) -> None:
    """Raise UserError if a folder holds the runs of --folds."""
    n = n_folds(folder)
    require(not n, f"{folder} has {n} folds, each of which is a run; name one of them, such as {fold_of(folder, 1)}")


def find_saved(load_dir: Path | None) -> Path | None:
    """Return the session to resume that a path names; None for a new run, which names none."""
    if not load_dir:
        return None
    run, saved = find_session(load_dir)
    require(saved.name != "best", f"{saved} holds only the best weights; resume the run with --load_dir {run}")
    return saved


def format_resume(run: Path) -> str:
    """Return how to resume a run, as text."""
    is_fold = bool(n_folds(run.parent))
    words = f"main.py --load_dir {short_path(run.parent if is_fold else run)}"
    return f"resume with: {command_line(words)}" if is_fold or sessions(run) else "nothing was saved yet"


def short_path(path: Path) -> str:
    """Return a path relative to the current folder if it is inside, else as it is."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
