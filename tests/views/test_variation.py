"""The picture of a metric against what varies."""

import numpy as np
import pytest
from matplotlib.colors import to_hex

from neuro_noodle.views.variation import MAX_COLOURS, Point, plot_variation


def plot(values, others=("",)):
    points = [
        Point(value, other, [float(i), i + 2.0], {"baseline pca": 5.0})
        for i, value in enumerate(values)
        for other in others
    ]
    figure = plot_variation("lr", "test mse", points, "title")
    return figure, figure.axes[0]


def line(axis, label):
    return next(one for one in axis.lines if one.get_label() == label)


def test_medians_of_numbers_are_joined_in_their_order():
    _, axis = plot(["40", "2", "8"])
    assert line(axis, "median of runs").get_ydata() == pytest.approx([2, 3, 1])  # 2, 8, 40
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["2", "8", "40"]
    assert line(axis, "median of runs").get_linestyle() == "-"


def test_names_are_not_joined_and_turn_when_they_are_long():
    _, axis = plot(["adam", "sgd"])
    assert line(axis, "median of runs").get_linestyle() == line(axis, "baseline pca").get_linestyle() == "None"
    assert axis.get_xticklabels()[0].get_rotation() == 0
    _, axis = plot([f"configuration_{i}" for i in range(8)])
    assert axis.get_xticklabels()[0].get_rotation() == 40


@pytest.mark.parametrize(("low", "scale"), [(1e-4, "log"), (0.5, "linear")])
def test_many_numbers_are_at_their_place(low, scale):
    values = np.geomspace(low, 1, 12)
    _, axis = plot([f"{value:.4g}" for value in values])
    assert axis.get_xscale() == scale
    assert line(axis, "median of runs").get_xdata() == pytest.approx(values, rel=1e-3)


def test_more_combinations_than_colours_are_grey():
    _, axis = plot(["1", "2"], [f"batch {i}" for i in range(MAX_COLOURS)])
    assert len({to_hex(one.get_color()) for one in axis.lines}) == MAX_COLOURS + 1
    figure, axis = plot(["1", "2"], [f"batch {i}" for i in range(MAX_COLOURS + 1)])
    assert len({to_hex(one.get_color()) for one in axis.lines}) == 2
    assert [text.get_text() for text in figure.legends[0].texts] == ["baseline pca"]


def test_every_run_is_a_point():
    _, axis = plot(["1"])
    assert sorted(y for one in axis.lines if one.get_marker() == "." for y in one.get_ydata()) == [0.0, 2.0]
