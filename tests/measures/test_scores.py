"""Scores of predicted numbers, and why they can be undefined."""

import numpy as np
import pytest

from neuro_noodle.measures.scores import column_means, r_squared, varies, why_constant

TRUE = np.array([[1.0, 0.1, np.nan], [2.0, 0.1, np.nan], [4.0, 0.1, np.nan], [np.nan, 0.1, np.nan]])


def test_r2_is_one_minus_the_share_of_variance_left():
    generator = np.random.default_rng(0)
    true, predicted = generator.normal(size=(2, 50, 2))
    expected = 1 - np.square(predicted - true).mean(0) / true.var(0)
    assert r_squared(predicted, true) == pytest.approx(expected)


@pytest.mark.parametrize("predicted", [np.zeros((4, 3)), np.arange(12.0).reshape(4, 3), np.nan_to_num(TRUE)])
@pytest.mark.filterwarnings("error")
def test_the_data_decide_whether_r2_is_defined(predicted):
    """A constant prediction of numbers that differ has an R2; 0.1 averaged has a rounding error as its variance."""
    assert np.isfinite(r_squared(predicted, TRUE)).tolist() == [True, False, False]
    assert varies(TRUE).tolist() == [True, False, False]


@pytest.mark.filterwarnings("error")
def test_means_of_columns_ignore_missing_values():
    assert column_means(TRUE) == pytest.approx([7 / 3, 0.1, np.nan], nan_ok=True)
    assert np.isnan(column_means(np.empty((0, 2)))).all() and not varies(np.empty((0, 2))).any()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([3.0, 3, np.nan, 3], "all 3 values of dose are 3"),
        ([0.1, np.nan], "there is only one dose"),
        ([np.nan], "no dose is known"),
        ([1, 2.0], None),
    ],
)
def test_the_reason_names_the_column_and_its_value(values, reason):
    assert why_constant(np.array(values), "dose") == reason
