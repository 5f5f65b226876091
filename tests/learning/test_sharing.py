"""Sharing a machine: freed memory is kept, and trainings on the same cores compute in turn."""

import multiprocessing
import os
import threading
import time

import pytest
import torch

from neuro_noodle.learning import sharing
from neuro_noodle.learning.sharing import Turns, keep_freed_memory

CPU = torch.device("cpu")
on_several_cores = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two cores"
)


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch):
    monkeypatch.setattr(sharing, "TURN_S", 0.01)


def train(folder, name, events, n_steps=8):
    """Take steps of 5 ms, and record the beginning and the end of each."""
    with Turns(CPU, folder) as turns:
        for _ in range(n_steps):
            turns.pass_on()
            events.append((name, "begins"))
            time.sleep(0.005)
            events.append((name, "ends"))


def hold(folder, has_turn):
    """Take a turn in another process and never pass it on."""
    with Turns(CPU, folder):
        has_turn.set()
        time.sleep(60)


@on_several_cores
def test_two_trainings_never_compute_at_once_and_alternate(tmp_path):
    events = []
    threads = [threading.Thread(target=train, args=(tmp_path, name, events)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(events) == 32
    assert all((begin[0], end[1]) == (end[0], "ends") for begin, end in zip(events[::2], events[1::2], strict=True))
    order = "".join(name for name, what in events if what == "begins")
    assert order.count("ab") + order.count("ba") >= 3


def test_a_training_alone_never_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("it waited"))
    with Turns(CPU, tmp_path) as turns:
        for _ in range(100):
            turns.pass_on()


@on_several_cores
def test_a_turn_ends_with_its_process(tmp_path):
    context = multiprocessing.get_context("spawn")
    has_turn = context.Event()
    process = context.Process(target=hold, args=(tmp_path, has_turn))
    process.start()
    assert has_turn.wait(60)
    process.kill()
    process.join()
    with Turns(CPU, tmp_path) as turns:
        assert turns.takes_part


@on_several_cores
def test_a_training_that_hangs_does_not_stop_others(tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "MAX_WAIT_S", 0.05)
    with Turns(CPU, tmp_path), Turns(CPU, tmp_path) as other:
        assert not other.takes_part
        other.pass_on()


@on_several_cores
def test_trainings_of_fewer_threads_or_on_a_gpu_take_no_turns(tmp_path, monkeypatch):
    assert not Turns(torch.device("cuda"), tmp_path).takes_part
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert not Turns(CPU, tmp_path).takes_part


def test_without_a_place_for_locks_there_are_no_turns(tmp_path):
    with Turns(CPU, tmp_path / "missing") as turns:
        assert not turns.takes_part
        turns.pass_on()


def test_freed_memory_can_be_kept_more_than_once():
    keep_freed_memory()
    keep_freed_memory()
    assert torch.zeros(10_000_000).sum() == 0
