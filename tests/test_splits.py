"""Splits that do not lie, and what leaks between their parts."""

import pytest
import torch
from conftest import deal, known

from choices import UserError
from datasets import StimulusSet
from splits import shared_groups


@pytest.mark.parametrize("how", ["random", "group"])
@pytest.mark.parametrize("sizes", [{}, {"test_fraction": 0.2}, {"fold": (2, 5)}])
@pytest.mark.parametrize("with_labels", [True, False])
def test_every_image_is_in_exactly_one_part(how, sizes, with_labels):
    parts = deal(known(with_labels=with_labels), how, **sizes)
    assert sorted(i for part in parts.values() for i in part) == list(range(60))


def test_a_random_split_holds_90_and_10_percent_with_the_classes_in_proportion():
    dataset = known(n_people=50)
    parts = deal(dataset)
    assert len(parts["validation"]) == 30 and parts["test"] == []
    happy = sum(dataset.columns["emotion"][i] == "happy" for i in parts["validation"])
    assert abs(happy - 20) <= 1


def test_a_group_split_keeps_people_apart_and_a_random_one_does_not():
    dataset = known()
    apart = deal(dataset, "group", test_fraction=0.2)
    assert shared_groups(apart, dataset.columns["person"]) == 0
    assert len({dataset.columns["person"][i] for i in apart["validation"]}) == 1
    assert len({dataset.columns["person"][i] for i in apart["test"]}) == 2
    assert shared_groups(deal(dataset), dataset.columns["person"]) > 0


@pytest.mark.parametrize("how", ["random", "group"])
def test_the_folds_test_every_image_once(how):
    tested = [i for k in range(1, 6) for i in deal(known(), how, fold=(k, 5))["test"]]
    assert sorted(tested) == list(range(60))


def test_the_same_seed_deals_the_same_and_another_seed_does_not():
    assert deal(known()) == deal(known())
    assert deal(known()) != deal(known(), seed=2)


def test_a_given_split_follows_the_top_folders():
    ids = ["train/a.png", "val/sub/b.png", "test/c.png", "TRAIN/d.png"]
    dataset = StimulusSet(torch.zeros(4, 1, 1, 1), ids, max_value=1, columns={})
    assert deal(dataset, "given") == {"training": [0, 3], "validation": [1], "test": [2]}


@pytest.mark.parametrize(
    ("ids", "message"),
    [(["train/a.png", "other/b.png"], "other/b.png"), (["train/a.png", "test/b.png"], "no image for validation")],
)
def test_a_given_split_that_is_incomplete_is_refused(ids, message):
    dataset = StimulusSet(torch.zeros(2, 1, 1, 1), ids, max_value=1, columns={})
    with pytest.raises(UserError, match=message):
        deal(dataset, "given")


def test_a_group_split_without_groups_names_the_columns():
    dataset = known()
    dataset.group = None
    with pytest.raises(UserError, match="group=COLUMN; there are person, emotion"):
        deal(dataset, "group")


def test_too_few_people_to_deal_out_is_refused():
    with pytest.raises(UserError, match="1 different person are too few"):
        deal(known(n_people=1), "group")


@pytest.mark.parametrize("wish", [{"fold": (1, 3)}, {"test_fraction": 0.2}])
def test_a_given_split_takes_no_other_wish(wish):
    with pytest.raises(UserError, match="--split given"):
        deal(known(), "given", **wish)
