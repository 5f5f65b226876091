"""Write every picture of a run: `python Plotting/report.py weights/faces_ae` fills weights/faces_ae/figures."""

import argparse
import sys
from pathlib import Path

from neuro_noodle.command import guarded
from neuro_noodle.flags import comma_separated
from neuro_noodle.views.report import write_report


@guarded
def main(words: list[str]) -> int:
    """Write the pictures and print their paths; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a run, or one of its sessions")
    parser.add_argument("--data_dir", type=Path, help="the folder of the images, if it has moved since training")
    parser.add_argument("--trust_pickle", action="store_true", help="load the UMAP of a run, which can run code")
    parser.add_argument("--columns", type=comma_separated, default=[], metavar="NAME,NAME",
        help="metadata columns that colour the maps (default: informative ones)")  # fmt: skip
    flags = parser.parse_args(words)
    for path in write_report(
        flags.run, columns=flags.columns, data_dir=flags.data_dir, trust_pickle=flags.trust_pickle
    ):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
