"""What must hold on photographs of people; skipped where the data are absent."""

import json

import pytest

import main
from datasets import DATASETS, Source
from store import Store


@pytest.mark.parametrize("split", ["random", "group"])
def test_the_autoencoder_beats_pca_on_photographs_and_on_people_it_has_never_seen(split, data, tmp_path):
    words = (
        f"--data_dir {data('orl_faces')} --save_dir {tmp_path} --dataset folder size=56x46 pattern=none --n_epochs 40"
    )
    assert main.main([*words.split(), "--split", split]) == 0
    result = json.loads((tmp_path / "faces_ae" / "result.json").read_text())
    assert result["validation"]["value"] < 0.97 * result["baselines"]["pca"] < result["baselines"]["mean_image"]


def test_the_expression_and_the_person_are_read_from_folder_and_name(data, tmp_path):
    choice = "folder size=32x32 pattern={expression}/{person}_{} label=expression group=person"
    dataset = DATASETS.build(choice, Source(data("london_faces"), Store(tmp_path)))
    assert dataset.images.shape == (204, 3, 32, 32)
    assert dataset.classes == ["neutral", "smiling"]
    assert len(set(dataset.columns["person"])) == 102
