"""Trackers: where the record of a run goes while it trains. The only file that knows Comet.

Every tracker is a `Tracker`, which itself records nothing. To add one: a subclass in this file, started in main.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from choices import UserError


class Tracker:
    """Records nothing; each method may be overridden."""

    def parameters(self, config: dict) -> None:
        """Take the values that make the run."""

    def log(self, record: dict) -> None:
        """Take one epoch's record."""

    def image(self, name: str, pixels, epoch: int) -> None:
        """Take a picture, (H, W) or (H, W, 3) uint8."""

    def confusion(self, counts: list[list[int]], classes: list[str], epoch: int) -> None:
        """Take a confusion matrix: row the true class, column the predicted one."""

    def asset(self, path: Path) -> None:
        """Take a file."""

    def close(self) -> None:
        """Finish; called once, also after an error."""


def spread(values: Sequence[float]) -> tuple[float, float, float]:
    """Return median, 10th and 90th percentile."""
    return tuple(float(np.quantile(values, share)) for share in (0.5, 0.1, 0.9))


def told(value: float | Sequence[float]) -> str:
    """Return a number as text; of repetitions the median, from the 10th to the 90th percentile."""
    if not isinstance(value, list):
        return f"{value:.5g}"
    median, low, high = spread(value)
    return f"{median:.5g} ({low:.4g} to {high:.4g})"


def summarised(record: dict) -> dict:
    """Return a record of repetitions with the median, 10th and 90th percentile of each value, and all of them."""
    of_all = {key: values for key, values in record.items() if isinstance(values, list)}
    for key, values in of_all.items():
        record = record | dict(zip((key, f"{key}_p10", f"{key}_p90"), spread(values), strict=True))
    return record | ({"repetitions": of_all} if of_all else {})


class Console(Tracker):
    """A progress bar on a terminal; elsewhere a line every so many epochs."""

    def __init__(self, start_epoch: int, n_epochs: int, n_steps: int, log_every: int) -> None:
        self.n_epochs = n_epochs
        self.log_every = log_every
        self.bar = tqdm(
            total=n_epochs * n_steps,
            initial=start_epoch * n_steps,
            unit="step",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        )

    def watch(self, batches: Iterable) -> "Watched":
        """Return the same batches, which move the bar as they are taken."""
        return Watched(batches, self.bar)

    def log(self, record: dict) -> None:
        done = record["epoch"] + 1
        self.bar.set_description(f"epoch {done}/{self.n_epochs}")
        if done % self.log_every == 0 or done == self.n_epochs:
            values = "  ".join(f"{key} {told(value)}" for key, value in record.items() if key != "epoch")
            self.bar.write(f"epoch {done}/{self.n_epochs}  {values}")

    def close(self) -> None:
        self.bar.close()


class Watched:
    """Batches that move a progress bar each time one is taken."""

    def __init__(self, batches: Iterable, bar: tqdm) -> None:
        self.batches = batches
        self.bar = bar

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator:
        for batch in self.batches:
            yield batch
            self.bar.update()


class Punctuated:
    """Batches that call back each time so many epochs, or a part of one, have been trained; and before the first.

    Args:
        batches: of one epoch, anew at each iteration.
        every: epochs between two calls.
        start_epoch: the one that the first iteration is.
        call: takes the epochs trained so far; runs between two batches, or after the last.
    """

    def __init__(self, batches: Collection, every: float, start_epoch: int, call: Callable[[float], None]) -> None:
        self.batches = batches
        self.every = every
        self.epoch = start_epoch
        self.call = call

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator:
        n = len(self.batches)
        if self.epoch == 0:
            self.call(0)
        for i, batch in enumerate(self.batches):
            if i:
                self._reach(self.epoch * n + i, n)
            yield batch
        self.epoch += 1
        self._reach(self.epoch * n, n)

    def _reach(self, n_steps: int, n: int) -> None:
        """Call back if the last step was the first to reach a multiple."""
        if math.floor(n_steps / n / self.every + 1e-9) > math.floor((n_steps - 1) / n / self.every + 1e-9):
            self.call(n_steps / n)


class JsonLines(Tracker):
    """A line per epoch in metrics.jsonl; a resumed run goes on after the epochs it keeps."""

    def __init__(self, run: Path, start_epoch: int) -> None:
        kept = [record for record in read_records(run) if record["epoch"] < start_epoch]
        path = run / "metrics.jsonl"
        scratch = path.with_name(".metrics.jsonl.part")
        scratch.write_text("".join(json.dumps(record) + "\n" for record in kept))
        scratch.replace(path)
        self.file = path.open("a")

    def log(self, record: dict) -> None:
        self.file.write(json.dumps(summarised(record)) + "\n")
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def read_records(run: Path) -> list[dict]:
    """Return the records of a run's metrics.jsonl; a last line cut off by a kill is passed over."""
    path = run / "metrics.jsonl"
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


class Comet(Tracker):
    """An experiment at comet.com, or an archive to upload later where the network or the key fails.

    Args:
        run: the folder of the run; archives go to run/comet.
        name: of the experiment.
        account: username, apikey and project.
    """

    def __init__(self, run: Path, name: str, account: dict[str, str]) -> None:
        for variable, value in {
            "COMET_HTTP_SESSION_RETRY_TOTAL": "0",  # or a missing network costs half a minute
            "COMET_GET_OR_ADD_EXPERIMENT_RETRY_TOTAL": "0",
            "COMET_TIMEOUT_HTTP": "5",
            "COMET_DISABLE_AUTO_LOGGING": "1",
            "COMET_LOGGING_CONSOLE": "CRITICAL",  # the client's own message about a wrong key shows the key
        }.items():
            os.environ.setdefault(variable, value)
        import comet_ml

        archive = run / "comet"
        archive.mkdir(exist_ok=True)
        config = comet_ml.ExperimentConfig(
            offline_directory=str(archive),
            name=name,
            log_code=False,
            log_env_details=False,
            log_git_metadata=False,
            log_git_patch=False,
            parse_args=False,
            auto_output_logging=False,
            auto_param_logging=False,
            auto_metric_logging=False,
            display_summary_level=0,
        )
        key_file = archive / "experiment_key"
        start = {
            "workspace": account.get("username") or None,
            "project_name": account.get("project") or None,
            "experiment_key": key_file.read_text() if key_file.exists() else None,
            "experiment_config": config,
        }
        self.experiment = comet_ml.start(api_key=account["apikey"], **start)
        if not self.experiment.alive:
            self.experiment = comet_ml.start(online=False, **start)
            print(
                f"comet: not reachable, or the key is not valid; recording to an archive in {archive}\n"
                f"       send it later by: comet upload {archive}/*.zip",
                file=sys.stderr,
            )
        key_file.write_text(self.experiment.get_key())

    def parameters(self, config: dict) -> None:
        self.experiment.log_parameters(config)

    def log(self, record: dict) -> None:
        values = {key: value for key, value in summarised(record).items() if key not in ("epoch", "repetitions")}
        self.experiment.log_metrics(values, step=record["epoch"], epoch=record["epoch"])

    def image(self, name: str, pixels, epoch: int) -> None:
        self.experiment.log_image(pixels, name=name, step=epoch)

    def confusion(self, counts: list[list[int]], classes: list[str], epoch: int) -> None:
        self.experiment.log_confusion_matrix(matrix=counts, labels=classes, step=epoch)

    def asset(self, path: Path) -> None:
        self.experiment.log_asset(str(path), file_name=f"{path.parent.name}/{path.name}", copy_to_tmp=False)

    def close(self) -> None:
        self.experiment.end()


def comet_account(settings: Path) -> dict[str, str]:
    """Read the account from settings.json; an empty key there leaves it to the environment.

    Raises:
        UserError: where there is no key, or the file is no JSON.
    """
    try:
        account = json.loads(settings.read_text()) if settings.exists() else {}
    except json.JSONDecodeError as error:
        raise UserError(f"{settings} is not valid JSON (line {error.lineno}, column {error.colno})") from None
    if not isinstance(account, dict):
        raise UserError(f'{settings} holds no fields; it should look like {{"username": "", "apikey": ""}}')
    key = account.get("apikey") or os.environ.get("COMET_API_KEY")
    if not key:
        raise UserError(
            f"--comet needs a key: fill in 'apikey' in {settings.name}, or set the environment variable COMET_API_KEY; "
            "without --comet everything is recorded in the run's own folder"
        )
    return account | {"apikey": key}
