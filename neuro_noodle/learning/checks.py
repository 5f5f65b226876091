"""Checks of training: it must not diverge, and every stage that trains must change."""

from collections.abc import Mapping

import numpy as np
from torch import Tensor, nn, optim

from neuro_noodle.choices import require


def require_finite(values: np.ndarray, what: str, where: str, optimizer: optim.Optimizer) -> None:
    """Raise UserError if training has diverged."""
    wrong = values[~np.isfinite(values)]
    require(
        not len(wrong),
        f"the {what} is {wrong[0] if len(wrong) else 0} at {where}, learning rate {optimizer.param_groups[0]['lr']:g}; "
        "epochs after the last saved session are lost. Try a lower --lr",
    )


def weight_sums(stages: Mapping[str, nn.Module]) -> dict[str, list[Tensor]]:
    """Return two sums over each trainable parameter of each stage: cheap to compute, and changed by any step."""
    return {
        name: [s for p in stage.parameters() if p.requires_grad for s in (p.detach().sum(), p.detach().norm())]
        for name, stage in stages.items()
    }


def check_moved(before: dict[str, list[Tensor]], after: dict[str, list[Tensor]]) -> None:
    """Raise RuntimeError if a trainable stage did not change."""
    unchanged = [
        name for name, sums in before.items() if sums and all(a == b for a, b in zip(sums, after[name], strict=True))
    ]
    if unchanged:
        raise RuntimeError(
            f"no weight of {', '.join(unchanged)} changed in the first step: it gets no gradient, or its learning rate "
            "is 0"
        )
