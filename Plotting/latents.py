"""Write the latents of all images to files: `python Plotting/latents.py weights/arena_ae weights/arena_ae:conv2`.

For each SOURCE (see compare.py --help; the first is a run and gives the images) it writes an npz file with the numbers,
the id, the part and all metadata of each image, and the same as CSV if there are at most 2048 numbers per image.
With `--images my_images`, these are the latents of new images, prepared exactly as in training.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the other imports ends without a traceback

import argparse
import sys
from pathlib import Path

from neuro_noodle.command import Parser
from neuro_noodle.process import guarded
from neuro_noodle.runs.representation_files import write_representations


@guarded
def main(words: list[str]) -> int:
    """Write the files and print their paths; returns the exit status."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="RUN[@EPOCHS][:STAGE], pixels, ...")
    parser.add_argument("--out", type=Path, help="folder of the files (default: representations/ in the first run)")
    parser.add_argument("--images", type=Path, help="a file or folder of new images, in place of those of the runs")
    parser.add_argument("--components", action="store_true",
        help="write 500 principal components in place of more than 2048 numbers")  # fmt: skip
    parser.add_argument("--data_dir", type=Path, help="the folder of the images, if it has moved since training")
    parser.add_argument("--trust_pickle", action="store_true", help="load the UMAP of a run, which can run code")
    flags = parser.parse_args(words)
    for path in write_representations(flags.sources, flags.out, reduce=flags.components, data_dir=flags.data_dir,
        trust_pickle=flags.trust_pickle, images=flags.images):  # fmt: skip
        print(path, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
