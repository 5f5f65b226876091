"""Probes find what latents represent and nothing else, with an interval and a permutation test."""

import numpy as np
import pytest

from neuro_noodle.measures import probes
from neuro_noodle.measures.linear import class_folds
from neuro_noodle.measures.permutations import shuffles

N = 240
TRAINING = np.arange(N) < 160
HELD_OUT = ~TRAINING
GROUPS = np.arange(N) // 20  # 12 blocks, of which 8 are for training


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def rotation(n, seed=5):
    return np.linalg.qr(normal(n, n, seed=seed))[0]


def probe(latents, values, groups=GROUPS, period=None, training=TRAINING, held_out=HELD_OUT, standardise=True):
    return probes.probe(
        latents, values, [probes.ProbeSplit(training, held_out)], groups, period, standardise=standardise
    )


# ------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("groups", [GROUPS, None])
@pytest.mark.parametrize("standardise", [True, False])
def test_a_probe_reads_a_linear_code_in_the_columns_unit(groups, standardise):
    latents = normal(N, 6) * [1, 10, 0.1, 1, 1, 1] + 7
    values = 1000 * latents @ [1, 0.2, 3, -1, 0, 0] - 4
    score = probe(latents, values, groups, standardise=standardise)
    assert set(score) == {"r2", "low", "high", "p", "level", "mae"}
    assert score["r2"] > 1 - 1e-6 and score["mae"] < 2  # of values that spread by 2,000


def test_a_probe_reads_nothing_from_noise():
    values = normal(N, seed=1)
    score = probe(normal(N, 20), values)
    assert -0.1 < score["r2"] < 0.05
    by_chance = np.abs(values[HELD_OUT] - values[TRAINING].mean()).mean()
    assert score["mae"] == pytest.approx(by_chance, rel=0.05)


def test_scores_are_those_of_the_held_out_images():
    latents = np.zeros((N, 1))  # hold no information, so that the prediction is the training mean
    values = np.where(TRAINING, 1.0, np.where(np.arange(N) % 2, 2.0, 4.0))
    score = probe(latents, values)
    assert score["mae"] == pytest.approx(2)  # of 1 and 3
    assert score["r2"] == pytest.approx(1 - (1 + 9) / (1 + 1))


def test_r2_is_undefined_for_constant_held_out_values():
    assert np.isnan(probe(normal(N, 2), np.where(TRAINING, normal(N), 1.0))["r2"])


def test_images_with_missing_values_are_dropped():
    latents = normal(N, 3)
    values = latents @ [1.0, 2.0, 3.0]
    unknown = np.arange(N) % 3 == 0
    wild = np.where(unknown[:, None], 1e6, latents)
    score = probe(wild, np.where(unknown, np.nan, values))
    kept = ~unknown
    assert score == probe(latents[kept], values[kept], GROUPS[kept], None, TRAINING[kept], HELD_OUT[kept])
    assert score["r2"] > 0.999


@pytest.mark.parametrize("turn", [2 * np.pi, 360.0])
def test_a_probe_reads_angles_across_the_full_turn(turn):
    angles = (normal(N) * turn / 20) % turn  # half of them just above 0, half just below a full turn
    radians = angles * 2 * np.pi / turn
    latents = np.stack([np.cos(radians), np.sin(radians)], 1) @ normal(2, 4, seed=3)
    score = probe(latents, angles, period=turn)
    assert set(score) == {"r2", "low", "high", "p", "level", "median_deg"}
    assert score["r2"] > 1 - 1e-6 and score["median_deg"] < 0.01
    assert probe(latents, angles)["mae"] > turn / 50  # as plain numbers they cannot be read


def test_the_r2_of_an_angle_combines_cosine_and_sine():
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, N)
    score = probe(np.cos(angles)[:, None], angles, period=2 * np.pi)  # the cosine alone explains half of the variance
    assert score["r2"] == pytest.approx(0.5, abs=0.1)
    assert probe(normal(N, 3), angles, period=2 * np.pi)["median_deg"] == pytest.approx(90, abs=20)


def test_angle_scores_do_not_depend_on_unit_or_range():
    degrees = np.random.default_rng(0).uniform(0, 360, N)
    latents = normal(N, 4) + np.cos(np.radians(degrees))[:, None]
    score = probe(latents, degrees, period=360.0)
    assert probe(latents, np.radians(degrees), period=2 * np.pi) == pytest.approx(score, nan_ok=True)
    assert probe(latents, degrees - 360 * (degrees > 180), period=360.0) == pytest.approx(score, nan_ok=True)


def test_a_probe_is_never_fitted_to_held_out_images():
    latents, values = normal(N, 5), normal(N, seed=1)
    half = HELD_OUT & (np.arange(N) % 2 == 0)
    changed = HELD_OUT & ~half
    score = probe(latents, values, held_out=half)
    wild = np.where(changed[:, None], 1e9, latents), np.where(changed, -1e9, values)
    assert probe(*wild, held_out=half) == score
    assert probe(*wild, held_out=HELD_OUT) != score
    names = np.where(values > 0, "a", "b")
    score = probes.probe_class(latents, names, [probes.ProbeSplit(TRAINING, half)], GROUPS)
    assert (
        probes.probe_class(wild[0], np.where(changed, "c", names), [probes.ProbeSplit(TRAINING, half)], GROUPS) == score
    )


def test_probes_hardly_depend_on_rotation_scale_and_shift():
    latents = normal(N, 8)
    values = latents[:, 0] + 0.5 * normal(N, seed=1)
    score = probe(latents, values)
    assert 0.6 < score["r2"] < 0.95
    for other in (latents @ rotation(8), 1e-4 * latents, latents + 100):
        assert probe(other, values) == pytest.approx(score, abs=0.01, nan_ok=True)
    scaled_at_once = probe(latents @ rotation(8), values, standardise=False)
    assert scaled_at_once["r2"] == pytest.approx(probe(latents, values, standardise=False)["r2"], abs=0.002)


def test_the_ridge_strength_is_chosen_between_groups():
    """Latents that identify the group predict a value of known groups perfectly, and nothing for new groups."""
    groups = np.arange(N) % 24
    training = groups < 16
    of_group = normal(24, 30)[groups]
    values = normal(24, seed=1)[groups]
    between = probe(of_group, values, groups, None, training, ~training)
    within = probe(of_group, values, None, None, training, ~training)
    assert within["r2"] < between["r2"] - 0.2
    assert between["r2"] > -0.3


# ------------------------------------------------------------------------------------------------------- classes


def test_a_class_probe_reads_separable_classes_only():
    latents = normal(N, 4)
    names = np.where(latents[:, 0] > 0.5, "high", np.where(latents[:, 0] < -0.5, "low", "middle"))
    score = probes.probe_class(latents, names, [probes.ProbeSplit(TRAINING, HELD_OUT)], GROUPS)
    assert score["accuracy"] > 0.9
    majority = np.mean(names[HELD_OUT] == "middle")
    assert score["majority"] == majority
    noise = probes.probe_class(normal(N, 4, seed=9), names, [probes.ProbeSplit(TRAINING, HELD_OUT)], GROUPS)
    assert noise["accuracy"] == pytest.approx(majority, abs=0.12)


def test_folds_predict_each_image_from_the_others():
    latents, folds = normal(N, 4), [probes.ProbeSplit(k != GROUPS % 3, k == GROUPS % 3) for k in range(3)]
    values = latents @ [1.0, 2.0, 3.0, 0.0] + 0.1 * normal(N, seed=1)
    score = probes.probe(latents, values, folds, GROUPS, None)
    assert score["r2"] > 0.99 and score["low"] < score["r2"] < score["high"]
    each = [probes.probe(latents, values, [fold], GROUPS, None)["mae"] for fold in folds]
    assert score["mae"] == pytest.approx(np.mean(each))
    names = np.where(values > 0, "a", "b")
    accuracy = [probes.probe_class(latents, names, [fold], GROUPS)["accuracy"] for fold in folds]
    assert probes.probe_class(latents, names, folds, GROUPS)["accuracy"] == pytest.approx(np.mean(accuracy))


def test_new_classes_count_as_errors_and_empty_ones_do_not():
    latents = normal(N, 2) + 8 * (np.arange(N) % 2)[:, None]
    names = np.where(np.arange(N) % 2, "odd", "even").astype("<U6")
    names[160:180] = "new"
    assert probes.probe_class(latents, names, [probes.ProbeSplit(TRAINING, HELD_OUT)], None)["accuracy"] == 0.75
    names[160:180] = ""
    assert probes.probe_class(latents, names, [probes.ProbeSplit(TRAINING, HELD_OUT)], None)["accuracy"] == 1


def test_class_folds_keep_groups_apart_and_have_two_classes():
    names = np.repeat(["a", "b"], 30)  # as sorted folders
    for fitted, evaluated in class_folds(names, None):
        assert set(names[fitted]) == set(names[evaluated]) == {"a", "b"}
    groups = np.arange(60) // 6
    for fitted, evaluated in class_folds(names, groups):
        assert not set(groups[fitted]) & set(groups[evaluated])
    assert class_folds(names, names) == []  # each group has a class of its own
    assert class_folds(np.array(["a", "b", "c"]), None) == []


def test_a_class_probe_without_folds_is_still_fitted():
    names = np.where(np.arange(N) % 2, "odd", "even")
    latents = normal(N, 2) + 8 * (names == "odd")[:, None]
    assert probes.probe_class(latents, names, [probes.ProbeSplit(TRAINING, HELD_OUT)], names)["accuracy"] == 1


# ------------------------------------------------------------------------------------------- intervals and permutations


def test_the_interval_of_r2_holds_the_true_value():
    """95 % of the intervals should; with noise that 40 groups of 10 images share, at least 26 of 30 do."""
    groups, weights, held = np.arange(800) // 10, normal(4), 0
    true = 1 - 1.25 / (weights @ weights + 1.25)
    for seed in range(0, 90, 3):
        latents, shared = normal(800, 4, seed=seed), 0.5 * normal(80, seed=seed + 1)[groups]
        values = latents @ weights + shared + normal(800, seed=seed + 2)
        found = probe(latents, values, groups, training=groups < 40, held_out=groups >= 40)
        held += found["low"] <= true <= found["high"]
    assert held >= 26


def test_few_groups_have_no_interval_but_a_p_value():
    latents = normal(N, 3)
    score = probe(latents, latents @ [1.0, 2.0, 3.0])
    assert np.isnan(score["low"]) and np.isnan(score["high"])  # 4 held-out blocks
    assert score["p"] < 0.05
    score = probes.probe_class(
        latents, np.where(latents[:, 0] > 0, "a", "b"), [probes.ProbeSplit(TRAINING, HELD_OUT)], None
    )
    assert score["low"] < score["accuracy"] <= score["high"] and score["p"] < 0.01


def test_noise_is_rarely_significant():
    p = [probe(normal(N, 3, seed=seed), normal(N, seed=1000 + seed), None)["p"] for seed in range(40)]
    assert 0 <= sum(value <= 0.05 for value in p) <= 6


@pytest.mark.parametrize("period", [180, np.pi])
def test_the_error_of_axes_is_in_degrees_of_the_axis(period):
    """Latents hold the doubled angle, turned by 10 degrees: an error of 5 degrees."""
    orientation = np.random.default_rng(0).uniform(0, 180, N)
    doubled = np.radians(2 * orientation + np.where(HELD_OUT, 10, 0))
    score = probe(np.stack([np.cos(doubled), np.sin(doubled)], 1), orientation * period / 180, period=period)
    assert score["median_deg"] == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("n_columns", [1, 2])
def test_the_level_is_the_r2_that_95_percent_of_shuffles_miss(n_columns):
    true, units = 3 + normal(40, n_columns), np.arange(40)
    predicted = 0.6 * true + normal(40, n_columns, seed=1)
    found = [probes._r2(predicted, true[order]) for order in shuffles(units)]
    assert probes._r2_chance(predicted, true, units)["level"] == pytest.approx(np.quantile(found, 0.95))
