"""The columns that colour maps: what is predicted first, none twice, none that holds nothing."""

import numpy as np
import pytest
from helpers import raises_user_error

from neuro_noodle.views.map_columns import choose_columns, informative_columns

ANGLES = np.random.default_rng(0).uniform(0, 2 * np.pi, 30)


def test_informative_columns_are_distinct_and_repeat():
    columns = {
        "person": ["a", "a", "b", "b", "c", "c"],
        "constant": ["x"] * 6,
        "file": list("abcdef"),
        "same_as_person": ["3", "3", "1", "1", "2", "2"],
        "emotion": ["sad", "happy"] * 3,
        "too_fine": ["v", "w", "x", "y", "y", "y"],
    }
    informative = informative_columns(columns)
    assert list(informative) == ["person", "emotion"]
    assert all(informative[name] == columns[name] for name in informative)
    assert informative_columns({}) == {}


@pytest.mark.parametrize("as_read", [np.array, lambda values: [str(value) for value in values]])
def test_numbers_are_informative_also_as_texts(as_read):
    columns = {"x": as_read(np.linspace(0, 6, 30)), "y": as_read(ANGLES), "constant": as_read(np.ones(30))}
    columns["name"] = [f"image{i}" for i in range(30)]
    assert list(informative_columns(columns)) == ["x", "y"]
    assert list(informative_columns(columns, classes=["y"])) == ["x"]  # each class has one image


def test_a_column_in_another_unit_is_not_shown_again():
    columns = {"angle": ANGLES, "angle_deg": np.degrees(ANGLES) % 360, "heading_deg": np.degrees(ANGLES) - 180}
    columns |= {"cm": ANGLES**3, "mm": 10 * ANGLES**3 + 3, "other": ANGLES**2}
    assert list(informative_columns(columns)) == ["angle", "cm", "other"]


def test_predicted_columns_and_angles_come_before_counts():
    columns = {
        "folder": ["a", "b"] * 15,
        "part": ["test", "train", "train"] * 10,
        "frame": np.arange(30),
        "x": ANGLES**2,
        "mood": ["sad", "glad", "calm"] * 10,
        "angle": ANGLES,
    }
    assert list(choose_columns(columns, first=["mood", None], n_max=9)) == ["mood", "angle", "x", "frame", "folder"]
    assert list(choose_columns(columns, n_max=2)) == ["angle", "x"]
    assert choose_columns({"part": columns["part"]}, n_max=2) == {}


def test_columns_asked_for_are_all_shown_as_asked():
    columns = {"part": ["a", "b"], "bar": ["1", "2"], "same": ["1", "2"]}
    assert choose_columns(columns, ["same", "part", "bar:180"], n_max=1) == {
        "same": ["1", "2"],
        "part": ["a", "b"],
        "bar:180": ["1", "2"],
    }
    with raises_user_error("--columns: there is no mood; there are part, bar, same"):
        choose_columns(columns, ["mood"], n_max=1)
