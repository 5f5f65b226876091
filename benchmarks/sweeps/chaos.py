"""Kill a sweep and its trainings at random moments, start it again, and compare with one that was left alone.

Run it from the folder of the project: `python -m benchmarks.sweeps.chaos [N_KILLS [SEED]]` (20 kills, seed 0).

A sweep of 12 runs. Each kill is SIGKILL, of one training or of the sweep itself, which is then started again. In the
end every run must have finished once, and every metrics.jsonl must equal that of the sweep that was left alone.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parents[2]
WORDS = ["--vary", "latent_dim=2,4,8,16", "--seeds", "42,43,44", "--retries", "1000", "--", "--dataset", "digits"]
TRAINING = "--encoder fc hidden=256,256 --head fc --n_epochs 24 --save_every 2 --augment none --device cpu"
LONGEST_S = 15.0  # between two kills


def main(n_kills: int, seed: int) -> None:
    """Run the sweep undisturbed and disturbed, and print how they compare."""
    with tempfile.TemporaryDirectory() as name:
        alone, disturbed = Path(name, "alone"), Path(name, "disturbed")
        started = time.monotonic()
        subprocess.run(command(alone), cwd=HERE, check=True, capture_output=True)
        print(f"left alone: {len(runs(alone))} runs in {time.monotonic() - started:.0f} s", flush=True)
        started, chance = time.monotonic(), random.Random(seed)
        kills, process = Counter[str](), start(disturbed)
        while kills.total() < n_kills:
            time.sleep(chance.uniform(0.2, LONGEST_S))
            kills[kill_one(process, disturbed, chance)] += 1
            if process.poll() is not None:
                process = start(disturbed)
        process.wait()
        status = subprocess.run(command(disturbed), cwd=HERE, capture_output=True).returncode
        print(f"killed {dict(kills)}, then finished with status {status} after {time.monotonic() - started:.0f} s")
        print(compare(alone, disturbed))


def command(folder: Path) -> list[str]:
    """Return the command line of the sweep."""
    return [sys.executable, "-m", "neuro_noodle.sweeps", "s", "--save_dir", str(folder), *WORDS, *TRAINING.split()]


def start(folder: Path) -> subprocess.Popen:
    """Start the sweep, or continue it."""
    return subprocess.Popen(command(folder), cwd=HERE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_one(sweep: subprocess.Popen, folder: Path, chance: random.Random) -> str:
    """Kill the sweep or one of its trainings; returns which."""
    trainings = [one for one in psutil.process_iter(["cmdline"]) if is_training(one.info["cmdline"] or [], folder)]
    if trainings and chance.random() < 0.7:
        chance.choice(trainings).kill()
        return "trainings"
    sweep.kill()
    sweep.wait()
    return "sweeps"


def is_training(words: list[str], folder: Path) -> bool:
    """Return whether a command line is that of a training of the sweep."""
    return str(HERE / "main.py") in words and any(word.startswith(str(folder)) for word in words)


def runs(folder: Path) -> dict[str, Path]:
    """Return the finished runs of the sweep by name."""
    return {path.parent.name: path.parent for path in sorted(folder.glob("s/*/result.json"))}


def compare(alone: Path, disturbed: Path) -> str:
    """Return how the runs of the two sweeps compare, as text."""
    wanted, found = runs(alone), runs(disturbed)
    same = [name for name in wanted if name in found and metrics(wanted[name]) == metrics(found[name])]
    logs = [(disturbed / "s" / "logs" / f"{name}.txt").read_text(encoding="utf-8") for name in found]
    attempts = [log.count("--- attempt") for log in logs]
    ends = [log.count("written to") for log in logs]
    return (
        f"{len(found)} of {len(wanted)} runs finished, {len(same)} with identical metrics.jsonl, "
        f"{sum(end > 1 for end in ends)} trained twice to the end; {sum(attempts)} attempts"
    )


def metrics(run: Path) -> bytes:
    """Return the content of metrics.jsonl."""
    return (run / "metrics.jsonl").read_bytes()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("n_kills", nargs="?", type=int, default=20)
    parser.add_argument("seed", nargs="?", type=int, default=0)
    main(**vars(parser.parse_args()))
