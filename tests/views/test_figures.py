"""Figures of images, directions, numbers, neurons and explained variance show what they are given."""

import numpy as np
import pytest
from pictures import CHANNELS, RNG, check_drawn, check_saved, random_images, texts

from neuro_noodle.views import figures, films


def arrows_of(axis):
    """Return (start, tip) of each arrow on an axis, in px of the image."""
    starts = [np.asarray(one.get_offsets())[0] for one in axis.collections]
    return [(start, start + (one.U[0], one.V[0])) for start, one in zip(starts, axis.collections, strict=True)]


# -------------------------------------------------------------------------------------------------------------- arrows


@pytest.mark.parametrize(("angle", "way"), [(0, (1, 0)), (90, (0, 1)), (180, (-1, 0)), (-90, (0, -1))])
def test_an_arrow_points_from_its_centre_along_its_angle(angle, way):
    images, centres = RNG.random((1, 1, 30, 60)), np.array([[20.5, 12.0]])
    figure = figures.plot_arrows(images, np.array([angle]), np.array([45.0]), centres, ["one"])
    (start, tip), (_, other) = arrows_of(figure.axes[0])
    assert start == pytest.approx(centres[0]) and tip == pytest.approx(centres[0] + 10 * np.array(way))
    assert other == pytest.approx(centres[0] + 10 * np.sqrt(0.5))
    low, high = figure.axes[0].get_ylim()
    assert low > high  # y grows downwards, so that these angles turn clockwise
    assert figure.axes[0].collections[0].angles == "xy" and figure.axes[0].collections[0].scale == 1


def test_an_axis_is_a_line_through_its_centre():
    """It looks the same after half a turn, which an arrow does not."""

    def drawn(are_axes):
        figure = figures.plot_arrows(
            np.zeros((1, 1, 31, 31)), np.array([0.0]), np.array([np.nan]), None, ["a"], are_axes=are_axes
        )
        return films.figure_to_array(figure).max(2) > 100, figure.axes[0]

    (axis, panel), (arrow, _) = drawn(are_axes=True), drawn(are_axes=False)
    x, y = panel.transData.transform((15.5, 15.5)).round().astype(int)

    def is_symmetric(picture):
        around = picture[len(picture) - y - 8 : len(picture) - y + 8, x - 30 : x + 30]
        return (around != around[:, ::-1]).mean() < 0.05

    assert is_symmetric(axis) and not is_symmetric(arrow)


def test_an_arrow_of_90_degrees_points_down_on_the_screen():
    figure = figures.plot_arrows(np.zeros((1, 1, 30, 30)), np.array([90.0]), np.array([np.nan]), None, ["one"])
    picture, axis = films.figure_to_array(figure).astype(int), figure.axes[0]
    ((start, tip),) = arrows_of(axis)
    x, y = axis.transData.transform((start + tip) / 2).round().astype(int)  # y from the lower edge of the picture
    assert axis.transData.transform(tip)[1] < axis.transData.transform(start)[1]
    assert np.abs(picture[len(picture) - y, x] - (230, 159, 0)).max() < 12
    assert picture[len(picture) - y - 60, x].max() < 12  # as far above the middle there is none


def test_arrows_start_mid_image_and_unknown_angles_have_none():
    angles = np.array([10.0, np.nan])
    figure = figures.plot_arrows(np.zeros((2, 3, 8, 12)), angles, np.zeros(2), None, ["a", "b"])
    check_drawn(figure)
    assert [len(axis.collections) for axis in figure.axes] == [2, 1]
    assert arrows_of(figure.axes[0])[0][0] == pytest.approx((6, 4))


@pytest.mark.parametrize(("n", "shown"), [(1, 1), (7, 7), (25, 25), (30, 25)])
def test_25_images_at_most_have_arrows_and_one_legend(n, shown):
    figure = figures.plot_arrows(RNG.random((n, 1, 9, 9)), np.zeros(n), np.ones(n), None, [str(i) for i in range(n)])
    assert [axis.get_title() for axis in figure.axes if axis.images] == [str(i) for i in range(shown)]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["true", "predicted"]


def test_an_arrow_that_leaves_its_image_is_not_cut_off():
    figure = figures.plot_arrows(np.zeros((1, 1, 30, 30)), np.zeros(1), np.zeros(1), np.array([[28.0, 15.0]]), ["one"])
    assert figure.axes[0].get_xlim()[1] >= 38


# ------------------------------------------------------------------------------------------------- predictions


def test_r2_is_1_for_perfect_and_0_for_mean_predictions():
    true = {"x": np.arange(5.0), "y": np.arange(5.0)}
    figure = figures.plot_predictions({"x": true["x"], "y": np.full(5, 2.0)}, true)
    check_drawn(figure)
    assert [axis.get_title() for axis in figure.axes] == ["x: R² = 1.000, n = 5", "y: R² = 0.000, n = 5"]
    for axis in figure.axes:
        assert axis.lines[0].get_slope() == 1 and axis.lines[0].get_xy1()[0] == axis.lines[0].get_xy1()[1]


def test_images_without_a_true_number_are_not_plotted():
    true = np.array([0.0, np.nan, 2.0])
    (axis,) = figures.plot_predictions({"x": np.array([0.0, 99.0, 2.0])}, {"x": true}).axes
    assert np.asarray(axis.collections[0].get_offsets()).tolist() == [[0, 0], [2, 2]]
    assert axis.get_title() == "x: R² = 1.000, n = 2"


@pytest.mark.parametrize("values", [np.full(3, np.nan), np.ones(3)], ids=["unknown", "constant"])
def test_r2_is_undefined_without_variance(values):
    figure = figures.plot_predictions({"x": np.zeros(3)}, {"x": values})
    check_drawn(figure)
    assert "R² is not defined" in figure.axes[0].get_title()


def test_five_columns_take_two_rows_of_panels():
    columns = {name: RNG.random(6) for name in "abcde"}
    figure = figures.plot_predictions(columns, columns)
    assert [bool(axis.get_title()) for axis in figure.axes] == [True] * 5 + [False] * 3


# ----------------------------------------------------------------------------------------------------- neurons


def test_the_figure_has_a_title_and_each_panel_its_neuron():
    responses = RNG.random((5, 2))
    figure = figures.plot_responses(responses, responses, ["a", "b"], "the best")
    assert figure.get_suptitle() == "the best"
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]
    figure = figures.plot_fields({"first": RNG.random((2, 9, 9))}, ["a", "b"], "all fields")
    assert figure.get_suptitle() == "all fields"


# ---------------------------------------------------------------------------------------------------- variance


def test_bars_show_shares_and_lines_their_cumulative_sum():
    shares = {"training": np.array([0.5, 0.25, 0.125]), "held out": np.array([0.4, 0.2, 0.1])}
    figure = figures.plot_explained_variance(shares)
    check_drawn(figure)
    (axis,) = figure.axes
    assert [bar.get_height() for bar in axis.patches] == shares["training"].tolist()
    assert [line.get_ydata().tolist() for line in axis.lines] == [np.cumsum(own).tolist() for own in shares.values()]
    assert axis.yaxis.get_major_formatter()(0.5) == "50%"
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "cumulative, training: 87.5% with 3" in labels and "cumulative, held out: 70.0% with 3" in labels


# --------------------------------------------------------------------------------------------------- images and curves


@CHANNELS
@pytest.mark.parametrize("n", [1, 3])
def test_each_image_of_a_row_has_its_own_axis(channels, n):
    images = random_images(n, channels)
    figure = figures.plot_image_rows({"image": images, "again": images}, [f"number {i}" for i in range(n)])
    check_saved(figure)
    assert len(figure.axes) == 2 * n
    assert [axis.get_title() for axis in figure.axes[:n]] == [f"number {i}" for i in range(n)]
    shown = np.asarray(figure.axes[0].images[0].get_array())
    expected = images[0].clip(0, 1)
    assert np.array_equal(shown, np.moveaxis(expected, 0, 2) if channels == 3 else expected.mean(0))


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_confusion_matrix_shows_every_count(n):
    counts = np.arange(n * n).reshape(n, n)
    figure = figures.plot_confusion(counts, [f"class {i}" for i in range(n)], "validation: 50 %")
    check_saved(figure)
    assert [int(text.get_text()) for text in figure.axes[0].texts] == list(range(n * n))


@pytest.mark.parametrize("n", [1, 4])
def test_curves_show_the_metric_baselines_and_best_epoch(n):
    def losses(epoch):
        return {"train/loss": 1 / (epoch + 1), "validation/loss": 2 / (epoch + 1), "validation/mse": 3 / (epoch + 1)}

    records = [{"epoch": epoch} | losses(epoch) for epoch in range(n)]
    figure = figures.plot_curves(records, "mse", "min", {"pca": 0.5, "mean_image": 2.0}, best_epoch=n - 1)
    check_saved(figure)
    lines = {line.get_label(): line for line in figure.axes[1].lines}
    assert lines.keys() == {"validation", "best", "baseline: pca", "baseline: mean image"}
    assert lines["validation"].get_xdata().tolist() == list(range(1, n + 1))  # epochs are counted from 1
    assert (lines["best"].get_xdata(), lines["best"].get_ydata()) == ([n], [3 / n])


def test_curves_have_points_only_at_validated_epochs():
    records = [{"epoch": epoch, "train/loss": 1.0} for epoch in range(4)]
    records[3] |= {"validation/loss": 1.0, "validation/accuracy": 0.5}
    figure = figures.plot_curves(records, "accuracy", "max", {"majority_class": 0.5}, best_epoch=3)
    check_saved(figure)
    training, validation = figure.axes[0].lines
    assert training.get_xdata().tolist() == [1, 2, 3, 4] and validation.get_xdata().tolist() == [4]


@pytest.mark.filterwarnings("error")
def test_curves_and_bands_leave_out_undefined_values():
    records = [{"epoch": epoch, "train/loss": 1.0, "validation/r2": value} for epoch, value in enumerate([None, 0.5])]
    drawn = figures.plot_curves(records, "r2", "max", {"mean": None, "linear": 0.1}, best_epoch=1)
    assert "baseline: linear" in texts(drawn) and "baseline: mean" not in texts(drawn)
    check_drawn(figures.plot_curves([], "mse", "min", {"mean": None}, best_epoch=0))
    check_drawn(figures.plot_bands({"run": {1: np.array([np.nan, 1.0]), 2: np.array([1.0, np.inf])}}, "validation/r2"))


@pytest.mark.filterwarnings("error")
def test_unknown_neurons_have_an_undefined_mean():
    unknown = np.full(3, np.nan)
    drawn = figures.plot_neurons(unknown, unknown, np.nan, "x")
    assert any("mean r undefined, ceiling undefined" in text for text in texts(drawn))
