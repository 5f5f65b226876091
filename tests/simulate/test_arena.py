"""The built-in film of a rat: the table agrees with the pixels, the walk covers the arena, files are safe."""

import csv
import functools

import helpers
import numpy as np
import pytest
import simulate
from helpers import HERE, bytes_by_path

from neuro_noodle.simulate import arena

FILES = {"frames.npz", "clean.npz", "metadata.csv"}
FEW = "--n_frames 12"


draw = functools.partial(helpers.draw_stimuli, kind="arena")


def frames(folder, name="clean"):
    with np.load(folder / f"{name}.npz") as file:
        assert file.files == ["images"]
        return file["images"]  # (N, H, W)


def read_table(folder):
    """Return the columns of the table as arrays of numbers."""
    with (folder / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


def wrapped(angle):
    """Return angles from -pi to pi."""
    return np.angle(np.exp(1j * angle))


class Film:
    """A drawn folder: its frames, its table, and where the rat is in the pixels."""

    def __init__(self, folder, side):
        self.side, self.clean, self.table = side, frames(folder), read_table(folder)
        self.noisy = frames(folder, "frames")
        self.empty = np.median(self.clean[::5], axis=0).astype(np.float32)
        self.dark = self.empty - self.clean  # (N, H, W), how much the rat darkens a pixel
        self.at = np.arange(side, dtype=np.float32) + 0.5
        self.from_centre = np.hypot(self.at - side / 2, self.at[:, None] - side / 2)
        self.body = np.where((self.dark > 122) & (self.empty > 100), self.dark, 0)  # brighter pixels belong to the tail

    def centroid(self, weight):
        total = weight.sum((1, 2))
        return (weight * self.at).sum((1, 2)) / total, (weight * self.at[:, None]).sum((1, 2)) / total

    def along(self):
        """Return the position of each pixel along the body, ahead of its centre, (N, H, W)."""
        x, y, angle = (self.table[name][:, None, None].astype(np.float32) for name in ("x", "y", "angle"))
        return (self.at - x) * np.cos(angle) + (self.at[:, None] - y) * np.sin(angle)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """The film that the command draws by default."""
    folder = tmp_path_factory.mktemp("film") / "arena"
    assert draw(folder) == 0
    return Film(folder, 50)


@pytest.fixture(scope="module", params=[32, 75, 120])
def other(request, tmp_path_factory):
    """Films of other sizes."""
    folder = tmp_path_factory.mktemp("other") / "arena"
    assert draw(folder, f"--n_frames 300 --size {request.param}x{request.param} --seed 5") == 0
    return Film(folder, request.param)


# ----------------------------------------------------------------------------------------------------- the table


def test_the_folder_holds_two_films_and_a_row_per_frame(film):
    assert film.clean.shape == film.noisy.shape == (3000, 50, 50)
    assert film.clean.dtype == film.noisy.dtype == np.uint8
    assert tuple(film.table) == arena.COLUMNS
    assert np.array_equal(film.table["frame"], np.arange(3000))
    assert np.allclose(film.table["time_s"], np.arange(3000) / 10)


def check_centroid(film):
    x, y = film.centroid(film.body)
    scale = film.side / 50
    miss = np.hypot(x - film.table["x"], y - film.table["y"])
    # Where the rat covers a port, part of its body is not visible.
    assert miss.max() < 1.6 * scale and np.quantile(miss, 0.98) < max(0.8, scale) and miss.mean() < 0.6 * scale
    # Averaged over directions, the shape of the body cancels out and only a shift of the drawing remains.
    ahead = np.exp(1j * film.table["angle"])
    shift = (x - film.table["x"]) + 1j * (y - film.table["y"])
    parts = np.linalg.lstsq(np.stack([ahead, np.ones_like(ahead)], 1), shift, rcond=None)[0]
    assert abs(parts[1]) < 0.06 * scale and abs(parts[0].imag) < 0.06 * scale


def check_head(film):
    columns, along = film.table, film.along()
    torso = np.hypot(columns["neck_x"][0] - columns["tail_x"][0], columns["neck_y"][0] - columns["tail_y"][0])
    faint = (film.dark > 20) & (film.dark < 122) & (film.empty > 150)
    tail = faint & (np.abs(along) > 1.1 * torso)  # beyond the body's edges, which are as faint as the tail
    assert tail.any((1, 2)).mean() > 0.8 and (along[tail] < 0).mean() > 0.99
    # The head reaches beyond the neck; the body ends at the base of the tail.
    ahead, behind = ((film.body * (side * along > torso / 2)).sum((1, 2)) for side in (1, -1))
    assert (ahead > behind).mean() > 0.98


def test_the_dark_body_is_where_the_table_says(film):
    check_centroid(film)


def test_head_and_tail_are_at_the_ends_that_the_table_says(film):
    check_head(film)


def test_the_table_agrees_with_the_pixels_at_other_sizes(other):
    check_centroid(other)
    check_head(other)


def test_the_long_axis_of_the_body_has_the_angle_of_the_table(film):
    x, y = film.centroid(film.body)
    dx, dy = film.at - x[:, None, None], film.at[:, None] - y[:, None, None]
    xx, yy, xy = ((film.body * product).sum((1, 2)) for product in (dx * dx, dy * dy, dx * dy))
    axis = np.arctan2(2 * xy, xx - yy) / 2
    miss = np.abs(wrapped(2 * (axis - film.table["angle"]))) / 2
    # The ports cause the largest errors here too.
    assert np.median(miss) < np.radians(1.5) and np.quantile(miss, 0.99) < np.radians(6)


def test_the_columns_agree_with_each_other(film):
    columns = film.table
    across, down = columns["neck_x"] - columns["tail_x"], columns["neck_y"] - columns["tail_y"]
    assert np.abs(wrapped(np.arctan2(down, across) - columns["angle"])).max() < 1e-4
    assert np.allclose((columns["neck_x"] + columns["tail_x"]) / 2, columns["x"], atol=2e-4)
    assert np.allclose((columns["neck_y"] + columns["tail_y"]) / 2, columns["y"], atol=2e-4)
    assert np.ptp(np.hypot(across, down)) < 1e-3
    x, y = columns["x"] - 25, columns["y"] - 25
    assert np.allclose(np.hypot(x, y), columns["distance"], atol=2e-4)
    error = np.abs(wrapped(np.arctan2(y, x) - columns["polar_angle"]))
    assert (error * columns["distance"]).max() < 5e-3
    for name in ("angle", "polar_angle"):
        assert columns[name].min() >= 0 and columns[name].max() < 2 * np.pi


def test_a_rounded_angle_stays_below_a_full_turn():
    walk = arena.Walk(np.array([0.5 - 1e-7j]), np.array([-1e-6]), np.zeros(1))
    (row,) = arena._rows(walk, 50)
    assert (row["angle"], row["polar_angle"]) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_no_column_is_constant_in_the_shortest_film(seed, tmp_path):
    assert draw(tmp_path / "a", f"--n_frames 10 --seed {seed}") == 0
    assert [name for name, values in read_table(tmp_path / "a").items() if np.ptp(values) == 0] == []


# ---------------------------------------------------------------------------------------------------- the pixels


def test_the_noise_has_the_sd_that_the_option_sets(film, tmp_path):
    """It is independent between pixels, and the clean frames have none."""
    assert draw(tmp_path / "strong", "--n_frames 100 --noise 25.5") == 0
    difference = film.noisy.astype(float) - film.clean
    assert difference.std() == pytest.approx(10, rel=0.01) and abs(difference.mean()) < 0.05
    strong = frames(tmp_path / "strong", "frames").astype(float) - frames(tmp_path / "strong")
    grey = (frames(tmp_path / "strong") > 110) & (frames(tmp_path / "strong") < 150)
    assert strong[grey].std() == pytest.approx(25.5, rel=0.05)
    neighbours = np.corrcoef(difference[:, 20:30, 20:30].reshape(3000, -1)[:, :2].T)[0, 1]
    assert abs(neighbours) < 0.08
    floor = film.clean[:, 24:26, 24:26].astype(float)
    assert np.median(np.abs(floor - np.median(floor, axis=0))) == 0  # constant, like the empty floor


def test_without_noise_both_stacks_are_the_same(tmp_path):
    assert draw(tmp_path / "a", f"{FEW} --noise 0") == 0
    assert np.array_equal(frames(tmp_path / "a"), frames(tmp_path / "a", "frames"))


def test_strong_noise_is_clipped_at_black_and_white(tmp_path):
    """It does not wrap around."""
    assert draw(tmp_path / "a", f"{FEW} --noise 100") == 0
    clean, noisy = frames(tmp_path / "a"), frames(tmp_path / "a", "frames")
    assert noisy.min() == 0 and noisy.max() == 255
    assert noisy[clean > 180].mean() > noisy[clean < 60].mean() + 60


def test_the_arena_looks_different_after_any_rotation(film):
    """It is bright in a dark surround."""
    inside = film.empty[film.from_centre < 0.4 * 50]
    assert inside.min() > 150 and film.empty[film.from_centre > 0.5 * 50].max() < 80
    for quarter_turns in (1, 2, 3):
        assert np.abs(film.empty - np.rot90(film.empty, quarter_turns)).max() > 60


def test_neighbouring_frames_are_similar_and_distant_ones_not(film):
    clean = film.clean.astype(np.float32)
    near = np.abs(clean[1:] - clean[:-1]).mean((1, 2))
    far = np.abs(clean[1000:] - clean[:-1000]).mean((1, 2))
    assert near.mean() < 0.35 * far.mean() and near.max() < far.max()
    assert np.hypot(np.diff(film.table["x"]), np.diff(film.table["y"])).max() < 5
    assert np.abs(wrapped(np.diff(film.table["angle"]))).max() < 1


# ------------------------------------------------------------------------------------------------------ the walk


@pytest.mark.parametrize("seed", range(10))
def test_a_walk_covers_directions_and_places_evenly(seed):
    walk = arena.simulate_walk(3000, seed)
    for angle, most in ((walk.angle, 2), (np.angle(walk.position), 3)):
        counts = np.histogram(angle % (2 * np.pi), 8, (0, 2 * np.pi))[0]
        assert counts.max() < most * counts.min()
    distance = np.abs(walk.position)
    assert np.quantile(distance, 0.1) < 0.35 and np.quantile(distance, 0.9) > 0.65
    for wave in (np.cos, np.sin):
        assert abs(np.corrcoef(distance, wave(walk.angle))[0, 1]) < 0.2
    is_still = np.abs(np.diff(walk.position)) < 1e-6
    assert 0.02 < is_still.mean() < 0.25


@pytest.mark.parametrize("seed", range(5))
def test_snout_and_flanks_and_rump_stay_inside_the_wall(seed):
    walk = arena.simulate_walk(3000, seed)
    for outline, _ in arena.BODY:
        body = walk.position[:, None] + np.exp(1j * walk.angle)[:, None] * outline  # (N, points)
        assert np.abs(body).max() < 1


def test_the_body_covers_the_floor_and_never_leaves_it(film):
    """It reaches more than 97 % of the floor."""
    reached = (film.dark > 60).any(0)
    assert reached[film.from_centre < 0.93 * 22.5].mean() > 0.97
    assert np.abs(film.dark[:, film.from_centre > 24]).max() == 0
    for end in ("tail", "neck"):
        assert np.hypot(film.table[f"{end}_x"] - 25, film.table[f"{end}_y"] - 25).max() < 22.5


def test_the_rat_walks_in_the_direction_it_looks(film):
    step = np.hypot(np.diff(film.table["x"]), np.diff(film.table["y"]))
    course = np.arctan2(np.diff(film.table["y"]), np.diff(film.table["x"]))
    astray = np.abs(wrapped(course - film.table["angle"][1:]))[step > 0.3]
    assert (astray < np.radians(10)).mean() > 0.9


# ----------------------------------------------------------------------------------------------- reproducibility


def test_the_same_seed_draws_the_same_bytes(tmp_path):
    """Another seed draws another film."""
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert draw(tmp_path / name, f"{FEW} --seed {seed}") == 0
    a, b, c = (bytes_by_path(tmp_path / name) for name in "abc")
    assert a.keys() == FILES and a == b
    assert all(a[name] != c[name] for name in FILES)


def test_a_longer_film_begins_like_the_shorter_one(tmp_path):
    assert draw(tmp_path / "short", "--n_frames 12") == 0
    assert draw(tmp_path / "long", "--n_frames 40") == 0
    assert np.array_equal(frames(tmp_path / "long", "frames")[:12], frames(tmp_path / "short", "frames"))
    assert np.array_equal(read_table(tmp_path / "long")["x"][:12], read_table(tmp_path / "short")["x"])


def test_size_and_noise_do_not_change_the_walk(tmp_path):
    assert draw(tmp_path / "small", "--n_frames 12 --noise 1") == 0
    assert draw(tmp_path / "large", "--n_frames 12 --size 100x100") == 0
    small, large = read_table(tmp_path / "small"), read_table(tmp_path / "large")
    assert frames(tmp_path / "large").shape == (12, 100, 100)
    assert np.array_equal(small["angle"], large["angle"])
    for name in ("x", "y", "tail_x", "neck_y", "distance"):
        assert np.allclose(2 * small[name], large[name], atol=2e-4)


# ---------------------------------------------------------------------------------------------- the user's files


def test_the_default_folder_has_the_name_of_the_kind():
    assert simulate.build_parser().parse_args(["arena"]).out == HERE / "Resources" / "arena"


def test_an_earlier_film_is_kept_and_its_frames_are_counted(tmp_path, capsys):
    out = tmp_path / "arena"
    assert draw(out, FEW) == 0
    assert "drew 12 frames in" in capsys.readouterr().out
    before = bytes_by_path(out)
    assert draw(out, "--n_frames 20 --seed 9") == 0
    output = capsys.readouterr().out
    assert "already there: 12 frames" in output and "--redraw" in output
    assert bytes_by_path(out) == before


def test_redraw_replaces_its_own_files_and_no_others(tmp_path):
    out = tmp_path / "arena"
    draw(out, FEW)
    draw(tmp_path / "fresh", "--n_frames 20 --seed 9")
    own = {"mine.npz": b"mine", "0": b"named like the first frame", "notes/1": b"notes"}
    for name, content in own.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(content)
    assert draw(out, "--n_frames 20 --seed 9 --redraw") == 0
    assert bytes_by_path(out) == bytes_by_path(tmp_path / "fresh") | own
    assert {path.name for path in tmp_path.iterdir()} == {"arena", "fresh"}


@pytest.mark.parametrize("words", ["", " --redraw"])
@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"frames.npz": "mine"}, "did not draw"),
        ({"metadata.csv": "frame,x,y\n0,1,2\n", "clean.npz": "mine"}, "not written by"),
        ({"metadata.csv": "", "frames.npz": "mine"}, "not written by"),
    ],
)
def test_a_folder_with_other_files_is_refused_and_unchanged(files, reason, words, tmp_path, capsys):
    out = tmp_path / "mine"
    out.mkdir()
    for name, text in files.items():
        (out / name).write_text(text)
    before = bytes_by_path(tmp_path)
    assert draw(out, FEW + words) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and str(out) in message and reason in message
    assert bytes_by_path(tmp_path) == before


def test_a_link_to_a_file_elsewhere_is_not_replaced(tmp_path, capsys):
    out = tmp_path / "arena"
    draw(out, FEW)
    (out / "frames.npz").rename(tmp_path / "moved.npz")
    (out / "frames.npz").symlink_to(tmp_path / "moved.npz")
    before = bytes_by_path(tmp_path)
    assert draw(out, "--n_frames 20 --redraw") == 2
    assert "not written by this command" in capsys.readouterr().err
    assert bytes_by_path(tmp_path) == before and (out / "frames.npz").is_symlink()


@pytest.mark.parametrize(("first", "second"), [("arena", "faces"), ("faces", "arena")])
def test_one_kind_of_stimuli_does_not_replace_another(first, second, tmp_path, capsys):
    words = {"arena": FEW, "faces": "--n_people 1 --n_steps 1 --size 32x32"}
    assert draw(tmp_path / "out", words[first], kind=first) == 0
    before = bytes_by_path(tmp_path)
    assert draw(tmp_path / "out", words[second] + " --redraw", kind=second) == 2
    assert "not written by this command" in capsys.readouterr().err
    assert bytes_by_path(tmp_path) == before


def test_an_interrupted_redraw_keeps_the_earlier_film(tmp_path, monkeypatch):
    draw(tmp_path / "arena", FEW)
    before = bytes_by_path(tmp_path)

    def interrupt(walk, side):
        raise KeyboardInterrupt

    monkeypatch.setattr(arena, "_rows", interrupt)  # called after both stacks of frames were written
    assert draw(tmp_path / "arena", FEW + " --redraw --seed 9") == 130
    assert bytes_by_path(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--size 50x60", "not square"),
        ("--size 31x31", "HEIGHTxWIDTH"),
        *((f"--n_frames {n}", "whole number from 10 to 1000000") for n in ("9", "1000001", "2.5")),
        *((f"--noise={sd}", "number from 0 to 100") for sd in ("-1", "100.1", "nan", "inf", "loud")),
    ],
)
def test_an_invalid_option_is_refused_and_nothing_is_written(words, reason, tmp_path, capsys):
    assert draw(tmp_path / "below" / "arena", words) == 2
    message = capsys.readouterr().err
    assert reason in message and words.replace("=", " ").split()[1] in message
    assert list(tmp_path.iterdir()) == []
