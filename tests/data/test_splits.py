"""Splits that keep related images together, and the detection of leaks between their parts."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import indexed_images, open_at, split_images

from neuro_noodle.choices import UserError
from neuro_noodle.data import leaks as leaks_module
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.blocks import frame_blocks, natural_order
from neuro_noodle.data.leaks import Duplicates, leaks, near_duplicates, shared_groups, suggested_groups, thumbnails


@pytest.mark.parametrize("how", ["random", "group"])
@pytest.mark.parametrize("sizes", [{}, {"test_fraction": 0.2}, {"fold": (2, 5)}])
@pytest.mark.parametrize("with_labels", [True, False])
def test_every_image_is_in_exactly_one_part(how, sizes, with_labels):
    parts = split_images(indexed_images(with_labels=with_labels), how, **sizes)
    assert sorted(i for part in parts.values() for i in part) == list(range(60))


def test_a_random_split_has_10_percent_with_balanced_classes():
    dataset = indexed_images(n_people=50)
    parts = split_images(dataset)
    assert len(parts["validation"]) == 30 and parts["test"] == []
    happy = sum(dataset.columns["emotion"][i] == "happy" for i in parts["validation"])
    assert abs(happy - 20) <= 1


def test_only_a_group_split_keeps_people_apart():
    dataset = indexed_images()
    apart = split_images(dataset, "group", test_fraction=0.2)
    assert shared_groups(apart, dataset.columns["person"]) == 0
    assert len({dataset.columns["person"][i] for i in apart["validation"]}) == 1
    assert len({dataset.columns["person"][i] for i in apart["test"]}) == 2
    assert shared_groups(split_images(dataset), dataset.columns["person"]) > 0


@pytest.mark.parametrize("how", ["random", "group"])
def test_the_folds_test_every_image_once(how):
    tested = [i for k in range(1, 6) for i in split_images(indexed_images(), how, fold=(k, 5))["test"]]
    assert sorted(tested) == list(range(60))


def test_the_seed_determines_the_split():
    assert split_images(indexed_images()) == split_images(indexed_images())
    assert split_images(indexed_images()) != split_images(indexed_images(), seed=2)


def test_folders_named_after_people_suggest_groups():
    """Also if the folder is the label."""
    ids = [f"subject{i // 3:02}/img{i}.png" for i in range(12)]
    columns = {"folder": [name.split("/")[0] for name in ids]}
    dataset = StimulusSet(torch.zeros(12, 1, 4, 4), ids, max_value=1, columns=columns, label="folder")
    assert suggested_groups(dataset).name == "'folder'"


def test_a_given_split_follows_the_top_folders():
    ids = ["train/a.png", "val/sub/b.png", "test/c.png", "TRAIN/d.png"]
    dataset = StimulusSet(torch.zeros(4, 1, 1, 1), ids, max_value=1, columns={})
    assert split_images(dataset, "given") == {"training": [0, 3], "validation": [1], "test": [2]}


@pytest.mark.parametrize(
    ("ids", "message"),
    [(["train/a.png", "other/b.png"], "other/b.png"), (["train/a.png", "test/b.png"], "no image for validation")],
)
def test_an_incomplete_given_split_is_refused(ids, message):
    dataset = StimulusSet(torch.zeros(2, 1, 1, 1), ids, max_value=1, columns={})
    with pytest.raises(UserError, match=message):
        split_images(dataset, "given")


def test_a_group_split_without_groups_names_the_columns():
    dataset = indexed_images()
    dataset.group = None
    with pytest.raises(UserError, match="group=COLUMN; there are person, emotion"):
        split_images(dataset, "group")


def test_too_few_people_for_a_split_are_refused():
    with pytest.raises(UserError, match="1 different person are too few"):
        split_images(indexed_images(n_people=1), "group")


@pytest.mark.parametrize("wish", [{"fold": (1, 3)}, {"test_fraction": 0.2}])
def test_a_given_split_refuses_fold_and_test_fraction(wish):
    with pytest.raises(UserError, match="--split given"):
        split_images(indexed_images(), "given", **wish)


@pytest.mark.parametrize(("part", "message"), [("trian", "frame1 has the part 'trian'"), ("", "has the part ''")])
def test_an_unknown_part_in_the_column_is_named_with_its_image(part, message):
    with pytest.raises(UserError, match=f"{message}; the parts are train, training, val"):
        split_images(film_frames(3, columns={"part": ["train", part, "val"]}), "given")


def test_the_column_part_has_precedence_over_folders():
    dataset = StimulusSet(
        torch.zeros(3, 1, 1, 1), ["test/a", "test/b", "c"], max_value=1, columns={"part": ["Valid", "train", "TEST"]}
    )
    assert split_images(dataset, "given") == {"training": [1], "validation": [0], "test": [2]}


@pytest.mark.parametrize("with_labels", [True, False])
def test_validation_is_split_off_training_if_none_is_given(with_labels):
    """Balanced by class and determined by the seed."""
    dataset = indexed_images(n_people=50, with_labels=with_labels)
    dataset.columns["part"] = ["train"] * 200 + ["test"] * 100
    parts = split_images(dataset, "given", val_fraction=0.15)
    assert parts["test"] == list(range(200, 300))
    assert len(parts["validation"]) == 30
    assert sorted(parts["training"] + parts["validation"]) == list(range(200))
    happy = sum(dataset.columns["emotion"][i] == "happy" for i in parts["validation"])
    assert not with_labels or abs(happy - 20) <= 1
    assert (
        split_images(dataset, "given", val_fraction=0.15)
        == parts
        != split_images(dataset, "given", val_fraction=0.15, seed=2)
    )


def digits_with_parts():
    """Return 30 training and 10 test images."""
    return film_frames(40, columns={"part": ["train"] * 30 + ["test"] * 10})


def test_the_parts_that_images_come_with_are_the_default():
    assert split_images(digits_with_parts(), "auto") == split_images(digits_with_parts(), "given")
    assert split_images(indexed_images(), "auto") == split_images(indexed_images(), "random")


@pytest.mark.parametrize("wish", [{"fold": (1, 3)}, {"test_fraction": 0.2}])
def test_asking_for_another_test_part_overrides_the_default(wish):
    assert split_images(digits_with_parts(), "auto", **wish) == split_images(digits_with_parts(), "random", **wish)


@pytest.mark.parametrize("parts", [["paw", "tail"], ["train", "train"], ["val", "test"], ["train", ""]])
def test_a_column_part_with_other_names_is_no_split(parts):
    assert split_images(film_frames(40, columns={"part": parts * 20}), "auto")["test"] == []


def test_training_on_given_test_images_is_noted():
    dataset = digits_with_parts()
    notes = leaks(dataset, split_images(dataset, "given"))[1]
    assert not any("dataset itself" in note for note in notes)
    parts = split_images(dataset, "random")
    n = sum(dataset.columns["part"][i] == "test" for i in parts["training"])
    assert (
        f"training has {n} of 10 test images of the dataset itself; --split given keeps them apart"
        in leaks(dataset, parts)[1]
    )


# ------------------------------------------------------------------------------------------------------ blocks


def film_frames(n, columns=None, group=None, images=None) -> StimulusSet:
    """Return frames whose names are out of order as text: frame0, frame1, frame10, frame11, frame2 ..."""
    images = torch.zeros(n, 1, 4, 4, dtype=torch.uint8) if images is None else images
    ids = sorted(f"frame{i}" for i in range(n))
    return StimulusSet(images, ids, max_value=255, columns=columns or {}, group=group)


def indices_in_time(dataset):
    """Return the index of frame0, frame1, frame2 ..."""
    return [dataset.ids.index(f"frame{i}") for i in range(len(dataset))]


def test_frames_are_ordered_by_the_numbers_in_their_names():
    names = ["frame10.png", "frame9.png", "b/2_1.png", "b/2_0.png", "b/10_0.png", "frame.png", "007.png", "6.png"]
    ordered = ["6.png", "007.png", "b/2_0.png", "b/2_1.png", "b/10_0.png", "frame9.png", "frame10.png", "frame.png"]
    assert [names[i] for i in natural_order(names)] == ordered


@pytest.mark.parametrize(("n_frames", "n_blocks"), [(100, 20), (101, 20), (13, 5), (7, 1), (3, 20), (1, 1)])
def test_blocks_are_contiguous_and_nearly_equally_long(n_frames, n_blocks):
    dataset = film_frames(n_frames)
    one = frame_blocks(dataset.ids, n_blocks, None)
    ordered = [one[i] for i in indices_in_time(dataset)]
    assert ordered == sorted(ordered)
    lengths = [ordered.count(block) for block in set(ordered)]
    assert len(lengths) == min(n_frames, n_blocks)
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("n_blocks", [1, 2, 7, 1000])
@pytest.mark.parametrize("as_numbers", [False, True])
def test_no_block_spans_two_recordings(n_blocks, as_numbers):
    """Every recording has at least one block."""
    lengths = (50, 20, 1, 4)
    recordings = np.repeat(np.arange(4.0), lengths) if as_numbers else list("a" * 50 + "b" * 20 + "c" + "d" * 4)
    ids = [f"{recording}/{i}" for recording, n in enumerate(lengths) for i in range(n)]
    made = frame_blocks(ids, n_blocks, recordings)
    belongs = {block: set() for block in made}
    for block, recording in zip(made, recordings, strict=True):
        belongs[block].add(recording)
    assert all(len(of) == 1 for of in belongs.values())
    assert len(set().union(*belongs.values())) == 4
    assert n_blocks - 4 <= len(belongs) <= n_blocks + 4 or n_blocks == 1000 and len(belongs) == 75


@pytest.mark.parametrize("group", [None, "session"])
def test_blocks_are_a_column_and_are_kept_apart(tmp_path, group):
    images = np.zeros((40, 4, 4), np.uint8)
    np.savez(tmp_path / "x.npz", images=images, session=np.repeat([1, 2], 20))
    dataset = open_at(tmp_path / "x.npz", f"arrays group={group or 'none'}")
    assert not dataset.has_blocks and dataset.split_unit == group
    dataset.add_blocks(5)
    assert dataset.has_blocks
    assert (dataset.split_unit, dataset.group) == ("block", group)
    assert list(dataset.columns) == ["session", "block"]
    assert dataset.columns["block"] == frame_blocks(dataset.ids, 5, dataset.columns["session"] if group else None)
    parts = split_images(dataset, "block", val_fraction=0.25)
    assert shared_groups(parts, dataset.columns["block"]) == 0
    assert sorted(parts["training"] + parts["validation"]) == list(range(40))


@pytest.mark.parametrize("gap", [0, 1, 3])
def test_the_folds_of_blocks_test_every_frame_once(gap):
    dataset = film_frames(50)
    dataset.columns["block"], dataset.group = frame_blocks(dataset.ids, 10, None), "block"
    tested = [i for k in range(1, 6) for i in split_images(dataset, "block", fold=(k, 5), gap=gap)["test"]]
    assert sorted(tested) == list(range(50))


@pytest.mark.parametrize("gap", [0, 1, 2, 5])
@pytest.mark.parametrize("sizes", [{}, {"test_fraction": 0.2}, {"fold": (1, 5)}])
def test_no_training_frame_is_within_the_gap(gap, sizes):
    dataset = film_frames(200)
    dataset.columns["block"], dataset.group = frame_blocks(dataset.ids, 10, None), "block"
    parts = split_images(dataset, "block", **sizes, gap=gap)
    time = np.empty(200, int)
    time[indices_in_time(dataset)] = np.arange(200)
    held_out = time[parts["validation"] + parts["test"]]
    distances = np.abs(time[:, None] - held_out).min(1)
    assert (distances[parts["training"]] > gap).all()
    assert (distances[parts.get("left_out", [])] <= gap).all()
    assert sorted(i for part in parts.values() for i in part) == list(range(200))
    assert ("left_out" in parts) == (gap > 0)


@pytest.mark.parametrize("how", ["random", "group", "given"])
def test_a_gap_needs_a_split_by_blocks(how):
    with pytest.raises(UserError, match=f"--gap leaves out frames .* --split {how} has no blocks"):
        split_images(indexed_images(), how, gap=2)


@pytest.mark.parametrize("gap", [7, 11, 1000])
def test_a_gap_that_leaves_nothing_for_training_is_refused(gap):
    dataset = film_frames(21)
    dataset.columns["block"], dataset.group = frame_blocks(dataset.ids, 3, None), "block"
    with pytest.raises(UserError, match="nothing is left for training"):
        split_images(dataset, "block", test_fraction=0.34, gap=gap)


# ------------------------------------------------------------------------------------------------------- leaks


def unrelated_images(ids, columns=None, label=None):
    return StimulusSet(torch.zeros(len(ids), 1, 2, 2), ids, max_value=1, columns=columns or {}, label=label)


@pytest.mark.parametrize("name", ["face_id", "mouse", "session", "Subject ID", "recording-day"])
def test_columns_of_individuals_or_recordings_suggest_groups(name):
    dataset = unrelated_images(
        [str(i) for i in range(12)], {"mood": list("abcdef") * 2, name: np.repeat([3.0, 7, 8], 4)}
    )
    found = suggested_groups(dataset)
    assert found.name == f"'{name}'" and f"group={name}" in found.remedy
    assert found.groups == ["3"] * 4 + ["7"] * 4 + ["8"] * 4


@pytest.mark.parametrize(
    "ids",
    [
        [f"{person}_{i}.png" for person in "abc" for i in range(3)],
        [f"x/{i}/face-{person}-{i}.png" for person in "abc" for i in range(3)],
    ],
)
def test_repeated_first_words_of_file_names_suggest_groups(ids):
    found = suggested_groups(unrelated_images(ids))
    assert found.name == "beginnings of file names, such as a," and "pattern={person}_{}" in found.remedy
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
    assert suggested_groups(unrelated_images(ids, columns, label)) is None


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
    monkeypatch.setattr(leaks_module, limit, 7 if limit == "MAX_COMPARED" else 7 * 40 * 32)
    pictures = random_pictures(60).repeat_interleave(2, 0)
    held_out = [10, 51, 119]
    training = [i for i in range(120) if i not in held_out]
    assert near_duplicates(as_dataset(pictures), training, held_out) == Duplicates(3, 3)


def test_of_many_held_out_images_evenly_spaced_ones_are_checked(monkeypatch):
    monkeypatch.setattr(leaks_module, "MAX_CHECKED", 5)
    pictures = random_pictures(60)
    assert count_duplicates(pictures, pictures[:20]) == Duplicates(5, 5)


@pytest.mark.parametrize("shape", [(1, 16, 16), (1, 40, 33), (3, 50, 17), (1, 7, 5), (1, 1, 100)])
def test_a_thumbnail_holds_the_mean_of_each_area(shape):
    """Compared with pixels cut into 16 x 16 pieces each, so that every area is a whole number of pieces."""
    images = torch.rand(3, *shape)
    pieces = images.double().mean(1).repeat_interleave(16, 1).repeat_interleave(16, 2)
    expected = pieces.reshape(3, 16, shape[1], 16, shape[2]).mean((2, 4)).flatten(1)
    dataset = StimulusSet(images, list("abc"), max_value=1, columns={})
    assert torch.allclose(thumbnails(dataset, np.array([2, 0])), expected[[2, 0]].float(), atol=1e-6)


def test_leaks_are_recorded_and_noted():
    pictures = random_pictures(30).repeat_interleave(2, 0)
    dataset = as_dataset(pictures)
    dataset.columns["mouse"] = [str(i // 6) for i in range(60)]
    held_out = {"validation": [1, 21, 41], "test": [5, 7]}
    parts = held_out | {"training": [i for i in range(60) if i not in (1, 21, 41, 5, 7)]}
    record, notes = leaks(dataset, parts)
    assert record["groups"] == {"what": "'mouse'", "n": 10, "in_two_parts": 4}
    assert record["near_duplicates"] == {"validation": {"n": 3, "checked": 3}, "test": {"n": 2, "checked": 2}}
    assert "4 of 10 different 'mouse' are both in training and in another part" in notes[0]
    assert "--dataset NAME group=mouse and --split group" in notes[0]
    assert "3 of 3 validation images have a near-duplicate" in notes[1] and "2 of 2 test images" in notes[2]


def test_without_leaks_there_are_no_notes():
    dataset = as_dataset(random_pictures(30))
    dataset.columns["mouse"] = [str(i // 3) for i in range(30)]
    dataset.group = "mouse"
    record, notes = leaks(dataset, {"training": list(range(24)), "validation": list(range(24, 30)), "test": []})
    assert record == {"groups": None, "near_duplicates": {"validation": {"n": 0, "checked": 6}}}
    assert notes == []
