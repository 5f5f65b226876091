"""The process of a command: exit status, signals, and output that is closed or full."""

import io
import os
import signal
import subprocess
import sys
import time

import pytest
from helpers import HERE

from neuro_noodle.choices import UserError
from neuro_noodle.process import STOPPING, Interrupt, Output, guarded

TRAIN = (
    "--dataset digits --objective classify --encoder fc hidden=8 start=random --latent_dim 4 --head linear "
    "--augment none --save_every 100000 --log_every 100000 --device cpu"
)


def start(tmp_path, words: str, **streams) -> subprocess.Popen:
    command = [
        sys.executable,
        str(HERE / "main.py"),
        "--no-plot",
        *TRAIN.split(),
        *words.split(),
        "--save_dir",
        str(tmp_path),
    ]
    return subprocess.Popen([*command, "--namestr", "run"], env=os.environ | {"OMP_NUM_THREADS": "1"}, **streams)


@pytest.mark.parametrize("name", [name for name in STOPPING if hasattr(signal, name)])
def test_every_signal_that_stops_saves_a_session(tmp_path, name):
    """Ctrl-C, kill, a closed terminal, and what batch systems send before they kill."""
    if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
        pytest.skip(f"{name} is ignored, as after nohup")
    process = start(tmp_path, "--n_epochs 100000", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    metrics = tmp_path / "run" / "metrics.jsonl"
    while process.poll() is None and not (metrics.exists() and metrics.read_bytes().count(b"\n") > 1):
        time.sleep(0.05)
    process.send_signal(getattr(signal, name))
    try:
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()  # a training that goes on would slow all that follows
    assert process.returncode == 130 and "resume with: python main.py --load_dir" in err and "Traceback" not in err
    assert (tmp_path / "run" / str(len(metrics.read_text().splitlines()) - 2) / "manifest.json").exists()


@pytest.mark.parametrize("where", ["/dev/full", "a closed pipe"])
def test_training_goes_on_when_its_output_is_lost(tmp_path, where):
    if where == "a closed pipe":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(where, os.O_WRONLY)
    process = start(tmp_path, "--n_epochs 3", stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 0 and "Traceback" not in err and "Exception" not in err
    assert ("output cannot be written (No space left on device)" in err) == (where == "/dev/full")
    assert (tmp_path / "run" / "result.json").exists()


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (UserError("no such thing"), 2, "error: no such thing"),
        (OSError(28, "No space left on device", "a/b"), 2, "error: No space left on device: a/b"),
        (OSError(5, "Input/output error"), 2, "error: Input/output error"),
        (OSError("odd"), 2, "error: odd"),
        (MemoryError(), 2, "error: there is not enough memory"),
        (MemoryError("for 9 GiB"), 2, "error: there is not enough memory (for 9 GiB)"),
        (KeyboardInterrupt(), 130, "stopped"),
    ],
)
def test_an_expected_error_is_a_line_and_a_status(error, status, message, capsys):
    @guarded
    def main(words: list[str]) -> int:
        raise error

    assert main([]) == status
    assert capsys.readouterr().err.strip() == message


def test_an_unexpected_error_keeps_its_traceback():
    @guarded
    def main(words: list[str]) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main([])


def test_only_a_second_ctrl_c_stops_at_once():
    with Interrupt() as interrupt:
        assert not interrupt.requested
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        assert interrupt.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_nohup_keeps_a_closed_terminal_from_stopping():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not interrupt.requested
    finally:
        signal.signal(signal.SIGHUP, before)


def test_signals_that_a_system_lacks_are_left_out(monkeypatch):
    """As on Windows, which has no SIGHUP, SIGUSR1, SIGUSR2 and SIGXCPU."""
    for name in STOPPING[2:]:
        monkeypatch.delattr(signal, name, raising=False)
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.requested


def test_an_interrupted_import_ends_at_once(tmp_path):
    """Else the library fails in its own ways, since parts of it are missing."""
    (tmp_path / "slow.py").write_text("import time; print('importing', flush=True); time.sleep(60)", encoding="utf-8")
    code = "from neuro_noodle.process import guarded\n\n@guarded\ndef main(words):\n    import slow\n\nmain([])"
    paths = os.pathsep.join([str(HERE), str(tmp_path)])
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "importing\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


def test_output_without_a_stream_is_silent():
    output = Output(None)
    assert output.write("text") == 4 and not output.isatty()
    output.flush()


@pytest.mark.parametrize("path", [HERE / "main.py", *HERE.glob("Plotting/*.py"), *HERE.glob("Resources/*.py")], ids=str)
def test_ctrl_c_during_the_imports_of_a_command_is_no_error(path):
    assert "signal.signal(signal.SIGINT, signal.SIG_DFL)" in path.read_text(encoding="utf-8").partition("argparse")[0]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mred", "a\\x1b[31mred"),
        ("\rstep 1", "\rstep 1"),
        ("good\rbad", "good\\rbad"),
        ("\u202egnp.a", "\\u202egnp.a"),
        ("a\x9b2J", "a\\x9b2J"),
        ("a\tb\n\u0141 \u9854", "a\tb\n\u0141 \u9854"),
    ],
)
def test_output_shows_characters_that_steer_a_terminal(text, shown):
    """They may come from names of files and classes; a progress bar returns to the start of its line."""
    stream = io.StringIO(newline="")
    assert Output(stream).write(text) == len(text)
    assert stream.getvalue() == shown
    Output(stream, is_raw=True).write(text)
    assert stream.getvalue() == shown + text
