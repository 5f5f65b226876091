"""config.json and split.json of a run that someone else may have made: every value is checked."""

import json

import pytest
from helpers import indexed_images, raises_user_error, split_images
from saved_runs import new_saved_run, save

from neuro_noodle.data.base import StimulusSet
from neuro_noodle.runs.config import load_config
from neuro_noodle.runs.files import read_json, write_json
from neuro_noodle.runs.split import load_split, named, trained_on

WRONG = {
    "batch_size": [0, -1, 1.5, "x", None, True, 10**12],
    "seed": [-1, 2**40],
    "lr": ["0.1x", 0, None, [0.1]],
    "keep": ["../.."],
    "augment": [5, [5], "flip"],
    "objective": [None, 5],
    "data_dir": [5, None, "a\0b", "\ud800"],
    "comet": [0, "true"],
    "fold": ["3/2"],
    "folds": [1, "3", True],
    "namestr": ["../a", "a/b", ".."],
    "latent_dim": [10**12, -1],
    "repetitions": [10**9],
}
EACH_WRONG = [(name, value) for name, values in WRONG.items() for value in values]


@pytest.fixture
def run(tmp_path):
    return new_saved_run(tmp_path)


def change(run, *keys, value):
    """Change a value of config.json; without one, remove it."""
    config = json.loads((run / "config.json").read_text())
    section = config
    for key in keys[:-1]:
        section = section[key]
    section[keys[-1]] = value
    write_json(run / "config.json", config)


@pytest.mark.parametrize(("name", "value"), EACH_WRONG, ids=[f"{name}={value!a:.20}" for name, value in EACH_WRONG])
def test_a_flag_that_the_command_line_refuses_is_refused(run, name, value):
    change(run, "flags", name, value=value)
    with raises_user_error(f"'{name}'"):
        load_config(run)


@pytest.mark.parametrize("key", ["flags", "model", "learned", "classes", "neurons"])
@pytest.mark.parametrize("value", [5, None, "text", [[]]])
def test_a_section_of_the_wrong_kind_is_refused(run, key, value):
    change(run, key, value=value)
    with raises_user_error(f"'{key}'"):
        load_config(run)


@pytest.mark.parametrize(
    ("key", "value"),
    [("image_shape", [1, 2]), ("image_shape", [1, 2, -2]), ("output_shape", []), ("precision", "fp64"), ("encoder", 1)],
)
def test_a_model_that_cannot_be_built_is_refused(run, key, value):
    change(run, "model", key, value=value)
    with raises_user_error(f"'{key}' cannot be"):
        load_config(run)


def test_unknown_and_missing_keys_are_named(run):
    before = read_json(run / "config.json")
    change(run, "flags", "no_such_flag", value=1)
    with raises_user_error("this version of the program has no flag 'no_such_flag'"):
        load_config(run)
    write_json(run / "config.json", before)
    change(run, "model", "depth", value=1)
    with raises_user_error("'model' may only have the keys"):
        load_config(run)
    for section, key in ((None, "classes"), ("model", "head")):
        config = json.loads(json.dumps(before))
        del (config[section] if section else config)[key]
        write_json(run / "config.json", config)
        with raises_user_error(f"{key}"):
            load_config(run)


@pytest.mark.parametrize("text", ["", "[]", "null", "5", '"x"', "\xff", "{", "[" * 10_000, '{"flags": 1, "flags": 2}'])
@pytest.mark.parametrize("name", ["config.json", "split.json"])
def test_a_file_that_is_not_an_object_is_refused(run, name, text):
    (run / name).write_bytes(text.encode("latin-1"))
    with raises_user_error(f"{name} cannot be read"):
        load_config(run) if name == "config.json" else load_split(run, indexed_images())


def test_a_flag_that_an_earlier_version_lacked_has_its_default(run):
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    for name in ("patience", "comet", "track", "test_every", "data_dir"):
        del config["flags"][name]
    write_json(run / "config.json", config)
    flags = load_config(run)["flags"]
    assert (flags["patience"], flags["comet"], flags["track"], flags["test_every"]) == (None, False, [], 1)
    assert flags["data_dir"] == "Resources/stimuli"


def test_a_run_does_not_choose_where_the_program_writes(run, tmp_path):
    """Its save_dir is where it is; its cache_dir counts only if decoded images are there."""
    (tmp_path / "cache" / "entry").mkdir(parents=True)
    change(run, "flags", "save_dir", value="/somewhere/else")
    change(run, "flags", "cache_dir", value=str(tmp_path / "cache"))
    flags = load_config(run)["flags"]
    assert flags["save_dir"] == str(tmp_path) and flags["cache_dir"] is None
    (tmp_path / "cache" / "entry" / "about.json").write_text("{}")
    assert load_config(run)["flags"]["cache_dir"] == str(tmp_path / "cache")


# --------------------------------------------------------------------------------------------------------- the split


def with_contents(dataset: StimulusSet, changed=()) -> StimulusSet:
    dataset.contents = [f"{i + 1000 * (i in changed)}" for i in range(len(dataset))]
    return dataset


def test_a_split_is_restored_and_other_images_are_refused(run):
    dataset = with_contents(indexed_images())
    parts = split_images(dataset, "group", test_fraction=0.2)
    write_json(run / "split.json", named(parts, dataset))
    assert load_split(run, dataset) == parts
    with raises_user_error("6 are missing (for example p09/54.png)"):
        load_split(run, with_contents(indexed_images(n_people=9)))
    with raises_user_error("6 are new (for example p10/60.png)"):
        load_split(run, with_contents(indexed_images(n_people=11)))
    with raises_user_error("2 have the same name but different content (for example p00/3.png)"):
        load_split(run, with_contents(indexed_images(), changed=(3, 7)))


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ({"training": {"a": "1"}, "validation": {"a": "1"}, "test": {}}, "a is in two parts"),
        ({"training": {"a": "1"}, "validation": {}}, "must hold the parts left_out, test, training, validation"),
        ({"training": ["a"], "validation": {}, "test": {}}, "must hold the parts"),
        ({"training": {"a": 1}, "validation": {}, "test": {}}, "must hold the parts"),
        ({"training": {}, "validation": {}, "test": {}, "more": {}}, "must hold the parts"),
    ],
)
def test_a_split_that_is_none_is_refused(run, split, message):
    write_json(run / "split.json", split)
    with raises_user_error(message):
        load_split(run, indexed_images())


def test_images_an_encoder_has_seen_are_found_by_content(run):
    """Under other names too, but not other images of the same name; and a circle of runs has an end."""
    dataset = with_contents(indexed_images())
    write_json(run / "split.json", named({"training": [0, 1], "validation": [2], "test": []}, dataset))
    change(run, "flags", "load_encoder", value=str(run))
    save(run, 3)
    other = with_contents(indexed_images(), changed=(1,))
    other.ids = [f"new{i}" for i in range(len(other))]
    assert trained_on(run, other) == {"new0"}
