"""Several processes that train one network: the same numbers as one process, one run, one message, an exact resume."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import HERE, error_message, same, train_silently, weights_of

from neuro_noodle.runs.metrics import read_metrics

SCRIPT = Path(__file__).parent / "train_together.py"
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
FACES = "--data_dir {faces} --dataset folder size=26x20 --precision fp32 --n_epochs 2"
AE = f"{FACES} --encoder fc hidden=8 --latent_dim 4"
CONV = f"{FACES} --recipe faces_emotion_scratch --encoder conv channels=4,8 --batch_size 7"
RUNS = {
    "augmented": f"{AE} --encoder fc hidden=8 noise=0.1 beta=0.5 --objective reconstruct noise=0.1 --augment shift "
    "--batch_size 7",
    "batch_norm": CONV,
    "single_images": f"{AE} --batch_size 1",
    "missing_responses": "--data_dir {recording} --dataset recordings --recipe v1_ln --split random --n_epochs 2 "
    "--batch_size 5 --precision fp32",
    "repetitions": f"{CONV} --repetitions 2",
    "frozen": f"{AE} --encoder pca --augment none --batch_size 7 --latents_every 1",
}
WHOLE = f"{CONV} --n_epochs 4 --augment noise"


def start(words, folder, **options):
    """Start two processes; temporary files are in `tmp` in a folder."""
    (folder / "tmp").mkdir(exist_ok=True)
    environment = os.environ | {"TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen([*TORCHRUN, *words], env=environment, stdout=pipe, stderr=pipe, text=True, **options)


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A recording of which a third of the responses is missing."""
    path = tmp_path_factory.mktemp("recorded") / "recording.npz"
    generator = np.random.default_rng(0)
    responses = generator.poisson(3, (24, 5)).astype(np.float32)
    responses[generator.random((24, 5)) < 0.3] = np.nan
    np.savez(path, images=generator.random((24, 8, 8)).astype(np.float32), responses=responses)
    return path


@pytest.fixture(scope="module")
def together(stimuli, recording, tmp_path_factory):
    """Train every run in two processes, and one that is stopped after 2 of 4 epochs and resumed; returns the folder."""
    folder = tmp_path_factory.mktemp("together")
    places = {"faces": stimuli, "recording": recording}
    jobs = [(f"{words.format(**places)} --save_dir {folder} --namestr {name}", None) for name, words in RUNS.items()]
    whole = f"{WHOLE.format(**places)} --save_dir {folder}"
    jobs += [(f"{whole} --namestr whole", None), (f"{whole} --namestr stopped", 1)]
    jobs += [(f"--load_dir {folder}/stopped", None), (f"--load_dir {folder}/stopped", None)]
    (folder / "jobs.json").write_text(json.dumps(jobs))
    process = start([str(SCRIPT), str(folder / "jobs.json")], folder)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    (folder / "statuses.json").write_text(out.splitlines()[-1])
    (folder / "err.txt").write_text(err)
    return folder


@pytest.mark.parametrize("name", RUNS)
def test_two_processes_train_like_one(name, together, stimuli, recording, tmp_path):
    words = RUNS[name].format(faces=stimuli, recording=recording)
    train_silently(f"{words} --save_dir {tmp_path} --namestr {name}")
    alone, both = read_metrics(tmp_path / name), read_metrics(together / name)
    assert len(both) == 3
    for one, other in zip(alone, both, strict=True):
        assert one.keys() == other.keys()
        for key in one.keys() - {"epoch", "repetitions"}:
            assert other[key] == pytest.approx(one[key], rel=1e-5, abs=1e-5), key
    assert {path.name for path in (together / name).iterdir()} == {path.name for path in (tmp_path / name).iterdir()}


def test_a_resumed_run_equals_an_uninterrupted_one(together):
    """The last process was asked to stop; both stopped after the same epoch, and the first has saved."""
    assert json.loads((together / "statuses.json").read_text())[-4:] == [0, 130, 0, 2]
    assert same(weights_of(together / "whole" / "3"), weights_of(together / "stopped" / "3"))
    assert read_metrics(together / "whole") == read_metrics(together / "stopped")
    assert (together / "err.txt").read_text().count("has already trained 4 epochs") == 1


def test_the_first_process_alone_writes_one_run(together):
    assert json.loads((together / "whole" / "config.json").read_text())["n_processes"] == 2
    folders = {path.name for path in together.iterdir() if path.is_dir()}
    assert folders == {*RUNS, "whole", "stopped", "tmp"}
    assert [path for path in (together / "tmp").iterdir() if not path.name.startswith("torch")] == []


def test_an_error_is_reported_once_and_ends_all(tmp_path):
    words = f"{HERE / 'main.py'} --data_dir {tmp_path / 'nowhere'} --save_dir {tmp_path / 'weights'}"
    process = start(words.split(), tmp_path)
    _, err = process.communicate(timeout=120)
    assert err.count("error: ") == 1 and err.count(f"error: no folder {tmp_path / 'nowhere'}") == 1
    assert "exitcode  : 2 " in err and "exitcode  : 1 " not in err
    assert not (tmp_path / "weights").exists()


def test_a_stopped_pair_can_be_continued_by_one(stimuli, tmp_path, run_main):
    words = f"{WHOLE.format(faces=stimuli)} --n_epochs 100000 --save_dir {tmp_path / 'weights'} --namestr run"
    process = start([str(HERE / "main.py"), *words.split()], tmp_path)
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            process.send_signal(signal.SIGTERM)
            break
    _, err = process.communicate(timeout=120)
    assert err.count("stopped; resume with") == 1
    n_trained = len(read_metrics(tmp_path / "weights" / "run")) - 1
    assert n_trained < 100000
    status, _, note = run_main("", f"--load_dir {tmp_path / 'weights' / 'run'} --n_epochs {n_trained + 1}")
    assert status == 0 and "was trained by 2 processes and is continued by 1" in note
    assert len(read_metrics(tmp_path / "weights" / "run")) == n_trained + 2


@pytest.mark.parametrize(
    ("words", "why"), [("--folds 3", "--fold 1/3"), ("--test", "a single process"), ("--compile", "a single process")]
)
def test_what_torchrun_cannot_do_is_refused(words, why, run_main, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert why in error_message(run_main, words)
