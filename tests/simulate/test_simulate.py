"""The built-in faces: reproducible, in agreement with their table, and never overwriting a user's file."""

import csv
import dataclasses
import inspect
import itertools
import subprocess
import sys

import numpy as np
import pytest
from helpers import HERE, bytes_by_path, draw_stimuli
from PIL import Image

from neuro_noodle.choices import Size
from neuro_noodle.simulate import faces
from neuro_noodle.simulate.kinds import KINDS
from neuro_noodle.simulate.people import View, random_person

EMOTION_OF = {"Ha": "happy", "Sa": "sad"}


def images(folder):
    return {name: content for name, content in bytes_by_path(folder).items() if name.endswith(".JPG")}


def read_table(folder):
    with (folder / "metadata.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pixels(path):
    return np.asarray(Image.open(path), float)  # (H, W, 3)


SMALL = "--n_people 2 --n_steps 2 --size 40x32"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """25 people x 2 emotions x 10 steps, as small as possible."""
    folder = tmp_path_factory.mktemp("many") / "stimuli"
    assert draw_stimuli(folder, "--n_people 25 --n_steps 10 --size 32x32") == 0
    return folder


@pytest.fixture(scope="module")
def visible(tmp_path_factory):
    """8 people x 2 emotions x 10 steps, large enough to see a mouth."""
    folder = tmp_path_factory.mktemp("visible") / "stimuli"
    assert draw_stimuli(folder, "--n_people 8 --n_steps 10 --size 65x51") == 0
    return folder


# ----------------------------------------------------------------------------------------------- reproducibility


def test_the_same_seed_draws_the_same_bytes(tmp_path):
    """Another seed draws others."""
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert draw_stimuli(tmp_path / name, f"{SMALL} --seed {seed}") == 0
    a, b, c = (bytes_by_path(tmp_path / name) for name in "abc")
    assert len(a) == 9 and a == b
    # File names include the sex, which follows from the person's number, so both seeds give the same names.
    assert a.keys() == c.keys() and all(a[name] != c[name] for name in a)
    rows = zip(read_table(tmp_path / "a"), read_table(tmp_path / "c"), strict=True)
    assert all(row["skin_tone"] != other["skin_tone"] and row["yaw_deg"] != other["yaw_deg"] for row, other in rows)


def test_more_people_do_not_change_the_first_ones(tmp_path):
    assert draw_stimuli(tmp_path / "two", SMALL) == 0
    assert draw_stimuli(tmp_path / "three", SMALL.replace("people 2", "people 3")) == 0
    two, three = images(tmp_path / "two"), images(tmp_path / "three")
    assert len(three) == 12 and two.items() < three.items()


def test_no_two_images_are_the_same(many):
    assert len(set(images(many).values())) == 500


# ----------------------------------------------------------------------------------------------------- the table


def test_the_table_lists_every_image_and_nothing_else(many):
    listed = [row["file"] for row in read_table(many)]
    assert len(listed) == len(set(listed)) == 500
    assert bytes_by_path(many).keys() == {*listed, "metadata.csv"}


def test_file_names_agree_with_their_rows(many):
    for row in read_table(many):
        folder, name = row["file"].split("/")
        person, _, _, emotion, step = name.removesuffix(".JPG").split("_")
        assert (folder, person[:-1], person[-1]) == (f"{int(row['person']):02d}", folder, row["sex"])
        assert EMOTION_OF[emotion] == row["emotion"]
        assert step == f"C{int(row['step']):02d}"
        assert float(row["amount"]) == int(row["step"]) / 10


def test_every_person_is_drawn_at_every_step_of_both_emotions(many):
    drawn = {(int(row["person"]), row["emotion"], int(row["step"])) for row in read_table(many)}
    assert drawn == set(itertools.product(range(1, 26), ("happy", "sad"), range(1, 11)))


def test_a_person_has_the_same_features_in_all_images(many):
    """People differ."""
    rows = read_table(many)
    traits = [name for name in rows[0] if name not in faces.COLUMNS and name not in nuisances(rows)]
    assert {"skin_tone", "face_width_px", "mouth_width_px", "hair_style", "glasses"} <= set(traits)
    people = {tuple(row[trait] for trait in traits) for row in rows}
    assert len(people) == 25


def test_images_have_the_size_that_the_option_sets(tmp_path):
    """Lengths in the table are in their pixels."""
    assert draw_stimuli(tmp_path / "small", "--n_people 1 --n_steps 1 --size 40x32") == 0
    assert draw_stimuli(tmp_path / "large", "--n_people 1 --n_steps 1 --size 80x64") == 0
    for name, shape in (("small", (40, 32, 3)), ("large", (80, 64, 3))):
        assert {pixels(tmp_path / name / row["file"]).shape for row in read_table(tmp_path / name)} == {shape}
    for small, large in zip(read_table(tmp_path / "small"), read_table(tmp_path / "large"), strict=True):
        for column, value in small.items():
            if column.endswith("_px"):
                assert float(large[column]) == pytest.approx(2 * float(value), abs=2e-4), column
            else:
                assert large[column] == value, column


def test_background_and_noise_are_those_of_the_table(visible):
    """Measured in the upper corners, away from hair and shoulders; light adds at most a tenth."""
    rows = read_table(visible)
    corners = [pixels(visible / row["file"])[:8][:, np.r_[:6, -6:0]].mean(2) for row in rows]
    true = {name: np.array([float(row[name]) for row in rows]) for name in ("background_grey", "noise_sd")}
    seen = np.array([corner.mean() for corner in corners])
    assert np.abs(seen / true["background_grey"] - 1).max() < 0.1
    assert np.corrcoef(seen, true["background_grey"])[0, 1] > 0.9
    rough = [np.diff(corner[:, :6], axis=1).std() for corner in corners]
    assert np.corrcoef(rough, true["noise_sd"])[0, 1] > 0.8


# ------------------------------------------------------------------------------------------- what the faces show


def nuisances(rows):
    """Return the columns that vary within a person, except those of the design."""
    first = [row for row in rows if row["person"] == "1"]
    return [name for name in rows[0] if name not in faces.COLUMNS and len({row[name] for row in first}) > 1]


def test_pose_light_and_noise_are_unrelated_to_the_emotion(many):
    """If unrelated, r over n images is about normal with sd 1/sqrt(n) and exceeds 4 sd once in 16,000."""
    rows = read_table(many)
    sign = np.array([1.0 if row["emotion"] == "happy" else -1.0 for row in rows])
    amount = np.array([float(row["amount"]) for row in rows])
    names = nuisances(rows)
    assert {"yaw_deg", "pitch_deg", "shift_x_px", "light_deg", "noise_sd", "background_grey"} <= set(names)
    for name in names:
        values = np.array([float(row[name]) for row in rows])
        for shown in (sign, amount, sign * amount):
            assert abs(np.corrcoef(values, shown)[0, 1]) < 4 / np.sqrt(len(rows)), name


def test_the_mouth_differs_more_at_full_emotion(visible):
    """Happy and sad faces of a person differ more at full emotion than when nearly neutral.

    Pose and light differ in both pairs.
    """
    file = {(row["person"], row["emotion"], row["step"]): visible / row["file"] for row in read_table(visible)}

    def difference(person, step):
        happy, sad = (pixels(file[person, emotion, step])[40:51, 18:33] for emotion in ("happy", "sad"))
        return np.sqrt(np.square(happy - sad).mean())

    people = [str(person) for person in range(1, 9)]
    full = np.array([difference(person, "10") for person in people])
    neutral = np.array([difference(person, "1") for person in people])
    assert full.mean() > 1.2 * neutral.mean()
    assert (full > neutral).sum() >= 6


def test_emotion_changes_only_mouth_and_brows():
    """Hair, shirt and background stay the same; person, view and noise are the same."""
    identity = random_person(seed=1, person=1)
    frontal = {"yaw": 0, "pitch": 0, "tilt": 0, "shift_x": 0, "shift_y": 0, "scale": 1, "light": 0}
    view = View(**frontal, light_strength=0.5, noise_sd=2, background_grey=140)

    def face(smile, sorrow):
        return np.asarray(
            faces.draw_face(Size(130, 101), identity, view, smile, sorrow, np.random.default_rng(0)), float
        )

    changed = np.abs(face(1, 0) - face(0, 1)).mean(2)  # (H, W)
    mouth = changed[84:98, 36:65].mean()
    assert mouth > 10
    for name, region in {"top": changed[:20], "left": changed[:, :12], "shirt": changed[120:]}.items():
        assert region.mean() < 0.02 * mouth, name
    assert np.array_equal(face(1, 0), face(1, 0))


# ---------------------------------------------------------------------------------------------- the user's files


def test_an_earlier_drawing_is_kept_whatever_the_options(tmp_path, capsys):
    out = tmp_path / "stimuli"
    draw_stimuli(out, SMALL)
    before = bytes_by_path(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    capsys.readouterr()
    assert draw_stimuli(out, "--n_people 1 --n_steps 1 --size 64x64 --seed 9") == 0
    output = capsys.readouterr().out
    assert "already there: 8 images" in output and "--redraw" in output
    assert bytes_by_path(out) == before
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


def test_redraw_replaces_its_own_files_and_no_others(tmp_path):
    out = tmp_path / "stimuli"
    draw_stimuli(out, SMALL)
    draw_stimuli(tmp_path / "fresh", "--n_people 1 --n_steps 1 --size 64x64 --seed 9")
    own = {"mine.txt": b"mine", "01/notes.txt": b"notes", "holiday/cat.jpg": b"cat"}
    for name, content in own.items():
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_bytes(content)
    assert draw_stimuli(out, "--n_people 1 --n_steps 1 --size 64x64 --seed 9 --redraw") == 0
    assert bytes_by_path(out) == bytes_by_path(tmp_path / "fresh") | own
    assert not (out / "02").exists()


def test_a_folder_with_only_a_readme_is_filled_and_keeps_it(tmp_path):
    out = tmp_path / "stimuli"
    out.mkdir()
    (out / "README.md").write_text("put stimuli here")
    assert draw_stimuli(out, SMALL) == 0
    assert bytes_by_path(out).keys() == {*(row["file"] for row in read_table(out)), "metadata.csv", "README.md"}
    assert (out / "README.md").read_text() == "put stimuli here"


OTHER_FILES = {
    "photographs": ({"cat.jpg": "cat"}, "did not draw"),
    "a table of another kind": ({"metadata.csv": "image,score\ncat.jpg,3\n", "cat.jpg": "cat"}, "not written by"),
    "an empty table": ({"metadata.csv": "", "cat.jpg": "cat"}, "not written by"),
    "a table that names files outside": (
        {"metadata.csv": ",".join(faces.COLUMNS) + "\n../outside.txt,1,F,happy,1,1.0\n"},
        "not written by",
    ),
}


@pytest.mark.parametrize("words", ["", " --redraw"])
@pytest.mark.parametrize("case", OTHER_FILES)
def test_a_folder_with_other_files_is_refused_and_unchanged(case, words, tmp_path, capsys):
    files, reason = OTHER_FILES[case]
    out = tmp_path / "mine"
    out.mkdir()
    (tmp_path / "outside.txt").write_text("precious")
    for name, text in files.items():
        (out / name).write_text(text)
    before = bytes_by_path(tmp_path)
    assert draw_stimuli(out, SMALL + words) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ") and str(out) in message and reason in message
    assert bytes_by_path(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "outside.txt"}


@pytest.mark.parametrize("below", ["", "stimuli"])
def test_a_file_where_the_folder_should_be_is_refused(below, tmp_path, capsys):
    (tmp_path / "note").write_text("mine")
    assert draw_stimuli(tmp_path / "note" / below, SMALL) == 2
    assert f"error: {tmp_path / 'note'} is a file, not a folder" in capsys.readouterr().err
    assert bytes_by_path(tmp_path) == {"note": b"mine"}


@pytest.mark.parametrize("name", ["02/02M_Ne_to_Ha_C01.JPG", "02"])
def test_a_users_file_is_never_overwritten_by_a_redraw(name, tmp_path, capsys):
    out = tmp_path / "stimuli"
    draw_stimuli(out, "--n_people 1 --n_steps 1 --size 40x32")
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    before = bytes_by_path(tmp_path)
    assert draw_stimuli(out, SMALL + " --redraw") == 2
    message = capsys.readouterr().err
    assert "was not drawn by this command" in message and str(out / "02") in message
    assert bytes_by_path(tmp_path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["stimuli"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        *((f"--size {size}", "HEIGHTxWIDTH") for size in ("31x64", "64x31", "64", "64x", "x", "axb", "64x64x3", "0x0")),
        *((f"--n_people {n}", "whole number from 1 to 99") for n in ("0", "100", "2.5", "many")),
        *((f"--n_steps {n}", "whole number from 1 to 99") for n in ("0", "100")),
        ("--seed=-1", "whole number from 0"),
    ],
)
def test_an_invalid_option_is_refused_and_nothing_is_written(words, reason, tmp_path, capsys):
    assert draw_stimuli(tmp_path / "below" / "stimuli", words) == 2
    message = capsys.readouterr().err
    assert reason in message and words.replace("=", " ").split()[1] in message
    assert list(tmp_path.iterdir()) == []


def test_a_drawing_that_fails_leaves_nothing(tmp_path, capsys, monkeypatch):
    def fail(folder, **options):
        (folder / "half.JPG").write_text("half")
        raise MemoryError

    monkeypatch.setitem(KINDS, "faces", dataclasses.replace(KINDS["faces"], draw=fail))
    assert draw_stimuli(tmp_path / "stimuli", SMALL) == 2
    assert "error: out of memory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_redraw_keeps_the_earlier_drawing(tmp_path, monkeypatch):
    out = tmp_path / "stimuli"
    draw_stimuli(out, SMALL)
    before = bytes_by_path(tmp_path)

    def interrupt(folder, **options):
        raise KeyboardInterrupt

    monkeypatch.setitem(KINDS, "faces", dataclasses.replace(KINDS["faces"], draw=interrupt))
    assert draw_stimuli(out, SMALL + " --redraw") == 130
    assert bytes_by_path(tmp_path) == before


def test_the_command_starts_without_torch():
    """Importing torch would take seconds."""
    code = "import simulate, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=HERE / "Resources", check=False).returncode == 0


def test_a_kind_has_a_draw_argument_for_each_option():
    for kind in KINDS.values():
        arguments = inspect.signature(kind.draw).parameters
        assert set(arguments) == {"folder", "seed", *(option.name for option in kind.options)}
