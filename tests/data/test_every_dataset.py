"""The contract of every dataset: samples hold what it declares."""

import numpy as np
import pytest
import torch
from helpers import open_at
from PIL import Image
from test_arrays import COLOUR, GREY, save_npz
from test_mnist import write_idx
from test_v1 import write_region

from neuro_noodle.data.base import DATASETS

MAKE = {
    "folder": lambda path: [Image.fromarray(image).save(path / f"{i}.png") for i, image in enumerate(GREY)],
    "arrays": lambda path: save_npz(path, images=COLOUR, label=np.arange(3)),
    "mnist": write_idx,
    "digits": lambda path: None,
    "v1": write_region,
    "recordings": lambda path: save_npz(path, images=COLOUR, responses=np.eye(3)),
}


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_dataset_provides_what_it_declares(tmp_path, name):
    MAKE[name](tmp_path)
    dataset = open_at(tmp_path, "arrays label=label" if name == "arrays" else name)
    n = len(dataset)
    sample = dataset.sample(torch.arange(n))
    assert list(sample) == dataset.provides
    assert sample["image"].dtype == torch.float32
    assert sample["image"].shape == (n, *dataset.image_shape)
    assert 0 <= sample["image"].min() < sample["image"].max() <= 1
    assert len(set(dataset.ids)) == n == len(dataset.images)
    assert all(len(column) == n for column in dataset.columns.values())
    assert ("label" in sample) == (name not in ("v1", "recordings"))
    if "label" in sample:
        assert sample["label"].dtype == torch.int64
        names = [dataset.classes[label] for label in sample["label"]]
        assert names == [str(value).removesuffix(".0") for value in dataset.columns[dataset.label]]
