"""The best weights of each repetition so far, and the patience that slows down or stops those that do not improve."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Weighted(Protocol):
    """A model of one or several repetitions whose weights can be copied and loaded."""

    def copy_weights(self, index: int) -> dict[str, Tensor]:
        """Return a copy of one repetition's weights."""
        ...

    def load_weights(self, weights: dict[str, Tensor], index: int) -> None:
        """Load one repetition's weights."""
        ...


class Remembering(Protocol):
    """What an optimizer remembers of the weights of one or several repetitions; it can be copied and loaded."""

    def copy(self, index: int) -> list[dict[str, Tensor]]:
        """Return a copy of what is remembered of one repetition's weights."""
        ...

    def load(self, moments: list[dict[str, Tensor]], index: int) -> None:
        """Load it."""
        ...


@dataclass
class Best:
    """The best evaluation of one repetition so far.

    Attributes:
        epoch: of that evaluation; None before the first.
        rank: the value that orders epochs; the best is highest.
        weights: of that epoch.
        moments: what the optimizer remembered of each weight then, if training may resume from there.
        waiting_since: the epoch from which patience counts.
        n_reductions: how often the learning rate was reduced because patience ran out.
        stopped: whether the repetition has stopped, so that later epochs no longer count.
    """

    epoch: int | None = None
    rank: Sequence[float] = ()
    weights: dict[str, Tensor] | None = None
    moments: list[dict[str, Tensor]] | None = None
    waiting_since: int = 0
    n_reductions: int = 0
    stopped: bool = False


class Patience:
    """Keeps the best weights of each repetition, and decides when its learning rate falls and when it stops.

    Args:
        n_repetitions: 1 for a single model.
        n_epochs: epochs without improvement after which the learning rate falls, or training stops; None never stops.
        max_reductions: how often the learning rate falls before training stops.
        factor: by which the learning rate is multiplied at each reduction.
    """

    def __init__(
        self, n_repetitions: int, n_epochs: int | None = None, max_reductions: int = 0, factor: float = 1.0
    ) -> None:
        self.n_epochs = n_epochs
        self.max_reductions = max_reductions
        self.factor = factor
        self.each = [Best() for _ in range(n_repetitions)]

    def update(self, epoch: int, ranks: Sequence[tuple[float, float]], model: Weighted, optimizer: Remembering) -> None:
        """Update with the ranks of an evaluated epoch; after a reduction, training resumes from the best epoch."""
        for index, (best, rank) in enumerate(zip(self.each, ranks, strict=True)):
            if best.stopped:
                continue
            if best.epoch is None or rank > tuple(best.rank):
                best.epoch, best.rank, best.waiting_since = epoch, list(rank), epoch
                best.weights = model.copy_weights(index)
                best.moments = optimizer.copy(index) if self.max_reductions else None
            elif self._has_run_out(best, epoch):
                best.stopped = best.n_reductions == self.max_reductions
                if not best.stopped and best.weights is not None:
                    best.n_reductions, best.waiting_since = best.n_reductions + 1, epoch
                    model.load_weights(best.weights, index)
                    if best.moments:  # an earlier version of the program saved none
                        optimizer.load(best.moments, index)

    def _has_run_out(self, best: Best, epoch: int) -> bool:
        return bool(self.n_epochs) and epoch - best.waiting_since >= (self.n_epochs or 0)

    def rate_scales(self) -> Tensor:
        """Return the factor on each repetition's learning rate, (R,), or a scalar for a single model.

        It is 0 for a repetition that has stopped, so that it cannot diverge and end the others.
        """
        each = [0.0 if best.stopped else self.factor**best.n_reductions for best in self.each]
        return torch.tensor(each if len(each) > 1 else each[0])

    @property
    def has_stopped(self) -> bool:
        """Whether every repetition has stopped."""
        return all(best.stopped for best in self.each)

    @property
    def best_index(self) -> int:
        """The index of the best repetition."""
        return max(range(len(self.each)), key=lambda index: tuple(self.each[index].rank))

    @property
    def best(self) -> Best:
        """The best repetition."""
        return self.each[self.best_index]

    def state(self) -> list[dict]:
        """Return the state as plain values and tensors."""
        return [vars(best) for best in self.each]

    def restore(self, state: list[dict], epoch: int) -> None:
        """Restore from `state()` after an epoch; a stopped repetition resumes if the new patience allows it."""
        self.each = [Best(**best) for best in state]
        for best in self.each:
            best.stopped = best.stopped and self._has_run_out(best, epoch)
