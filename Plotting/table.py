"""Compare the results of runs: `python Plotting/table.py weights/depth1 weights/depth2 weights/depth3`.

Prints a line per run: the flags in which the runs differ, the main metric with its interval, baselines, epochs and
seconds. Scores are of the test images, or of the validation images if a run has no test part.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the other imports ends without a traceback

import argparse
import sys
from pathlib import Path

from neuro_noodle.command import Parser
from neuro_noodle.process import guarded
from neuro_noodle.views.table import write_table


@guarded
def main(words: list[str]) -> int:
    """Print the table; returns the exit status."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="finished runs, also those of --folds or --repetitions")
    parser.add_argument("--out", type=Path, help="also write the table to this CSV file")
    parser.add_argument("--figure", type=Path, help="also plot it to this file (.png, .pdf or .svg)")
    flags = parser.parse_args(words)
    print(*write_table(flags.runs, out=flags.out, figure=flags.figure), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
