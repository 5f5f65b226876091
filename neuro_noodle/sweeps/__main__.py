"""Train many runs: `python -m neuro_noodle.sweeps NAME --vary latent_dim=2,8,40 --seeds 42,43,44 -- --recipe faces_ae`.

Trains each configuration with each seed, and writes weights/NAME: a folder per run, runs.csv (a row per run),
configurations.csv, differences.csv, and pictures. The same command again trains only what is missing.
"""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the other imports ends without a traceback

import argparse
import sys

from neuro_noodle.choices import require
from neuro_noodle.command import Parser
from neuro_noodle.flags import comma_separated, file_path, plain_name, seed, whole
from neuro_noodle.process import guarded
from neuro_noodle.sweeps.attempts import MAIN
from neuro_noodle.sweeps.engines import ENGINES
from neuro_noodle.sweeps.plan import Plan
from neuro_noodle.sweeps.searches import SEARCHES
from neuro_noodle.sweeps.variations import read_file, read_variation


def read_seeds(text: str) -> list[int]:
    """Read seeds separated by commas."""
    seeds = [seed(one) for one in comma_separated(text)]
    if len(set(seeds)) < len(seeds):
        raise argparse.ArgumentTypeError(f"'{text}' has a seed twice")
    return seeds


def build_parser() -> Parser:
    """Return the parser of the command line before --."""
    parser = Parser(
        prog="sweep",
        usage="%(prog)s NAME [--vary FLAG=VALUES ...] [--seeds 42,43,44] [other flags] -- FLAGS OF main.py",
        description=__doc__,
        epilog=f"engines:\n{ENGINES.describe()}\n\nsearches:\n{SEARCHES.describe()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("name", type=plain_name, help="of the sweep, and of its folder in --save_dir")
    parser.add_argument(
        "--vary",
        action="append",
        default=[],
        metavar="FLAG=VALUES",
        help="a flag of main.py and its values: latent_dim=2,8,40, 'optimizer=adam | sgd momentum=0.9', or a range for "
        "--search random or optuna: lr=1e-4..1e-2; may be repeated",
    )
    parser.add_argument(
        "--configurations", type=file_path, metavar="FILE", help="a file with a line NAME: FLAGS per configuration"
    )
    parser.add_argument(
        "--seeds",
        type=read_seeds,
        default=[],
        help="of each configuration, for example 42,43,44: splits and weights differ (--repetitions R after -- varies "
        "weights on one split)",
    )
    parser.add_argument("--search", nargs="+", default=["grid"], metavar="NAME", help="which combinations to train")
    parser.add_argument("--engine", nargs="+", default=["local"], metavar="NAME", help="where to train")
    parser.add_argument(
        "--retries", type=whole(0, 1000), default=3, help="how often to resume a run that was killed (default: 3)"
    )
    parser.add_argument("--save_dir", type=file_path, default=MAIN.parent / "weights", help="folder of the sweeps")
    parser.add_argument("--dry_run", action="store_true", help="print the command of each run, and train none")
    return parser


@guarded
def main(words: list[str]) -> int:
    """Run the sweep; returns the exit status: 1 if a run has failed, 2 for a user's mistake, 130 if interrupted."""
    require(MAIN.is_file(), f"a sweep starts main.py, but there is no {MAIN}; work in a clone of the project")
    at = words.index("--") if "--" in words else len(words)
    flags = build_parser().parse_args(words[:at])
    engine = ENGINES.parse(flags.engine)
    variations = [read_file(flags.configurations)] if flags.configurations else []
    plan = Plan(
        flags.save_dir / flags.name,
        [*variations, *map(read_variation, flags.vary)],
        SEARCHES.parse(flags.search),
        flags.seeds,
        words[at + 1 :],
    )
    from neuro_noodle.sweeps.sweep import print_commands, train_sweep  # here, so that --help answers at once

    if flags.dry_run:
        print_commands(plan)
        return 0
    return train_sweep(plan, engine, flags.retries)


if __name__ == "__main__":
    sys.exit(main())
