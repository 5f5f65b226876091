"""The training of several runs on an engine: each is resumed when something stops it, and none stops another."""

import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field

from neuro_noodle.plain import first_line
from neuro_noodle.progress import Stage, say
from neuro_noodle.runs.files import short_path, write_json
from neuro_noodle.sweeps.attempts import FINISHED, LOST, STOPPED, Job
from neuro_noodle.sweeps.engines import Submit
from neuro_noodle.sweeps.outcomes import format_job

LOG = "finished.log"
N_LINES = 6  # that are shown of the output of a run that failed
N_CHARACTERS = 20_000  # of a log that are read for them


@dataclass
class Training:
    """Runs that are trained on an engine.

    Attributes:
        submit: starts an attempt at a run.
        n_runs: of the sweep.
        n_ended: runs that have finished or failed.
        retries: how often a run is resumed that was stopped without having saved anything new.
        n_resumed: how often each run was, by its name, since it last saved something new.
        n_trained: epochs that each run had saved when it was last stopped.
    """

    submit: Submit
    n_runs: int
    n_ended: int
    retries: int
    n_resumed: dict[str, int] = field(default_factory=dict)
    n_trained: dict[str, int] = field(default_factory=dict)

    def train(self, jobs: Sequence[Job]) -> None:
        """Train runs until each has finished, has failed or was stopped too often."""
        running = {self.submit(job): job for job in jobs}
        with Stage("training", self.n_runs, n=self.n_ended, unit="run") as stage:
            try:
                while running:
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        job = running.pop(future)
                        if again := self._settle(job, future):
                            running[again] = job
                        stage.n = self.n_ended
            except KeyboardInterrupt:
                say("stopping: runs finish their epoch, and save; the same command continues them")
                raise

    def _settle(self, job: Job, future: Future) -> Future | None:
        """Report the end of an attempt; returns the next attempt if the run is resumed."""
        error = future.exception()
        status = LOST if error else future.result()
        if status in (STOPPED, LOST) and self._may_resume(job):
            say(f"{job.name}: {self._explain(job, status, error)}; resuming it")
            return self.submit(job)
        if status == LOST:
            write_json(job.log(".json"), job.state() | {"status": LOST})
        self.n_ended += 1
        text = format_job(job) if status == FINISHED else self._explain(job, status, error)
        with (job.sweep / LOG).open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {job.name}: {text.splitlines()[0]}\n")
        say(f"[{self.n_ended}/{self.n_runs}] {job.name}: {text}")
        return None

    def _may_resume(self, job: Job) -> bool:
        """Return whether a run that was stopped may be resumed once more."""
        n_trained = job.n_trained()
        if n_trained > self.n_trained.get(job.name, 0):
            self.n_resumed[job.name] = 0
        self.n_trained[job.name] = n_trained
        self.n_resumed[job.name] = self.n_resumed.get(job.name, 0) + 1
        return self.n_resumed[job.name] <= self.retries

    def _explain(self, job: Job, status: str, error: BaseException | None) -> str:
        """Return why an attempt did not finish the run, with the end of its output if it has failed."""
        if isinstance(error, Exception):
            return f"{status}, because the engine lost it ({first_line(error)})"
        exit_status = job.state().get("exit_status")
        if status == STOPPED:
            return f"{status} with exit status {exit_status}"
        log = job.log(".txt")
        end = log.read_bytes()[-N_CHARACTERS:].decode(errors="replace").splitlines()[-N_LINES:]
        return "\n    ".join([f"{status} with exit status {exit_status}; {short_path(log)} ends with", *end])
