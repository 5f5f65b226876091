"""Figures of directions, numbers, films, variance and cyclic colours: what they show is what they were given."""

import numpy as np
import pytest

from neuro_noodle.views import figures

RNG = np.random.default_rng(0)
NONE = np.zeros(40, bool)


def drawn(figure):
    """Hold that something is drawn, and return the (H, W, 3) picture."""
    picture = figures.as_array(figure, dpi=40)
    assert picture.dtype == np.uint8 and picture.min() < picture.max()
    return picture


def arrows_of(axis):
    """Return (start, tip) of each arrow on an axis, in px of the image."""
    starts = [np.asarray(one.get_offsets())[0] for one in axis.collections]
    return [(start, start + (one.U[0], one.V[0])) for start, one in zip(starts, axis.collections, strict=True)]


# ------------------------------------------------------------------------------------------------------ arrows


@pytest.mark.parametrize(("angle", "way"), [(0, (1, 0)), (90, (0, 1)), (180, (-1, 0)), (-90, (0, -1))])
def test_an_arrow_starts_at_its_centre_and_its_tip_lies_where_the_angle_says(angle, way):
    images, centres = RNG.random((1, 1, 30, 60)), np.array([[20.5, 12.0]])
    figure = figures.arrows(images, np.array([angle]), np.array([45.0]), centres, ["one"])
    (start, tip), (_, other) = arrows_of(figure.axes[0])
    assert start == pytest.approx(centres[0]) and tip == pytest.approx(centres[0] + 10 * np.array(way))
    assert other == pytest.approx(centres[0] + 10 * np.sqrt(0.5))
    low, high = figure.axes[0].get_ylim()
    assert low > high  # y grows downwards, so that these angles turn clockwise
    assert figure.axes[0].collections[0].angles == "xy" and figure.axes[0].collections[0].scale == 1


def test_on_the_screen_an_arrow_of_ninety_degrees_points_down():
    figure = figures.arrows(np.zeros((1, 1, 30, 30)), np.array([90.0]), np.array([np.nan]), None, ["one"])
    picture, axis = figures.as_array(figure).astype(int), figure.axes[0]
    ((start, tip),) = arrows_of(axis)
    x, y = axis.transData.transform((start + tip) / 2).round().astype(int)  # y from the lower edge of the picture
    assert axis.transData.transform(tip)[1] < axis.transData.transform(start)[1]
    assert np.abs(picture[len(picture) - y, x] - (230, 159, 0)).max() < 12
    assert picture[len(picture) - y - 60, x].max() < 12  # as far above the middle there is none


def test_without_a_centre_an_arrow_starts_in_the_middle_and_without_an_angle_there_is_none():
    angles = np.array([10.0, np.nan])
    figure = figures.arrows(np.zeros((2, 3, 8, 12)), angles, np.zeros(2), None, ["a", "b"])
    drawn(figure)
    assert [len(axis.collections) for axis in figure.axes] == [2, 1]
    assert arrows_of(figure.axes[0])[0][0] == pytest.approx((6, 4))


@pytest.mark.parametrize(("n", "shown"), [(1, 1), (7, 7), (25, 25), (30, 25)])
def test_up_to_twenty_five_images_wear_arrows_and_one_legend_names_them(n, shown):
    figure = figures.arrows(RNG.random((n, 1, 9, 9)), np.zeros(n), np.ones(n), None, [str(i) for i in range(n)])
    assert [axis.get_title() for axis in figure.axes if axis.images] == [str(i) for i in range(shown)]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["true", "predicted"]


def test_an_arrow_that_leaves_its_image_is_not_cut():
    figure = figures.arrows(np.zeros((1, 1, 30, 30)), np.zeros(1), np.zeros(1), np.array([[28.0, 15.0]]), ["one"])
    assert figure.axes[0].get_xlim()[1] >= 38


# ------------------------------------------------------------------------------------------------- predictions


def test_a_perfect_prediction_has_an_r2_of_one_and_the_mean_has_zero():
    true = {"x": np.arange(5.0), "y": np.arange(5.0)}
    figure = figures.predictions({"x": true["x"], "y": np.full(5, 2.0)}, true)
    drawn(figure)
    assert [axis.get_title() for axis in figure.axes] == ["x: R² = 1.000, n = 5", "y: R² = 0.000, n = 5"]
    for axis in figure.axes:
        assert axis.lines[0].get_slope() == 1 and axis.lines[0].get_xy1()[0] == axis.lines[0].get_xy1()[1]


def test_images_whose_truth_is_unknown_are_left_out_of_a_prediction():
    true = np.array([0.0, np.nan, 2.0])
    (axis,) = figures.predictions({"x": np.array([0.0, 99.0, 2.0])}, {"x": true}).axes
    assert np.asarray(axis.collections[0].get_offsets()).tolist() == [[0, 0], [2, 2]]
    assert axis.get_title() == "x: R² = 1.000, n = 2"


@pytest.mark.parametrize("values", [np.full(3, np.nan), np.ones(3)], ids=["unknown", "constant"])
def test_no_r2_is_told_where_there_is_no_variance(values):
    figure = figures.predictions({"x": np.zeros(3)}, {"x": values})
    drawn(figure)
    assert "R² is not defined" in figure.axes[0].get_title()


def test_five_columns_take_two_rows_of_panels():
    columns = {name: RNG.random(6) for name in "abcde"}
    figure = figures.predictions(columns, columns)
    assert [bool(axis.get_title()) for axis in figure.axes] == [True] * 5 + [False] * 3


# -------------------------------------------------------------------------------------------------------- film


@pytest.mark.parametrize(("side", "factor"), [(50, 4), (60, 4), (199, 2), (200, 1), (300, 1)])
def test_a_film_enlarges_by_a_whole_factor_and_every_pixel_keeps_its_value(side, factor):
    images = RNG.random((3, 1, side, side))
    frames = figures.film({"image": images}, ["7", "8", "9"])
    assert len(frames) == 3 and {(frame.shape, frame.dtype.name) for frame in frames} == {(frames[0].shape, "uint8")}
    high = side * factor
    top = frames[0].shape[0] - 28 - high
    left = (frames[0].shape[1] - high) // 2
    for frame, image in zip(frames, images, strict=True):
        shown = frame[top : top + high, left : left + high]
        grey = np.rint(255 * image[0]).astype(np.uint8)
        assert np.array_equal(shown[::factor, ::factor], np.stack([grey] * 3, 2))
        assert np.array_equal(shown, np.kron(grey, np.ones((factor, factor), np.uint8))[..., None].repeat(3, 2))


def test_the_rows_of_a_film_lie_side_by_side_and_values_beyond_white_stay_white():
    red = np.zeros((2, 3, 200, 200))
    red[:, 0] = 1.7
    (first, _) = figures.film({"grey": np.full((2, 1, 200, 200), 0.5), "red": red}, ["7", "8"])
    middle = first[120]
    half = first.shape[1] // 2
    assert (middle[half // 2] == 128).all() and middle[half + half // 2].tolist() == [255, 0, 0]
    assert first[:28].min() < 100  # the names


def test_a_long_name_widens_its_film_rather_than_being_cut():
    name = "what the network makes of each frame of this film"
    short, *long = (
        figures.film({above: np.zeros((1, 1, 50, 50))}, [below])[0]
        for above, below in (("a", "b"), (name, "b"), ("a", name))
    )
    assert short.shape[1] == 208
    for frame in long:
        assert frame.shape[1] > 208 and (frame[:, :3] == 255).all() and (frame[:, -3:] == 255).all()


def test_each_frame_of_a_film_is_named():
    first, second = figures.film({"image": np.zeros((2, 1, 50, 50))}, ["day2/17", "day2/18"])
    assert first[-28:].min() < 100 and (first[-28:] != second[-28:]).any()
    assert np.array_equal(first[:-28], second[:-28])


# ----------------------------------------------------------------------------------------------------- neurons


def test_the_title_over_all_neurons_is_its_own_and_each_panel_names_its_neuron():
    responses = RNG.random((5, 2))
    figure = figures.responses(responses, responses, ["a", "b"], "the best")
    assert figure.get_suptitle() == "the best"
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]
    figure = figures.fields({"first": RNG.random((2, 9, 9))}, ["a", "b"], "all fields")
    assert figure.get_suptitle() == "all fields"


# ---------------------------------------------------------------------------------------------------- variance


def test_bars_are_the_own_shares_of_the_first_part_and_lines_add_them_up_for_each():
    shares = {"training": np.array([0.5, 0.25, 0.125]), "held out": np.array([0.4, 0.2, 0.1])}
    figure = figures.explained_variance(shares)
    drawn(figure)
    (axis,) = figure.axes
    assert [bar.get_height() for bar in axis.patches] == shares["training"].tolist()
    assert [line.get_ydata().tolist() for line in axis.lines] == [np.cumsum(own).tolist() for own in shares.values()]
    assert axis.yaxis.get_major_formatter()(0.5) == "50%"
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert "first K, training: 87.5% by 3" in told and "first K, held out: 70.0% by 3" in told


# ----------------------------------------------------------------------------------------------- cyclic colours


def colours_of(name, values, **options):
    """Return the map of one column: its colours (N, 4), the name of its colour map, and its colour bar's labels."""
    placed = RNG.normal(size=(len(values), 2))
    figure = figures.maps({"latents": placed}, {name: values}, np.zeros(len(values), bool))
    drawn(figure)
    points = figure.axes[0].collections[0]
    bar = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    return points.to_rgba(points.get_array()), points.get_cmap().name, bar


@pytest.mark.parametrize(
    ("name", "turn", "labels"),
    [
        ("angle_deg", 360, ["0°", "90°", "180°", "270°", "360°"]),
        ("angle", 2 * np.pi, ["0", "π/2", "π", "3π/2", "2π"]),
    ],
)
def test_an_angle_is_coloured_in_a_circle_where_nought_and_a_full_turn_are_the_same(name, turn, labels):
    rgba, colour_map, told = colours_of(name, np.linspace(0, turn, 41))
    assert colour_map == "cycle" and told == labels
    assert rgba[0] == pytest.approx(rgba[-1], abs=0.02)
    assert np.abs(np.diff(rgba, axis=0)).max() < 0.15  # no jump anywhere
    quarters = rgba[[0, 10, 20, 30], :3]
    apart = np.linalg.norm(quarters[:, None] - quarters, axis=2) + 9 * np.eye(4)
    assert apart.min() > 0.4


def test_an_angle_below_nought_has_the_colour_of_the_same_direction():
    below, _, _ = colours_of("angle_deg", np.linspace(-180, 170, 36))
    above, _, _ = colours_of("angle_deg", np.linspace(-180, 170, 36) % 360)
    assert np.array_equal(below, above)


def test_angles_out_of_a_table_are_texts_and_an_empty_one_is_grey():
    values = [f"{value}" for value in np.linspace(0, 6, 40)]
    values[7] = ""
    rgba, colour_map, _ = colours_of("heading", values)
    assert colour_map == "cycle" and rgba[7] == pytest.approx((0.75, 0.75, 0.75, 1))


def test_other_numbers_keep_viridis_and_categories_their_palette():
    assert colours_of("distance", np.linspace(0, 6, 40))[1] == "viridis"
    assert colours_of("angle_deg", np.linspace(0, 4000, 40))[1] == "viridis"  # no direction: several turns
    figure = figures.maps({"latents": RNG.normal(size=(40, 2))}, {"angle": ["a", "b"] * 20}, NONE)
    assert figure.axes[0].get_legend() is not None


# --------------------------------------------------------------------------------------------------- snapshots


@pytest.fixture
def grid():
    points = {f"after {i} epochs": RNG.normal(size=(40, 2)) * (i + 1) for i in range(3)}
    columns = {"angle_deg": np.linspace(0, 350, 40), "kind": ["a", "b"] * 20}
    limits = np.array([[-9, -8], [9, 8]])
    return points, columns, np.arange(40) % 4 == 0, {3: np.zeros((1, 5, 5)), 8: np.ones((3, 5, 5))}, limits


def panels(figure):
    return [axis for axis in figure.axes if axis.collections and not axis.get_label().startswith("<colorbar")]


def test_every_map_of_a_run_has_the_same_limits_and_calls_the_same_images_out(grid):
    points, columns, held_out, called, limits = grid
    figure = figures.snapshots(*grid)
    drawn(figure)
    found = panels(figure)
    assert len(found) == 6 and [axis.get_title() for axis in found[:3]] == list(points)
    assert figure.axes[-1].get_ylabel() == "angle_deg" and found[-1].get_legend().get_title().get_text() == "kind"
    assert len({(axis.get_xlim(), axis.get_ylim()) for axis in found}) == 1
    (low_x, high_x), (low_y, high_y) = found[0].get_xlim(), found[0].get_ylim()
    assert low_x < limits[0, 0] and high_x > limits[1, 0] and low_y < limits[0, 1] and high_y > limits[1, 1]
    for axis, placed in zip(found, [*points.values()] * 2, strict=True):
        boxes = [artist for artist in axis.artists if hasattr(artist, "xybox")]
        assert [tuple(box.xy) for box in boxes] == [tuple(placed[i]) for i in called]
        assert np.array_equal(np.asarray(axis.collections[-1].get_offsets()), placed[held_out])


def test_one_map_alone_has_its_columns_beside_each_other(grid):
    points, *rest = grid
    figure = figures.snapshots({"after 2 epochs": points["after 2 epochs"]}, *rest, axis_name="latent")
    first, second = panels(figure)
    drawn(figure)
    assert first.get_position().y0 == pytest.approx(second.get_position().y0, abs=0.01)
    assert (first.get_xlabel(), first.get_ylabel()) == ("latent 1", "latent 2")


def test_maps_of_a_film_stay_in_their_place(grid):
    points, *rest = grid
    frames = [figures.as_array(figures.snapshots({title: placed}, *rest)) for title, placed in points.items()]
    assert len({frame.shape for frame in frames}) == 1
    box = [
        panels(figures.snapshots({title: placed}, *rest))[0].get_position().bounds for title, placed in points.items()
    ]
    assert len(set(box)) == 1
