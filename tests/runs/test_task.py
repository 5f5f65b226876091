"""The task of a run: images whose target or group is missing, and parts that cannot be learned or judged."""

import numpy as np
import pytest
import torch
from helpers import error_message, raises_user_error, split_images

from neuro_noodle.data.base import StimulusSet
from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.runs.task import drop_missing_targets

PARTS = {"training": [0, 1, 2, 3], "validation": [4, 5], "test": [6, 7]}


def images(labels, **columns) -> StimulusSet:
    """Return images with these labels."""
    ids = [str(i) for i in range(len(labels))]
    columns = {"mood": labels} | columns
    return StimulusSet(torch.zeros(len(ids), 1, 2, 2), ids, max_value=1, columns=columns, label="mood")


def classify(dataset):
    return OBJECTIVES.build("classify").on(dataset)


def check(labels, parts=PARTS) -> list[str]:
    """Return the notes on the parts of images with these labels, one letter each."""
    dataset = images(list(labels))
    return classify(dataset).check_parts(dataset, parts)


# ------------------------------------------------------------------------------------------------------- missing


def test_images_without_a_label_are_left_out_of_every_part():
    dataset = images(["a", "b", "n/a", "b", "a", "b", "", "a"])
    parts, notes = drop_missing_targets(dataset, classify(dataset), PARTS)
    assert parts == {"training": [0, 1, 3], "validation": [4, 5], "test": [7], "left_out": [2, 6]}
    assert notes == ["2 of 8 images are left out, because they have no mood (the label)"]


def test_images_without_a_label_stay_if_it_is_not_predicted():
    dataset = images(["a", "b", "n/a", "b", "a", "b", "", "a"])
    assert drop_missing_targets(dataset, OBJECTIVES.build("reconstruct"), PARTS) == (PARTS, [])


def test_images_without_numbers_are_left_out_of_every_part():
    dataset = images(list("aabbaabb"), age=["1", "2", "NA", "4", "5", "", "7", "8"])
    dataset.set_targets(["age"])
    objective = OBJECTIVES.build("regress columns=age").on(dataset)
    parts, notes = drop_missing_targets(dataset, objective, PARTS | {"left_out": []})
    assert parts == {"training": [0, 1, 3], "validation": [4], "test": [6, 7], "left_out": [2, 5]}
    assert notes == ["2 of 8 images are left out, because they have no age"]


def test_a_part_without_any_target_is_refused():
    dataset = images(["a", "b", "a", "b", "", "n/a", "a", "b"])
    with raises_user_error("no validation image of 2 has mood (the label)"):
        drop_missing_targets(dataset, classify(dataset), PARTS)


def test_a_column_that_is_empty_in_a_part_is_refused():
    dataset = images(list("aabbaabb"), x=["1"] * 8, y=["1"] * 4 + ["", ""] + ["1"] * 2)
    dataset.set_targets(["x", "y"])
    with raises_user_error("no validation image of 2 has y"):
        drop_missing_targets(dataset, OBJECTIVES.build("regress columns=x,y").on(dataset), PARTS)


def test_infinite_numbers_count_as_missing():
    dataset = images(list("ab"), x=torch.tensor([1.0, torch.inf]).numpy())
    dataset.set_targets(["x"])
    assert dataset.targets[1].isnan() and dataset.notes == ["these cells count as missing: 1 'inf' in x"]


def test_codes_for_missing_targets_are_noted():
    dataset = images(list("abc"), x=["1", "2", "-999"])
    dataset.set_targets(["x"])
    assert dataset.notes[0].startswith("x is -999 (1 image), far from its other values (1 to 2)")


@pytest.mark.parametrize("as_column", [np.array, lambda numbers: list(map(str, numbers))])
def test_large_numbers_that_become_equal_are_counted(as_column):
    """Numbers have 53 bits; from 10**17 on, that is every 16th whole number."""
    dataset = images(list("aabbaabb"), x=as_column([10**17 + i for i in range(7)] + [10**17 + 64]))
    dataset.set_targets(["x"])
    (note,) = dataset.notes
    assert note.startswith(
        "6 values of x became equal to another, since numbers above 2^53 (9e15) are rounded; subtract a"
    )
    dataset = images(list("aabbaabb"), x=as_column([10**17 + 64 * i for i in range(8)]))
    dataset.set_targets(["x"])
    assert dataset.notes == []


def test_images_left_out_for_lack_of_a_group_are_counted():
    dataset = images(list("abababab"), person=["p", "p", "q", "q", "r", "r", "NA", ""])
    dataset.group = "person"
    parts = split_images(dataset, "group", val_fraction=0.3)
    _, notes = drop_missing_targets(dataset, OBJECTIVES.build("reconstruct"), parts)
    assert notes == ["2 of 8 images are left out, because the split cannot keep them apart without their person"]
    assert drop_missing_targets(dataset, OBJECTIVES.build("reconstruct"), PARTS) == (PARTS, [])


def test_an_image_without_a_group_is_a_unit_of_its_own():
    dataset = images(list("ababab"), person=["p", "p", "0", "", "NA", "p"])
    dataset.group = "person"
    assert dataset.units() == ["p", "p", "0", "image 3", "image 4", "p"]


# --------------------------------------------------------------------------------------------------------- parts


def test_complete_parts_need_no_note():
    assert check("ababababab") == []


@pytest.mark.parametrize(("labels", "named"), [("aabbcaab", "'c' (a single image)"), ("aabbacca", "'c'")])
def test_a_class_that_training_lacks_is_refused(labels, named):
    with raises_user_error(f"training has no image of the class {named}, so it cannot be learned; each part needs"):
        check(labels)


def test_a_validation_part_of_one_class_is_refused():
    with raises_user_error("every validation image has the class 'a', so accuracy cannot choose the best epoch"):
        check("ababaaab")


def test_a_class_that_a_held_out_part_lacks_is_noted():
    assert check("abcdabaa") == [
        "validation has no image of the class 'c' (a single image), 'd' (a single image)",
        "test has no image of the class 'b', 'c' (a single image), 'd' (a single image)",
    ]


def test_a_class_that_no_part_has_is_noted():
    notes = check("ababababc")
    assert notes == [f"{part} has no image of the class 'c' (in no part)" for part in PARTS]


def test_of_many_absent_classes_five_are_named():
    labels = [str(i) for i in range(20)] + ["0", "1"]
    dataset = images(labels)
    (note,) = classify(dataset).check_parts(dataset, {"training": list(range(20)), "validation": [20, 21], "test": []})
    assert note.endswith("and 13 more")


def test_a_part_that_cannot_choose_is_refused_before_training(run_main, tmp_path):
    session = np.arange(20) // 5  # each has one class, and one is for validation
    np.savez(
        tmp_path / "film.npz",
        images=(np.arange(320).reshape(20, 4, 4) % 251).astype(np.uint8),
        seen=session % 2,
        session=session,
    )
    words = f"--data_dir {tmp_path}/film.npz --save_dir {tmp_path}/weights --objective classify --split group --dataset"
    message = error_message(run_main, f"{words} arrays label=seen group=session")
    assert "so accuracy cannot choose the best epoch; try another --split_seed" in message
    assert not (tmp_path / "weights").exists()
