"""Write a run as ONNX and safetensors, for programs without this package: `python Plotting/export.py weights/faces_ae`.

RUN/export/ gets encoder.onnx (images to latents), model.onnx (images to latents and predictions), decoder.onnx (latents
to images, for runs that predict images), model.safetensors (all weights), and export.json, which says what goes in and
what comes out: how images are prepared, classes, units, and how far onnxruntime agrees with PyTorch.
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
from neuro_noodle.runs.export import export_run
from neuro_noodle.runs.run import open_run


@guarded
def main(words: list[str]) -> int:
    """Write the files and print their paths; returns the exit status."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run (its best weights), or one of its sessions")
    parser.add_argument("--parts", type=comma_separated, default=[], metavar="NAME,NAME",
        help="encoder, model or decoder (default: all that the run has)")  # fmt: skip
    parser.add_argument("--out", type=Path, help="folder of the files (default: export/ in the run)")
    parser.add_argument("--data_dir", type=Path, help="the folder of the images, if it has moved since training")
    parser.add_argument("--trust_pickle", action="store_true", help="load the UMAP of a run, which can run code")
    flags = parser.parse_args(words)
    run = open_run(flags.run, flags.data_dir, trust_pickle=flags.trust_pickle)
    for path in export_run(run, flags.out, flags.parts):
        print(path, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
