"""The flags of main.py: name, default, type and help of each, and what it may do when a run is resumed or tested.

To add one: a `Flag` in FLAGS. A new choice or option of a table needs none.
"""

import argparse
import contextlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neuro_noodle.recipes import RECIPES

MAX_NAME = 200  # bytes of the name of a run; names of files have at most 255, with what is added to them


@dataclass(frozen=True)
class Flag:
    """A flag of main.py.

    Attributes:
        name: without the dashes.
        help: what it does.
        default: its value if neither recipe nor command line gives one; a relative path is in the project.
        type: reads its text.
        choices: the allowed texts.
        metavar: how its value is shown in --help.
        kind: value; switch (no value), toggle (--NAME or --no-NAME), choice (NAME KEY=VALUE ...), choices (repeatable).
        resume: whether it may change when a run is resumed.
        test: whether it may be given with --test.
        recorded: whether config.json keeps it.
    """

    name: str
    help: str
    default: Any = None
    type: Callable[[str], Any] | None = None
    choices: tuple[str, ...] | None = None
    metavar: str | None = None
    kind: str = "value"
    resume: bool = False
    test: bool = False
    recorded: bool = True

    def add_to(self, group: argparse._ArgumentGroup, home: Path) -> None:
        """Add the flag to a group of a parser."""
        option = f"--{self.name}"
        if self.kind == "switch":
            group.add_argument(option, action="store_true", help=self.help)
        elif self.kind == "toggle":
            group.add_argument(option, action=argparse.BooleanOptionalAction, default=self.as_json, help=self.help)
        elif self.kind == "choice":
            group.add_argument(option, nargs="+", metavar=CHOICE, default=self.default, help=self.help)
        elif self.kind == "choices":
            suppress = argparse.SUPPRESS
            group.add_argument(option, action="append", nargs="+", metavar=CHOICE, default=suppress, help=self.help)
        else:
            default = home / self.default if isinstance(self.default, Path) else self.default
            reader = self.type or str
            group.add_argument(
                option, type=reader, default=default, choices=self.choices, metavar=self.metavar, help=self.help
            )

    @property
    def as_json(self) -> Any:
        """The default as config.json keeps it."""
        empty: dict[str, Any] = {"switch": False, "toggle": bool(self.default), "choices": []}
        return empty.get(self.kind, str(self.default) if isinstance(self.default, Path) else self.default)

    def allows(self, value: object) -> bool:
        """Return whether a value from a JSON file is one that this flag can have."""
        if self.kind in ("switch", "toggle"):
            return isinstance(value, bool)
        if self.kind == "choices":
            return isinstance(value, list) and all(isinstance(one, str) for one in value)
        if value is None:
            return self.default is None
        if self.kind == "choice" or self.type in (None, file_path):
            return isinstance(value, str) and _is_file_name(value) and value in (self.choices or [value])
        try:
            return self.type is not None and type(value) is not bool and self.type(str(value)) == value
        except argparse.ArgumentTypeError:
            return False


def _is_file_name(text: str) -> bool:
    """Return whether a text can be the name of a file; some characters in JSON cannot."""
    try:
        return "\0" not in os.fsdecode(os.fsencode(text))
    except UnicodeEncodeError:
        return False


def whole(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from low to high."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from {low:,} to {high:,}")
        return int(text)

    return read


def or_none(reader: Callable[[str], int]) -> Callable[[str], int | None]:
    """Return a reader that also reads none."""
    return lambda text: None if text == "none" else reader(text)


def number(low: float, high: float, *, with_low: bool = False) -> Callable[[str], float]:
    """Return a reader of numbers between two ends, the upper one excluded, the lower one too unless with_low."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            is_plain = text.isascii() and "_" not in text and text.strip() == text
            if is_plain and (low < float(text) < high or (with_low and float(text) == low)):
                return float(text)
        lower, upper = (
            f"{low} or more" if with_low else f"above {low}",
            "" if high == math.inf else f" and below {high}",
        )
        raise argparse.ArgumentTypeError(f"'{text}' is not a number {lower}{upper}")

    return read


def fold(text: str) -> str:
    """Read k/K, the k-th of K folds."""
    k, _, n = text.partition("/")
    if not (k.isdecimal() and n.isdecimal() and len(n) < 6 and 1 <= int(k) <= int(n) and int(n) >= 2):
        raise argparse.ArgumentTypeError(f"'{text}' is not k/K with 1 <= k <= K < 100,000, for example 2/5")
    return text


def plain_name(text: str) -> str:
    """Read the name of a folder, without the path to it."""
    if (n_bytes := len(os.fsencode(text))) > MAX_NAME:
        raise argparse.ArgumentTypeError(f"a name of {n_bytes} bytes is too long; at most {MAX_NAME} are possible")
    if not text or Path(text).name != text or text == ".." or "\0" in text:
        raise argparse.ArgumentTypeError(f"'{text}' is not a plain name; use --save_dir for the folder")
    return text


def file_path(text: str) -> Path:
    """Read the path of a file or a folder."""
    if not text:
        raise argparse.ArgumentTypeError("an empty path; did a variable of the shell have no value?")
    return Path(text)


def comma_separated(text: str) -> list[str]:
    """Read values separated by commas."""
    return text.split(",") if text else []


CHOICE = ("NAME", "KEY=VALUE")
positive, seed = whole(1, 10**9), whole(0, 4 * 10**9)  # a seed and those of its repetitions have 32 bits
SPLITS = ("auto", "random", "group", "block", "given")
FLAGS: dict[str, tuple[Flag, ...]] = {
    "what to run": (
        Flag("recipe", f"named values for the flags: {', '.join(RECIPES)}", "faces_ae", metavar="NAME"),
        Flag("namestr", "name of the run; default: the recipe", type=plain_name, resume=True),
        Flag("list", "print every choice and every recipe, then exit", kind="switch", resume=True, recorded=False),
        Flag("test", "judge the run in --load_dir on its test part, or on all images of another --data_dir or "
             "--dataset", kind="switch", resume=True, recorded=False),
        Flag("trust_pickle", "open the UMAP of a run, which can run code; only for runs you trust", kind="switch",
             resume=True, recorded=False),
        Flag("print_run", "print only the folder of the run on standard output, everything else on standard error",
             kind="switch", resume=True, recorded=False),
        Flag("plot", "draw the figures of a run at its end, and write report.html", True, kind="toggle", resume=True,
             recorded=False),
        Flag("debug", "start in the debugger (ipdb), and enter it at an error", kind="switch", resume=True,
             recorded=False),
    ),
    "data": (
        Flag("data_dir", "folder of the images", Path("Resources/stimuli"), file_path, resume=True, test=True),
        Flag("dataset", "how to read the images", "folder", kind="choice", test=True),
        Flag("skip_unreadable", "skip images that cannot be read", kind="toggle", test=True),
        Flag("split", "how images are assigned to training and validation: random; group keeps people (animals) "
             "together, block stretches of frames; given uses the column `part`, else folders train, val, test; auto "
             "is given if the images come with such parts and no other test part is asked for, else random", "auto",
             choices=SPLITS),
        Flag("n_blocks", "number of blocks of --split block; default: 20", type=positive),
        Flag("gap", "frames left out between blocks of different parts", 0,
             whole(0, 10**9)),
        Flag("val_fraction", "share of the images (groups) outside the test part used for validation", 0.1,
             number(0, 1)),
        Flag("test_fraction", "share of the images (groups) used for the test", 0.0, number(0, 1, with_low=True)),
        Flag("fold", "use the k-th of K equal parts for the test", type=fold, metavar="k/K"),
        Flag("folds", "train K networks, each tested on another of K equal parts, and judge all test images together",
             type=whole(2, 99_999), metavar="K"),
        Flag("cache_dir", "cache decoded images here; without it only sets over 2 GiB are cached, in --save_dir",
             type=file_path, resume=True, test=True),
        Flag("clear_cache", "remove all cached images, then exit", kind="switch", resume=True, recorded=False),
        Flag("augment", "change training images at random; repeat it for several; `none` for none (default: the "
             "recipe's)", kind="choices"),
        Flag("rejig_data", "first arrange _Ha_ and _Sa_ files as classify/{train,val}/{happy,sad}, then train on those",
             kind="switch", resume=True, recorded=False),
    ),
    "model": (
        Flag("encoder", "network from image to latent", "fc", kind="choice"),
        Flag("head", "network from latent to prediction", "linear", kind="choice"),
        Flag("latent_dim", "size of the latent; none for the encoder's default", type=or_none(positive)),
        Flag("load_encoder", "start with the encoder of this run (its best weights) or session", type=file_path,
             metavar="RUN"),
        Flag("trainable_stages", "train only the last K stages that have weights; 1 is the head alone; default: all",
             type=positive, metavar="K"),
        Flag("fresh_stages", "re-initialise the last K stages that have weights after --load_encoder; 1 is the head",
             1, positive, metavar="K"),
        Flag("precision", "of the arithmetic; auto takes the faster", "auto", choices=("auto", "fp32", "bf16")),
    ),
    "training": (
        Flag("objective", "what is predicted", "reconstruct", kind="choice"),
        Flag("optimizer", "how weights are updated", "adam", kind="choice"),
        Flag("schedule", "how the learning rate changes", "constant", kind="choice"),
        Flag("lr", "learning rate", 1e-3, number(1e-20, float("inf"))),
        Flag("batch_size", "images per step, at most", 64, positive, test=True),
        Flag("n_epochs", "total number of epochs, also when resuming", 40, positive, resume=True),
        Flag("patience", "stop after this many epochs without a better validation metric", type=positive, resume=True),
        Flag("seed", "of split, weights, shuffling and augmentation", 42, seed),
        Flag("repetitions", "train R networks at once on the same split, with --seed, --seed + 10000, ... as seeds",
             1, whole(1, 10_000), metavar="R"),
        Flag("split_seed", "of the split; default: --seed", type=seed),
        Flag("device", "auto, cpu, cuda or cuda:1", "auto", resume=True, test=True),
        Flag("compile", "compile a training step: starting takes half a minute longer, each step is faster",
             kind="switch", resume=True),
    ),
    "sessions": (
        Flag("save_dir", "folder of the runs", Path("weights"), file_path, resume=True),
        Flag("load_dir", "resume this run or these folds (weights/NAME), or this session (weights/NAME/EPOCH)",
             type=file_path, resume=True, recorded=False),
        Flag("test_every", "epochs between evaluations on the validation images", 1, positive, resume=True),
        Flag("save_every", "epochs between saved sessions; the last epoch is always saved", 10, positive, resume=True),
        Flag("latents_every", "epochs (or a fraction of one) between latents of all images written to latents/; "
             "default: never", type=number(0, float("inf")), metavar="N", resume=True),
        Flag("pictures_every", "epochs (or a fraction of one) between reconstructions of a few images written to "
             "pictures/; default: never", type=number(0, float("inf")), metavar="N", resume=True),
        Flag("keep", "which saved sessions to keep (best/ is always kept)", "last", choices=("last", "all"),
             resume=True),
        Flag("log_every", "epochs between printed lines", 1, positive, resume=True),
    ),
    "tracking": (
        Flag("track", "also log to this tracker; may be repeated", kind="choices", resume=True),
        Flag("comet", "log to Comet with the account in settings.json; the same as --track comet", kind="toggle",
             resume=True),
        Flag("experiment", "the experiment that the run belongs to; trackers group runs by it", metavar="NAME",
             resume=True),
        Flag("log_images", "log reconstructions too; off by default because stimuli may be private", kind="toggle",
             resume=True),
    ),
}  # fmt: skip
EVERY_FLAG = {flag.name: flag for group in FLAGS.values() for flag in group}
