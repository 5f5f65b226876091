"""Change a table of metadata at random and see whether the program notices: bits, cells, lines, quotes, encodings, ...

Run it from the folder of the project: `python -m benchmarks.fuzz_tables [N] [SEED]` (2000 and 0).

Small images are opened with each changed table. Their labels, groups and numbers are compared with those of the table
that was not changed. Wherever values are lost, the number of images that lack one must be printed; where more values
differ than one row has, there must be an error or a note. A row with other values is another valid table.
"""

import gzip
import random
import re
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from neuro_noodle.choices import UserError
from neuro_noodle.data.base import Source
from neuro_noodle.data.columns import as_texts
from neuro_noodle.data.folder import Folder
from neuro_noodle.data.store import Store
from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.runs.task import drop_missing_targets

HEADER = ["file", "person", "emotion", "age", "recorded", "remark"]
N_IMAGES = 24
N_VALUES = 3  # of a row that are compared: label, group and number
MAX_CHARACTERS = 700  # of an error
PEOPLE, EMOTIONS = ("Zoë", "Ann", "Müller", "7", "P03", "李"), ("happy", "sad", "neutral")
VALUES = [
    *("", " ", "NA", "n/a", "nan", "inf", "-999", "9999", "1e5", "1e400", "1,5", "=1+1", "?", "unknown", "Happy"),
    *("9.82E+14", "007", "x" * 5000, "a\nb", "\u200b", "\ufffd", "\ud7ff", "03/01/2025", "0.png", "None", "\0", "-"),
]
ENCODINGS = ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig", "latin-1", "cp1252", "mac-roman", "utf-32", "gbk"]


def rows() -> list[list[str]]:
    """Return a header and a row per image."""
    ages = [f"{20 + 1.5 * i:.1f}" for i in range(N_IMAGES)]
    days = [f"2025-01-{1 + i // 4:02}" for i in range(N_IMAGES)]
    return [HEADER] + [
        [f"{i}.png", PEOPLE[i % 6], EMOTIONS[i % 3], ages[i], days[i], "" if i % 5 else "blinked, then\nlooked"]
        for i in range(N_IMAGES)
    ]


def write(table: list[list[str]], delimiter: str, is_quoted: bool = False) -> str:
    """Return a table as text, with quotes where they are needed, or everywhere."""
    special = {delimiter, '"', "\n", "\r"}
    return "".join(
        delimiter.join(f'"{cell}"' if is_quoted or special & set(cell) else cell for cell in row) + "\n"
        for row in table
    )


def tables() -> dict[str, bytes]:
    """Return the same table as several programs write it."""
    plain, body = rows(), rows()[1:]
    commas = [[*row[:3], row[3].replace(".", ","), *row[4:]] for row in plain]
    indexed = [["", *plain[0]], *([str(i), *row] for i, row in enumerate(body))]
    named = [[row[0], *row[1:]] for row in body]
    return {
        "commas": write(plain, ",").encode(),
        "Excel, decimal commas": ("sep=;\n" + write(commas, ";")).encode("utf-8-sig"),
        "Excel, UTF-16": write(plain, "\t").encode("utf-16"),
        "pandas": write(indexed, ",").encode(),
        "R": (write([HEADER[1:]], ",", True) + write(named, ",", True)).encode(),
        "quotes, bars": write(plain, "|", True).replace("\n", "\r\n").encode(),
    }


# --------------------------------------------------------------------------------------------------------- changes


def change_bit(content: bytes, generator: random.Random) -> bytes:
    """Flip a bit."""
    changed = bytearray(content)
    changed[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    return bytes(changed)


def change_bytes(content: bytes, generator: random.Random) -> bytes:
    """Change, remove or repeat a few bytes, or remove all before or after them."""
    start = generator.randrange(len(content))
    end = min(len(content), start + generator.randrange(1, 40))
    pieces = [(content[:start], content[end:]), (content[:end], content[start:]), (content[:start],), (content[end:],)]
    pieces += [(content[:start], generator.randbytes(n), content[start + n :]) for n in (1, 1, 2, 3)]
    return b"".join(generator.choice(pieces))


def change_cell(text: str, generator: random.Random) -> str:
    """Replace a text between two delimiters by an odd one or by that of another cell."""
    cells = list(re.finditer(r'[^,;|\t\n"]+', text))
    found = generator.choice(cells)
    value = generator.choice([*VALUES, *(cell[0] for cell in generator.sample(cells, 9))])
    return text[: found.start()] + value + text[found.end() :]


def change_lines(text: str, generator: random.Random) -> str:
    """Remove, repeat, exchange, join, empty or indent lines."""
    lines = text.splitlines(keepends=True)
    i, j = generator.randrange(len(lines)), generator.randrange(len(lines))
    one, other = lines[i], lines[j]
    kind = generator.choice(("remove", "remove", "repeat", "exchange", "join", "empty", "indent", "insert"))
    if kind == "exchange":
        lines[i], lines[j] = other, one
    else:
        lines[i] = {
            "remove": "",
            "repeat": one + one,
            "join": one.strip("\r\n"),
            "empty": "\n",
            "indent": " " + one,
        }.get(kind, one + other)
    return "".join(lines)


def change_marks(text: str, generator: random.Random) -> str:
    """Add, remove or replace one to three delimiters, quotes or line ends, or replace all of a kind."""
    if generator.random() < 0.2:
        old, new = generator.sample(',;|\t"\n', 2)
        return text.replace(old, new)
    for _ in range(generator.randrange(1, 4)):
        marks = list(re.finditer(r'[,;|\t"\n]', text))
        found = generator.choice(marks)
        at = generator.choice([found.start(), generator.randrange(len(text))])
        new = generator.choice([*',;|\t"\n\r ', '""', "\r\n", "\u2028"])
        kept = at if generator.random() < 0.5 else at + 1
        text = text[:at] + generator.choice([new, new, ""]) + text[kept:]
    return text


def change_encoding(content: bytes, text: str, generator: random.Random) -> bytes:
    """Write the text in another encoding, with other line ends, or compressed; or read it in a wrong encoding."""
    kind = generator.choice(("encode", "encode", "encode", "ends", "nul", "compress", "replace"))
    if kind == "encode":
        return text.encode(generator.choice(ENCODINGS), errors=generator.choice(["ignore", "replace"]))
    if kind == "replace":
        return content.decode("ascii", errors="replace").encode()
    at = generator.randrange(len(content))
    ends = text.replace("\n", generator.choice(["\r", "\r\n", "\n\n", "\r\r\n"])).encode()
    return {"ends": ends, "nul": content[:at] + b"\0" * 4 + content[at:], "compress": gzip.compress(content)}[kind]


def change(content: bytes, kind: str, generator: random.Random) -> bytes:
    """Return a table with a change of this kind."""
    if kind in ("bits", "bytes"):
        return {"bits": change_bit, "bytes": change_bytes}[kind](content, generator)
    encoding = "utf-16" if content.startswith(b"\xff\xfe") else "utf-8"
    text = content.decode(encoding)
    if kind == "encoding":
        return change_encoding(content, text, generator)
    by_kind: dict[str, Callable] = {"cells": change_cell, "lines": change_lines, "marks": change_marks}
    return by_kind[kind](text, generator).encode(encoding)


# -------------------------------------------------------------------------------------------------------- outcomes


@dataclass(frozen=True)
class Known:
    """The metadata of the images, and what the program says about them.

    Attributes:
        values: N texts for each column that is compared.
        notes: for the user.
        counts: the lines that count the classes and groups.
    """

    values: dict[str, list[str]]
    notes: list[str]
    counts: list[str]


def open_images(folder: Path, table: Path) -> Known:
    """Open the images with a table; returns their labels, groups and numbers, and what the program says."""
    source = Source(folder, Store(folder))
    dataset = Folder(source, metadata=str(table), label="emotion", group="person")
    dataset.set_targets(["age"])
    counts = [line for line in re.split("[\n;]", dataset.inventory.text) if "group" in line or "class" in line]
    left_out = []
    for objective in ("classify", "regress columns=age"):
        bound = OBJECTIVES.build(objective).on(dataset)
        left_out += drop_missing_targets(dataset, bound, {"training": list(range(len(dataset)))})[1]
    ages = ["" if np.isnan(age) else str(age) for age in dataset.targets[:, 0].tolist()]
    values = {name: as_texts(dataset.columns[name]) for name in ("emotion", "person")}
    return Known(values | {"age": ages}, dataset.notes + left_out, counts)


def judge(folder: Path, table: Path, wanted: Known) -> str:
    """Return in a few words what became of a changed table."""
    try:
        known = open_images(folder, table)
    except UserError as error:
        text = str(error)
        return "refused" if len(text) < MAX_CHARACTERS and text.count("\n") < 9 else f"LONG ERROR {len(text)}"
    except Exception:
        return f"TRACEBACK {traceback.format_exc()}"
    notes = [note for note in known.notes if note not in wanted.notes]
    numbers = set(re.findall(r"\d+", "\n".join(notes + known.counts)))
    n_changed = n_lost = 0
    for name, before in wanted.values.items():
        after = known.values[name]
        n_empty = after.count("")
        if n_empty and str(n_empty) not in numbers:
            return f"SILENT: {n_empty} values of {name} are lost"
        n_lost += n_empty
        n_changed += sum(one != other for one, other in zip(before, after, strict=True))
    if not n_changed:
        return "does not matter"
    if n_lost or notes:
        return "noted"
    return "another valid table" if n_changed <= N_VALUES else f"SILENT: {n_changed} values differ"


def main(n: int, seed: int) -> None:
    """Change tables and print what became of them."""
    generator = random.Random(seed)
    kinds = ("bits", "bytes", "cells", "lines", "marks", "encoding")
    found: dict[str, Counter[str]] = {kind: Counter() for kind in kinds}
    with tempfile.TemporaryDirectory() as work:
        folder, table = Path(work, "images"), Path(work, "table.csv")
        folder.mkdir()
        for i in range(N_IMAGES):
            Image.fromarray(np.full((4, 4), 10 * i, np.uint8)).save(folder / f"{i}.png")
        wanted = {}
        for name, content in tables().items():
            table.write_bytes(content)
            wanted[name] = open_images(folder, table)
        if any(known.values != wanted["commas"].values for known in wanted.values()):
            raise SystemExit("the tables that were not changed differ")
        for index in range(n):
            kind, name = kinds[index % len(kinds)], list(wanted)[index // len(kinds) % len(wanted)]
            table.write_bytes(change(tables()[name], kind, generator))
            what = judge(folder, table, wanted[name])
            found[kind][what.split()[0].strip(":") if what.split()[0].isupper() else what] += 1
            if what[:6].isupper():
                print(f"{name}, {kind}, number {index}: {what}", file=sys.stderr)
                Path(tempfile.gettempdir(), f"table-{seed}-{index}.csv").write_bytes(table.read_bytes())
    for kind, counts in found.items():
        print(f"{kind:<10}" + ", ".join(f"{what} {n}" for what, n in counts.most_common()))


if __name__ == "__main__":
    main(*(int(word) for word in (sys.argv[1:] + ["2000", "0"][len(sys.argv) - 1 :])))
