"""Doubts about columns: whatever may be one name twice, two names in one, or no value at all, is noted with a count."""

import numpy as np
import pytest

from neuro_noodle.data.doubts import code_notes, naming_notes, similar_names


def notes_on(texts):
    return naming_notes({"who": texts}, ["who"])


def test_names_are_similar_if_they_differ_in_case_or_spaces():
    """Or if they are the same number."""
    names = ["Happy", "happy", "sad", "very  sad", "Very sad", "1", "1.0", "01", "P1", "P01", "1e-99999", "1e-999999"]
    assert similar_names(names) == [["Happy", "happy"], ["Very sad", "very  sad"], ["01", "1", "1.0"]]


def test_long_numbers_are_compared_in_all_digits():
    """Those of 18 digits are more than a float can tell apart."""
    names = [f"98200012345670198{i}" for i in range(10)]
    assert similar_names(names) == [] == notes_on(names)
    assert similar_names([*names, "982000123456701980.0"]) == [["982000123456701980", "982000123456701980.0"]]


def test_names_that_look_alike_are_noted_but_stay_apart():
    columns = {"mood": ["Happy", "happy", "sad"], "who": ["7", "007", "8"], "x": ["a", "A", ""]}
    assert naming_notes(columns, ("mood", None)) == [
        "mood has names that look alike but count as different: 'Happy' and 'happy'"
    ]
    assert "'007' and '7'" in naming_notes(columns, ("who",))[0]
    assert naming_notes({"mood": ["a", "b"]}, ("mood", "mood")) == []


@pytest.mark.parametrize(
    ("values", "is_rounded"),
    [
        (np.array([2**22, np.nan], np.float32), False),
        (np.array([2**24, np.nan], np.float32), True),
        (np.array([2.0**51]), False),
        (np.array([2.0**53]), True),
        (np.array([2**62]), False),
        (["982000123456701982"], False),
    ],
)
def test_names_that_their_type_may_have_rounded_are_noted(values, is_rounded):
    assert [note[:30] for note in naming_notes({"chip": values}, ["chip"])] == [
        "chip may hold rounded numbers,"
    ] * is_rounded


def test_a_note_lists_a_few_names_by_their_beginnings():
    (note,) = notes_on([f"{7:0{n}}" for n in range(1, 99)])
    assert note.count(" and ") == 5 and note.endswith("' and 93 more") and len(note) < 300
    (note,) = notes_on([f"{n}.{zeros}" for n in range(9) for zeros in ("0", "00")])
    assert note.count(";") == 4 and note.endswith("' and 4 more")


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["9.82E+14", "9.82E+14", "9.83E+14", "a"], "3 cells such as '9.82E+14'"),
        (["9,82E+14", "P2"], "1 cell '9,82E+14'"),
        (["982000123456701000", "982000123456702000"], "2 cells such as '982000123456701000'"),
        (["982000123456701", "982000123456700"], None),
        (["1.5E+03", "9.82e+14", "982000123456701982"], None),
    ],
)
def test_numbers_that_a_spreadsheet_shortened_are_noted(texts, found):
    shortened = [note for note in notes_on(texts) if "spreadsheet" in note]
    assert [note.split(": ")[0] for note in shortened] == ([f"who has {found}"] if found else [])


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["2025-01-03", "2025-01-04", "03/01/2025"], "2 ways: 2 cells such as '2025-01-03', 1 cell '03/01/2025'"),
        (["3.1.25", "3-Jan-2025", "x"], "2 ways: 1 cell '3.1.25', 1 cell '3-Jan-2025'"),
        (["2025-01-03", "2025-1-4", "a/b"], None),
        (
            ["2020-01-02", "01-02-2020", "1-Jan-2020"],
            "3 ways: 1 cell '2020-01-02', 1 cell '01-02-2020', 1 cell '1-Jan-2020'",
        ),
        (["1/2", "1-2", "1_2_3", "1-2/3"], None),
    ],
)
def test_dates_in_two_spellings_are_noted(texts, found):
    assert notes_on(texts) == ([f"who writes dates in {found}; each is a name"] if found else [])


def test_words_for_a_missing_value_are_noted_as_names():
    assert notes_on(["Unknown", "?", "Ann", "?", ""]) == [
        "who has 1 cell 'Unknown', 2 cells '?', which is a name like any other; leave these cells empty if the value "
        "is missing"
    ]
    assert naming_notes({"folder": ["unknown", "a"]}, ["folder"]) == []


def test_lost_characters_are_noted():
    (note,) = notes_on(["M\ufffdller", "M\ufffdller", "M\ufffdrz", "Ann"])
    assert note.startswith("who has 3 cells such as 'M\ufffdller': \ufffd stands for characters that were lost")


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ([20, 80, 35.5, -999, -999], "-999 (2 images), far from its other values (20 to 80)"),
        ([0.1, 0.2, np.nan, 9999, -99], "-99 (1 image) and 9999 (1 image), far from its other values (0.1 to 0.2)"),
        ([990, 1010, 999], None),
        ([0, 99, 50, 98], None),
        ([0, 100, -99.5], None),
        ([-999, -999], None),
        ([], None),
    ],
)
def test_codes_for_missing_numbers_are_noted(values, found):
    (note,) = code_notes(np.array(values, float), "age") or [None]
    assert (note or "").partition(", and is")[0] == (f"age is {found}" if found else "")
