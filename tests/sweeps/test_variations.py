"""What varies in a sweep: the text of --vary, and files of configurations."""

import pytest
from helpers import raises_user_error

from neuro_noodle.sweeps.variations import MAX_NAME, Configuration, Setting, read_file, read_variation


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("latent_dim=2,8", [("--latent_dim", "2"), ("--latent_dim", "8")]),
        ("--lr=1e-3", [("--lr", "1e-3")]),
        ("optimizer=adam,sgd", [("--optimizer", "adam"), ("--optimizer", "sgd")]),
        ("optimizer=adam | sgd momentum=0.9", [("--optimizer", "adam"), ("--optimizer", "sgd", "momentum=0.9")]),
        ("encoder=conv channels=4,8", [("--encoder", "conv", "channels=4,8")]),
        (
            "augment=none | flip + shift px=3",
            [("--augment", "none"), ("--augment", "flip", "--augment", "shift", "px=3")],
        ),
        ("skip_unreadable=true,false", [("--skip_unreadable",), ("--no-skip_unreadable",)]),
        ("compile=true,false", [("--compile",), ()]),
        ("data_dir=a,b|c", [("--data_dir", "a,b"), ("--data_dir", "c")]),
    ],
)
def test_values_become_words_of_the_command_line(text, words):
    variation = read_variation(text)
    assert [setting.words for setting in variation.settings] == words
    assert [variation.at(share) for share in (0, 1)] == [variation.settings[0], variation.settings[-1]]


@pytest.mark.parametrize(
    ("text", "shares", "values"),
    [
        ("lr=1e-4..1e-2", (0, 0.5, 1), ["0.0001", "0.001", "0.01"]),
        ("latent_dim=2..32", (0, 0.5, 1), ["2", "8", "32"]),
        ("lr=0..0.5", (0, 0.5, 1), ["0", "0.25", "0.5"]),
        ("lr=0..1", (0, 0.25, 1), ["0", "0.25", "1"]),
    ],
)
def test_a_range_is_logarithmic_unless_it_starts_at_zero(text, shares, values):
    assert [read_variation(text).at(share).label for share in shares] == values


def test_a_range_may_be_an_option_of_a_choice():
    setting = read_variation("optimizer=adam weight_decay=1e-4..1e-2 amsgrad=true").at(1)
    assert setting.words == ("--optimizer", "adam", "weight_decay=0.01", "amsgrad=true")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("latent_dim", "write FLAG=VALUE,VALUE"),
        ("latent_dim=", "write FLAG=VALUE,VALUE"),
        ("latent_dims=2", "did you mean 'latent_dim'?"),
        ("namestr=a,b", "no such flag can vary"),
        ("seed=1,2", "--seeds 42,43,44"),
        ("latent_dim=2,,8", "is missing, or is there twice"),
        ("latent_dim=2,2", "is missing, or is there twice"),
        ("compile=yes", "'yes' is not true or false"),
        ("lr=1e-2..1e-3", "must go from a low to a high number"),
        ("lr=1-2..3", "is not LOW..HIGH"),
        ("optimizer=adam betas='0.9", "is not a command line"),
    ],
)
def test_a_wrong_variation_is_refused(text, message):
    with raises_user_error(message):
        read_variation(text)


def test_a_file_has_a_configuration_per_line(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("# two\n\nsmall: --latent_dim 2\nlarge: --encoder fc 'hidden=64,32'\n")
    variation = read_file(path)
    assert [one.label for one in variation.settings] == ["small", "large"]
    assert variation.settings[1].words == ("--encoder", "fc", "hidden=64,32")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no line NAME: FLAGS"),
        ("--latent_dim 2", "must be NAME: FLAGS"),
        ("a b: --lr 1", "must be NAME: FLAGS"),
        ("a: --lr 1\na: --lr 2", "with a NAME of its own"),
    ],
)
def test_a_wrong_file_of_configurations_is_refused(tmp_path, content, message):
    (tmp_path / "mine.txt").write_text(content)
    with raises_user_error(message):
        read_file(tmp_path / "mine.txt")


def test_the_name_of_a_configuration_says_what_varies():
    settings = [Setting("latent_dim", "8", ()), Setting("optimizer", "sgd momentum=0.9", ())]
    assert Configuration.of(settings).name == "latent_dim=8,optimizer=sgd-momentum=0.9"


def test_long_names_are_cut_and_stay_different():
    names = {Configuration.of([Setting("data_dir", "a" * 300 + end, ())]).name for end in "xy"}
    assert len(names) == 2 and {len(name) for name in names} == {MAX_NAME}


def test_names_are_ascii():
    """File systems limit bytes, and some do not know other letters."""
    assert Configuration.of([Setting("data_dir", "лица", ())]).name == "data_dir=-"
