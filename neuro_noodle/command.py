"""The command line: every flag, and their values in the order default < recipe or resumed session < command line.

To add a flag: a line in `build_parser`. A new choice or option of a table needs none.
"""

import argparse
import contextlib
import functools
import sys
from collections.abc import Callable
from pathlib import Path

from neuro_noodle.choices import UserError, suggest
from neuro_noodle.recipes import RECIPES

HERE = Path(__file__).resolve().parent
TABLES = {
    "dataset": "what the images are",
    "encoder": "from image to latent",
    "head": "from latent to prediction",
    "objective": "what is predicted",
    "optimizer": "how weights are stepped",
    "schedule": "how the learning rate changes",
}
NOT_OF_THE_RUN = {"clear_cache", "debug", "list", "load_dir", "rejig_data", "test", "trust_pickle"}
RESUMABLE = {"n_epochs", "test_every", "save_every", "log_every", "keep", "patience", "data_dir", "save_dir", "device"}
RESUMABLE |= {"cache_dir", "comet", "compile", "latents_every", "log_images", "namestr"} | NOT_OF_THE_RUN
PATHS = ("data_dir", "save_dir", "cache_dir", "load_encoder")
TESTABLE = {"data_dir", "dataset", "skip_unreadable", "cache_dir", "device", "batch_size"}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one message that names the nearest flag."""

    def error(self, message: str) -> None:
        unknown = message.removeprefix("unrecognized arguments: ").split()[0]
        if unknown.startswith("--"):
            flags = [option for action in self._actions for option in action.option_strings]
            message = f"unknown flag '{unknown}'; {suggest(unknown, flags)}"
        raise UserError(message)


def positive(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def whole(text: str) -> int:
    """Read a whole number of at least 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 0")
    return int(text)


def number(low: float, high: float, *, with_low: bool = False) -> Callable[[str], float]:
    """Return a reader of numbers between two ends, of which only the lower one may belong."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            if low < float(text) < high or (with_low and float(text) == low):
                return float(text)
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a number {'from' if with_low else 'above'} {low} to below {high}"
        )

    return read


def fold(text: str) -> str:
    """Read k/K, the k-th of K parts."""
    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n) and int(n) >= 2):
        raise argparse.ArgumentTypeError(f"'{text}' is not k/K with 1 <= k <= K, such as 2/5")
    return text


def build_parser() -> Parser:
    """Return the parser with every flag in its group."""
    parser = Parser(
        prog="main.py",
        description="Train a network on a folder of images. `--list` shows every NAME and KEY; `--recipe NAME --help` "
        "shows the defaults of that recipe.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument_group("what to run").add_argument
    add("--recipe", default="faces_ae", metavar="NAME", help=f"named values for the flags: {', '.join(RECIPES)}")
    add("--namestr", help="name of the run, here and at Comet; the recipe's if none is given")
    add("--list", action="store_true", help="print every table and leave")
    add("--test", action="store_true",
        help="judge the run of --load_dir: its test part, or all images of other --data_dir or --dataset")  # fmt: skip
    add("--trust_pickle", action="store_true", help="open the UMAP of a run, which can run code; for runs you trust")
    add("--debug", action="store_true", help="start in ipdb, and enter it at an error")

    add = parser.add_argument_group("data").add_argument
    add("--data_dir", type=Path, default=HERE / "Resources" / "stimuli", help="the folder of images")
    add("--dataset", nargs="+", metavar=("NAME", "KEY=VALUE"), default="folder", help=TABLES["dataset"])
    add(
        "--skip_unreadable",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="go on without images that cannot be read",
    )
    add("--split", choices=["random", "group", "block", "given"], default="random",
        help="how images are dealt out; group keeps people apart, block stretches of frames; given takes the column "
        "`part`, else folders train, val, test")  # fmt: skip
    add("--n_blocks", type=positive, help="stretches that --split block cuts the frames into; 20 if none is given")
    add("--gap", type=whole, default=0, help="frames left out on both sides of what --split block holds out")
    add(
        "--val_fraction",
        type=number(0, 1),
        default=0.1,
        help="share of the images (groups) outside the test part that chooses the best epoch",
    )
    add("--test_fraction", type=number(0, 1, with_low=True), default=0.0, help="share that is touched once, at the end")
    add("--fold", type=fold, metavar="k/K", help="the k-th of K parts is the test part")
    add("--cache_dir", type=Path,
        help="keep decoded images here for the next runs; without it only sets of over 2 GiB are kept, beside the runs"
    )  # fmt: skip
    add("--clear_cache", action="store_true", help="remove the images that are kept, and leave")
    add("--augment", nargs="+", action="append", metavar=("NAME", "KEY=VALUE"), default=argparse.SUPPRESS,
        help="change training images; may be repeated; `none` for nothing (default: the recipe's)")  # fmt: skip
    add("--rejig_data", action="store_true",
        help="first arrange _Ha_ and _Sa_ files as classify/{train,val}/{happy,sad}, then train on that")  # fmt: skip

    add = parser.add_argument_group("model").add_argument
    add("--encoder", nargs="+", metavar=("NAME", "KEY=VALUE"), default="fc", help=TABLES["encoder"])
    add("--head", nargs="+", metavar=("NAME", "KEY=VALUE"), default="linear", help=TABLES["head"])
    add("--latent_dim", type=lambda text: None if text == "none" else positive(text),
        help="numbers in the latent; none takes the encoder's own")  # fmt: skip
    add(
        "--load_encoder",
        type=Path,
        metavar="RUN",
        help="start from the encoder of this run (its best weights) or session",
    )
    add("--trainable_stages", type=positive, metavar="K",
        help="only the last K stages train; 1 is the head alone, and each image is encoded once; all if none is given"
    )  # fmt: skip
    add("--fresh_stages", type=positive, default=1, metavar="K",
        help="the last K stages start anew despite --load_encoder; 1 is the head alone")  # fmt: skip
    add("--precision", choices=["auto", "fp32", "bf16"], default="auto", help="of the arithmetic; auto: the faster")

    add = parser.add_argument_group("training").add_argument
    add("--objective", nargs="+", metavar=("NAME", "KEY=VALUE"), default="reconstruct", help=TABLES["objective"])
    add("--optimizer", nargs="+", metavar=("NAME", "KEY=VALUE"), default="adam", help=TABLES["optimizer"])
    add("--schedule", nargs="+", metavar=("NAME", "KEY=VALUE"), default="constant", help=TABLES["schedule"])
    add("--lr", type=number(0, float("inf")), default=1e-3, help="learning rate")
    add("--batch_size", type=positive, default=64, help="images per step, at most")
    add("--n_epochs", type=positive, default=40, help="epochs in all, also when resuming")
    add("--patience", type=positive, help="stop after this many epochs without a better validation metric")
    add("--seed", type=int, default=42, help="of split, weights, shuffling and augmentation")
    add("--repetitions", type=positive, default=1, metavar="R",
        help="train R networks at once, of this --seed and the next ones; they share the split")  # fmt: skip
    add("--split_seed", type=int, help="of the split; --seed if none is given")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    add("--compile", action="store_true",
        help="compile what a step computes: the first steps wait for half a minute, the others are faster")  # fmt: skip

    add = parser.add_argument_group("sessions").add_argument
    add("--save_dir", type=Path, default=HERE / "weights", help="where runs are written")
    add("--load_dir", type=Path, help="resume this run (weights/NAME) or session (weights/NAME/EPOCH)")
    add("--test_every", type=positive, default=1, help="epochs between evaluations on validation images")
    add("--save_every", type=positive, default=10, help="epochs between saved sessions; the last epoch is always saved")
    add("--latents_every", type=number(0, float("inf")), metavar="N",
        help="epochs, or the part of one, between latents of all images written to latents/; none if none is given"
    )  # fmt: skip
    add("--keep", choices=["last", "all"], default="last", help="which of the saved sessions stay (best/ always does)")
    add("--log_every", type=positive, default=1, help="epochs between printed lines")

    add = parser.add_argument_group("comet").add_argument
    add(
        "--comet",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="log to Comet with the account in settings.json",
    )
    add(
        "--log_images",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="log reconstructions as well; off, since stimuli may be private",
    )
    return parser


def parse(words: list[str]) -> argparse.Namespace:
    """Read the flags in the order default < recipe (or the resumed session) < command line."""
    early = Parser(add_help=False, allow_abbrev=False)
    early.add_argument("--recipe", default="faces_emotion" if "--rejig_data" in words else "faces_ae")
    early.add_argument("--load_dir", type=Path)
    early.add_argument("--load_encoder", type=Path)
    known, _ = early.parse_known_args(words)
    if known.recipe not in RECIPES:
        raise UserError(f"unknown recipe '{known.recipe}'; {suggest(known.recipe, RECIPES)}")
    parser = build_parser()
    base = session_flags(known.load_dir) if known.load_dir else recipe_flags(known.recipe)
    if known.load_encoder and not known.load_dir:
        theirs = session_flags(known.load_encoder)
        base |= {key: theirs[key] for key in ("encoder", "latent_dim")}
    defaults = {"recipe": known.recipe} | base
    parser.set_defaults(**{key: value for key, value in defaults.items() if key != "augment"})
    flags = parser.parse_args(words)
    if flags.list or flags.clear_cache:
        return flags
    if flags.fresh_stages > 1 and not flags.load_encoder:
        raise UserError("--fresh_stages says what of --load_encoder starts anew; without that all stages do")
    if flags.trainable_stages and flags.fresh_stages > flags.trainable_stages:
        raise UserError(
            f"--fresh_stages {flags.fresh_stages} start anew, but only {flags.trainable_stages} train; raise "
            "--trainable_stages"
        )
    if flags.latents_every and flags.repetitions > 1:
        raise UserError("--latents_every follows one network, and --repetitions trains several; leave one of them out")
    if flags.test and not flags.load_dir:
        raise UserError("--test judges a run; name it by --load_dir")
    resolve(flags, base)
    if flags.rejig_data and flags.load_dir:
        raise UserError("--rejig_data makes data for a new run; leave it out with --load_dir")
    if known.load_dir:
        may = TESTABLE if flags.test else RESUMABLE
        changed = [k for k, v in vars(flags).items() if k not in may and k in base and v != base[k]]
        if changed and flags.test:
            raise UserError(f"--{changed[0]} is of training, and --test trains nothing; leave it out")
        if changed:
            before, now = base[changed[0]], vars(flags)[changed[0]]
            raise UserError(
                f"--{changed[0]} cannot change when resuming: it was '{before}', now '{now}'; start a new run for that"
            )
    return flags


def recipe_flags(name: str) -> dict:
    """Return the values of a recipe; its folder lies in the project."""
    values = RECIPES[name].flags
    return values | ({"data_dir": HERE / values["data_dir"]} if "data_dir" in values else {})


def resolve(flags: argparse.Namespace, base: dict) -> None:
    """Turn each choice into one text that holds all of its options."""
    for kind, table in load_tables().items():
        if kind == "augmentation":
            given = getattr(flags, "augment", base.get("augment", []))
            flags.augment = [str(table.parse(choice)) for choice in given if choice != ["none"]]
        else:
            setattr(flags, kind, str(table.parse(getattr(flags, kind), base.get(kind))))
    flags.namestr = flags.namestr or flags.recipe
    if Path(flags.namestr).name != flags.namestr:
        raise UserError(f"--namestr {flags.namestr} is a path; it takes a plain name, and --save_dir the folder")


def load_tables() -> dict:
    """Return every table; imported late, so that --help is quick."""
    from neuro_noodle.augment import AUGMENTATIONS
    from neuro_noodle.data.base import DATASETS
    from neuro_noodle.learning.optimizers import OPTIMIZERS
    from neuro_noodle.learning.schedules import SCHEDULES
    from neuro_noodle.networks.base import ENCODERS, HEADS
    from neuro_noodle.objectives.base import OBJECTIVES

    tables = (DATASETS, ENCODERS, HEADS, OBJECTIVES, OPTIMIZERS, SCHEDULES, AUGMENTATIONS)
    return {table.kind: table for table in tables}


def describe_tables() -> str:
    """Return every choice with its options, and every recipe."""
    parts = [
        f"--{'augment' if kind == 'augmentation' else kind}\n{table.describe()}"
        for kind, table in load_tables().items()
    ]
    recipes = []
    for name, recipe in RECIPES.items():
        told = [recipe.summary, f"source: {recipe.source}", f"expect: {recipe.expected}"]
        for key, value in recipe.flags.items():
            told += [f"--{key} {one}" for one in (value if isinstance(value, list) else [value])]
        recipes.append(f"  {name:<22}" + f"\n{'':24}".join(told))
    return "\n\n".join([*parts, "--recipe\n" + "\n".join(recipes)])


def session_flags(load_dir: Path) -> dict:
    """Return the flags that made the run of a session."""
    from neuro_noodle.runs.files import find_session, load_config

    flags = load_config(find_session(load_dir)[0])["flags"]
    return flags | {key: Path(flags[key]) for key in PATHS if flags.get(key)}


def plain(flags: argparse.Namespace) -> dict:
    """Return the flags that make a run, as JSON can hold them; paths become absolute."""
    kept = {key: value for key, value in vars(flags).items() if key not in NOT_OF_THE_RUN}
    return {key: str(value.resolve()) if isinstance(value, Path) else value for key, value in kept.items()}


def comma_separated(text: str) -> list[str]:
    """Return the values of a comma-separated list; an empty text has none."""
    return text.split(",") if text else []


def guarded(main: Callable[[list[str] | None], int]) -> Callable[[list[str] | None], int]:
    """Report a user's error in one line with exit status 2, and return 130 after Ctrl-C."""

    @functools.wraps(main)
    def run(words: list[str] | None = None) -> int:
        try:
            return main(words)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130

    return run
