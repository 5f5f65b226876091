"""Progress: what takes long says so, what is fast says nothing."""

import io
import threading
import time

import pytest

from neuro_noodle import progress
from neuro_noodle.progress import Stage


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def shown(monkeypatch):
    """Return a function that makes stages show themselves at once on a stream, and returns it."""
    monkeypatch.setattr(progress, "FIRST_S", 0)
    monkeypatch.setattr(progress, "REFRESH_S", 0.001)

    def on(stream: io.StringIO, every_s: float = 0) -> io.StringIO:
        monkeypatch.setattr(progress, "EVERY_S", every_s)
        monkeypatch.setattr("sys.stderr", stream)
        return stream

    return on


def wait_for(text: str, stream: io.StringIO) -> None:
    while text not in stream.getvalue():
        time.sleep(0.001)


def test_a_fast_stage_says_nothing(capsys):
    with Stage("counting") as stage:
        assert list(stage.over("abc")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_a_slow_stage_says_what_it_does_and_how_far_it_is(shown):
    stream = shown(io.StringIO())
    with Stage("counting") as stage:
        wait_for("counting: 0 s\n", stream)
        for item in stage.over([1, 2, 3, 4], "adding"):
            if item == 3:
                wait_for("adding: 50% after 0 s\n", stream)


def test_lines_are_far_apart(shown):
    stream = shown(io.StringIO(), every_s=100)
    with Stage("counting"):
        wait_for("counting", stream)
        time.sleep(0.02)
    assert stream.getvalue().count("counting") == 1


def test_what_is_said_postpones_the_next_line(shown, capsys):
    stream = shown(io.StringIO(), every_s=100)
    with Stage("counting") as stage:
        progress.say("one epoch")
        assert stage.next_line > time.time() + 90
    assert capsys.readouterr().out == "one epoch\n" and stream.getvalue() == ""


def test_a_terminal_shows_a_bar_that_is_gone_at_the_end(shown):
    stream = shown(Terminal())
    with Stage("counting", 10, n=2, unit="step") as stage:
        wait_for("counting:  20%", stream)
        stage.n = 5
        wait_for("5/10", stream)
        for _ in stage.over(iter("abcd"), "adding", 4):
            wait_for("adding", stream)
    assert stream.getvalue().endswith("\r") and stream.getvalue().split("\r")[-2].strip() == ""
    assert "\n" not in stream.getvalue() and "\x1b" not in stream.getvalue()


def test_of_stages_within_each_other_the_inner_one_is_shown(shown):
    stream = shown(Terminal())
    with Stage("outer"):
        wait_for("outer", stream)
        with Stage("inner"):
            wait_for("inner", stream)
            before = stream.getvalue().count("outer")
            time.sleep(0.02)
            assert stream.getvalue().count("outer") == before
        stream.truncate(0)
        wait_for("outer", stream)
    assert "\n" not in stream.getvalue()


def test_a_stage_ends_with_its_error():
    n_threads = threading.active_count()
    with pytest.raises(ValueError), Stage("failing"):
        raise ValueError
    assert threading.active_count() == n_threads and progress._open == []
