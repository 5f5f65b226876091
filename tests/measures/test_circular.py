"""Angles: wrapped differences, means across the seam, and columns that hold angles."""

import numpy as np
import pytest
import torch

from neuro_noodle.measures.circular import (
    difference_deg,
    format_name,
    mean_deg,
    period,
    period_deg,
    split_name,
    spread_deg,
)

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


ANGLES = [
    [*(165.866, 111.448, -163.201, 167.675, -168.111, 101.093, -179.423, -150.168, 158.51, 166.2, 146.923, 174.737)],
    [*(52.164, 36.214, 15.873, 140.456, -50.083, 103.153, -174.869, 74.574, -54.756, -103.035, 30.017, 107.936)],
    [350.0, 20.0, 1.5, 340.25],
]


@pytest.mark.parametrize(
    ("angles", "mean", "spread"),
    [
        (ANGLES[0], 165.43520047, 30.88964630),
        (ANGLES[1], 53.98697575, 87.39505469),
        (ANGLES[2], -2.12416493, 14.84368875),
    ],
)
def test_mean_and_spread_are_those_of_astropy(angles, mean, spread):
    """Computed with circmean and circstd(method="circular") of astropy.stats 8.0.2, of the angles in radians."""
    assert mean_deg(np.array(angles)) == pytest.approx(mean, abs=1e-6)
    assert spread_deg(np.array(angles)) == pytest.approx(spread, abs=1e-6)


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


PERIODS = {  # 20 names of columns with values and their period
    "angle": ([0.1, 6.28], 2 * np.pi),
    "bodyAngle": ([-np.pi, np.pi], 2 * np.pi),
    "head_direction": ([0.1, 0.2], 2 * np.pi),
    "Heading (deg)": ([0, 3], 360),
    "motion_direction": ([0, 179], 360),
    "phase": ([-180, 180], 360),
    "azimuth_degrees": ([-90, 7], 360),
    "bearing2": ([np.nan, 359, np.inf], 360),
    "theta_rad": ([0, 3], 2 * np.pi),
    "orientation": ([0, 179], 180),
    "ori": ([0, 180], 180),
    "grating_orientation": ([-90, 90], 180),
    "orientation_deg": ([0, 1], 180),
    "bar_ori_rad": ([0, 3], np.pi),
    "head_orientation": ([0, 359], 360),
    "theta_power": ([0.2, 3.7], None),
    "direction_selectivity": ([0.0, 0.9], None),
    "heading_error": ([-170, 170], None),
    "phase_of_session": ([1, 2, 3], None),
    "degrees": ([0, 360], None),
}


@pytest.mark.parametrize("name", PERIODS)
def test_the_last_word_of_a_name_and_its_range_give_the_period(name):
    values, expected = PERIODS[name]
    assert period(name, np.array(values, float)) == expected


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("phase", [1, 2, 3]),
        ("orientation", [0, 1]),
        ("age", [0, 350]),
        ("rectangle", [0, 1]),
        ("angle", [0, 720]),
        ("angle", [-400, -100]),
        ("angle", [-200, 200]),
        ("orientation", [-200, 200]),
        ("angle", [np.nan, np.nan]),
        ("angle", []),
    ],
)
def test_other_names_or_ranges_are_not_angles(name, values):
    assert period(name, np.array(values, float)) is None


@pytest.mark.parametrize(
    ("name", "expected", "shown"),
    [
        ("gaze:360", 360, "gaze (360 deg)"),
        ("ori:180", 180, "ori (180 deg)"),
        ("gaze:pi", np.pi, "gaze (pi rad)"),
        ("gaze:2pi", 2 * np.pi, "gaze (2pi rad)"),
        ("hour:24", 24, "hour (24)"),
        ("angle:number", None, "angle"),
    ],
)
def test_a_period_after_the_name_is_used(name, expected, shown):
    assert period(name, np.array([0.5, 170])) == expected
    assert format_name(name, expected) == shown


@pytest.mark.parametrize("name", ["gaze", "eye:gaze", ":180", "gaze:", "gaze:0", "gaze:-180", "gaze:1e3"])
def test_other_endings_of_a_name_are_no_period(name):
    assert split_name(name) == (name, "")


@pytest.mark.parametrize(("period", "degrees"), [(180, 180), (np.pi, 180), (360, 360), (2 * np.pi, 360)])
def test_axes_repeat_after_half_a_turn(period, degrees):
    assert period_deg(period) == degrees


def test_the_difference_of_axes_is_at_most_90_degrees():
    assert difference_deg(np.array([1, 179, 100]), np.array([179, 1, 0]), 180).tolist() == [2, -2, -80]
