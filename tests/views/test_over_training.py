"""Plotting/training.py: how latents moved while a run trained, on maps that do not jump."""

import json

import numpy as np
import pytest
from helpers import raises_user_error
from PIL import Image

from neuro_noodle.choices import UserError
from neuro_noodle.views import figures
from neuro_noodle.views import over_training as training

N = 24


def write(path, latents, ids=None, part=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    ids = [f"{i:02}" for i in range(len(latents))] if ids is None else ids
    part = np.where(np.arange(len(latents)) % 4 == 0, "validation", "training") if part is None else part
    np.savez(path, latents=latents, ids=np.array(ids), part=part)


def spread(scale, size=2, seed=0):
    return (scale * np.random.default_rng(seed).normal(size=(N, size))).astype(np.float32)


@pytest.fixture
def run(tmp_path):
    """A run of two-dimensional latents that grow, beside files that are no snapshots; its images hold their index."""
    data = tmp_path / "data"
    data.mkdir()
    images = np.arange(N, dtype=np.uint8)[:, None, None].repeat(8, 1).repeat(8, 2) * 10
    np.savez(data / "frames.npz", images=images)
    rows = [f"{i},{i * 0.25:.2f},{i * 3.5},{'ab'[i % 2]}" for i in range(N)]
    (data / "table.csv").write_text("\n".join(["frame,angle,distance,kind", *rows]) + "\n")
    folder = tmp_path / "weights" / "run"
    dataset = "arrays file=frames.npz metadata=table.csv"
    flags = {"data_dir": str(data), "save_dir": str(folder.parent), "dataset": dataset, "split": "random"}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"flags": flags | {"skip_unreadable": False, "n_blocks": None}}))
    for epochs in (0, 0.5, 2, 10):
        write(folder / "latents" / f"{epochs:.10g}.npz", spread(1 + epochs))
    for name in ("best", "encoder"):
        write(folder / "latents" / f"{name}.npz", spread(99))
    return folder


def call(run, words="", capsys=None):
    """Return exit status, stdout and stderr of the command."""
    status = training.main([str(run), *words.split()])
    told = capsys.readouterr()
    return status, told.out, told.err


def arguments(run, words=""):
    return training.build_parser().parse_args([str(run), *words.split()])


def panels(figure):
    return [axis for axis in figure.axes if axis.get_label() != "<colorbar>"]


def placed_in(axis):
    """Return the points (n, 2) of a map coloured by value."""
    return np.asarray(axis.collections[0].get_offsets())


# --------------------------------------------------------------------------------------------------- what comes


def test_a_picture_and_a_film_are_written_and_their_paths_told(run, capsys):
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


def test_snapshots_stand_in_the_order_of_time_and_other_files_are_passed_over(run):
    figure, frames = training.draw(arguments(run))
    shown = panels(figure)
    titles = [axis.get_title() for axis in shown]
    assert titles[:4] == ["after 0 epochs", "after 0.5 epochs", "after 2 epochs", "after 10 epochs"]
    assert len(frames) == 4 and len({frame.shape for frame in frames}) == 1
    for axis, epochs in zip(shown, (0, 0.5, 2, 10), strict=False):
        assert placed_in(axis) == pytest.approx(spread(1 + epochs))  # two numbers are drawn as they are
    assert len({axis.get_xlim() + axis.get_ylim() for axis in shown}) == 1
    assert shown[-1].get_xlabel() == "latent 1" and shown[0].get_xlabel() == ""


@pytest.mark.parametrize(("words", "n"), [("--snapshots 2", 2), ("--snapshots 1", 1), ("--snapshots 99", 4)])
def test_the_picture_shows_as_many_snapshots_as_asked_for_and_the_film_all(words, n, run):
    figure, frames = training.draw(arguments(run, f"{words} --columns distance"))
    titles = [axis.get_title() for axis in panels(figure)]
    assert len(titles) == n and len(frames) == 4
    if n == 2:
        assert titles == ["after 0 epochs", "after 10 epochs"]


def test_angles_are_the_first_columns_and_others_can_be_asked_for(run):
    dataset = training.open_dataset(training.load_config(run)["flags"])
    assert list(training.choose_columns(dataset, [])) == ["angle", "kind"]
    assert list(training.choose_columns(dataset, ["kind", "frame"])) == ["kind", "frame"]
    dataset.columns = {}
    assert list(training.choose_columns(dataset, [])) == ["image"]


def test_the_images_asked_for_are_called_out_on_every_map_with_their_own_thumbnails(run):
    figure, _ = training.draw(arguments(run, "--images 03,09 --columns angle"))
    values = {i: spread(11)[i] for i in (3, 9)}
    order = sorted(values, key=lambda i: values[i][0])
    for axis in panels(figure):
        boxes = [artist for artist in axis.artists if hasattr(artist, "xybox")]
        greys = [np.asarray(box.offsetbox.get_data()).max() * 255 for box in boxes]
        assert greys == pytest.approx([10 * i for i in order])
        assert [tuple(box.xy) for box in boxes] == [tuple(placed_in(axis)[i]) for i in order]


def test_without_a_wish_three_held_out_images_that_are_far_apart_are_called_out():
    placed = np.array([[0, 0], [9, 9], [0.1, 0], [10, 0], [0, 10], [99, 99]])
    eligible = np.array([True, True, True, True, True, False])
    assert set(training.far_apart(placed, eligible).tolist()) <= {0, 1, 2, 3, 4}
    chosen = placed[training.far_apart(placed, eligible)]
    apart = np.linalg.norm(chosen[:, None] - chosen, axis=2) + 99 * np.eye(3)
    assert apart.min() > 9
    assert len(training.far_apart(placed[:2], eligible[:2])) == 2
    assert 5 in training.far_apart(placed, np.zeros(6, bool))  # where none is held out, any


def test_many_images_are_thinned_evenly_but_those_asked_for_stay(tmp_path):
    n = 5000
    write(tmp_path / "0.npz", np.zeros((n, 2)))
    found = training.load_snapshots({0.0: tmp_path / "0.npz"}, named=[4321, 7])
    assert training.MOST_MAPPED <= len(found.indices) <= training.MOST_MAPPED + 2
    assert {7, 4321, 0, n - 1} <= set(found.indices.tolist()) and np.diff(found.indices).max() <= 2
    assert np.array_equal(found.held_out, found.indices % 4 == 0)
    assert np.array_equal(found.training, ~found.held_out)


def test_the_longer_the_film_the_fewer_its_images(tmp_path):
    write(tmp_path / "0.npz", np.zeros((5000, 2)))
    found = training.load_snapshots({float(i): tmp_path / "0.npz" for i in range(100)})
    assert len(found.indices) * 100 <= training.MOST_PLACED


def test_it_is_told_where_not_all_images_are_mapped(run, capsys, monkeypatch):
    monkeypatch.setattr(training, "MOST_MAPPED", 10)
    assert call(run, capsys=capsys)[2] == f"note: the maps show 10 of {N} images\n"


# ------------------------------------------------------------------------------------------------------ mapping


def snapshots(*latents):
    part = np.where(np.arange(N) % 4 == 0, "validation", "training")
    return training.Snapshots(dict(enumerate(latents)), np.arange(N), part, N)


@pytest.fixture(scope="module")
def placed():
    """The last snapshot mapped beside each of two sets of others, and beside moved held-out images."""
    last = spread(1, size=5)
    moved = last + 3 * (np.arange(N) % 4 == 0)[:, None].astype(np.float32)
    few = training.place(snapshots(spread(1, 5, seed=1), last), "last", 0)
    many = training.place(snapshots(spread(5, 5, seed=2), spread(9, 5, seed=3), last), "last", 0)
    return few, many, training.place(snapshots(last, moved), "first", 0), moved


def test_with_fit_last_a_snapshot_has_the_same_map_whatever_the_others_are(placed):
    few, many, _, _ = placed
    assert few[0].shape == (N, 2) and np.isfinite(np.stack(many)).all()
    assert np.array_equal(few[-1], many[-1])
    assert not np.array_equal(few[0], few[-1])


def test_the_map_is_made_of_the_training_images_alone(placed):
    few, _, first, moved = placed
    training_images = np.arange(N) % 4 > 0
    again = training.place(snapshots(moved), "last", 0)[0]
    assert np.allclose(again[training_images], few[-1][training_images], atol=1e-4)
    assert np.array_equal(first[0], few[-1])  # what is the last there is the first here


def test_every_snapshot_can_have_a_map_of_its_own():
    early, late = spread(1, 3, seed=1), spread(1, 3, seed=2)
    own = training.place(snapshots(early, late), "every", 0)
    assert np.array_equal(own[0], training.place(snapshots(early), "last", 0)[0])
    assert np.array_equal(own[1], training.place(snapshots(early, late), "last", 0)[1])


def test_the_map_of_another_run_is_that_of_its_last_snapshot(tmp_path):
    last, other = spread(1, 3, seed=1), tmp_path / "other"
    for epochs, seed in ((0, 5), (3, 1)):
        write(other / "latents" / f"{epochs}.npz", spread(1, 3, seed=seed))
    (other / "config.json").write_text("{}")
    here = spread(1, 3, seed=7)
    by_other = training.place(snapshots(here), str(other), 0)[0]
    assert np.array_equal(by_other, training.place(snapshots(here, last), "last", 0)[0])


# ------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--columns angle,weight", "--columns: there is no weight; there are"),
        ("--images 03,none", "--images: there is no none; ids are such as 00"),
        ("--images 01,02,03,04,05,06", "6 are more than the 5"),
        ("--snapshots 0", "--snapshots 0 is less than 1"),
        ("--fit middle", "--fit middle is neither last, first nor every, nor a run"),
        ("--data_dir /nowhere", "/nowhere"),
    ],
)
def test_a_mistake_is_told_in_a_line_with_exit_status_two(words, told, run, capsys):
    status, out, err = call(run, words, capsys)
    assert (status, out) == (2, "") and err.startswith("error: ") and told in err
    assert not (run / "figures").exists()


def test_a_folder_that_is_no_run_is_told(tmp_path, capsys):
    assert call(tmp_path, "", capsys)[::2] == (2, f"error: {tmp_path} is no run; name one such as weights/arena_ae\n")


def test_a_run_without_snapshots_is_told_how_to_have_them(run, capsys):
    for path in run.glob("latents/[0-9]*"):
        path.unlink()
    status, _, err = call(run, "", capsys)
    assert status == 2 and "train with --latents_every 1" in err
    other = run.parent / "other"
    other.mkdir()
    with raises_user_error(f"{other} is no run"):
        training.last_of(other)


def test_latents_of_another_size_are_refused(run, tmp_path):
    other = tmp_path / "other"
    write(other / "latents" / "1.npz", spread(1, 3))
    (other / "config.json").write_text("{}")
    with raises_user_error(f"--fit {other}: its latents have 3 numbers, but those here 2"):
        training.draw(arguments(run, f"--fit {other}"))
    write(run / "latents" / "2.npz", spread(1, 3))
    with raises_user_error("2.npz holds latents of 3 numbers"):
        training.draw(arguments(run))


def test_latents_of_other_images_and_damaged_or_infinite_ones_are_refused(run):
    path = run / "latents" / "2.npz"
    write(path, spread(1), ids=[f"x{i}" for i in range(N)])
    with raises_user_error("2.npz holds the latents of other images"):
        training.draw(arguments(run))
    write(path, spread(np.inf))
    with raises_user_error("2.npz holds latents that are not finite"):
        training.draw(arguments(run))
    path.write_bytes(b"PK nothing")
    with raises_user_error("2.npz cannot be read"):
        training.draw(arguments(run))


def test_fewer_than_four_training_images_give_no_map():
    with pytest.raises(UserError, match="at least 4 training images, not 3"):
        training.fit_map(np.zeros((3, 5)), 0)


def test_the_frames_of_a_film_share_one_palette(tmp_path):
    frames = [figures.as_array(training.figures.explained_variance({"a": np.array([0.1 * i])})) for i in (1, 5)]
    training.save_film(tmp_path / "film.gif", frames)
    film = Image.open(tmp_path / "film.gif")
    corners = []
    for i in range(film.n_frames):
        film.seek(i)
        corners.append(film.convert("RGB").getpixel((0, 0)))
    assert len(corners) == 2 and corners[0] == corners[1]
