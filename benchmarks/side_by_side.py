"""Train the same network by main.py, by a tutorial's loop, by a tuned loop and by Keras on JAX, and compare the times.

`side_by_side.py JOB DATA [--rounds N] [--only NAME ...]` starts one process after the other, each in a terminal, and
prints a table: seconds per epoch (with the evaluation of the held-out images; the first epoch is left out), from the
start to the first step, from the last epoch to the end, and of the whole process; peak memory; the last validation
loss (of repetitions the mean, for main.py the median). DATA is a folder that has the folder `mnist`, `london_faces`,
`mouse_openfield`, `orl_faces` or `v1` (the output of `Resources/simulate.py v1`). The floor is the time that the
arithmetic alone would take: the operations of all steps at the speed of a large matrix product, and the optimizer's
memory traffic at the speed of copying.
"""

import argparse
import fcntl
import os
import platform
import pty
import re
import struct
import sys
import tempfile
import termios
import time
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from jobs import JOBS, Job, as_float
from runs import PROJECT
from torch.utils.flop_counter import FlopCounterMode

LOOPS = PROJECT / "benchmarks"
OURS, TUNED = "main.py", "tuned PyTorch"
# what the programs print: ours a progress bar and a line per epoch, the others `step` and `epoch INDEX LOSS LOSS`
FIRST_STEP = re.compile(r"^step|\b[1-9]\d*/\d+ \[")
EPOCH = re.compile(r"^epoch \d+ \S+ (\S+)|\bepoch \d+/\d+  .*validation/loss (\S+)")
ADAM_BYTES = 28  # per weight and step: weight, gradient and two moments are read, three of them written


BARE = """
import torch
from torchvision.models import resnet18
network = resnet18(num_classes=2)
optimizer = torch.optim.Adam(network.parameters(), fused=True)
loss = torch.nn.functional.cross_entropy(network(torch.rand(24, 3, 224, 224)), torch.zeros(24, dtype=torch.long))
loss.backward()
optimizer.step()
print("step")
"""


@dataclass(frozen=True)
class Times:
    """What one training took.

    Attributes:
        epoch, start, end, whole: seconds; `start` is until the first step, `end` from the last epoch on.
        memory: peak, GiB.
        loss: on validation images, at the end.
    """

    epoch: float
    start: float
    end: float
    whole: float
    memory: float
    loss: float


def main() -> None:
    """Run all programs in turn and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", help="only these programs", default=[])
    flags = parser.parse_args()
    job, data = JOBS[flags.job], flags.data.resolve()
    with tempfile.TemporaryDirectory() as folder:
        programs = {name: words for name, words in commands(flags.job, data, folder).items() if keep(name, flags.only)}
        if not programs:
            parser.error(f"no program has a name with {' or '.join(flags.only)}")
        found: dict[str, list[Times]] = {name: [] for name in programs}
        for index in range(flags.rounds):
            for name in list(programs)[:: -1 if index % 2 else 1]:  # in turn, every other round in reverse order
                found[name].append(run(programs[name]))
                print(f"  {name:<16}{found[name][-1]}", file=sys.stderr, flush=True)
    print_table(found, flags.job, job, data)


def keep(name: str, only: list[str]) -> bool:
    """Return whether a program was asked for."""
    return not only or any(word in name for word in only)


def commands(name: str, data: Path, folder: str) -> dict[str, list[str]]:
    """Return the command line of each program."""
    job = JOBS[name]
    ours = f"{job.ours} --batch_size {job.batch_size} --n_epochs {job.n_epochs} --lr {job.lr} --device cpu"
    folders = ["--data_dir", str(data / job.data), "--save_dir", folder]
    programs = {
        OURS: [str(PROJECT / "main.py"), "--no-plot", *ours.split(), "--log_every", "1", *folders],
        TUNED: [str(LOOPS / "tuned.py"), name, str(data)],
        "textbook": [str(LOOPS / "textbook.py"), name, str(data)],
    }
    if name == "mnist" and find_spec("keras") and find_spec("jax"):
        programs["Keras on JAX"] = [str(LOOPS / "keras_jax.py"), name, str(data)]
    if name == "resnet18":
        programs["one step"] = ["-c", BARE]
    return programs


def run(words: list[str]) -> Times:
    """Run a program in a terminal, and time it by what it prints."""
    started = time.perf_counter()
    process, terminal = pty.fork()
    if process == 0:
        os.execv(sys.executable, [sys.executable, *words])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
    first, ends, loss, text = 0.0, [], np.nan, ""
    while part := read(terminal):
        now = time.perf_counter() - started
        *lines, text = re.split(r"[\r\n]+", text + part)
        for line in lines:
            first = first or (now if FIRST_STEP.search(line) else 0.0)
            if found := EPOCH.search(line):
                ends.append(now)
                loss = float(found[1] or found[2])
    _, status, usage = os.wait4(process, 0)
    whole = time.perf_counter() - started
    os.close(terminal)
    if status or not first:
        raise SystemExit(f"{' '.join(words)} failed:\n{text}")
    epoch, end = (float(np.median(np.diff(ends))), whole - ends[-1]) if ends else (np.nan, np.nan)
    return Times(epoch, first, end, whole, usage.ru_maxrss / 2**20, loss)


def read(terminal: int) -> str:
    """Return what a program has printed, an empty text at its end."""
    try:
        return os.read(terminal, 2**16).decode(errors="replace")
    except OSError:  # it has ended
        return ""


def print_table(found: dict[str, list[Times]], name: str, job: Job, data: Path) -> None:
    """Print medians and ranges, ratios to the tuned loop, the floor, the versions and the machine."""
    names = [field.name for field in fields(Times)]
    print(f"{name}: median of {len(next(iter(found.values())))} rounds (minimum to maximum); s, GiB")
    print(f"| | {' | '.join(names)} | epoch / tuned |\n|{'---|' * (len(names) + 2)}")
    for program, times in found.items():
        values = {field: [getattr(one, field) for one in times] for field in names}
        cells = [f"{np.median(each):.4g} ({min(each):.4g} to {max(each):.4g})" for each in values.values()]
        reference = [one.epoch for one in found.get(TUNED, [])] or [np.nan] * len(times)
        ratios = np.array(values["epoch"]) / np.array(reference)
        ratio = f"{np.median(values['epoch']) / np.median(reference):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        print(f"| {program} | {' | '.join(cells)} | {ratio} |")
    print(f"floor of an epoch: {floor(job, data)}")
    print(
        ", ".join(f"{package} {package_version(package)}" for package in ("torch", "numpy", "keras", "jax")), end=", "
    )
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {processor()}")


def package_version(name: str) -> str:
    """Return the version of a package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """Return the name of the processor."""
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    found = re.search(r"model name\s*: (.*)", text)
    return found[1] if found else platform.processor()


def floor(job: Job, data: Path) -> str:
    """Return the seconds of an epoch's arithmetic, and the measured speeds it was computed with."""
    x, y = job.tensors(data)
    n_steps = (len(x) - job.n_validation) / job.batch_size
    network, images, targets = job.network(), as_float(x[: job.batch_size]), y[: job.batch_size]
    with FlopCounterMode(display=False) as counter:
        job.loss(network(images), images if x is y else targets).backward()
    n_weights = sum(weights.numel() for weights in network.parameters())
    peak, copying = product_speed(torch.bfloat16 if job.bf16 else torch.float32), copy_speed()
    seconds = job.n_repetitions * n_steps * (counter.get_total_flops() / peak + n_weights * ADAM_BYTES / copying)
    kind = "bf16" if job.bf16 else "fp32"
    return f"{seconds:.2f} s, at {peak / 1e9:.0f} GFLOP/s ({kind} products of 2048x2048) and {copying / 1e9:.0f} GB/s"


def product_speed(dtype: torch.dtype) -> float:
    """Return the floating-point operations per second of a large matrix product, the median of 15."""
    one = torch.randn(2048, 2048, dtype=dtype)
    return 2 * 2048**3 / median_seconds(lambda: one @ one)


def copy_speed() -> float:
    """Return the bytes per second that are read and written when copying 256 MB, the median of 15."""
    one = torch.ones(2**26)
    other = torch.empty_like(one)
    return 2 * one.nbytes / median_seconds(lambda: other.copy_(one))


def median_seconds(function) -> float:
    """Return the median time of 15 calls."""
    seconds = []
    for _ in range(15):
        started = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


if __name__ == "__main__":
    main()
