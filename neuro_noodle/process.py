"""The process of a command: its exit status, the signals that stop it, and output that may be closed or full."""

import contextlib
import errno
import functools
import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from neuro_noodle.choices import UserError
from neuro_noodle.plain import is_follower, printable

# Ctrl-C, kill, a closed terminal, and what Slurm and Grid Engine send before they kill; not every system has them all
STOPPING = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")

LINGER_S = 3.0  # torchrun ends all processes once one has failed: the first, which prints the error, needs this long


def guarded(main: Callable[[list[str]], int]) -> Callable[..., int]:
    """Decorate the main function of a command, so that it reads sys.argv by default and ends with an exit status.

    A user's error, or one of the system (a full disk, a folder that cannot be read), is one line and status 2; Ctrl-C
    and other signals that stop give 130. With --debug, the debugger starts first and again at an error.
    """

    @functools.wraps(main)
    def run(words: list[str] | None = None) -> int:
        words = sys.argv[1:] if words is None else words
        has_debugger = "--debug" in words
        streams = (None, None) if is_follower() else (sys.stdout, sys.stderr)
        output, errors = (Output(stream, is_raw=has_debugger) for stream in streams)
        with handling(_interrupt), contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            try:
                if has_debugger:
                    import ipdb

                    ipdb.set_trace()
                return main(words)
            except KeyboardInterrupt:
                print("stopped", file=sys.stderr)
                return 130  # as shells report an interrupted command
            except Exception as error:
                is_expected = isinstance(error, UserError | OSError | MemoryError)
                if has_debugger:
                    traceback.print_exc()
                    ipdb.post_mortem()
                elif not is_expected:
                    raise
                print(f"error: {format_error(error)}", file=sys.stderr)
                if is_follower():
                    time.sleep(LINGER_S)
                return 2 if is_expected else 1

    return run


def format_error(error: Exception) -> str:
    """Return an error of the user or of the system as a line."""
    if isinstance(error, MemoryError):
        return f"there is not enough memory ({error})" if str(error) else "there is not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return str(error)


# ------------------------------------------------------------------------------------------------------- signals


@contextlib.contextmanager
def handling(handler: Callable[[int, Any], None]) -> Iterator[None]:
    """Call a function at each signal that stops a command; a closed terminal stops none that nohup has started."""
    numbers = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():  # no other can handle signals
        numbers = []
    elif hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):  # an interrupted import fails in any way
            with contextlib.suppress(RuntimeError):  # the signal came while standard error was being written
                print("stopped", file=sys.stderr)
            os._exit(130)
        frame = frame.f_back
    raise KeyboardInterrupt


class Interrupt(contextlib.ExitStack):
    """Turns the first signal that stops a command into a request to stop after this epoch; a second Ctrl-C stops now.

    Attributes:
        requested: whether there was such a signal.
    """

    requested = False

    def __enter__(self) -> "Interrupt":
        super().__enter__()
        self.enter_context(handling(self._request))
        return self

    def _request(self, number: int, frame: object) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        is_first, self.requested = not self.requested, True
        if is_first:
            with contextlib.suppress(RuntimeError):  # the signal came while standard error was being written
                print("\nfinishing this epoch, then saving; press Ctrl-C again to stop at once", file=sys.stderr)


# -------------------------------------------------------------------------------------------------------- output


class Output:
    """A stream of text that falls silent when it is closed or its disk is full, so that training does not end.

    Args:
        stream: standard output or standard error; None if the process was started without.
        is_raw: write characters that steer a terminal as they are; else only the \\r at the start of a progress bar.
    """

    def __init__(self, stream: TextIO | None, *, is_raw: bool = False) -> None:
        self.is_raw = is_raw
        self.stream = stream or _nowhere()
        if isinstance(stream, io.TextIOWrapper):  # print characters that its encoding lacks as escapes such as \u0141
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write a text; returns its length."""
        start = "\r" if text.startswith("\r") else ""
        self._attempt(self.stream.write, text if self.is_raw else start + printable(text.removeprefix(start)))
        return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        self._attempt(self.stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _attempt(self, operate: Callable, *arguments: str) -> None:
        try:
            operate(*arguments)
        except BlockingIOError:
            pass  # a terminal that is busy: only this text is lost
        except (OSError, ValueError) as error:
            before, self.stream = self.stream, _nowhere()
            with contextlib.suppress(OSError, ValueError):
                os.dup2(self.stream.fileno(), before.fileno())  # what is still buffered goes there when Python ends
            if isinstance(error, OSError) and error.errno not in (errno.EPIPE, errno.EIO):
                print(f"note: output cannot be written ({error.strerror}); continuing without it", file=sys.stderr)


def _nowhere() -> TextIO:
    return Path(os.devnull).open("w", encoding="utf-8")
