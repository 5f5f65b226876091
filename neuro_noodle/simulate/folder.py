"""Fill a folder with stimuli without ever touching the user's own files."""

import contextlib
import csv
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from neuro_noodle.choices import UserError
from neuro_noodle.simulate.base import Kind, Row

TABLE = "metadata.csv"
PLACEHOLDERS = {".gitkeep", "README", "README.md", "README.txt"}  # a folder with only these counts as empty


def fill_folder(kind: Kind, out: Path, options: dict[str, object], *, redraw: bool = False) -> str:
    """Draw stimuli into a folder, unless an earlier call already did.

    Args:
        kind: the kind of stimuli.
        out: the folder to fill; created if missing.
        options: the keyword arguments of `kind.draw`.
        redraw: replace the files of an earlier call.

    Returns:
        One line that says what was done.

    Raises:
        UserError: The folder holds files that this function did not write, it cannot be written to, or memory ran out.
    """
    try:
        return _fill_folder(kind, out.resolve(), options, redraw)
    except (OSError, MemoryError) as error:
        raise UserError(str(error) or "out of memory") from error


def _fill_folder(kind: Kind, out: Path, options: dict[str, object], redraw: bool) -> str:
    start = time.perf_counter()
    names = _earlier_names(out, kind)
    if names is not None and not redraw:
        return f"already there: {len(names)} {kind.row_noun} in {out} (--redraw replaces them)"
    earlier = [] if names is None else [*(kind.files or names), TABLE]
    out.parent.mkdir(parents=True, exist_ok=True)
    # Drawn next to the output folder, so that the finished files are only renamed: an interrupted call leaves nothing.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        drawn = Path(temporary, "drawn")
        drawn.mkdir()
        n_rows = _write_table(drawn / TABLE, kind.draw(drawn, **options))
        _move(drawn, out, earlier)
    return f"drew {n_rows} {kind.row_noun} in {out} ({time.perf_counter() - start:.1f} s)"


def _earlier_names(out: Path, kind: Kind) -> list[str] | None:
    """Return the first column of metadata.csv from an earlier call, or None if the folder is missing or empty.

    Raises:
        UserError: The folder holds files that were not written by an earlier call.
    """
    for path in (out, *out.parents):
        if path.exists() and not path.is_dir():
            raise UserError(f"{path} is a file, not a folder")
    if not out.exists() or not {entry.name for entry in out.iterdir()} - PLACEHOLDERS:
        return None
    if not (out / TABLE).is_file():
        raise UserError(f"{out} holds files that this command did not draw; choose another --out")
    with (out / TABLE).open(newline="", encoding="utf-8", errors="replace") as table:
        rows = csv.reader(table)
        header, names = next(rows, []), [row[0] for row in rows if row]
    is_ours = tuple(header[: len(kind.columns)]) == kind.columns
    if not is_ours or not all((out / name).resolve().is_relative_to(out) for name in kind.files or names):
        raise UserError(f"{out / TABLE} was not written by this command; choose another --out")
    return names


def _write_table(path: Path, rows: Iterable[Row]) -> int:
    """Write rows with the same keys as CSV, one at a time, and return their number."""
    n_rows = 0
    with path.open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        for n_rows, row in enumerate(rows, 1):
            if n_rows == 1:
                writer.writerow(row)
            writer.writerow(row.values())
    return n_rows


def _move(drawn: Path, out: Path, earlier: list[str]) -> None:
    """Move finished files to the output folder and remove those of an earlier call.

    Raises:
        UserError: One of the new files would overwrite a file that no earlier call wrote.
    """
    files = sorted(path.relative_to(drawn).as_posix() for path in drawn.rglob("*") if path.is_file())
    for name in set(files) - set(earlier):
        if (out / name).exists() or (out / name).parent.is_file():
            raise UserError(f"{out / name} is in the way: it was not drawn by this command; choose another --out")
    _remove(out, earlier)
    with contextlib.suppress(OSError):  # missing, or not empty
        out.rmdir()
    if not out.exists():
        drawn.rename(out)
        return
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (drawn / name).rename(out / name)


def _remove(out: Path, files: list[str]) -> None:
    """Remove the files of an earlier call, and their folders if these are then empty."""
    for name in files:
        (out / name).unlink(missing_ok=True)
    for folder in {(out / name).parent for name in files} - {out}:
        with contextlib.suppress(OSError):  # missing, or not empty
            folder.rmdir()
