"""Tests on real data, skipped if the data are not on this machine."""

import json

import numpy as np
import pytest
import torch

import main
from neuro_noodle.data.base import DATASETS, Source
from neuro_noodle.data.store import Store


@pytest.mark.parametrize("split", ["random", "group"])
def test_the_autoencoder_beats_pca_on_photographs(split, real_data, tmp_path):
    """Also on photographs of new people (--split group)."""
    words = f"--data_dir {real_data('orl_faces')} --save_dir {tmp_path} --n_epochs 40 --dataset folder size=56x46"
    assert main.main(["--no-plot", *words.split(), "pattern=none", "group=folder", "--split", split]) == 0
    result = json.loads((tmp_path / "faces_ae" / "result.json").read_text())
    assert result["validation"]["value"] < 0.97 * result["baselines"]["pca"] < result["baselines"]["mean_image"]


def test_expression_and_person_are_read_from_folder_and_name(real_data, tmp_path):
    choice = "folder size=32x32 pattern={expression}/{person}_{} label=expression group=person"
    dataset = DATASETS.build(choice, Source(real_data("london_faces"), Store(tmp_path)))
    assert dataset.images.shape == (204, 3, 32, 32)
    assert dataset.classes == ["neutral", "smiling"]
    assert len(set(dataset.columns["person"])) == 102


def test_the_published_responses_are_the_means_of_the_trials(real_data, tmp_path):
    dataset = DATASETS.build("v1", Source(real_data("antolik2016_v1"), Store(tmp_path)))
    assert dataset.images.shape == (50, 1, 31, 31)
    assert dataset.responses.shape == (50, 103)
    assert dataset.trials.shape == (10, 50, 103)
    assert torch.allclose(dataset.trials.mean(0), dataset.responses, rtol=0, atol=1e-5)
    assert len(set(dataset.columns["image"])) == 50
    image = dataset.sample(torch.arange(50))["image"]
    assert (image.min(), image.max()) == (0, 1)
    assert "no training_inputs.npy" in dataset.notes[0]


def test_recordings_of_v4_are_read_without_further_words(real_data, tmp_path):
    dataset = DATASETS.build("recordings", Source(real_data("v4_natural"), Store(tmp_path)))
    assert dataset.images.shape == (1840, 1, 56, 56)
    assert dataset.responses.shape == (1840, 139)
    assert dataset.repeated.tolist() == list(range(1200, 1840))
    assert torch.allclose(dataset.trials.nanmean(0)[:, 89:], dataset.responses[1200:, 89:], rtol=0, atol=1e-5)
    counts = dataset.trials[..., 89:].isfinite().all(2).sum(0)
    assert (counts.min(), counts.max()) == (6, 10)
    assert not any("not the means" in note for note in dataset.notes)


@pytest.mark.parametrize("view", ["crop", "arena"])
def test_each_image_of_the_mouse_has_a_row_of_the_table(view, real_data, tmp_path):
    choice = f"arrays file=mouse_{view}_ims.npz metadata=mouse_mdata.npy"
    dataset = DATASETS.build(choice, Source(real_data("mouse_openfield"), Store(tmp_path)))
    assert dataset.images.shape == (2330, 1, 50, 50)
    with np.load(real_data("mouse_openfield") / f"mouse_{view}_ims.npz") as file:
        assert np.array_equal(dataset.images[:, 0].numpy(), file["arr_0"])
    table = np.load(real_data("mouse_openfield") / "mouse_mdata.npy")
    assert len(dataset.columns) == table.shape[1]
    assert np.array_equal(np.stack(list(dataset.columns.values()), 1), table)


def test_mnist_has_its_known_labels_and_mean_pixel(real_data, tmp_path):
    dataset = DATASETS.build("mnist", Source(real_data("mnist"), Store(tmp_path)))
    assert dataset.images.shape == (70_000, 1, 28, 28)
    assert dataset.columns["part"].count("train") == 60_000
    assert dataset.columns["class"][:10] == list("5041921314")
    assert dataset.columns["class"][60_000:60_005] == list("72104")
    assert dataset.images[:60_000].numpy().mean() == pytest.approx(33.32, abs=0.005)
