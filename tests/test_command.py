"""The command line: order of precedence, refusals, help, lists and the debugger."""

import subprocess
import sys

import ipdb
import pytest
from helpers import HERE
from PIL import Image

import main
from neuro_noodle.caches import IMAGENET_FILE
from neuro_noodle.command import load_tables, parse, resolve
from neuro_noodle.recipes import RECIPES

MISTAKES = {
    "--recipe faces_ea": ["faces_ea", "faces_ae"],
    "--encoder resnet81": ["resnet81", "did you mean 'resnet18'"],
    "--encoder fc hiden=3": ["hiden", "did you mean 'hidden'"],
    "--encoder fc hidden=big": ["hidden=big", "whole number"],
    "--enocder fc": ["--enocder", "did you mean '--encoder'"],
    "--enocder fc --lrr 3 --x": ["'--enocder', did", "'--lrr', did you mean '--lr'?", "'--x' (--help lists all flags)"],
    "--n_epochs 3 metadata=a.csv": ["belongs right after it, for example: --dataset NAME metadata=a.csv"],
    "--latent_dim 0": ["latent_dim", "'0' is not a whole number from 1 to 1,000,000,000"],
    "--n_epochs": ["--n_epochs"],
    "--val_fraction 1": ["'1' is not a number above 0 and below 1"],
    "--val_fraction 0": ["'0' is not a number above 0"],
    "--lr 0": ["'0' is not a number above 1e-20"],
    "--fold 1/3 --test_fraction 0.2": ["--test_fraction", "--fold", "give one"],
    "--folds 3 --fold 1/3": ["--folds tests each image once", "leave out --fold"],
    "--folds 3 --test_fraction 0.2 --rejig_data": [
        "for --test_fraction and --folds, replace it by --recipe",
        "--split group",
    ],
    "--folds 3 --split given": ["--split given uses existing ones", "--split random, group or block"],
    "--folds 1": ["'1' is not a whole number from 2"],
    "--folds 30 --split group": ["too few to split"],
    "--optimizer adam weight_decay=-1": ["weight_decay=-1.0 must be 0 or more"],
    "--optimizer sgd momentum=1": ["momentum=1.0 must be from 0 to below 1"],
    "--optimizer sgd nesterov=true": ["nesterov=true needs momentum"],
    "--schedule step every=0": ["every=0"],
    "--schedule cosine final=2": ["final=2.0"],
    "--device meta": ["--device meta", "--device cpu"],
    "--n_blocks 5": ["--n_blocks is for --split block", "the split is auto"],
    "--dataset folder size=999999x999999": ["cannot keep", "size=", "--cache_dir"],
    "--encoder resnet18 weights=none --batch_size 1": ["--batch_size 1", "batch normalisation"],
    "--fold 6/5": ["'6/5' is not k/K"],
    "--load_dir NOWHERE": ["there is no folder"],
    "--data_dir NOWHERE": ["no folder", "--data_dir", "simulate.py faces"],
    "--data_dir EMPTY": ["no images"],
    "--data_dir FILE": ["is a file"],
    "--save_dir FILE": ["cannot write", "--save_dir"],
    "--device cuda:99": ["--device cuda:99", "--device cpu"],
    "--namestr ..": ["namestr", "is not a plain name"],
    "--save_dir=": ["--save_dir", "an empty path"],
    "--load_dir=": ["--load_dir", "an empty path"],
    "--lr 1_000": ["'1_000' is not a number"],
    "--lr \u0663": ["is not a number"],
    "--seed -1": ["seed", "is not a whole number from 0"],
    "--repetitions 1000000000": ["repetitions", "is not a whole number from 1 to 10,000"],
    f"--namestr {'n' * 300}": ["namestr", "a name of 300 bytes is too long; at most 200 are possible"],
    "--namestr a/b": ["namestr", "is not a plain name; use --save_dir"],
    "--objective classify --dataset folder label=sex": ["label=sex", "names no column"],
    "--split group --dataset folder group=none": ["--split group", "group=COLUMN"],
    "--split given": ["--split given", "train, val or test"],
    "--log_images": ["--log_images", "add --comet"],
    "--lr 1e30 --n_epochs 3": ["the loss is", "epoch", "learning rate"],
}


@pytest.mark.parametrize(("words", "parts"), MISTAKES.items())
def test_a_mistake_ends_with_one_message_and_status_2(words, parts, run_main, tmp_path):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").write_text("text")
    for name in ("EMPTY", "FILE", "NOWHERE"):
        words = words.replace(name, str(tmp_path / name))
    status, _, err = run_main("faces_ae", words)
    assert status == 2
    message = err[err.index("error: ") :]
    assert "Traceback" not in message
    assert [part for part in parts if part not in message] == []


def test_a_single_class_is_refused(run_main, tmp_path):
    folder = tmp_path / "one" / "sad"
    folder.mkdir(parents=True)
    for i in range(4):
        Image.new("L", (8, 8), i).save(folder / f"{i}.png")
    words = f"--objective classify --dataset folder size=none pattern=none label=folder --data_dir {tmp_path / 'one'}"
    status, _, err = run_main("faces_ae", words)
    assert status == 2 and "'sad'" in err and "label=COLUMN" in err


def test_missing_imagenet_weights_name_the_file_to_copy(run_main, tmp_path, monkeypatch):
    from urllib.error import URLError

    import torchvision.models._api as api

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(api, "load_state_dict_from_url", lambda *_, **__: (_ for _ in ()).throw(URLError("offline")))
    status, _, err = run_main("faces_emotion", "--encoder resnet18 weights=imagenet")
    assert status == 2
    assert str(tmp_path / "hub" / "checkpoints") in err and "faces_emotion_scratch" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--load_dir RUN", "has already trained 1 epochs; --n_epochs is the total: raise it"),
        ("--load_dir RUN/best --n_epochs 3", "only the best weights"),
        ("--load_dir RUN --n_epochs 3 --lr 0.5", "--lr cannot change when resuming"),
        ("--load_dir RUN --n_epochs 3 --encoder fc hidden=9", "--encoder cannot change when resuming"),
        ("--load_dir RUN --n_epochs 3 --data_dir ELSE", "the images differ from those"),
    ],
)
def test_a_refused_resume_leaves_the_run_unchanged(words, message, run_main, stimuli, tmp_path):
    run_main("faces_ae", "--namestr run --n_epochs 1")
    run = tmp_path / "weights" / "run"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    words = words.replace("RUN", str(run)).replace("ELSE", str(stimuli / "01"))
    status, _, err = run_main("", words)
    assert status == 2 and message in err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def flags_of(words):
    """Return the flags of a command line with every choice completed."""
    return resolve(parse(words.split(), HERE))


def test_the_command_line_wins_over_recipe_and_default():
    assert flags_of("").lr == RECIPES["faces_ae"].flags["lr"]
    assert flags_of("--lr 0.5").lr == 0.5
    assert flags_of("--recipe faces_emotion").encoder == "resnet18 weights=imagenet"
    assert flags_of("--dataset folder size=8x8").dataset.startswith("folder size=8x8 fit=crop colour=grey")
    assert flags_of("--augment none").augment == []
    assert flags_of("--augment flip").augment == ["flip p=0.5"]


def test_rejigged_data_trains_from_scratch_without_imagenet(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert flags_of("--rejig_data").recipe == "faces_emotion_scratch"
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    (tmp_path / "hub" / "checkpoints" / IMAGENET_FILE).touch()
    assert flags_of("--rejig_data").recipe == "faces_emotion"


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_sets_flags_and_choices_that_exist(recipe):
    assert RECIPES[recipe].flags.keys() <= vars(flags_of(f"--recipe {recipe}")).keys()


def test_help_shows_the_defaults_of_the_recipe():
    command = [sys.executable, "main.py", "--recipe", "faces_emotion", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
    assert done.returncode == 0
    assert "resnet18 weights=imagenet" in " ".join(done.stdout.split())


def test_list_prints_every_entry_of_every_table(run_main):
    status, out, _ = run_main("", "--list")
    assert status == 0
    for table in load_tables().values():
        for name in table:
            assert f"  {name}" in out
    for name in RECIPES:
        assert f"  {name}" in out


def test_debug_enters_the_debugger_at_start_and_error(run_main, monkeypatch):
    tape = []
    monkeypatch.setattr(ipdb, "set_trace", lambda: tape.append("start"))
    monkeypatch.setattr(ipdb, "post_mortem", lambda: tape.append("post-mortem"))
    monkeypatch.setattr(main, "run", lambda *_: 1 / 0)
    status, _, err = run_main("faces_ae", "--debug")
    assert tape == ["start", "post-mortem"] and status == 1 and "ZeroDivisionError" in err
