"""Comparing latents: probes that tell what is there and nothing else, and an alignment that keeps its theorems."""

import csv
import json
import re

import numpy as np
import pytest
from helpers import raises_user_error, train_silently

from neuro_noodle.data.base import StimulusSet
from neuro_noodle.measures import probes as measures
from neuro_noodle.views import compare

N = 240
TRAINING = np.arange(N) < 160
HELD_OUT = ~TRAINING
GROUPS = np.arange(N) // 20  # 12 blocks, of which 8 are for training


def draw(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def rotation(n, seed=5):
    return np.linalg.qr(draw(n, n, seed=seed))[0]


def probe(latents, values, groups=GROUPS, period=None, training=TRAINING, held_out=HELD_OUT, standardise=True):
    return measures.probe(latents, values, training, held_out, groups, period, standardise=standardise)


# ------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("groups", [GROUPS, None])
@pytest.mark.parametrize("standardise", [True, False])
def test_a_probe_reads_a_linear_code_perfectly_in_the_unit_of_the_column(groups, standardise):
    latents = draw(N, 6) * [1, 10, 0.1, 1, 1, 1] + 7
    values = 1000 * latents @ [1, 0.2, 3, -1, 0, 0] - 4
    score = probe(latents, values, groups, standardise=standardise)
    assert set(score) == {"r2", "mae"}
    assert score["r2"] > 1 - 1e-6 and score["mae"] < 2  # of values that spread by 2,000


def test_a_probe_reads_nothing_out_of_noise():
    values = draw(N, seed=1)
    score = probe(draw(N, 20), values)
    assert -0.1 < score["r2"] < 0.05
    by_chance = np.abs(values[HELD_OUT] - values[TRAINING].mean()).mean()
    assert score["mae"] == pytest.approx(by_chance, rel=0.05)


def test_r2_and_the_mean_error_are_those_of_the_held_out_images():
    latents = np.zeros((N, 1))  # from which only the mean of training can be told
    values = np.where(TRAINING, 1.0, np.where(np.arange(N) % 2, 2.0, 4.0))
    score = probe(latents, values)
    assert score["mae"] == pytest.approx(2)  # of 1 and 3
    assert score["r2"] == pytest.approx(1 - (1 + 9) / (1 + 1))


def test_r2_is_undefined_where_all_held_out_values_are_the_same():
    assert np.isnan(probe(draw(N, 2), np.where(TRAINING, draw(N), 1.0))["r2"])


def test_images_of_unknown_value_are_left_out():
    latents = draw(N, 3)
    values = latents @ [1.0, 2.0, 3.0]
    unknown = np.arange(N) % 3 == 0
    wild = np.where(unknown[:, None], 1e6, latents)
    score = probe(wild, np.where(unknown, np.nan, values))
    kept = ~unknown
    assert score == probe(latents[kept], values[kept], GROUPS[kept], None, TRAINING[kept], HELD_OUT[kept])
    assert score["r2"] > 0.999


@pytest.mark.parametrize("turn", [2 * np.pi, 360.0])
def test_a_probe_reads_an_angle_across_the_seam_without_error(turn):
    angles = (draw(N) * turn / 20) % turn  # half of them just above 0, half just below the full turn
    radians = angles * 2 * np.pi / turn
    latents = np.stack([np.cos(radians), np.sin(radians)], 1) @ draw(2, 4, seed=3)
    score = probe(latents, angles, period=turn)
    assert set(score) == {"r2", "median_deg"}
    assert score["r2"] > 1 - 1e-6 and score["median_deg"] < 0.01
    assert probe(latents, angles)["mae"] > turn / 50  # as plain numbers they cannot be read


def test_the_r2_of_an_angle_is_that_of_cosine_and_sine_together():
    angles = np.random.default_rng(0).uniform(0, 2 * np.pi, N)
    score = probe(np.cos(angles)[:, None], angles, period=2 * np.pi)  # the cosine alone is half of the whole
    assert score["r2"] == pytest.approx(0.5, abs=0.1)
    assert probe(draw(N, 3), angles, period=2 * np.pi)["median_deg"] == pytest.approx(90, abs=20)


def test_angles_are_the_same_in_degrees_and_radians_and_with_another_zero_turn():
    degrees = np.random.default_rng(0).uniform(0, 360, N)
    latents = draw(N, 4) + np.cos(np.radians(degrees))[:, None]
    score = probe(latents, degrees, period=360.0)
    assert probe(latents, np.radians(degrees), period=2 * np.pi) == pytest.approx(score)
    assert probe(latents, degrees - 360 * (degrees > 180), period=360.0) == pytest.approx(score)


def test_a_probe_never_sees_held_out_images_when_it_is_fitted():
    latents, values = draw(N, 5), draw(N, seed=1)
    half = HELD_OUT & (np.arange(N) % 2 == 0)
    changed = HELD_OUT & ~half
    score = probe(latents, values, held_out=half)
    wild = np.where(changed[:, None], 1e9, latents), np.where(changed, -1e9, values)
    assert probe(*wild, held_out=half) == score
    assert probe(*wild, held_out=HELD_OUT) != score
    names = np.where(values > 0, "a", "b")
    score = measures.probe_class(latents, names, TRAINING, half, GROUPS)
    assert measures.probe_class(wild[0], np.where(changed, "c", names), TRAINING, half, GROUPS) == score


def test_a_probe_hardly_depends_on_rotation_scale_and_shift_of_the_latents():
    latents = draw(N, 8)
    values = latents[:, 0] + 0.5 * draw(N, seed=1)
    score = probe(latents, values)
    assert 0.6 < score["r2"] < 0.95
    for other in (latents @ rotation(8), 1e-4 * latents, latents + 100):
        assert probe(other, values) == pytest.approx(score, abs=0.01)
    scaled_at_once = probe(latents @ rotation(8), values, standardise=False)
    assert scaled_at_once["r2"] == pytest.approx(probe(latents, values, standardise=False)["r2"], abs=0.002)


def test_no_group_is_in_two_folds_and_without_groups_folds_are_stretches():
    groups = np.tile(["a", "b", "c", "d", "e", "f", "g"], 10)
    dealt = measures.folds(70, groups)
    assert len(dealt) == 5
    for fitted, judged in dealt:
        assert not set(groups[fitted]) & set(groups[judged])
        assert sorted([*fitted, *judged]) == list(range(70))
    assert len(measures.folds(70, groups == "a")) == 2
    for folds in (measures.folds(70, None), measures.folds(70, np.zeros(70))):
        assert len(folds) == 5
        assert all(np.all(np.diff(judged) == 1) for _, judged in folds)


def test_the_strength_is_chosen_between_groups():
    """Latents that name the group tell a value of the group by heart, and nothing of new groups."""
    groups = np.arange(N) % 24
    training = groups < 16
    of_group = draw(24, 30)[groups]
    values = draw(24, seed=1)[groups]
    between = probe(of_group, values, groups, None, training, ~training)
    within = probe(of_group, values, None, None, training, ~training)
    assert within["r2"] < between["r2"] - 0.2
    assert between["r2"] > -0.3


# ------------------------------------------------------------------------------------------------------- classes


def test_a_class_probe_reads_classes_that_can_be_parted_and_no_others():
    latents = draw(N, 4)
    names = np.where(latents[:, 0] > 0.5, "high", np.where(latents[:, 0] < -0.5, "low", "middle"))
    score = measures.probe_class(latents, names, TRAINING, HELD_OUT, GROUPS)
    assert score["accuracy"] > 0.9
    majority = np.mean(names[HELD_OUT] == "middle")
    assert score["majority"] == majority
    noise = measures.probe_class(draw(N, 4, seed=9), names, TRAINING, HELD_OUT, GROUPS)
    assert noise["accuracy"] == pytest.approx(majority, abs=0.12)


def test_a_class_that_training_lacks_is_an_error_and_an_empty_one_is_left_out():
    latents = draw(N, 2) + 8 * (np.arange(N) % 2)[:, None]
    names = np.where(np.arange(N) % 2, "odd", "even").astype("<U6")
    names[160:180] = "new"
    assert measures.probe_class(latents, names, TRAINING, HELD_OUT, None)["accuracy"] == 0.75
    names[160:180] = ""
    assert measures.probe_class(latents, names, TRAINING, HELD_OUT, None)["accuracy"] == 1


def test_folds_of_classes_keep_groups_apart_and_are_never_fitted_on_one_class():
    names = np.repeat(["a", "b"], 30)  # as sorted folders
    for fitted, judged in measures.class_folds(names, None):
        assert set(names[fitted]) == set(names[judged]) == {"a", "b"}
    groups = np.arange(60) // 6
    for fitted, judged in measures.class_folds(names, groups):
        assert not set(groups[fitted]) & set(groups[judged])
    assert measures.class_folds(names, names) == []  # each group has a class of its own
    assert measures.class_folds(np.array(["a", "b", "c"]), None) == []


def test_a_class_probe_without_folds_is_fitted_all_the_same():
    names = np.where(np.arange(N) % 2, "odd", "even")
    latents = draw(N, 2) + 8 * (names == "odd")[:, None]
    assert measures.probe_class(latents, names, TRAINING, HELD_OUT, names)["accuracy"] == 1


# ----------------------------------------------------------------------------------------------------------- cka


@pytest.mark.parametrize(("n", "d", "k"), [(200, 6, 9), (12, 30, 9)])
def test_cka_does_not_see_rotation_even_scale_and_shift_and_is_symmetric(n, d, k):
    a = draw(n, d)
    b = a @ draw(d, k, seed=1) + draw(n, k, seed=2)
    alike = measures.cka(a, b)
    assert 0.1 < alike < 0.95
    assert measures.cka(a, a) == pytest.approx(1) and measures.cka(b, a) == pytest.approx(alike)
    for one in (a @ rotation(d), -3e-3 * a, a + 50):
        assert measures.cka(one, b) == pytest.approx(alike)
        assert measures.cka(b, one) == pytest.approx(alike)
        assert measures.cka(a, one) == pytest.approx(1)


def test_cka_sees_a_general_linear_map_and_calls_independent_noise_unlike():
    a = draw(5000, 6)
    assert measures.cka(a, a * [10, 1, 1, 1, 1, 1]) < 0.6
    assert measures.cka(a, draw(5000, 9, seed=1)) < 0.01


def test_cka_is_the_alignment_of_the_centred_kernels():
    a, b = draw(20, 4), draw(20, 7, seed=1)
    centring = np.eye(20) - 1 / 20
    k, m = (centring @ x @ x.T @ centring for x in (a, b))
    expected = np.trace(k @ m) / np.sqrt(np.trace(k @ k) * np.trace(m @ m))
    assert measures.cka(a, b) == pytest.approx(expected)


def test_cka_keeps_its_precision_far_from_zero_and_is_undefined_for_a_constant():
    a = draw(300, 3).astype(np.float32)
    assert measures.cka(a, (a * 1e-2).astype(np.float64) + 1e6) == pytest.approx(1, abs=1e-6)
    assert np.isnan(measures.cka(a, np.ones((300, 2))))


# ------------------------------------------------------------------------------------------------------- columns


def told(**columns):
    """Return a dataset of N images with these columns and groups."""
    images = np.zeros((N, 1, 2, 2), np.uint8)
    columns = {"animal": [f"m{group}" for group in GROUPS]} | columns
    return StimulusSet(images, [f"{i:03}" for i in range(N)], max_value=255, columns=columns, group="animal")


def chosen(dataset, *names):
    return compare.choose_columns(dataset, list(names), TRAINING, HELD_OUT)


def test_the_kind_of_a_column_is_told_from_its_values_and_name():
    angles = np.random.default_rng(0).uniform(0, 6.28, N)
    columns = {"angle": [str(angle) for angle in angles], "x": draw(N), "mood": ["glad", "sad"] * (N // 2)}
    columns["folder"] = ["1", "2"] * (N // 2)
    found = chosen(told(**columns), *columns)
    assert [column.kind for column in found.values()] == ["angle", "number", "class", "class"]
    assert found["angle"].period == 2 * np.pi
    np.testing.assert_allclose(found["angle"].values, angles)


def test_unless_asked_for_only_telling_columns_are_chosen():
    x = draw(N)
    mood = ["glad", "sad"] * (N // 2)
    telling = {"x": x, "mood": mood, "step": [str(i % 4) for i in range(N)]}
    mute = {
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
    assert set(chosen(told(**telling, **mute))) == set(telling)
    assert set(chosen(told(**telling, **mute), "in_cm", "name")) == {"in_cm", "name"}


def test_columns_that_cannot_be_probed_are_refused():
    dataset = told(few=np.where(np.arange(N) < 4, 1.0, np.nan), same=["a"] * N)
    for names, message in {
        ("x", "y"): "--columns: there is no x or y; there are animal, few, same",
        ("few",): "--columns: few is known of 4 training and 0 held-out images, which are too few",
        ("same",): "--columns: same is the same for all training images",
        (): "no column is telling; there are animal, few, same",
    }.items():
        with raises_user_error(message):
            chosen(dataset, *names)


def test_numbers_are_shown_with_three_digits():
    shown = [0.0, 0.01234, 0.5, 12.3456, 1234.5, 1e-7]
    assert [compare._digits(value) for value in shown] == ["0.00", "0.0123", "0.500", "12.3", "1234", "1.00e-07"]
    assert compare._decimal(None) == "-"


# -------------------------------------------------------------------------------------------------- command line


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A folder of images of a spot at an angle, of 12 animals in one of two moods, and what is known of them."""
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
    """A folder of runs: two of the same split, and one that deals animals out to both parts."""
    folder = tmp_path_factory.mktemp("weights")
    base = f"--save_dir {folder} --recipe faces_ae --n_epochs 1 --latent_dim 4 --val_fraction 0.25 --data_dir {film}"
    arrays = "--dataset arrays file=images.npy metadata=table.csv group=animal"
    train_silently(f"{base} {arrays} --split group --encoder pca --namestr one")
    train_silently(f"{base} {arrays} --split group --encoder fc hidden=16 --save_every 1 --keep all --namestr two")
    train_silently(f"{base} {arrays} --split random --encoder pca --namestr mixed")
    return folder


@pytest.fixture
def command(weights, capsys):
    """Return a function that calls the command line for runs: (exit status, stdout, stderr)."""

    def call(names, *words):
        status = compare.main([*(str(weights / name) for name in names.split()), *words])
        shown = capsys.readouterr()
        return status, shown.out, shown.err

    return call


def test_the_command_prints_a_line_per_run_and_the_alignment_of_all(command, tmp_path):
    out = tmp_path / "new" / "compare.json"
    status, shown, complaint = command("one two", "--columns", "angle,x,mood", "--out", str(out))
    assert (status, complaint) == (0, "")
    lines = shown.splitlines()
    assert lines[0] == "fitted on 180 training images of 9 animals, judged on 60 held-out images of 3 animals"
    assert lines[2].split() == ["angle", "x", "mood"]
    assert re.split("  +", lines[3].strip()) == ["r2 (median error)", "r2 (mean error)", "accuracy (majority)"]
    assert len({len(line) for line in lines[2:7]}) == len({len(line) for line in lines[9:13]}) == 1
    told = json.loads(out.read_text())
    names = ["one", "two", "pixels"]
    assert list(told["probes"]) == list(told["cka"]) == names
    for name, line in zip(names, lines[4:7], strict=True):
        numbers = told["probes"][name]
        assert set(numbers["angle"]) == {"r2", "median_deg"} and set(numbers["mood"]) == {"accuracy", "majority"}
        assert re.fullmatch(rf"{name} +\S+ \(\S+ deg\) +\S+ \(\S+\) +\S+ \(0\.500\)", line)
        assert f"{numbers['angle']['r2']:.3f} (" in line and f"{numbers['mood']['accuracy']:.3f} (0.500)" in line
    assert told["probes"]["pixels"]["angle"]["r2"] > 0.9 and told["probes"]["pixels"]["mood"]["accuracy"] > 0.9
    assert lines[8] == "linear CKA on held-out images"
    for name, line in zip(names, lines[10:13], strict=True):
        assert line.split() == [name, *(f"{told['cka'][name][other]:.3f}" for other in names)]
        assert told["cka"][name][name] == pytest.approx(1)


def test_the_file_tells_what_the_numbers_rest_on(command, weights, tmp_path):
    assert command("one", "--out", str(tmp_path / "compare.json"))[0] == 0
    told = json.loads((tmp_path / "compare.json").read_text())
    assert told["runs"] == {"one": str(weights / "one" / "best")}
    assert (told["n_training"], told["n_held_out"]) == (180, 60)
    assert told["groups"] == {"column": "animal", "n_training": 9, "n_held_out": 3, "n_in_both": 0}
    assert list(told["columns"]) == ["angle", "x", "mood"]  # the telling ones
    known = {"n_training": 162, "n_held_out": 54}  # a tenth of x is empty
    assert told["columns"]["x"] == {"kind": "number", "period": None} | known


def test_sessions_of_one_run_are_called_by_their_paths(command, weights):
    status, shown, _ = command("two/0 two/best", "--columns", "x")
    assert status == 0
    assert [line.split()[0] for line in shown.splitlines()[4:7]] == [
        str(weights / "two/0"),
        str(weights / "two/best"),
        "pixels",
    ]


def test_groups_that_are_trained_on_and_held_out_are_told(command):
    status, shown, _ = command("mixed", "--columns", "x")
    assert status == 0
    assert "note: 12 animals are in both, so this tells of known ones" in shown


def test_an_image_that_one_run_trained_on_is_neither_for_fitting_nor_for_judging(command, weights, tmp_path):
    out = tmp_path / "compare.json"
    assert command("one mixed", "--columns", "x", "--out", str(out))[0] == 0
    told = json.loads(out.read_text())
    one, mixed = (
        {part: set(ids) for part, ids in json.loads((weights / name / "split.json").read_text()).items()}
        for name in ("one", "mixed")
    )
    assert told["n_training"] == len(one["training"] & mixed["training"])
    assert told["n_held_out"] == len(one["validation"] & mixed["validation"])
    assert told["n_training"] + told["n_held_out"] < N


def test_many_training_images_are_thinned_evenly(monkeypatch, weights):
    run = compare.open_run(weights / "one")
    monkeypatch.setattr(compare, "MOST_TRAINING", 50)
    training, held_out = compare.choose_parts([run])
    assert training.sum() == 45 and held_out.sum() == 60  # every 4th of 180
    assert len(np.unique(GROUPS[training])) == 9
    monkeypatch.setattr(compare, "MOST_VALUES", 144 * 20)
    assert compare.pixel_components(run, training).shape == (N, 14)  # of 15 images


def test_pixel_components_are_fitted_on_training_images_alone(weights):
    run = compare.open_run(weights / "one")
    training = compare.choose_parts([run])[0]
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
def test_a_mistake_is_told_in_one_line(command, names, words, message):
    status, shown, complaint = command(names, *words.split())
    assert (status, shown) == (2, "")
    assert complaint.startswith("error: ") and message in complaint


def test_a_file_that_cannot_be_written_is_told_after_the_numbers(command, tmp_path):
    (tmp_path / "file").write_text("")
    status, shown, complaint = command("one", "--columns", "x", "--out", str(tmp_path / "file" / "compare.json"))
    assert status == 2 and "linear CKA" in shown
    assert re.match(r"error: --out .*compare.json cannot be written: ", complaint)


def test_the_first_run_of_other_images_or_of_another_order_is_named(weights):
    runs = {name: compare.open_run(weights / "one") for name in ("one", "same", "turned", "fewer")}
    runs["turned"].dataset.ids = runs["turned"].dataset.ids[::-1]
    runs["fewer"].dataset.ids = runs["fewer"].dataset.ids[:-7]
    with raises_user_error("turned has other images than one: in another order"):
        compare.compare(runs, [])
    del runs["turned"]
    with raises_user_error("fewer has other images than one: 7 are only in one of them, such as 233"):
        compare.compare(runs, [])


def test_runs_that_hold_out_nothing_in_common_are_refused(weights):
    runs = [compare.open_run(weights / "one") for _ in range(2)]
    runs[1].part = np.where(runs[0].part == "training", "validation", "training")
    with raises_user_error(
        "0 images are in training in every run, and 0 held out by every run, which are too few; train"
    ):
        compare.choose_parts(runs)
