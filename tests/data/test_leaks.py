"""Leaks between parts: groups and near-duplicates in two of them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neuro_noodle.data import duplicates
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.duplicates import Duplicates, near_duplicates, thumbnails
from neuro_noodle.data.leaks import leaks, suggested_groups


def test_folders_named_after_people_suggest_groups():
    """Also if the folder is the label."""
    ids = [f"subject{i // 3:02}/img{i}.png" for i in range(12)]
    columns = {"folder": [name.split("/")[0] for name in ids]}
    dataset = StimulusSet(torch.zeros(12, 1, 4, 4), ids, max_value=1, columns=columns, label="folder")
    assert suggested_groups(dataset, None).name == "groups ('folder')"


def test_three_folders_may_be_people_unless_they_are_predicted():
    ids = [f"s{i % 3}/{i}.png" for i in range(12)]
    dataset = unrelated_images(ids, {"folder": [name.split("/")[0] for name in ids]}, "folder")
    found = suggested_groups(dataset, None)
    assert found.name == "folders" and found.remedy.startswith("if they are people, animals or recordings, use")
    assert suggested_groups(dataset, "folder") is None
    two = [name for name in ids if "s2/" not in name]
    assert suggested_groups(unrelated_images(two, {"folder": [name.split("/")[0] for name in two]}), None) is None


def test_people_are_found_in_folders_of_parts_or_of_classes():
    parts = [f"{part}/s{i:02}_{j}.png" for i in range(5) for j, part in enumerate(("train", "val", "test", "train"))]
    dataset = unrelated_images(parts, {"folder": [name.split("/")[0] for name in parts]}, None)
    assert suggested_groups(dataset, None).groups == [name.split("/")[1][:3] for name in parts]
    moods = [f"{mood}/{person}.png" for mood in ("glad", "sad", "calm") for person in "abcdef"]
    folders = [name.split("/")[0] for name in moods]
    dataset = unrelated_images(moods, {"folder": folders, "mood": folders}, "mood")
    assert suggested_groups(dataset, None).groups == list("abcdef") * 3


def unrelated_images(ids, columns=None, label=None):
    return StimulusSet(torch.zeros(len(ids), 1, 2, 2), ids, max_value=1, columns=columns or {}, label=label)


@pytest.mark.parametrize("name", ["face_id", "mouse", "session", "Subject ID", "recording-day"])
def test_columns_of_individuals_or_recordings_suggest_groups(name):
    dataset = unrelated_images(
        [str(i) for i in range(12)], {"mood": list("abcdef") * 2, name: np.repeat([3.0, 7, 8], 4)}
    )
    found = suggested_groups(dataset, None)
    assert found.name == f"groups ('{name}')" and f"group={name}" in found.remedy
    assert found.groups == ["3"] * 4 + ["7"] * 4 + ["8"] * 4


@pytest.mark.parametrize(
    "ids",
    [
        [f"{person}_{i}.png" for person in "abc" for i in range(3)],
        [f"x/{i}/face-{person}-{i}.png" for person in "abc" for i in range(3)],
    ],
)
def test_repeated_first_words_of_file_names_suggest_groups(ids):
    found = suggested_groups(unrelated_images(ids), None)
    assert found.name == "groups (beginnings of file names, such as a)" and "pattern={person}_{}" in found.remedy
    assert found.groups == [person for person in "abc" for _ in range(3)]


@pytest.mark.parametrize(
    ("ids", "columns", "label"),
    [
        ([f"{i}.png" for i in range(12)], {}, None),
        ([f"face_{i}.png" for i in range(12)], {}, None),
        ([f"face{i // 2}" for i in range(4)], {}, None),
        ([f"{'abc'[i % 3]}_{i}.png" for i in range(12)], {"mood": list("xyz") * 4}, "mood"),
        (["frame"] * 12, {}, None),
        ([str(i) for i in range(12)], {"mouse": list("abc") * 4}, "mouse"),
        ([str(i) for i in range(12)], {"mouse": ["a"] * 12}, None),
        ([str(i) for i in range(12)], {"mouse": [str(i) for i in range(12)]}, None),
        ([str(i) for i in range(12)], {"mousetrap": list("abc") * 4}, None),
    ],
    ids=["unique", "numbered", "few", "class", "constant", "is label", "constant column", "unique column", "other"],
)
def test_unique_or_constant_names_suggest_no_groups(ids, columns, label):
    """Nor do names that follow from the class."""
    assert suggested_groups(unrelated_images(ids, columns, label), label) is None


def random_pictures(n, channels=1, height=40, width=32, seed=0):
    """Return smooth random images with values from 0 to about 200."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 4, 4, generator=generator)
    return resize(coarse, (height, width)).mul(180).add(10)


def resize(images, size):
    return F.interpolate(images, tuple(size), mode="bilinear", antialias=True)


def as_dataset(images):
    images = images.round().to(torch.uint8)
    return StimulusSet(images, [str(i) for i in range(len(images))], max_value=255, columns={})


def count_duplicates(pictures, held_out):
    images = torch.cat([pictures, held_out])
    n = len(pictures)
    return near_duplicates(as_dataset(images), list(range(n)), list(range(n, len(images))))


CHANGES = {
    "copy": lambda x: x,
    "brighter": lambda x: x + 40,
    "less contrast": lambda x: x * 0.5 + 50,
    "noisy": lambda x: x + 4 * torch.randn(x.shape),
    "mirrored": lambda x: x.flip(3),
    "resized": lambda x: resize(resize(x, [side * 7 // 8 for side in x.shape[2:]]), x.shape[2:]),
}


@pytest.mark.parametrize("shape", [(1, 40, 32), (3, 40, 32), (1, 16, 16), (1, 14, 12), (1, 100, 17)])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_of_a_training_image_is_a_near_duplicate(change, shape):
    pictures = random_pictures(60, *shape)
    assert count_duplicates(pictures, CHANGES[change](pictures[5:15])) == Duplicates(10, 10)


@pytest.mark.parametrize("shape", [(1, 40, 32), (3, 40, 32), (1, 16, 16), (1, 14, 12), (1, 100, 17)])
def test_a_different_image_is_not_a_near_duplicate(shape):
    assert count_duplicates(random_pictures(60, *shape), random_pictures(20, *shape, seed=1)) == Duplicates(0, 20)


def test_only_held_out_images_with_a_duplicate_are_counted():
    pictures = random_pictures(60)
    assert count_duplicates(pictures, torch.cat([pictures[:3], random_pictures(7, seed=1)])) == Duplicates(3, 10)


@pytest.mark.parametrize("limit", ["MAX_COMPARED", "MAX_VALUES"])
def test_neighbours_of_held_out_images_are_always_compared(monkeypatch, limit):
    """Also if there are too many training images to compare all."""
    monkeypatch.setattr(duplicates, limit, 7 if limit == "MAX_COMPARED" else 7 * 40 * 32)
    pictures = random_pictures(60).repeat_interleave(2, 0)
    held_out = [10, 51, 119]
    training = [i for i in range(120) if i not in held_out]
    assert near_duplicates(as_dataset(pictures), training, held_out) == Duplicates(3, 3)


def test_of_many_held_out_images_evenly_spaced_ones_are_checked(monkeypatch):
    monkeypatch.setattr(duplicates, "MAX_CHECKED", 5)
    pictures = random_pictures(60)
    assert count_duplicates(pictures, pictures[:20]) == Duplicates(5, 5)


def blurred(images):
    """Return images (B, H, W) blurred along their width."""
    weights = torch.tensor([[[1, 2, 1]]]) / 4
    for _ in range(2):
        images = F.conv1d(F.pad(images, (1, 1), mode="replicate").flatten(0, 1)[:, None], weights.to(images)).view_as(
            images
        )
    return images


@pytest.mark.parametrize("shift", [(0, 1), (1, 0), (2, -2)])
@pytest.mark.parametrize("size", [31, 96])
def test_a_copy_shifted_by_two_px_is_a_near_duplicate(shift, size):
    pictures = random_pictures(60, height=size + 4, width=size + 4)

    def cut(images, y=0, x=0):
        return images[..., 2 + y : size + 2 + y, 2 + x : size + 2 + x]

    assert count_duplicates(cut(pictures), cut(pictures[5:15], *shift)) == Duplicates(10, 10)
    assert count_duplicates(cut(pictures[:30]), cut(pictures[30:], *shift)) == Duplicates(0, 30)


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 40, 33), (3, 50, 17), (1, 7, 5), (1, 1, 100)])
def test_a_thumbnail_holds_the_mean_of_each_area(shape):
    """Compared with pixels cut into 32 x 32 pieces each, so that every area is a whole number of pieces."""
    images = torch.rand(3, *shape)
    pieces = images.double().mean(1).repeat_interleave(32, 1).repeat_interleave(32, 2)
    expected = pieces.reshape(3, 32, shape[1], 32, shape[2]).mean((2, 4))
    expected = blurred(blurred(expected).transpose(1, 2)).transpose(1, 2)
    dataset = StimulusSet(images, list("abc"), max_value=1, columns={})
    assert torch.allclose(thumbnails(dataset, np.array([2, 0])), expected[[2, 0]].float(), atol=1e-6)


def test_leaks_are_recorded_and_noted():
    pictures = random_pictures(30).repeat_interleave(2, 0)
    dataset = as_dataset(pictures)
    dataset.columns["mouse"] = [str(i // 6) for i in range(60)]
    held_out = {"validation": [1, 21, 41], "test": [5, 7]}
    parts = held_out | {"training": [i for i in range(60) if i not in (1, 21, 41, 5, 7)]}
    record, notes = leaks(dataset, parts, None)
    assert record["groups"] == {"what": "groups ('mouse')", "n": 10, "in_two_parts": 4}
    assert record["near_duplicates"] == {"validation": {"n": 3, "checked": 3}, "test": {"n": 2, "checked": 2}}
    assert "4 of 10 groups ('mouse') are both in training and in another part" in notes[0]
    assert "--dataset NAME group=mouse and --split group" in notes[0]
    assert (
        "at least 3 of 3 validation images have a near-duplicate" in notes[1]
        and "at least 2 of 2 test images" in notes[2]
    )


def test_without_leaks_there_are_no_notes():
    dataset = as_dataset(random_pictures(30))
    dataset.columns["mouse"] = [str(i // 3) for i in range(30)]
    dataset.group = "mouse"
    record, notes = leaks(dataset, {"training": list(range(24)), "validation": list(range(24, 30)), "test": []}, None)
    assert record == {"groups": None, "near_duplicates": {"validation": {"n": 0, "checked": 6}}}
    assert notes == []


def test_images_without_a_group_do_not_share_one():
    dataset = unrelated_images([str(i) for i in range(12)], {"mouse": ["a"] * 3 + ["b"] * 3 + ["NA"] * 6})
    dataset.group = "mouse"
    record, _ = leaks(dataset, {"training": [0, 1, 2, 6, 7, 8], "validation": [3, 4, 5, 9, 10, 11], "test": []}, None)
    assert record["groups"] is None
