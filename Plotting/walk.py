"""Change a metadata column of images: `python Plotting/walk.py weights/faces_ae --column emotion --from Sa --to Ha`.

Moves the latents of a few held-out images along the direction in which the column changes among training images (the
difference of the means of two classes, or a regression on a number), and decodes them. Below each image is a control: a
direction of the same length, at right angles to it, computed after the column was shuffled. Writes figures/walk.png.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the other imports ends without a traceback

import argparse
import sys
from pathlib import Path

from neuro_noodle.command import Parser
from neuro_noodle.flags import comma_separated
from neuro_noodle.process import guarded
from neuro_noodle.views.walk import write_walk


@guarded
def main(words: list[str]) -> int:
    """Write the picture and print its path; returns the exit status."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", type=Path, help="a run that reconstructs images, or one of its sessions")
    add("--column", metavar="NAME", help="a metadata column of classes or numbers (default: the first informative one)")
    add("--from", dest="start", metavar="VALUE", help="where the walk starts (default: one of the two most frequent "
        "classes; for numbers, the 5th percentile)")  # fmt: skip
    add("--to", dest="end", metavar="VALUE", help="where it ends (default: the other; the 95th percentile)")
    add("--images", type=comma_separated, default=[], metavar="ID,ID", help="images to change (default: three held-out "
        "ones; of the first class, if the column has classes)")  # fmt: skip
    add("--data_dir", type=Path, help="the folder of the images, if it has moved since training")
    add("--trust_pickle", action="store_true", help="load the UMAP of a run, which can run code")
    flags = parser.parse_args(words)
    print(write_walk(flags.run, column=flags.column, start=flags.start, end=flags.end, images=flags.images,
        data_dir=flags.data_dir, trust_pickle=flags.trust_pickle))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
