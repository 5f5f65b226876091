"""Engines: where the runs of a sweep are trained. To add one: a context manager under @ENGINES.add("name").

Each yields a function that submits a run, and returns a future of how its attempt ended.
"""

import contextlib
import os
import re
import shlex
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from neuro_noodle.choices import Table, UserError, require
from neuro_noodle.sweeps.attempts import MAIN, Job, Share, attempt

ENGINES = Table("engine")
Submit = Callable[[Job], Future]


@ENGINES.add("local")
@contextlib.contextmanager
def local(
    folder: Path, *, cores: int | None = None, cores_per_run: int | None = None, gpus: str = "auto"
) -> Iterator[Submit]:
    """Train on this machine: each run has its own cores, or its own GPU.

    Args:
        folder: of the sweep.
        cores: to use in all; those of this machine if None.
        cores_per_run: cores, and threads, of a run; if None, 1 without a GPU, else an equal share of all cores.
        gpus: numbers of the GPUs to use, such as 0,1; none, or auto for all that are found.
    """
    each = _divide(cores, cores_per_run, gpus)
    shares: SimpleQueue[Share] = SimpleQueue()
    for share in each:
        shares.put(share)
    stop = threading.Event()

    def train(job: Job) -> str:
        share = shares.get()
        try:
            return attempt(job, share, stop)
        finally:
            shares.put(share)

    with ThreadPoolExecutor(len(each)) as executor:
        try:
            yield lambda job: executor.submit(train, job)
        finally:
            stop.set()  # trainings that still run finish their epoch, and save
            executor.shutdown(cancel_futures=True)


def _divide(cores: int | None, cores_per_run: int | None, gpus: str) -> list[Share]:
    """Return the shares of this machine, each for a run; the arguments are those of `local`."""
    available = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)]
    n = len(available) if cores is None else cores
    each_gpu = _find_gpus() if gpus == "auto" else [] if gpus == "none" else gpus.split(",")
    cores_per_run = cores_per_run or max(1, n // len(each_gpu) if each_gpu else 1)
    require(
        1 <= cores_per_run <= n <= len(available),
        f"engine 'local': cores_per_run={cores_per_run} and cores={n}, but there are {len(available)} cores",
    )
    own = [available[i : i + cores_per_run] for i in range(0, n - cores_per_run + 1, cores_per_run)]
    if not each_gpu:
        return [Share(cores_per_run, cores) for cores in own]
    require(len(own) >= len(each_gpu), f"engine 'local': {n} cores are too few for a run on each of {each_gpu}")
    return [Share(cores_per_run, *one) for one in zip(own, each_gpu, strict=False)]


def _find_gpus() -> list[str]:
    """Return the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
    n = torch.cuda.device_count()
    return visible[:n] if visible != [""] else [str(index) for index in range(n)]


@ENGINES.add("slurm")
@contextlib.contextmanager
def slurm(
    folder: Path,
    *,
    jobs: int = 4,
    time: str = "04:00:00",
    cores: int = 1,
    memory: int | None = None,
    gpus: int = 0,
    partition: str | None = None,
    account: str | None = None,
    options: str = "",
    address: str | None = None,
) -> Iterator[Submit]:
    """Train in jobs of Slurm; each job trains one run after another.

    Args:
        folder: of the sweep.
        jobs: at a time, at most.
        time: limit of a job, HH:MM:SS; a run that it stops is resumed in another job.
        cores, memory, gpus: of a job; memory in GB.
        partition, account: of the jobs.
        options: others of sbatch.
        address: at which the jobs reach this machine; found by trying if None.
    """
    provider = _require_program("sbatch", "slurm").SlurmProvider(
        partition=partition,
        account=account,
        cores_per_node=cores,
        mem_per_node=memory,
        gpus_per_node=gpus or None,
        scheduler_options=f"#SBATCH {options}" if options else "",
        exclusive=False,
        **_describe_jobs(jobs, time),
    )
    with _by_parsl(folder, provider, Share(cores), address) as submit:
        yield submit


@ENGINES.add("gridengine")
@contextlib.contextmanager
def gridengine(
    folder: Path,
    *,
    jobs: int = 4,
    time: str = "04:00:00",
    cores: int = 1,
    pe: str = "smp",
    memory: int | None = None,
    gpus: int = 0,
    queue: str | None = None,
    options: str = "",
    address: str | None = None,
) -> Iterator[Submit]:
    """Train in jobs of Grid Engine; each job trains one run after another.

    Args:
        folder: of the sweep.
        jobs: at a time, at most.
        time: limit of a job, HH:MM:SS; a run that it stops is resumed in another job.
        cores, memory, gpus: of a job; memory in GB (h_vmem).
        pe: parallel environment that gives a job several cores.
        queue: of the jobs.
        options: others of qsub.
        address: at which the jobs reach this machine; found by trying if None.
    """
    asked = [
        f"-q {queue}" if queue else "",
        f"-pe {pe} {cores}" if cores > 1 else "",
        f"-l h_vmem={memory / cores:g}G" if memory else "",
        f"-l gpu={gpus}" if gpus else "",
        options,
    ]
    provider = _require_program("qsub", "gridengine").GridEngineProvider(
        scheduler_options="\n".join(f"#$ {one}" for one in asked if one), **_describe_jobs(jobs, time)
    )
    with _by_parsl(folder, provider, Share(cores), address) as submit:
        yield submit


def _require_program(program: str, engine: str) -> Any:
    """Return parsl's module of schedulers.

    Raises:
        UserError: if the program that submits jobs is not on this machine, or parsl is not installed.
    """
    require(shutil.which(program) is not None, f"engine '{engine}' needs {program}, which is not on this machine")
    try:
        import parsl.providers
    except ImportError:
        raise UserError(f"engine '{engine}' needs the package parsl: pip install parsl") from None
    return parsl.providers


def _describe_jobs(jobs: int, time: str) -> dict[str, Any]:
    """Return the arguments that all providers of parsl share: how many jobs, how long, in which environment."""
    import parsl.launchers

    require(jobs >= 1, f"jobs={jobs} must be 1 or more")
    require(re.fullmatch(r"\d+:\d\d:\d\d", time) is not None, f"time={time} must be HH:MM:SS, such as 04:00:00")
    programs = Path(sys.executable).parent
    environment = f"export PATH={shlex.quote(str(programs))}:$PATH PYTHONPATH={shlex.quote(str(MAIN.parent))}"
    return {
        "init_blocks": 1,
        "min_blocks": 0,
        "max_blocks": jobs,
        "walltime": time,
        "worker_init": environment,
        "launcher": parsl.launchers.SimpleLauncher(),
    }


@contextlib.contextmanager
def _by_parsl(folder: Path, provider: Any, share: Share, address: str | None) -> Iterator[Submit]:
    """Train in the jobs of a provider of parsl, one run at a time in each."""
    import parsl
    from parsl.concurrent import ParslPoolExecutor
    from parsl.executors import HighThroughputExecutor

    programs = str(Path(sys.executable).parent)
    if programs not in os.environ["PATH"].split(os.pathsep):  # parsl starts programs of its own
        os.environ["PATH"] = os.pathsep.join([programs, os.environ["PATH"]])
    jobs = HighThroughputExecutor(label="jobs", address=address, provider=provider, max_workers_per_node=1)
    executor = ParslPoolExecutor(parsl.Config([jobs], run_dir=str(folder / "engine"), max_idletime=30))
    try:
        yield lambda job: executor.submit(attempt, job, share)
    finally:
        executor.shutdown(wait=False)
