"""Directions: what columns mean, angular errors, and augmentation that rotates the target with the image."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import raises_user_error
from objective_cases import SHAPE, build, score, seeded, unit_vectors

from neuro_noodle.augment import AUGMENTATIONS, augment
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.measures.circular import difference_deg, mean_deg, spread_deg
from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.runs import loaders, task

MIRRORED = torch.tensor([0.0, 0, 0, 0, 0, 1])  # a row of an image whose first column is white


def target_of(choice, targets, **more):
    """Return the target vectors of a batch with these columns."""
    objective = OBJECTIVES.build(f"direction {choice}")
    batch = {"image": torch.rand(len(targets), *SHAPE), "targets": targets} | more
    return objective.pair(batch, seeded())[1]


def metrics_of(true_deg, predicted_deg):
    return score(OBJECTIVES.build("direction"), unit_vectors(predicted_deg), unit_vectors(true_deg))


# ---------------------------------------------------------------------------------------------------- columns


def test_an_angle_a_vector_and_two_points_mean_the_same():
    degrees = torch.arange(-360.0, 361, 15)
    vectors = unit_vectors(degrees)
    length, start = 1 + 5 * torch.rand(len(degrees), 1), 10 * torch.randn(len(degrees), 2)
    for choice, targets in (
        ("columns=angle", degrees.deg2rad()[:, None]),
        ("columns=angle unit=deg", degrees[:, None]),
        ("columns=dx,dy", length * vectors),
        ("columns=tail_x,tail_y,neck_x,neck_y", torch.cat([start, start + length * vectors], 1)),
    ):
        assert torch.allclose(target_of(choice, targets), vectors, atol=1e-4), choice


def test_angles_increase_clockwise_because_y_points_down():
    target = target_of("columns=angle unit=deg", torch.tensor([[0.0], [90.0]]))
    assert torch.allclose(target, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), atol=1e-6)


@pytest.mark.parametrize(("columns", "n"), [("a,b,c", 3), ("none", 0), ("a,b,c,d,e", 5)])
def test_a_wrong_number_of_columns_is_refused(columns, n):
    message = f"names {n}; it needs one angle, or x,y of a vector, or x,y of a start point and x,y of an end point"
    with raises_user_error(message):
        OBJECTIVES.build(f"direction columns={columns}")


def test_a_unit_is_refused_for_a_vector():
    with raises_user_error("unit=deg is only for a single angle"):
        OBJECTIVES.build("direction columns=dx,dy unit=deg")


def test_angles_beyond_a_turn_in_radians_are_refused():
    degrees = torch.tensor([[10.0], [torch.nan], [-200.0]])
    with raises_user_error("the column angle contains 200, which is not an angle in radians; add unit=deg"):
        build("direction", targets=degrees)
    assert not build("direction unit=deg", targets=degrees).notes([])
    assert not build("direction columns=dx,dy", targets=degrees.expand(3, 2)).notes([])


def test_small_angles_in_degrees_get_a_note():
    targets = torch.tensor([[0.1], [6.2], [torch.nan]])
    (note,) = build("direction unit=deg", targets=targets).notes([])
    assert note == "angle spans less than 6.3 degrees; is it in radians?"
    assert not build("direction", targets=targets).notes([])
    assert build("direction unit=deg", targets=torch.full((3, 1), torch.nan)).notes([])


# ---------------------------------------------------------------------------------------------------- metrics


def test_an_error_across_the_seam_is_small():
    metrics = metrics_of([1, 359, 180, -179], [359, 1, -178, 179])
    assert metrics["error_deg"] == pytest.approx(2, abs=1e-3)
    assert metrics["reversed"] == 0


def test_the_length_of_a_predicted_vector_is_ignored():
    objective = OBJECTIVES.build("direction")
    true, predicted = unit_vectors([10, 200, 300]), unit_vectors([20, 240, 10])
    assert score(objective, 7 * predicted, true) == pytest.approx(score(objective, predicted, true), rel=1e-4)


def test_the_metrics_are_those_of_the_errors():
    errors = np.array([0.0, 3, -5, 8, -13, 21, 34, -55, 100, 170])
    true = np.linspace(0, 350, 10)
    size = np.abs(errors)
    expected = {"error_deg": size.mean(), "median_deg": np.median(size), "p90_deg": np.quantile(size, 0.9)}
    expected |= {"bias_deg": mean_deg(errors), "spread_deg": spread_deg(errors), "reversed": 0.2}
    assert metrics_of(true, true + errors) == pytest.approx(expected, abs=1e-3)


def test_errors_above_90_degrees_count_as_reversed():
    assert metrics_of([0, 0, 0, 0], [89, 91, 180, -91])["reversed"] == 0.75


@pytest.mark.parametrize(
    ("choice", "missing"),
    [
        ("columns=angle", [[np.nan]]),
        ("columns=dx,dy", [[1, np.nan]]),
        ("columns=dx,dy", [[0, 0]]),
        ("columns=a,b,c,d", [[1, 2, np.nan, 4]]),
        ("columns=a,b,c,d", [[1, 2, 1, 2]]),
    ],
)
def test_an_image_without_a_direction_is_ignored(choice, missing):
    objective = OBJECTIVES.build(f"direction {choice}")
    targets = torch.cat([torch.randn(6, len(missing[0])), torch.tensor(missing, dtype=torch.float32)])
    target = target_of(choice, targets)
    prediction = torch.randn(7, 2, requires_grad=True)
    assert objective.loss(prediction, target).item() == pytest.approx(objective.loss(prediction[:6], target[:6]).item())
    assert score(objective, prediction.detach(), target) == score(objective, prediction[:6].detach(), target[:6])
    objective.loss(prediction, target).backward()
    assert prediction.grad[:6].all()
    assert not prediction.grad[6].any()


def test_rows_have_angles_from_0_to_360_and_signed_errors():
    objective = OBJECTIVES.build("direction")
    rows = objective.rows(objective.evidence(unit_vectors([-10, 170]), unit_vectors([20, -170])))
    assert rows["true_deg"] == pytest.approx([20, 190], abs=1e-3)
    assert rows["predicted_deg"] == pytest.approx([350, 170], abs=1e-3)
    assert rows["error_deg"] == pytest.approx([-30, -20], abs=1e-3)


# ----------------------------------------------------------------------------------------------- augmentation


def test_a_direction_rotates_with_its_image():
    degrees = torch.tensor([0.0, 30, 200])
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(3, 2, 2)
    for choice, targets in (("columns=angle unit=deg", degrees[:, None]), ("columns=dx,dy", 3 * unit_vectors(degrees))):
        assert torch.allclose(target_of(choice, targets, turn=quarter), unit_vectors(degrees + 90), atol=1e-5)


def test_the_direction_of_a_mirrored_image_is_mirrored():
    images = torch.zeros(4, 1, 6, 6)
    images[:, :, :, 0] = 1
    degrees = torch.tensor([0.0, 30, 100, 250])
    mirrored, turn = augment(images, [AUGMENTATIONS.build("flip p=1")], seeded())
    assert torch.allclose(mirrored, MIRRORED.expand_as(mirrored), atol=1e-4)
    target = target_of("unit=deg", degrees[:, None], turn=turn)
    assert torch.allclose(target, unit_vectors(180 - degrees), atol=1e-5)


def test_training_batches_mirror_images_and_directions():
    images = torch.zeros(4, 1, 6, 6, dtype=torch.uint8)
    images[:, :, :, 0] = 255
    degrees = np.array([0.0, 30, 100, 250])
    dataset = StimulusSet(images, list("abcd"), max_value=255, columns={"angle": degrees})
    dataset.set_targets(["angle"])
    objective = OBJECTIVES.build("direction unit=deg").on(dataset)
    mirrored = task.Task(dataset, objective, {"training": [0, 1, 2, 3]}, {}, torch.device("cpu"))
    batches = loaders.Batches(mirrored, range(4), [AUGMENTATIONS.build("flip p=1")], [seeded()])
    x, target = batches.__getitems__(torch.arange(4))
    assert torch.allclose(x, MIRRORED.expand_as(x), atol=1e-4)
    assert torch.allclose(target, unit_vectors(180 - degrees), atol=1e-5)


# ------------------------------------------------------------------------------------------------------- axes


def axis_metrics(true_deg, predicted_deg):
    return score(OBJECTIVES.build("direction axis=true"), unit_vectors(predicted_deg), unit_vectors(true_deg))


@pytest.mark.parametrize("choice", ["columns=ori unit=deg", "columns=dx,dy"])
def test_opposite_directions_are_the_same_axis(choice):
    degrees = torch.tensor([0.0, 30, 89, 135, 179])
    both = (
        [degrees[:, None], degrees[:, None] + 180]
        if "deg" in choice
        else [unit_vectors(degrees), -unit_vectors(degrees)]
    )
    targets = [target_of(f"{choice} axis=true", one) for one in both]
    assert torch.allclose(*targets, atol=1e-5) and torch.allclose(targets[0], unit_vectors(2 * degrees), atol=1e-5)


def test_errors_and_rows_of_axes_are_in_degrees_of_the_axis():
    """1 and 179 degrees differ by 2; predictions and targets are vectors of the doubled angle."""
    true, predicted = torch.tensor([1.0, 179, 90, 10]), torch.tensor([179.0, 1, 0, 14])
    metrics = axis_metrics(2 * true, 2 * predicted)
    assert metrics["error_deg"] == pytest.approx((2 + 2 + 90 + 4) / 4, abs=1e-3) and "reversed" not in metrics
    objective = OBJECTIVES.build("direction axis=true")
    rows = objective.rows(objective.evidence(unit_vectors(2 * predicted), unit_vectors(2 * true)))
    assert rows["true_deg"] == pytest.approx(true.tolist(), abs=1e-3)
    assert rows["predicted_deg"] == pytest.approx(predicted.tolist(), abs=1e-3)
    assert np.abs(rows["error_deg"]) == pytest.approx([2, 2, 90, 4], abs=1e-3)


def test_bias_and_spread_of_axes_are_in_degrees_of_the_axis():
    errors = np.random.default_rng(0).normal(7, 10, 5000)
    metrics = axis_metrics(np.zeros(5000), 2 * errors)
    assert metrics["bias_deg"] == pytest.approx(7, abs=0.5) and metrics["spread_deg"] == pytest.approx(10, rel=0.05)


def test_a_rotated_image_rotates_its_axis():
    degrees, angle = torch.tensor([10.0, 80, 170]), torch.tensor(np.radians([25.0, 90, 170]), dtype=torch.float32)
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(3, 2, 2)
    target = target_of("unit=deg axis=true", degrees[:, None], turn=turn)
    assert torch.allclose(target, unit_vectors(2 * (degrees + angle.rad2deg())), atol=1e-4)


def test_the_mean_axis_of_1_and_179_degrees_is_0():
    objective = OBJECTIVES.build("direction axis=true")
    baseline = objective.baselines(torch.rand(2, *SHAPE), unit_vectors([2.0, 358]), 3)["circular_mean"]
    mean = objective.evidence(baseline(torch.rand(1, *SHAPE)), unit_vectors([0.0]))["predicted"]
    assert mean.item() == pytest.approx(0, abs=1e-3)


def test_the_interval_of_an_error_of_axes_ends_below_90():
    objective = OBJECTIVES.build("direction axis=true")
    evidence = {"true": torch.zeros(6), "predicted": torch.tensor([1.0, 85, 2, 80, 88, 70])}
    low, high = objective.interval(evidence, np.arange(6))
    assert 0 < low < objective.metrics(evidence)["error_deg"] < high < 90


@pytest.mark.parametrize(
    ("choice", "values", "is_noted"),
    [
        ("unit=deg", [0, 30, 179], True),
        ("unit=rad", [0, 1, 3.1], True),
        ("unit=deg axis=true", [0, 30, 179], False),
        ("unit=deg", [0, 30, 181], False),
        ("unit=deg", [-10, 30, 179], False),
        ("unit=deg", [0, 30, 60], False),
        ("columns=dx,dy", [0, 1, 3], False),
    ],
)
def test_angles_of_half_a_turn_get_a_note_about_axes(choice, values, is_noted):
    targets = torch.tensor(values, dtype=torch.float32)[:, None].expand(-1, 2 if "dx" in choice else 1)
    notes = build(f"direction {choice}", targets=targets).notes([])
    assert any("add axis=true" in note for note in notes) is is_noted


def test_stretched_images_get_a_note_about_their_angles():
    for choice, rest in (
        ("direction columns=dx,dy", "the directions dx, dy are stretched with them"),
        ("regress columns=dx,dy", "the targets dx, dy are still those of the files"),
    ):
        (note,) = build(choice, n_stretched=3).notes([])
        assert note.startswith(f"fit=stretch changes the angles in 3 images; {rest}")


@pytest.mark.parametrize(
    ("choice", "targets"),
    [
        ("columns=a unit=deg", [[45.0]]),
        ("columns=x,y", [[3.0, 3.0]]),
        ("columns=x0,y0,x1,y1", [[9.0, 2.0, 10.0, 3.0]]),
        ("columns=a unit=deg axis=true", [[225.0]]),
    ],
)
def test_a_direction_is_stretched_with_its_image(choice, targets):
    """An image of twice the width: 45 degrees become the angle of the vector 2, 1."""
    objective, stretch = OBJECTIVES.build(f"direction {choice}"), torch.tensor([[2.0, 1.0]]).double()
    sample = {"image": torch.empty(1), "targets": torch.tensor(targets).double(), "stretch": stretch}
    _, vector = objective.pair(sample, torch.Generator())
    angle = np.arctan2(1, 2) * (2 if "axis" in choice else 1)
    assert vector[0].tolist() == pytest.approx([np.cos(angle), np.sin(angle)], abs=1e-6)


# -------------------------------------------------------------------------------------------------- baselines


def test_the_constant_baseline_is_the_circular_mean():
    objective = OBJECTIVES.build("direction")
    degrees = np.array([350.0, 10, 20, 340, 60])
    x, target = torch.rand(5, *SHAPE), unit_vectors(degrees)

    def predicted():
        output = objective.baselines(x, target, 3)["circular_mean"](torch.rand(2, *SHAPE))
        return objective.evidence(output, target[:2])["predicted"].numpy()

    assert np.abs(difference_deg(predicted(), mean_deg(degrees))).max() < 1e-3
    target[1] = torch.nan
    assert np.abs(difference_deg(predicted(), mean_deg(np.delete(degrees, 1)))).max() < 1e-3


def test_linear_pixels_find_a_linear_direction():
    objective = OBJECTIVES.build("direction")
    target = unit_vectors(360 * torch.rand(200))
    patterns = torch.linalg.qr(torch.randn(30, 2))[0]
    x = (0.5 + 0.3 * target @ patterns.T + 0.001 * torch.randn(200, 30)).view(200, *SHAPE)
    baselines = objective.baselines(x[:150], target[:150], 3)
    unseen, expected = x[150:], target[150:]
    errors = {name: score(objective, baseline(unseen), expected)["error_deg"] for name, baseline in baselines.items()}
    assert errors["linear_pixels"] < 2
    assert errors["circular_mean"] > 60


@pytest.mark.filterwarnings("error")
def test_a_part_without_any_direction_has_an_undefined_error():
    data = {"targets": torch.tensor([[0.0, 0.0], [1.0, 0.0]])}
    objective = build("direction columns=dx,dy", **data)
    assert objective.undefined(SimpleNamespace(**data), [0]) == {"error_deg": "no image has a direction"}
    assert objective.undefined(SimpleNamespace(**data), [0, 1]) == {}
    assert np.isnan(metrics_of([np.nan], [3])["error_deg"])
