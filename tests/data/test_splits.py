"""Splits that keep related images together, and balance the classes."""

import numpy as np
import pytest
import torch
from helpers import film_frames, indexed_images, raises_user_error, split_images
from sklearn.model_selection import StratifiedGroupKFold

from neuro_noodle.choices import UserError
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.leaks import leaks, shared_groups
from neuro_noodle.data.splits import require_no_test_part, split_units


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
    with pytest.raises(UserError, match=r"group=COLUMN \(columns: person, emotion"):
        split_images(dataset, "group")


def test_too_few_people_for_a_split_are_refused():
    with pytest.raises(UserError, match=r"\(1 different person; group=COLUMN .*\): nothing is left"):
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


def test_folds_refuse_images_with_a_test_part_of_their_own():
    with raises_user_error("--folds would mix"):
        require_no_test_part(digits_with_parts())
    require_no_test_part(film_frames(4, columns={"part": ["train", "train", "train", "val"]}))
    require_no_test_part(indexed_images())


def test_the_parts_that_images_come_with_are_the_default():
    assert split_images(digits_with_parts(), "auto") == split_images(digits_with_parts(), "given")
    assert split_images(indexed_images(), "auto") == split_images(indexed_images(), "random")


@pytest.mark.parametrize("wish", [{"fold": (1, 3)}, {"test_fraction": 0.2}])
def test_asking_for_another_test_part_overrides_the_default(wish):
    assert split_images(digits_with_parts(), "auto", **wish) == split_images(digits_with_parts(), "random", **wish)


@pytest.mark.parametrize("parts", [["paw", "tail"], ["train", "train"], ["val", "test"]])
def test_a_column_part_with_other_names_is_no_split(parts):
    assert split_images(film_frames(40, columns={"part": parts * 20}), "auto")["test"] == []


@pytest.mark.parametrize("parts", [["train", ""], ["train", "evaluation"], ["TRAIN", "test", "extra", "val"]])
def test_parts_that_are_only_partly_understood_are_refused(parts):
    dataset = film_frames(40, columns={"part": parts * (40 // len(parts))})
    with raises_user_error("the images seem to come with parts, but "):
        split_images(dataset, "auto")
    assert split_images(dataset, "random")["validation"]
    with raises_user_error("'extra' is none of train"):
        split_images(indexed_images_in(["train", "test", "extra"]), "auto")


def indexed_images_in(folders):
    dataset = film_frames(30)
    dataset.ids = [f"{folders[i % len(folders)]}/{i:02}.png" for i in range(30)]
    return dataset


def test_training_on_given_test_images_is_noted():
    dataset = digits_with_parts()
    notes = leaks(dataset, split_images(dataset, "given"), None)[1]
    assert not any("dataset itself" in note for note in notes)
    parts = split_images(dataset, "random")
    n = sum(dataset.columns["part"][i] == "test" for i in parts["training"])
    assert (
        f"training has {n} of 10 test images of the dataset itself; --split given keeps them apart"
        in leaks(dataset, parts, None)[1]
    )


# ------------------------------------------------------------------------------------- groups with several classes


def people_with_classes(n_people=60, seed=0):
    """Return the person and the class (0 in two of three images) of images; people differ in number and share."""
    generator = np.random.default_rng(seed)
    person = np.repeat(np.arange(n_people), generator.integers(1, 12, n_people))
    return person, (generator.random(len(person)) < generator.beta(0.5, 1, n_people)[person]).astype(int)


def test_every_fold_of_groups_has_the_classes_in_proportion():
    """And as many images as the others: the classes differ less than with scikit-learn's StratifiedGroupKFold."""
    sds = {"ours": [], "scikit-learn": []}
    for seed in range(5):
        person, label = people_with_classes()
        ours = [split_units(person, label, "", val_fraction=0.2, fold=(k, 5), seed=seed) for k in range(1, 6)]
        for parts in ours:
            assert len(parts["test"]) == pytest.approx(0.2 * len(person), abs=3)
            assert len(parts["validation"]) == pytest.approx(0.16 * len(person), abs=8)
            assert label[parts["validation"]].mean() == pytest.approx(label.mean(), abs=0.04)
        theirs = StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(person, label, person)
        sds["ours"].append(np.std([label[parts["test"]].mean() for parts in ours]))
        sds["scikit-learn"].append(np.std([label[test].mean() for _, test in theirs]))
    assert np.mean(sds["ours"]) < np.mean(sds["scikit-learn"]) and max(sds["ours"]) < 0.02


def test_shares_count_images_if_people_differ_in_size():
    """One person has 100 of 178 images."""
    person = np.repeat(np.arange(40), [100, *[2] * 39])
    for seed in range(10):
        parts = split_units(person, None, "", val_fraction=0.1, test_fraction=0.2, seed=seed)
        assert 0 not in person[parts["test"]] and len(parts["test"]) in range(28, 38, 2)
        assert 0 not in person[parts["validation"]] and len(parts["validation"]) in range(12, 18, 2)


def random_setting(seed):
    """Return the group and the class of each image, and K."""
    generator = np.random.default_rng(seed)
    n_groups, n_folds = generator.integers(6, 25), generator.integers(2, 6)
    group = generator.permutation(np.repeat(np.arange(n_groups), generator.geometric(0.2, n_groups)))
    label = generator.integers(-1, generator.integers(1, 5), len(group))
    return group, (None if seed % 3 == 0 else label), n_folds


def test_200_random_settings_split_every_image_once():
    """No group is in two parts, each is tested in one fold, and the same seed gives the same split."""
    for seed in range(200):
        group, label, n_folds = random_setting(seed)
        if seed % 5 == 0:
            group = np.arange(len(group))
        tested = []
        for k in range(1, n_folds + 1):
            parts = split_units(group, label, "", val_fraction=0.15, fold=(k, n_folds), seed=seed)
            assert sorted(sum(parts.values(), [])) == list(range(len(group)))
            assert sum(len(set(group[part])) for part in parts.values()) == len(set(group))
            tested += parts["test"]
        assert sorted(tested) == list(range(len(group)))
        assert parts == split_units(group, label, "", val_fraction=0.15, fold=(n_folds, n_folds), seed=seed)


def test_equal_groups_are_split_at_random_as_if_they_were_images():
    person, parts = np.repeat(np.arange(30), 4), []
    for seed in range(9):
        parts.append(split_units(person, person % 2, "", val_fraction=0.1, test_fraction=0.1, seed=seed))
        assert [len(one) for one in parts[-1].values()] == [96, 12, 12]
    assert len({tuple(one["test"]) for one in parts}) == 9


def test_each_image_of_a_group_counts_not_only_the_first():
    """Everybody starts happy, but only some get sad."""
    person = np.repeat(np.arange(40), 4)
    label = np.array([0, 0, 0, 0] * 20 + [0, 1, 1, 1] * 20)
    for seed in range(10):
        parts = split_units(person, label, "people", val_fraction=0.1, test_fraction=0.2, seed=seed)
        n_sad = {part: len({person[i] for i in indices if label[i]}) for part, indices in parts.items()}
        assert n_sad["test"] == 4 and n_sad["validation"] in (1, 2)


def test_groups_with_the_same_classes_are_split_at_random():
    person, label = np.repeat(np.arange(30), 2), np.tile([0, 1], 30)
    chosen = {tuple(split_units(person, label, "", val_fraction=0.1, seed=seed)["validation"]) for seed in range(9)}
    assert len(chosen) == 9


def test_an_image_without_a_group_is_left_out_of_a_group_split():
    dataset = indexed_images()
    dataset.columns["person"][3] = dataset.columns["person"][59] = ""
    parts = split_images(dataset, "group", test_fraction=0.2)
    assert parts["left_out"] == [3, 59]
    assert sorted(i for part in parts.values() for i in part) == list(range(60))
    assert "left_out" not in split_images(dataset, "random")


def test_a_group_split_needs_a_known_group():
    dataset = indexed_images()
    dataset.columns["person"] = [""] * 60
    with pytest.raises(UserError, match="--split group: person is missing for every image"):
        split_images(dataset, "group")
