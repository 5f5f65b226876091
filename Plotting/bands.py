"""Plot a value of several runs against the epoch: the median and spread over repetitions, in one figure."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the other imports ends without a traceback

import sys
from pathlib import Path

from neuro_noodle.command import Parser
from neuro_noodle.process import guarded
from neuro_noodle.views.bands import write_bands


@guarded
def main(words: list[str]) -> int:
    """Write the figure and print what each run reached; returns the exit status."""
    parser = Parser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="runs, usually trained with --repetitions")
    parser.add_argument("--value", help="a value in metrics.jsonl, for example validation/loss (default: the main "
        "metric on the validation images)")  # fmt: skip
    parser.add_argument("--out", type=Path, help="the PNG file (default: figures/bands.png of the first run)")
    flags = parser.parse_args(words)
    print(*write_bands(flags.runs, value=flags.value, out=flags.out), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
