"""Columns of metadata: exact values, and a note on whatever is missing or doubtful."""

import numpy as np
import pytest
from helpers import raises_user_error

from neuro_noodle.data.columns import (
    add_columns,
    as_groups,
    as_numbers,
    as_texts,
    listing,
    merge,
    read_array_columns,
)

# ---------------------------------------------------------------------------------------------- read_array_columns


def as_lists(columns):
    return {name: list(column) for name, column in columns.items()}


FIELDS = np.array([("x", 1.5), ("y", 2)], [("who", "U3"), ("age", "f4")])


@pytest.mark.parametrize(
    ("values", "names", "columns"),
    [
        (np.array([3, 4], np.int16), (), {"column_0": [3, 4]}),
        (np.array([True, False]), ["seen"], {"seen": [1, 0]}),
        (np.array([[1, 2], [3, 4], [5, 6]]), (), {"column_0": [1, 3, 5], "column_1": [2, 4, 6]}),
        (np.array([[1, 2], [3, 4], [5, 6]]), ("a", "b"), {"a": [1, 3, 5], "b": [2, 4, 6]}),
        (np.array(["Zoë", "Ann"]), ["who"], {"who": ["Zoë", "Ann"]}),
        (np.array([b"x", b"yz"]), ["who"], {"who": ["x", "yz"]}),
        (FIELDS, (), {"who": ["x", "y"], "age": [1.5, 2]}),
        (FIELDS, ("name", "years"), {"name": ["x", "y"], "years": [1.5, 2]}),
        (np.zeros((0, 2)), ("a", "b"), {"a": [], "b": []}),
    ],
)
def test_each_column_of_an_array_has_its_name(values, names, columns):
    assert as_lists(read_array_columns(values, names, "it")) == columns


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        (np.zeros((2, 3, 4)), (), "it is 2 x 3 x 4, but a table is N rows by K columns"),
        (np.array(3), (), "it is a single value, but a table"),
        (np.zeros((5, 3)), ("a", "b"), "it has 3 columns, but columns= names 2: a, b"),
        (np.zeros((5, 2)), ("a", "a"), "it has 2 columns, but columns= names 2: a, a"),
        (FIELDS, ["a"], "it has 2 columns, but columns= names 1: a"),
        (np.zeros(2, complex), ["a"], "it: a holds neither numbers nor text"),
        (np.zeros(2, "M8[s]"), ["when"], "it: when holds neither"),
        (np.zeros(2, [("xy", "f4", 2), ("z", "f4")]), (), "it: xy holds neither"),
        (np.array([2**31 - 1], "u4").view("U1"), ["a"], "it is damaged: its text is not valid"),
    ],
)
def test_an_array_that_is_not_a_table_is_refused(values, names, message):
    with raises_user_error(message):
        read_array_columns(values, names, "it")


# ------------------------------------------------------------------------------------ adding and reading columns


def test_complete_columns_are_added_without_a_note():
    columns = {"folder": ["a", "a", "b"]}
    assert add_columns(columns, {"age": ["1", "2", "3"]}, [], "do not match") == []
    assert columns == {"folder": ["a", "a", "b"], "age": ["1", "2", "3"]}


def test_incomplete_columns_are_added_with_a_note():
    """The note lists the images without a value."""
    columns = {"folder": ["a", "a", "b"]}
    assert add_columns(columns, {"age": ["1", "2", ""]}, ["three"], "do not match") == [
        "1 of 3 images do not match:\n  three"
    ]
    assert columns["age"] == ["1", "2", ""]


def test_empty_columns_are_left_out_with_a_note_of_one_line():
    columns = {"folder": ["a", "b"]}
    assert add_columns(columns, {"age": ["", ""]}, ["one", "two"], "do not match") == ["2 of 2 images do not match"]
    assert list(columns) == ["folder"]


def test_two_sources_of_one_column_are_refused():
    """The columns are then unchanged."""
    columns = {"a": [1], "b": [2]}
    with raises_user_error("two sources provide a column a and b; rename one of them"):
        merge(columns, {"b": [3], "a": [4], "c": [5]})
    assert columns == {"a": [1], "b": [2]}
    merge(columns, {"c": [5]})
    assert columns == {"a": [1], "b": [2], "c": [5]}


def test_a_listing_is_indented_and_counts_omitted_lines():
    assert listing(iter("abc")) == "  a\n  b\n  c"
    assert listing("abcd", n_max=2) == "  a\n  b\n  ... and 2 more"
    assert listing([]) == ""


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (np.array([3.0, 0.5, 1e9, 1234567890, np.nan]), ["3", "0.5", "1000000000", "1234567890", ""]),
        (np.array([0.1, 0.25], np.float32), ["0.1", "0.25"]),
        (np.array([982000123456701, 982000123456702]), ["982000123456701", "982000123456702"]),
        (np.array([982000123456701.0, 982000123456702.0]), ["982000123456701", "982000123456702"]),
        (np.array([2**64 - 1, 2**64 - 2], np.uint64), ["18446744073709551615", "18446744073709551614"]),
        (["3.0", "x"], ["3.0", "x"]),
    ],
)
def test_numbers_as_texts_keep_all_digits_but_no_zeros(values, texts):
    assert as_texts(values) == texts


@pytest.mark.parametrize("kind", ["?", "i1", "u2", ">i4", "i8", "u8", "f2", "f4", ">f8"])
def test_numbers_of_an_array_keep_their_exact_values(kind):
    values = np.array([0, 1], kind)
    (column,) = read_array_columns(values, ["x"], "it").values()
    assert column.dtype.isnative and (column == values).all()
    assert as_texts(column) == ["0", "1"]
    assert as_numbers(column, "x").dtype == np.float64


def test_large_whole_numbers_of_an_array_stay_different():
    for values in (np.array([2**63 - 1, 2**63 - 2]), np.array([2**64 - 1, 2**64 - 2], np.uint64)):
        (column,) = read_array_columns(values, ["x"], "it").values()
        assert len(set(as_texts(column))) == 2


def test_images_without_a_group_are_groups_of_their_own():
    assert as_groups(["a", "", "a", ""], ["1", "2", "3", "4"]) == ["a", "image 2", "a", "image 4"]
    assert as_groups(np.array([2, np.nan]), ["1", "2"]) == ["2", "image 2"]


def test_a_text_among_numbers_is_quoted_in_the_error():
    """With its image, the number of such cells, and what a missing value is."""
    assert as_numbers(["1", "", "n/a", "-2.5"], "age") == pytest.approx([1, np.nan, np.nan, -2.5], nan_ok=True)
    with raises_user_error(
        "the column 'age' holds '10_1', which is not a number (1 of 2 cells are not numbers); numbers are"
    ):
        as_numbers(["1", "10_1"], "age")
    with raises_user_error(
        "holds '10_1' for image b.png, which is not a number (2 of 3 cells are not numbers)"
    ) as error:
        as_numbers(["1", "10_1", "x"], "age", ["a.png", "b.png", "c.png"])
    assert str(error.value).endswith("a missing value is an empty cell, n/a, NA, nan, null or -")
