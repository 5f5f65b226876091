"""The grammar of choices: `NAME KEY=VALUE ...` selects an entry of a table and sets its options.

The keyword-only arguments of a registered class or function are its options, with their annotations as types and their
defaults. To add an entry: put @TABLE.add("name") above a class or function.
"""

import difflib
import importlib
import inspect
import pkgutil
import shlex
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


class UserError(ValueError):
    """An error that the user can correct: shown as a message without a traceback, with exit status 2."""


class Size(typing.NamedTuple):
    """Height and width of an image in px, written HEIGHTxWIDTH."""

    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Return the size that a text such as 130x101 (height x width) denotes."""
        height, width = (int(part) for part in text.lower().split("x"))
        if min(height, width) < 1:
            raise ValueError("a size is at least 1x1")
        return cls(height, width)

    def __str__(self) -> str:
        return f"{self.height}x{self.width}"


def require(condition: bool, message: str) -> None:
    """Raise UserError with this message unless the condition holds."""
    if not condition:
        raise UserError(message)


@dataclass(frozen=True)
class Choice:
    """An entry of a table with a value for each of its options; str() returns it as NAME KEY=VALUE ..."""

    name: str
    options: dict[str, typing.Any]

    def __str__(self) -> str:
        return shlex.join([self.name, *(f"{key}={write(value)}" for key, value in self.options.items())])


class Table:
    """Named classes or functions of one kind, selected on the command line."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.entries: dict[str, typing.Any] = {}
        self.refused: dict[str, str] = {}

    def add(self, name: str) -> Callable:
        """Return the decorator that registers a class or function under this name."""

        def register(entry: Callable) -> Callable:
            self.entries[name] = entry
            return entry

        return register

    def refuse(self, name: str, reason: str) -> None:
        """Explain why a name that users may expect is not in the table."""
        self.refused[name] = reason

    def __iter__(self) -> typing.Iterator[str]:
        return iter(self.entries)

    def __getitem__(self, name: str) -> typing.Any:
        require(name not in self.refused, f"{self.kind} '{name}' cannot be used: {self.refused.get(name)}")
        if name not in self.entries:
            raise UserError(f"unknown {self.kind} '{name}'; {suggest(name, self.entries)}")
        return self.entries[name]

    def defaults(self, name: str) -> dict[str, object]:
        """Return the options of an entry with their default values."""
        parameters = inspect.signature(self[name]).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}

    def parse(self, words: str | Sequence[str], base: str | None = None) -> Choice:
        """Return the choice that words denote.

        Args:
            words: `NAME KEY=VALUE ...`, as one text or already split.
            base: another choice; if it has the same name, its options replace the defaults.

        Raises:
            UserError: if a name or key is unknown (suggests the nearest match), or a value has the wrong type.
        """
        name, settings = self._split(words)
        options = self.defaults(name)
        if base and self._split(base)[0] == name:
            options = self.parse(base).options
        types_of = self._annotations(name)
        given = [setting.partition("=")[0] for setting in settings]
        for setting in settings:
            key, equals, text = setting.partition("=")
            require(bool(equals), f"{self.kind} '{name}': '{setting}' is not of the form KEY=VALUE")
            require(key in options, f"{self.kind} '{name}' has no option '{key}'; {suggest(key, options)}")
            require(given.count(key) == 1, f"{self.kind} '{name}': {key} is given twice")
            try:
                options[key] = read(text, types_of[key])
            except ValueError as error:
                wanted = describe_type(types_of[key])
                raise UserError(f"{self.kind} '{name}': {key}={text} is not {wanted}") from error
        return Choice(name, options)

    def build(self, choice: str | Choice, *arguments: object) -> typing.Any:
        """Call the selected entry with these arguments and its options, and return the result."""
        choice = self.parse(choice) if isinstance(choice, str) else choice
        return self[choice.name](*arguments, **choice.options)

    def describe(self) -> str:
        """Return a paragraph per entry: the first line of its docstring, and its options with defaults and types."""
        lines = []
        for name, entry in self.entries.items():
            lines.append(f"  {name:<14}{(inspect.getdoc(entry) or '').splitlines()[0]}")
            types_of = self._annotations(name)
            for key, default in self.defaults(name).items():
                lines.append(f"  {'':<14}  {key}={write(default)}  ({describe_type(types_of[key])})")
        return "\n".join(lines)

    def _split(self, words: str | Sequence[str]) -> tuple[str, list[str]]:
        try:
            name, *settings = shlex.split(words) if isinstance(words, str) else [*shlex.split(words[0]), *words[1:]]
        except ValueError as error:
            raise UserError(f"--{self.kind} needs NAME KEY=VALUE ..., not '{words}': {error}") from None
        return name, settings

    def _annotations(self, name: str) -> dict[str, typing.Any]:
        entry = self[name]
        return typing.get_type_hints(entry.__init__ if inspect.isclass(entry) else entry)


def import_all(package: str, folders: Iterable[str]) -> None:
    """Import every module of a package, so that each adds its entries to the tables."""
    for module in pkgutil.iter_modules(folders):
        importlib.import_module(f"{package}.{module.name}")


def suggest(word: str, allowed: Iterable[str]) -> str:
    """Return a text with the nearest allowed word, if one is similar, and all allowed words."""
    allowed = list(allowed)
    near = difflib.get_close_matches(word, allowed, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}allowed: {', '.join(allowed) or 'none'}"


def read(text: str, annotation: typing.Any) -> object:
    """Return the text of an option as a value of the annotated type; raises ValueError if it is not one."""
    arguments = typing.get_args(annotation)
    if _is_union(annotation):
        if text == "none":
            return None
        return read(text, next(a for a in arguments if a is not type(None)))
    if typing.get_origin(annotation) is typing.Literal:
        if text not in arguments:
            raise ValueError(text)
        return text
    if typing.get_origin(annotation) is tuple:
        values = tuple(read(part, arguments[0]) for part in text.split(",")) if text != "none" else ()
        if arguments[-1] is not Ellipsis and len(values) != len(arguments):
            raise ValueError(text)
        return values
    if annotation is bool:
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    if hasattr(annotation, "parse"):
        return annotation.parse(text)
    return annotation(text)


def write(value: object) -> str:
    """Return the value of an option as text, which `read` turns back into the value."""
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple) and not isinstance(value, Size):
        return ",".join(write(part) for part in value)
    return str(value)


def describe_type(annotation: typing.Any) -> str:
    """Return a description of the values that an option allows."""
    arguments = typing.get_args(annotation)
    if _is_union(annotation):
        return f"{describe_type(next(a for a in arguments if a is not type(None)))} or none"
    if typing.get_origin(annotation) is typing.Literal:
        return "one of " + ", ".join(arguments)
    if typing.get_origin(annotation) is tuple:
        count = "values" if arguments[-1] is Ellipsis else f"{len(arguments)} values"
        return f"{count} separated by commas, each {describe_type(arguments[0])}"
    names = {
        bool: "true or false",
        int: "a whole number",
        float: "a number",
        str: "text",
        Size: "HEIGHTxWIDTH",
    }
    return names[annotation]


def _is_union(annotation: object) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)
