"""Write a page on which the map of a run can be walked through: `python Plotting/explore.py weights/faces_ae`.

Several runs of the same images are shown side by side. The page is one file that opens without a network: hover over
images, colour them by any column, lasso and list them, decode any place, draw a line from image to image, move along
latents and columns, and go through the training if it has snapshots (--latents_every).
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the other imports ends without a traceback

import argparse
import shlex
import sys
from pathlib import Path

from neuro_noodle.command import Parser
from neuro_noodle.flags import comma_separated, positive
from neuro_noodle.process import guarded
from neuro_noodle.views.explorer.explorer import write_explorer


@guarded
def main(words: list[str]) -> int:
    """Write the page and print its path; returns the exit status."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("runs", type=Path, nargs="+", metavar="RUN", help="runs, or their sessions, of the same images")
    add("--out", type=Path, metavar="FILE", help="the page (default: explorer.html in the folder of the first run)")
    add("--no_images", action="store_true", help="leave out images and decoders, so that private stimuli stay private")
    add(
        "--columns",
        type=comma_separated,
        default=[],
        metavar="NAME,NAME",
        help="metadata columns that come first (default: informative ones); NAME:180 sets the period of its angles",
    )
    add(
        "--map",
        nargs="+",
        default=["umap"],
        metavar=("NAME", "KEY=VALUE"),
        help="kind of the maps: umap (default), pca or pacmap; 2-D latents are shown as they are",
    )
    add(
        "--n_mapped",
        type=positive,
        metavar="N",
        help="images on the page, at most (default: all; with umap, as many as are placed in half a minute)",
    )
    add("--data_dir", type=Path, help="the folder of the images, if it has moved since training")
    add("--trust_pickle", action="store_true", help="load the UMAP of a run, which can run code")  # fmt: skip
    flags = parser.parse_args(words)
    print(write_explorer(flags.runs, out=flags.out, columns=flags.columns, how=shlex.join(flags.map),
        n_mapped=flags.n_mapped, with_images=not flags.no_images, data_dir=flags.data_dir,
        trust_pickle=flags.trust_pickle))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
