"""TensorBoard: log a run to files in its folder. The only file that imports the writer of torch.utils.tensorboard."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from neuro_noodle.choices import require
from neuro_noodle.plain import format_json
from neuro_noodle.tracking.base import TRACKERS, TrackedRun, Tracker, as_json


@TRACKERS.add("tensorboard")
class TensorBoard(Tracker):
    """Log to RUN/tensorboard, which `tensorboard --logdir weights` shows. Needs `pip install tensorboard`."""

    def __init__(self, run: TrackedRun) -> None:
        super().__init__(run)
        from torch.utils.tensorboard import SummaryWriter

        stale_from = run.start_epoch + 1 if run.start_epoch else None  # epochs that are trained again
        self.writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=stale_from)

    @classmethod
    def require_ready(cls, settings: Path) -> None:
        """Raise UserError if the package is not installed."""
        require(
            find_spec("tensorboard") is not None,
            "--track tensorboard needs a package: pip install tensorboard (or, in a clone of this project, "
            "pip install -e '.[tensorboard]')",
        )

    def parameters(self, config: dict) -> None:
        self.writer.add_text("parameters", _as_code(format_json(config, indent=2)), self.run.start_epoch)

    def log(self, epoch: int, metrics: Mapping[str, np.ndarray]) -> None:
        for name, value in as_json(metrics).items():
            if name != "repetitions" and value is not None:
                self.writer.add_scalar(name, value, epoch + 1)
        self.writer.flush()  # a kill may lose what comes later, but nothing of an epoch that is saved

    def image(self, name: str, pixels: np.ndarray, epoch: int) -> None:
        self.writer.add_image(name, pixels, epoch + 1, dataformats="HW" if pixels.ndim == 2 else "HWC")

    def confusion(self, counts: np.ndarray, classes: list[str], epoch: int) -> None:
        names = [name.replace("|", "\\|") for name in classes]
        rows = [["true \\ predicted", *names], ["---"] * (len(names) + 1)]
        rows += [[f"**{name}**", *map(str, row)] for name, row in zip(names, counts.tolist(), strict=True)]
        self.writer.add_text("confusion", "\n".join(f"| {' | '.join(row)} |" for row in rows), epoch + 1)

    def asset(self, path: Path) -> None:
        if path.suffix == ".json":  # the result; weights are in the folder of the run already
            self.writer.add_text(path.stem, _as_code(path.read_text(encoding="utf-8")), self.run.n_epochs)

    def close(self) -> None:
        self.writer.close()


def _as_code(text: str) -> str:
    """Return a text as a block of code in Markdown."""
    return f"```\n{text}\n```"
