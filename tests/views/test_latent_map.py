"""The map of a run: its columns, and the number below each panel."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from neuro_noodle.objectives.quantities import Direction, Regress
from neuro_noodle.objectives.response import Response
from neuro_noodle.runs.metadata import Column, as_column
from neuro_noodle.runs.run import open_run
from neuro_noodle.views import latent_map, maps
from neuro_noodle.views.neighbours import Neighbourhood
from Plotting import report as command

PLACES = np.array([0.0, 1.0, 10.0, 11.0, 0.2, 10.3, 0.3])[:, None]  # 4 training images, then 3 held-out ones
TRAINING, HELD_OUT = np.arange(7) < 4, np.arange(7) >= 4


@pytest.fixture
def shown(monkeypatch):
    """What the last map was drawn from, by name of the argument."""
    found = {}
    monkeypatch.setattr(maps, "plot_maps", lambda embeddings, **rest: found.update(rest, at=embeddings) or Figure())
    return found


def test_the_maps_are_coloured_by_the_columns_asked_for(face_runs, shown, capsys):
    run = open_run(face_runs / "ae")
    latent_map.plot_latent_map(run, run.latents(), ["step", "folder"])
    assert list(shown["columns"]) == ["step", "folder"] and shown["columns"]["step"] == run.dataset.columns["step"]
    assert command.main([str(face_runs / "ae"), "--columns", "step,mood"]) == 2
    assert "there is no mood; there are folder, person, emotion, step" in capsys.readouterr().err


def test_the_predicted_class_comes_first(face_runs, shown):
    run = open_run(face_runs / "emotion")
    latent_map.plot_latent_map(run, run.latents(), [])
    assert list(shown["columns"])[:2] == ["emotion", "person"]
    assert shown["notes"].keys() == shown["at"].keys() == {"pixels", "latents"}
    assert "has the same emotion" in shown["notes"]["latents"]["emotion"]


def test_a_map_of_a_large_set_shows_a_subset_and_says_so(face_runs, shown):
    run = open_run(face_runs / "ae")
    latent_map.plot_latent_map(run, run.latents(), [], n_mapped=9)
    assert {name: len(values) for name, values in shown["at"].items()} == {
        "pixels of 9 of 24 images": 9,
        "latents of 9 of 24 images": 9,
    }
    assert len(shown["images"]) == len(shown["held_out"]) == 9


def test_what_is_predicted_colours_maps():
    sample = {"image": torch.zeros(2), "targets": torch.tensor([[0.0, 0.0, 0.0, 2.0], [1.0, 1.0, 0.0, 1.0]])}
    direction = Direction(columns=("a", "b", "c", "d")).describe_targets(sample)
    np.testing.assert_allclose(direction["direction_deg"], [90, 180], atol=1e-4)
    bars = Direction(columns=("bar",), unit="deg", axis=True)
    axes = bars.describe_targets({"image": torch.zeros(1), "targets": torch.tensor([[190.0]])})
    np.testing.assert_allclose(axes["orientation_deg"], [10], atol=1e-4)
    regress = Regress(columns=("y", "x")).describe_targets({"targets": torch.tensor([[1.0, 2.0]])})
    assert {name: values.tolist() for name, values in regress.items()} == {"y": [1.0], "x": [2.0]}
    response = {"response": torch.tensor([[1.0, torch.nan, 3.0]])}
    assert Response().describe_targets(response)["mean response"].tolist() == [2.0]


# ---------------------------------------------------------------------------------------------------------- neighbours


def describe(column, held_out=HELD_OUT):
    return Neighbourhood(PLACES, TRAINING, held_out).describe("mood", column)


def test_a_map_says_how_often_neighbours_have_the_same_class():
    column = as_column("mood", ["a", "a", "b", "b", "a", "b", "b"])
    assert describe(column) == ("nearest training image has the same mood: 67%\na random one: 50%; 3 held-out images")


def test_a_map_says_how_much_the_numbers_of_neighbours_differ():
    column = as_column("mood", ["1", "2", "6", "7", "1.5", "9", ""])
    assert describe(column) == (
        "mood of the nearest training image differs by 1.75\nof a random one by 3.75; median of 2 held-out images"
    )


def test_differences_of_angles_are_in_degrees():
    turns = np.array([0.99, 0.5, 0.5, 0.5, 0.01, np.nan, np.nan])
    column = Column(2 * np.pi * turns, is_class=False, period=2 * np.pi)
    assert describe(column).startswith("mood of the nearest training image differs by 7.2°")


def test_people_kept_apart_have_held_out_neighbours():
    column = as_column("mood", list("aabbcdc"))
    assert describe(column).startswith("nearest other held-out image has the same mood: 67%\na random one: 33%")


def test_a_column_without_neighbours_has_no_number():
    assert describe(as_column("mood", [*"aabb", "", "", ""])) == ""
    assert describe(as_column("mood", list("aabbcdc")), held_out=np.arange(7) == 5) == ""
