"""Kill trainings at every operation on files and at random instants, resume them, and compare.

Run it from the folder of the project: `python -m benchmarks.survive [N]`.

N (300) is the number of kills, shared by four jobs on the built-in stimuli, a fifth of them at random instants. The
others kill a training before it opens a file for writing, renames, removes or flushes one; of what is not flushed yet,
half is then cut off, as a power cut may do. Each is resumed to its end, and every file must equal that of a
training that was left alone.
"""

import itertools
import json
import os
import runpy
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

os.environ["OMP_NUM_THREADS"] = "1"  # a process with several threads cannot be forked safely

from neuro_noodle.command import load_tables
from neuro_noodle.runs.files import sessions
from neuro_noodle.runs.sessions import load_model, load_pth

HERE = Path(__file__).resolve().parent.parent
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}  # audit events
FACES = "--dataset folder size=26x20 pattern={person}_Ne_to_{emotion}_C{step}"
SMALL = "--encoder fc hidden=16 --latent_dim 4"
JOBS = {
    "face autoencoder": ("faces", f"{FACES} {SMALL}"),
    "classifier, all sessions": ("faces", f"--recipe faces_emotion_scratch {FACES} label=emotion {SMALL} --keep all"),
    "3 repetitions": ("faces", f"{FACES} {SMALL} --repetitions 3"),
    "decoder of principal components": ("arena", "--recipe arena_pca --latent_dim 4 --head conv channels=4,8"),
}
COMMON = "--n_epochs 6 --save_every 2 --test_fraction 0.2 --batch_size 16 --augment none --device cpu --namestr run"


def main(n_kills: int) -> None:
    """Kill and resume each job, and print a line for each."""
    load_tables()
    with tempfile.TemporaryDirectory() as folder:
        for index, (name, (kind, words)) in enumerate(JOBS.items()):
            stimuli = Path(folder, kind)
            if not stimuli.exists():
                draw(kind, stimuli)
            work = Path(folder, str(index))
            print(
                f"{name:<34}", judge(f"{words} {COMMON} --data_dir {stimuli}", work, n_kills // len(JOBS)), flush=True
            )


def draw(kind: str, out: Path) -> None:
    """Draw a few of the built-in stimuli."""
    options = {"faces": ["--n_people", "4", "--n_steps", "3", "--size", "65x51"], "arena": ["--n_frames", "120"]}[kind]
    command = [sys.executable, str(HERE / "Resources" / "simulate.py"), kind, "--out", str(out), *options]
    subprocess.run(command, check=True, capture_output=True)


def judge(words: str, work: Path, n_kills: int) -> str:
    """Kill and resume a training again and again; returns what was found, as text."""
    alone = work / "alone"
    started = time.monotonic()
    train(f"{words} --save_dir {alone}")
    seconds = time.monotonic() - started
    wanted = contents(alone / "run")
    n_operations = count_operations(f"{words} --save_dir {work / 'counted'}", work)
    generator = np.random.default_rng(0)
    n_random = n_kills // 5
    operations = np.unique(np.linspace(0, n_operations - 1, n_kills - n_random).round().astype(int)).tolist()
    delays = generator.uniform(0, seconds, n_random).tolist()
    found: Counter[str] = Counter()
    for kill_at, delay in [*((one, None) for one in operations), *((None, one) for one in delays)]:
        killed = work / "killed"
        train(f"{words} --save_dir {killed}", kill_at=kill_at, delay=delay)
        found.update(inspect(killed / "run"))
        found.update(resume(words, killed, wanted))
        shutil.rmtree(killed)
    return f"{len(operations)} of {n_operations} operations, {n_random} instants: " + ", ".join(
        f"{what} {found[what]}" for what in ("no session yet", "lost", "stale best", "leftovers", "unequal")
    )


def inspect(run: Path) -> list[str]:
    """Return what is wrong with a run after a kill, before anything has mended it."""
    if not sessions(run):
        return ["no session yet"]
    try:
        state = load_pth(sessions(run)[-1] / "state.pth")
        best = load_model(run)[0].state_dict()
    except Exception:  # whatever it is, the session is lost
        return ["lost"]
    wanted = max(state["patience"], key=lambda one: one["rank"])["weights"]
    return [] if all((best[key] == wanted[key]).all() for key in wanted) else ["stale best"]


def resume(words: str, killed: Path, wanted: dict[str, bytes]) -> list[str]:
    """Resume a killed training, or start it again if it had saved nothing; returns how its files differ."""
    run = killed / "run"
    if sessions(run):
        train(f"--load_dir {run}")
    else:
        shutil.rmtree(run, ignore_errors=True)
        train(f"{words} --save_dir {killed}")
    left = contents(run)
    more, different = left.keys() - wanted.keys(), [name for name in wanted if left.get(name) != wanted[name]]
    if more or different:
        print(f"  {run}: left over {sorted(more)}, different {different}", file=sys.stderr)
    return ["leftovers"] * bool(more) + ["unequal"] * bool(different)


def contents(run: Path) -> dict[str, bytes]:
    """Return the content of each file of a run, without what names its folder, its command line, or hashes of these."""
    found = {path.relative_to(run).as_posix(): path.read_bytes() for path in run.rglob("*") if path.is_file()}
    config = json.loads(found["config.json"])
    found["config.json"] = json.dumps(config | {"command": "", "flags": config["flags"] | {"save_dir": ""}}).encode()
    for name in found:
        if name.endswith("manifest.json"):
            manifest = json.loads(found[name])
            found[name] = json.dumps(manifest | {"run": manifest["run"] | {"config.json": ""}, "sha256": ""}).encode()
    return found


def train(words: str, *, kill_at: int | None = None, delay: float | None = None) -> None:
    """Train in a fork of this process, which is killed at an operation on files or after a delay, if one is given."""

    def prepare() -> None:
        if kill_at is not None:
            operations = itertools.count()
            watch(lambda: next(operations) == kill_at)

    process = fork(words, prepare)
    if delay is not None:
        time.sleep(delay)
        os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    if not os.WIFSIGNALED(status) and os.waitstatus_to_exitcode(status) not in (0, 2):
        raise SystemExit(f"main.py {words} failed")  # 2 means that a resumed training has finished already


def count_operations(words: str, work: Path) -> int:
    """Return how many operations on files a training does."""
    log = os.open(work / "operations", os.O_CREAT | os.O_WRONLY)
    os.waitpid(fork(words, lambda: watch(lambda: os.write(log, b".") < 0)), 0)
    os.close(log)
    return (work / "operations").stat().st_size


def fork(words: str, prepare: Callable[[], None]) -> int:
    """Run main.py in a fork of this process; returns its process id."""
    process = os.fork()
    if process:
        return process
    for stream in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    time.monotonic = lambda: 0.0  # else the seconds of two trainings differ
    sys.argv = ["main.py", "--no-plot", *words.split()]
    prepare()
    try:
        runpy.run_path(str(HERE / "main.py"), run_name="__main__")
    except SystemExit as stop:
        os._exit(int(stop.code or 0))
    os._exit(1)


def watch(is_last: Callable[[], bool]) -> None:
    """Kill this process before the first operation on files for which a function returns True."""
    flush, flushed = os.fsync, dict[int, int]()  # size of each file when it was last flushed, by inode

    def audit(event: str, arguments: tuple) -> None:
        writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in CHANGES or (writes and "/run/" in str(arguments[0]))) and is_last():
            os.kill(os.getpid(), signal.SIGKILL)

    def cut_then_flush(handle: int) -> None:
        state = os.fstat(handle)
        if is_last():
            if not stat.S_ISDIR(state.st_mode):
                os.truncate(f"/proc/self/fd/{handle}", (flushed.get(state.st_ino, 0) + state.st_size) // 2)
            os.kill(os.getpid(), signal.SIGKILL)
        flush(handle)
        flushed[state.st_ino] = state.st_size

    os.fsync = cut_then_flush
    sys.addaudithook(audit)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300)
