"""Plotting/report.py: the pictures of a run, those of every run and those of its objective."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SMALL, result_of, train_silently
from matplotlib.figure import Figure
from pictures import PNG, texts
from PIL import Image
from pypdf import PdfReader

from neuro_noodle.objectives.base import OBJECTIVES, Objective
from neuro_noodle.objectives.reconstruct import Reconstruct
from neuro_noodle.runs.run import open_run
from neuro_noodle.views import decodings, outcomes, report
from Plotting import report as command


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ae", {"latent_map", "traversals", "augmented", "curves", "reconstructions"}),
        ("emotion", {"latent_map", "augmented", "curves", "confusion", "mistakes"}),
    ],
)
def test_a_report_writes_every_picture_and_prints_its_path(name, expected, face_runs, capsys):
    folder = face_runs / name / "figures"
    assert command.main([str(face_runs / name)]) == 0
    written = {path.stem for path in folder.iterdir()}
    optional = {"mistakes"}  # if there are any
    assert expected - optional <= written <= expected
    paths = [folder / f"{key}.png" for key in written_order(expected, written)]
    assert capsys.readouterr().out.split() == [*map(str, paths), str(face_runs / name / "report.html")]
    for path in folder.iterdir():
        assert path.read_bytes().startswith(PNG) and Image.open(path).size > (100, 100)
    assert (face_runs / name / "latents" / "best.npz").is_file()


def test_a_picture_is_written_before_the_next_is_drawn(tmp_path):
    written = []

    def draw() -> dict:
        written.append({path.name for path in tmp_path.iterdir()})
        return {f"picture{len(written)}": Figure()}

    paths = report.write_drawings(tmp_path, {"one": draw, "two": draw})
    assert next(paths) == tmp_path / "picture1.png" and written == [set()]
    assert list(paths) == [tmp_path / "picture2.png"] and written == [set(), {"picture1.png"}]


def written_order(expected, written):
    order = ["curves", "reconstructions", "confusion", "mistakes", "traversals", "augmented", "latent_map"]
    return [key for key in order if key in expected & written]


def test_pictures_for_a_paper_have_its_width_and_format(face_runs, capsys):
    words = ["--map", "pca", "--format", "png,pdf,svg", "--width_mm", "85"]
    assert command.main([str(face_runs / "ae"), *words]) == 0
    png, pdf, svg, *_ = map(Path, capsys.readouterr().out.split())
    with Image.open(png) as image:
        height = image.height / image.width * 85
        assert image.width / image.info["dpi"][0] == pytest.approx(85 / 25.4, abs=0.01)
    assert [float(side) / 72 * 25.4 for side in PdfReader(pdf).pages[0].mediabox[2:]] == pytest.approx(
        [85, height], 0.01
    )
    sides = re.findall(r'="([\d.]+)pt"', svg.read_text(encoding="utf-8"))
    assert [float(side) / 72 * 25.4 for side in sides] == pytest.approx([85, height], 0.01)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--format jpg", "'jpg' is no format of a picture; use png, pdf, svg"),
        ("--width_mm 3", "--width_mm 3.0 is less than 20"),
        ("--map tsne", "unknown map 'tsne'"),
    ],
)
def test_a_picture_that_cannot_be_made_is_refused(face_runs, capsys, words, message):
    assert command.main([str(face_runs / "ae"), *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_traversals_start_and_end_at_the_percentiles_of_a_latent(run):
    latents = run.latents()
    figure = decodings.plot_decodings(run, latents)["traversals"]
    row = [axis for axis in figure.axes if axis.get_ylabel()][0]
    number = int(row.get_ylabel().removeprefix("latent ")) - 1
    assert number == latents.std(0).argmax()
    point = np.median(latents, 0)
    point[number] = np.quantile(latents[:, number], decodings.TAIL)
    shown = row.images[0].get_array()
    np.testing.assert_allclose(shown, run.decode(point[None])[0, 0].clip(0, 1), atol=1e-5)


def test_a_grid_over_two_latents_shows_the_image_of_each_point(tmp_path, stimuli):
    words = f"--data_dir {stimuli} --save_dir {tmp_path} {SMALL['faces_ae']} --latent_dim 2 --n_epochs 1"
    train_silently(f"{words} --namestr flat --encoder fc hidden=8 --head fc start=random")
    run = open_run(tmp_path / "flat")
    latents = run.latents()
    figure = decodings.plot_decodings(run, latents)["decodings"]
    low, high = np.quantile(latents, (decodings.TAIL, 1 - decodings.TAIL), axis=0)
    whole = figure.axes[0].images[0].get_array()
    height, width = run.dataset.image_shape[1:]
    upper_left, lower_right = run.decode(np.array([[low[0], high[1]], [high[0], low[1]]]))[:, 0].clip(0, 1)
    np.testing.assert_allclose(whole[:height, :width], upper_left, atol=1e-5)
    np.testing.assert_allclose(whole[-height:, -width:], lower_right, atol=1e-5)
    half = (high - low) / (2 * (decodings.N_GRID - 1))
    ends = np.stack([low - half, high + half], 1).ravel()
    np.testing.assert_allclose(figure.axes[0].images[0].get_extent(), ends)


def test_a_classifier_has_no_decodings(face_runs):
    run = open_run(face_runs / "emotion")
    assert decodings.plot_decodings(run, run.latents()) == {}


def test_confusion_and_mistakes_are_of_the_test_images(face_runs):
    run = open_run(face_runs / "emotion")
    pictures = outcomes.plot_classes(run)
    counts = [int(text.get_text()) for text in pictures["confusion"].axes[0].texts]
    assert sum(counts) == (run.part == "test").sum() == 6
    n_wrong = counts[1] + counts[2]
    assert ("mistakes" in pictures) == (n_wrong > 0)
    assert f"test: {1 - n_wrong / 6:.1%} of 6" in pictures["confusion"].axes[0].get_title()


def test_reconstructions_are_of_held_out_images(run):
    figure = outcomes.plot_reconstructions(run)["reconstructions"]
    held_out = {run.dataset.ids[i] for i in np.flatnonzero(run.part == "validation")}
    titles = [axis.get_title().replace("\n", "") for axis in figure.axes[:6]]
    assert len(titles) == len(held_out) == 6 and set(titles) == held_out


def test_reconstructions_have_their_error_next_to_that_of_pca(run):
    figure = outcomes.plot_reconstructions(run)["reconstructions"]
    result = result_of(run.folder)
    for row, mse in ((1, result["validation"]["value"]), (3, result["baselines"]["pca"])):
        errors = [float(axis.get_title().removeprefix("MSE ")) for axis in figure.axes[6 * row : 6 * row + 6]]
        assert np.mean(errors) == pytest.approx(mse, rel=0.05)
    assert figure.axes[18].get_ylabel() == "PCA of 4"


def test_differences_of_reconstructions_say_their_factor(run):
    *_, name = rows = outcomes.reconstruct(run, np.arange(5))
    factor = int(name.removeprefix("|difference| x "))
    assert factor >= 1
    np.testing.assert_allclose(rows[name], factor * (rows["reconstruction"] - rows["image"]).abs(), atol=1e-6)


def test_images_without_training_images_have_no_pca(run):
    everything_tested = replace(run, parts={"training": [], "validation": [], "test": list(range(6))})
    assert outcomes.reconstruct_by_pca(everything_tested, run.images()) == {}
    assert "PCA of 4" not in texts(outcomes.plot_reconstructions(everything_tested)["reconstructions"])


def test_curves_show_the_loss_that_cannot_be_undercut(run, face_runs):
    losses = report.plot_learning_curves(run).axes[0]
    pixels = run.images(np.array(run.parts["validation"]))
    entropy = torch.special.entr(pixels) + torch.special.entr(1 - pixels)
    floor = next(line for line in losses.lines if line.get_label().startswith("least possible: entropy"))
    assert floor.get_ydata()[0] == pytest.approx(entropy.mean().item(), rel=1e-4)
    classifier = report.plot_learning_curves(open_run(face_runs / "emotion")).axes[0]
    assert [line.get_label() for line in classifier.lines] == ["training (augmented)", "validation"]


def test_a_folder_that_is_not_a_run_is_refused_in_one_line(tmp_path, stimuli, face_runs, capsys):
    for words in ([tmp_path], [tmp_path / "missing"], [stimuli], [face_runs / "ae" / "7"]):
        assert command.main([str(word) for word in words]) == 2
        printed = capsys.readouterr()
        assert (
            printed.err.startswith(
                (f"error: {words[0]} is not a session; name", f"error: there is no folder {words[0]}")
            )
            and printed.err.count("\n") == 1
        )
        assert printed.out == ""
    assert command.main([str(face_runs / "ae"), "--data_dir", str(tmp_path / "gone")]) == 2
    assert "no folder" in capsys.readouterr().err


# ----------------------------------------------------------------------------------------- pictures by objective


def test_every_objective_has_pictures():
    for objective in OBJECTIVES.entries.values():
        assert any(kind in outcomes.PICTURES.functions for kind in objective.__mro__)


def test_a_subclass_has_the_pictures_of_its_parent_class():
    class Denoise(Reconstruct):
        pass

    assert outcomes.PICTURES.find(Denoise()) is outcomes.plot_reconstructions
    assert outcomes.FILMS.find(Denoise()) is outcomes.film_reconstructions


def test_an_objective_without_pictures_gets_the_common_ones(face_runs, monkeypatch, capsys):
    monkeypatch.setattr(outcomes.PICTURES, "functions", {})
    monkeypatch.setattr(outcomes.FILMS, "functions", {})
    assert command.main([str(face_runs / "emotion")]) == 0
    printed = capsys.readouterr()
    assert [line.rpartition("/")[2] for line in printed.out.splitlines()] == [
        "curves.png",
        "augmented.png",
        "latent_map.png",
        "report.html",
    ]
    assert printed.err == "note: the objective Classify has no pictures of its own\n"
    assert outcomes.PICTURES.find(Objective()) is None
    assert outcomes.write_film(face_runs, open_run(face_runs / "emotion")) == []
