"""Names of files that are not text in UTF-8, or that a spreadsheet would run as a formula."""

import csv
import io
import json
import os
import sys

import numpy as np
import pytest
from helpers import rows_of
from PIL import Image

import main
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.runs.files import write_csv
from neuro_noodle.runs.run import open_run
from neuro_noodle.views.report import write_report

FC = "--encoder fc hidden=8 --latent_dim 2 --augment none --n_epochs 1 --device cpu"
CLASSES = (b"gl\xfccklich", b"=1+1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of two classes, whose names are not UTF-8 and a formula."""
    folder = tmp_path_factory.mktemp("names")
    generator = np.random.default_rng(0)
    for i in range(20):
        below = folder / "images" / os.fsdecode(CLASSES[i % 2])
        below.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (8, 8), np.uint8)).save(below / os.fsdecode(b"caf\xe9%02d.png" % i))
    return folder


@pytest.mark.parametrize("objective", ["classify", "reconstruct"])
def test_a_run_on_names_that_are_not_utf8_is_complete(folder, capsys, objective):
    head = " --head linear" if objective == "classify" else ""
    data = f"--data_dir {folder / 'images'} --dataset folder label=folder --cache_dir {folder / 'cache'}"
    words = f"{data} --save_dir {folder} --namestr {objective} --objective {objective} --split random {FC}{head}"
    assert main.main(f"--no-plot {words} --val_fraction 0.2 --test_fraction 0.2".split()) == 0
    assert r"note: 20 of 20 names of images are not valid UTF-8, such as =1+1/caf\xe901.png" in capsys.readouterr().err
    run = folder / objective
    ids = [name for part in json.loads((run / "split.json").read_text(encoding="utf-8")).values() for name in part]
    assert sorted(map(os.fsencode, ids)) == sorted(
        os.fsencode(path.relative_to(folder / "images")) for path in (folder / "images").rglob("*.png")
    )
    rows = rows_of(run / "test.csv")
    assert {row["folder"] for row in rows} <= {r"gl\xfccklich", "'=1+1"}
    assert {row["id"].partition("/caf\\xe9")[0] for row in rows} == {row["folder"] for row in rows}
    assert main.main(["--test", "--load_dir", str(run)]) == 0
    assert [path.stat().st_size > 0 for path in write_report(run, how="pca")]
    opened = open_run(run)
    opened.save_latents(opened.latents())


def test_a_name_outside_the_encoding_of_the_terminal_is_printed(monkeypatch):
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="latin-1") for name in ("stdout", "stderr")}
    for name, stream in streams.items():
        monkeypatch.setattr(sys, name, stream)
    status = main.main(["--load_dir", "\u0141ukasz"])
    streams["stderr"].flush()
    assert status == 2 and b"there is no folder \\u0141ukasz" in streams["stderr"].buffer.getvalue()


def test_a_set_with_valid_names_has_no_note_about_them():
    assert StimulusSet(np.zeros((1, 1, 2, 2), np.uint8), ["\u9854.png"], max_value=255, columns={}).notes == []


def test_the_names_of_columns_are_escaped_too(tmp_path):
    write_csv(tmp_path / "t.csv", {"=A1": ["-1", "=2"], "x": [float("nan"), -2.5]})
    text = (tmp_path / "t.csv").read_text(encoding="utf-8")
    assert list(csv.reader(io.StringIO(text))) == [["'=A1", "x"], ["-1", ""], ["'=2", "-2.5"]]
