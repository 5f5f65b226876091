"""Patience: the best weights of each repetition, when its learning rate falls and when it stops."""

import pytest
import torch

from neuro_noodle.learning.best import Patience


class Tape:
    """A stand-in for a model of several repetitions and its optimizer; the weights of each are one number."""

    def __init__(self, n):
        self.now, self.moments = [0] * n, [0] * n

    def copy_weights(self, index):
        return self.now[index]

    def load_weights(self, weights, index):
        self.now[index] = weights

    def copy(self, index):
        return [{"momentum": torch.tensor(self.moments[index])}]

    def load(self, moments, index):
        self.moments[index] = int(moments[0]["momentum"])


def follow(ranks, n_epochs, max_reductions=0):
    """Update with ranks by epoch and repetition; return the patience and the epoch after which all stopped, or None."""
    n = len(ranks[0])
    patience, model = Patience(n, n_epochs, max_reductions), Tape(n)
    for epoch, of_epoch in enumerate(ranks):
        model.now = [epoch] * n
        patience.update(epoch, [(rank, 0.0) for rank in of_epoch], model, model)
        if patience.has_stopped:
            return patience, epoch
    return patience, None


def test_each_repetition_has_its_own_best_epoch_and_patience():
    patience, end = follow([(1, 1), (2, 0), (0, 0), (0, 9), (0, 9), (9, 9), (9, 9)], n_epochs=2)
    assert [(best.epoch, best.weights) for best in patience.each] == [(1, 1), (0, 0)]
    assert end == 3
    assert patience.best_index == 0
    assert patience.best is patience.each[0]


def test_without_patience_no_repetition_stops():
    patience, end = follow([(3,), (2,), (1,), (0,)], None)
    assert end is None
    assert patience.each[0].epoch == 0


def test_an_equal_rank_is_no_improvement():
    patience, end = follow([(1,), (1,), (1,)], n_epochs=2)
    assert end == 2
    assert patience.each[0].epoch == 0


def test_the_second_number_of_a_rank_breaks_ties():
    patience, model = Patience(1), Tape(1)
    for epoch, rank in enumerate([(0.5, -2.0), (0.5, -1.0), (0.4, 0.0)]):
        patience.update(epoch, [rank], model, model)
    assert patience.best.epoch == 1


def test_a_plateau_restores_the_best_epoch_at_each_reduction():
    patience, model = Patience(1, 2, 2), Tape(1)
    events = []
    for epoch, rank in enumerate([5, 1, 1, 6, 1, 1, 1, 1]):
        model.now, model.moments = [epoch], [10 * epoch]
        patience.update(epoch, [(rank, 0.0)], model, model)
        events.append((patience.each[0].n_reductions, model.now[0], patience.has_stopped))
        assert model.moments[0] == 10 * model.now[0]
    assert events == [
        (0, 0, False), (0, 1, False), (1, 0, False), (1, 3, False), (1, 4, False), (2, 3, False), (2, 6, False),
        (2, 7, True),
    ]  # fmt: skip


def test_each_reduction_multiplies_the_rate_by_the_factor():
    patience, model = Patience(2, 1, 2, factor=0.5), Tape(2)
    for epoch, ranks in enumerate([(1, 1), (2, 0), (3, 0), (4, 0)]):
        patience.update(epoch, [(rank, 0.0) for rank in ranks], model, model)
        assert patience.rate_scales().tolist() == [[1, 1], [1, 0.5], [1, 0.25], [1, 0]][epoch]
    assert [best.stopped for best in patience.each] == [False, True]


def test_the_rate_scale_of_a_single_model_is_a_scalar():
    assert torch.equal(Patience(1).rate_scales(), torch.tensor(1.0))
    assert torch.equal(follow([(1,), (0,)], n_epochs=1)[0].rate_scales(), torch.tensor(0.0))


def test_a_stopped_repetition_keeps_its_best_epoch():
    patience, _ = follow([(1, 1), (0, 2), (9, 3)], n_epochs=1)
    assert [best.epoch for best in patience.each] == [0, 2]


def test_a_stopped_repetition_continues_with_more_patience():
    patience, _ = follow([(1, 1), (0, 2), (0, 3)], n_epochs=2)
    assert [best.stopped for best in patience.each] == [True, False]
    assert patience.rate_scales().tolist() == [0.0, 1.0]
    more = Patience(2, 3)
    more.restore(patience.state(), 2)
    assert [best.stopped for best in more.each] == [False, False]
    assert not more.has_stopped
    same = Patience(2, 2)
    same.restore(patience.state(), 2)
    assert [best.stopped for best in same.each] == [True, False]


def test_a_restored_patience_continues_as_if_uninterrupted(tmp_path):
    """The state passes through a file of tensors and plain values."""
    ranks = [(3, 1), (2, 2), (1, 0), (4, 0), (0, 0), (0, 0)]
    whole, _ = follow(ranks, n_epochs=2, max_reductions=1)
    half, _ = follow(ranks[:3], n_epochs=2, max_reductions=1)
    torch.save(half.state(), tmp_path / "state.pth")
    resumed, model = Patience(2, 2, 1), Tape(2)
    resumed.restore(torch.load(tmp_path / "state.pth", weights_only=True), 2)
    for epoch in range(3, 6):
        model.now = [epoch] * 2
        resumed.update(epoch, [(rank, 0.0) for rank in ranks[epoch]], model, model)
    assert resumed.state() == whole.state()


def test_every_repetition_needs_a_rank():
    with pytest.raises(ValueError, match="shorter"):
        Patience(2).update(0, [(1.0, 0.0)], Tape(2), Tape(2))
