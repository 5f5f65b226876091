"""Confidence intervals: Wilson's for a share, the jackknife for any other metric."""

import numpy as np
import pytest

from neuro_noodle.measures.intervals import jackknife, wilson


def interval(is_correct, groups):
    return wilson(np.asarray(is_correct, float), np.asarray(groups))


def width(is_correct, groups):
    low, high = interval(is_correct, groups)
    return high - low


# ------------------------------------------------------------------------------------------------------ wilson


@pytest.mark.parametrize("n", [2, 10, 97])
def test_without_groups_the_interval_is_wilsons(n):
    z = 1.959964
    for n_correct in {0, 1, n // 2, n - 1, n}:
        p = n_correct / n
        centre = p + z**2 / (2 * n)
        half = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
        exact = [(centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)]
        assert interval([True] * n_correct + [False] * (n - n_correct), range(n)) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("n_groups", [2, 8, 24])
def test_if_all_are_correct_the_interval_still_has_a_width(n_groups):
    low, high = interval([True] * 24, np.arange(24) % n_groups)
    assert low < 1
    assert high == pytest.approx(1)
    low, high = interval([False] * 24, np.arange(24) % n_groups)
    assert low == pytest.approx(0)
    assert high > 0


@pytest.mark.parametrize("n_correct", [0, 24])
def test_more_groups_make_the_interval_narrower(n_correct):
    is_correct = [True] * n_correct + [False] * (24 - n_correct)
    widths = [width(is_correct, np.arange(24) * n_groups // 24) for n_groups in (2, 4, 8, 24)]
    assert all(wider > narrower for wider, narrower in zip(widths[:-1], widths[1:], strict=True))


def test_two_groups_count_no_more_than_four():
    """One of the two makes all errors."""
    is_correct = [False] * 3 + [True] * 21
    assert width(is_correct, np.arange(24) // 12) >= width(is_correct, np.arange(24) // 6) - 1e-9


def test_errors_in_few_groups_make_a_wider_interval():
    groups = np.arange(60) // 6
    few = np.ones(60, bool)
    few[:12] = False  # all images of two of ten groups
    spread = np.ones(60, bool)
    spread[::5] = False  # as many errors, over all ten groups
    assert few.sum() == spread.sum()
    assert width(few, groups) > 1.5 * width(spread, groups)


def test_evenly_spread_errors_are_better_than_one_bad_group():
    groups = np.arange(16) // 4
    assert width([False, True, True, True] * 4, groups) < width([False] * 4 + [True] * 12, groups)


@pytest.mark.parametrize("is_correct", [[True], [True, False, True], [True] * 9])
def test_one_group_has_no_interval(is_correct):
    """Nothing says how much groups differ."""
    assert interval(is_correct, np.zeros(len(is_correct))) is None


def test_the_interval_covers_the_truth_95_percent_of_the_time():
    generator = np.random.default_rng(0)
    is_covered = []
    for _ in range(400):
        ability = generator.beta(7, 3, size=20)  # of each group; 0.7 on average
        is_correct = generator.random((20, 6)) < ability[:, None]
        low, high = interval(is_correct.ravel(), np.repeat(np.arange(20), 6))
        is_covered.append(low <= 0.7 <= high)
    assert np.mean(is_covered) == pytest.approx(0.95, abs=0.035)  # three sd of a share of 400


# --------------------------------------------------------------------------------------------------- jackknife


def jackknife_of_mean(values, groups):
    return jackknife(lambda is_kept: values[is_kept].mean(), groups, np.log, np.exp)


def test_values_that_vary_with_the_group_widen_the_jackknife():
    values = np.repeat(np.random.default_rng(0).random(8), 10)
    low, high = jackknife_of_mean(values, np.arange(80) // 10)
    narrow_low, narrow_high = jackknife_of_mean(values, np.arange(80))
    assert low < values.mean() < high
    assert high - low > 2 * (narrow_high - narrow_low)


def test_the_jackknife_of_a_single_group_is_none():
    assert jackknife_of_mean(np.random.default_rng(0).random(20), np.zeros(20)) is None


@pytest.mark.filterwarnings("error")
def test_perfect_scores_have_an_interval_without_width():
    assert jackknife(lambda is_kept: 1.0, np.arange(5), lambda r2: np.log(1 - r2), lambda y: 1 - np.exp(y)) == (1, 1)
    assert jackknife(lambda is_kept: 0.0, np.arange(5), np.log, np.exp) == (0, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("without_the_last", [np.nan, -np.inf, 1e300])
def test_an_interval_without_finite_ends_is_none(without_the_last):
    def metric(is_kept):
        return 1e-300 if is_kept[-1] else without_the_last

    assert jackknife(metric, np.arange(4), np.log, np.exp) is None
