"""Angles: wrapped differences, means across the seam, and columns that hold angles."""

import numpy as np
import pytest
import torch

from neuro_noodle.measures.circular import difference_deg, mean_deg, period, period_deg, spread_deg

RNG = np.random.default_rng(0)
EVERY = np.arange(-720.0, 721.0, 7)


@pytest.mark.parametrize(
    ("angle", "reference", "expected"),
    [(1, 359, 2), (359, 1, -2), (180, 0, -180), (0, 180, -180), (90, 90, 0), (725, 0, 5), (-185, 0, 175)],
)
def test_a_difference_is_taken_the_short_way_round(angle, reference, expected):
    assert difference_deg(angle, reference) == expected
    assert difference_deg(torch.tensor([float(angle)]), torch.tensor([float(reference)])).tolist() == [expected]


def test_a_difference_is_correct_and_at_most_half_a_turn():
    angle, reference = np.meshgrid(EVERY, EVERY)
    difference = difference_deg(angle, reference)
    assert ((difference >= -180) & (difference < 180)).all()
    assert np.allclose((angle - reference - difference) % 360, 0)
    opposite = np.abs(difference) == 180
    assert np.array_equal(difference[~opposite], -difference_deg(reference, angle)[~opposite])


@pytest.mark.parametrize(
    ("angles", "mean"), [([350, 20], 5), ([359, 1], 0), ([170, -170], 180), ([10, 10, 10], 10), ([0, 90], 45)]
)
def test_the_mean_of_angles_is_right_across_the_seam(angles, mean):
    assert abs(difference_deg(mean_deg(np.array(angles, float)), mean)) < 1e-9


def test_the_mean_rotates_with_angles_and_ignores_full_turns():
    angles = RNG.normal(40, 50, 200)
    for turn in range(0, 360, 30):
        assert abs(difference_deg(mean_deg(angles + turn), mean_deg(angles) + turn)) < 1e-9
    assert abs(difference_deg(mean_deg(angles + 360 * RNG.integers(-2, 3, 200)), mean_deg(angles))) < 1e-9


@pytest.mark.parametrize("n", [1, 2, 3, 7, 100])
def test_equal_angles_have_no_spread(n):
    spreads = [spread_deg(np.full(n, float(angle))) for angle in range(360)]
    assert spreads == pytest.approx([0] * 360, abs=1e-5)


@pytest.mark.parametrize("sd", [1, 5, 20, 60])
def test_the_spread_is_the_sd_of_a_wrapped_normal_distribution(sd):
    angles = RNG.normal(350, sd, 200_000)
    assert spread_deg(angles % 360) == pytest.approx(sd, rel=0.01)


def test_uniform_angles_have_the_largest_spread():
    assert spread_deg(RNG.uniform(0, 360, 1000)) > 100


@pytest.mark.parametrize(
    ("name", "values", "turn"),
    [
        ("angle", [0, 6.28], 2 * np.pi),
        ("angle", [-np.pi, np.pi], 2 * np.pi),
        ("head_direction", [0.1, 0.2], 2 * np.pi),
        ("Heading (deg)", [0, 3], 360),
        ("orientation_degrees", [0, 1], 180),
        ("ori", [0, 179], 180),
        ("grating_orientation", [0.1, 3.1], np.pi),
        ("orientation", [0, 180], 360),
        ("orientation", [-10, 90], 360),
        ("direction", [0, 179], 360),
        ("theta", [0, 350], 360),
        ("phase", [-180, 180], 360),
        ("azimuth", [-90, 7], 360),
        ("bearing2", [np.nan, 359, np.inf], 360),
        ("angle", [0, 2 * np.pi], 2 * np.pi),
        ("angle", [0, 360], 360),
    ],
)
def test_an_angle_column_is_known_by_name_and_range(name, values, turn):
    assert period(name, np.array(values, float)) == pytest.approx(turn)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rectangle", [0, 1]),
        ("age", [0, 350]),
        ("x", [0, 1]),
        ("degrees", [0, 360]),
        ("angle", [0, 720]),
        ("angle", [-400, -100]),
        ("angle", [-200, 200]),
        ("angle", [np.nan, np.nan]),
        ("angle", []),
    ],
)
def test_other_names_or_ranges_are_not_angles(name, values):
    assert period(name, np.array(values, float)) is None


@pytest.mark.parametrize(("period", "degrees"), [(180, 180), (np.pi, 180), (360, 360), (2 * np.pi, 360)])
def test_axes_repeat_after_half_a_turn(period, degrees):
    assert period_deg(period) == degrees


def test_the_difference_of_axes_is_at_most_90_degrees():
    assert difference_deg(np.array([1, 179, 100]), np.array([179, 1, 0]), 180).tolist() == [2, -2, -80]
