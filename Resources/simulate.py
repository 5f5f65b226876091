"""Draw the built-in stimuli: each kind is a subcommand that fills one folder with images and a metadata.csv.

To add a kind, write a module with one ``draw_<kind>(folder, args)`` that saves its images and returns one row
per image or neuron (the first column is ``file``, unless the kind says which files hold them all), and add one entry to
KINDS; the folder's safety is shared.
"""

import argparse
import contextlib
import csv
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from neuro_noodle.simulate import arena, faces, population

Row = dict[str, Any]
TABLE = "metadata.csv"
HARMLESS = {".gitkeep", "README", "README.md", "README.txt"}


class Refusal(Exception):
    """A wish that cannot be met without harm, told in one line."""


def _whole(low: int, high: int) -> Callable[[str], int]:
    """A parser of whole numbers in a range."""

    def parse(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def _size(text: str) -> tuple[int, int]:
    """Height and width from text such as 650x506."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal() and min(int(height), int(width)) >= 32):
        raise argparse.ArgumentTypeError(f"{text!r} is not HEIGHTxWIDTH, each at least 32 pixels")
    return int(height), int(width)


def _square(text: str) -> tuple[int, int]:
    """Height and width that are equal."""
    height, width = _size(text)
    if height != width:
        raise argparse.ArgumentTypeError(f"{text!r} is not square, as the picture of a round arena is")
    return height, width


def _number(low: float, high: float) -> Callable[[str], float]:
    """A parser of numbers in a range."""

    def parse(text: str) -> float:
        with contextlib.suppress(ValueError):
            if low <= float(text) <= high:
                return float(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from {low:g} to {high:g}")

    return parse


class Option(NamedTuple):
    """A command-line option of one kind of stimulus."""

    flag: str
    parse: Callable[[str], Any]
    default: Any
    meaning: str


class Kind(NamedTuple):
    """A kind of stimulus: what draws it, where to, and its options besides --out, --seed and --redraw."""

    draw: Callable[[Path, argparse.Namespace], Iterable[Row]]
    summary: str
    folder: str
    columns: tuple[str, ...]  # the first columns of its metadata.csv, by which its own drawings are known
    options: tuple[Option, ...]
    files: tuple[str, ...] = ()  # what it draws; without, the first column names the files
    unit: str = "images"  # what a row of its metadata.csv stands for


KINDS = {
    "faces": Kind(
        faces.draw_faces,
        "schematic faces that turn from neutral to happy and to sad",
        "stimuli",
        faces.COLUMNS,
        (
            Option("--n_people", _whole(1, 99), 12, "number of people"),
            Option("--n_steps", _whole(1, 99), 20, "morph steps from nearly neutral to full emotion"),
            Option("--size", _size, "650x506", "HEIGHTxWIDTH of an image in pixels"),
        ),
    ),
    "arena": Kind(
        arena.draw_arena,
        "a film of a schematic rat that walks in a round arena, seen from above",
        "arena",
        arena.COLUMNS,
        (
            Option("--n_frames", _whole(10, 1_000_000), 3000, "number of frames, 10 per second"),
            Option("--size", _square, "50x50", "HEIGHTxWIDTH of a frame in pixels, square"),
            Option("--noise", _number(0, 100), 10, "standard deviation of the camera's noise, grey levels of 255"),
        ),
        arena.FILES,
        "frames",
    ),
    "v1": Kind(
        population.draw_v1,
        "responses of simulated simple and complex cells to patches of photographs, as published for visual cortex",
        "v1",
        population.COLUMNS,
        (
            Option("--n_neurons", _whole(1, 1000), 100, "number of neurons, half of them simple cells"),
            Option("--n_images", _whole(10, 1_000_000), 1800, "number of training images, each shown once"),
            Option("--n_validation", _whole(2, 10_000), 50, "number of validation images, each shown repeatedly"),
            Option("--n_repeats", _whole(2, 1000), 10, "how often a validation image is shown"),
            Option("--size", _whole(16, 1000), 31, "side of an image in pixels"),
        ),
        population.FILES,
        "neurons",
    ),
}


def _earlier_names(out: Path, kind: Kind) -> list[str] | None:
    """The first column of an earlier drawing's table, None for a folder that is missing or as good as empty.

    Raises:
        Refusal: The folder holds something else.
    """
    for place in (out, *out.parents):
        if place.exists() and not place.is_dir():
            raise Refusal(f"{place} is a file, not a folder")
    if not out.exists() or not {entry.name for entry in out.iterdir()} - HARMLESS:
        return None
    if not (out / TABLE).is_file():
        raise Refusal(f"{out} holds files that this command did not draw; choose another --out")
    with (out / TABLE).open(newline="", encoding="utf-8", errors="replace") as table:
        rows = csv.reader(table)
        header, names = next(rows, []), [row[0] for row in rows if row]
    ours = tuple(header[: len(kind.columns)]) == kind.columns
    if not ours or not all((out / name).resolve().is_relative_to(out) for name in kind.files or names):
        raise Refusal(f"{out / TABLE} was not written by this command; choose another --out")
    return names


def _remove(out: Path, files: list[str]) -> None:
    """Remove the files of an earlier drawing, and its folders unless they hold something else."""
    for name in files:
        (out / name).unlink(missing_ok=True)
    for folder in {(out / name).parent for name in files} - {out}:
        with contextlib.suppress(OSError):  # it is missing or still holds something
            folder.rmdir()


def _settle(drawn: Path, out: Path, earlier: list[str]) -> None:
    """Put a finished drawing in its place, instead of the earlier one if there is any.

    Raises:
        Refusal: A file that this command did not draw is in the way.
    """
    files = sorted(path.relative_to(drawn).as_posix() for path in drawn.rglob("*") if path.is_file())
    for name in set(files) - set(earlier):
        if (out / name).exists() or (out / name).parent.is_file():
            raise Refusal(f"what stands at {out / name} was not drawn by this command")
    _remove(out, earlier)
    with contextlib.suppress(OSError):  # it is missing or still holds something
        out.rmdir()
    if not out.exists():
        drawn.rename(out)
        return
    for name in files:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (drawn / name).rename(out / name)


def _write_table(path: Path, rows: Iterable[Row]) -> int:
    """Write rows of equal keys as CSV, one by one as they come; returns how many."""
    with path.open("w", newline="", encoding="utf-8") as table:
        writer, n_rows = csv.writer(table, lineterminator="\n"), 0
        for n_rows, row in enumerate(rows, 1):
            if n_rows == 1:
                writer.writerow(row)
            writer.writerow(row.values())
    return n_rows


def fill_folder(kind: Kind, args: argparse.Namespace) -> str:
    """Draw a kind of stimulus into args.out, unless it is there already.

    Returns:
        One line that says what was done.

    Raises:
        Refusal: The folder is not this command's to fill.
    """
    started, out = time.perf_counter(), args.out.resolve()
    names = _earlier_names(out, kind)
    if names is not None and not args.redraw:
        return f"already there: {len(names)} {kind.unit} in {out} (--redraw draws them anew)"
    earlier = [] if names is None else [*(kind.files or names), TABLE]
    out.parent.mkdir(parents=True, exist_ok=True)
    # Next to the target, so that the finished folder is moved by a mere rename: there is never half of it.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        drawn = Path(temporary, "drawn")
        drawn.mkdir()
        n_drawn = _write_table(drawn / TABLE, kind.draw(drawn, args))
        _settle(drawn, out, earlier)
    return f"drew {n_drawn} {kind.unit} in {out} ({time.perf_counter() - started:.1f} s)"


def _parser() -> argparse.ArgumentParser:
    """The command line: a subcommand per kind."""
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description="Draw the built-in stimuli.", formatter_class=formatter)
    commands = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    here = Path(__file__).resolve().parent
    for name, kind in KINDS.items():
        command = commands.add_parser(name, help=kind.summary, description=kind.summary, formatter_class=formatter)
        command.add_argument("--out", type=Path, default=here / kind.folder, help="folder to fill")
        for flag, parse, default, meaning in kind.options:
            command.add_argument(flag, type=parse, default=default, help=meaning)
        command.add_argument("--seed", type=_whole(0, 2**32 - 1), default=42, help="same seed, same images")
        command.add_argument("--redraw", action="store_true", help="replace the files of an earlier drawing")
    return parser


def main() -> int:
    """Run the command line and return its exit status."""
    args = _parser().parse_args()
    try:
        print(fill_folder(KINDS[args.kind], args))
    except (Refusal, population.NoRoom, OSError, MemoryError) as problem:
        print(f"error: {str(problem) or 'out of memory'}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130  # as shells report an interrupted command; the temporary folder is gone by now
    return 0


if __name__ == "__main__":
    sys.exit(main())
