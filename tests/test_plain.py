"""Values as files, tables and figures can hold them."""

import json
import math

import pytest

from neuro_noodle.plain import LAUNCHER, cell, command_line, counted, finite, format_json, readable


@pytest.mark.parametrize(
    ("n", "noun", "text"),
    [(1, "image", "1 image"), (0, "image", "0 images"), (1, "class", "1 class"), (2, "class", "2 classes")],
)
def test_a_noun_is_in_the_plural_unless_there_is_one(n, noun, text):
    assert counted(n, noun) == text


def test_json_has_null_for_numbers_that_are_not_finite():
    content = {"a": math.nan, "b": [1.5, -math.inf], "name": "NaN", "id": "caf\udce9.png"}
    text = format_json(content)
    assert json.loads(text, parse_constant=pytest.fail) == content | {"a": None, "b": [1.5, None]}
    assert (finite(math.inf), finite(2)) == (None, 2.0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("caf\udce9", r"caf\xe9"), ("\ud83d", r"\ud83d"), ("\u0141ukasz \u9854", "\u0141ukasz \u9854"), ("a\\b", "a\\b")],
)
def test_only_bytes_that_are_no_text_are_escaped(text, shown):
    assert readable(text) == shown
    assert shown.encode()


@pytest.mark.parametrize("text", ["=1+1", "+a", "-2+3", "@SUM(1)", "\t=1", "\r=1", "=1.png"])
def test_a_text_like_a_formula_starts_with_an_apostrophe(text):
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["-3.5", "+1e-5", "a=1", "", -3.5, 7, None, "'x"])
def test_numbers_and_other_texts_stay_as_they_are(value):
    assert cell(value) == value


def test_a_number_that_is_missing_is_an_empty_cell():
    assert cell(math.nan) == ""


def test_commands_start_as_the_user_started_the_program(monkeypatch):
    monkeypatch.delenv(LAUNCHER, raising=False)
    assert command_line("main.py --list") == "python main.py --list"
    monkeypatch.setenv(LAUNCHER, "../noodle/run.sh")
    assert command_line("main.py --list") == "../noodle/run.sh main.py --list"
