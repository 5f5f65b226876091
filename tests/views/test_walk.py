"""Plotting/walk.py: images decoded along the direction in which a metadata column changes."""

import numpy as np
import pytest
from helpers import raises_user_error
from pictures import PNG

from neuro_noodle.data.base import StimulusSet
from neuro_noodle.runs.run import open_run
from neuro_noodle.views import walk
from Plotting import walk as command

RNG = np.random.default_rng(0)


@pytest.fixture
def film_run(film_runs):
    """A run of frames with the columns angle, x (sometimes empty), mood (glad, sad) and animal."""
    return open_run(film_runs / "two")


def images_with(column: list) -> StimulusSet:
    return StimulusSet(
        np.zeros((len(column), 1, 2, 2), np.uint8), [f"{i}" for i in range(len(column))], max_value=255,
        columns={"what": column},
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------ directions


def test_between_two_classes_the_slope_is_their_difference():
    latents, shares = RNG.normal(size=(9, 3)), np.array([0, 0, 0, 1, 1, 1, 1, 1, 1])
    expected = latents[3:].mean(0) - latents[:3].mean(0)
    np.testing.assert_allclose(walk.slope(latents, shares), expected)


def test_the_slope_of_a_line_is_its_direction():
    direction, shares = np.array([3.0, -1.0, 0.0]), RNG.normal(size=20)
    np.testing.assert_allclose(walk.slope(5 + shares[:, None] * direction, shares), direction, atol=1e-12)


def test_the_control_has_the_same_length_and_a_right_angle():
    step = RNG.normal(size=5)
    control = walk.find_control(step, RNG.normal(size=5))
    assert np.linalg.norm(control) == pytest.approx(np.linalg.norm(step))
    assert control @ step == pytest.approx(0)
    assert (walk.find_control(step, 2 * step) == 0).all() and (walk.find_control(0 * step, step) == 0).all()


def test_a_walk_moves_along_a_column_that_latents_hold(film_run):
    """Held-out images, and so images that were not used for the direction, are in the order of the column."""
    latents = RNG.normal(size=(len(film_run.dataset), 4))
    is_sad = np.array([mood == "sad" for mood in film_run.dataset.columns["mood"]])
    latents[:, 2] += 20 * is_sad
    text = walk.find_walk(film_run, latents, "mood", "glad", "sad").text
    assert text.startswith("mood from glad to sad: direction of 180 training images; it orders 60 held-out ones ")
    assert "with AUC 1.000 (chance 0.5), the control with AUC 0." in text
    assert "with AUC 1.000 (" in walk.find_walk(film_run, latents, "mood", "sad", "glad").text


def test_images_without_the_number_are_not_used(film_run):
    x = np.array(film_run.dataset.columns["x"])
    latents = np.where(x == "", "nan", x).astype(float)[:, None] * [1.0, 2.0, 0.0, 0.0]  # NaN where x is empty
    found = walk.find_walk(film_run, latents, "x", "4", "8")
    np.testing.assert_allclose(found.step, [4, 8, 0, 0], atol=1e-5)
    assert "direction of 162 training images; it orders 54 held-out ones with r 1.000" in found.text
    assert found.way.titles == ["2", "3", "4", "5", "6", "7", "8", "9", "10"]


def test_a_column_without_held_out_differences_has_no_score():
    for order in (
        walk.Order.of(RNG.normal(size=3), np.zeros(3), True),
        walk.Order.of(np.zeros(2), np.array([0.0, 1.0]), False),
    ):
        assert str(order) == "no score, because they do not differ" and order.is_better_than(order)


def test_a_direction_no_better_than_its_control_is_named():
    shares = np.array([0.0, 0.0, 1.0, 1.0])
    good, reversed_, chance = (walk.Order.of(np.array(places), shares, True) for places in
                              ([1.0, 2, 3, 4], [4.0, 3, 2, 1], [1.0, 4, 2, 3]))  # fmt: skip
    assert good.is_better_than(chance) and not chance.is_better_than(reversed_)
    assert not good.is_better_than(reversed_) and not reversed_.is_better_than(chance)


# --------------------------------------------------------------------------------------------------------- pictures


def test_a_walk_passes_through_the_image_it_starts_from(run):
    latents = run.latents()
    found = walk.find_walk(run, latents, "emotion", "Sa", "Ha")
    figure = walk.plot_walk(run, latents, found)
    n_columns = 1 + len(walk.SHARES)
    assert len(figure.axes) == 2 * walk.N_IMAGES * n_columns
    shown = [axis.get_title().replace("\n", "") for axis in figure.axes[:: 2 * n_columns]]
    for number, title in enumerate(shown):
        index = run.dataset.ids.index(title.partition(": ")[2])
        assert run.part[index] == "validation" and run.dataset.columns["emotion"][index] == "Sa"
        expected = run.decode(latents[[index]])[0, 0].clip(0, 1)
        for row in (2 * number, 2 * number + 1):
            pixels = figure.axes[row * n_columns + 1 + walk.START].images[0].get_array()
            np.testing.assert_allclose(pixels, expected, atol=1e-5)


def test_images_of_the_second_class_are_changed_if_no_others():
    way = walk.find_way(images_with([*"aabbbcccc"]), np.ones(9, bool), "what", "a", "b")
    assert way.choose(np.array([1, 3, 6])).tolist() == [1]
    assert way.choose(np.array([3, 6])).tolist() == [3]


def test_the_command_writes_a_picture_and_prints_its_path(face_runs, capsys):
    assert command.main([str(face_runs / "ae"), "--column", "emotion", "--from", "Sa", "--to", "Ha"]) == 0
    text, path = capsys.readouterr().out.splitlines()
    assert text.startswith("emotion from Sa to Ha: direction of 18 training images; ")
    assert path == str(face_runs / "ae" / "figures" / "walk.png")
    picture = face_runs / "ae" / "figures" / "walk.png"
    assert picture.read_bytes().startswith(PNG)
    picture.unlink()  # other tests count the pictures of this run


def test_named_images_are_shown(film_run):
    latents = film_run.latents()
    figure = walk.plot_walk(film_run, latents, walk.find_walk(film_run, latents, "x"), film_run.dataset.ids[:1])
    assert figure.axes[0].get_title() == f"1: {film_run.dataset.ids[0]}"


# --------------------------------------------------------------------------------------------------------- choosing


def test_the_first_column_is_informative_and_no_angle(film_run, run):
    assert walk.first_column(film_run.dataset) == "mood"
    assert walk.first_column(run.dataset) == "emotion"
    with raises_user_error("no metadata column has classes"):
        walk.first_column(images_with(["a", "b"]))


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, ["b", "c"]),
        ("a", None, ["a", "c"]),
        (None, "c", ["b", "c"]),
        ("c", "a", ["c", "a"]),
    ],
)
def test_classes_that_are_not_named_are_the_most_frequent(start, end, expected):
    way = walk.find_way(images_with([*"aabbbcccc"]), np.ones(9, bool), "what", start, end)
    assert [way.titles[walk.START], way.titles[walk.END]] == expected
    assert np.isnan(way.share).sum() == 9 - sum("aabbbcccc".count(name) for name in expected)


@pytest.mark.parametrize(
    ("values", "words", "message"),
    [
        (["a", "a", "b", "b"], ("wat", None, None), "no column wat; did you mean 'what'?"),
        (["a", "a", "b", "b"], ("what", "c", None), "no training image has what c; allowed: a, b"),
        (["a", "a", "b", "b"], ("what", "a", "a"), "a walk needs two values of what"),
        (["a", "a", "a", "b"], ("what", None, None), "2 training images or more; there are a (3), b (1)"),
        (["a", "a", "a", "a"], ("what", None, None), "2 training images or more; there are a (4)"),
        (["1", "1", "1", "1"], ("what", None, None), "all training images have the same what"),
        (["1", "2", "3", "4"], ("what", "low", None), "--from and --to must be numbers, not low and None"),
        (["1", "2", "3", "4"], ("what", "2", "2"), "a walk needs two different values of what"),
        (["1", "2", "3", "4"], ("what:180", None, None), "what:180 holds angles"),
    ],
)
def test_values_that_allow_no_walk_are_refused(values, words, message):
    with raises_user_error(message):
        walk.find_way(images_with(values), np.ones(4, bool), *words)


def test_a_run_that_makes_no_images_is_refused(face_runs, capsys):
    assert command.main([str(face_runs / "emotion")]) == 2
    assert "emotion predicts probabilities of classes, so it makes no images" in capsys.readouterr().err


def test_images_that_are_not_on_the_way_are_refused(film_run):
    latents, dataset = film_run.latents(), film_run.dataset
    found = walk.find_walk(film_run, latents, "x")
    empty = dataset.ids[5]
    with raises_user_error(f"{empty} has another x or none"):
        walk.plot_walk(film_run, latents, found, [empty])
    with raises_user_error("there is no 7x"):
        walk.plot_walk(film_run, latents, found, ["7x"])
    film_run.parts = film_run.parts | {"test": [5]}
    with raises_user_error("no held-out image has such a value"):
        walk.plot_walk(film_run, latents, found)
