"""The command line as its user meets it: what a run leaves, exact resuming, clear errors."""

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from helpers import HERE, SMALL
from PIL import Image

from neuro_noodle.command import parse
from neuro_noodle.recipes import RECIPES
from neuro_noodle.tracking.records import read_records

BOTH = pytest.mark.parametrize("recipe", ["faces_ae", "faces_emotion"])


def weights_of(session):
    return torch.load(session / "model.pth", weights_only=True)


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@BOTH
def test_a_run_leaves_what_the_readme_lists(recipe, run_main, tmp_path):
    status, out, _ = run_main(recipe, "--namestr run --n_epochs 2 --test_fraction 0.25")
    run = tmp_path / "weights" / "run"
    assert status == 0
    left = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    session = {f"1/{name}.pth" for name in ("model", "optim", "state")}
    tables = {"config.json", "split.json", "metrics.jsonl", "result.json", "validation.csv", "test.csv"}
    assert left == session | tables | {"best/model.pth"}
    result = json.loads((run / "result.json").read_text())
    assert f"{result['validation']['value']:.4g}" in out
    for part in (result["validation"], result["test"]):
        assert part["interval"][0] <= part["value"] <= part["interval"][1]
    assert (
        result["baselines"].keys() == {"faces_ae": {"pca", "mean_image"}, "faces_emotion": {"majority_class"}}[recipe]
    )
    assert len(read_records(run)) == 2


@BOTH
def test_four_epochs_are_two_then_a_stop_then_two_bit_for_bit(recipe, run_main, tmp_path):
    """With a schedule that knows only the epoch; the stop of a schedule that knows the end is tested below."""
    runs = tmp_path / "weights"
    steady = "--schedule step every=3"
    run_main(recipe, f"--namestr whole --n_epochs 4 {steady}")
    run_main(recipe, f"--namestr halves --n_epochs 2 {steady}")
    status, _, err = run_main("", f"--load_dir {runs / 'halves'} --n_epochs 4")
    assert status == 0, err
    assert same(weights_of(runs / "whole" / "3"), weights_of(runs / "halves" / "3"))
    assert same(weights_of(runs / "whole" / "best"), weights_of(runs / "halves" / "best"))
    assert read_records(runs / "whole") == read_records(runs / "halves")
    results = [json.loads((runs / name / "result.json").read_text()) for name in ("whole", "halves")]
    assert [result.pop("seconds") >= 0 for result in results] and results[0] == results[1]


def test_an_interrupted_run_saves_says_how_to_go_on_and_continues_exactly(stimuli, tmp_path):
    runs = tmp_path / "weights"
    words = f"--data_dir {stimuli} --save_dir {runs} {SMALL['faces_ae']} --n_epochs 400"
    command = [sys.executable, str(HERE / "main.py"), *words.split(), "--namestr", "cut"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while process.poll() is None and len(read_records(runs / "cut")) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert f"--load_dir {runs / 'cut'}" in told
    stopped = len(read_records(runs / "cut"))
    assert stopped < 400
    (session,) = [path for path in (runs / "cut").iterdir() if path.name.isdigit()]
    assert int(session.name) == stopped - 1
    # in processes of their own too: what other tests did in this one (threads, UMAP) can change the last bit
    for more in (["--load_dir", str(runs / "cut")], [*command[2:-2], "--namestr", "whole"]):
        subprocess.run([*command[:2], *more], capture_output=True, check=True)
    assert same(weights_of(runs / "whole" / "399"), weights_of(runs / "cut" / "399"))


def test_resuming_an_earlier_session_starts_a_new_run_and_loses_nothing(run_main, tmp_path):
    runs = tmp_path / "weights"
    run_main("faces_ae", "--namestr run --n_epochs 4 --save_every 2 --keep all --schedule constant")
    before = (runs / "run" / "metrics.jsonl").read_text()
    status, _, _ = run_main("", f"--load_dir {runs / 'run' / '1'} --n_epochs 4")
    assert status == 0
    assert (runs / "run" / "metrics.jsonl").read_text() == before
    assert same(weights_of(runs / "run" / "3"), weights_of(runs / "run-2" / "3"))
    assert read_records(runs / "run-2") == read_records(runs / "run")


def test_the_same_seed_gives_the_same_run_and_another_seed_another(run_main, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_main("faces_ae", f"--namestr {name} --n_epochs 1 --seed {seed}")
    a, b, c = (weights_of(tmp_path / "weights" / name / "0") for name in "abc")
    assert same(a, b) and not same(a, c)


def test_a_run_stopped_before_its_result_gets_it_when_resumed(run_main, tmp_path, monkeypatch):
    from neuro_noodle.runs import result as conclusion

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(conclusion, "judge", stop)
    status, _, err = run_main("faces_ae", "--namestr run --n_epochs 2")
    run = tmp_path / "weights" / "run"
    assert status == 130 and f"--load_dir {run}" in err and not (run / "result.json").exists()
    monkeypatch.undo()
    status, _, err = run_main("", f"--load_dir {run}")
    assert status == 0, err
    assert json.loads((run / "result.json").read_text())["best_epoch"] <= 1
    assert len(read_records(run)) == 2


def test_going_on_with_more_epochs_takes_up_the_rate_of_the_longer_schedule(run_main, tmp_path):
    run_main("faces_ae", "--namestr run --n_epochs 2 --schedule cosine")
    run = tmp_path / "weights" / "run"
    run_main("", f"--load_dir {run} --n_epochs 4")
    groups = torch.load(run / "3" / "optim.pth", weights_only=True)["param_groups"]
    assert groups[0]["lr"] == pytest.approx(0)
    first, last = read_records(run)[1], read_records(run)[2]
    assert first["validation/mse"] != last["validation/mse"]  # the third epoch did learn


def test_patience_waits_for_an_evaluation(run_main, tmp_path):
    run_main("faces_ae", "--namestr run --n_epochs 20 --lr 0.1 --schedule constant --test_every 5 --patience 3")
    records = read_records(tmp_path / "weights" / "run")
    assert "validation/mse" in records[-1] and len(records) >= 10


def test_a_folder_without_groups_has_an_interval_over_images(run_main, stimuli, tmp_path):
    status, out, _ = run_main("faces_ae", f"--data_dir {stimuli / '01'} --namestr run --n_epochs 1 --val_fraction 0.5")
    assert status == 0 and "in 1 groups" not in out and "95 %" in out


def test_comet_can_be_left_out_when_resuming(run_main, tmp_path):
    run_main("faces_ae", "--namestr run --n_epochs 1")
    config = tmp_path / "weights" / "run" / "config.json"
    config.write_text(config.read_text().replace('"comet": false', '"comet": true'))
    status, _, err = run_main("", f"--load_dir {config.parent} --n_epochs 2 --no-comet")
    assert status == 0, err


def test_every_row_of_the_table_names_its_image_and_what_was_predicted(run_main, stimuli, tmp_path):
    run_main("faces_emotion", "--namestr run --n_epochs 1 --split group --val_fraction 0.5")
    with (tmp_path / "weights" / "run" / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    for row in rows:
        assert (stimuli / row["id"]).is_file()
        assert row["label"] == row["emotion"] and f"_{row['label']}_" in row["id"]
        assert row["predicted"] in ("Ha", "Sa") and 0.5 <= float(row["probability"]) <= 1


def test_the_best_weights_are_those_of_the_best_validated_epoch(run_main, tmp_path):
    run_main("faces_ae", "--namestr run --n_epochs 6 --lr 0.05 --schedule constant --save_every 1 --keep all")
    run = tmp_path / "weights" / "run"
    records = read_records(run)
    best = min(records, key=lambda record: record["validation/mse"])["epoch"]
    assert json.loads((run / "result.json").read_text())["best_epoch"] == best
    assert same(weights_of(run / "best"), weights_of(run / str(best)))


def test_patience_stops_a_run_that_no_longer_improves(run_main, tmp_path):
    status, out, _ = run_main("faces_ae", "--namestr run --n_epochs 200 --lr 0.1 --schedule constant --patience 2")
    run = tmp_path / "weights" / "run"
    n_epochs = len(read_records(run))
    assert f"best epoch {n_epochs - 2} of {n_epochs} (--patience 2 ran out)" in out
    assert status == 0 and n_epochs == json.loads((run / "result.json").read_text())["best_epoch"] + 3 < 200


def test_a_run_whose_last_epoch_is_the_best_says_that_more_may_do_better(run_main):
    _, out, _ = run_main("faces_ae", "--namestr run --n_epochs 1")
    assert "best epoch 1 of 1 (more --n_epochs may do better)" in out


def test_a_random_split_that_mixes_people_says_so_and_a_group_split_does_not(run_main):
    _, _, mixed = run_main("faces_ae", "--namestr a --n_epochs 1")
    _, _, apart = run_main("faces_ae", "--namestr b --n_epochs 1 --split group")
    assert "are both in training and in another part" in mixed
    assert "are both in training and in another part" not in apart


def test_rejigged_data_trains_a_classifier_and_leaves_the_originals(run_main, stimuli, tmp_path):
    import shutil

    folder = shutil.copytree(stimuli, tmp_path / "stimuli")
    before = sorted(folder.rglob("*"))
    words = f"--rejig_data --data_dir {folder} --namestr run --n_epochs 1"
    status, out, _ = run_main("faces_emotion", words)
    assert status == 0 and "rejig.csv" in out
    assert sorted(folder.rglob("*")) == before
    split = json.loads((tmp_path / "weights" / "run" / "split.json").read_text())
    assert all(name.startswith("train/") for name in split["training"])
    assert all(name.startswith("val/") for name in split["validation"])
    config = json.loads((tmp_path / "weights" / "run" / "config.json").read_text())
    assert config["classes"] == ["happy", "sad"]
    status, _, err = run_main("faces_emotion", words.replace(str(folder), str(tmp_path / "classify")))
    assert status == 2 and "arranged already" in err
    status, _, err = run_main("", f"--load_dir {tmp_path / 'weights' / 'run'} --n_epochs 2 --rejig_data")
    assert status == 2 and "--rejig_data" in err


def test_unreadable_images_are_named_and_left_out_only_when_asked(run_main, stimuli, tmp_path):
    import shutil

    folder = shutil.copytree(stimuli, tmp_path / "stimuli")
    (folder / "01" / "broken.png").write_bytes(b"not a picture")
    words = f"--data_dir {folder} --namestr run --n_epochs 1"
    status, _, err = run_main("faces_ae", words)
    assert status == 2 and "broken.png" in err and "--skip_unreadable" in err
    status, _, _ = run_main("faces_ae", words + " --skip_unreadable")
    assert status == 0
    assert json.loads((tmp_path / "weights" / "run" / "config.json").read_text())["skipped"] == ["01/broken.png"]


# ------------------------------------------------------------------------------------------ blocks, kept images


@pytest.fixture
def video(tmp_path):
    """A film of 60 frames in which neighbours are nearly the same, beside a table that tells its clip."""
    place = np.linspace(0, 40, 60)[:, None, None]
    y, x = np.mgrid[:16, :14]
    frames = 0.5 + 0.5 * np.sin(x / 3 + place) * np.cos(y / 4 - place / 2)
    folder = tmp_path / "video"
    folder.mkdir()
    np.save(folder / "frames.npy", (255 * frames).astype(np.uint8))
    (folder / "clips.csv").write_text("clip\n" + "".join(f"{i // 30}\n" for i in range(60)))
    return folder


BLOCKS = "--dataset arrays metadata=clips.csv group=clip --split block --n_blocks 12 --val_fraction 0.2 --gap 2"


def test_a_film_is_split_by_blocks_with_a_gap_and_its_record_tells_what_leaks(video, run_main, tmp_path):
    status, out, err = run_main("faces_ae", f"--data_dir {video} --namestr run --n_epochs 2 {BLOCKS}")
    assert status == 0, err
    run = tmp_path / "weights" / "run"
    split = json.loads((run / "split.json").read_text())
    assert split["left_out"] and sorted(sum(split.values(), [])) == [f"{i:02}" for i in range(60)]
    held_out = {int(name) for name in split["validation"] + split["test"]}
    assert min(abs(int(name) - frame) for name in split["training"] for frame in held_out) == 3
    result = json.loads((run / "result.json").read_text())
    leaks = result["leaks"]
    assert leaks["groups"] == {"what": "'clip'", "n": 2, "in_two_parts": 2}
    assert leaks["near_duplicates"]["validation"]["checked"] == len(split["validation"])
    assert "2 of 2 different 'clip' are both in training and in another part" in err
    with (run / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["id"] for row in rows} == set(split["validation"])
    assert all(int(row["clip"]) == int(row["id"]) // 30 and row["block"] for row in rows)


def test_a_film_that_is_dealt_at_random_is_said_to_leak(run_main, video, tmp_path):
    frames = np.repeat(np.load(video / "frames.npy"), 2, axis=0)
    np.save(video / "frames.npy", frames)
    words = f"--data_dir {video} --dataset arrays --namestr run --n_epochs 1 --val_fraction 0.2"
    status, _, err = run_main("faces_ae", words)
    assert status == 0 and "validation images have a near-duplicate in training" in err
    found = json.loads((tmp_path / "weights" / "run" / "result.json").read_text())["leaks"]["near_duplicates"]
    assert found["validation"]["n"] > found["validation"]["checked"] / 2


def test_a_run_by_blocks_goes_on_exactly_where_it_was_stopped(video, run_main, tmp_path):
    runs = tmp_path / "weights"
    words = f"--data_dir {video} {BLOCKS} --schedule constant"
    run_main("faces_ae", f"{words} --namestr whole --n_epochs 4")
    run_main("faces_ae", f"{words} --namestr halves --n_epochs 2")
    status, _, err = run_main("", f"--load_dir {runs / 'halves'} --n_epochs 4")
    assert status == 0, err
    assert same(weights_of(runs / "whole" / "3"), weights_of(runs / "halves" / "3"))
    assert read_records(runs / "whole") == read_records(runs / "halves")
    for name in ("split.json", "validation.csv"):
        assert (runs / "whole" / name).read_text() == (runs / "halves" / name).read_text()
    results = [json.loads((runs / name / "result.json").read_text()) for name in ("whole", "halves")]
    assert [result.pop("seconds") >= 0 for result in results] and results[0] == results[1]


def kept(cache):
    return {path: path.stat().st_mtime_ns for path in cache.glob("*/array.npy")}


def test_decoded_images_are_kept_and_used_again_until_a_file_changes_and_removed_when_asked(
    run_main, stimuli, tmp_path, monkeypatch
):
    import shutil

    from neuro_noodle.data import folder as pictures

    decoded = []
    true_read = pictures._read_image
    monkeypatch.setattr(pictures, "_read_image", lambda *about: (decoded.append(about[0]), true_read(*about))[1])
    folder, cache = shutil.copytree(stimuli, tmp_path / "stimuli"), tmp_path / "cache"
    words = f"--data_dir {folder} --cache_dir {cache} --n_epochs 1"
    assert run_main("faces_ae", f"{words} --namestr a")[0] == 0
    before = kept(cache)
    assert len(before) == 1 and len(decoded) == 24
    assert run_main("faces_ae", f"{words} --namestr b")[0] == 0
    assert kept(cache) == before and len(decoded) == 24
    assert run_main("faces_ae", f"--data_dir {folder} --n_epochs 1 --namestr unkept")[0] == 0
    a, b, unkept = (weights_of(tmp_path / "weights" / name / "0") for name in ("a", "b", "unkept"))
    assert same(a, b) and same(a, unkept)

    decoded.clear()
    changed = pictures.find_images(folder)[0]
    told = changed.stat()
    Image.open(changed).rotate(180).save(changed)
    os.utime(changed, ns=(told.st_atime_ns, told.st_mtime_ns))  # noticed by content, not by time
    assert run_main("faces_ae", f"{words} --namestr c")[0] == 0
    assert len(kept(cache)) == 2 and before.items() <= kept(cache).items() and len(decoded) == 24
    assert not same(a, weights_of(tmp_path / "weights" / "c" / "0"))

    (cache / "mine.txt").write_text("notes")
    status, out, _ = run_main("faces_ae", f"{words} --clear_cache")
    assert status == 0 and "MiB of decoded images removed from" in out and str(cache) in out
    assert [path.name for path in cache.iterdir()] == ["mine.txt"]
    status, out, _ = run_main("faces_ae", f"{words} --clear_cache")
    assert status == 0 and out.startswith("0.0 MiB")


MISTAKES = {
    "--recipe faces_ea": ["faces_ea", "faces_ae"],
    "--encoder resnet81": ["resnet81", "did you mean 'resnet18'"],
    "--encoder fc hiden=3": ["hiden", "did you mean 'hidden'"],
    "--encoder fc hidden=big": ["hidden=big", "whole number"],
    "--enocder fc": ["--enocder", "did you mean '--encoder'"],
    "--latent_dim 0": ["latent_dim", "'0' is not a whole number of at least 1"],
    "--n_epochs": ["--n_epochs"],
    "--val_fraction 1": ["'1' is not a number above 0 to below 1"],
    "--val_fraction 0": ["'0' is not a number above 0"],
    "--lr 0": ["'0' is not a number above 0"],
    "--fold 1/3 --test_fraction 0.2": ["--test_fraction", "--fold", "give one"],
    "--optimizer adam weight_decay=-1": ["weight_decay=-1.0 must be 0 or more"],
    "--optimizer sgd momentum=1": ["momentum=1.0 must be from 0 to below 1"],
    "--optimizer sgd nesterov=true": ["nesterov=true needs momentum"],
    "--schedule step every=0": ["every=0"],
    "--schedule cosine final=2": ["final=2.0"],
    "--device meta": ["--device meta", "--device cpu"],
    "--n_blocks 5": ["--n_blocks cuts frames for --split block", "--split random"],
    "--dataset folder size=999999x999999": ["cannot keep", "size=", "--cache_dir"],
    "--encoder resnet18 weights=none --batch_size 1": ["--batch_size 1", "batch normalisation"],
    "--fold 6/5": ["'6/5' is not k/K"],
    "--load_dir NOWHERE": ["is no session"],
    "--data_dir NOWHERE": ["no folder", "--data_dir", "simulate.py faces"],
    "--data_dir EMPTY": ["no images"],
    "--data_dir FILE": ["is a file"],
    "--save_dir FILE": ["cannot write", "--save_dir"],
    "--device cuda:99": ["--device cuda:99", "--device cpu"],
    "--namestr a/b": ["--namestr a/b is a path"],
    "--objective classify --dataset folder label=sex": ["label=sex", "names no column"],
    "--split group --dataset folder group=none": ["--split group", "group=COLUMN"],
    "--split given": ["--split given", "train, val or test"],
    "--log_images": ["--log_images", "add --comet"],
    "--lr 1e30 --n_epochs 3": ["the loss is", "epoch", "learning rate"],
}


@pytest.mark.parametrize(("words", "parts"), MISTAKES.items())
def test_a_mistake_is_told_in_one_message_that_names_it_with_status_2(words, parts, run_main, tmp_path):
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "FILE").write_text("text")
    for name in ("EMPTY", "FILE", "NOWHERE"):
        words = words.replace(name, str(tmp_path / name))
    status, _, err = run_main("faces_ae", words)
    assert status == 2
    message = err[err.index("error: ") :]
    assert "Traceback" not in message
    assert [part for part in parts if part not in message] == []


def test_one_class_only_is_refused_with_a_way_out(run_main, tmp_path):
    folder = tmp_path / "one" / "sad"
    folder.mkdir(parents=True)
    for i in range(4):
        Image.new("L", (8, 8), i).save(folder / f"{i}.png")
    words = f"--objective classify --dataset folder size=none pattern=none label=folder --data_dir {tmp_path / 'one'}"
    status, _, err = run_main("faces_ae", words)
    assert status == 2 and "'sad'" in err and "label=COLUMN" in err


def test_imagenet_weights_that_are_not_there_say_where_to_put_the_file(run_main, tmp_path, monkeypatch):
    from urllib.error import URLError

    import torchvision.models._api as api

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(api, "load_state_dict_from_url", lambda *_, **__: (_ for _ in ()).throw(URLError("offline")))
    status, _, err = run_main("faces_emotion", "--encoder resnet18 weights=imagenet")
    assert status == 2
    assert str(tmp_path / "hub" / "checkpoints") in err and "weights=none" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--load_dir RUN", "give more than that"),
        ("--load_dir RUN/best --n_epochs 3", "only the best weights"),
        ("--load_dir RUN --n_epochs 3 --lr 0.5", "--lr cannot change when resuming"),
        ("--load_dir RUN --n_epochs 3 --encoder fc hidden=9", "--encoder cannot change when resuming"),
        ("--load_dir RUN --n_epochs 3 --data_dir ELSE", "not the images"),
    ],
)
def test_a_resume_that_cannot_be_is_refused_and_leaves_the_run_as_it_was(words, message, run_main, stimuli, tmp_path):
    run_main("faces_ae", "--namestr run --n_epochs 1")
    run = tmp_path / "weights" / "run"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    words = words.replace("RUN", str(run)).replace("ELSE", str(stimuli / "01"))
    status, _, err = run_main("", words)
    assert status == 2 and message in err
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_values_come_from_the_default_then_the_recipe_then_the_command_line():
    assert parse([]).lr == RECIPES["faces_ae"].flags["lr"]
    assert parse(["--lr", "0.5"]).lr == 0.5
    assert parse(["--recipe", "faces_emotion"]).encoder == "resnet18 weights=imagenet"
    assert parse(["--dataset", "folder", "size=8x8"]).dataset.startswith("folder size=8x8 fit=crop colour=grey")
    assert parse(["--augment", "none"]).augment == []
    assert parse(["--augment", "flip"]).augment == ["flip p=0.5"]
    assert parse(["--rejig_data"]).recipe == "faces_emotion"


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_made_of_flags_and_choices_that_exist(recipe):
    flags = vars(parse(["--recipe", recipe]))
    assert RECIPES[recipe].flags.keys() <= flags.keys()


def test_help_needs_no_torch_and_shows_the_defaults_of_the_recipe():
    check = "import sys, main; main.main(sys.argv[1:])"
    command = [sys.executable, "-c", f"{check}", "--recipe", "faces_emotion", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
    assert done.returncode == 0
    assert "resnet18 weights=imagenet" in " ".join(done.stdout.split())
    quick = f"import sys\ntry:\n    {check}\nfinally:\n    print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", quick, "--help"], capture_output=True, text=True, cwd=HERE)
    assert done.stdout.endswith("False\n")


def test_list_prints_every_entry_of_every_table(run_main):
    from neuro_noodle.command import load_tables

    status, out, _ = run_main("", "--list")
    assert status == 0
    for table in load_tables().values():
        for name in table:
            assert f"  {name}" in out
    for name in RECIPES:
        assert f"  {name}" in out


def test_debug_starts_in_the_debugger_and_enters_it_at_an_error(run_main, monkeypatch):
    import ipdb

    import main

    tape = []
    monkeypatch.setattr(ipdb, "set_trace", lambda: tape.append("start"))
    monkeypatch.setattr(ipdb, "post_mortem", lambda: tape.append("post-mortem"))
    monkeypatch.setattr(main, "run", lambda *_: 1 / 0)
    status, _, err = run_main("faces_ae", "--debug")
    assert tape == ["start", "post-mortem"] and status == 1 and "ZeroDivisionError" in err


def test_the_command_that_made_a_run_is_in_its_config(run_main, tmp_path):
    run_main("faces_ae", "--namestr run --n_epochs 1")
    config = json.loads((tmp_path / "weights" / "run" / "config.json").read_text())
    assert "--namestr run" in config["command"]
    assert shlex.split(config["flags"]["encoder"])[0] == "fc"
    assert (
        config["versions"]["torch"] == torch.__version__.split("+")[0]
        or config["versions"]["torch"] == torch.__version__
    )
    assert os.fspath(HERE) not in config["flags"]["namestr"]
