"""Plotting/explore.py: the file with the page of one or more runs."""

import base64
import gzip
import re
import shutil

import numpy as np
import pytest
from helpers import raises_user_error
from page_files import PageFile

from neuro_noodle.runs.latents import read_latents
from neuro_noodle.runs.run import open_run
from neuro_noodle.views.explorer import decoder, explorer, run_maps
from neuro_noodle.views.explorer.arrays import Arrays
from neuro_noodle.views.explorer.coordinates import place
from Plotting import explore as command


def test_the_page_is_one_file_with_licences(flat_page):
    text = flat_page.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", text)
    assert text.count("<script") == text.count("</script") and "$" + "{" not in text.split("<script>")[0]
    for owner in ("Fritz Lekschas", "Mikola Lysenko", "Vladimir Agafonkin", "Brandon Jones"):
        assert owner in text


def test_the_page_holds_every_image_with_its_row(flat_page, flat_run):
    page, run = PageFile(flat_page), open_run(flat_run)
    assert page.manifest["ids"] == run.dataset.ids
    emotion = page.column("emotion")
    codes = page.array(emotion["values"])
    assert [emotion["classes"][code] for code in codes] == run.dataset.columns["emotion"]
    error = (run.decode(run.latents()) - run.images().numpy()) ** 2
    assert page.array(page.column("mse")["values"]) == pytest.approx(error.mean((1, 2, 3)), rel=0.02)
    assert page.n_sheets == 1


def test_two_latents_are_their_own_map(flat_page, flat_run):
    page, run = PageFile(flat_page), open_run(flat_run)
    shown = page.manifest["runs"][0]
    at = shown["times"][-1]
    points = np.stack([page.array(at["x"]), page.array(at["y"])], 1)
    latents = points * shown["scale"]["factor"] + shown["scale"]["centre"]
    assert np.allclose(latents, run.latents(), atol=1e-4)
    assert np.abs(points).max() <= 1


def test_earlier_times_have_the_spread_of_the_last(flat_page, flat_run):
    page, run = PageFile(flat_page), open_run(flat_run)
    times = page.manifest["runs"][0]["times"]
    assert [time["label"] for time in times] == ["before training", "1 epoch", "2 epochs", "3 epochs", "best weights"]
    training = run.part == "training"
    spreads = []
    for time in times:
        points = np.stack([page.array(time["x"]), page.array(time["y"])], 1)[training]
        spreads.append(points.var(0).sum())
    assert spreads == pytest.approx([spreads[-1]] * 5, rel=1e-4)
    first = read_latents(flat_run / "latents" / "1.npz").values[training]
    points = np.stack([page.array(times[1][axis]) for axis in "xy"], 1)[training]
    assert np.corrcoef(first[:, 0], points[:, 0])[0, 1] == pytest.approx(1, abs=1e-4)


def test_a_map_is_fitted_to_training_images_only():
    values = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
    is_training = np.arange(40) < 30
    moved = values.copy()
    moved[~is_training] += 100
    (one,), (other,) = (place([each], is_training, "pca") for each in (values, moved))
    assert np.allclose(one[is_training], other[is_training]) and not np.allclose(one, other)


def test_private_stimuli_stay_private(flat_run, tmp_path, capsys):
    out = tmp_path / "private.html"
    assert command.main([str(flat_run), "--no_images", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    page = PageFile(out)
    (run,) = page.manifest["runs"]
    assert "data:image" not in page.text and page.manifest["tiles"] is None
    assert run["decoder"] is run["grid"] is run["latents"] is None and run["directions"] == []
    assert any("no images and no decoder" in note for note in page.manifest["notes"])


def test_some_images_of_many_are_shown_and_counted(flat_run, tmp_path, capsys):
    out = tmp_path / "few.html"
    assert command.main([str(flat_run), "--n_mapped", "10", "--out", str(out)]) == 0
    assert "note: the page shows 10 of 24 images" in capsys.readouterr().err
    page = PageFile(out)
    assert len(page.manifest["ids"]) == 10 and page.manifest["notes"][0].startswith("10 images of 24")


def test_what_is_predicted_is_empty_for_unused_images(film_runs):
    run = open_run(film_runs / "two")
    kept = run.parts["training"][5:]
    run.parts = run.parts | {"training": kept, "left_out": run.parts["training"][:5]}
    values = explorer.outputs(run, np.arange(len(run.dataset)))["mse"].values
    assert np.flatnonzero(np.isnan(values)).tolist() == run.parts["left_out"]


def test_predicted_digits_are_classes(odd_page):
    page = PageFile(odd_page)
    for name in ("digit", "label (digits)", "predicted (digits)"):
        assert page.column(name)["kind"] == "class" and set(page.column(name)["classes"]) <= {"0", "1", "2"}


def test_numbers_keep_all_their_digits(odd_page):
    page = PageFile(odd_page)
    assert page.array(page.column("stamp")["values"]).tolist() == [1700000001.5 + i for i in range(40)]


def test_runs_of_the_same_name_are_told_apart(odd_runs, tmp_path):
    other = shutil.copytree(odd_runs / "digits", tmp_path / "digits")
    page = PageFile(explorer.write_explorer([odd_runs / "digits", other], out=tmp_path / "page.html", how="pca"))
    names = [str(odd_runs / "digits"), str(other)]
    assert [run["name"] for run in page.manifest["runs"]] == names
    assert {f"probability ({name})" for name in names} <= {column["name"] for column in page.manifest["columns"]}
    with raises_user_error(f"{other} was named twice; name each run once"):
        explorer.write_explorer([other, other])


def test_runs_of_other_images_are_refused(flat_run, film_runs, capsys):
    assert command.main([str(flat_run), str(film_runs / "one")]) == 2
    assert "the images of one differ from those of flat" in capsys.readouterr().err
    assert not list(flat_run.glob("explorer.html.*"))


def test_a_wrong_file_or_column_is_refused_before_drawing(flat_run, tmp_path, monkeypatch):
    monkeypatch.setattr(explorer, "draw_page", None)
    for out in (tmp_path, tmp_path / "none" / "page.html"):
        with raises_user_error("name a file in a folder that exists"):
            explorer.write_explorer([flat_run], out=out)
    with raises_user_error("hair"):
        explorer.write_explorer([flat_run], columns=["hair"])


def test_a_umap_of_earlier_times_comes_with_a_warning(flat_page, film_runs):
    assert run_maps.describe_times(open_run(film_runs / "two"), 4, "umap").count("whether they had it or not") == 1
    assert "whether" not in run_maps.describe_times(open_run(film_runs / "two"), 4, "pca")
    assert "whether" not in PageFile(flat_page).manifest["runs"][0]["time_note"]


def test_more_runs_than_fit_are_refused(flat_run):
    with raises_user_error("5 runs do not fit next to each other; at most 4 do"):
        explorer.write_explorer([flat_run] * 5)


def test_a_run_without_decoder_says_what_it_predicts(face_runs):
    page = PageFile(explorer.write_explorer([face_runs / "emotion"], how="pca"))
    (run,) = page.manifest["runs"]
    assert run["no_decoder"] == "emotion predicts probabilities of classes, so it decodes no images"
    assert {"label", "predicted", "probability"} <= {column["name"] for column in page.manifest["columns"]}


def test_a_decoder_too_large_for_a_page_is_replaced(flat_run, film_runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(decoder, "MAX_BYTES", 0)
    page = PageFile(explorer.write_explorer([flat_run], out=tmp_path / "grid.html"))
    grid, run = page.manifest["runs"][0]["grid"], open_run(flat_run)
    corner = run.decode(np.array([grid["low"]], np.float32)).clip(0, 1)[0]
    assert np.abs(page.array(grid["images"])[0, 0] / 255 - corner).max() <= 0.51 / 255
    assert "of weights, too many for a page, so the page has a grid" in capsys.readouterr().err
    page = PageFile(explorer.write_explorer([film_runs / "one"], out=tmp_path / "none.html", how="pca"))
    assert page.manifest["runs"][0]["no_decoder"].endswith("of weights, too many for a page")


def test_arrays_come_back_at_their_place():
    arrays = Arrays()
    places = [
        arrays.add(np.arange(3), "u1"),
        arrays.add(np.array([[1.5, -2]]), "f2"),
        arrays.add(np.array([7.25]), "f8"),
    ]
    content = gzip.decompress(base64.b64decode(arrays.text()))
    found = [np.frombuffer(content, f"<{one['dtype']}", np.prod(one["shape"]), one["start"]).tolist() for one in places]
    assert found == [[0, 1, 2], [1.5, -2.0], [7.25]]
