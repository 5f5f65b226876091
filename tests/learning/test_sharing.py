"""Sharing a machine: freed memory is kept."""

import torch

from neuro_noodle.learning.sharing import keep_freed_memory


def test_freed_memory_can_be_kept_more_than_once():
    keep_freed_memory()
    keep_freed_memory()
    assert torch.zeros(10_000_000).sum() == 0
