"""Objectives: a promise of every entry; what is reported is exact, and its interval is honest."""

import numpy as np
import pytest
import torch

from choices import UserError
from objectives import OBJECTIVES

CHOICES = [*OBJECTIVES, "reconstruct loss=mse", "reconstruct loss=l1"]
every = pytest.mark.parametrize("objective", [pytest.param(OBJECTIVES.build(c), id=c) for c in CHOICES])
CLASSES = ["afraid", "happy", "sad"]
SHAPE = (1, 6, 5)
N = 24


def sample(n=N):
    return {"image": torch.rand(n, *SHAPE), "label": torch.arange(n) % 3}


def pair(objective, n=N):
    """Input, target, and the prediction that means the target."""
    x, target = objective.pair(sample(n))
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
    _, target = objective.pair(sample())
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
    _, target = objective.pair(sample())
    prediction = torch.randn(N, *objective.output_shape(SHAPE, CLASSES))
    batches = zip(prediction.split([17, 4, 3]), target.split([17, 4, 3]), strict=True)
    pieces = [objective.evidence(objective.output(p), t) for p, t in batches]
    joined = {key: torch.cat([piece[key] for piece in pieces]) for key in pieces[0]}
    assert objective.metrics(joined) == pytest.approx(score(objective, prediction, target))
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
    x, target = objective.pair(sample())
    unseen, wanted = objective.pair(sample(7))
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
    _, target = objective.pair(sample())
    prediction = torch.randn(N, *objective.output_shape(SHAPE, CLASSES))
    evidence = objective.evidence(objective.output(prediction), target)
    groups = np.arange(N) // 3
    low, high = objective.interval(evidence, groups)
    assert low < objective.metrics(evidence)[objective.metric] < high
    assert objective.interval(evidence, groups.astype(str)) == (low, high)


@every
def test_an_objective_takes_what_it_needs_and_names_what_is_missing(objective):
    objective.check(["image", "label"], CLASSES)
    for need in objective.needs:
        provides = [name for name in ("image", "label") if name != need]
        with pytest.raises(UserError) as told:
            objective.check(provides, CLASSES)
        assert f"needs {need}, but the dataset provides only {provides[0]}" in str(told.value)
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
