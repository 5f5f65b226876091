"""The contract that every objective keeps."""

import numpy as np
import pytest
import torch
from helpers import raises_user_error
from objective_cases import CLASSES, NEURONS, PROVIDES, SHAPE, N, build, dataset, fitted_pair, sample, score, seeded

from neuro_noodle.objectives.base import IMAGES, OBJECTIVES
from neuro_noodle.objectives.reconstruct import image_losses

WITH_COLUMNS = {"direction": "direction columns=dx,dy", "regress": "regress columns=x,y"}
CHOICES = [WITH_COLUMNS.get(name, name) for name in OBJECTIVES]
CHOICES += ["response loss=gaussian"]
CHOICES += [f"reconstruct loss={name}" for name in image_losses()] + ["reconstruct loss=mse noise=0.1 second=l1"]
OUTPUT_SHAPES = {"reconstruct": (3, 2, 2), "response": (1,), "classify": (3,), "direction": (2,), "regress": (2,)}
RANGES = {"error_deg": (0, 180), "r": (-1, 1), "r2": (-np.inf, 1), "accuracy": (0, 1), "mse": (0, np.inf)}

every_choice = pytest.mark.parametrize("choice", CHOICES)
every_objective = pytest.mark.parametrize("objective", [pytest.param(build(choice), id=choice) for choice in CHOICES])


def perfect_prediction(objective, target):
    """Return the prediction whose output is the target."""
    if objective.metric == "accuracy":
        return 20.0 * torch.nn.functional.one_hot(target, 3)
    return objective.link(target)


@every_choice
def test_binding_returns_a_new_objective(choice):
    """The one that was built stays unbound, so that it can be bound to another dataset."""
    built = OBJECTIVES.build(choice)
    before = dict(vars(built))
    bound = built.on(dataset(built.columns))
    assert bound is not built
    assert vars(built) == before
    assert (bound.classes, bound.neurons, bound.image_shape) == (CLASSES, NEURONS, SHAPE)
    other = built.on(dataset(built.columns, image_shape=(3, 2, 2), neurons=["a"], responses=torch.ones(N, 1)))
    assert all(side >= 1 for side in other.output_shape)
    assert other.output_shape == OUTPUT_SHAPES.get(choice.split()[0], other.output_shape)
    fitted_pair(bound)
    assert built.learned == {} and other.learned == {}


@every_choice
def test_binding_names_what_the_dataset_lacks(choice):
    built = OBJECTIVES.build(choice)
    built.on(dataset(built.columns))
    for need in built.needs:
        provides = [name for name in PROVIDES if name != need]
        with raises_user_error(f"needs {need}, but the dataset provides only {', '.join(provides)}") as error:
            built.on(dataset(built.columns, provides=provides))
        assert "--objective reconstruct" in str(error.value)


@every_objective
def test_an_objective_names_what_it_predicts(objective):
    assert objective.predicts
    fitted_pair(objective)
    output = objective.output(torch.randn(N, *objective.output_shape))
    assert (objective.predicts == IMAGES) == (objective.output_shape == SHAPE)
    assert objective.in_units(output).shape == ((N,) if "degrees" in objective.predicts else output.shape)


@every_objective
def test_outputs_in_units_can_be_traced_for_export(objective):
    class InUnits(torch.nn.Module):
        def forward(self, prediction):
            return objective.in_units(objective.output(prediction))

    fitted_pair(objective)
    prediction = torch.randn(3, *objective.output_shape)
    expected = InUnits()(prediction)
    program = torch.export.export(InUnits(), (prediction[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert torch.equal(program.module()(prediction), expected)


@every_objective
def test_the_meaning_names_each_number_of_an_output(objective):
    meaning, shape = objective.meaning, objective.output_shape
    assert meaning.text
    assert (len(meaning.names),) == shape or not meaning.names
    assert bool(meaning.names) == (objective.predicts != IMAGES and meaning.period is None)
    assert isinstance(meaning.unit, str) or len(meaning.unit) in (0, len(meaning.names))


@every_objective
def test_the_gradient_of_the_loss_reaches_every_prediction(objective):
    _, target = fitted_pair(objective)
    prediction = torch.randn(N, *objective.output_shape, requires_grad=True)
    loss = objective.loss(prediction, target)
    loss.backward()
    assert loss.shape == ()
    assert loss.isfinite()
    assert prediction.grad.isfinite().all()
    assert (prediction.grad != 0).flatten(1).any(1).all()


@every_objective
def test_the_loss_is_a_mean_over_n_terms(objective):
    """So several processes can each compute it of a part of the batch, also if targets are missing."""
    _, target = fitted_pair(objective)
    target[:7] = torch.nan if target.is_floating_point() and objective.output_shape != SHAPE else target[7]
    prediction = torch.randn(N, *objective.output_shape)
    parts = zip(prediction.tensor_split(5), target.tensor_split(5), strict=True)
    shares = [objective.n_terms(y) / objective.n_terms(target) * objective.loss(p, y) for p, y in parts]
    assert sum(shares).item() == pytest.approx(objective.loss(prediction, target).item(), rel=1e-5)


@every_objective
def test_evidence_has_a_row_per_image_and_metrics_are_floats(objective):
    _, target = fitted_pair(objective)
    evidence = objective.evidence(objective.output(perfect_prediction(objective, target)), target)
    assert {len(value) for value in evidence.values()} == {N}
    metrics = objective.metrics(evidence)
    assert objective.metric in metrics
    assert all(type(value) is float for value in metrics.values())
    assert {len(column) for column in objective.rows(evidence).values()} == {N}


@every_objective
def test_only_classification_has_a_confusion_matrix(objective):
    _, target = fitted_pair(objective)
    evidence = objective.evidence(objective.output(torch.randn(N, *objective.output_shape)), target)
    table = objective.confusion(evidence)
    assert (table is not None) == (objective.metric == "accuracy")
    assert table is None or (table.shape == (3, 3) and table.sum() == N)


@every_objective
def test_metrics_do_not_depend_on_the_batches(objective):
    _, target = fitted_pair(objective)
    prediction = torch.randn(N, *objective.output_shape)
    batches = zip(prediction.split([17, 4, 3]), target.split([17, 4, 3]), strict=True)
    pieces = [objective.evidence(objective.output(p), t) for p, t in batches]
    joined = {key: torch.cat([piece[key] for piece in pieces]) for key in pieces[0]}
    assert objective.metrics(joined) == pytest.approx(score(objective, prediction, target))
    if objective.metric in ("r", "r2"):
        return  # they are relative to the variance over all images
    single = [score(objective, prediction[i : i + 1], target[i : i + 1])[objective.metric] for i in range(N)]
    assert objective.metrics(joined)[objective.metric] == pytest.approx(np.mean(single))


@every_objective
def test_a_perfect_prediction_scores_best(objective):
    _, target = fitted_pair(objective)
    perfect = perfect_prediction(objective, target)
    sign = 1 if objective.direction == "max" else -1
    best = sign * score(objective, perfect, target)[objective.metric]
    for scale in (0.1, 1.0, 10.0):
        other = perfect + scale * torch.randn_like(perfect)
        assert sign * score(objective, other, target)[objective.metric] <= best
        assert objective.loss(other, target) >= objective.loss(perfect, target)


@every_objective
def test_baselines_give_outputs_for_unseen_images(objective):
    x, target = fitted_pair(objective)
    unseen, expected = objective.pair(sample(7), seeded(1))
    baselines = objective.baselines(x, target, 4)
    assert baselines
    for baseline in baselines.values():
        output = baseline(unseen)
        assert output.shape == (7, *objective.output_shape)
        assert np.isfinite(objective.metrics(objective.evidence(output, expected))[objective.metric])


@every_objective
def test_rank_prefers_the_better_metric_then_the_lower_loss(objective):
    def epoch(metric, loss):
        return objective.rank({f"validation/{objective.metric}": metric, "validation/loss": loss})

    better, worse = (0.9, 0.2) if objective.direction == "max" else (0.2, 0.9)
    assert epoch(better, 5.0) > epoch(worse, 1.0)
    assert epoch(better, 1.0) > epoch(better, 5.0)


@every_objective
def test_an_interval_contains_its_value_and_is_reproducible(objective):
    _, target = fitted_pair(objective)
    prediction = torch.randn(N, *objective.output_shape)
    evidence = objective.evidence(objective.output(prediction), target)
    groups = np.arange(N) // 3
    low, high = objective.interval(evidence, groups)
    assert low < objective.metrics(evidence)[objective.metric] < high
    assert objective.interval(evidence, groups.astype(str)) == (low, high)


@every_objective
def test_an_interval_excludes_impossible_values(objective):
    lowest, highest = RANGES.get(objective.metric, (-np.inf, np.inf))
    for seed in range(5):
        torch.manual_seed(seed)
        _, target = fitted_pair(objective, 12)
        prediction = 3 * torch.randn(12, *objective.output_shape)
        ends = objective.interval(objective.evidence(objective.output(prediction), target), np.arange(12) // 2)
        assert ends is None or lowest <= ends[0] <= ends[1] <= highest  # None: the groups differ too much


@pytest.mark.parametrize("name", ["direction columns=dx,dy", "regress columns=x,y"])
def test_a_batch_without_any_target_has_loss_and_gradient_0(name):
    objective = build(name)
    fitted_pair(objective)
    prediction = torch.randn(3, 2, requires_grad=True)
    loss = objective.loss(prediction, torch.full((3, 2), torch.nan))
    loss.backward()
    assert loss == 0
    assert not prediction.grad.any()


@pytest.mark.parametrize("name", ["direction columns=dx,dy", "regress columns=x,y"])
@pytest.mark.parametrize("n_missing", [1, 2])
def test_an_interval_ignores_groups_without_targets(name, n_missing):
    objective = build(name)
    _, target = fitted_pair(objective)
    groups = np.arange(N) // 6
    evidence = objective.evidence(objective.output(torch.randn(N, 2)), target)
    without = {key: values[groups >= n_missing] for key, values in evidence.items()}
    expected = objective.interval(without, groups[groups >= n_missing])
    evidence["true"][groups < n_missing] = torch.nan
    assert objective.interval(evidence, groups) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["direction columns=dx,dy", "regress columns=x,y"])
def test_one_group_with_targets_gives_no_interval(name):
    objective = build(name)
    _, target = fitted_pair(objective)
    target[6:] = torch.nan
    evidence = objective.evidence(objective.output(torch.randn(N, 2)), target)
    assert objective.interval(evidence, np.arange(N) // 6) is None


@pytest.mark.parametrize("name", ["direction columns=dx,dy", "regress columns=x,y"])
def test_targets_must_be_chosen_before_binding(name):
    for targets in (None, torch.zeros(N, 3)):
        with raises_user_error("call dataset.set_targets(objective.columns) first"):
            build(name, targets=targets)
