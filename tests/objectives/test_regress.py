"""Regression: R2, errors in the unit of each column, and columns with missing numbers."""

import numpy as np
import pytest
import torch
from helpers import raises_user_error
from objective_cases import SHAPE, dataset, score

from neuro_noodle.augment import AUGMENTATIONS
from neuro_noodle.objectives.base import OBJECTIVES


def regression(target, columns="x,y"):
    """Return an objective that is fitted on these targets."""
    objective = OBJECTIVES.build(f"regress columns={columns}")
    objective.fit(target)
    return objective


def test_r2_is_1_if_perfect_and_0_for_the_mean():
    objective = regression(100 * torch.rand(50, 2))
    held_out = 100 * torch.rand(20, 2)
    assert score(objective, objective.link(held_out), held_out)["r2"] == pytest.approx(1)
    mean = objective.link(held_out.mean(0).expand(20, 2))
    metrics = score(objective, mean, held_out)
    assert [metrics[name] for name in ("r2", "r2_x", "r2_y")] == pytest.approx([0, 0, 0], abs=1e-4)


def test_r2_is_averaged_over_columns():
    from sklearn.metrics import r2_score

    target, predicted = torch.randn(2, 40, 2) * torch.tensor([1.0, 50.0])
    objective = regression(target)
    metrics = score(objective, objective.link(predicted), target)
    each = r2_score(target, predicted, multioutput="raw_values")
    assert [metrics["r2_x"], metrics["r2_y"], metrics["r2"]] == pytest.approx([*each, each.mean()], rel=1e-4)


def test_the_error_of_a_column_is_in_its_own_unit():
    target = torch.randn(30, 2) * torch.tensor([1.0, 1000.0])
    objective = regression(target)
    errors = torch.tensor([0.5, 200.0]) * torch.tensor([1.0, -1.0]).repeat(15)[:, None]
    metrics = score(objective, objective.link(target + errors), target)
    assert metrics["mae_x"] == pytest.approx(0.5, rel=1e-3)
    assert metrics["mae_y"] == pytest.approx(200, rel=1e-3)


def test_a_single_column_has_one_r2():
    target = torch.randn(30, 1)
    objective = regression(target, "x")
    assert set(score(objective, torch.randn(30, 1), target)) == {"r2", "mae_x"}


def test_mean_and_sd_are_fitted_to_the_known_numbers():
    """`link` standardises the columns with them, and `output` inverts it."""
    target = torch.randn(40, 2) * torch.tensor([1.0, 30.0]) + 7
    target[::3, 0] = torch.nan
    objective = regression(target)
    exact = target.double().numpy()
    assert objective.learned["mean"] == pytest.approx(np.nanmean(exact, 0))
    assert objective.learned["sd"] == pytest.approx(np.nanstd(exact, 0))
    scaled = objective.link(target).double().numpy()
    assert np.nanmean(scaled, 0) == pytest.approx([0, 0], abs=1e-5)
    assert np.nanstd(scaled, 0) == pytest.approx([1, 1], rel=1e-5)
    assert torch.allclose(objective.output(objective.link(target)).float(), target, rtol=1e-5, equal_nan=True)


def test_time_stamps_keep_their_seconds():
    """Numbers that float32 would round to 128 s."""
    target = 1.7e9 + torch.arange(40.0, dtype=torch.float64)[:, None]
    objective = regression(target, "time")
    output = objective.output(objective.link(target))
    assert (output - target).abs().max() < 1e-4
    metrics = objective.metrics(objective.evidence(output, target))
    assert metrics["r2"] == pytest.approx(1) and metrics["mae_time"] < 1e-4
    mean = objective.baselines(torch.rand(40, *SHAPE), target, 3)["mean"](torch.rand(1, *SHAPE))
    assert mean.item() == pytest.approx(1.7e9 + 19.5, abs=1e-4)


def test_a_missing_number_leaves_the_others_of_its_image():
    target, predicted = torch.randn(2, 30, 2)
    objective = regression(target)
    complete = score(objective, predicted, target)
    target[:10, 1] = torch.nan
    metrics = score(objective, predicted, target)
    rest = score(objective, predicted[10:], target[10:])
    assert (metrics["r2_x"], metrics["mae_x"]) == (complete["r2_x"], complete["mae_x"])
    assert (metrics["r2_y"], metrics["mae_y"]) == pytest.approx((rest["r2_y"], rest["mae_y"]))
    prediction = predicted.clone().requires_grad_()
    loss = objective.loss(prediction, target)
    is_known = target.isfinite()
    exact = (prediction - objective.link(target))[is_known].square().mean().item()
    assert loss.item() == pytest.approx(exact, rel=1e-5)
    loss.backward()
    assert torch.equal(prediction.grad != 0, is_known)


def test_one_number_is_enough_to_train_on_an_image():
    images = dataset(targets=torch.tensor([[1, 2], [1, torch.nan], [torch.nan, torch.nan]]))
    assert OBJECTIVES.build("regress columns=x,y").has_target(images).tolist() == [True, True, False]
    assert OBJECTIVES.build("direction columns=x,y").has_target(images).tolist() == [True, False, False]


def test_baselines_need_no_image_with_all_numbers():
    target = torch.randn(30, 2)
    target[:15, 0] = target[15:, 1] = torch.nan
    baselines = regression(target).baselines(torch.rand(30, *SHAPE), target, 3)
    mean = baselines["mean"](torch.rand(2, *SHAPE))
    assert torch.allclose(mean.float(), target.nanmean(0).expand(2, 2), atol=1e-4)
    assert baselines["linear_pixels"](torch.rand(2, *SHAPE)).isfinite().all()


def test_linear_pixels_find_linear_numbers_and_the_mean_none():
    x = torch.rand(200, *SHAPE)
    target = x.flatten(1)[:, :2] * torch.tensor([3.0, 500.0]) + 20
    objective = regression(target[:150])
    baselines = objective.baselines(x[:150], target[:150], 3)
    outputs = {name: baseline(x[150:]) for name, baseline in baselines.items()}
    r2 = {name: objective.metrics(objective.evidence(one, target[150:]))["r2"] for name, one in outputs.items()}
    assert r2["linear_pixels"] > 0.99
    assert r2["mean"] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_a_constant_column_is_refused_by_name(constant):
    target = torch.randn(7, 2)
    target[:, 1] = constant
    with raises_user_error("objective 'regress': y is the same for all training images"):
        regression(target)


def test_an_empty_column_is_refused_by_name():
    target = torch.randn(7, 2)
    target[:, 1] = torch.nan
    with raises_user_error("objective 'regress': y is empty for all training images"):
        regression(target)


@pytest.mark.parametrize("columns", ["x,y,x", "none"])
def test_repeated_or_absent_columns_are_refused(columns):
    with raises_user_error(f"columns={columns} must name columns of the metadata, each once"):
        OBJECTIVES.build(f"regress columns={columns}")


def test_augmentation_that_moves_things_gets_a_note():
    objective = OBJECTIVES.build("regress columns=x,y")
    (note,) = objective.notes([AUGMENTATIONS.build("noise"), AUGMENTATIONS.build("shift")])
    assert "the targets x, y are not changed" in note
    assert not objective.notes([AUGMENTATIONS.build("noise"), AUGMENTATIONS.build("brightness")])
    assert not OBJECTIVES.build("direction").notes([AUGMENTATIONS.build("rotate")])


def test_a_row_has_the_prediction_of_each_column_in_its_unit():
    target = torch.randn(3, 2) * 40
    objective = regression(target)
    rows = objective.rows(objective.evidence(objective.output(objective.link(target)), target))
    assert rows["x_predicted"] == pytest.approx(target[:, 0].tolist(), rel=1e-4)
    assert rows["y_predicted"] == pytest.approx(target[:, 1].tolist(), rel=1e-4)


@pytest.mark.parametrize(
    ("units", "names"), [("", ["x", "y"]), (" unit=px", ["x (px)", "y (px)"]), (" unit=px,cm", ["x (px)", "y (cm)"])]
)
def test_pictures_name_the_unit_of_each_column(units, names):
    assert OBJECTIVES.build(f"regress columns=x,y{units}").axis_names == names


def test_units_that_fit_no_columns_are_refused():
    with raises_user_error("unit=px,cm,s must be one unit, or one for each of x,y"):
        OBJECTIVES.build("regress columns=x,y unit=px,cm,s")
