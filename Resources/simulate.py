"""Draw the built-in stimuli: `simulate.py KIND [--option value ...]` fills a folder with images and a metadata.csv."""

import signal

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C during the other imports ends without a traceback

import argparse
import sys
from pathlib import Path

from neuro_noodle.command import Parser
from neuro_noodle.process import guarded
from neuro_noodle.progress import Stage
from neuro_noodle.simulate.base import whole_number
from neuro_noodle.simulate.folder import fill_folder
from neuro_noodle.simulate.kinds import KINDS

HERE = Path(__file__).resolve().parent


def build_parser() -> Parser:
    """Return the parser of the command line, with a subcommand for each kind of stimuli."""
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = Parser(description="Draw the built-in stimuli.", formatter_class=formatter)
    commands = parser.add_subparsers(dest="kind", required=True, metavar="KIND")
    for name, kind in KINDS.items():
        command = commands.add_parser(name, help=kind.summary, description=kind.summary, formatter_class=formatter)
        command.add_argument("--out", type=Path, default=HERE / kind.folder, help="folder to fill")
        for option in kind.options:
            command.add_argument(f"--{option.name}", type=option.read, default=option.default, help=option.help)
        command.add_argument("--seed", type=whole_number(0, 2**32 - 1), default=42, help="same seed, same images")
        command.add_argument("--redraw", action="store_true", help="replace the files of an earlier call")
    return parser


@guarded
def main(words: list[str]) -> int:
    """Draw the stimuli that the command line asks for."""
    flags = build_parser().parse_args(words)
    kind = KINDS[flags.kind]
    names = [option.name for option in kind.options] + ["seed"]
    with Stage(f"drawing {kind.row_noun}"):
        text = fill_folder(kind, flags.out, {name: getattr(flags, name) for name in names}, redraw=flags.redraw)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
