"""The built-in stimuli: the same for the same seed, true to their table, and never at the cost of a user's file."""

import csv

import numpy as np
import pytest
import simulate
from helpers import bytes_by_path, draw_stimuli
from PIL import Image

from neuro_noodle.simulate import faces

EMOTION_OF = {"Ha": "happy", "Sa": "sad"}


def images(folder):
    return {name: content for name, content in bytes_by_path(folder).items() if name.endswith(".JPG")}


def table(folder):
    with (folder / "metadata.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def pixels(path):
    return np.asarray(Image.open(path), float)  # (H, W, 3)


SMALL = "--n_people 2 --n_steps 2 --size 40x32"


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """25 people x 2 emotions x 10 steps, as small as they can be drawn."""
    folder = tmp_path_factory.mktemp("many") / "stimuli"
    assert draw_stimuli(folder, "--n_people 25 --n_steps 10 --size 32x32") == 0
    return folder


@pytest.fixture(scope="module")
def visible(tmp_path_factory):
    """8 people x 2 emotions x 10 steps, large enough to see a mouth."""
    folder = tmp_path_factory.mktemp("visible") / "stimuli"
    assert draw_stimuli(folder, "--n_people 8 --n_steps 10 --size 65x51") == 0
    return folder


# --------------------------------------------------------------------------------------------------- the same


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert draw_stimuli(tmp_path / name, f"{SMALL} --seed {seed}") == 0
    a, b, c = (bytes_by_path(tmp_path / name) for name in "abc")
    assert len(a) == 9 and a == b
    # A name tells the sex, which goes by the person's number, so that both seeds give the same names.
    assert a.keys() == c.keys() and all(a[name] != c[name] for name in a)
    rows = zip(table(tmp_path / "a"), table(tmp_path / "c"), strict=True)
    assert all(row["skin_tone"] != other["skin_tone"] and row["yaw_deg"] != other["yaw_deg"] for row, other in rows)


def test_more_people_leave_those_before_them_as_they_were(tmp_path):
    assert draw_stimuli(tmp_path / "two", SMALL) == 0
    assert draw_stimuli(tmp_path / "three", SMALL.replace("people 2", "people 3")) == 0
    two, three = images(tmp_path / "two"), images(tmp_path / "three")
    assert len(three) == 12 and two.items() < three.items()


def test_no_two_images_of_a_drawing_are_the_same(many):
    assert len(set(images(many).values())) == 500


# -------------------------------------------------------------------------------------------------- the table


def test_the_table_names_every_image_and_nothing_else(many):
    listed = [row["file"] for row in table(many)]
    assert len(listed) == len(set(listed)) == 500
    assert bytes_by_path(many).keys() == {*listed, "metadata.csv"}


def test_a_file_name_tells_what_its_row_tells(many):
    for row in table(many):
        folder, name = row["file"].split("/")
        who, _, _, emotion, step = name.removesuffix(".JPG").split("_")
        assert (folder, who[:-1], who[-1]) == (f"{int(row['person']):02d}", folder, row["sex"])
        assert EMOTION_OF[emotion] == row["emotion"]
        assert step == f"C{int(row['step']):02d}"
        assert float(row["amount"]) == int(row["step"]) / 10


def test_every_person_is_drawn_at_every_step_of_both_emotions(many):
    drawn = {(int(row["person"]), row["emotion"], int(row["step"])) for row in table(many)}
    expected = {(who, how, step) for who in range(1, 26) for how in ("happy", "sad") for step in range(1, 11)}
    assert drawn == expected


def test_a_person_keeps_every_trait_and_people_differ(many):
    rows = table(many)
    traits = [name for name in rows[0] if name not in faces.COLUMNS and name not in nuisances(rows)]
    assert {"skin_tone", "face_width_px", "mouth_width_px", "hair_style", "glasses"} <= set(traits)
    people = {tuple(row[trait] for trait in traits) for row in rows}
    assert len(people) == 25


def test_images_have_the_size_that_was_asked_for_and_lengths_are_in_their_pixels(tmp_path):
    assert draw_stimuli(tmp_path / "small", "--n_people 1 --n_steps 1 --size 40x32") == 0
    assert draw_stimuli(tmp_path / "large", "--n_people 1 --n_steps 1 --size 80x64") == 0
    for name, shape in (("small", (40, 32, 3)), ("large", (80, 64, 3))):
        assert {pixels(tmp_path / name / row["file"]).shape for row in table(tmp_path / name)} == {shape}
    for small, large in zip(table(tmp_path / "small"), table(tmp_path / "large"), strict=True):
        for column, value in small.items():
            if column.endswith("_px"):
                assert float(large[column]) == pytest.approx(2 * float(value), abs=2e-4), column
            else:
                assert large[column] == value, column


def test_the_background_and_the_noise_that_are_seen_are_those_in_the_table(visible):
    """In the upper corners, where neither hair nor shoulders reach; light adds at most a tenth."""
    rows = table(visible)
    corners = [pixels(visible / row["file"])[:8][:, np.r_[:6, -6:0]].mean(2) for row in rows]
    told = {name: np.array([float(row[name]) for row in rows]) for name in ("background_grey", "noise_sd")}
    seen = np.array([corner.mean() for corner in corners])
    assert np.abs(seen / told["background_grey"] - 1).max() < 0.1
    assert np.corrcoef(seen, told["background_grey"])[0, 1] > 0.9
    rough = [np.diff(corner[:, :6], axis=1).std() for corner in corners]
    assert np.corrcoef(rough, told["noise_sd"])[0, 1] > 0.8


# ----------------------------------------------------------------------------------------- what the faces show


def nuisances(rows):
    """Return the numeric columns, beside the design, that change within a person."""
    first = [row for row in rows if row["person"] == "1"]
    return [name for name in rows[0] if name not in faces.COLUMNS and len({row[name] for row in first}) > 1]


def test_pose_light_and_noise_tell_nothing_of_the_emotion(many):
    """Without a relation, r of n images is about normal with sd 1/sqrt(n): 4 sd is passed once in 16,000."""
    rows = table(many)
    sign = np.array([1.0 if row["emotion"] == "happy" else -1.0 for row in rows])
    amount = np.array([float(row["amount"]) for row in rows])
    names = nuisances(rows)
    assert {"yaw_deg", "pitch_deg", "shift_x_px", "light_deg", "noise_sd", "background_grey"} <= set(names)
    for name in names:
        values = np.array([float(row[name]) for row in rows])
        for shown in (sign, amount, sign * amount):
            assert abs(np.corrcoef(values, shown)[0, 1]) < 4 / np.sqrt(len(rows)), name


def test_full_happy_and_full_sad_differ_more_at_the_mouth_than_two_nearly_neutral_faces(visible):
    """Of the same person; pose and light differ in both pairs."""
    file = {(row["person"], row["emotion"], row["step"]): visible / row["file"] for row in table(visible)}

    def difference(person, step):
        happy, sad = (pixels(file[person, emotion, step])[40:51, 18:33] for emotion in ("happy", "sad"))
        return np.sqrt(np.square(happy - sad).mean())

    people = [str(person) for person in range(1, 9)]
    full = np.array([difference(person, "10") for person in people])
    neutral = np.array([difference(person, "1") for person in people])
    assert full.mean() > 1.2 * neutral.mean()
    assert (full > neutral).sum() >= 6


def test_emotion_changes_mouth_and_brows_and_leaves_hair_shirt_and_background_alone():
    """The same person in the same view, drawn with the same noise."""
    who = faces.invent_person(seed=1, person=1)
    middle = {"yaw": 0, "pitch": 0, "tilt": 0, "shift_x": 0, "shift_y": 0, "scale": 1, "light": 0}
    view = faces.View(**middle, light_strength=0.5, noise_sd=2, background_grey=140)

    def face(smile, sorrow):
        return np.asarray(faces.draw_face((130, 101), who, view, smile, sorrow, np.random.default_rng(0)), float)

    changed = np.abs(face(1, 0) - face(0, 1)).mean(2)  # (H, W)
    mouth = changed[84:98, 36:65].mean()
    assert mouth > 10
    for name, region in {"top": changed[:20], "left": changed[:, :12], "shirt": changed[120:]}.items():
        assert region.mean() < 0.02 * mouth, name
    assert np.array_equal(face(1, 0), face(1, 0))


# -------------------------------------------------------------------------------------------- the user's files


def test_an_earlier_drawing_is_left_alone_whatever_is_asked_for(tmp_path, capsys):
    out = tmp_path / "stimuli"
    draw_stimuli(out, SMALL)
    before = bytes_by_path(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    capsys.readouterr()
    assert draw_stimuli(out, "--n_people 1 --n_steps 1 --size 64x64 --seed 9") == 0
    told = capsys.readouterr().out
    assert "already there: 8 images" in told and "--redraw" in told
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


def test_a_folder_with_nothing_but_a_readme_is_filled_and_keeps_it(tmp_path):
    out = tmp_path / "stimuli"
    out.mkdir()
    (out / "README.md").write_text("stimuli go here")
    assert draw_stimuli(out, SMALL) == 0
    assert bytes_by_path(out).keys() == {*(row["file"] for row in table(out)), "metadata.csv", "README.md"}
    assert (out / "README.md").read_text() == "stimuli go here"


FOREIGN = {
    "photographs": ({"cat.jpg": "cat"}, "did not draw"),
    "a table of another kind": ({"metadata.csv": "image,score\ncat.jpg,3\n", "cat.jpg": "cat"}, "not written by"),
    "an empty table": ({"metadata.csv": "", "cat.jpg": "cat"}, "not written by"),
    "a table that names files outside": (
        {"metadata.csv": ",".join(faces.COLUMNS) + "\n../outside.txt,1,F,happy,1,1.0\n"},
        "not written by",
    ),
}


@pytest.mark.parametrize("words", ["", " --redraw"])
@pytest.mark.parametrize("case", FOREIGN)
def test_a_folder_of_other_files_is_refused_and_untouched(case, words, tmp_path, capsys):
    files, reason = FOREIGN[case]
    out = tmp_path / "mine"
    out.mkdir()
    (tmp_path / "outside.txt").write_text("precious")
    for name, text in files.items():
        (out / name).write_text(text)
    before = bytes_by_path(tmp_path)
    assert draw_stimuli(out, SMALL + words) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and str(out) in told and reason in told
    assert bytes_by_path(tmp_path) == before
    assert {path.name for path in tmp_path.iterdir()} == {"mine", "outside.txt"}


@pytest.mark.parametrize("below", ["", "stimuli"])
def test_a_file_where_the_folder_should_be_is_refused(below, tmp_path, capsys):
    (tmp_path / "note").write_text("mine")
    assert draw_stimuli(tmp_path / "note" / below, SMALL) == 2
    assert f"error: {tmp_path / 'note'} is a file, not a folder" in capsys.readouterr().err
    assert bytes_by_path(tmp_path) == {"note": b"mine"}


@pytest.mark.parametrize("name", ["02/02M_Ne_to_Ha_C01.JPG", "02"])
def test_a_users_file_in_the_way_of_a_new_image_stops_the_redrawing(name, tmp_path, capsys):
    out = tmp_path / "stimuli"
    draw_stimuli(out, "--n_people 1 --n_steps 1 --size 40x32")
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    before = bytes_by_path(tmp_path)
    assert draw_stimuli(out, SMALL + " --redraw") == 2
    told = capsys.readouterr().err
    assert "was not drawn by this command" in told and str(out / "02") in told
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
def test_an_impossible_wish_is_refused_before_anything_is_written(words, reason, tmp_path, capsys):
    assert draw_stimuli(tmp_path / "below" / "stimuli", words) == 2
    told = capsys.readouterr().err
    assert reason in told and words.replace("=", " ").split()[1] in told
    assert list(tmp_path.iterdir()) == []


def test_a_drawing_that_fails_halfway_leaves_nothing(tmp_path, capsys, monkeypatch):
    def fail(folder, args):
        (folder / "half.JPG").write_text("half")
        raise MemoryError

    monkeypatch.setitem(simulate.KINDS, "faces", simulate.KINDS["faces"]._replace(draw=fail))
    assert draw_stimuli(tmp_path / "stimuli", SMALL) == 2
    assert "error: out of memory" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_redrawing_leaves_the_earlier_one(tmp_path, monkeypatch):
    out = tmp_path / "stimuli"
    draw_stimuli(out, SMALL)
    before = bytes_by_path(tmp_path)

    def interrupt(folder, args):
        raise KeyboardInterrupt

    monkeypatch.setitem(simulate.KINDS, "faces", simulate.KINDS["faces"]._replace(draw=interrupt))
    assert draw_stimuli(out, SMALL + " --redraw") == 130
    assert bytes_by_path(tmp_path) == before
