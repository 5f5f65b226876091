"""Classification: its baseline, its confusion matrix and its table."""

import numpy as np
import pytest
import torch
from helpers import raises_user_error
from objective_cases import SHAPE, build

from neuro_noodle.augment import AUGMENTATIONS
from neuro_noodle.measures.intervals import accuracy_interval
from neuro_noodle.measures.linear import logistic
from neuro_noodle.objectives import pixels
from neuro_noodle.objectives.pixels import PixelScores, fit_pixel_classes


def test_a_single_class_is_refused():
    """The message names the class, and what to choose instead."""
    with raises_user_error("at least two classes, but every label is 'stimuli'") as error:
        build("classify", classes=["stimuli"])
    assert "label=COLUMN" in str(error.value)


def test_the_majority_baseline_reaches_the_share_of_its_class():
    objective = build("classify")
    target = torch.tensor([0, 1, 1, 2, 1])
    majority = objective.baselines(torch.rand(5, *SHAPE), target, 4)["majority_class"]
    evidence = objective.evidence(majority(torch.rand(5, *SHAPE)), target)
    assert objective.metrics(evidence)["accuracy"] == pytest.approx(3 / 5)
    assert set(objective.rows(evidence)["predicted"]) == {"happy"}


def test_the_majority_baseline_knows_classes_not_in_training():
    objective = build("classify")
    majority = objective.baselines(torch.rand(3, *SHAPE), torch.tensor([0, 1, 1]), 4)["majority_class"]
    assert majority(torch.rand(7, *SHAPE)).shape == (7, *objective.output_shape)


def test_the_interval_is_that_of_the_share_of_correct_images():
    objective = build("classify")
    label, groups = torch.randint(3, (50,)), np.arange(50) // 4
    evidence = {"probabilities": torch.randn(50, 3).softmax(1), "label": label}
    is_correct = (evidence["probabilities"].argmax(1) == label).double().numpy()
    assert objective.interval(evidence, groups) == accuracy_interval(is_correct, groups)


def test_confusion_counts_every_image_in_the_row_of_its_class():
    objective = build("classify")
    label = torch.randint(3, (50,))
    evidence = {"probabilities": torch.randn(50, 3).softmax(1), "label": label}
    table = objective.confusion(evidence)
    assert table.shape == (3, 3)
    assert table.sum(1).tolist() == torch.bincount(label, minlength=3).tolist()
    assert table.diagonal().sum().item() / 50 == pytest.approx(objective.metrics(evidence)["accuracy"])
    one = {"probabilities": torch.tensor([[0.1, 0.2, 0.7]]), "label": torch.tensor([0])}
    assert objective.confusion(one).nonzero().tolist() == [[0, 2]]


def test_a_row_has_the_class_the_prediction_and_its_probability():
    evidence = {"probabilities": torch.tensor([[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]]), "label": torch.tensor([1, 0])}
    rows = build("classify").rows(evidence)
    assert rows["label"] == ["happy", "afraid"]
    assert rows["predicted"] == ["sad", "afraid"]
    assert rows["probability"] == pytest.approx([0.7, 0.5])


@pytest.mark.parametrize(
    ("choice", "classes", "named"),
    [
        ("flip", ["turn_Left", "turn RIGHT", "up"], "turn_Left and turn RIGHT"),
        ("rotate deg=90", ["left", "up"], "left and up"),
        ("flip", ["happy", "leftover"], None),
        ("flip p=0", ["left", "right"], None),
        ("rotate deg=5", ["left", "right"], None),
        ("shift", ["left", "right"], None),
    ],
)
def test_augmentation_that_turns_classes_into_others_is_noted(choice, classes, named):
    notes = build("classify", classes=classes).notes([AUGMENTATIONS.build("noise"), AUGMENTATIONS.build(choice)])
    kind = choice.split()[0]
    expected = f"--augment {kind} changes the direction in an image, but not its class ({named}); --augment none avoids"
    assert notes == ([f"{expected} this"] if named else [])


def test_a_linear_classifier_reads_a_class_from_pixels():
    torch.manual_seed(0)
    label = torch.arange(90) % 3
    images = torch.rand(90, *SHAPE) + (label == 1).float().view(-1, 1, 1, 1)
    images[label == 2, :, 0] += 1
    objective = build("classify", classes=["a", "b", "c", "d"])
    linear = objective.baselines(images, label, 4)["linear_pixels"]
    probabilities = linear(images)
    assert torch.allclose(probabilities.sum(1), torch.ones(90), atol=1e-5) and (probabilities[:, 3] == 0).all()
    assert objective.metrics(objective.evidence(probabilities, label))["accuracy"] > 0.95


def test_a_linear_classifier_of_equal_images_gives_shares():
    label = torch.tensor([0, 1, 1, 1])
    linear = fit_pixel_classes(torch.ones(4, *SHAPE), label, 2)
    assert torch.allclose(linear(torch.rand(5, *SHAPE)), torch.tensor([0.25, 0.75]).expand(5, -1))


def test_two_classes_have_the_probabilities_of_scikit_learn():
    torch.manual_seed(0)
    label = torch.arange(60) % 2
    images = torch.rand(60, *SHAPE).double() + 0.1 * label.view(-1, 1, 1, 1)
    scores = PixelScores.fit(images)
    expected = logistic(scores.scores / scores.variance**0.5, label.numpy(), None)
    probabilities = fit_pixel_classes(images, label, 2)(images)
    theirs = expected.predict_proba(scores.scores / scores.variance**0.5)
    np.testing.assert_allclose(probabilities, theirs, atol=1e-9)


def test_the_summary_agrees_with_scikit_learn():
    from sklearn.metrics import balanced_accuracy_score, log_loss, roc_auc_score

    generator = np.random.default_rng(0)
    label = torch.from_numpy(generator.integers(0, 2, 200))
    first = torch.from_numpy(generator.uniform(0, 1, 200).round(1))  # with ties
    objective = build("classify", classes=["a", "b"])
    evidence = objective.evidence(torch.stack([first, 1 - first], 1).clamp(0.01, 0.99), label)
    probabilities = evidence["probabilities"].numpy()
    predicted = probabilities.argmax(1)
    assert objective.summary(evidence) == pytest.approx(
        {
            "balanced_accuracy": balanced_accuracy_score(label, predicted),
            "auc": roc_auc_score(label, probabilities[:, 1]),
            "log_loss": log_loss(label, probabilities),
            "overconfidence": probabilities.max(1).mean() - (predicted == label.numpy()).mean(),
        }
    )
    recall = objective.by_class(evidence)
    assert recall["a"] == pytest.approx((predicted[label.numpy() == 0] == 0).mean())


def test_a_linear_classifier_of_many_images_sees_every_class(monkeypatch):
    """Also where classes alternate, and where one is rare."""
    monkeypatch.setattr(pixels, "MAX_CLASSIFIED", 50)
    label = torch.arange(400) % 2
    label[7] = 2
    chosen = pixels._sample(label.numpy())
    assert set(label[chosen].tolist()) == {0, 1, 2} and 15 < int((label[chosen] == 0).sum()) < 35
    one = fit_pixel_classes(torch.rand(10, *SHAPE), torch.zeros(10, dtype=torch.long), 2)
    assert torch.equal(one(torch.rand(3, *SHAPE)), torch.tensor([1.0, 0.0]).expand(3, -1))
