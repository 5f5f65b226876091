"""The runs of --folds as one: each image with the outputs of the fold that tests it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from neuro_noodle.data.base import StimulusSet
from neuro_noodle.objectives.base import Objective
from neuro_noodle.progress import Stage
from neuro_noodle.runs.files import folds_of, n_folds
from neuro_noodle.runs.run import Run, open_run


@dataclass(frozen=True)
class PooledFolds:
    """What pictures of outputs read of a `Run`, for the test images of all folds.

    Attributes:
        runs: of each fold.
    """

    runs: Sequence[Run]

    @classmethod
    def of_folder(cls, folder: Path, data_dir: Path | None = None) -> Self:
        """Open the folds in a folder; arguments and errors are those of `open_run`."""
        each = folds_of(folder, n_folds(folder))
        with Stage("opening folds", len(each)) as stage:
            return cls([open_run(run, data_dir) for run in stage.over(each)])

    @property
    def dataset(self) -> StimulusSet:
        """The images of all folds."""
        return self.runs[0].dataset

    @property
    def objective(self) -> Objective:
        """The objective of all folds."""
        return self.runs[0].objective

    @property
    def held_out(self) -> np.ndarray:
        """The indices of the images that a fold tests."""
        return np.sort(np.concatenate([run.held_out for run in self.runs]))

    @property
    def part(self) -> np.ndarray:
        """The part of each image, (N,): test for those that a fold tests."""
        return np.where(np.isin(np.arange(len(self.dataset)), self.held_out), "test", "left_out")

    def images(self, indices: np.ndarray) -> Tensor:
        """Return (n, C, H, W) images in [0, 1]."""
        return self.runs[0].images(indices)

    def outputs_of(self, indices: np.ndarray) -> Tensor:
        """Return the outputs for some test images, see `Run.outputs_of`, each by the network that tests it."""
        found: dict[int, Tensor] = {}
        for run in self.runs:
            own = indices[np.isin(indices, run.held_out)]
            if len(own):
                found |= dict(zip(own.tolist(), run.outputs_of(own), strict=True))
        return torch.stack([found[index] for index in indices.tolist()])
