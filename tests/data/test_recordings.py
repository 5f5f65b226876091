"""Recordings in files of any names: each response belongs to its image and neuron, and what does not fit is refused."""

import numpy as np
import pytest
from helpers import open_at, raises_user_error
from PIL import Image

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (6, 9, 8), dtype=np.uint8)
TRIALS = GENERATOR.poisson(3, (4, 6, 3)).astype(float)
RATES = TRIALS.mean(0)
NAMES = ["a.png", "b.png", "c.png", "d.png", "e.png", "f.png"]


def open_recordings(path, words=""):
    return open_at(path, f"recordings {words}")


def write_npz(path, **arrays):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return path


def write_photos(folder, names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for name, image in zip(names, IMAGES, strict=True):
        Image.fromarray(image).save(folder / name)


def write_csv(path, names=NAMES, values=RATES, header="image,u1,u2,u3"):
    rows = [",".join([name, *map(str, row)]) for name, row in zip(names, values, strict=True)]
    path.write_text("\n".join([header, *rows]))


# ------------------------------------------------------------------------------------------------ where things are


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("images", "responses", "trials"), ""),
        (("x", "y", "z"), ""),  # found by their shapes
        (("x", "y", "z"), "images=x responses=y trials=z"),
        (("x", "y", "z"), "images=one.npz:x responses=one.npz:y trials=one.npz:z"),
    ],
)
@pytest.mark.parametrize("is_file", [True, False])
def test_arrays_are_found_by_name_or_shape(tmp_path, names, words, is_file):
    path = write_npz(tmp_path / "data" / "one.npz", **dict(zip(names, (IMAGES, RATES, TRIALS), strict=True)))
    dataset = open_recordings(path if is_file else path.parent, words)
    assert np.array_equal(dataset.images[:, 0], IMAGES)
    assert np.allclose(dataset.responses, RATES)
    assert np.array_equal(dataset.trials, TRIALS)
    assert dataset.ids == list("012345") and dataset.neurons == ["0", "1", "2"]
    assert "(6 x 9 x 8)" in dataset.notes[0] and "3 neurons, each image presented 4 times" in dataset.notes[0]


def test_a_folder_of_arrays_is_a_recording(tmp_path):
    (tmp_path / "day1").mkdir()
    np.save(tmp_path / "day1" / "stimuli.npy", IMAGES)
    np.save(tmp_path / "day1" / "rates.npy", RATES)
    assert np.allclose(open_recordings(tmp_path / "day1").responses, RATES)
    assert np.allclose(open_recordings(tmp_path).responses, RATES)


def test_rows_of_pixels_become_images_with_a_size(tmp_path):
    write_npz(tmp_path / "one.npz", images=IMAGES.reshape(6, -1), responses=RATES)
    assert np.array_equal(open_recordings(tmp_path, "size=9x8").images[:, 0], IMAGES)


def test_other_arrays_become_columns_or_are_noted(tmp_path):
    write_npz(
        tmp_path / "one.npz", images=IMAGES, responses=RATES, part=["train"] * 4 + ["test"] * 2, eye=np.zeros((6, 2))
    )
    dataset = open_recordings(tmp_path, "responses=responses")
    assert dataset.columns["part"] == ["train"] * 4 + ["test"] * 2
    assert "not used from one.npz: eye (6 x 2)" in dataset.notes


def test_rows_of_a_table_are_found_by_the_names_of_files(tmp_path):
    write_photos(tmp_path / "photos")
    names, header = [*NAMES[:0:-1], "zebra.png"], "u1,image,scene,u2"
    rows = [f"{i},{name},{'in' if i % 2 else 'out'},{i / 2}" for i, name in enumerate(names)]
    (tmp_path / "rates.csv").write_text("\n".join([header, *rows]))
    dataset = open_recordings(tmp_path)
    assert dataset.neurons == ["u1", "u2"]
    assert np.array_equal(dataset.responses[1:, 0], [4, 3, 2, 1, 0]) and dataset.responses[0].isnan().all()
    assert dataset.columns["scene"] == ["", "out", "in", "out", "in", "out"]
    notes = "\n".join(dataset.notes)
    assert "5 of 6 images have a row" in notes and "1 of 6 rows" in notes and "such as 'zebra.png'" in notes
    assert "1 of 6 images have no row" in notes and "photos/a.png" in notes
    assert "hold metadata, not responses: scene" in notes and "1 of 6 images have no response" in notes


def test_a_table_of_trials_has_a_row_per_presentation(tmp_path):
    write_photos(tmp_path / "photos")
    write_csv(tmp_path / "all.csv", [*NAMES, *NAMES[:3]], [*TRIALS[0], *TRIALS[1, :3]])
    dataset = open_recordings(tmp_path, "images=photos trials=all.csv")
    assert dataset.ids == NAMES
    assert dataset.repeated.tolist() == [0, 1, 2]
    assert np.array_equal(dataset.trials, TRIALS[:2, :3])
    assert np.allclose(dataset.responses[:3], TRIALS[:2, :3].mean(0)) and np.allclose(
        dataset.responses[3:], TRIALS[0, 3:]
    )
    assert "each image presented 1 to 2 times" in "\n".join(dataset.notes)


def test_arrays_follow_the_order_of_file_names(tmp_path):
    write_photos(tmp_path)
    np.save(tmp_path / "rates.npy", RATES)
    dataset = open_recordings(tmp_path)
    assert np.allclose(dataset.responses, RATES)
    assert "the images of rates.npy are in the order of the file names, from a.png to f.png" in dataset.notes


def test_an_unclear_order_of_file_names_is_refused(tmp_path):
    write_photos(tmp_path, [f"{i}.png" for i in (1, 2, 3, 10, 11, 12)])
    np.save(tmp_path / "rates.npy", RATES)
    with raises_user_error("rates.npy has a row per image, but is 10.png or 2.png the earlier image?"):
        open_recordings(tmp_path)


def test_a_table_of_images_in_an_array_is_in_their_order(tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    write_csv(tmp_path / "rates.csv", map(str, range(1, 7)), header="trial,u1,u2,u3")
    dataset = open_recordings(tmp_path)
    assert np.allclose(dataset.responses, RATES) and dataset.neurons == ["u1", "u2", "u3"]
    assert "which only counts the rows" in "\n".join(dataset.notes)


@pytest.mark.parametrize("words", ["", "images=photos responses=responses.csv"])
def test_metadata_come_from_another_table(tmp_path, words):
    write_photos(tmp_path / "photos")
    write_csv(tmp_path / "responses.csv")
    write_csv(tmp_path / "scenes.csv", values=[[1], [1], [2], [2], [3], [3]], header="image,scene")
    dataset = open_recordings(tmp_path, f"{words} metadata=scenes.csv group=scene key=image")
    assert dataset.columns["scene"] == list("112233") and dataset.group == "scene"


# --------------------------------------------------------------------------------------------------------- sessions


def write_sessions(folder):
    write_npz(folder / "one.npz", images=IMAGES, responses=RATES, trials=TRIALS)
    write_npz(folder / "two.npz", images=IMAGES[::-1, ::-1], responses=RATES[:, :2], depth=np.arange(6.0))


def test_a_neuron_has_no_response_to_images_of_other_sessions(tmp_path):
    write_sessions(tmp_path)
    dataset = open_recordings(tmp_path)
    assert dataset.neurons == ["one/0", "one/1", "one/2", "two/0", "two/1"]
    assert dataset.ids[5:7] == ["one/5", "two/0"] and dataset.columns["session"] == ["one"] * 6 + ["two"] * 6
    assert np.array_equal(dataset.responses.isfinite().numpy(), np.kron(np.eye(2), np.ones((6, 3)))[:, :5] == 1)
    assert np.allclose(dataset.responses[6:, 3:], RATES[:, :2])
    assert dataset.repeated.tolist() == list(range(6)) and dataset.trials.shape == (4, 6, 5)
    assert dataset.columns["depth"] == [""] * 6 + list("012345")


@pytest.mark.parametrize("words", ["sessions=two", "sessions=two.npz", "sessions=two,two.npz"])
def test_a_single_session_can_be_chosen(tmp_path, words):
    write_sessions(tmp_path)
    assert open_recordings(tmp_path, words).neurons == ["0", "1"]


def test_an_incomplete_session_is_passed_over_with_a_note(tmp_path):
    write_sessions(tmp_path)
    write_npz(tmp_path / "three.npz", images=IMAGES)
    assert "passed over three.npz: " in open_recordings(tmp_path).notes[0]


def test_a_file_and_a_folder_of_one_name_are_two_sessions(tmp_path):
    write_npz(tmp_path / "one.npz", images=IMAGES, responses=RATES)
    write_npz(tmp_path / "one" / "data.npz", images=IMAGES[::-1, ::-1], responses=RATES)
    assert set(open_recordings(tmp_path).columns["session"]) == {"one", "one.npz"}


def test_identical_images_of_two_sessions_are_one_group(tmp_path):
    write_npz(tmp_path / "one.npz", images=IMAGES, responses=RATES)
    write_npz(tmp_path / "two.npz", images=IMAGES[[5, 0]], responses=RATES[:2])
    dataset = open_recordings(tmp_path)
    assert dataset.group == "image"
    assert dataset.columns["image"][6:] == [dataset.columns["image"][5], dataset.columns["image"][0]]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[:, 1:], "different shapes: 1 x 9 x 8 (one.npz), 1 x 8 x 8 (two.npz)"),
        (IMAGES / 255, "white: 255 (one.npz)"),
    ],
)
def test_sessions_with_other_kinds_of_images_are_refused(tmp_path, images, message):
    write_npz(tmp_path / "one.npz", images=IMAGES, responses=RATES)
    write_npz(tmp_path / "two.npz", images=images, responses=RATES)
    with raises_user_error(message):
        open_recordings(tmp_path)


# ----------------------------------------------------------------------------------------------------------- trials


def test_without_responses_they_are_the_means_of_the_trials(tmp_path):
    trials = TRIALS.copy()
    trials[2:, 0] = np.nan
    trials[:, 5] = np.nan
    trials[:, :, 2] = np.nan
    dataset = open_recordings(write_npz(tmp_path / "one.npz", images=IMAGES, trials=trials))
    assert np.allclose(dataset.responses[0, :2], TRIALS[:2, 0, :2].mean(0))
    assert dataset.responses[5].isnan().all() and dataset.responses[:, 2].isnan().all()
    assert "one.npz: 1 of 6 images have no response" in dataset.notes
    assert "one.npz: 1 of 3 neurons have no response: 2" in dataset.notes
    assert "2 to 4 times" in dataset.notes[0]


def test_responses_that_are_not_the_means_are_noted(tmp_path):
    responses = RATES.copy()
    responses[2, 1] += 1
    path = write_npz(tmp_path / "one.npz", images=IMAGES, responses=responses, trials=TRIALS)
    assert "1 of 18 values of one.npz:responses are not the means of one.npz:trials" in open_recordings(path).notes[1]
    notes = open_recordings(path, "trials=trials").notes
    assert len(notes) == 3  # what is not used, what was read, and that its order fits another too


def test_images_shown_once_have_no_trials_next_to_others(tmp_path):
    trials = TRIALS.copy()
    trials[1:, :2] = np.nan
    dataset = open_recordings(write_npz(tmp_path / "one.npz", images=IMAGES, trials=trials))
    assert dataset.repeated.tolist() == [2, 3, 4, 5]
    found = dataset.trials_of([5, 0, 2, 3])
    assert np.isnan(found[:, 1]).all() and np.array_equal(found[:, [0, 2, 3]], TRIALS[:, [5, 2, 3]])
    assert dataset.trials_of([0, 1, 2, 3]) is None


# --------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"responses": RATES[:5]}, "one.npz:responses is 5 x 3, but there are 6 images: it needs a row per image"),
        ({"responses": RATES.T}, "neurons x images, so save its transpose (.T)"),
        ({"responses": RATES[None]}, "one.npz:responses is 1 x 6 x 3, but responses are images x neurons"),
        (
            {"responses": RATES, "trials": TRIALS[..., :2]},
            "there are 6 images and 3 neurons: it must be trials x images",
        ),
        ({"trials": TRIALS.transpose(1, 0, 2)}, "numpy.transpose(array, (1, 0, 2)) has this order"),
        ({"trials": RATES}, "one.npz:trials is 6 x 3, but there are 6 images: it must be trials x images x neurons"),
        ({"responses": RATES.astype(str)}, "responses are plain numbers"),
        ({"responses": RATES * np.inf}, "one.npz:responses: 18 of 18 responses are infinite"),
        ({"responses": RATES * np.nan}, "one.npz:responses holds no responses: all values are NaN"),
        ({"eyes": RATES, "rates": RATES}, "it is not clear what is what; name images=NAME and responses=NAME"),
        ({}, "one.npz holds one.npz:images (6 x 9 x 8); it is not clear what is what"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, arrays, message):
    path = write_npz(tmp_path / "one.npz", images=IMAGES, **arrays)
    with raises_user_error(message):
        open_recordings(path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("images=stim", "images=stim: in"),
        ("images=one.npz", "this fits several; choose one of one.npz:images, one.npz:responses"),
        ("sessions=three", "sessions=three: no such file or folder in"),
        ("key=image", "key= names image files, but the images are an array, one.npz:images"),
        ("trials=rows.csv", "rows.csv is a table, but trials of images in an array are an array too"),
        ("responses=words.csv", "words.csv has no column of numbers, so it holds no responses"),
        ("responses=typo.csv", "the column 'u1' holds '3,5'"),
        ("responses=shuffled.csv", "the column 'image' of"),
        ("responses=short.csv", "has 5 rows for 6 images"),
    ],
)
def test_words_and_tables_that_do_not_fit_are_refused(tmp_path, words, message):
    write_npz(tmp_path / "one.npz", images=IMAGES, responses=RATES)
    write_csv(tmp_path / "rows.csv")
    write_csv(tmp_path / "words.csv", values=[["x"]] * 6, header="image,u1")
    write_csv(tmp_path / "typo.csv", values=[["1"]] * 5 + [['"3,5"']], header="image,u1")
    write_csv(tmp_path / "shuffled.csv", names=list("341256"))
    write_csv(tmp_path / "short.csv", names=NAMES[:5], values=RATES[:5])
    with raises_user_error(message):
        open_recordings(tmp_path, words)


def test_missing_files_and_other_formats_are_refused(tmp_path):
    with raises_user_error("no file or folder"):
        open_recordings(tmp_path / "nowhere.npz")
    path = tmp_path / "one.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file" + bytes(200))
    for place in (path, tmp_path):
        with raises_user_error("one.mat is a MATLAB file; save its array"):
            open_recordings(place)


def test_several_rows_of_an_image_are_no_responses(tmp_path):
    write_photos(tmp_path)
    write_csv(tmp_path / "responses.csv", [*NAMES, "a.png"], [*RATES, RATES[0]])
    with raises_user_error("has several rows for 'a.png' in its column 'image'"):
        open_recordings(tmp_path)


def test_a_column_that_counts_presentations_is_no_neuron(tmp_path):
    write_photos(tmp_path / "photos")
    values = np.concatenate([np.arange(12)[:, None] // 6, np.concatenate([TRIALS[0], TRIALS[1]])], 1)
    write_csv(tmp_path / "all.csv", NAMES * 2, values, "image,trial,u1,u2,u3")
    dataset = open_recordings(tmp_path, "images=photos trials=all.csv")
    assert dataset.neurons == ["u1", "u2", "u3"] and np.array_equal(dataset.trials, TRIALS[:2])
    assert "3 neurons (u1, u2, u3), each image presented 2 times" in "\n".join(dataset.notes)


def test_arrays_that_fit_in_two_orders_are_noted(tmp_path):
    square = write_npz(tmp_path / "square.npz", images=IMAGES, responses=np.tile(RATES, 2))
    assert "is square; its rows are taken as images" in "\n".join(open_recordings(square).notes)
    turned = write_npz(tmp_path / "turned.npz", images=IMAGES, trials=TRIALS)
    note = "is taken as 4 trials x images x 3 neurons; if it is neurons x images x trials, save its transpose (.T)"
    assert note in "\n".join(open_recordings(turned).notes)
