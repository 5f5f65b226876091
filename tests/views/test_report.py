"""Looking at a run: its latents, its map, its pictures, and the notebook that tells the story."""

import io
import json
import shutil
import warnings

import nbformat
import numpy as np
import pytest
import torch
from helpers import HERE, SMALL, train_silently
from matplotlib.figure import Figure
from nbclient import NotebookClient
from PIL import Image

from neuro_noodle.choices import UserError
from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.runs import latents as encoded
from neuro_noodle.runs import run as latents
from neuro_noodle.views import figures, report

NOTEBOOK = HERE / "Plotting" / "clustering.ipynb"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def weights(stimuli, tmp_path_factory):
    """A folder of three runs: an autoencoder with each of its 3 sessions, a classifier, and one of plain folders."""
    folder = tmp_path_factory.mktemp("weights")
    base = f"--data_dir {stimuli} --save_dir {folder}"
    # The learning rate rises until training gets worse and worse, so that the best session is not the last.
    ae = "--n_epochs 3 --save_every 1 --keep all --lr 0.3 --schedule cosine warmup=3 --val_fraction 0.25"
    train_silently(f"{base} {SMALL['faces_ae']} {ae} --namestr ae")
    train_silently(f"{base} {SMALL['faces_emotion']} --n_epochs 1 --test_fraction 0.25 --namestr emotion")
    plain = tmp_path_factory.mktemp("plain")
    for number, path in enumerate(sorted(stimuli.rglob("*.JPG"))[:12]):
        to = plain / "ab"[number % 2] / f"image{number}.jpg"
        to.parent.mkdir(exist_ok=True)
        shutil.copy(path, to)
    train_silently(f"--data_dir {plain} --save_dir {folder} {SMALL['faces_ae']} --n_epochs 1 --namestr plain")
    return folder


@pytest.fixture
def run(weights):
    return latents.open_run(weights / "ae")


# ----------------------------------------------------------------------------------------------------- latents


def weights_in(session):
    return torch.load(session / "model.pth", weights_only=True)


def same(model, session):
    return all(torch.equal(value, model.state_dict()[key]) for key, value in weights_in(session).items())


def test_a_run_is_opened_with_its_best_weights_and_a_session_with_its_own(weights):
    folder = weights / "ae"
    best = json.loads((folder / "result.json").read_text())["best_epoch"]
    other = 2  # the last
    assert best != other
    assert not same(latents.open_run(folder / str(best)).model, folder / str(other))
    for asked, session in ((folder, "best"), (folder / "best", "best"), (folder / str(other), str(other))):
        opened = latents.open_run(asked)
        assert (opened.session, opened.folder) == (session, folder)
        assert same(opened.model, folder / session) and not opened.model.training
    assert same(latents.open_run(folder).model, folder / str(best))
    assert not same(latents.open_run(folder / str(other)).model, folder / "best")


def test_the_parts_are_those_that_the_run_was_trained_with(weights):
    for name, parts in (("ae", {"training", "validation"}), ("emotion", {"training", "validation", "test"})):
        opened = latents.open_run(weights / name)
        split = json.loads((weights / name / "split.json").read_text())
        assert set(opened.part) == parts
        for part in parts:
            assert [opened.dataset.ids[i] for i in np.flatnonzero(opened.part == part)] == sorted(split[part])


def test_images_that_have_moved_are_found_where_they_are_now(weights, stimuli, tmp_path):
    shutil.copytree(stimuli, tmp_path / "moved")
    opened = latents.open_run(weights / "ae", tmp_path / "moved")
    assert torch.equal(opened.images(), latents.open_run(weights / "ae").images())
    next((tmp_path / "moved").rglob("*.JPG")).unlink()
    with pytest.raises(UserError, match="not the images that"):
        latents.open_run(weights / "ae", tmp_path / "moved")


def test_latents_are_what_the_encoder_makes_of_each_image_in_the_order_of_the_ids(run, stimuli):
    values = latents.latents(run)
    assert values.shape == (24, 4) and values.dtype == np.float32
    assert run.dataset.ids == sorted(path.relative_to(stimuli).as_posix() for path in stimuli.rglob("*.JPG"))
    for i in (0, 7, 23):
        with Image.open(stimuli / run.dataset.ids[i]) as image:
            grey = image.convert("L").resize((20, 26), Image.Resampling.BICUBIC, box=(0.5, 0, 50.5, 65))
        pixels = torch.from_numpy(np.array(grey)).float()[None, None] / 255  # (1, 1, H, W)
        assert torch.allclose(run.images(np.array([i])), pixels, atol=2 / 255)
        with torch.no_grad():
            expected = run.model.encoder(run.images(np.array([i])))[0].numpy()
        assert np.allclose(values[i], expected, rtol=1e-4, atol=1e-4)


def test_latents_do_not_depend_on_how_many_images_are_encoded_at_once(run, monkeypatch):
    whole = latents.latents(run)
    monkeypatch.setattr(encoded, "BATCH", 5)
    assert np.allclose(latents.latents(run), whole, rtol=1e-4, atol=1e-4)


def test_outputs_are_images_for_an_autoencoder_and_probabilities_for_a_classifier(weights):
    for name in ("ae", "emotion"):
        opened = latents.open_run(weights / name)
        images = opened.images(np.arange(5))
        given, made = latents.outputs(opened, np.arange(5))
        assert torch.equal(given, images)
        assert not made.requires_grad and made.min() >= 0 and made.max() <= 1
        if name == "ae":
            assert made.shape == images.shape
        else:
            assert made.shape == (5, 2) and torch.allclose(made.sum(1), torch.ones(5))


def test_saved_latents_read_back_with_ids_parts_and_columns_and_without_pickle(run):
    values = latents.latents(run)
    path = latents.save(run, values)
    assert path == run.folder / "latents" / "best.npz"
    with np.load(path, allow_pickle=False) as saved:
        assert np.array_equal(saved["latents"], values)
        assert saved["ids"].tolist() == run.dataset.ids
        assert saved["part"].tolist() == run.part.tolist()
        columns = {name.removeprefix("column_"): saved[name].tolist() for name in saved if name.startswith("column_")}
    assert columns == run.dataset.columns
    assert columns.keys() == {"folder", "person", "emotion", "step"}


# --------------------------------------------------------------------------------------------------------- map


def two_clouds(n=30):
    draw = np.random.default_rng(0)
    return (draw.normal(size=(n, 5)) + 8 * (np.arange(n) % 2)[:, None]).astype(np.float32)


def test_where_training_images_lie_on_the_map_does_not_depend_on_the_held_out_ones():
    values, training = two_clouds(), np.arange(30) % 5 > 0
    placed = latents.embed(values, training)
    assert placed.shape == (30, 2) and np.isfinite(placed).all()
    assert np.array_equal(placed[training], latents.embed(values[training], training[training]))
    moved = values + 3 * ~training[:, None]
    assert np.array_equal(placed[training], latents.embed(moved, training)[training])


def test_the_same_seed_gives_the_same_map_and_another_seed_another():
    values, training = two_clouds(), np.arange(30) % 5 > 0
    placed = latents.embed(values, training)
    assert np.array_equal(placed, latents.embed(values, training))
    assert not np.array_equal(placed, latents.embed(values, training, seed=1))


def test_what_is_far_apart_stays_apart_on_the_map_held_out_or_not():
    values, training = two_clouds(), np.arange(30) % 5 > 0
    placed, cloud = latents.embed(values, training), np.arange(30) % 2
    centres = np.stack([placed[training & (cloud == side)].mean(0) for side in (0, 1)])
    nearest = np.linalg.norm(placed[:, None] - centres, axis=2).argmin(1)
    assert np.array_equal(nearest, cloud)


def test_a_map_needs_four_training_images_and_says_so():
    values = two_clouds(8)
    for n in (0, 3):
        with pytest.raises(UserError, match=f"at least 4 training images, not {n}"):
            latents.embed(values, np.arange(8) < n)
    assert np.isfinite(latents.embed(values, np.arange(8) < 4)).all()


# ----------------------------------------------------------------------------------------------------- figures


def test_columns_that_tell_nothing_and_groupings_seen_before_are_left_out():
    columns = {
        "person": ["a", "a", "b", "b", "c", "c"],
        "constant": ["x"] * 6,
        "file": list("abcdef"),
        "same_as_person": ["3", "3", "1", "1", "2", "2"],
        "emotion": ["sad", "happy"] * 3,
        "too_fine": ["1", "2", "3", "4", "4", "4"],
    }
    told = figures.telling_columns(columns)
    assert list(told) == ["person", "emotion"]
    assert all(told[name] == columns[name] for name in told)
    assert figures.telling_columns({}) == {}


def check(figure):
    """Hold that this is a figure that saves as a PNG in which something is drawn, without a warning."""
    assert isinstance(figure, Figure)
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure.savefig(file, format="png", dpi=40)
    assert file.getvalue().startswith(PNG)
    drawn = np.asarray(Image.open(file).convert("L"))
    assert drawn.min() < drawn.max()


def pictures(n, channels):
    return np.random.default_rng(0).uniform(-0.1, 1.1, (n, channels, 9, 7))  # networks overshoot, too


CHANNELS = pytest.mark.parametrize("channels", [1, 3], ids=["grey", "colour"])


@CHANNELS
@pytest.mark.parametrize("n", [1, 3])
def test_rows_of_images_are_drawn_one_axis_for_each(channels, n):
    images = pictures(n, channels)
    figure = figures.image_rows({"image": images, "again": images}, [f"number {i}" for i in range(n)])
    check(figure)
    assert len(figure.axes) == 2 * n
    assert [axis.get_title() for axis in figure.axes[:n]] == [f"number {i}" for i in range(n)]
    shown = np.asarray(figure.axes[0].images[0].get_array())
    expected = images[0].clip(0, 1)
    assert np.array_equal(shown, expected[0] if channels == 1 else np.moveaxis(expected, 0, 2))


@CHANNELS
@pytest.mark.parametrize("n", [1, 2, 40])
def test_maps_are_drawn_for_one_image_and_for_many(channels, n):
    placed = np.random.default_rng(0).normal(size=(n, 2))
    columns = {"folder": ["one"] * n, "step": [str(i) for i in range(n)]}
    held_out = np.arange(n) % 4 == 0
    figure = figures.maps({"pixels": placed, "latents": placed}, columns, held_out, pictures(n, channels))
    check(figure)
    panels = [axis.get_title() for axis in figure.axes if axis.get_title()]
    names = ("folder", "step", "images")
    assert panels == [f"{title}: {name}" for title in ("pixels", "latents") for name in names]


def test_a_map_is_drawn_without_images_and_without_columns():
    placed, none = np.random.default_rng(0).normal(size=(6, 2)), np.zeros(6, bool)
    check(figures.maps({"latents": placed}, {"folder": list("aabbcc")}, none))
    check(figures.maps({"latents": placed}, {}, none, pictures(6, 1)))
    check(figures.maps({"latents": np.zeros((6, 2))}, {}, ~none, pictures(6, 1)))


def test_many_numbers_are_coloured_by_value_unless_they_are_named_as_categories():
    placed, steps = np.random.default_rng(0).normal(size=(40, 2)), [str(i % 10) for i in range(40)]
    none = np.zeros(40, bool)
    by_value = figures.maps({"latents": placed}, {"step": steps}, none)
    by_name = figures.maps({"latents": placed}, {"step": steps}, none, categories=("step", None))
    assert by_value.axes[0].get_legend() is None and len(by_value.axes) == 2  # the second is the colour bar
    assert np.array_equal(by_value.axes[0].collections[0].get_array(), np.array(steps, float))
    assert [text.get_text() for text in by_name.axes[0].get_legend().get_texts()] == sorted(set(steps))


def test_numbers_of_an_array_are_telling_even_where_all_differ_and_texts_are_not():
    columns = {"angle": np.linspace(0, 6, 30), "constant": np.ones(30), "name": [f"image{i}" for i in range(30)]}
    assert list(figures.telling_columns(columns)) == ["angle"]


def test_the_axes_of_a_latent_of_two_numbers_are_those_numbers():
    figure = figures.maps({"pixels": np.eye(2), "latents": np.eye(2)}, {"a": ["x", "y"]}, np.zeros(2, bool), None, (),
                          {"latents": "latent"})  # fmt: skip
    assert [axis.get_xlabel() for axis in figure.axes] == ["UMAP 1", "latent 1"]


def test_every_held_out_image_wears_a_ring():
    placed, held_out = np.random.default_rng(0).normal(size=(40, 2)), np.arange(40) % 3 == 0
    figure = figures.maps({"latents": placed}, {"folder": ["a", "b"] * 20}, held_out)
    rings = figure.axes[0].collections[-1]
    assert len(rings.get_facecolors()) == 0  # hollow
    assert np.array_equal(np.asarray(rings.get_offsets()), placed[held_out])


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_confusion_matrix_shows_every_count(n):
    counts = np.arange(n * n).reshape(n, n)
    figure = figures.confusion(counts, [f"class {i}" for i in range(n)], "validation: 50 %")
    check(figure)
    assert [int(text.get_text()) for text in figure.axes[0].texts] == list(range(n * n))


@pytest.mark.parametrize("n", [1, 4])
def test_curves_show_the_metric_beside_every_baseline_and_ring_the_best(n):
    def losses(epoch):
        return {"train/loss": 1 / (epoch + 1), "validation/loss": 2 / (epoch + 1), "validation/mse": 3 / (epoch + 1)}

    records = [{"epoch": epoch} | losses(epoch) for epoch in range(n)]
    figure = figures.curves(records, "mse", "min", {"pca": 0.5, "mean_image": 2.0}, best_epoch=n - 1)
    check(figure)
    lines = {line.get_label(): line for line in figure.axes[1].lines}
    assert lines.keys() == {"validation", "best", "baseline: pca", "baseline: mean image"}
    assert lines["validation"].get_xdata().tolist() == list(range(1, n + 1))  # epochs are counted from 1
    assert (lines["best"].get_xdata(), lines["best"].get_ydata()) == ([n], [3 / n])


def test_curves_have_a_point_only_where_there_was_a_validation():
    records = [{"epoch": epoch, "train/loss": 1.0} for epoch in range(4)]
    records[3] |= {"validation/loss": 1.0, "validation/accuracy": 0.5}
    figure = figures.curves(records, "accuracy", "max", {"majority_class": 0.5}, best_epoch=3)
    check(figure)
    training, validation = figure.axes[0].lines
    assert training.get_xdata().tolist() == [1, 2, 3, 4] and validation.get_xdata().tolist() == [4]


# ------------------------------------------------------------------------------------------------------ report


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ae", {"latent_map", "augmented", "curves", "reconstructions"}),
        ("emotion", {"latent_map", "augmented", "curves", "confusion", "mistakes"}),
    ],
)
def test_a_report_writes_every_picture_of_a_run_and_says_where(name, expected, weights, capsys):
    folder = weights / name / "figures"
    assert report.main([str(weights / name)]) == 0
    written = {path.stem for path in folder.iterdir()}
    optional = {"mistakes"}  # where there are any
    assert expected - optional <= written <= expected
    assert capsys.readouterr().out.split() == [str(folder / f"{key}.png") for key in written_order(expected, written)]
    for path in folder.iterdir():
        assert path.read_bytes().startswith(PNG) and Image.open(path).size > (100, 100)
    assert (weights / name / "latents" / "best.npz").is_file()


def test_the_maps_are_coloured_by_the_columns_that_are_asked_for(weights, monkeypatch, capsys):
    drawn = {}
    monkeypatch.setattr(figures, "maps", lambda embeddings, columns, *rest: drawn.update(columns) or Figure())
    run = latents.open_run(weights / "ae")
    report.draw_map(run, ["step", "folder"])
    assert list(drawn) == ["step", "folder"] and drawn["step"] == run.dataset.columns["step"]
    assert report.main([str(weights / "ae"), "--columns", "step,mood"]) == 2
    assert "there is no mood; there are folder, person, emotion, step" in capsys.readouterr().err


def test_a_map_of_a_large_set_shows_some_of_its_images_and_says_so(weights, monkeypatch):
    drawn = {}
    monkeypatch.setattr(report, "MOST_MAPPED", 9)
    monkeypatch.setattr(figures, "maps", lambda embeddings, columns, held_out, images, *rest: drawn.update(
        {name: len(values) for name, values in embeddings.items()} | {"images": len(images), "ring": len(held_out)}
    ) or Figure())  # fmt: skip
    report.draw_map(latents.open_run(weights / "ae"), [])
    assert drawn == {"pixels of 9 of 24 images": 9, "latents of 9 of 24 images": 9, "images": 9, "ring": 9}


def written_order(expected, written):
    order = ["latent_map", "augmented", "curves", "reconstructions", "confusion", "mistakes"]
    return [key for key in order if key in expected & written]


def test_the_confusion_and_the_mistakes_are_those_of_the_test_images(weights):
    run = latents.open_run(weights / "emotion")
    drawn = report.draw_classes(run)
    counts = [int(text.get_text()) for text in drawn["confusion"].axes[0].texts]
    assert sum(counts) == (run.part == "test").sum() == 6
    n_wrong = counts[1] + counts[2]
    assert ("mistakes" in drawn) == (n_wrong > 0)
    assert f"test: {1 - n_wrong / 6:.1%} of 6" in drawn["confusion"].axes[0].get_title()


def test_reconstructions_are_of_held_out_images(run):
    figure = report.draw_reconstructions(run)["reconstructions"]
    held_out = {run.dataset.ids[i] for i in np.flatnonzero(run.part == "validation")}
    titles = [axis.get_title().replace("\n", "") for axis in figure.axes if axis.get_title()]
    assert len(titles) == len(held_out) == 6 and set(titles) == held_out


def test_what_is_no_run_is_refused_in_one_line(tmp_path, stimuli, weights, capsys):
    for words in ([tmp_path], [tmp_path / "missing"], [stimuli], [weights / "ae" / "7"]):
        assert report.main([str(word) for word in words]) == 2
        told = capsys.readouterr()
        assert told.err.startswith(f"error: {words[0]} is no session") and told.err.count("\n") == 1
        assert told.out == ""
    assert report.main([str(weights / "ae"), "--data_dir", str(tmp_path / "gone")]) == 2
    assert "no folder" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- notebook


def cells(kind):
    return [cell for cell in nbformat.read(NOTEBOOK, as_version=4).cells if cell.cell_type == kind]


def test_the_notebook_is_kept_without_outputs():
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=4))
    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells("code"))


def test_the_notebook_computes_nothing_that_the_modules_compute():
    code = "\n".join(cell.source for cell in cells("code"))
    for word in ("umap", "matplotlib.pyplot", "imshow", "scatter", "PIL", "torch.load"):
        assert word not in code


def test_the_notebook_runs_to_its_end_where_it_lies(weights, monkeypatch):
    monkeypatch.setenv("NOODLE_RUN", str(weights / "ae"))
    monkeypatch.delenv("NOODLE_DATA", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    drawn = {name for name, shown in outputs.items() if any("image/png" in part.get("data", {}) for part in shown)}
    assert drawn == {"stimuli", "pixels", "latents", "reconstructions", "moving"}
    told = {name: "".join(part.get("text", "") for part in shown) for name, shown in outputs.items()}
    assert "known of each image: folder, emotion, step\n" in told["open"]
    for name in ("pixels-number", "latents-number"):
        rows = [line.split() for line in told[name].splitlines()[1:]]
        # 4 people, 2 emotions and 3 steps, each as often as the others
        assert {row[0]: row[-1] for row in rows} == {"folder": "25%", "emotion": "50%", "step": "33%"}


@pytest.mark.parametrize("name", ["plain", "emotion"])
def test_the_notebook_leaves_out_what_a_run_cannot_show(name, weights, monkeypatch, capsys):
    """Images of which only the folder is known have no emotion to move, and a classifier draws no images."""
    monkeypatch.setenv("NOODLE_RUN", str(weights / name))
    monkeypatch.delenv("NOODLE_DATA", raising=False)
    monkeypatch.chdir(NOTEBOOK.parent)
    names = {}
    for cell in cells("code"):  # in this process, where UMAP is compiled already
        exec(cell.source.removeprefix("%matplotlib inline\n"), names)
    assert capsys.readouterr().out.count("neighbours agree on") == 2
    assert list(names["columns"]) == (["folder"] if name == "plain" else ["folder", "emotion", "step"])
    assert names["draws"] == (name == "plain") and not names["can_move"]
    assert ("figure" in names) == names["draws"]


def test_every_objective_says_how_its_outcomes_are_pictured():
    for objective in OBJECTIVES.entries.values():
        assert objective.pictured_as in report.OUTCOMES
