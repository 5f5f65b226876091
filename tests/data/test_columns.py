"""Metadata: every value is assigned to its own image, and ambiguous tables are refused."""

import numpy as np
import pytest
from helpers import raises_user_error

from neuro_noodle.data.columns import (
    JoinedTable,
    add_columns,
    as_texts,
    join_table,
    listing,
    merge,
    read_array_columns,
    read_csv,
)

IDS = ["a/one.png", "a/two.png", "b/three.png"]


def write_table(path, text, encoding="utf-8"):
    (path / "table.csv").write_bytes(text.encode(encoding))
    return path / "table.csv"


# -------------------------------------------------------------------------------------------------------- read_csv


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_separators_and_line_ends_do_not_change_a_table(tmp_path, delimiter, end, encoding):
    text = end.join(
        delimiter.join(row) for row in (["file", " age ", "who"], ["1.png", "3.5", "Zoë"], ["2.png", "", "Ann"])
    )
    expected = {"file": ["1.png", "2.png"], "age": ["3.5", ""], "who": ["Zoë", "Ann"]}
    assert (
        read_csv(write_table(tmp_path, text, encoding))
        == read_csv(write_table(tmp_path, text + end, encoding))
        == expected
    )


def test_quoted_fields_may_hold_separators_quotes_and_new_lines(tmp_path):
    text = 'file,said\n1.png,"a, ""b"";\nc"\n\n2.png,"plain"\n'
    assert read_csv(write_table(tmp_path, text)) == {"file": ["1.png", "2.png"], "said": ['a, "b";\nc', "plain"]}


def test_a_table_may_have_a_single_column(tmp_path):
    assert read_csv(write_table(tmp_path, "age\n3\n4\n")) == {"age": ["3", "4"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no rows; it needs a header line and a row per image"),
        ("a,b\n", "has no rows"),
        ("\n\n", "has no rows"),
        ("a,a\n1,2\n", "needs a different name for each column; its first line reads ['a', 'a']"),
        ("a, a\n1,2\n", "needs a different name for each column"),
        ("a,\n1,2\n", "needs a different name for each column"),
        ("a,b\n1,2\n1,2,3\n", "has 2 columns, but 3 fields on line 3"),
        ("a,b\n\n1,2\n\n1\n", "has 2 columns, but 1 fields on line 5"),
        ('a,b\n"1\n2",3\n4\n', "has 2 columns, but 1 fields on line 4"),
        ('a,b\n1,"2\n', "cannot be read: line 2: unexpected end of data"),
        ('a,b\n1,"2"3\n', "cannot be read: line 2: ',' expected after '\"'"),
    ],
)
def test_an_invalid_table_is_refused_with_reason_and_line(tmp_path, text, message):
    with raises_user_error(f"the table {tmp_path / 'table.csv'} {message}"):
        read_csv(write_table(tmp_path, text))


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_table_that_is_not_utf_8_is_refused(tmp_path, encoding):
    with raises_user_error("is not UTF-8 text; save it as 'CSV UTF-8'"):
        read_csv(write_table(tmp_path, "file,who\n1.png,Zoë\n", encoding))


def test_a_missing_table_or_a_folder_is_refused_by_name(tmp_path):
    with raises_user_error(f"the table {tmp_path / 'no.csv'} cannot be read: No such file"):
        read_csv(tmp_path / "no.csv")
    with raises_user_error(f"the table {tmp_path} cannot be read: Is a directory"):
        read_csv(tmp_path)


# ------------------------------------------------------------------------------------------------------ join_table


@pytest.mark.parametrize("names", [IDS, ["one.png", "two.png", "three.png"], ["one", "two", "three"]])
def test_rows_name_images_by_path_or_name_or_without_ending(tmp_path, names):
    text = "age,image\n" + "".join(f"{age},{names[age]}\n" for age in (2, 0, 1))
    assert join_table(write_table(tmp_path, text), IDS) == JoinedTable({"age": ["0", "1", "2"]}, [], [])


def test_the_column_that_matches_most_images_names_them(tmp_path):
    text = "friend,me\none.png,three.png\none.png,one.png\nx,two.png\n"
    assert join_table(write_table(tmp_path, text), IDS) == JoinedTable({"friend": ["one.png", "x", "one.png"]}, [], [])


def test_images_without_row_and_rows_without_image_are_listed(tmp_path):
    text = "file,age\nthree.png,3\nfour.png,4\nfive.png,5\n"
    expected = JoinedTable({"age": ["", "", "3"]}, missing=IDS[:2], unknown=["five.png", "four.png"])
    assert join_table(write_table(tmp_path, text), IDS) == expected


def test_columns_with_reserved_names_are_renamed(tmp_path):
    text = "file,id,folder,age\none.png,7,x,1\n"
    expected = JoinedTable({"id_": ["7"], "folder_": ["x"], "age": ["1"]}, [], [])
    assert join_table(write_table(tmp_path, text), IDS[:1]) == expected


@pytest.mark.parametrize(
    ("ids", "text", "message"),
    [
        (IDS, "who,age\nAnn,3\n", "names images such as a/one.png; there are who (Ann), age (3)"),
        (["a/1.png", "b/1.png", "b/2.png"], "file\n1.png\n2.png\n", "several images are called 1.png, so"),
        (["a/1.png", "a/1.jpg"], "file\n1\n", "several images are called 1, so"),
        (IDS, "file,age\none.png,1\none.png,2\n", "has several rows for 'one.png'"),
    ],
)
def test_a_table_with_no_or_ambiguous_names_is_refused(tmp_path, ids, text, message):
    with raises_user_error(message):
        join_table(write_table(tmp_path, text), ids)


def test_paths_distinguish_images_of_the_same_name(tmp_path):
    ids = ["a/1.png", "b/1.png"]
    assert join_table(write_table(tmp_path, "file,age\nb/1.png,2\na/1.png,1\n"), ids).columns == {"age": ["1", "2"]}


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


# --------------------------------------------------------------------------------------------------- add_columns, merge


def test_complete_columns_are_added_without_a_note():
    columns = {"folder": ["a", "a", "b"]}
    assert add_columns(columns, {"age": ["1", "2", "3"]}, [], "do not match", ("age", None)) == []
    assert columns == {"folder": ["a", "a", "b"], "age": ["1", "2", "3"]}


def test_incomplete_columns_are_added_with_a_note():
    """The note lists the images without a value."""
    columns = {"folder": ["a", "a", "b"]}
    assert add_columns(columns, {"age": ["1", "2", ""]}, ["three"], "do not match", (None, "folder")) == [
        "1 of 3 images do not match:\n  three"
    ]
    assert columns["age"] == ["1", "2", ""]


def test_empty_columns_are_left_out_with_a_note_of_one_line():
    columns = {"folder": ["a", "b"]}
    assert add_columns(columns, {"age": ["", ""]}, ["one", "two"], "do not match", ()) == ["2 of 2 images do not match"]
    assert list(columns) == ["folder"]


@pytest.mark.parametrize("missing", [["one"], ["one", "two"]])
def test_a_needed_column_must_have_a_value_for_every_image(missing):
    with raises_user_error("do not match:\n  one") as caught:
        add_columns(
            {"folder": ["a", "b"]}, {"age": ["", "2"], "who": ["", "x"]}, missing, "do not match", ("age", "who")
        )
    assert "but age and who must have a value for every image" in str(caught.value)


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


def test_numbers_as_texts_keep_all_digits_but_no_zeros():
    assert as_texts(np.array([3.0, 0.5, 1e9, 1234567890, np.nan])) == ["3", "0.5", "1000000000", "1234567890", "nan"]
    assert as_texts(["3.0", "x"]) == ["3.0", "x"]
