"""What varies in a sweep: `FLAG=VALUE,VALUE`, `FLAG=NAME KEY=VALUE | NAME`, `FLAG=LOW..HIGH`, or a file of flags."""

import argparse
import re
import shlex
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from neuro_noodle.choices import UserError, require, suggest
from neuro_noodle.flags import EVERY_FLAG, Flag
from neuro_noodle.runs.files import reading

FIXED = ("namestr", "save_dir", "experiment", "seed", "folds", "repetitions")  # a sweep sets some, a table needs others
VARIABLE = [name for name, flag in EVERY_FLAG.items() if flag.recorded and name not in FIXED]
RANGE = re.compile(r"(?P<low>[\d.eE+-]*\d)\.\.(?P<high>[\d.eE+-]+)")
MAX_NAME = 120  # characters of the name of a configuration; it is a folder


@dataclass(frozen=True)
class Setting:
    """A value of what varies.

    Attributes:
        name: of what varies, a flag in most cases.
        label: the value in names and tables.
        words: of the command line.
    """

    name: str
    label: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Configuration:
    """Values of all that varies.

    Attributes:
        name: of the configuration, fit for a folder.
        labels: its values by what varies, for tables.
        words: of the command line.
    """

    name: str
    labels: dict[str, str]
    words: tuple[str, ...]

    @classmethod
    def of(cls, settings: Sequence[Setting]) -> "Configuration":
        """Return the configuration with these settings."""
        name = (
            ",".join(re.sub(r"[^\w.=+-]+", "-", f"{one.name}={one.label}", flags=re.ASCII) for one in settings)
            or "default"
        )
        if len(name) > MAX_NAME:
            name = f"{name[: MAX_NAME - 9]}-{zlib.crc32(name.encode()):08x}"
        words = tuple(word for one in settings for word in one.words)
        return cls(name, {one.name: one.label for one in settings}, words)


class Variation(Protocol):
    """What varies; `at` returns its value at a share from 0 to 1 of its range.

    Attributes:
        name: of what varies, a flag in most cases.
        settings: its values; none for a range.
    """

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> tuple[Setting, ...]: ...

    def at(self, share: float) -> Setting: ...


@dataclass(frozen=True)
class Values:
    """A list of values."""

    name: str
    settings: tuple[Setting, ...]

    def at(self, share: float) -> Setting:
        """Return the value at a share from 0 to 1 of the list."""
        return self.settings[min(int(share * len(self.settings)), len(self.settings) - 1)]


@dataclass(frozen=True)
class Range:
    """Numbers from low to high, on a logarithmic scale unless low is 0 or less.

    Attributes:
        flag: that varies.
        template: its value, with %s for the number.
        low, high: the ends.
        is_whole: whether only whole numbers are allowed.
    """

    flag: Flag
    template: str
    low: float
    high: float
    is_whole: bool

    settings = ()

    @property
    def name(self) -> str:
        return self.flag.name

    def at(self, share: float) -> Setting:
        """Return the value at a share from 0 to 1 of the range."""
        low, high = self.low, self.high
        value = low * (high / low) ** share if low > 0 else low + (high - low) * share
        return _setting(self.flag, self.template % (round(value) if self.is_whole else f"{value:.4g}"))


def read_variation(text: str) -> Variation:
    """Read the text of --vary.

    Raises:
        UserError: if it names no flag that can vary, or no values.
    """
    name, equals, values = text.removeprefix("--").partition("=")
    require(bool(equals and values.strip()), f"--vary {text}: write FLAG=VALUE,VALUE or 'FLAG=NAME KEY=VALUE | NAME'")
    require(name != "seed", "--vary seed: name the seeds with --seeds 42,43,44")
    require(name in VARIABLE, f"--vary {name}: no such flag can vary; {suggest(name, VARIABLE)}")
    flag = EVERY_FLAG[name]
    if (found := RANGE.search(values)) and "|" not in values:
        return _read_range(flag, values, found)
    has_options = flag.kind in ("choice", "choices") and "=" in values
    each = [one.strip() for one in values.split("|" if "|" in values or has_options else ",")]
    require(all(each) and len(set(each)) == len(each), f"--vary {text}: a value is missing, or is there twice")
    return Values(name, tuple(_setting(flag, one) for one in each))


def _read_range(flag: Flag, text: str, found: re.Match) -> Range:
    try:
        low, high = float(found["low"]), float(found["high"])
    except ValueError:
        raise UserError(f"--vary {flag.name}: {found[0]} is not LOW..HIGH, two numbers") from None
    require(low < high, f"--vary {flag.name}: {found[0]} must go from a low to a high number")
    template = f"{text[: found.start()]}\0{text[found.end() :]}".replace("%", "%%").replace("\0", "%s")
    return Range(flag, template, low, high, _is_whole(flag, found))


def _is_whole(flag: Flag, found: re.Match) -> bool:
    """Return whether a range has whole numbers only: if the flag does, or if both ends of an option are written so."""
    if flag.type is None:
        return found["low"].isdecimal() and found["high"].isdecimal()
    try:
        flag.type("0.5")
    except argparse.ArgumentTypeError:
        return True
    return False


def _setting(flag: Flag, text: str) -> Setting:
    """Return the setting of a flag with this value."""
    option = f"--{flag.name}"
    if flag.kind in ("switch", "toggle"):
        require(text in ("true", "false"), f"--vary {flag.name}: '{text}' is not true or false")
        off = (f"--no-{flag.name}",) if flag.kind == "toggle" else ()
        return Setting(flag.name, text, (option,) if text == "true" else off)
    if flag.kind == "value":
        return Setting(flag.name, text, (option, text))
    each = text.split(" + ") if flag.kind == "choices" else [text]
    return Setting(flag.name, text, tuple(word for one in each for word in (option, *_split(one))))


def read_file(path: Path) -> Values:
    """Read a file with a configuration per line, `NAME: FLAGS`; empty lines and those that start with # are skipped.

    Raises:
        UserError: if the file cannot be read, or a line has no name.
    """
    with reading(path):
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    settings = {}
    for line in lines:
        if not line or line.startswith("#"):
            continue
        name, colon, flags = line.partition(":")
        is_name = bool(colon) and re.fullmatch(r"[\w.+-]+", name) is not None
        require(is_name and name not in settings, f"{path}: '{line}' must be NAME: FLAGS, with a NAME of its own")
        settings[name] = Setting("configuration", name, tuple(_split(flags)))
    require(bool(settings), f"{path} has no line NAME: FLAGS")
    return Values("configuration", tuple(settings.values()))


def _split(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UserError(f"'{text}' is not a command line: {error}") from None
