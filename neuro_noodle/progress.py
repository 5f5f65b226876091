"""Progress: what a command is doing, shown if it takes longer than two seconds."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator
from operator import length_hint
from typing import Any, TypeVar

from tqdm import tqdm

FIRST_S, EVERY_S, REFRESH_S = 2.0, 10.0, 1.0

Item = TypeVar("Item")
_open: list["Stage"] = []  # of stages within each other, only the last is shown


def say(text: str) -> None:
    """Print a line on standard output, above the bar if there is one; may be used within stages."""
    tqdm.write(text)
    for stage in _open:
        stage.next_line = time.time() + EVERY_S


class Stage:
    """A part of the work of a command, for a `with` block; nothing is printed in it except by `say`.

    After two seconds it shows a progress bar on a terminal; elsewhere a line, and one more every ten seconds or later.

    Args:
        what: is done, such as "searching near-duplicates".
        total: number of steps; 0 if it is not known.
        n: steps that are done already.
        unit: name of a step.

    Attributes:
        what, total, n: can be changed as the work proceeds.
        next_line: when the next line is due, in seconds since 1970.
    """

    def __init__(self, what: str, total: int = 0, *, n: int = 0, unit: str = "it") -> None:
        self.what, self.total, self.unit = what, total, unit
        self._bar: Any = None
        self._begin(n)
        self._visible_from = self.next_line = self._started + FIRST_S
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Stage":
        _open.append(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._thread.join()
        self._hide()
        _open.remove(self)

    def over(self, items: Iterable[Item], what: str = "", total: int = 0) -> Iterator[Item]:
        """Yield items and count them.

        Args:
            items: to go through.
            what: is done with them; that of the stage if empty.
            total: their number, if they do not know it.
        """
        self.what, self.total = what or self.what, total or length_hint(items)
        self._begin(0)
        for item in items:
            yield item
            self.n += 1

    def _begin(self, n: int) -> None:
        self.n, self._n_before, self._started = n, n, time.time()

    def _watch(self) -> None:
        while not self._has_ended.wait(REFRESH_S):
            now = time.time()
            if _open[-1] is not self:
                self._hide()
            elif sys.stderr.isatty():
                if now >= self._visible_from:
                    self._draw()
            elif now >= self.next_line:
                share = f"{self.n / self.total:.0%} after " if self.total else ""
                print(f"{self.what}: {share}{now - self._started:.0f} s", file=sys.stderr, flush=True)
                self.next_line = now + max(EVERY_S, (now - self._started) / 10)  # a long log stays readable

    def _draw(self) -> None:
        if self._bar is None or self._bar.total != (self.total or None):
            self._hide()
            self._bar = tqdm(
                desc=f"{self.what}: ",
                total=self.total or None,
                initial=self._n_before,
                unit=self.unit,
                bar_format=None if self.total else "{desc}{elapsed}",
                leave=False,
                dynamic_ncols=True,
            )
        self._bar.n, self._bar.start_t = self.n, self._started
        self._bar.set_description(self.what)  # draws it

    def _hide(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
