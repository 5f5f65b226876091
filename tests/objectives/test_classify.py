"""Classification: its baseline, its confusion matrix and its table."""

import numpy as np
import pytest
import torch
from helpers import raises_user_error
from objective_cases import SHAPE, build

from neuro_noodle.augment import AUGMENTATIONS
from neuro_noodle.measures.intervals import accuracy_interval


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
