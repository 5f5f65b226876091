"""Recordings of visual cortex: responses are assigned to their image and neuron, and NaN where not recorded."""

import numpy as np
import pytest
import torch
from helpers import raises_user_error

from neuro_noodle.data.base import DATASETS, Source
from neuro_noodle.data.store import Store

WHITE = 255e-6


def write_region(folder, number=1, n_train=4, n_test=3, n_neurons=2, n_trials=5, side=6, **replaced):
    """Write a region of random recordings in the published format; a file replaced by None is left out."""
    generator = np.random.default_rng(number)
    trials = generator.gamma(1, 1, (n_trials, n_test, n_neurons))
    files = {
        "training_inputs": generator.integers(0, 256, (n_train, side**2)) * 1e-6,
        "training_set": generator.gamma(1, 1, (n_train, n_neurons)),
        "validation_inputs": generator.integers(0, 256, (n_test, side**2)) * 1e-6,
        "validation_set": trials.mean(0),
        "raw_validation_set": trials,
    } | replaced
    region = folder / f"region{number}"
    region.mkdir(parents=True)
    for name, values in files.items():
        if values is not None:
            np.save(region / f"{name}.npy", values)
    return files


def open_v1(folder, words=""):
    return DATASETS.build(f"v1 {words}", Source(folder, Store(folder / "cache")))


@pytest.mark.parametrize("inside", ["", "region1"])
def test_a_region_is_read_from_its_folder_or_the_one_above(tmp_path, inside):
    files = write_region(tmp_path)
    dataset = open_v1(tmp_path / inside)
    assert dataset.ids[:4] == [f"region1/train/000{i}" for i in range(4)]
    assert dataset.ids[4:] == [f"region1/test/000{i}" for i in range(3)]
    assert dataset.columns["part"] == ["train"] * 4 + ["test"] * 3
    assert dataset.neurons == ["region1/0", "region1/1"]
    pixels = np.concatenate([files["training_inputs"], files["validation_inputs"]]).reshape(-1, 1, 6, 6)
    assert np.allclose(dataset.sample(torch.arange(7))["image"], pixels / WHITE, atol=1e-6)
    expected = np.concatenate([files["training_set"], files["validation_set"]]).astype(np.float32)
    assert np.array_equal(dataset.responses, expected)
    assert (dataset.label, dataset.group, dataset.notes) == (None, "image", [])
    assert dataset.provides == ["image", "response"]


def test_a_sample_has_the_images_and_responses_at_its_indices(tmp_path):
    files = write_region(tmp_path)
    sample = open_v1(tmp_path).sample(torch.tensor([6, 1]))
    assert set(sample) == {"image", "response"}
    assert sample["response"].dtype == torch.float32
    assert np.allclose(sample["response"], [files["validation_set"][2], files["training_set"][1]])
    assert np.allclose(sample["image"][1].ravel() * WHITE, files["training_inputs"][1], atol=1e-9)


def test_pixels_from_0_to_255_millionths_become_0_to_1(tmp_path):
    write_region(tmp_path, training_inputs=np.tile([0, 255], (4, 18)) * 1e-6)
    image = open_v1(tmp_path).sample(torch.arange(4))["image"]
    assert (image.min(), image.max()) == (0, 1)


def test_responses_are_nan_exactly_where_not_recorded(tmp_path):
    shapes = {1: (4, 3, 2, 5), 2: (6, 2, 3, 4)}
    files = {
        number: write_region(tmp_path, number, n_train, n_test, n_neurons, n_trials)
        for number, (n_train, n_test, n_neurons, n_trials) in shapes.items()
    }
    dataset = open_v1(tmp_path)
    rows, neurons = {1: slice(0, 7), 2: slice(7, 15)}, {1: slice(0, 2), 2: slice(2, 5)}
    repeated, recorded = {1: slice(0, 3), 2: slice(3, 5)}, np.zeros((15, 5), bool)
    for number in shapes:
        expected_files = files[number]
        expected = np.concatenate([expected_files["training_set"], expected_files["validation_set"]])
        assert np.allclose(dataset.responses[rows[number], neurons[number]], expected)
        recorded[rows[number], neurons[number]] = True
        n_trials = shapes[number][-1]
        trials = dataset.trials[:, repeated[number], neurons[number]]
        assert np.allclose(trials[:n_trials], expected_files["raw_validation_set"])
        assert trials[n_trials:].isnan().all()
    assert np.array_equal(~dataset.responses.isnan(), recorded)
    assert np.array_equal(~dataset.trials.isnan().all(0), recorded[dataset.repeated])
    assert dataset.columns["region"] == ["region1"] * 7 + ["region2"] * 8
    assert dataset.neurons == ["region1/0", "region1/1", "region2/0", "region2/1", "region2/2"]
    assert len(set(dataset.ids)) == 15


def test_the_repeated_images_are_the_test_images(tmp_path):
    """The mean of their trials is their response."""
    for number in (1, 2):
        write_region(tmp_path, number)
    dataset = open_v1(tmp_path)
    assert [dataset.columns["part"][i] for i in dataset.repeated] == ["test"] * 6
    assert dataset.columns["part"].count("test") == 6
    assert dataset.trials.shape == (5, 6, 4)
    assert torch.allclose(dataset.trials.mean(0), dataset.responses[dataset.repeated], equal_nan=True)


@pytest.mark.parametrize(
    ("words", "chosen"),
    [("", ["1", "2", "3"]), ("regions=2", ["2"]), ("regions=3,1", ["3", "1"]), ("regions=2,2", ["2"])],
)
def test_only_the_chosen_regions_are_read_in_their_order(tmp_path, words, chosen):
    for number in (1, 2, 3):
        write_region(tmp_path, number)
    assert list(dict.fromkeys(open_v1(tmp_path, words).columns["region"])) == [f"region{number}" for number in chosen]


def test_the_column_image_identifies_identical_images(tmp_path):
    shown = write_region(tmp_path, 1)["training_inputs"]
    other = shown[[2, 2, 0, 1]].copy()
    other[3, -1] += 1e-6
    write_region(tmp_path, 2, training_inputs=other)
    image = open_v1(tmp_path).columns["image"]
    assert image[7:10] == [image[2], image[2], image[0]]
    assert len(set(image)) == 14 - 3


@pytest.mark.parametrize(
    ("missing", "part", "n_images", "n_others"),
    [
        ("training_inputs", "train", 3, 0),
        ("training_inputs", "train", 3, 1),
        ("training_set", "train", 3, 0),
        ("validation_inputs", "test", 4, 1),
        ("validation_inputs", "test", 4, 0),
    ],
)
def test_a_missing_file_leaves_out_its_part_with_a_note(tmp_path, missing, part, n_images, n_others):
    for number in range(1 + n_others):
        write_region(tmp_path, number + 1, **({} if number else {missing: None}))
    dataset = open_v1(tmp_path)
    assert len(dataset) == n_images + 7 * n_others
    assert dataset.notes == [f"region1: no {missing}.npy, so it has no {part} images"]
    assert not any(name.startswith(f"region1/{part}/") for name in dataset.ids)


def test_without_single_presentations_there_are_no_trials(tmp_path):
    write_region(tmp_path, raw_validation_set=None)
    assert open_v1(tmp_path).trials.shape == (0, 0, 2)


def test_missing_folders_are_refused_with_the_existing_ones(tmp_path):
    with raises_user_error(f"no folder region1 in {tmp_path}; there are no regions at all; --data_dir must name"):
        open_v1(tmp_path)
    write_region(tmp_path, 1)
    write_region(tmp_path, 3)
    with raises_user_error(
        f"no folder region2 or region4 in {tmp_path}; there are region1, region3; --data_dir must name"
    ):
        open_v1(tmp_path, "regions=2,3,4")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"training_inputs": np.zeros((5, 36))},
            "training_set.npy is 4 x 2, but there are 5 images: it needs a row per image",
        ),
        ({"validation_set": np.zeros(3)}, "is 5 x 3 x 2, but there are 3 images and 1 neuron"),
        (
            {"training_inputs": np.zeros((0, 36)), "training_set": np.zeros((0, 2))},
            "training_inputs.npy is 0 x 36 of float64, but must have a row of numbers",
        ),
        ({"training_inputs": None, "validation_set": None}, "holds neither training nor validation images"),
        ({"training_set": np.zeros((4, 3))}, "training_set and validation_set have different numbers of neurons"),
        (
            {"raw_validation_set": np.zeros((5, 3, 3))},
            "raw_validation_set.npy is 5 x 3 x 3, but there are 3 images and 2 neurons",
        ),
        (
            {"raw_validation_set": np.zeros((3, 2))},
            "raw_validation_set.npy is 3 x 2, but there are 3 images and 2 neurons",
        ),
        ({"training_set": np.full((4, 2), np.inf)}, "responses are infinite"),
        ({"raw_validation_set": np.full((5, 3, 2), -np.inf)}, "responses are infinite"),
        ({"training_inputs": np.full((4, 36), np.nan)}, "not finite"),
        ({"training_inputs": np.full((4, 36), 256e-6)}, "outside 0 to 0.000255"),
        ({"training_inputs": np.zeros((4, 25))}, "shapes: 1 x 5 x 5 (region1/train), 1 x 6 x 6 (region1/test)"),
        (
            {"training_inputs": np.zeros((4, 30))},
            "training_inputs.npy is 4 x 30 of float64, but must have a row of numbers",
        ),
        ({"training_inputs": np.array(1.0)}, "training_inputs.npy is a single value of float64, but must have a row"),
        ({"training_inputs": np.full((4, 36), "x")}, "training_inputs.npy is 4 x 36 of <U1, but must have a row"),
        ({"training_set": np.full((4, 2), "x")}, "training_set.npy holds <U1, but responses are plain numbers"),
        ({"training_set": np.full((4, 2), {})}, "training_set.npy cannot be read"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(tmp_path, files, message):
    write_region(tmp_path, **files)
    with raises_user_error(message):
        open_v1(tmp_path)


def test_regions_with_images_of_different_sizes_are_refused(tmp_path):
    write_region(tmp_path, 1)
    write_region(tmp_path, 2, side=5)
    with raises_user_error("have different shapes: 1 x 6 x 6 (region1/test), 1 x 5 x 5 (region2/test)"):
        open_v1(tmp_path)
    assert open_v1(tmp_path, "regions=2").image_shape == (1, 5, 5)


def test_max_value_is_the_value_of_white(tmp_path):
    write_region(tmp_path, training_inputs=np.full((4, 36), 400e-6))
    assert open_v1(tmp_path, "max_value=0.0005").sample(torch.tensor([0]))["image"].mean().item() == pytest.approx(0.8)
    with raises_user_error("max_value=-1.0 must be above 0"):
        open_v1(tmp_path, "max_value=-1")
