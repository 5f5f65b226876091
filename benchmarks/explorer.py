"""How large and how fast the explorer of a run is, in headless Chromium without a graphics card.

    ./run.sh benchmarks/explorer.py weights/mnist_ae

Prints the seconds to write the page, its size, the seconds from opening it to the first drawn points, the frames per
second while zooming, the milliseconds of a decoding, and the largest difference of a decoded pixel from PyTorch.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

from neuro_noodle.measures.sampling import evenly_spaced
from neuro_noodle.objectives.base import IMAGES
from neuro_noodle.runs.run import Run, open_run

ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
N_OPENED = 3  # times
N_DECODED = 50
ZOOM_S = 4.0
COUNT_FRAMES = """async ([seconds]) => {
    const map = explorer.maps[0];
    const box = map.canvas.getBoundingClientRect();
    const at = { clientX: box.left + box.width / 2, clientY: box.top + box.height / 2, bubbles: true };
    let drawn = 0;
    map.plot.subscribe("draw", () => drawn++);
    const start = performance.now();
    while (performance.now() - start < 1000 * seconds) {
        const deltaY = performance.now() - start < 500 * seconds ? -20 : 20;
        map.canvas.dispatchEvent(new WheelEvent("wheel", { ...at, deltaY }));
        await new Promise(requestAnimationFrame);
    }
    return drawn / seconds;
}"""
DECODE = """(indices) => {
    const map = explorer.maps[0];
    const start = performance.now();
    const images = indices.map((index) => Array.from(map.decoder.decode(map.latentOf(index)).data));
    return [(performance.now() - start) / indices.length, images];
}"""


def main() -> None:
    """Print the figures of the explorer of a run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = parser.parse_args().run
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder, "explorer.html")
        start = time.monotonic()
        command = [sys.executable, Path(__file__).parent.parent / "Plotting" / "explore.py", run, "--out", path]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        print(f"written in {time.monotonic() - start:.1f} s, {path.stat().st_size / 1e6:.1f} MB")
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        drawn = [open_page(browser.new_page(viewport={"width": 1400, "height": 900}), path) for _ in range(N_OPENED)]
        page = browser.contexts[-1].pages[-1]
        print(f"{page.evaluate('explorer.n')} images; first drawn after {', '.join(f'{one:.2f}' for one in drawn)} s")
        print(f"{page.evaluate(COUNT_FRAMES, [ZOOM_S]):.0f} frames per second while zooming")
        compare(open_run(run), page)
        browser.close()


def open_page(page: Page, path: Path) -> float:
    """Open a page; returns the seconds until its points are drawn."""
    page.goto(path.as_uri())
    page.wait_for_function("globalThis.explorer")
    return page.evaluate("new Promise((done) => requestAnimationFrame(() => done(performance.now() / 1000)))")


def compare(run: Run, page: Page) -> None:
    """Print how long decoding takes, and how far decoded images are from those of PyTorch."""
    if run.objective.predicts != IMAGES:
        return
    shown = page.evaluate("explorer.ids")
    indices = evenly_spaced(np.arange(len(shown)), N_DECODED)
    milliseconds, images = page.evaluate(DECODE, indices.tolist())
    index_by_id = {name: i for i, name in enumerate(run.dataset.ids)}
    latents = run.latents()[[index_by_id[shown[i]] for i in indices]]
    print(f"{milliseconds:.1f} ms to decode")
    for precision in dict.fromkeys((run.model.precision, "fp32")):
        run.model.precision = precision
        difference = np.abs(np.array(images) - run.decode(latents).reshape(len(indices), -1)).max()
        print(f"at most {255 * difference:.2f}/255 from PyTorch in {precision}")


if __name__ == "__main__":
    main()
