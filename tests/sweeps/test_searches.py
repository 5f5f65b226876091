"""Searches: which configurations a sweep trains."""

import pytest
from helpers import raises_user_error

from neuro_noodle.sweeps.searches import SEARCHES
from neuro_noodle.sweeps.variations import read_variation

VARIATIONS = [read_variation("latent_dim=2,8"), read_variation("lr=1e-4..1e-2")]


def search(text: str, variations=VARIATIONS, scores=()):
    choice = SEARCHES.parse(text)
    return SEARCHES[choice.name](variations, scores, **choice.options)


def test_a_grid_has_every_combination():
    found = search("grid", [read_variation("latent_dim=2,8"), read_variation("lr=0.1,0.2,0.3")])
    assert len({one.name for one in found}) == 6
    assert found[0].words == ("--latent_dim", "2", "--lr", "0.1")


def test_nothing_to_vary_is_one_configuration():
    assert [one.name for one in search("grid", [])] == ["default"]


def test_a_grid_refuses_a_range():
    with raises_user_error("--vary lr is a range"):
        search("grid")


def test_a_random_search_repeats_itself_with_its_seed():
    first, again, other = (search(f"random n=5 seed={seed}") for seed in (0, 0, 1))
    assert first == again != other and len(first) == 5
    assert all(1e-4 <= float(one.labels["lr"]) <= 1e-2 for one in first)


def test_a_guided_search_finds_the_better_values():
    pytest.importorskip("optuna")
    scores: list[float] = []
    while len(found := search("optuna n=40 batch=4", scores=scores)) > len(scores):
        assert found[: len(scores)] == search("optuna n=40 batch=4", scores=scores)[: len(scores)]
        scores = [float(one.labels["lr"]) + (one.labels["latent_dim"] == "2") for one in found]
    late = found[-12:]
    assert len(found) == 40
    assert sum(one.labels["latent_dim"] == "8" for one in late) > 9
    assert sorted(float(one.labels["lr"]) for one in late)[6] < 1e-3


def test_a_guided_search_goes_on_when_a_run_failed():
    pytest.importorskip("optuna")
    assert len(search("optuna n=8 batch=4", scores=[None, 1.0, None, 2.0])) == 8


@pytest.mark.parametrize("text", ["random n=0", "optuna n=0", "optuna batch=0"])
def test_a_search_of_nothing_is_refused(text):
    with raises_user_error("must be 1 or more"):
        search(text)
