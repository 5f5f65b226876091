"""Comet: log a run to comet.com. The only file that imports comet_ml."""

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from neuro_noodle.choices import UserError
from neuro_noodle.tracking.base import TRACKERS, TrackedRun, Tracker, as_json


@TRACKERS.add("comet")
class Comet(Tracker):
    """Log to comet.com, or to an archive for later upload if the network or the key fails."""

    is_online = True

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        account = read_account(run.settings)
        for variable, value in {
            "COMET_HTTP_SESSION_RETRY_TOTAL": "0",  # or a missing network costs half a minute
            "COMET_GET_OR_ADD_EXPERIMENT_RETRY_TOTAL": "0",
            "COMET_TIMEOUT_HTTP": "2",
            "COMET_DISABLE_AUTO_LOGGING": "1",
            "COMET_LOGGING_CONSOLE": "CRITICAL",  # the client's own message about a wrong key shows the key
        }.items():
            os.environ.setdefault(variable, value)
        import comet_ml

        archive = run.folder / "comet"
        archive.mkdir(exist_ok=True)
        config = comet_ml.ExperimentConfig(
            offline_directory=str(archive),
            name=run.folder.name,
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
            "experiment_key": key_file.read_text(encoding="utf-8") if key_file.exists() else None,
            "experiment_config": config,
        }
        try:
            self.experiment = comet_ml.start(api_key=account["apikey"], **start)
            is_alive = self.experiment.alive
        except Exception:  # an experiment that is resumed without a network fails in any way
            is_alive = False
        if not is_alive:
            self.experiment = comet_ml.start(online=False, **start)
            print(
                f"comet: not reachable, or the key is not valid; logging to an archive in {archive}\n"
                f"       upload it later with: comet upload {archive}/*.zip",
                file=sys.stderr,
            )
        key_file.write_text(self.experiment.get_key(), encoding="utf-8")
        if run.experiment:
            self.experiment.add_tag(run.experiment)
            self.experiment.log_other("experiment", run.experiment)

    @classmethod
    def require_ready(cls, settings: Path) -> None:
        """Raise UserError if there is no key."""
        read_account(settings)

    def parameters(self, config: dict) -> None:
        self.experiment.log_parameters(config)

    def log(self, epoch: int, metrics: Mapping[str, np.ndarray]) -> None:
        values = {name: value for name, value in as_json(metrics).items() if name != "repetitions"}
        self.experiment.log_metrics(values, step=epoch + 1, epoch=epoch + 1)

    def image(self, name: str, pixels: np.ndarray, epoch: int) -> None:
        self.experiment.log_image(pixels, name=name, step=epoch + 1)

    def confusion(self, counts: np.ndarray, classes: list[str], epoch: int) -> None:
        self.experiment.log_confusion_matrix(matrix=counts.tolist(), labels=classes, step=epoch + 1)

    def asset(self, path: Path) -> None:
        self.experiment.log_asset(str(path), file_name=f"{path.parent.name}/{path.name}", copy_to_tmp=False)

    def close(self) -> None:
        self.experiment.end()


def read_account(settings: Path) -> dict[str, str]:
    """Return the account in settings.json; if its key is empty, the key is read from the environment.

    Raises:
        UserError: if there is no key, or the file is not valid JSON.
    """
    try:
        account = json.loads(settings.read_text(encoding="utf-8")) if settings.exists() else {}
    except json.JSONDecodeError as error:
        raise UserError(f"{settings} is not valid JSON (line {error.lineno}, column {error.colno})") from None
    if not isinstance(account, dict):
        raise UserError(f'{settings} should look like {{"username": "", "apikey": ""}}')
    key = account.get("apikey") or os.environ.get("COMET_API_KEY")
    if not key:
        raise UserError(
            f"--comet needs a key: fill in 'apikey' in {settings.name} or set the environment variable COMET_API_KEY; "
            "without --comet everything is recorded in the folder of the run"
        )
    return account | {"apikey": key}
