"""The command line as its user meets it: what a run leaves, exact resuming, clear errors."""

import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers import HERE, SMALL, same, weights_of

from neuro_noodle.runs import result
from neuro_noodle.runs.commits import commit_files
from neuro_noodle.runs.metrics import read_metrics

BOTH = pytest.mark.parametrize("recipe", ["faces_ae", "faces_emotion"])


@BOTH
def test_a_run_leaves_what_the_readme_lists(recipe, run_main, tmp_path):
    status, out, _ = run_main(recipe, "--namestr run --n_epochs 2 --test_fraction 0.25")
    run = tmp_path / "weights" / "run"
    assert status == 0
    left = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    session = {"1/manifest.json", *(f"1/{name}.pth" for name in ("model", "optim", "state"))}
    tables = {"config.json", "split.json", "metrics.jsonl", "result.json", "validation.csv", "test.csv", "tested.json"}
    assert left == session | tables | {"best/model.pth", ".lock"}
    result = json.loads((run / "result.json").read_text())
    assert f"{result['validation']['value']:.4g}" in out
    assert result["validation"]["interval"] is None and "[no interval: these images chose the epoch]" in out
    assert result["test"]["interval"] is None and 1 < len(result["test"]["by_group"]) < 5
    baselines = {"faces_ae": {"pca", "mean_image"}, "faces_emotion": {"majority_class", "linear_pixels"}}
    assert result["baselines"].keys() == baselines[recipe]
    assert [record["epoch"] for record in read_metrics(run)] == [-1, 0, 1]


@BOTH
def test_four_epochs_equal_two_then_two_after_a_resume(recipe, run_main, tmp_path):
    """With a schedule that depends on the epoch alone; `cosine` also depends on the total."""
    runs = tmp_path / "weights"
    run_main(recipe, "--namestr whole --n_epochs 4 --schedule step every=3")
    run_main(recipe, "--namestr halves --n_epochs 2 --schedule step every=3")
    status, _, err = run_main("", f"--load_dir {runs / 'halves'} --n_epochs 4")
    assert status == 0, err
    assert same(weights_of(runs / "whole" / "3"), weights_of(runs / "halves" / "3"))
    assert same(weights_of(runs / "whole" / "best"), weights_of(runs / "halves" / "best"))
    assert read_metrics(runs / "whole") == read_metrics(runs / "halves")
    results = [json.loads((runs / name / "result.json").read_text()) for name in ("whole", "halves")]
    assert [result.pop("seconds") >= 0 for result in results] and results[0] == results[1]


def test_the_use_of_the_test_part_is_counted(run_main, tmp_path):
    run = tmp_path / "weights" / "run"
    run_main("faces_ae", "--namestr run --n_epochs 1 --test_fraction 0.25 --keep all")
    counts = [json.loads((run / "result.json").read_text())["test"]["n_judged"]]
    for words in ("--n_epochs 2", "--n_epochs 3"):
        status, out, _ = run_main("", f"--load_dir {run} {words}")
        counts.append(json.loads((run / "result.json").read_text())["test"]["n_judged"])
    assert status == 0 and counts == [1, 2, 3] and "the test part was used for 3 different best epochs" in out
    assert sorted(json.loads((run / "tested.json").read_text()).values()) == [0, 1, 2]
    (run / "result.json").unlink()
    assert run_main("", f"--load_dir {run}")[0] == 0  # the same weights count once
    assert json.loads((run / "result.json").read_text())["test"]["n_judged"] == 3


def test_an_interrupted_run_resumes_exactly(stimuli, tmp_path):
    runs = tmp_path / "weights"
    words = f"--data_dir {stimuli} --save_dir {runs} {SMALL['faces_ae']} --n_epochs 400"
    command = [sys.executable, str(HERE / "main.py"), "--no-plot", *words.split(), "--namestr", "cut"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    while process.poll() is None and len(read_metrics(runs / "cut")) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert f"--load_dir {runs / 'cut'}" in err
    stopped = len(read_metrics(runs / "cut")) - 1  # without the start
    assert stopped < 400
    (session,) = [path for path in (runs / "cut").iterdir() if path.name.isdigit()]
    assert int(session.name) == stopped - 1
    # in separate processes too: what other tests did in this one (threads, UMAP) can change the last bit
    for more in (["--load_dir", str(runs / "cut")], [*command[3:-2], "--namestr", "whole"]):
        subprocess.run([*command[:3], *more], capture_output=True, check=True)
    assert same(weights_of(runs / "whole" / "399"), weights_of(runs / "cut" / "399"))


def test_resuming_an_earlier_session_starts_a_new_run(run_main, tmp_path):
    runs = tmp_path / "weights"
    run_main("faces_ae", "--namestr run --n_epochs 4 --save_every 2 --keep all --schedule constant")
    before = (runs / "run" / "metrics.jsonl").read_text()
    status, _, _ = run_main("", f"--load_dir {runs / 'run' / '1'} --n_epochs 4")
    assert status == 0
    assert (runs / "run" / "metrics.jsonl").read_text() == before
    assert same(weights_of(runs / "run" / "3"), weights_of(runs / "run-2" / "3"))
    assert read_metrics(runs / "run-2") == read_metrics(runs / "run")


def test_runs_are_equal_only_if_their_seeds_are_equal(run_main, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        run_main("faces_ae", f"--namestr {name} --n_epochs 1 --seed {seed}")
    a, b, c = (weights_of(tmp_path / "weights" / name / "0") for name in "abc")
    assert same(a, b) and not same(a, c)


def test_a_run_stopped_before_its_result_gets_it_when_resumed(run_main, tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(result, "judge_run", stop)
    status, _, err = run_main("faces_ae", "--namestr run --n_epochs 2")
    run = tmp_path / "weights" / "run"
    assert status == 130 and f"--load_dir {run}" in err and not (run / "result.json").exists()
    monkeypatch.undo()
    status, _, err = run_main("", f"--load_dir {run}")
    assert status == 0, err
    assert json.loads((run / "result.json").read_text())["best_epoch"] <= 1
    assert len(read_metrics(run)) == 3


@pytest.mark.parametrize("name", ["result.json", "validation.csv"])
def test_a_lost_or_damaged_result_is_made_again(run_main, tmp_path, name):
    run_main("faces_ae", "--namestr run --n_epochs 1")
    run = tmp_path / "weights" / "run"
    before = {one: (run / one).read_bytes() for one in ("result.json", "validation.csv")}
    for damage in ((run / name).unlink, lambda: (run / name).write_bytes(before[name][:-9])):
        damage()
        status, _, err = run_main("", f"--load_dir {run}")
        assert status == 0 and f"{name} is" in err and "the result is made again" in err
        assert (run / "validation.csv").read_bytes() == before["validation.csv"]
    status, _, err = run_main("", f"--load_dir {run}")
    assert status == 2 and "has already trained 1 epochs" in err


def test_a_resumed_run_follows_the_longer_schedule(run_main, tmp_path):
    run_main("faces_ae", "--namestr run --n_epochs 2 --schedule cosine")
    run = tmp_path / "weights" / "run"
    run_main("", f"--load_dir {run} --n_epochs 4")
    groups = torch.load(run / "3" / "optim.pth", weights_only=True)["param_groups"]
    assert groups[0]["lr"] == pytest.approx(0)
    first, last = read_metrics(run)[1], read_metrics(run)[2]
    assert first["validation/mse"] != last["validation/mse"]  # the third epoch changed the weights


def test_patience_waits_for_an_evaluation(run_main, tmp_path):
    run_main("faces_ae", "--namestr run --n_epochs 20 --lr 0.1 --schedule constant --test_every 5 --patience 3")
    *_, last = read_metrics(tmp_path / "weights" / "run")
    assert "validation/mse" in last and last["epoch"] == 4


def test_a_test_without_groups_has_an_interval_over_images(run_main, tmp_path):
    words = "--dataset digits --objective classify --encoder fc hidden=8 --latent_dim 4 --head linear --augment none"
    status, out, _ = run_main("", f"{words} --namestr run --n_epochs 1 --test_fraction 0.2 --save_dir {tmp_path}")
    test = json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    low, high = test["interval"]
    assert status == 0 and low < test["value"] < high and test["by_group"] is None
    assert f"[95 %: {low:.4g} to {high:.4g}]  n = {test['n']} images  majority_class" in out


def test_few_groups_have_their_values_and_no_interval(run_main, stimuli, tmp_path):
    words = f"--data_dir {stimuli} --namestr run --n_epochs 1 --split group --test_fraction 0.5 --save_dir {tmp_path}"
    status, out, _ = run_main("faces_ae", words)
    test = json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    assert status == 0 and "[no interval: 2 groups are too few]" in out and len(test["by_group"]) == 2
    assert all(f"{name} {value:.4g}" in out for name, value in test["by_group"].items())


def test_comet_can_be_left_out_when_resuming(run_main, tmp_path):
    run_main("faces_ae", "--namestr run --n_epochs 1")
    run = tmp_path / "weights" / "run"
    config = (run / "config.json").read_bytes().replace(b'"comet": false', b'"comet": true')
    commit_files(run, {"config.json": config})
    status, _, err = run_main("", f"--load_dir {run} --n_epochs 2 --no-comet")
    assert status == 0, err


def test_every_row_of_a_table_has_an_image_and_its_prediction(run_main, stimuli, tmp_path):
    run_main("faces_emotion", "--namestr run --n_epochs 1 --split group --val_fraction 0.5")
    with (tmp_path / "weights" / "run" / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    for row in rows:
        assert (stimuli / row["id"]).is_file()
        assert row["label"] == row["emotion"] and f"_{row['label']}_" in row["id"]
        assert row["predicted"] in ("Ha", "Sa") and 0.5 <= float(row["probability"]) <= 1


def test_the_best_weights_are_those_of_the_best_validated_epoch(run_main, tmp_path):
    run_main("faces_ae", "--namestr run --n_epochs 6 --schedule constant --save_every 1 --keep all")
    run = tmp_path / "weights" / "run"
    records = read_metrics(run)
    best = min(records, key=lambda record: record["validation/mse"])["epoch"]
    assert json.loads((run / "result.json").read_text())["best_epoch"] == best
    assert same(weights_of(run / "best"), weights_of(run / str(best)))


def test_the_start_can_be_the_best(run_main, tmp_path):
    _, out, _ = run_main("faces_ae", "--namestr run --n_epochs 2 --lr 0.1 --schedule constant --keep all")
    run = tmp_path / "weights" / "run"
    assert "best epoch 0 of 2 (the start: no epoch did better)" in out
    assert not same(weights_of(run / "best"), weights_of(run / "1"))
    result = json.loads((run / "result.json").read_text())
    assert result["best_epoch"] == -1 and result["validation"]["value"] == read_metrics(run)[0]["validation/mse"]


def test_patience_stops_a_run_that_no_longer_improves(run_main, tmp_path):
    status, out, _ = run_main("faces_ae", "--namestr run --n_epochs 200 --lr 0.1 --schedule constant --patience 2")
    run = tmp_path / "weights" / "run"
    n_epochs = len(read_metrics(run)) - 1  # without the start
    assert f"best epoch {n_epochs - 2} of {n_epochs} (--patience 2 ran out)" in out
    assert status == 0 and n_epochs == json.loads((run / "result.json").read_text())["best_epoch"] + 3 < 200


def test_more_epochs_are_suggested_if_the_last_is_the_best(run_main):
    _, out, _ = run_main("faces_ae", "--namestr run --n_epochs 1")
    assert "best epoch 1 of 1 (more --n_epochs may do better)" in out


def test_only_a_split_that_mixes_people_is_reported(run_main):
    _, _, mixed = run_main("faces_ae", "--namestr a --n_epochs 1")
    _, _, apart = run_main("faces_ae", "--namestr b --n_epochs 1 --split group")
    assert "are both in training and in another part" in mixed
    assert "are both in training and in another part" not in apart


def test_rejigged_data_trains_a_classifier(run_main, stimuli, tmp_path):
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


def test_every_note_is_printed_once(run_main, stimuli):
    _, _, err = run_main("faces_ae", f"--namestr run --n_epochs 1 --data_dir {stimuli} --split block --n_blocks 6")
    notes = [line for line in err.splitlines() if line.startswith("note: ")]
    assert any("order of the frames" in note for note in notes) and len(set(notes)) == len(notes)


def test_unreadable_images_are_left_out_only_when_asked(run_main, stimuli, tmp_path):
    folder = shutil.copytree(stimuli, tmp_path / "stimuli")
    (folder / "01" / "broken.png").write_bytes(b"not a picture")
    words = f"--data_dir {folder} --namestr run --n_epochs 1"
    status, _, err = run_main("faces_ae", words)
    assert status == 2 and "broken.png" in err and "--skip_unreadable" in err
    status, _, _ = run_main("faces_ae", words + " --skip_unreadable")
    assert status == 0
    assert json.loads((tmp_path / "weights" / "run" / "config.json").read_text())["skipped"] == ["01/broken.png"]


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
