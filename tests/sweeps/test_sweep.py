"""A sweep from start to end, with a stand-in for main.py: engines, survival, tables and pictures."""

import csv
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from helpers import HERE

from neuro_noodle.sweeps import attempts
from neuro_noodle.sweeps.__main__ import main

FAKE = Path(__file__).with_name("fake_main.py")


@pytest.fixture
def sweep(tmp_path, monkeypatch, capsys):
    """Return a function that runs the command line of a sweep; returns status, output and errors."""
    monkeypatch.setattr(attempts, "MAIN", FAKE)

    def run(words: str):
        before, _, after = f" {words}".partition(" -- ")
        words = ["--", *after.split()] if after else []
        status = main(["s", *before.split(), "--save_dir", str(tmp_path), *words])
        output = capsys.readouterr()
        return status, output.out, output.err

    return run


def rows(path: Path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sweep_trains_every_configuration_with_every_seed(sweep, tmp_path):
    status, out, _ = sweep("--vary latent_dim=2,8 --seeds 42,43 -- --batch_size 9")
    assert status == 0 and "best on validation: latent_dim=2: validation mse 2.042" in out
    assert "flattered by the choice among 2 configurations" in out and "its test mse: 2.042 (mean of 2)" in out
    table = rows(tmp_path / "s" / "runs.csv")
    assert [(row["latent_dim"], row["seed"], row["validation_mse"]) for row in table] == [
        ("2", "42", "2.042"), ("2", "43", "2.043"), ("8", "42", "8.042"), ("8", "43", "8.043"),
    ]  # fmt: skip
    assert {row["status"] for row in table} == {"finished"} and {row["attempts"] for row in table} == {"1"}
    assert {path.name for path in (tmp_path / "s" / "figures").iterdir()} == {"latent_dim.png", "training.png"}
    assert (tmp_path / "s" / "finished.log").read_text().count("validation mse") == 4


def test_differences_are_paired_by_seed(sweep, tmp_path):
    sweep("--vary latent_dim=2,8 --seeds 42,43,45 -- --batch_size 9")
    (row,) = [row for row in rows(tmp_path / "s" / "differences.csv") if row["part"] == "test"]
    assert (row["name"], row["compared_with"], row["n"]) == ("latent_dim=8", "latent_dim=2", "3")
    assert float(row["difference"]) == pytest.approx(6) == pytest.approx(float(row["high"]))


def test_the_same_command_again_trains_only_what_is_missing(sweep, tmp_path):
    sweep("--vary latent_dim=2,8 -- --batch_size 9")
    first = (tmp_path / "s" / "latent_dim=2" / "epochs.txt").stat().st_mtime_ns
    status, out, _ = sweep("--vary latent_dim=2,4,8 -- --batch_size 9")
    assert status == 0 and out.count("[") >= 1 and "[3/3] latent_dim=4" in out and "[1/3]" not in out
    assert (tmp_path / "s" / "latent_dim=2" / "epochs.txt").stat().st_mtime_ns == first


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_each_local_run_has_its_own_core_and_thread(sweep, tmp_path):
    sweep("--vary latent_dim=2,8 --engine local cores=2 -- --batch_size 9 --lr 0.5")
    last = {path.read_text().splitlines()[-1] for path in tmp_path.glob("s/*/epochs.txt")}
    assert last == {f"2 1 [{core}]" for core in sorted(os.sched_getaffinity(0))[:2]}


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
@pytest.mark.parametrize(("visible", "expected"), [("", {"0", "1"}), ("3,GPU-7", {"3", "GPU-7"})])
def test_each_gpu_has_a_run(sweep, tmp_path, monkeypatch, visible, expected):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    sweep("--vary latent_dim=2,8 -- --batch_size 9 --lr 0.5")
    assert {path.read_text() for path in tmp_path.glob("s/*/gpu.txt")} == expected


def test_a_killed_run_is_resumed_from_its_session(sweep, tmp_path):
    """It is killed in epoch 1, after that was saved."""
    status, out, _ = sweep("--vary latent_dim=2 -- --batch_size 1")
    assert status == 0 and "latent_dim=2: stopped with exit status -9; resuming it" in out and "2 attempts" in out
    epochs = [line.split()[0] for line in (tmp_path / "s" / "latent_dim=2" / "epochs.txt").read_text().splitlines()]
    assert epochs == ["0", "1", "2"]
    assert [row["attempts"] for row in rows(tmp_path / "s" / "runs.csv")] == ["2"]


def test_a_run_that_keeps_dying_is_given_up(sweep, tmp_path):
    status, out, _ = sweep("--vary latent_dim=2 --retries 0 -- --batch_size 1")
    assert status == 1 and "[1/1] latent_dim=2: stopped with exit status -9" in out and "no run has finished" in out


def test_a_failing_configuration_stops_no_other(sweep, tmp_path):
    status, out, _ = sweep("--vary latent_dim=13,2 -- --batch_size 9")
    assert status == 1
    assert "latent_dim=13: failed with exit status 2" in out and "    error: 13 is unlucky" in out
    assert [row["status"] for row in rows(tmp_path / "s" / "runs.csv")] == ["failed", "finished"]
    assert "latent_dim=13: failed" in (tmp_path / "s" / "finished.log").read_text()


def test_a_failed_run_is_tried_again_by_the_same_command(sweep, tmp_path):
    for n in (1, 2):
        assert sweep("--vary latent_dim=13 -- --batch_size 9")[0] == 1
        assert attempts.Job(tmp_path / "s", "latent_dim=13", ()).state()["n_attempts"] == n


def test_a_run_that_still_trains_is_awaited_not_repeated(sweep, tmp_path):
    """A sweep that was killed leaves its trainings behind; they hold the locks of their runs."""
    logs = tmp_path / "s" / "logs"
    logs.mkdir(parents=True)
    lock = (logs / "latent_dim=2.lock").open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)

    def finish():
        command = [sys.executable, str(FAKE), "--save_dir", str(tmp_path / "s"), "--namestr", "latent_dim=2"]
        subprocess.run([*command, "--latent_dim", "2"], check=True, env=os.environ | {"OMP_NUM_THREADS": "7"})
        lock.close()

    thread = threading.Timer(0.5, finish)
    thread.start()
    assert sweep("--vary latent_dim=2 -- --batch_size 9")[0] == 0
    thread.join()
    assert all(" 7 " in line for line in (tmp_path / "s" / "latent_dim=2" / "epochs.txt").read_text().splitlines())
    assert attempts.Job(tmp_path / "s", "latent_dim=2", ()).state()["n_attempts"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_sweep_continues_where_it_was(sweep, tmp_path, number):
    """After SIGINT its trainings save and stop; after SIGKILL they go on, and are awaited."""
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        f"from pathlib import Path; from neuro_noodle.sweeps import attempts, __main__\n"
        f"attempts.MAIN = Path({str(FAKE)!r}); sys.exit(__main__.main(sys.argv[1:]))"
    )
    words = ["s", "--vary", "latent_dim=2", "--save_dir", str(tmp_path), "--", "--lr", "0.3"]
    command = [sys.executable, "-c", code, *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not [*tmp_path.glob("s/latent_dim=2/0/manifest.json")] and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    assert ("the same command continues them" in out) == (number == signal.SIGINT)
    assert sweep("--vary latent_dim=2 -- --lr 0.3")[0] == 0
    epochs = [line.split()[0] for line in (tmp_path / "s" / "latent_dim=2" / "epochs.txt").read_text().splitlines()]
    assert sorted(set(epochs)) == ["0", "1", "2"]
    if number == signal.SIGKILL:
        assert epochs == ["0", "1", "2"]


def test_a_folder_that_holds_something_else_is_refused(sweep, tmp_path):
    run = tmp_path / "s" / "latent_dim=2"
    run.mkdir(parents=True)
    status, _, err = sweep("--vary latent_dim=2 -- --batch_size 9")
    assert status == 2 and "holds ['latent_dim=2'], but no sweep; choose another NAME" in err and run.exists()


def test_a_run_that_saves_between_kills_is_never_given_up(sweep):
    """Each job of a batch system may end at its time limit."""
    status, out, _ = sweep("--vary latent_dim=2 --retries 1 -- --batch_size 8")
    assert status == 0 and out.count("resuming it") == 3 and "4 attempts" in out


def test_repetitions_have_a_row_each_and_are_paired(sweep, tmp_path):
    status, out, _ = sweep("--vary latent_dim=2,8 -- --repetitions 3")
    assert status == 0 and "mse (lower is better), 3 repetitions with other weights on the same split" in out
    table = rows(tmp_path / "s" / "runs.csv")
    assert [(row["repetition"], row["validation_mse"], row["test_ceiling"]) for row in table[:3]] == [
        ("0", "2.042", "0.9"), ("1", "2.142", "0.9"), ("2", "2.242", "0.9"),
    ]  # fmt: skip
    assert {row["n"] for row in rows(tmp_path / "s" / "differences.csv")} == {"3"}
    assert "validation mse 2.142" in (tmp_path / "s" / "finished.log").read_text()


def test_undefined_values_are_counted(sweep):
    status, out, _ = sweep("--vary latent_dim=99,2 -- --batch_size 9")
    assert status == 0 and "note: 1 of 2 test values are undefined, and left out" in out
    assert "no run has a value of its metric: mse" in sweep("--vary latent_dim=99 -- --batch_size 9")[1]


@pytest.mark.parametrize("package", ["optuna", "parsl"])
def test_a_missing_package_is_named(sweep, tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr("shutil.which", lambda name: name)
    words = {"optuna": "--vary lr=0.1..0.2 --search optuna", "parsl": "--engine slurm"}[package]
    status, _, err = sweep(f"{words} -- --batch_size 9")
    assert status == 2 and f"needs the package {package}: pip install {package}" in err


@pytest.mark.parametrize(
    ("words", "message"), [("time=4h", "time=4h must be HH:MM:SS"), ("jobs=0", "jobs=0 must be 1 or more")]
)
def test_a_wrong_option_of_a_cluster_is_refused(sweep, monkeypatch, words, message):
    pytest.importorskip("parsl")
    monkeypatch.setattr("shutil.which", lambda name: name)
    assert message in sweep(f"--engine slurm {words} -- --batch_size 9")[2]


def test_a_cluster_trains_as_this_machine_does(sweep, tmp_path, monkeypatch):
    """With parsl's provider of processes on this machine instead of a batch system."""
    parsl = pytest.importorskip("parsl")
    monkeypatch.setattr(
        "parsl.providers.SlurmProvider",
        lambda init_blocks, min_blocks, max_blocks, worker_init, launcher, **_: parsl.providers.LocalProvider(
            init_blocks=1, min_blocks=0, max_blocks=1, worker_init=worker_init, launcher=launcher
        ),
    )
    which = shutil.which
    monkeypatch.setattr("shutil.which", lambda name, **options: name if name == "sbatch" else which(name, **options))
    status, out, _ = sweep("--vary latent_dim=2 --engine slurm address=127.0.0.1 -- --batch_size 9")
    assert status == 0 and "test mse 2.042" in out


def test_a_dry_run_prints_the_commands_and_writes_nothing(sweep, tmp_path):
    status, out, _ = sweep("--vary latent_dim=2,8 --seeds 1,2 --dry_run -- --batch_size 9")
    assert status == 0 and len(out.splitlines()) == 4 and not (tmp_path / "s").exists()
    assert "--batch_size 9 --latent_dim 2 --seed 1 --save_dir" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--vary latent_dim=0,8 -- --lr 1", "latent_dim=0: argument --latent_dim: '0' is not"),
        ("--vary latent_dim=2,8 -- --latent_dim=3", "--latent_dim is varied, but also given after --"),
        ("--vary latent_dim=2 --vary latent_dim=8 -- --lr 1", "--vary latent_dim is given twice"),
        ("--vary data_dir=a/b,a-b -- --lr 1", "two configurations would have the name data_dir=a-b"),
        ("--vary objective=reconstruct,classify -- --lr 1", "objective=classify has accuracy"),
        ("-- --folds 3 --repetitions 2", "leave out one of them"),
        ("-- --rejig_data", "a sweep names, places and starts its runs itself"),
        ("--seeds 1,2 -- --seed 3", "--seed is given after --, and --seeds too"),
        ("--seeds 1,1 -- --lr 1", "has a seed twice"),
        ("--seeds x -- --lr 1", "'x' is not a whole number"),
        ("--vary lr=1,2 -- --save_dir a", "a sweep names, places and starts its runs itself"),
        ("--vary lr=1,2 -- --optimiser adam", "unknown flag '--optimiser', did you mean '--optimizer'?"),
        ("--engine local cores=999 -- --lr 1", "engine 'local': cores_per_run=1 and cores=999"),
        ("--engine slurm -- --lr 1", "engine 'slurm' needs sbatch"),
        ("--engine local cores=1 gpus=0,1 -- --lr 1", "1 cores are too few for a run on each of ['0', '1']"),
        ("--engine gridengine -- --lr 1", "engine 'gridengine' needs qsub"),
        ("--engine slurn -- --lr 1", "did you mean 'slurm'?"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_written(sweep, tmp_path, monkeypatch, words, message):
    monkeypatch.setenv("PATH", "")  # no batch system
    status, _, err = sweep(words)
    assert status == 2 and message in err and not (tmp_path / "s").exists()


def test_a_sweep_with_other_flags_needs_another_name(sweep, tmp_path):
    sweep("--vary latent_dim=2 -- --batch_size 9")
    before = (tmp_path / "s" / "sweep.json").read_bytes()
    status, _, err = sweep("--vary latent_dim=2 -- --batch_size 8")
    assert status == 2 and "holds another sweep: latent_dim=2 has the flags --batch_size 9" in err
    assert (tmp_path / "s" / "sweep.json").read_bytes() == before


def test_a_guided_search_trains_in_batches(sweep, tmp_path):
    pytest.importorskip("optuna")
    status, _, _ = sweep("--vary latent_dim=16..64 --search optuna n=6 batch=3 -- --batch_size 9")
    names = json.loads((tmp_path / "s" / "sweep.json").read_text())["runs"]
    assert status == 0 and 3 < len(names) <= 6
