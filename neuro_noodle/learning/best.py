"""What a training has reached: the best weights of each repetition, and whether it has waited long enough."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Best:
    """The best of one repetition so far.

    Attributes:
        epoch: when, or None before the first evaluation.
        rank: what orders epochs, the best highest.
        weights: those of that epoch.
        since: the epoch that patience counts from.
        n_drops: how often the learning rate has fallen because patience ran out.
        stopped: whether it is done, so that nothing later counts.
    """

    epoch: int | None = None
    rank: Sequence[float] = ()
    weights: dict[str, Tensor] | None = None
    since: int = 0
    n_drops: int = 0
    stopped: bool = False


class Progress:
    """Follows each repetition from evaluation to evaluation.

    Args:
        n_repetitions: 1 for a single model.
        patience: epochs without a better evaluation after which the learning rate falls, or training stops; or None.
        most_drops: how often the learning rate falls before training stops.
        factor: what is left of it after a fall.
    """

    def __init__(
        self, n_repetitions: int, patience: int | None = None, most_drops: int = 0, factor: float = 1.0
    ) -> None:
        self.patience = patience
        self.most_drops = most_drops
        self.factor = factor
        self.each = [Best() for _ in range(n_repetitions)]

    def take(self, epoch: int, ranks: Sequence[tuple[float, float]], model) -> None:
        """Take the ranks of an evaluated epoch; where the rate falls, training goes on from the best weights."""
        for index, (best, rank) in enumerate(zip(self.each, ranks, strict=True)):
            if best.stopped:
                continue
            if best.epoch is None or rank > tuple(best.rank):
                best.epoch, best.rank, best.weights, best.since = epoch, list(rank), model.weights(index), epoch
            elif self._has_waited(best, epoch):
                best.stopped = best.n_drops == self.most_drops
                if not best.stopped:
                    best.n_drops, best.since = best.n_drops + 1, epoch
                    model.put(best.weights, index)

    def _has_waited(self, best: Best, epoch: int) -> bool:
        return bool(self.patience) and epoch - best.since >= self.patience

    def shares(self) -> Tensor:
        """Return by which share of the learning rate each is to step, (R,), or a scalar for a single model.

        A repetition that has stopped stands still, so that nothing that becomes of it can end the others.
        """
        each = [0.0 if best.stopped else self.factor**best.n_drops for best in self.each]
        return torch.tensor(each if len(each) > 1 else each[0])

    @property
    def finished(self) -> bool:
        """Whether every repetition has stopped."""
        return all(best.stopped for best in self.each)

    @property
    def chosen(self) -> int:
        """The repetition that is best of all."""
        return max(range(len(self.each)), key=lambda index: tuple(self.each[index].rank))

    @property
    def best_weights(self) -> dict[str, Tensor] | None:
        """The best weights of the best repetition, None before the first evaluation."""
        return self.each[self.chosen].weights

    def state(self) -> list[dict]:
        """Return all of it as plain values and tensors."""
        return [vars(best) for best in self.each]

    def restore(self, state: list[dict], epoch: int) -> None:
        """Go on from what `state` has returned after an epoch; with more patience, what had stopped goes on too."""
        self.each = [Best(**best) for best in state]
        for best in self.each:
            best.stopped = best.stopped and self._has_waited(best, epoch)
