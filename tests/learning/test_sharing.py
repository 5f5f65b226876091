"""Sharing a machine: freed memory is kept, and trainings on the same cores compute in turn."""

import contextlib
import fcntl
import multiprocessing
import threading
import time

import pytest
import torch

from neuro_noodle.learning import sharing
from neuro_noodle.learning.sharing import Turns, keep_freed_memory

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _threads_on_all_cores(monkeypatch):
    monkeypatch.setattr(sharing, "TURN_S", 0.01)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def train(folder, name, events, n_steps=8):
    """Take steps of 5 ms, and record the beginning and the end of each."""
    with Turns(CPU, folder) as turns:
        for _ in range(n_steps):
            turns.pass_on()
            events.append((name, "begins"))
            time.sleep(0.005)
            events.append((name, "ends"))


def hold(path, is_locked):
    """Lock a file in another process and never unlock it."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        is_locked.set()
        time.sleep(60)


@contextlib.contextmanager
def held(path):
    """Let another process hold a lock file; yields the process."""
    context = multiprocessing.get_context("spawn")
    is_locked = context.Event()
    process = context.Process(target=hold, args=(path, is_locked))
    process.start()
    assert is_locked.wait(60)
    try:
        yield process
    finally:
        process.kill()
        process.join()


def test_a_training_on_windows_takes_no_turns(tmp_path, monkeypatch):
    """There is no fcntl, and no C library that could keep freed memory."""
    monkeypatch.setattr(sharing, "fcntl", None)
    keep_freed_memory()
    with Turns(CPU, tmp_path) as turns:
        turns.pass_on()
    assert list(tmp_path.iterdir()) == []


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


def test_a_turn_ends_with_its_process(tmp_path):
    with Turns(CPU, tmp_path) as turns, held(turns.paths[0]) as process:
        process.kill()
        turns.pass_on()
        assert turns.has_turn


def test_a_stopped_training_delays_others_only_once(tmp_path, monkeypatch):
    monkeypatch.setattr(sharing, "MAX_WAIT_S", 0.05)
    with Turns(CPU, tmp_path) as turns, held(turns.paths[0]) as process:
        for _ in range(3):
            turns.turn_start_s = -1.0
            turns.pass_on()
            assert not turns.has_turn
        assert turns.max_wait_s == 0
        process.kill()
        process.join()
        turns.turn_start_s = -1.0
        turns.pass_on()
        assert turns.has_turn


def test_a_stopped_training_that_waits_keeps_nobody_waiting(tmp_path):
    with Turns(CPU, tmp_path) as turns, held(turns.paths[1]):
        turns.pass_on()
        assert turns.has_turn


def test_turns_end_with_the_training(tmp_path):
    with Turns(CPU, tmp_path) as turns, Turns(CPU, tmp_path) as other:
        turns.pass_on()
        turns.__exit__()
        other.pass_on()
        assert other.has_turn


def test_a_gpu_one_thread_or_a_chosen_number_takes_no_turns(tmp_path, monkeypatch):
    assert Turns(CPU, tmp_path).paths
    assert not Turns(torch.device("cuda"), tmp_path).paths
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert not Turns(CPU, tmp_path).paths
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr("neuro_noodle.learning.sharing.count", lambda: 2)  # processes of one training
    assert not Turns(CPU, tmp_path).paths
    monkeypatch.undo()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert not Turns(CPU, tmp_path).paths


@pytest.mark.parametrize("error", [OSError, PermissionError])
def test_without_locks_there_are_no_turns(tmp_path, monkeypatch, error):
    def refuse(*_):
        raise error

    monkeypatch.setattr(fcntl, "flock", refuse)
    with Turns(CPU, tmp_path) as turns:
        turns.pass_on()
        assert not turns.has_turn


def test_without_a_place_for_locks_there_are_no_turns(tmp_path):
    with Turns(CPU, tmp_path / "missing") as turns:
        turns.pass_on()
        assert not turns.has_turn


def test_freed_memory_can_be_kept_more_than_once():
    keep_freed_memory()
    keep_freed_memory()
    assert torch.zeros(10_000_000).sum() == 0
