"""Cells: spaces and accents do not matter, missing marks mean missing, and only plain decimals are numbers."""

import pytest

from neuro_noodle.data.cells import MISSING, clean_columns, number, similar_names, tidy, with_decimal_points


def test_spaces_and_composition_of_accents_do_not_matter():
    assert tidy("  Zoe\u0308\u00a0") == tidy("Zo\u00eb") == "Zo\u00eb"
    cleaned, notes = clean_columns({"who": ["P03 ", "P03", "\tP03"], "x": ["a b", "", " "]})
    assert cleaned == {"who": ["P03"] * 3, "x": ["a b", "", ""]} and notes == []


def test_invisible_characters_do_not_make_another_name():
    assert {tidy(text) for text in ("P03", "P03\u200b", "\ufeffP03", "P\u00ad03", "P03\u200e", "P03\0")} == {"P03"}


@pytest.mark.parametrize("mark", sorted(MISSING - {""}))
def test_every_mark_of_a_missing_value_becomes_empty(mark):
    cleaned, notes = clean_columns({"sex": ["F", mark, f" {mark} "], "age": [mark, "3", ""]})
    assert cleaned == {"sex": ["F", "", ""], "age": ["", "3", ""]}
    assert notes == [f"these cells count as missing: 2 '{mark}' in sex, 1 '{mark}' in age"]


@pytest.mark.parametrize("text", ["none", "no", "0", "na", "?", "N", "Nan"])
def test_a_word_that_can_be_a_class_is_not_missing(text):
    assert clean_columns({"mask": [text]}) == ({"mask": [text]}, [])


def test_minus_is_a_class_next_to_plus():
    assert clean_columns({"sign": ["+", "-", "NA"]})[0] == {"sign": ["+", "-", ""]}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("0", 0), ("-2.5", -2.5), ("+3", 3), ("007", 7), ("5.", 5), (".5", 0.5)],
        *[("1e-05", 1e-5), ("1E+3", 1000), ("1.5e3", 1500), ("2.e1", 20), (".5e1", 5)],
    ],
)
def test_plain_decimal_notation_is_a_number(text, value):
    assert number(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *["10_1", "1_01", "12e1", "1e2", "inf", "-inf", "infinity", "nan", "", " 1", "1 ", "1,5", "1,234.5", "0x10"],
        *["\u0661\u0662", "\uff11", "1.2.3", "--1", "+-1", ".", "-", "e5", "1e", "1e+", "1e+999", "\u22121", "1j"],
    ],
)
def test_any_other_notation_is_a_name(text):
    assert number(text) is None


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["1,5", "2,25", "3"], ["1.5", "2.25", "3"]),
        (["-0,123", "1,234"], ["-0.123", "1.234"]),
        (["1,5", "", "n/a"], ["1.5", "", "n/a"]),
        (["1,234", "2,345"], None),
        (["1,5", "2.5"], None),
        (["1,5", "a,b"], None),
        (["1", "2"], None),
        (["1.234,5"], None),
        (["", ""], None),
    ],
)
def test_decimal_commas_are_read_only_if_unambiguous(column, expected):
    """The comma of 1,234 could separate thousands."""
    assert with_decimal_points(column) == expected


def test_names_are_similar_if_they_differ_in_case_or_spaces():
    """Or if they are the same number."""
    names = ["Happy", "happy", "sad", "very  sad", "Very sad", "1", "1.0", "01", "P1", "P01"]
    assert similar_names(names) == [["Happy", "happy"], ["Very sad", "very  sad"], ["01", "1", "1.0"]]
