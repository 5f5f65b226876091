"""Batch systems with one node on this machine: Slurm and Grid Engine, installed and started by root on Debian."""

import contextlib
import os
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

WAIT_S = 60.0
N_CORES = os.cpu_count() or 1
SGE_ROOT = "/var/lib/gridengine"

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
SlurmUser=root
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} RealMemory=4000 State=UNKNOWN
PartitionName=cpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
PARALLEL = """\
pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""


class Unavailable(Exception):
    """Why a batch system cannot be started here."""


def run(*words: str, text: str = "") -> str:
    """Run a program, and return its output; raises Unavailable if it fails."""
    try:
        done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(f"{words[0]}: {error}") from None
    if done.returncode:
        raise Unavailable(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()[-300:]}")
    return done.stdout


def install(*packages: str, settings: str = "") -> None:
    """Install packages of Debian; raises Unavailable if this is not Debian, or not root."""
    if os.geteuid() or not shutil.which("apt-get"):
        raise Unavailable("installing it needs Debian and root")
    if settings:
        run("debconf-set-selections", text=settings)
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)


def wait_for(*words: str, word: str) -> None:
    """Wait until a word is in the output of a program; raises Unavailable if it takes too long."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        with contextlib.suppress(Unavailable):
            if word in run(*words):
                return
        time.sleep(0.5)
    raise Unavailable(f"'{' '.join(words)}' never answered {word}")


@contextlib.contextmanager
def slurm(folder: Path) -> Iterator[None]:
    """Run a Slurm of one node."""
    install("slurm-wlm", "munge")
    host = platform.node().partition(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir(parents=True)
    Path("/run/munge").mkdir(exist_ok=True)
    shutil.chown("/run/munge", "munge", "munge")
    with contextlib.suppress(Unavailable):  # it runs already
        run("runuser", "-u", "munge", "--", "/usr/sbin/munged")
    conf = Path("/etc/slurm/slurm.conf")
    conf.parent.mkdir(exist_ok=True)
    conf.write_text(SLURM_CONF.format(host=host, folder=folder, cores=N_CORES), encoding="utf-8")
    try:
        run("slurmctld")
        run("slurmd")
        wait_for("sinfo", "-h", "-o", "%t", word="idle")
        yield
    finally:
        for name in ("slurmd", "slurmctld"):
            with contextlib.suppress(OSError):
                os.kill(int((folder / f"{name}.pid").read_text(encoding="utf-8")), 15)


@contextlib.contextmanager
def gridengine(folder: Path) -> Iterator[None]:
    """Run a Grid Engine of one node."""
    os.environ["SGE_ROOT"], host = SGE_ROOT, socket.gethostname()
    answers = {
        "shared/gridenginemaster string": host,
        "shared/gridenginecell string": "default",
        "shared/gridengineconfig boolean": "true",
    }
    settings = "".join(f"gridengine-master {key} {value}\n" for key, value in answers.items())
    install("gridengine-master", "gridengine-exec", "gridengine-client", settings=settings)
    Path(SGE_ROOT, "default/common/host_aliases").write_text(f"{host} localhost\n", encoding="utf-8")
    folder.mkdir(parents=True)
    try:
        run("sge_qmaster")
        wait_for("qconf", "-sh", word="")
        change("-sconf", "-Mconf", folder / "global", {"min_uid": "0", "min_gid": "0"})
        run("qconf", "-as", host)
        add("-Ahgrp", folder / "hosts", f"group_name @allhosts\nhostlist {host}\n")
        add("-Ap", folder / "pe", PARALLEL)
        queue = {"qname": "all.q", "hostlist": "@allhosts", "slots": str(N_CORES), "pe_list": "make smp"}
        change("-sq", "-Aq", folder / "queue", queue | {"shell": "/bin/bash", "load_thresholds": "NONE"})
        often = {"schedule_interval": "0:0:1", "flush_submit_sec": "1", "flush_finish_sec": "1"}
        change("-ssconf", "-Msconf", folder / "scheduler", often)
        run("sge_execd")
        time.sleep(2)
        yield
    finally:
        for option in ("-ke", "-km"):
            with contextlib.suppress(Unavailable):
                run("qconf", option, *(["all"] if option == "-ke" else []))
        time.sleep(2)
        subprocess.run(["pkill", "-f", "sge_qmaster|sge_execd"], check=False)


def change(show: str, modify: str, path: Path, values: dict[str, str]) -> None:
    """Change values of a configuration of Grid Engine."""
    lines = [line for line in run("qconf", show).splitlines() if not line.startswith("#")]
    changed = [f"{key} {values[key]}" if (key := line.partition(" ")[0]) in values else line for line in lines]
    add(modify, path, "\n".join(changed) + "\n")


def add(option: str, path: Path, content: str) -> None:
    """Give Grid Engine a file; what exists from an earlier time is kept."""
    path.write_text(content, encoding="utf-8")
    try:
        run("qconf", option, str(path))
    except Unavailable as error:
        if "exist" not in str(error):
            raise


CLUSTERS = {"slurm": slurm, "gridengine": gridengine}
