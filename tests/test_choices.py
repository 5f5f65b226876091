"""The grammar of choices: text is read back the same, and errors list what is allowed, for every table."""

import inspect
import types
import typing
from typing import Literal

import pytest

from neuro_noodle.augment import AUGMENTATIONS
from neuro_noodle.choices import Size, Table, UserError, describe_type, write
from neuro_noodle.data.base import DATASETS
from neuro_noodle.learning.optimizers import OPTIMIZERS
from neuro_noodle.learning.schedules import SCHEDULES
from neuro_noodle.networks.base import ENCODERS, HEADS
from neuro_noodle.objectives.base import OBJECTIVES

TABLES = [DATASETS, ENCODERS, HEADS, OBJECTIVES, OPTIMIZERS, SCHEDULES, AUGMENTATIONS]
ENTRIES = [pytest.param(table, name, id=f"{table.kind} {name}") for table in TABLES for name in table]
TOYS = Table("toy")


@TOYS.add("kite")
class Kite:
    """Flies."""

    def __init__(
        self,
        maker: str,
        *,
        tails: int = 3,
        length: float = 1.5,
        red: bool = False,
        name: str = "none",
        shape: Literal["delta", "box"] = "delta",
        widths: tuple[int, ...] = (4, 5),
        area: tuple[float, float] = (0.5, 1.0),
        size: Size | None = None,
        owner: str | None = None,
    ) -> None:
        self.made = (maker, tails, area)


@TOYS.add("ball")
def ball(*, tails: int = 0) -> int:
    """Bounces."""
    return tails


def option_types(table: Table, name: str) -> dict:
    entry = table[name]
    return typing.get_type_hints(entry.__init__ if inspect.isclass(entry) else entry)


def unusual_value(annotation: object) -> object:
    """Return a value of this type that is unlikely to be a default."""
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return unusual_value(next(a for a in arguments if a is not type(None)))
    if origin is Literal:
        return arguments[-1]
    if origin is tuple:
        return (unusual_value(arguments[0]),) * (3 if arguments[-1] is Ellipsis else len(arguments))
    return {int: 7, float: 1 / 3, bool: True, str: "it's {a}_b = c", Size: Size(13, 8)}[annotation]


# ------------------------------------------------------------------------------------- every table


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_every_entry_has_a_docstring_of_one_sentence_first(table, name):
    first = (table[name].__doc__ or "").strip().splitlines()[:1]
    assert first, "no docstring of its own"
    assert first[0][0].isupper()
    assert first[0].endswith(".")


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_every_option_is_described_with_its_type(table, name):
    types_of = option_types(table, name)
    message = table.describe()
    for key, default in table.defaults(name).items():
        assert f"{key}={write(default)}  ({describe_type(types_of[key])})" in message


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_every_option_has_a_default(table, name):
    assert inspect.Parameter.empty not in table.defaults(name).values()


@pytest.mark.parametrize(("table", "name"), ENTRIES)
def test_a_choice_written_as_text_is_read_back_the_same(table, name):
    default = table.parse(name)
    assert table.parse(str(default)) == default
    types_of = option_types(table, name)
    changed = table.parse([name, *(f"{key}={write(unusual_value(types_of[key]))}" for key in default.options)])
    assert changed.options == {key: unusual_value(types_of[key]) for key in default.options}
    assert table.parse(str(changed)) == changed


# ------------------------------------------------------------------------------------------------ the grammar


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("tails=7", 7),
        ("tails=-7", -7),
        ("length=2", 2.0),
        ("length=1e-3", 0.001),
        ("red=true", True),
        ("red=false", False),
        ("name=none", "none"),
        ("name=", ""),
        ("name=a=b", "a=b"),
        ("shape=box", "box"),
        ("widths=8", (8,)),
        ("widths=8,9,10", (8, 9, 10)),
        ("widths=none", ()),
        ("area=0.25,1", (0.25, 1.0)),
        ("size=130x101", Size(130, 101)),
        ("size=130X101", Size(130, 101)),
        ("size=none", None),
        ("owner=Bo", "Bo"),
        ("owner=none", None),
    ],
)
def test_an_option_is_read_as_its_type(setting, value):
    choice = TOYS.parse(["kite", setting])
    read = choice.options[setting.partition("=")[0]]
    assert (read, type(read)) == (value, type(value))
    assert TOYS.parse(str(choice)) == choice


@pytest.mark.parametrize(
    ("setting", "allowed"),
    [
        ("tails=2.5", "a whole number"),
        ("tails=none", "a whole number"),
        ("length=long", "a number"),
        ("red=yes", "true or false"),
        ("red=True", "true or false"),
        ("shape=round", "one of delta, box"),
        ("widths=4,x", "separated by commas ... a whole number"),
        ("widths=", "separated by commas ... a whole number"),
        ("area=1", "2 ... separated by commas ... a number"),
        ("area=1,2,3", "2 ... separated by commas ... a number"),
        ("size=130", "HEIGHTxWIDTH or none"),
        ("size=1x2x3", "HEIGHTxWIDTH or none"),
        ("size=0x5", "HEIGHTxWIDTH or none"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_with_the_type(setting, allowed):
    with pytest.raises(UserError) as caught:
        TOYS.parse(["kite", setting])
    assert f"toy 'kite': {setting} is not " in str(caught.value)
    assert all(word in str(caught.value) for word in allowed.split(" ... "))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("kit", "unknown toy 'kit'; did you mean 'kite'? allowed: kite, ball"),
        ("xyz", "unknown toy 'xyz'; allowed: kite, ball"),
        ("ball tail=1", "toy 'ball' has no option 'tail'; did you mean 'tails'? allowed: tails"),
        ("ball maker=me", "toy 'ball' has no option 'maker'; allowed: tails"),
        ("ball tails", "toy 'ball': 'tails' is not of the form KEY=VALUE"),
    ],
)
def test_a_wrong_name_or_key_is_refused_with_the_nearest(words, message):
    """The message lists all that are allowed."""
    with pytest.raises(UserError) as error:
        TOYS.parse(words)
    assert str(error.value) == message


def test_positional_arguments_are_not_options():
    with pytest.raises(UserError, match="no option 'maker'"):
        TOYS.parse("kite maker=me")


@pytest.mark.parametrize("words", ["", "kite name='open"])
def test_words_that_are_not_a_choice_are_a_user_error(words):
    with pytest.raises(UserError, match="toy"):
        TOYS.parse(words)


def test_a_base_gives_its_options_to_the_same_name_only():
    base = "kite tails=9 red=true"
    same = TOYS.parse("kite red=false", base).options
    assert (same["tails"], same["red"]) == (9, False)
    assert TOYS.parse("ball", base) == TOYS.parse("ball")
    assert TOYS.parse("kite", "ball tails=9") == TOYS.parse("kite")


def test_a_choice_never_changes_the_defaults():
    TOYS.parse("kite tails=9")
    assert TOYS.parse("kite").options["tails"] == 3


def test_build_passes_arguments_and_options_to_the_entry():
    assert TOYS.build("kite tails=9 area=0,1", "me").made == ("me", 9, (0.0, 1.0))
    assert TOYS.build(TOYS.parse("ball tails=2")) == 2


def test_a_choice_may_be_quoted_as_one_word():
    """As in --schedule "cosine warmup=1"."""
    assert SCHEDULES.parse(["cosine warmup=1"]) == SCHEDULES.parse(["cosine", "warmup=1"])
