"""A headless browser for tests of pages, and what it reports."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
]


@dataclass
class Opened:
    """A page in a browser, with the errors and requests to a network that it has made so far."""

    page: object
    faults: list[str] = field(default_factory=list)


@contextmanager
def browser() -> Iterator:
    """Start Chromium; skips the test where it or playwright is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        yield running
        running.close()


def open_page(running, path: Path, *, width: int = 1200, height: int = 800, colours: str = "light") -> Opened:
    """Open a file in a new tab and follow its errors and requests."""
    context = running.new_context(
        viewport={"width": width, "height": height}, color_scheme=colours, accept_downloads=True
    )
    opened = Opened(context.new_page())
    opened.page.on("pageerror", lambda error: opened.faults.append(str(error)))
    opened.page.on("console", lambda line: line.type == "error" and opened.faults.append(line.text))
    opened.page.on("request", lambda one: one.url.startswith(("http", "ws")) and opened.faults.append(one.url))
    opened.page.goto(path.absolute().as_uri())
    return opened
