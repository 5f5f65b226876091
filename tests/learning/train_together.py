"""Train several runs, one after another, in each process that torchrun starts: `train_together.py JOBS`.

JOBS is a JSON file with a command line of main.py for each run, and the epoch after which the last process is asked to
stop, or null. The last line that the first process prints has the exit status of each.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch.distributed as dist

import main
from neuro_noodle.learning.ranks import Follower


def train(words: str, stop_after: int | None) -> int:
    """Train one run; returns its exit status."""

    def log(follower: Follower, epoch: int, metrics: object) -> None:
        if epoch == stop_after and int(os.environ["RANK"]) == int(os.environ["WORLD_SIZE"]) - 1:
            os.kill(os.getpid(), signal.SIGTERM)

    Follower.log = log
    try:
        return main.main(["--no-plot", *words.split()])
    except SystemExit as error:  # of a process that does not report the error
        return error.code


if __name__ == "__main__":
    dist.init_process_group("gloo")  # once, because connecting the same processes again can take minutes
    dist.init_process_group = dist.destroy_process_group = lambda *_, **__: None
    statuses = []
    for index, (words, stop_after) in enumerate(json.loads(Path(sys.argv[1]).read_text())):
        os.environ["TORCHELASTIC_RESTART_COUNT"] = str(index)  # as if torchrun had started them anew
        statuses.append(train(words, stop_after))
    if os.environ["RANK"] == "0":
        print(json.dumps(statuses))
