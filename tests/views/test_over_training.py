"""Plotting/training.py: maps of the latents at several times of training."""

import numpy as np
import pytest
from helpers import raises_user_error, write_config
from PIL import Image

from neuro_noodle.choices import UserError
from neuro_noodle.runs.config import load_config
from neuro_noodle.runs.task import TaskSource
from neuro_noodle.views import over_training
from Plotting import training as command

N = 24


def write_snapshot(path, latents, ids=None, part=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = [f"{i:02}" for i in range(len(latents))] if ids is None else ids
    part = np.where(np.arange(len(latents)) % 4 == 0, "validation", "training") if part is None else part
    np.savez(path, latents=latents, ids=np.array(ids), part=part)


def normal_latents(scale, size=2, seed=0):
    """Return latents (N, size) drawn from a normal distribution."""
    return (scale * np.random.default_rng(seed).normal(size=(N, size))).astype(np.float32)


@pytest.fixture
def run(tmp_path):
    """A run whose two-dimensional latents grow, with other files in latents/; its images hold their index."""
    data = tmp_path / "data"
    data.mkdir()
    images = np.arange(N, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2) * 10
    np.savez(data / "frames.npz", images=images)
    rows = [f"{i},{i * 0.25:.2f},{i * 3.5},{'ab'[i % 2]}" for i in range(N)]
    (data / "table.csv").write_text("\n".join(["frame,angle,distance,kind", *rows]) + "\n")
    folder = tmp_path / "weights" / "run"
    dataset = "arrays file=frames.npz metadata=table.csv"
    folder.mkdir(parents=True)
    write_config(folder, flags={"data_dir": str(data), "dataset": dataset, "objective": "reconstruct"})
    for epochs in (0, 0.5, 2, 10):
        write_snapshot(folder / "latents" / f"{epochs:.10g}.npz", normal_latents(1 + epochs))
    for name in ("best", "encoder"):
        write_snapshot(folder / "latents" / f"{name}.npz", normal_latents(99))
    return folder


def call(run, words="", capsys=None):
    """Return exit status, stdout and stderr of the command."""
    status = command.main([str(run), *words.split()])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def panels(figure):
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]


def points_in(axis):
    """Return the points (n, 2) of a map coloured by value."""
    return np.asarray(axis.collections[0].get_offsets())


# ------------------------------------------------------------------------------------------------------------ pictures


def test_a_picture_and_a_film_are_written(run, capsys):
    status, out, err = call(run, capsys=capsys)
    paths = [run / "figures" / f"training.{ending}" for ending in ("png", "gif")]
    assert (status, out.split(), err) == (0, [str(path) for path in paths], "")
    film = Image.open(paths[1])
    durations = []
    for i in range(film.n_frames):
        film.seek(i)
        durations.append(film.info["duration"])
    assert film.n_frames == 4 and durations[:3] == [330] * 3 and durations[3] > 1000
    assert Image.open(paths[0]).width > 1000


def test_snapshots_are_in_order_and_other_files_are_ignored(run):
    plotted = over_training.plot_over_training(run)
    figure, frames = plotted.picture, plotted.frames()
    shown = panels(figure)
    titles = [axis.get_title() for axis in shown]
    assert titles[:4] == ["after 0 epochs", "after 0.5 epochs", "after 2 epochs", "after 10 epochs"]
    assert len(frames) == 4 and len({frame.shape for frame in frames}) == 1
    for axis in shown[:4]:  # the latents have grown to 11 times their size
        assert points_in(axis) == pytest.approx(normal_latents(11), abs=1e-4)  # two numbers need no UMAP
    assert len({axis.get_xlim() + axis.get_ylim() for axis in shown}) == 1
    assert shown[-1].get_xlabel() == "scaled latent 1" and shown[0].get_xlabel() == ""


@pytest.mark.parametrize(("n_snapshots", "n"), [(2, 2), (1, 1), (99, 4)])
def test_the_picture_shows_some_snapshots_and_the_film_all(n_snapshots, n, run):
    plotted = over_training.plot_over_training(run, n_snapshots=n_snapshots, columns=["distance"])
    titles = [axis.get_title() for axis in panels(plotted.picture)]
    assert len(titles) == n and len(plotted.frames()) == 4
    if n == 2:
        assert titles == ["after 0 epochs", "after 10 epochs"]


def test_angles_come_first_unless_columns_are_asked_for(run):
    dataset = TaskSource.of(load_config(run)["flags"]).open_images()
    assert list(over_training.choose_columns(dataset, [])) == ["angle", "kind"]
    assert list(over_training.choose_columns(dataset, ["kind", "frame"])) == ["kind", "frame"]
    dataset.columns = {}
    assert list(over_training.choose_columns(dataset, [])) == ["image"]


def test_the_images_asked_for_are_shown_on_every_map(run):
    figure = over_training.plot_over_training(run, images=["03", "09"], columns=["angle"]).picture
    values = {i: normal_latents(11)[i] for i in (3, 9)}
    order = sorted(values, key=lambda i: values[i][0])
    for axis in panels(figure):
        boxes = [artist for artist in axis.artists if hasattr(artist, "xybox")]
        greys = [np.asarray(box.offsetbox.get_data()).max() * 255 for box in boxes]
        assert greys == pytest.approx([10 * i for i in order])
        assert [tuple(box.xy) for box in boxes] == [tuple(points_in(axis)[i]) for i in order]


def test_by_default_three_distant_held_out_images_are_shown():
    placed = np.array([[0, 0], [9, 9], [0.1, 0], [10, 0], [0, 10], [99, 99]])
    eligible = np.array([True, True, True, True, True, False])
    assert set(over_training.far_apart(placed, eligible).tolist()) <= {0, 1, 2, 3, 4}
    chosen = placed[over_training.far_apart(placed, eligible)]
    apart = np.linalg.norm(chosen[:, None] - chosen, axis=2) + 99 * np.eye(3)
    assert apart.min() > 9
    assert len(over_training.far_apart(placed[:2], eligible[:2])) == 2
    assert 5 in over_training.far_apart(placed, np.zeros(6, bool))  # no image is held out: all are eligible


def test_images_are_subsampled_evenly_with_those_asked_for(tmp_path):
    n = 5000
    write_snapshot(tmp_path / "0.npz", np.zeros((n, 2)))
    found = over_training.load_snapshots({0.0: tmp_path / "0.npz"}, named=[4321, 7])
    assert over_training.MAX_MAPPED <= len(found.indices) <= over_training.MAX_MAPPED + 2
    assert {7, 4321, 0, n - 1} <= set(found.indices.tolist()) and np.diff(found.indices).max() <= 2
    assert np.array_equal(found.is_held_out, found.indices % 4 == 0)
    assert np.array_equal(found.is_training, ~found.is_held_out)


def test_longer_films_show_fewer_images(tmp_path):
    write_snapshot(tmp_path / "0.npz", np.zeros((5000, 2)))
    found = over_training.load_snapshots({float(i): tmp_path / "0.npz" for i in range(100)})
    assert len(found.indices) * 100 <= over_training.MAX_POINTS


def test_a_note_says_when_not_all_images_are_mapped(run, capsys, monkeypatch):
    monkeypatch.setattr(over_training, "MAX_MAPPED", 10)
    assert call(run, capsys=capsys)[2] == f"note: the maps show 10 of {N} images\n"


# ------------------------------------------------------------------------------------------------------------- mapping


def snapshots(*latents):
    part = np.where(np.arange(N) % 4 == 0, "validation", "training")
    return over_training.Snapshots(dict(enumerate(latents)), np.arange(N), part, N)


@pytest.fixture(scope="module")
def placed():
    """Maps of the same last snapshot with few and with many others, and with moved held-out images."""
    last = normal_latents(1, size=5)
    moved = last + 3 * (np.arange(N) % 4 == 0)[:, None].astype(np.float32)
    few = over_training.embed_snapshots(snapshots(normal_latents(1, 5, seed=1), last), "last", 0)
    many = over_training.embed_snapshots(
        snapshots(normal_latents(5, 5, seed=2), normal_latents(9, 5, seed=3), last), "last", 0
    )
    return few, many, over_training.embed_snapshots(snapshots(last, moved), "first", 0), moved


def test_with_fit_last_a_map_does_not_depend_on_the_others(placed):
    few, many, _, _ = placed
    assert few[0].shape == (N, 2) and np.isfinite(np.stack(many)).all()
    assert np.array_equal(few[-1], many[-1])
    assert not np.array_equal(few[0], few[-1])


def test_the_map_is_fitted_to_training_images_only(placed):
    few, _, first, moved = placed
    is_training = np.arange(N) % 4 > 0
    again = over_training.embed_snapshots(snapshots(moved), "last", 0)[0]
    assert np.allclose(again[is_training], few[-1][is_training], atol=1e-4)
    assert np.array_equal(first[0], few[-1])  # the last snapshot there is the first here


def test_every_snapshot_can_have_its_own_map():
    early, late = normal_latents(1, 3, seed=1), normal_latents(1, 3, seed=2)
    own = over_training.embed_snapshots(snapshots(early, late), "every", 0)
    assert np.array_equal(own[0], over_training.embed_snapshots(snapshots(early), "last", 0)[0])
    alone = over_training.embed_snapshots(snapshots(early, late), "last", 0)[1]
    assert np.array_equal(own[1], over_training.rotate_onto(own[0], alone))


def test_a_turned_mirrored_and_shifted_map_is_turned_back():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(30, 2)) * (3, 1)
    turn = np.array([[0.0, 1.0], [1.0, 0.0]]) @ np.array([[0.6, -0.8], [0.8, 0.6]])
    assert np.allclose(over_training.rotate_onto(points, points @ turn + 7), points)


def test_snapshots_are_scaled_to_the_spread_of_the_last():
    """Latents grow during training, so that the first would all be at one place of a map of the last."""
    last = normal_latents(1)
    first, second = over_training.embed_snapshots(snapshots(0.01 * last - 3, last), "last", 0)
    np.testing.assert_allclose(first, second, atol=1e-3)
    is_training = np.arange(N) % 4 > 0
    constant = over_training.rescale(np.ones((N, 2)), np.ones((18, 2)), last[is_training, :2])
    np.testing.assert_allclose(constant, np.tile(last[is_training, :2].mean(0), (N, 1)))


def test_fit_to_another_run_uses_its_last_snapshot(tmp_path):
    last, other = normal_latents(1, 3, seed=1), tmp_path / "other"
    for epochs, seed in ((0, 5), (3, 1)):
        write_snapshot(other / "latents" / f"{epochs}.npz", normal_latents(1, 3, seed=seed))
    write_config(other)
    here = normal_latents(1, 3, seed=7)
    by_other = over_training.embed_snapshots(snapshots(here), str(other), 0)[0]
    assert np.array_equal(by_other, over_training.embed_snapshots(snapshots(here, last), "last", 0)[0])


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--columns angle,weight", "--columns: there is no weight; there are"),
        ("--images 03,none", "--images: there is no none; an example of an id is 00"),
        ("--images 01,02,03,04,05,06", "6 images are given, but at most 5 fit"),
        ("--snapshots 0", "--snapshots 0 is less than 1"),
        ("--fit middle", "--fit middle is neither last, first nor every, nor a run"),
        ("--data_dir /nowhere", "/nowhere"),
    ],
)
def test_a_user_error_is_one_line_and_exit_status_2(words, message, run, capsys):
    status, out, err = call(run, words, capsys)
    assert (status, out) == (2, "") and err.startswith("error: ") and message in err
    assert not (run / "figures").exists()


def test_a_folder_that_is_not_a_run_is_refused(tmp_path, capsys):
    assert call(tmp_path, "", capsys)[::2] == (
        2,
        f"error: {tmp_path} is not a run; name a run, for example weights/arena_ae\n",
    )


def test_a_run_without_snapshots_is_refused_with_advice(run, capsys):
    for path in run.glob("latents/[0-9]*"):
        path.unlink()
    status, _, err = call(run, "", capsys)
    assert status == 2 and "train with --latents_every 1" in err
    other = run.parent / "other"
    other.mkdir()
    with raises_user_error(f"{other} is not a run"):
        over_training.last_training_latents(other)


def test_latents_of_another_size_are_refused(run, tmp_path):
    other = tmp_path / "other"
    write_snapshot(other / "latents" / "1.npz", normal_latents(1, 3))
    write_config(other)
    with raises_user_error(f"--fit {other}: its latents have 3 numbers, but those of this run have 2"):
        over_training.plot_over_training(run, fit=str(other))
    write_snapshot(run / "latents" / "2.npz", normal_latents(1, 3))
    with raises_user_error("2.npz holds latents of 3 numbers"):
        over_training.plot_over_training(run)


def test_other_images_damaged_and_infinite_latents_refused(run):
    path = run / "latents" / "2.npz"
    write_snapshot(path, normal_latents(1), ids=[f"x{i}" for i in range(N)])
    with raises_user_error("2.npz holds the latents of other images"):
        over_training.plot_over_training(run)
    write_snapshot(path, normal_latents(np.inf))
    with raises_user_error("2.npz holds latents that are not finite"):
        over_training.plot_over_training(run)
    path.write_bytes(b"PK nothing")
    with raises_user_error("2.npz cannot be read"):
        over_training.plot_over_training(run)


def test_fewer_than_four_training_images_give_no_map():
    with pytest.raises(UserError, match="at least 4 training images, not 3"):
        over_training.fit_map(np.zeros((3, 5)), 0)
