"""Write every picture of a run to its folder `figures`, and report.html: `Plotting/report.py weights/faces_ae`."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the other imports ends without a traceback

import shlex
import sys
from pathlib import Path

from neuro_noodle.command import Parser
from neuro_noodle.flags import comma_separated, positive
from neuro_noodle.process import guarded
from neuro_noodle.views.report import write_report
from neuro_noodle.views.saving import Format


@guarded
def main(words: list[str]) -> int:
    """Write the pictures and print their paths; returns the exit status."""
    parser = Parser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run, one of its sessions, or the runs of --folds")
    parser.add_argument("--data_dir", type=Path, help="the folder of the images, if it has moved since training")
    parser.add_argument("--trust_pickle", action="store_true", help="load the UMAP of a run, which can run code")
    parser.add_argument("--columns", type=comma_separated, default=[], metavar="NAME,NAME",
        help="metadata columns that colour the maps (default: informative ones); NAME:180 sets the period of "
        "its angles, NAME:number says that it holds none")  # fmt: skip
    parser.add_argument("--map", nargs="+", default=["umap"], metavar=("NAME", "KEY=VALUE"),
        help="kind of the maps: umap (default), pca or pacmap; 2-D latents are shown as they are")  # fmt: skip
    parser.add_argument("--n_mapped", type=positive, default=2000, help="images on the maps (default: %(default)s)")
    parser.add_argument("--format", type=comma_separated, default=["png"], metavar="png,pdf,svg",
        help="of the pictures (default: png)")  # fmt: skip
    parser.add_argument("--width_mm", type=float, help="width of every picture, for a paper, with its text")
    parser.add_argument("--no_images", action="store_true", help="leave out pictures that show images or anything "
        "decoded from the network, and the names of images, for a page to send")  # fmt: skip
    flags = parser.parse_args(words)
    form = Format(tuple(flags.format), flags.width_mm)
    for path in write_report(
        flags.run,
        columns=flags.columns,
        how=shlex.join(flags.map),
        n_mapped=flags.n_mapped,
        data_dir=flags.data_dir,
        trust_pickle=flags.trust_pickle,
        form=form,
        with_images=not flags.no_images,
    ):
        print(path, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
