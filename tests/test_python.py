"""The Python code of the docs runs, in the order of the page, and so does that of the README."""

import re

import numpy as np
import pytest
from helpers import HERE

CODE = re.compile(r"```python\n(.*?)```", flags=re.DOTALL)


@pytest.fixture
def in_home(small_runs, stimuli, tmp_path, monkeypatch):
    """Work in a folder that holds what the pages name: weights, and images in my_faces and my_images."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").symlink_to(small_runs)
    for name in ("my_faces", "my_images"):
        (tmp_path / name).symlink_to(stimuli / "01")


def test_the_code_of_the_python_page_runs(in_home):
    names: dict = {}
    for block in CODE.findall((HERE / "docs" / "python.md").read_text()):
        exec(block, names)
    assert names["latents"].shape == (5, 4)
    assert names["same"].shape == names["run"].encode("my_faces").shape
    assert names["probabilities"].shape == (len(names["ids"]), 2)
    assert np.allclose(names["latent"], names["one"], atol=1e-5)
    assert np.allclose(names["prediction"], names["run"].predict("my_faces/" + names["ids"][0]), atol=1e-5)
    assert names["degrees"].shape == (120,) and names["rates"].shape == (1, 4)
    assert list(names["table"])[:2] == ["id", "part"] and list(names["table"])[-1] == "latent4"


def test_the_code_of_the_readme_runs(in_home):
    blocks = [block for block in CODE.findall((HERE / "README.md").read_text()) if "import neuro_noodle" in block]
    assert len(blocks) == 1
    names: dict = {}
    exec(blocks[0], names)
    assert names["latents"].shape[1:] == (4,)
