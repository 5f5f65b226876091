"""Compare what networks represent: linear probes of metadata columns, and CKA, RSA and Procrustes distance.

`python Plotting/compare.py weights/arena_ae weights/arena_angle --columns angle,x,y,distance` prints how well each
column can be read from the latents of each run and from the pixels, and how similar the latents are. A SOURCE is

    RUN[@EPOCHS][:STAGE]            the latents of a run (or session), or the output of a stage (`all`: of every stage);
                                    @EPOCHS: after so many epochs, @0: before training, @all: every saved epoch
    torchvision/NAME[@0][:STAGE]    a network of torchvision, pretrained, or with random weights (@0)
    FILE.npy, FILE.npz[:ARRAY]      numbers with a row per image, in the order of the images
    responses                       the recorded responses of the dataset
    column:NAME                     a metadata column: does a person, a class or an angle organise the latents?

The first SOURCE is a run and gives the images; pixels are always compared too.
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
from neuro_noodle.views.compare import HELD_OUT, print_comparison


@guarded
def main(words: list[str]) -> int:
    """Print the comparison; returns the exit status."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="what to compare, see above")
    parser.add_argument("--columns", type=comma_separated, default=[], metavar="NAME,NAME",
        help="metadata columns to read from the latents (default: informative ones); NAME:180 sets the period of "
        "its angles, NAME:number says that it holds none")  # fmt: skip
    parser.add_argument("--parts", type=comma_separated, default=list(HELD_OUT), metavar="validation,test",
        help="parts of the first run whose images are compared (default: both)")  # fmt: skip
    parser.add_argument("--every_group", action="store_true", help="hold every group (person, block) out once from the "
        "probes, in 5 folds: narrower intervals, but the networks have seen most of these images")  # fmt: skip
    parser.add_argument("--data_dir", type=Path, help="the folder of the images, if it has moved since training")
    parser.add_argument("--trust_pickle", action="store_true", help="load the UMAP of a run, which can run code")
    parser.add_argument("--out", type=Path, help="also write all numbers to this JSON file")
    parser.add_argument("--figure", type=Path, help="also plot all tables to this file (.png, .pdf or .svg); "
        "with three or more epochs of a run, curves over training")  # fmt: skip
    parser.add_argument("--width_mm", type=float, help="width of that picture, for a paper, with its text")
    flags = parser.parse_args(words)
    print_comparison(flags.sources, columns=flags.columns, parts=flags.parts, every_group=flags.every_group,
        data_dir=flags.data_dir, trust_pickle=flags.trust_pickle, out=flags.out, figure=flags.figure,
        width_mm=flags.width_mm)  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
