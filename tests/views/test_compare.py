"""Comparing runs: which images and columns are used, and what is printed and written."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from helpers import raises_user_error, train_silently
from PIL import Image

from neuro_noodle.data.base import StimulusSet
from neuro_noodle.measures.probes import ProbeSplit
from neuro_noodle.runs import representations
from neuro_noodle.runs.metadata import Column
from neuro_noodle.runs.representations import Source, represent
from neuro_noodle.runs.run import open_run
from neuro_noodle.runs.sources import open_sources, require_same_images
from neuro_noodle.views import columns, compare, comparison
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
    return columns.choose_columns(dataset, list(names), columns.Probing(ProbeSplit(TRAINING, HELD_OUT), None))


def test_the_kind_of_a_column_follows_from_values_and_name():
    angles = np.random.default_rng(0).uniform(0, 6.28, N)
    columns = {"angle": [str(angle) for angle in angles], "x": normal(N), "mood": ["glad", "sad"] * (N // 2)}
    columns["folder"] = ["1", "2"] * (N // 2)
    found = chosen(dataset_with(**columns), *columns)
    assert [column.kind for column in found.values()] == ["angle", "number", "class", "class"]
    assert found["angle"].period == 2 * np.pi
    np.testing.assert_allclose(found["angle"].values, angles)


def test_the_period_of_a_column_can_be_set_and_is_shown():
    gaze = np.random.default_rng(0).uniform(0, 180, N)
    found = chosen(dataset_with(gaze=gaze, mood=["glad", "sad"] * (N // 2)), "gaze:180", "gaze:number", "mood")
    assert [(column.kind, column.period) for column in found.values()] == [
        ("angle", 180),
        ("number", None),
        ("class", None),
    ]
    with raises_user_error("--columns: there is no look:180 or gaze:half; there are animal, gaze"):
        chosen(dataset_with(gaze=gaze), "look:180", "gaze:half")
    with raises_user_error("the column 'mood:180' holds 'glad', which is not a number"):
        chosen(dataset_with(mood=["glad", "sad"] * (N // 2)), "mood:180")


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
    assert set(chosen(dataset_with(**informative, **uninformative), "in_cm", "feeling")) == {"in_cm", "feeling"}


def test_columns_that_cannot_be_probed_are_refused():
    dataset = dataset_with(few=np.where(np.arange(N) < 4, 1.0, np.nan), same=["a"] * N)
    for names, message in {
        ("x", "y"): "--columns: there is no x or y; there are animal, few, same",
        ("few",): "--columns: few is known for 4 training and 0 held-out images, which is too few",
        ("same",): "--columns: same is the same for all training images",
    }.items():
        with raises_user_error(message):
            chosen(dataset, *names)


def test_without_an_informative_column_none_is_chosen():
    assert chosen(dataset_with(same=["a"] * N)) == {}


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


@pytest.mark.parametrize(
    ("chance", "is_distance", "warns"), [(0.1, False, False), (0.5, False, True), (85, True, False), (20, True, True)]
)
def test_chance_that_looks_similar_gets_a_warning(chance, is_distance, warns):
    line = comparison._format_chance({"a": {"b": {"chance": chance}}}, 1, is_distance)
    assert line.startswith(f"shuffled images give {chance}")
    assert ("with so few images, unrelated representations look similar" in line) is warns


# -------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def command(film_runs, capsys):
    """Return a function that calls the command for runs: (exit status, stdout, stderr)."""

    def call(names, *words):
        status = compare_command.main([*(str(film_runs / name) for name in names.split()), *words])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return call


def test_the_command_prints_a_line_per_run_and_the_cka(command, tmp_path):
    out = tmp_path / "new" / "compare.json"
    status, printed, complaint = command("one two", "--columns", "angle,x,mood", "--out", str(out))
    assert (status, complaint) == (0, "")
    lines = printed.splitlines()
    assert lines[0] == (
        "probes fitted to 180 training images of 9 animals, evaluated on 60 held-out images of 3 animals; "
        "similarities of 60 held-out images"
    )
    assert lines.pop(2) == (
        "note: 3 held-out animals are too few for intervals; --every_group holds every animal out once, in 5 folds"
    )
    assert re.split("  +", lines[3].strip()) == ["angle (2pi rad)", "x", "mood"]
    assert re.split("  +", lines[4].strip()) == [
        "R2 [95 %] / chance (median error)",
        "R2 [95 %] / chance (mean error)",
        "accuracy [95 %] / chance (majority)",
    ]
    result = json.loads(out.read_text())
    names = ["one", "two", "pixels"]
    assert list(result["probes"]) == list(result["similarity"]["cka"]) == names
    for name, line in zip(names, lines[5:8], strict=True):
        numbers = result["probes"][name]
        assert set(numbers["angle"]) == {"r2", "low", "high", "p", "level", "median_deg"}
        assert set(numbers["mood"]) == {"accuracy", "low", "high", "p", "level", "majority"}
        assert numbers["angle"]["low"] is None  # of three animals there is no interval
        assert re.fullmatch(rf"{name} +~?\S+ / \S+ \(\S+ deg\) +~?\S+ / \S+ \(\S+\) +~?\S+ / \S+ \(0\.500\)", line)
        assert f"{numbers['angle']['r2']:.3f} / {numbers['angle']['level']:.3f} (" in line
        assert f"{numbers['mood']['accuracy']:.3f} / {numbers['mood']['level']:.3f} (0.500)" in line
    assert result["probes"]["pixels"]["angle"]["r2"] > 0.9 and result["probes"]["pixels"]["mood"]["accuracy"] > 0.9
    for measure, same, line in (("cka", "1.000", 9), ("rsa", "1.000", 15), ("procrustes_deg", "0.0", 21)):
        assert lines[line].startswith(comparison.MEASURES[measure].title)
        for index, name in enumerate(names):
            cells = lines[line + 2 + index].split()
            assert cells[0] == name and cells[1 + index].removeprefix("~") == same
            value = result["similarity"][measure][name]["pixels"]["value"]
            assert float(cells[3].removeprefix("~").partition("/")[0]) == pytest.approx(value, abs=0.06)


def test_the_file_holds_what_the_numbers_are_based_on(command, film_runs, tmp_path):
    assert command("one", "--out", str(tmp_path / "compare.json"))[0] == 0
    result = json.loads((tmp_path / "compare.json").read_text())
    rest = {"n_components": None, "epochs": None, "column_kind": None}
    assert result["sources"] == {
        "one": {"path": str(film_runs / "one" / "best"), "width": 4, "series": "one"} | rest,
        "pixels": {"path": None, "width": 144, "series": ""} | rest,
    }
    assert (result["n_training"], result["n_held_out"]) == (180, 60)
    assert result["groups"] == {"column": "animal", "n_training": 9, "n_held_out": 3, "n_in_both": 0}
    assert list(result["columns"]) == ["angle", "x", "mood"]  # the informative ones
    known = {"n_training": 162, "n_held_out": 54}  # a tenth of x is empty
    assert result["columns"]["x"] == {"kind": "number", "period": None} | known


def test_sessions_of_one_run_have_different_names(command):
    status, printed, _ = command("two/0 two/best", "--columns", "x")
    assert status == 0
    assert [line.split()[0] for line in printed.splitlines()[6:9]] == [
        "two/0",
        "two",
        "pixels",
    ]


def test_a_note_says_which_groups_are_in_both_parts(command):
    status, printed, _ = command("mixed", "--columns", "x")
    assert status == 0
    assert "note: 12 animals are in both parts, so the scores do not hold for new animals" in printed


def test_every_group_can_be_held_out_once(command, tmp_path):
    out = tmp_path / "compare.json"
    status, printed, _ = command("one two", "--every_group", "--columns", "angle,mood", "--out", str(out))
    assert status == 0
    assert printed.startswith("probes: each animal of 180 training and 60 held-out images held out once; similarities")
    assert "note: the networks have seen the training images" in printed
    result = json.loads(out.read_text())
    assert result["every_group"] and result["columns"]["mood"]["n_held_out"] == N
    scores = result["probes"]["pixels"]
    assert scores["angle"]["low"] < scores["angle"]["r2"] < scores["angle"]["high"]  # over 12 animals
    assert scores["mood"]["low"] < scores["mood"]["accuracy"]


def test_a_class_of_one_group_cannot_be_probed_in_every_group(command):
    status, _, complaint = command("one", "--every_group", "--columns", "animal")
    assert status == 2
    assert "no animal of a held-out image is in training, so no probe can read it" in complaint
    assert "compare it as a source: RUN column:animal" in complaint


def probing_of(groups):
    return columns.Probing(ProbeSplit(np.arange(20) < 10, np.arange(20) >= 10), np.array(groups), every_group=True)


def test_every_fold_needs_images_and_classes_to_fit_to():
    number = Column(np.arange(20.0), is_class=False)
    assert probing_of(np.arange(20) // 4).can_fit(number)
    assert not probing_of([0] * 17 + [1] * 3).can_fit(number)  # one fold would be fitted to three images
    people = np.repeat(np.arange(4), 5)
    only_in_one = Column(np.where(people == 3, "y", "x"), is_class=True)
    assert not probing_of(people).can_fit(only_in_one)  # another fold has no y to fit to


def test_images_that_only_one_run_trained_on_are_not_used(command, film_runs, tmp_path):
    out = tmp_path / "compare.json"
    assert command("one mixed", "--columns", "x", "--out", str(out))[0] == 0
    result = json.loads(out.read_text())
    one, mixed = (
        {part: set(ids) for part, ids in json.loads((film_runs / name / "split.json").read_text()).items()}
        for name in ("one", "mixed")
    )
    assert result["n_training"] == len(one["training"] & mixed["training"])
    assert result["n_held_out"] == len(one["validation"] & mixed["validation"])
    assert result["n_training"] + result["n_held_out"] < N


def test_many_training_images_are_subsampled_evenly(monkeypatch, film_runs):
    run = open_run(film_runs / "one")
    monkeypatch.setattr(compare, "MAX_TRAINING", 50)
    parts = compare.choose_parts([run])
    training = parts.is_training
    assert training.sum() == 45 and parts.is_held_out.sum() == 60  # every 4th of 180
    assert len(np.unique(GROUPS[training])) == 9


def test_wide_representations_are_components_of_training_images(monkeypatch, film_runs):
    pixels = open_sources([str(film_runs / "one")])[-1]
    run = open_run(film_runs / "one")
    training = run.part == "training"
    monkeypatch.setattr(representations, "MAX_WIDTH", 100)
    monkeypatch.setattr(representations, "MAX_VALUES", 144 * 20)
    before = represent(pixels, np.arange(N), training)
    assert (before.values.shape, before.width, before.is_reduced) == ((N, 19), 144, True)  # of 20 images
    changed = np.flatnonzero(~training)[0]
    other = Source("pixels", lambda i: np.where(i[:, None] == changed, 1.0, pixels.features(i)))
    after = represent(other, np.arange(N), training)
    assert (before.values != after.values).any(1).nonzero()[0].tolist() == [changed]


@pytest.mark.parametrize(
    ("names", "words", "message"),
    [
        ("one two one", "", "two sources would have the name"),
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
    assert re.match(r"error: .*compare.json cannot be written: ", complaint)


def test_the_first_run_with_other_images_is_named(film_runs):
    one, turned, fewer = (open_run(film_runs / "one") for _ in range(3))
    turned.dataset.ids = turned.dataset.ids[::-1]
    fewer.dataset.ids = fewer.dataset.ids[:-7]
    for run, reason in (turned, "other order"), (fewer, "7 are in only one of them, for example 233"):
        with raises_user_error(f"the images of one differ from those of one: {reason}"):
            require_same_images(one, run)


def test_runs_without_common_held_out_images_are_refused(film_runs):
    runs = [open_run(film_runs / "one") for _ in range(2)]
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


def test_recorded_responses_have_a_noise_ceiling(command, film_runs, tmp_path):
    trials = np.random.default_rng(0).normal(size=(4, N, 5)) + open_run(film_runs / "one").latents()[:, :1]
    np.savez(tmp_path / "cells.npz", responses=trials.mean(0), trials=trials)
    status, printed, _ = command("one", f"{tmp_path}/cells.npz:responses", "--figure", str(tmp_path / "all.pdf"))
    assert status == 0
    assert 0.1 < float(re.search(r"noise ceiling of RSA with cells:responses: (\S+)", printed)[1]) < 1
    assert (tmp_path / "all.pdf").read_bytes().startswith(b"%PDF")
    trials[1:, ::2] = np.nan
    np.savez(tmp_path / "cells.npz", responses=trials[0], trials=trials)
    _, printed, _ = command("one", f"{tmp_path}/cells.npz:responses")
    assert "no noise ceiling for cells:responses: not all of these images were shown at least twice" in printed


def test_images_without_metadata_are_still_compared(weights_of_plain_images, capsys, tmp_path):
    words = [str(weights_of_plain_images), f"{weights_of_plain_images}@0", "--figure", str(tmp_path / "all.png")]
    assert compare_command.main(words) == 0
    printed = capsys.readouterr().out
    assert "no metadata column can be probed" in printed and "linear CKA" in printed
    assert (tmp_path / "all.png").is_file()


def test_a_run_at_several_times_is_plotted_over_training(weights_of_plain_images):
    run = weights_of_plain_images
    table = compare.compare(open_sources([f"{run}@all", f"{run}@0", f"{run}:hidden1"]), [])
    figure = compare.plot(table)
    lines = figure.axes[0].get_lines()
    others = [text.get_text() for text in figure.legends[0].get_texts()]
    assert others == ["run@3", "run@0", "run:hidden1", "pixels", "shuffled images"]
    for line, other in zip(lines, others[:-1], strict=True):
        epochs = [epochs for epochs in range(4) if f"run@{epochs}" != other]
        expected = [table.similarity["cka"][f"run@{n}"][other]["value"] for n in epochs]
        assert list(line.get_xdata()) == epochs
        np.testing.assert_allclose(line.get_ydata(), expected)


def test_scores_over_training_and_those_of_others_are_lines(film_runs):
    table = compare.compare(open_sources([str(film_runs / "one")]), ["x"])
    epochs = {f"one@{n}": replace(table.sources["one"], epochs=n) for n in (2.0, 0.0, 1.0)}
    pixels = {"pixels": table.sources["pixels"]}
    probes = dict.fromkeys(epochs, table.probes["one"]) | {"pixels": table.probes["pixels"]}
    similarity = {
        key: {name: dict.fromkeys([*epochs, "pixels"], one["one"]["pixels"]) for name in [*epochs, "pixels"]}
        for key, one in table.similarity.items()
    }
    figure = compare.plot(replace(table, sources=epochs | pixels, probes=probes, similarity=similarity))
    run, *points, level, _ = figure.axes[0].get_lines()
    assert len(points) == 3
    assert list(run.get_xdata()) == [0, 1, 2] and set(run.get_ydata()) == {table.probes["one"]["x"]["r2"]}
    assert set(level.get_ydata()) == {table.probes["pixels"]["x"]["r2"]}


@pytest.fixture(scope="module")
def weights_of_plain_images(tmp_path_factory):
    """A run on an array without metadata."""
    folder = tmp_path_factory.mktemp("plain")
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 255, (60, 8, 8), np.uint8))
    words = f"--recipe faces_ae --dataset arrays --data_dir {folder} --save_dir {folder} --latent_dim 2 --n_epochs 3"
    words += " --latents_every 1"
    train_silently(f"{words} --namestr run --encoder fc hidden=8 --val_fraction 0.3 --augment none")
    return folder / "run"


def test_the_parts_that_are_compared_can_be_chosen(command, tmp_path):
    status, _, complaint = command("one", "--parts", "test")
    assert status == 2 and "0 are held out by every run" in complaint
    assert command("one", "--parts", "validation", "--out", str(tmp_path / "c.json"))[0] == 0
    assert json.loads((tmp_path / "c.json").read_text())["n_compared"] == 60


def test_a_picture_of_a_comparison_has_the_width_asked_for(command, tmp_path):
    assert command("one", "--columns", "x", "--figure", str(tmp_path / "all.png"), "--width_mm", "85")[0] == 0
    with Image.open(tmp_path / "all.png") as image:
        assert image.width / image.info["dpi"][0] == pytest.approx(85 / 25.4, abs=0.01)


def test_a_part_that_does_not_exist_is_refused(command):
    status, _, complaint = command("one", "--parts", "vaildation")
    assert status == 2 and "--parts vaildation: a part that is held out is validation or test" in complaint


def test_a_class_that_no_held_out_image_shares_is_not_probed():
    with raises_user_error("--columns: no animal of a held-out image is in training"):
        chosen(dataset_with(), "animal")


def test_of_equivalent_columns_the_label_is_chosen():
    mood = ["glad", "sad"] * (N // 2)
    dataset = dataset_with(feeling=["+" if name == "glad" else "-" for name in mood], mood=mood)
    dataset.label = "mood"
    assert list(chosen(dataset)) == ["mood"]


def test_a_wrong_format_is_refused_before_anything_is_computed(command):
    status, printed, complaint = command("one", "--figure", "all.jpg")
    assert (status, printed) == (2, "") and "'jpg' is no format of a picture" in complaint


def test_frames_of_a_film_are_shuffled_in_blocks(monkeypatch, film_runs):
    seen = []
    monkeypatch.setattr(compare, "similarities", lambda values, blocks: seen.append(blocks) or {})
    sources = open_sources([str(film_runs / "one")])
    compare.compare(sources, [])
    sources[0].run.dataset.has_blocks, sources[0].run.dataset.columns["block"] = True, [str(g) for g in GROUPS]
    compare.compare(sources, [])
    assert len(np.unique(seen[0])) == 60 and len(np.unique(seen[1])) == 3
