"""Objectives: a promise of every entry; what is reported is exact, and its interval is honest."""

import numpy as np
import pytest
import torch
from helpers import raises_user_error

import utils
from neuro_noodle.augment import AUGMENTATIONS
from neuro_noodle.choices import UserError
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.measures.circular import difference_deg, mean_deg, spread_deg
from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.objectives.reconstruct import image_losses

WITH_COLUMNS = {"direction": "direction columns=dx,dy", "regress": "regress columns=x,y"}
CHOICES = [WITH_COLUMNS.get(name, name) for name in OBJECTIVES]
CHOICES += ["response loss=gaussian"]
CHOICES += [f"reconstruct loss={name}" for name in image_losses()] + ["reconstruct loss=mse noise=0.1 second=l1"]
CLASSES = ["afraid", "happy", "sad"]
NEURONS = ["region1/0", "region1/1", "region2/0", "region2/1"]
SHAPE = (1, 6, 5)
N = 24


def built(choice):
    objective = OBJECTIVES.build(choice)
    objective.check(["image", "label", "response"], CLASSES, NEURONS)
    return objective


every = pytest.mark.parametrize("objective", [pytest.param(built(choice), id=choice) for choice in CHOICES])


def sample(n=N):
    targets = {"label": torch.arange(n) % 3, "values": torch.randn(n, 2), "response": 0.1 + torch.rand(n, len(NEURONS))}
    return {"image": torch.rand(n, *SHAPE)} | targets


def drawn(objective, n=N):
    """Input and target of a batch, from which the objective has learned."""
    x, target = objective.pair(sample(n), torch.Generator().manual_seed(0))
    objective.learn(target)
    return x, target


def pair(objective, n=N):
    """Input, target, and the prediction that means the target."""
    x, target = drawn(objective, n)
    if objective.metric == "accuracy":
        return x, target, 20.0 * torch.nn.functional.one_hot(target, 3)
    return x, target, objective.link(target)


def score(objective, prediction, target):
    return objective.metrics(objective.evidence(objective.output(prediction), target))


def answers(right):
    """The evidence of images of which these are named rightly."""
    right = torch.as_tensor(right)
    label = torch.arange(len(right)) % 2
    chosen = torch.where(right, label, 1 - label)
    return {"probabilities": torch.nn.functional.one_hot(chosen, 2).float(), "label": label}


def interval(right, groups):
    return OBJECTIVES.build("classify").interval(answers(right), np.asarray(groups))


def width(right, groups):
    low, high = interval(right, groups)
    return high - low


# ------------------------------------------------------------------------------------- promises of every entry


@every
def test_the_loss_is_a_finite_number_whose_gradient_reaches_the_prediction(objective):
    _, target = drawn(objective)
    prediction = torch.randn(N, *objective.output_shape(SHAPE, CLASSES), requires_grad=True)
    loss = objective.loss(prediction, target)
    loss.backward()
    assert loss.shape == ()
    assert loss.isfinite()
    assert prediction.grad.isfinite().all()
    assert (prediction.grad != 0).flatten(1).any(1).all()


@every
def test_evidence_has_a_row_per_image_and_metrics_are_floats(objective):
    _, target, prediction = pair(objective)
    evidence = objective.evidence(objective.output(prediction), target)
    assert {len(value) for value in evidence.values()} == {N}
    metrics = objective.metrics(evidence)
    assert objective.metric in metrics
    assert all(type(value) is float for value in metrics.values())
    assert {len(column) for column in objective.rows(evidence, CLASSES).values()} == {N}


@every
def test_the_metrics_of_a_split_are_the_same_however_it_is_batched(objective):
    _, target = drawn(objective)
    prediction = torch.randn(N, *objective.output_shape(SHAPE, CLASSES))
    batches = zip(prediction.split([17, 4, 3]), target.split([17, 4, 3]), strict=True)
    pieces = [objective.evidence(objective.output(p), t) for p, t in batches]
    joined = {key: torch.cat([piece[key] for piece in pieces]) for key in pieces[0]}
    assert objective.metrics(joined) == pytest.approx(score(objective, prediction, target))
    if objective.metric in ("r", "r2"):
        return  # of the variance of all images
    single = [score(objective, prediction[i : i + 1], target[i : i + 1])[objective.metric] for i in range(N)]
    assert objective.metrics(joined)[objective.metric] == pytest.approx(np.mean(single))


@every
def test_a_perfect_prediction_scores_best(objective):
    _, target, perfect = pair(objective)
    sign = 1 if objective.direction == "max" else -1
    best = sign * score(objective, perfect, target)[objective.metric]
    for scale in (0.1, 1.0, 10.0):
        other = perfect + scale * torch.randn_like(perfect)
        assert sign * score(objective, other, target)[objective.metric] <= best
        assert objective.loss(other, target) >= objective.loss(perfect, target)


@every
def test_baselines_give_an_output_of_the_right_shape_for_unseen_images(objective):
    x, target = drawn(objective)
    unseen, wanted = objective.pair(sample(7), torch.Generator().manual_seed(1))
    baselines = objective.baselines(x, target, 4)
    assert baselines
    for baseline in baselines.values():
        output = baseline(unseen)
        assert output.shape == (7, *objective.output_shape(SHAPE, CLASSES))
        assert np.isfinite(objective.metrics(objective.evidence(output, wanted))[objective.metric])


@every
def test_rank_prefers_the_better_epoch_and_at_a_tie_the_lower_loss(objective):
    def epoch(metric, loss):
        return objective.rank({f"validation/{objective.metric}": metric, "validation/loss": loss})

    better, worse = (0.9, 0.2) if objective.direction == "max" else (0.2, 0.9)
    assert epoch(better, 5.0) > epoch(worse, 1.0)
    assert epoch(better, 1.0) > epoch(better, 5.0)


@every
def test_an_interval_contains_its_value_and_is_the_same_each_time(objective):
    _, target = drawn(objective)
    prediction = torch.randn(N, *objective.output_shape(SHAPE, CLASSES))
    evidence = objective.evidence(objective.output(prediction), target)
    groups = np.arange(N) // 3
    low, high = objective.interval(evidence, groups)
    assert low < objective.metrics(evidence)[objective.metric] < high
    assert objective.interval(evidence, groups.astype(str)) == (low, high)


@every
def test_an_objective_takes_what_it_needs_and_names_what_is_missing(objective):
    objective.check(["image", "label", "response"], CLASSES, NEURONS)
    for need in objective.needs:
        provides = [name for name in ("image", "label", "response") if name != need]
        with pytest.raises(UserError) as told:
            objective.check(provides, CLASSES, NEURONS)
        assert f"needs {need}, but the dataset provides only {', '.join(provides)}" in str(told.value)
        assert "--objective reconstruct" in str(told.value)


# ------------------------------------------------------------------------------------------------ reconstruct


@pytest.mark.parametrize(("loss", "clamp"), [("bce", 0.01), ("mse", 0.0), ("l1", 0.0)])
def test_link_and_output_undo_each_other_within_the_clamp(loss, clamp):
    objective = OBJECTIVES.build(f"reconstruct loss={loss}")
    target = torch.linspace(0, 1, 101).view(1, 1, 1, 101)
    assert torch.allclose(objective.output(objective.link(target)), target.clamp(clamp, 1 - clamp), atol=1e-6)


def decaying(n, *shape):
    """Images whose principal components fall off, as those of natural images do."""
    d = int(np.prod(shape))
    rank = min(n, d)
    factors = torch.randn(n, rank) * 0.8 ** torch.arange(rank)
    return (0.5 + 0.05 * factors @ torch.linalg.qr(torch.randn(d, rank))[0].T * d**0.5).view(n, *shape)


def truncated_svd(training, images, k):
    centre = training.flatten(1).double().mean(0)
    _, _, components = torch.linalg.svd(training.flatten(1).double() - centre, full_matrices=False)
    flat = images.flatten(1).double() - centre
    return (flat @ components[:k].T @ components[:k] + centre).view_as(images)


@pytest.mark.parametrize(
    ("make", "n", "shape", "k"),
    [
        (decaying, 30, (1, 6, 5), 4),
        (decaying, 400, (1, 6, 5), 8),
        (decaying, 60, (3, 20, 16), 7),
        (torch.rand, 30, (1, 6, 5), 4),
        pytest.param(*(torch.rand, 100, (1, 30, 25), 20)),
    ],
)
def test_the_pca_baseline_is_the_exact_truncated_svd_of_the_training_images(make, n, shape, k):
    training, unseen = make(n + 9, *shape).split([n, 9])
    pca = OBJECTIVES.build("reconstruct").baselines(training, training, k)["pca"]
    for images in (training, unseen):
        exact = truncated_svd(training, images, k).float()
        centre = training.mean(0)
        assert (pca(images) - exact).norm() <= 1e-4 * (exact - centre).norm()


@pytest.mark.parametrize("latent_dim", [11, 12, 500])
def test_pca_of_full_rank_reproduces_the_training_images(latent_dim):
    training = torch.rand(12, *SHAPE)
    pca = OBJECTIVES.build("reconstruct").baselines(training, training, latent_dim)["pca"]
    assert torch.allclose(pca(training), training, atol=1e-5)


def test_the_mean_image_is_the_best_constant():
    objective = OBJECTIVES.build("reconstruct")
    training = torch.rand(20, *SHAPE)
    mean = objective.baselines(training, training, 3)["mean_image"](training)
    assert (mean == mean[0]).all()
    least = objective.metrics(objective.evidence(mean, training))["mse"]
    for _ in range(20):
        other = mean + 0.05 * torch.randn(SHAPE)
        assert objective.metrics(objective.evidence(other, training))["mse"] > least


def test_the_error_is_the_mean_square_of_a_pixel():
    objective = OBJECTIVES.build("reconstruct loss=l1")
    target = torch.rand(4, *SHAPE)
    assert score(objective, target + 0.1, target)["mse"] == pytest.approx(0.01, rel=1e-4)


def test_images_that_vary_together_widen_the_interval():
    objective = OBJECTIVES.build("reconstruct")
    evidence = {"mse": torch.repeat_interleave(torch.rand(8), 10)}
    low, high = objective.interval(evidence, np.arange(80) // 10)
    narrow_low, narrow_high = objective.interval(evidence, np.arange(80))
    assert high - low > 2 * (narrow_high - narrow_low)


def test_one_group_alone_never_makes_a_certain_number():
    assert OBJECTIVES.build("reconstruct").interval({"mse": torch.rand(20)}, np.zeros(20)) is None


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_noise_is_added_to_the_input_with_the_sd_asked_for_and_the_target_stays_clean():
    objective = OBJECTIVES.build("reconstruct noise=0.1")
    assert objective.draws
    image = torch.full((50, 1, 20, 20), 0.5)
    x, target = objective.pair({"image": image}, seeded())
    assert torch.equal(target, image)
    assert (x - image).std().item() == pytest.approx(0.1, rel=0.03)
    assert (x - image).mean().item() == pytest.approx(0, abs=0.005)


def test_noise_stays_within_black_and_white():
    image = torch.rand(4, 1, 20, 20).round()
    x, _ = OBJECTIVES.build("reconstruct noise=0.5").pair({"image": image}, seeded())
    assert x.min() == 0
    assert x.max() == 1
    assert (x == image).float().mean().item() == pytest.approx(0.5, abs=0.05)  # half of it would go beyond


def test_noise_is_drawn_anew_each_time_but_the_same_from_the_same_state():
    objective = OBJECTIVES.build("reconstruct noise=0.1")
    draw = seeded(3)
    state = draw.get_state()
    first, second = (objective.pair(sample(), draw)[0] - objective.pair(sample(), seeded(9))[0] for _ in range(2))
    assert not torch.equal(first, second)
    image = sample()
    draw.set_state(state)
    once = objective.pair(image, draw)[0]
    assert not torch.equal(objective.pair(image, draw)[0], once)
    draw.set_state(state)
    assert torch.equal(objective.pair(image, draw)[0], once)


def test_without_noise_nothing_is_drawn():
    objective = OBJECTIVES.build("reconstruct")
    draw = seeded(3)
    state = draw.get_state()
    x, target = objective.pair(sample(), draw)
    assert torch.equal(x, target)
    assert torch.equal(draw.get_state(), state)
    assert not objective.draws
    assert "noisy_input" not in objective.baselines(x, target, 2)
    assert "psnr_db" not in score(objective, objective.link(target), target)


@pytest.mark.parametrize("noise", ["-0.1", "inf", "nan"])
def test_noise_that_cannot_be_is_refused(noise):
    with pytest.raises(UserError, match="must be 0 or more"):
        OBJECTIVES.build(f"reconstruct noise={noise}")


def test_what_is_to_be_beaten_is_the_noisy_input_itself():
    objective = OBJECTIVES.build("reconstruct loss=mse noise=0.1")
    x, target = drawn(objective)
    told = objective.metrics(objective.evidence(objective.baselines(x, target, 2)["noisy_input"](x), target))
    assert told["mse"] == pytest.approx((x - target).square().mean().item())


def test_the_signal_to_noise_ratio_is_the_mean_over_images_of_that_of_each():
    objective = OBJECTIVES.build("reconstruct loss=mse noise=0.1")
    target = torch.rand(3, *SHAPE)
    prediction = target + torch.tensor([0.1, 0.01, 0.3]).view(3, 1, 1, 1)
    each = [10 * np.log10(1 / (prediction[i] - target[i]).square().mean().item()) for i in range(3)]
    assert each[:2] == pytest.approx([20, 40], abs=1e-3)
    assert score(objective, prediction, target)["psnr_db"] == pytest.approx(np.mean(each))


def test_the_pca_baseline_of_noisy_images_is_fitted_to_the_clean_ones():
    objective = OBJECTIVES.build("reconstruct noise=0.3")
    clean = decaying(40, *SHAPE)
    x, target = objective.pair({"image": clean}, seeded())
    exact = truncated_svd(clean, x, 4).float()
    assert (objective.baselines(x, target, 4)["pca"](x) - exact).norm() <= 1e-4 * exact.norm()


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_a_second_loss_is_reported_as_it_is_whatever_the_first(loss):
    target = torch.rand(5, *SHAPE)
    objective = OBJECTIVES.build(f"reconstruct loss={loss} second=l1")
    prediction = objective.link(torch.rand(5, *SHAPE))
    off = (objective.output(prediction) - target).abs()
    assert score(objective, prediction, target)["l1"] == pytest.approx(off.mean().item(), rel=1e-5)
    rows = objective.rows(objective.evidence(objective.output(prediction), target), CLASSES)
    assert rows["l1"] == pytest.approx(off.flatten(1).mean(1).tolist(), rel=1e-5)
    assert "l1" not in score(OBJECTIVES.build(f"reconstruct loss={loss}"), prediction, target)


def test_a_second_loss_of_probabilities_judges_what_the_prediction_means():
    objective = OBJECTIVES.build("reconstruct loss=mse second=bce")
    target, answer = torch.rand(2, 5, *SHAPE) * 0.9 + 0.05
    exact = torch.nn.functional.binary_cross_entropy(answer, target).item()
    assert score(objective, answer, target)["bce"] == pytest.approx(exact, rel=1e-4)


# --------------------------------------------------------------------------------------------------- classify


def test_one_class_alone_is_named_with_what_to_choose():
    with pytest.raises(UserError) as told:
        OBJECTIVES.build("classify").check(["image", "label"], ["stimuli"])
    assert "two classes or more, but every image is labelled 'stimuli'" in str(told.value)
    assert "label=COLUMN" in str(told.value)


@pytest.mark.parametrize("n", [1, 2, 10, 97])
def test_the_interval_is_wilsons_where_every_image_is_its_own_group(n):
    z = 1.959964
    for n_right in {0, 1, n // 2, n - 1, n}:
        p = n_right / n
        centre = p + z**2 / (2 * n)
        half = z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
        wilson = [(centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)]
        assert interval([True] * n_right + [False] * (n - n_right), range(n)) == pytest.approx(wilson, abs=1e-9)


@pytest.mark.parametrize("n_groups", [1, 2, 8, 24])
def test_where_all_are_right_the_interval_ends_at_1_but_does_not_begin_there(n_groups):
    low, high = interval([True] * 24, np.arange(24) % n_groups)
    assert low < 1
    assert high == pytest.approx(1)
    low, high = interval([False] * 24, np.arange(24) % n_groups)
    assert low == pytest.approx(0)
    assert high > 0


@pytest.mark.parametrize("n_right", [0, 24])
def test_more_groups_make_the_interval_narrower(n_right):
    right = [True] * n_right + [False] * (24 - n_right)
    widths = [width(right, np.arange(24) * n_groups // 24) for n_groups in (1, 2, 4, 8, 24)]
    assert all(wider > narrower for wider, narrower in zip(widths[:-1], widths[1:], strict=True))


def test_two_groups_of_which_one_makes_all_errors_are_worth_no_more_than_four():
    right = [False] * 3 + [True] * 21
    assert width(right, np.arange(24) // 12) >= width(right, np.arange(24) // 6) - 1e-9


def test_errors_of_few_groups_make_a_wider_interval_than_the_same_errors_spread_over_many():
    groups = np.arange(60) // 6
    few = np.ones(60, bool)
    few[:12] = False  # two of ten groups, wholly wrong
    spread = np.ones(60, bool)
    spread[::5] = False  # twelve errors over all ten
    assert few.sum() == spread.sum()
    assert width(few, groups) > 1.5 * width(spread, groups)


def test_errors_spread_exactly_evenly_are_no_worse_than_errors_of_one_group():
    groups = np.arange(16) // 4
    assert width([False, True, True, True] * 4, groups) < width([False] * 4 + [True] * 12, groups)


def test_the_interval_of_one_group_is_that_of_one_image_whatever_the_rounding():
    for n in range(2, 12):
        for n_right in range(1, n):
            assert width([True] * n_right + [False] * (n - n_right), np.zeros(n)) > 0.8


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draw = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        ability = draw.beta(7, 3, size=20)  # of each group; 0.7 on average
        right = draw.random((20, 6)) < ability[:, None]
        low, high = interval(right.ravel(), np.repeat(np.arange(20), 6))
        covered.append(low <= 0.7 <= high)
    assert np.mean(covered) == pytest.approx(0.95, abs=0.035)  # three sd of a share of 400


def test_the_majority_baseline_is_as_good_as_its_class_is_frequent():
    objective = OBJECTIVES.build("classify")
    target = torch.tensor([0, 1, 1, 2, 1])
    majority = objective.baselines(torch.rand(5, *SHAPE), target, 4)["majority_class"]
    evidence = objective.evidence(majority(torch.rand(5, *SHAPE)), target)
    assert objective.metrics(evidence)["accuracy"] == pytest.approx(3 / 5)
    assert set(objective.rows(evidence, CLASSES)["predicted"]) == {"happy"}


def test_the_majority_baseline_has_a_column_for_a_class_absent_from_training():
    objective = OBJECTIVES.build("classify")
    objective.check(["image", "label"], CLASSES)
    majority = objective.baselines(torch.rand(3, *SHAPE), torch.tensor([0, 1, 1]), 4)["majority_class"]
    assert majority(torch.rand(7, *SHAPE)).shape == (7, *objective.output_shape(SHAPE, CLASSES))


def test_confusion_counts_every_image_in_the_row_of_its_class():
    objective = OBJECTIVES.build("classify")
    label = torch.randint(3, (50,))
    evidence = {"probabilities": torch.randn(50, 3).softmax(1), "label": label}
    table = objective.confusion(evidence)
    assert table.shape == (3, 3)
    assert table.sum(1).tolist() == torch.bincount(label, minlength=3).tolist()
    assert table.diagonal().sum().item() / 50 == pytest.approx(objective.metrics(evidence)["accuracy"])
    one = {"probabilities": torch.tensor([[0.1, 0.2, 0.7]]), "label": torch.tensor([0])}
    assert objective.confusion(one).nonzero().tolist() == [[0, 2]]


def test_a_row_names_the_class_what_was_predicted_and_how_surely():
    evidence = {"probabilities": torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]]), "label": torch.tensor([1, 0])}
    rows = OBJECTIVES.build("classify").rows(evidence, CLASSES)
    assert rows["label"] == ["happy", "afraid"]
    assert rows["predicted"] == ["sad", "afraid"]
    assert rows["probability"] == pytest.approx([0.7, 0.5])


# -------------------------------------------------------------------------------------------------- direction


def unit_vectors(degrees):
    angle = torch.as_tensor(degrees, dtype=torch.float32).deg2rad()
    return torch.stack([angle.cos(), angle.sin()], 1)


def target_of(choice, values, **more):
    objective = OBJECTIVES.build(f"direction {choice}")
    given = {"image": torch.rand(len(values), *SHAPE), "values": values} | more
    return objective.pair(given, seeded())[1]


def told_of(true_deg, predicted_deg):
    objective = OBJECTIVES.build("direction")
    return score(objective, unit_vectors(predicted_deg), unit_vectors(true_deg))


def test_an_angle_a_vector_and_two_points_tell_the_same_direction():
    degrees = torch.arange(-360.0, 361, 15)
    vectors = unit_vectors(degrees)
    length, start = 1 + 5 * torch.rand(len(degrees), 1), 10 * torch.randn(len(degrees), 2)
    for choice, values in (
        ("columns=angle", degrees.deg2rad()[:, None]),
        ("columns=angle unit=deg", degrees[:, None]),
        ("columns=dx,dy", length * vectors),
        ("columns=tail_x,tail_y,neck_x,neck_y", torch.cat([start, start + length * vectors], 1)),
    ):
        assert torch.allclose(target_of(choice, values), vectors, atol=1e-4), choice


def test_where_x_points_right_and_y_down_angles_go_clockwise():
    target = target_of("columns=angle unit=deg", torch.tensor([[0.0], [90.0]]))
    assert torch.allclose(target, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), atol=1e-6)


def test_an_error_across_the_seam_is_small():
    told = told_of([1, 359, 180, -179], [359, 1, -178, 179])
    assert told["error_deg"] == pytest.approx(2, abs=1e-3)
    assert told["reversed"] == 0


def test_the_length_of_a_predicted_vector_tells_nothing():
    objective = OBJECTIVES.build("direction")
    true, predicted = unit_vectors([10, 200, 300]), unit_vectors([20, 240, 10])
    assert score(objective, 7 * predicted, true) == pytest.approx(score(objective, predicted, true), rel=1e-4)


def test_the_metrics_are_those_of_the_errors():
    errors = np.array([0.0, 3, -5, 8, -13, 21, 34, -55, 100, 170])
    true = np.linspace(0, 350, 10)
    told = told_of(true, true + errors)
    size = np.abs(errors)
    wanted = {"error_deg": size.mean(), "median_deg": np.median(size), "p90_deg": np.quantile(size, 0.9)}
    wanted |= {"bias_deg": mean_deg(errors), "spread_deg": spread_deg(errors), "reversed": 0.2}
    assert told == pytest.approx(wanted, abs=1e-3)


def test_what_points_backwards_is_reversed():
    assert told_of([0, 0, 0, 0], [89, 91, 180, -91])["reversed"] == 0.75


@pytest.mark.parametrize(
    ("choice", "unknown"),
    [
        ("columns=angle", [[np.nan]]),
        ("columns=dx,dy", [[1, np.nan]]),
        ("columns=dx,dy", [[0, 0]]),
        ("columns=a,b,c,d", [[1, 2, np.nan, 4]]),
        ("columns=a,b,c,d", [[1, 2, 1, 2]]),
    ],
)
def test_an_image_without_a_direction_counts_for_nothing(choice, unknown):
    objective = OBJECTIVES.build(f"direction {choice}")
    values = torch.cat([torch.randn(6, len(unknown[0])), torch.tensor(unknown, dtype=torch.float32)])
    target = target_of(choice, values)
    prediction = torch.randn(7, 2, requires_grad=True)
    assert objective.loss(prediction, target).item() == pytest.approx(objective.loss(prediction[:6], target[:6]).item())
    assert score(objective, prediction.detach(), target) == score(objective, prediction[:6].detach(), target[:6])
    objective.loss(prediction, target).backward()
    assert prediction.grad[:6].all()
    assert not prediction.grad[6].any()


@pytest.mark.parametrize("name", ["direction columns=dx,dy", "regress columns=x,y"])
def test_a_batch_of_which_nothing_is_known_teaches_nothing(name):
    objective = OBJECTIVES.build(name)
    drawn(objective)
    prediction = torch.randn(3, 2, requires_grad=True)
    loss = objective.loss(prediction, torch.full((3, 2), torch.nan))
    loss.backward()
    assert loss == 0
    assert not prediction.grad.any()


@pytest.mark.parametrize("name", ["direction columns=dx,dy", "regress columns=x,y"])
@pytest.mark.parametrize("n_unknown", [1, 2])
def test_an_interval_rests_on_the_groups_of_which_something_is_known(name, n_unknown):
    objective = OBJECTIVES.build(name)
    _, target = drawn(objective)
    groups = np.arange(N) // 6
    evidence = objective.evidence(objective.output(torch.randn(N, 2)), target)
    without = {key: values[groups >= n_unknown] for key, values in evidence.items()}
    wanted = objective.interval(without, groups[groups >= n_unknown])
    evidence["true"][groups < n_unknown] = torch.nan
    assert objective.interval(evidence, groups) == pytest.approx(wanted)


@pytest.mark.parametrize("name", ["direction columns=dx,dy", "regress columns=x,y"])
def test_there_is_no_interval_where_something_is_known_of_one_group_alone(name):
    objective = OBJECTIVES.build(name)
    _, target = drawn(objective)
    target[6:] = torch.nan
    evidence = objective.evidence(objective.output(torch.randn(N, 2)), target)
    assert objective.interval(evidence, np.arange(N) // 6) is None


def test_a_direction_turns_with_its_image():
    degrees = torch.tensor([0.0, 30, 200])
    quarter = torch.tensor([[0.0, -1.0], [1.0, 0.0]]).expand(3, 2, 2)
    for choice, values in (("columns=angle unit=deg", degrees[:, None]), ("columns=dx,dy", 3 * unit_vectors(degrees))):
        assert torch.allclose(target_of(choice, values, turn=quarter), unit_vectors(degrees + 90), atol=1e-5)


def test_the_direction_of_a_mirrored_image_is_mirrored():
    images = torch.zeros(4, 1, 6, 6, dtype=torch.uint8)
    images[:, :, :, 0] = 255
    degrees = np.array([0.0, 30, 100, 250])
    dataset = StimulusSet(images, list("abcd"), max_value=255, columns={"angle": degrees})
    dataset.aim_at(["angle"])
    flip = [AUGMENTATIONS.build("flip p=1")]
    objective = OBJECTIVES.build("direction unit=deg")
    batches = utils.Batches(dataset, range(4), objective, torch.device("cpu"), flip, [seeded()])
    x, target = batches.__getitems__(torch.arange(4))
    assert torch.allclose(x, torch.tensor([0.0, 0, 0, 0, 0, 1]).expand_as(x), atol=1e-4)
    assert torch.allclose(target, unit_vectors(180 - degrees), atol=1e-5)


def test_the_constant_to_be_beaten_is_the_circular_mean():
    objective = OBJECTIVES.build("direction")
    degrees = np.array([350.0, 10, 20, 340, 60])
    x, target = torch.rand(5, *SHAPE), unit_vectors(degrees)
    told = objective.baselines(x, target, 3)["circular_mean"](torch.rand(2, *SHAPE))
    predicted = objective.evidence(told, target[:2])["predicted"]
    assert np.abs(difference_deg(predicted.numpy(), mean_deg(degrees))).max() < 1e-3
    target[1] = torch.nan
    told = objective.baselines(x, target, 3)["circular_mean"](torch.rand(2, *SHAPE))
    predicted = objective.evidence(told, target[:2])["predicted"]
    assert np.abs(difference_deg(predicted.numpy(), mean_deg(np.delete(degrees, 1)))).max() < 1e-3


def test_linear_pixels_find_a_direction_that_is_linear_in_the_pixels():
    objective = OBJECTIVES.build("direction")
    target = unit_vectors(360 * torch.rand(200))
    patterns = torch.linalg.qr(torch.randn(30, 2))[0]
    x = (0.5 + 0.3 * target @ patterns.T + 0.001 * torch.randn(200, 30)).view(200, *SHAPE)
    told = objective.baselines(x[:150], target[:150], 3)
    unseen, wanted = x[150:], target[150:]
    errors = {name: score(objective, baseline(unseen), wanted)["error_deg"] for name, baseline in told.items()}
    assert errors["linear_pixels"] < 2
    assert errors["circular_mean"] > 60


@pytest.mark.parametrize(("columns", "n"), [("a,b,c", 3), ("none", 0), ("a,b,c,d,e", 5)])
def test_a_number_of_columns_that_makes_no_direction_is_refused(columns, n):
    with raises_user_error(
        f"names {n}; it takes an angle, or x,y of a vector, or x,y of its beginning and x,y of its end"
    ):
        OBJECTIVES.build(f"direction columns={columns}")


def test_a_row_tells_angles_from_0_to_360_and_the_error_with_its_sign():
    objective = OBJECTIVES.build("direction")
    evidence = objective.evidence(unit_vectors([-10, 170]), unit_vectors([20, -170]))
    rows = objective.rows(evidence, CLASSES)
    assert rows["true_deg"] == pytest.approx([20, 190], abs=1e-3)
    assert rows["predicted_deg"] == pytest.approx([350, 170], abs=1e-3)
    assert rows["error_deg"] == pytest.approx([-30, -20], abs=1e-3)


# ---------------------------------------------------------------------------------------------------- regress


def regression(target, columns="x,y"):
    objective = OBJECTIVES.build(f"regress columns={columns}")
    objective.learn(target)
    return objective


def test_r2_is_1_for_a_perfect_prediction_and_0_for_the_mean_of_the_images_it_is_judged_by():
    objective = regression(100 * torch.rand(50, 2))
    held_out = 100 * torch.rand(20, 2)
    assert score(objective, objective.link(held_out), held_out)["r2"] == pytest.approx(1)
    mean = objective.link(held_out.mean(0).expand(20, 2))
    told = score(objective, mean, held_out)
    assert [told[name] for name in ("r2", "r2_x", "r2_y")] == pytest.approx([0, 0, 0], abs=1e-4)


def test_r2_is_the_mean_over_columns_of_the_share_of_each():
    from sklearn.metrics import r2_score

    target, predicted = torch.randn(2, 40, 2) * torch.tensor([1.0, 50.0])
    objective = regression(target)
    told = score(objective, objective.link(predicted), target)
    each = r2_score(target, predicted, multioutput="raw_values")
    assert [told["r2_x"], told["r2_y"], told["r2"]] == pytest.approx([*each, each.mean()], rel=1e-4)


def test_the_error_of_a_column_is_in_its_own_unit():
    target = torch.randn(30, 2) * torch.tensor([1.0, 1000.0])
    objective = regression(target)
    off = torch.tensor([0.5, 200.0]) * torch.tensor([1.0, -1.0]).repeat(15)[:, None]
    told = score(objective, objective.link(target + off), target)
    assert told["mae_x"] == pytest.approx(0.5, rel=1e-3)
    assert told["mae_y"] == pytest.approx(200, rel=1e-3)


def test_a_single_column_has_one_r2():
    target = torch.randn(30, 1)
    objective = regression(target, "x")
    assert set(score(objective, torch.randn(30, 1), target)) == {"r2", "mae_x"}


def test_mean_and_sd_are_learned_from_what_is_known_and_undo_each_other():
    target = torch.randn(40, 2) * torch.tensor([1.0, 30.0]) + 7
    target[::3, 0] = torch.nan
    objective = regression(target)
    exact = target.double().numpy()
    assert objective.learned["mean"] == pytest.approx(np.nanmean(exact, 0))
    assert objective.learned["sd"] == pytest.approx(np.nanstd(exact, 0))
    scaled = objective.link(target).double().numpy()
    assert np.nanmean(scaled, 0) == pytest.approx([0, 0], abs=1e-5)
    assert np.nanstd(scaled, 0) == pytest.approx([1, 1], rel=1e-5)
    assert torch.allclose(objective.output(objective.link(target)), target, rtol=1e-5, equal_nan=True)


def test_a_number_that_is_not_known_counts_for_nothing_and_the_others_of_its_image_count():
    target, predicted = torch.randn(2, 30, 2)
    objective = regression(target)
    whole = score(objective, predicted, target)
    target[:10, 1] = torch.nan
    told = score(objective, predicted, target)
    rest = score(objective, predicted[10:], target[10:])
    assert (told["r2_x"], told["mae_x"]) == (whole["r2_x"], whole["mae_x"])
    assert (told["r2_y"], told["mae_y"]) == pytest.approx((rest["r2_y"], rest["mae_y"]))
    prediction = predicted.clone().requires_grad_()
    loss = objective.loss(prediction, target)
    known = target.isfinite()
    assert loss.item() == pytest.approx((prediction - objective.link(target))[known].square().mean().item(), rel=1e-5)
    loss.backward()
    assert torch.equal(prediction.grad != 0, known)


def test_baselines_are_there_even_where_no_image_has_all_its_numbers():
    target = torch.randn(30, 2)
    target[:15, 0] = target[15:, 1] = torch.nan
    objective = regression(target)
    told = objective.baselines(torch.rand(30, *SHAPE), target, 3)
    mean = told["mean"](torch.rand(2, *SHAPE))
    assert torch.allclose(mean, target.nanmean(0).expand(2, 2), atol=1e-4)
    assert told["linear_pixels"](torch.rand(2, *SHAPE)).isfinite().all()


def test_linear_pixels_find_numbers_that_are_linear_in_the_pixels_and_the_mean_tells_nothing():
    x = torch.rand(200, *SHAPE)
    target = x.flatten(1)[:, :2] * torch.tensor([3.0, 500.0]) + 20
    objective = regression(target[:150])
    told = objective.baselines(x[:150], target[:150], 3)
    r2 = {name: objective.metrics(objective.evidence(b(x[150:]), target[150:]))["r2"] for name, b in told.items()}
    assert r2["linear_pixels"] > 0.99
    assert r2["mean"] == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_a_column_that_is_the_same_everywhere_is_refused_by_name(constant):
    target = torch.randn(7, 2)
    target[:, 1] = constant
    with raises_user_error("objective 'regress': y is the same for all training images"):
        regression(target)


@pytest.mark.parametrize("columns", ["x,y,x", "none"])
def test_columns_that_are_named_twice_or_not_at_all_are_refused(columns):
    with raises_user_error(f"columns={columns} must name columns of the metadata, each once"):
        OBJECTIVES.build(f"regress columns={columns}")


def test_the_user_is_told_where_augmentation_moves_what_the_numbers_tell_of():
    objective = OBJECTIVES.build("regress columns=x,y")
    (note,) = objective.notes([AUGMENTATIONS.build("noise"), AUGMENTATIONS.build("shift")])
    assert "x, y stay as they are" in note
    assert not objective.notes([AUGMENTATIONS.build("noise"), AUGMENTATIONS.build("brightness")])
    assert not OBJECTIVES.build("direction").notes([AUGMENTATIONS.build("rotate")])


def test_a_row_has_what_was_predicted_of_each_column_in_its_unit():
    target = torch.randn(3, 2) * 40
    objective = regression(target)
    rows = objective.rows(objective.evidence(objective.output(objective.link(target)), target), CLASSES)
    assert rows["x_predicted"] == pytest.approx(target[:, 0].tolist(), rel=1e-4)
    assert rows["y_predicted"] == pytest.approx(target[:, 1].tolist(), rel=1e-4)


def test_a_column_that_is_empty_everywhere_is_refused_by_name():
    target = torch.randn(7, 2)
    target[:, 1] = torch.nan
    with raises_user_error("objective 'regress': y is empty for all training images"):
        OBJECTIVES.build("regress columns=x,y").learn(target)


@every
def test_an_interval_never_tells_of_what_cannot_be(objective):
    ends = {"error_deg": (0, 180), "r": (-1, 1), "r2": (-np.inf, 1), "accuracy": (0, 1), "mse": (0, np.inf)}[
        objective.metric
    ]
    for seed in range(5):
        torch.manual_seed(seed)
        _, target = drawn(objective, 12)
        prediction = 3 * torch.randn(12, *objective.output_shape(SHAPE, CLASSES))
        low, high = objective.interval(objective.evidence(objective.output(prediction), target), np.arange(12) // 4)
        assert ends[0] <= low <= high <= ends[1]
