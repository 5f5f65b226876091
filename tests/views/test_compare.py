"""Comparing runs: which images and columns are used, and what is printed and written."""

import csv
import json
import re

import numpy as np
import pytest
from helpers import raises_user_error, train_silently

from neuro_noodle.data.base import StimulusSet
from neuro_noodle.views import compare, comparison
from Plotting import compare as compare_command

N = 240
TRAINING = np.arange(N) < 160
HELD_OUT = ~TRAINING
GROUPS = np.arange(N) // 20  # 12 blocks, of which 8 are for training


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


# ------------------------------------------------------------------------------------------------------- columns


def dataset_with(**columns):
    """Return a dataset of N images with these columns and groups."""
    images = np.zeros((N, 1, 2, 2), np.uint8)
    columns = {"animal": [f"m{group}" for group in GROUPS]} | columns
    return StimulusSet(images, [f"{i:03}" for i in range(N)], max_value=255, columns=columns, group="animal")


def chosen(dataset, *names):
    return compare.choose_columns(dataset, list(names), compare.Parts(TRAINING, HELD_OUT))


def test_the_kind_of_a_column_follows_from_values_and_name():
    angles = np.random.default_rng(0).uniform(0, 6.28, N)
    columns = {"angle": [str(angle) for angle in angles], "x": normal(N), "mood": ["glad", "sad"] * (N // 2)}
    columns["folder"] = ["1", "2"] * (N // 2)
    found = chosen(dataset_with(**columns), *columns)
    assert [column.kind for column in found.values()] == ["angle", "number", "class", "class"]
    assert found["angle"].period == 2 * np.pi
    np.testing.assert_allclose(found["angle"].values, angles)


def test_only_informative_columns_are_chosen_by_default():
    x = normal(N)
    mood = ["glad", "sad"] * (N // 2)
    informative = {"x": x, "mood": mood, "step": [str(i % 4) for i in range(N)]}
    uninformative = {
        "in_cm": 100 * x + 3,
        "feeling": ["+" if name == "glad" else "-" for name in mood],
        "name": [f"image{i}" for i in range(N)],
        "same": np.ones(N),
        "held_out_alike": np.where(HELD_OUT, 1.0, x),
        "empty": [""] * N,
        "part": ["train", "test"] * (N // 2),
        "unknown": np.where(TRAINING, np.nan, x),
        "new": ["a", "b"] * 80 + ["c", "d"] * 40,
    }
    assert set(chosen(dataset_with(**informative, **uninformative))) == set(informative)
    assert set(chosen(dataset_with(**informative, **uninformative), "in_cm", "name")) == {"in_cm", "name"}


def test_columns_that_cannot_be_probed_are_refused():
    dataset = dataset_with(few=np.where(np.arange(N) < 4, 1.0, np.nan), same=["a"] * N)
    for names, message in {
        ("x", "y"): "--columns: there is no x or y; there are animal, few, same",
        ("few",): "--columns: few is known for 4 training and 0 held-out images, which is too few",
        ("same",): "--columns: same is the same for all training images",
        (): "no column is informative; the columns are animal, few, same",
    }.items():
        with raises_user_error(message):
            chosen(dataset, *names)


def test_numbers_are_shown_with_three_digits():
    shown = [0.0, 0.01234, 0.5, 12.3456, 1234.5, 1e-7]
    assert [comparison.format_digits(value) for value in shown] == [
        "0.00",
        "0.0123",
        "0.500",
        "12.3",
        "1234",
        "1.00e-07",
    ]
    assert comparison.format_decimal(None) == "-"


# -------------------------------------------------------------------------------------------------- command line


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A folder of images of a spot at an angle, from 12 animals in one of two moods, with a table of metadata."""
    folder = tmp_path_factory.mktemp("film")
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, N)
    at = np.arange(12)
    x, y = (6 + 3 * function(angles)[:, None, None] for function in (np.cos, np.sin))
    images = 200 * np.exp(-((at - x) ** 2 + (at[:, None] - y) ** 2) / 8)  # (N, 12, 12)
    images[::2] += 40
    np.save(folder / "images.npy", images.astype(np.uint8))
    with (folder / "table.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["angle", "x", "mood", "animal"])
        for i, angle in enumerate(angles):
            table.writerow([angle, "" if i % 10 == 5 else x[i].item(), "sad" if i % 2 else "glad", f"m{GROUPS[i]}"])
    return folder


@pytest.fixture(scope="module")
def weights(film, tmp_path_factory):
    """A folder of runs: two with the same split, and one with the same animals in both parts."""
    folder = tmp_path_factory.mktemp("weights")
    base = f"--save_dir {folder} --recipe faces_ae --n_epochs 1 --latent_dim 4 --val_fraction 0.25 --data_dir {film}"
    arrays = "--dataset arrays file=images.npy metadata=table.csv group=animal"
    train_silently(f"{base} {arrays} --split group --encoder pca --namestr one")
    train_silently(f"{base} {arrays} --split group --encoder fc hidden=16 --save_every 1 --keep all --namestr two")
    train_silently(f"{base} {arrays} --split random --encoder pca --namestr mixed")
    return folder


@pytest.fixture
def command(weights, capsys):
    """Return a function that calls the command for runs: (exit status, stdout, stderr)."""

    def call(names, *words):
        status = compare_command.main([*(str(weights / name) for name in names.split()), *words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_the_command_prints_a_line_per_run_and_the_cka(command, tmp_path):
    out = tmp_path / "new" / "compare.json"
    status, printed, complaint = command("one two", "--columns", "angle,x,mood", "--out", str(out))
    assert (status, complaint) == (0, "")
    lines = printed.splitlines()
    assert lines[0] == "fitted to 180 training images of 9 animals, evaluated on 60 held-out images of 3 animals"
    assert lines[2].split() == ["angle", "x", "mood"]
    assert re.split("  +", lines[3].strip()) == ["r2 (median error)", "r2 (mean error)", "accuracy (majority)"]
    assert len({len(line) for line in lines[2:7]}) == len({len(line) for line in lines[9:13]}) == 1
    result = json.loads(out.read_text())
    names = ["one", "two", "pixels"]
    assert list(result["probes"]) == list(result["cka"]) == names
    for name, line in zip(names, lines[4:7], strict=True):
        numbers = result["probes"][name]
        assert set(numbers["angle"]) == {"r2", "median_deg"} and set(numbers["mood"]) == {"accuracy", "majority"}
        assert re.fullmatch(rf"{name} +\S+ \(\S+ deg\) +\S+ \(\S+\) +\S+ \(0\.500\)", line)
        assert f"{numbers['angle']['r2']:.3f} (" in line and f"{numbers['mood']['accuracy']:.3f} (0.500)" in line
    assert result["probes"]["pixels"]["angle"]["r2"] > 0.9 and result["probes"]["pixels"]["mood"]["accuracy"] > 0.9
    assert lines[8] == "linear CKA on held-out images"
    for name, line in zip(names, lines[10:13], strict=True):
        assert line.split() == [name, *(f"{result['cka'][name][other]:.3f}" for other in names)]
        assert result["cka"][name][name] == pytest.approx(1)


def test_the_file_holds_what_the_numbers_are_based_on(command, weights, tmp_path):
    assert command("one", "--out", str(tmp_path / "compare.json"))[0] == 0
    result = json.loads((tmp_path / "compare.json").read_text())
    assert result["runs"] == {"one": str(weights / "one" / "best")}
    assert (result["n_training"], result["n_held_out"]) == (180, 60)
    assert result["groups"] == {"column": "animal", "n_training": 9, "n_held_out": 3, "n_in_both": 0}
    assert list(result["columns"]) == ["angle", "x", "mood"]  # the informative ones
    known = {"n_training": 162, "n_held_out": 54}  # a tenth of x is empty
    assert result["columns"]["x"] == {"kind": "number", "period": None} | known


def test_sessions_of_one_run_are_named_by_their_paths(command, weights):
    status, printed, _ = command("two/0 two/best", "--columns", "x")
    assert status == 0
    assert [line.split()[0] for line in printed.splitlines()[4:7]] == [
        str(weights / "two/0"),
        str(weights / "two/best"),
        "pixels",
    ]


def test_a_note_says_which_groups_are_in_both_parts(command):
    status, printed, _ = command("mixed", "--columns", "x")
    assert status == 0
    assert "note: 12 animals are in both parts, so the scores do not hold for new animals" in printed


def test_images_that_only_one_run_trained_on_are_not_used(command, weights, tmp_path):
    out = tmp_path / "compare.json"
    assert command("one mixed", "--columns", "x", "--out", str(out))[0] == 0
    result = json.loads(out.read_text())
    one, mixed = (
        {part: set(ids) for part, ids in json.loads((weights / name / "split.json").read_text()).items()}
        for name in ("one", "mixed")
    )
    assert result["n_training"] == len(one["training"] & mixed["training"])
    assert result["n_held_out"] == len(one["validation"] & mixed["validation"])
    assert result["n_training"] + result["n_held_out"] < N


def test_many_training_images_are_subsampled_evenly(monkeypatch, weights):
    run = compare.open_run(weights / "one")
    monkeypatch.setattr(compare, "MAX_TRAINING", 50)
    parts = compare.choose_parts([run])
    training = parts.is_training
    assert training.sum() == 45 and parts.is_held_out.sum() == 60  # every 4th of 180
    assert len(np.unique(GROUPS[training])) == 9
    monkeypatch.setattr(compare, "MAX_VALUES", 144 * 20)
    assert compare.pixel_components(run, training).shape == (N, 14)  # of 15 images


def test_pixel_components_are_fitted_to_training_images(weights):
    run = compare.open_run(weights / "one")
    training = compare.choose_parts([run]).is_training
    before = compare.pixel_components(run, training)
    run.dataset.images = run.dataset.images.clone()
    run.dataset.images[np.flatnonzero(~training)[0]] = 255
    after = compare.pixel_components(run, training)
    changed = (before != after).any(1)
    assert changed.nonzero()[0].tolist() == [np.flatnonzero(~training)[0]]


@pytest.mark.parametrize(
    ("names", "words", "message"),
    [
        ("one two one", "", "name each run once, by different paths"),
        ("one", "--columns weight", "--columns: there is no weight; there are"),
        ("one", "--data_dir nowhere", "nowhere"),
        ("none", "", "none"),
    ],
)
def test_a_user_error_is_one_line(command, names, words, message):
    status, printed, complaint = command(names, *words.split())
    assert (status, printed) == (2, "")
    assert complaint.startswith("error: ") and message in complaint


def test_an_unwritable_file_is_reported_after_the_numbers(command, tmp_path):
    (tmp_path / "file").write_text("")
    status, printed, complaint = command("one", "--columns", "x", "--out", str(tmp_path / "file" / "compare.json"))
    assert status == 2 and "linear CKA" in printed
    assert re.match(r"error: --out .*compare.json cannot be written: ", complaint)


def test_the_first_run_with_other_images_is_named(weights):
    runs = {name: compare.open_run(weights / "one") for name in ("one", "same", "turned", "fewer")}
    runs["turned"].dataset.ids = runs["turned"].dataset.ids[::-1]
    runs["fewer"].dataset.ids = runs["fewer"].dataset.ids[:-7]
    with raises_user_error("the images of turned differ from those of one: other order"):
        compare.compare(runs, [])
    del runs["turned"]
    with raises_user_error("the images of fewer differ from those of one: 7 are in only one of them, for example 233"):
        compare.compare(runs, [])


def test_runs_without_common_held_out_images_are_refused(weights):
    runs = [compare.open_run(weights / "one") for _ in range(2)]
    parts = runs[0].parts
    runs[1].parts = parts | {
        "training": parts["validation"] + parts["test"],
        "validation": parts["training"],
        "test": [],
    }
    with raises_user_error(
        "0 images are training images of every run and 0 are held out by every run, which is too few; train"
    ):
        compare.choose_parts(runs)
