"""Files of a run: where they are, and how they are written."""

import contextlib
import csv
import json
import os
from collections.abc import Iterator
from pathlib import Path

from neuro_noodle.choices import UserError
from neuro_noodle.data.columns import Columns


def new_run(save_dir: Path, name: str) -> Path:
    """Make and return the folder save_dir/name, or save_dir/name-2 and so on where that exists."""
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
    """Return the run and the session that a path means: a run (its latest), run/<epoch> or run/best.

    Raises:
        UserError: where there is no session.
    """
    if (load_dir / "config.json").is_file():
        complete = sessions(load_dir)
        if not complete:
            raise UserError(
                f"{load_dir} is a run without a complete session: it was stopped before the first was saved"
            )
        return load_dir, complete[-1]
    if (load_dir / "model.pth").is_file() and (load_dir.parent / "config.json").is_file():
        return load_dir.parent, load_dir
    raise UserError(
        f"{load_dir} is no session; name a run such as weights/faces_ae, or a session of it such as weights/faces_ae/39"
    )


def load_config(run: Path) -> dict:
    """Read the config.json of a run."""
    try:
        return json.loads((run / "config.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{run / 'config.json'} cannot be read: {error}") from error


def write_json(path: Path, content: object) -> None:
    """Write a JSON file whole or not at all."""
    scratch = path.with_name(f".{path.name}.part")
    with scratch.open("w") as file:
        json.dump(content, file, indent=2)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    scratch.replace(path)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield the path of a scratch file that replaces `path` if the block ends without an error."""
    scratch = path.with_name(f".{path.name}.part")
    yield scratch
    with scratch.open("rb") as file:
        os.fsync(file.fileno())
    scratch.replace(path)


def write_csv(path: Path, columns: Columns) -> None:
    """Write columns of equal length as a CSV file."""
    with atomic(path) as scratch, scratch.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
