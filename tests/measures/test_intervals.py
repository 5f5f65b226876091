"""95 % intervals: of a share, and by the jackknife of any other metric."""

import numpy as np
import pytest
from scipy.special import betaln
from scipy.stats import beta

from neuro_noodle.measures.intervals import accuracy_interval, from_root_scale, jackknife, to_root_scale


def interval(is_correct, groups):
    return accuracy_interval(np.asarray(is_correct, float), np.asarray(groups))


def width(is_correct, groups):
    low, high = interval(is_correct, groups)
    return high - low


# ----------------------------------------------------------------------------------------------------- of a share


@pytest.mark.parametrize("n", [5, 10, 97, 60_000])
def test_without_groups_the_interval_is_jeffreys(n):
    for n_correct in {1, n // 2, n - 1}:
        exact = beta.ppf([0.025, 0.975], n_correct + 0.5, n - n_correct + 0.5)
        assert interval([True] * n_correct + [False] * (n - n_correct), range(n)) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(("n_groups", "icc"), [(5, 0.1), (12, 0.3), (40, 0.5)])
def test_with_groups_the_interval_is_that_of_a_beta_binomial(n_groups, icc):
    """Compared with samples of the prior, weighted by their likelihood."""
    generator = np.random.default_rng(n_groups)
    sizes = generator.integers(2, 9, n_groups)
    correct = generator.binomial(sizes, generator.beta(0.8 * (1 / icc - 1), 0.2 * (1 / icc - 1), n_groups))
    share, correlation = generator.beta(0.5, 0.5, 400_000), generator.beta(0.5, 1, 400_000)
    a, b = (mean * (1 / correlation - 1) for mean in (share, 1 - share))
    weight = np.exp(sum(betaln(a + k, b + (n - k)) - betaln(a, b) for k, n in zip(correct, sizes, strict=True)))
    order = np.argsort(share)
    below = np.cumsum(weight[order]) / weight.sum()
    groups = np.repeat(np.arange(n_groups), sizes)
    is_correct = np.concatenate([np.arange(n) < k for k, n in zip(correct, sizes, strict=True)])
    expected = np.interp([0.025, 0.975], below, share[order])
    assert interval(is_correct, groups) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("n_groups", [5, 8, 24])
def test_if_all_are_correct_the_interval_still_has_a_width(n_groups):
    low, high = interval([True] * 24, np.arange(24) % n_groups)
    assert 0.5 < low < 0.95 and high == 1
    assert interval([False] * 24, np.arange(24) % n_groups) == pytest.approx((0, 1 - low))


@pytest.mark.parametrize("n_correct", [0, 24])
def test_more_groups_make_the_interval_narrower(n_correct):
    is_correct = [True] * n_correct + [False] * (24 - n_correct)
    widths = [width(is_correct, np.arange(24) * n_groups // 24) for n_groups in (5, 8, 24)]
    assert all(wider > narrower for wider, narrower in zip(widths[:-1], widths[1:], strict=True))


def test_errors_in_few_groups_make_a_wider_interval():
    groups = np.arange(60) // 6
    few = np.ones(60, bool)
    few[:12] = False  # all images of two of ten groups
    spread = np.ones(60, bool)
    spread[::5] = False  # as many errors, over all ten groups
    assert few.sum() == spread.sum()
    assert width(few, groups) > 1.5 * width(spread, groups)


@pytest.mark.parametrize("n_groups", [1, 2, 4])
def test_fewer_than_five_groups_have_no_interval(n_groups):
    groups = np.arange(80) % n_groups
    assert interval(groups == 0, groups) is None
    assert jackknife_of_mean(np.random.default_rng(0).random(80), groups) is None


def test_many_groups_of_all_sizes_are_no_problem():
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(300), generator.integers(1, 200, 300))
    low, high = interval(generator.random(len(groups)) < generator.beta(8, 2, 300)[groups], groups)
    assert 0.76 < low < 0.8 < high < 0.84 and high - low < 0.04


@pytest.mark.parametrize(("icc", "share", "n_groups"), [(0.1, 0.7, 5), (0.1, 0.7, 12), (0.3, 0.95, 40)])
def test_the_interval_of_a_share_holds_the_truth_in_95_percent(icc, share, n_groups):
    """Of 300 data sets, each with 8 images of every person; benchmarks/simulations has more."""
    generator, concentration = np.random.default_rng(1), 1 / icc - 1
    groups, is_covered = np.repeat(np.arange(n_groups), 8), []
    for _ in range(300):
        ability = generator.beta(share * concentration, (1 - share) * concentration, n_groups)
        low, high = interval(generator.random(len(groups)) < ability[groups], groups)
        is_covered.append(low <= share <= high)
    assert np.mean(is_covered) == pytest.approx(0.955, abs=0.035)  # three sd of a share of 300


# --------------------------------------------------------------------------------------------------- jackknife


def jackknife_of_mean(values, groups):
    return jackknife(lambda is_kept: values[is_kept].mean(), groups, to_root_scale, from_root_scale)


def test_values_that_vary_with_the_group_widen_the_jackknife():
    values = np.repeat(np.random.default_rng(0).random(8), 10)
    low, high = jackknife_of_mean(values, np.arange(80) // 10)
    narrow_low, narrow_high = jackknife_of_mean(values, np.arange(80))
    assert low < values.mean() < high
    assert high - low > 2 * (narrow_high - narrow_low)


def test_the_jackknife_holds_the_truth_in_95_percent():
    """The mean of skewed errors of 12 people, which vary from person to person."""
    generator, groups, is_covered = np.random.default_rng(0), np.repeat(np.arange(12), 8), []
    for _ in range(300):
        low, high = jackknife_of_mean(
            np.exp(0.5 * generator.normal(size=12)[groups] + generator.normal(size=96)), groups
        )
        is_covered.append(low <= np.exp(0.5**2 / 2 + 0.5) <= high)
    assert np.mean(is_covered) == pytest.approx(0.94, abs=0.035)


@pytest.mark.filterwarnings("error")
def test_perfect_scores_have_an_interval_without_width():
    assert jackknife(lambda is_kept: 1.0, np.arange(5), lambda r2: np.log(1 - r2), lambda y: 1 - np.exp(y)) == (1, 1)
    assert jackknife(lambda is_kept: 0.0, np.arange(5), to_root_scale, from_root_scale) == (0, 0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("without_the_last", [np.nan, -np.inf, 1e300])
def test_an_interval_without_finite_ends_is_none(without_the_last):
    def metric(is_kept):
        return 1e-300 if is_kept[-1] else without_the_last

    assert jackknife(metric, np.arange(6), to_root_scale, from_root_scale) is None


def test_an_interval_never_holds_impossible_values():
    """Without one group the error is 0, the end of its range."""
    errors = np.array([0.0, 0, 0, 0, 0, 0, 0, 1])
    assert jackknife(lambda is_kept: errors[is_kept].mean(), np.arange(8), to_root_scale, from_root_scale) is None
