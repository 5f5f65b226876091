"""Comet: log a run to comet.com. The only file that imports comet_ml."""

import json
import os
import sys
from pathlib import Path

from neuro_noodle.choices import UserError
from neuro_noodle.tracking.base import Tracker, summarised


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
