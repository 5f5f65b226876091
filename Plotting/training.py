"""Plot how latents and reconstructions changed during training: `python Plotting/training.py weights/arena_ae`.

Reads what --latents_every and --pictures_every have written. Writes figures/training.png and .gif (maps of the latents)
and figures/reconstructions_over_training.png and .gif.
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
from neuro_noodle.views.over_training import write_over_training


@guarded
def main(words: list[str]) -> int:
    """Write the pictures and the films, and print their paths; returns the exit status."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("run", type=Path, help="a run that was trained with --latents_every or --pictures_every")
    add("--fit", default="last", metavar="last|first|every|RUN", help="the snapshot whose training images the UMAP is "
        "fitted to, and to whose spread the others are scaled; `every` fits one UMAP per snapshot and rotates it onto "
        "the one before; a RUN stands for its last snapshot; two-dimensional latents need no UMAP "
        "(default: %(default)s)")  # fmt: skip
    add("--columns", type=comma_separated, default=[], metavar="NAME,NAME",
        help="metadata columns that colour the maps (default: up to two informative ones, angles first); "
        "NAME:180 sets the period of its angles, NAME:number says that it holds none")  # fmt: skip
    add("--images", type=comma_separated, default=[], metavar="ID,ID",
        help="images shown above each map (default: three that end up far apart)")  # fmt: skip
    add("--data_dir", type=Path, help="the folder of the images, if it has moved since training")
    add("--snapshots", type=int, default=6, help="maps in the picture (default: %(default)s); the film has all")
    add("--seed", type=int, default=42, help="seed of the UMAP (default: %(default)s)")
    flags = parser.parse_args(words)
    print(*write_over_training(flags.run, fit=flags.fit, columns=flags.columns, images=flags.images,
        data_dir=flags.data_dir, n_snapshots=flags.snapshots, seed=flags.seed), sep="\n")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
