"""Cells: spaces and accents do not matter, missing marks mean missing, and only plain decimals are numbers."""

import numpy as np
import pytest

from neuro_noodle.data.cells import MISSING, clean_columns, number, quoted, tidy, with_decimal_points


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


@pytest.mark.parametrize("infinite", ["inf", "-inf", "Inf", "Infinity"])
def test_an_infinite_number_is_missing(infinite):
    """As text among numbers, and in arrays."""
    cleaned, notes = clean_columns({"x": ["1", infinite, "", "n/a"], "y": np.array([-np.inf, 2, np.nan], np.float32)})
    assert cleaned["x"] == ["1", "", "", ""] and np.isnan(cleaned["y"]).tolist() == [True, False, True]
    assert cleaned["y"].dtype == np.float32
    assert notes == [f"these cells count as missing: 1 '{infinite}' in x, 1 'n/a' in x, 1 '-inf' in y"]


@pytest.mark.parametrize("texts", [["inf", "sup"], ["inf", "inf"], ["inf", "1", "sup"]])
def test_inf_among_names_is_a_name(texts):
    assert clean_columns({"region": texts}) == ({"region": texts}, [])


def test_a_long_text_is_quoted_on_one_line_by_its_beginning():
    assert quoted("a\nb") == "'a b'" and quoted("abcdefgh", 6) == "'abc...'" and quoted("abcdef", 6) == "'abcdef'"
