"""The command line: every flag, the order default < recipe (or resumed run) < command line, and what is refused.

To add a flag: a `Flag` in FLAGS. A new choice or option of a table needs none.
"""

import argparse
import contextlib
import functools
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from neuro_noodle.choices import Table, UserError, require, suggest
from neuro_noodle.recipes import RECIPES
from neuro_noodle.runs.files import find_session, load_config


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one message that names the nearest flag."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ").split()[0]
        if unknown.startswith("--"):
            flags = [option for action in self._actions for option in action.option_strings]
            message = f"unknown flag '{unknown}'; {suggest(unknown, flags)}"
        raise UserError(message)


# --------------------------------------------------------------------------------------------------------- flags


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
            group.add_argument(option, action=argparse.BooleanOptionalAction, default=False, help=self.help)
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


def positive(text: str) -> int:
    """Read an integer of at least 1."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def whole(text: str) -> int:
    """Read an integer of at least 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 0")
    return int(text)


def positive_or_none(text: str) -> int | None:
    """Read an integer of at least 1, or none."""
    return None if text == "none" else positive(text)


def number(low: float, high: float, *, with_low: bool = False) -> Callable[[str], float]:
    """Return a reader of numbers between two ends, the upper one excluded, the lower one too unless with_low."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            if low < float(text) < high or (with_low and float(text) == low):
                return float(text)
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a number {'from' if with_low else 'above'} {low} to below {high}"
        )

    return read


def fold(text: str) -> str:
    """Read k/K, the k-th of K folds."""
    k, _, n = text.partition("/")
    if not (k.isdigit() and n.isdigit() and 1 <= int(k) <= int(n) and int(n) >= 2):
        raise argparse.ArgumentTypeError(f"'{text}' is not k/K with 1 <= k <= K, for example 2/5")
    return text


def comma_separated(text: str) -> list[str]:
    """Read values separated by commas."""
    return text.split(",") if text else []


CHOICE = ("NAME", "KEY=VALUE")
SPLITS = ("random", "group", "block", "given")
FLAGS: dict[str, tuple[Flag, ...]] = {
    "what to run": (
        Flag("recipe", f"named values for the flags: {', '.join(RECIPES)}", "faces_ae", metavar="NAME"),
        Flag("namestr", "name of the run; default: the recipe", resume=True),
        Flag("list", "print every choice and every recipe, then exit", kind="switch", resume=True, recorded=False),
        Flag("test", "judge the run in --load_dir on its test part, or on all images of another --data_dir or "
             "--dataset", kind="switch", resume=True, recorded=False),
        Flag("trust_pickle", "open the UMAP of a run, which can run code; only for runs you trust", kind="switch",
             resume=True, recorded=False),
        Flag("print_run", "print only the folder of the run on standard output, everything else on standard error",
             kind="switch", resume=True, recorded=False),
        Flag("debug", "start in the debugger (ipdb), and enter it at an error", kind="switch", resume=True,
             recorded=False),
    ),
    "data": (
        Flag("data_dir", "folder of the images", Path("Resources/stimuli"), Path, resume=True, test=True),
        Flag("dataset", "how to read the images", "folder", kind="choice", test=True),
        Flag("skip_unreadable", "skip images that cannot be read", kind="toggle", test=True),
        Flag("split", "how images are assigned to training and validation: random; group keeps people (animals) "
             "together, block stretches of frames; given uses the column `part`, else folders train, val, test",
             "random", choices=SPLITS),
        Flag("n_blocks", "number of blocks of --split block; default: 20", type=positive),
        Flag("gap", "frames left out of training on both sides of a held-out block", 0, whole),
        Flag("val_fraction", "share of the images (groups) outside the test part used for validation", 0.1,
             number(0, 1)),
        Flag("test_fraction", "share of the images (groups) used for the test", 0.0, number(0, 1, with_low=True)),
        Flag("fold", "use the k-th of K parts for the test", type=fold, metavar="k/K"),
        Flag("cache_dir", "cache decoded images here; without it only sets over 2 GiB are cached, in --save_dir",
             type=Path, resume=True, test=True),
        Flag("clear_cache", "remove all cached images, then exit", kind="switch", resume=True, recorded=False),
        Flag("augment", "change training images at random; repeat it for several; `none` for none (default: the "
             "recipe's)", kind="choices"),
        Flag("rejig_data", "first arrange _Ha_ and _Sa_ files as classify/{train,val}/{happy,sad}, then train on those",
             kind="switch", resume=True, recorded=False),
    ),
    "model": (
        Flag("encoder", "network from image to latent", "fc", kind="choice"),
        Flag("head", "network from latent to prediction", "linear", kind="choice"),
        Flag("latent_dim", "size of the latent; none for the encoder's default", type=positive_or_none),
        Flag("load_encoder", "start with the encoder of this run (its best weights) or session", type=Path,
             metavar="RUN"),
        Flag("trainable_stages", "train only the last K stages; 1 is the head alone; default: all", type=positive,
             metavar="K"),
        Flag("fresh_stages", "re-initialise the last K stages after --load_encoder; 1 is the head alone", 1, positive,
             metavar="K"),
        Flag("precision", "of the arithmetic; auto takes the faster", "auto", choices=("auto", "fp32", "bf16")),
    ),
    "training": (
        Flag("objective", "what is predicted", "reconstruct", kind="choice"),
        Flag("optimizer", "how weights are updated", "adam", kind="choice"),
        Flag("schedule", "how the learning rate changes", "constant", kind="choice"),
        Flag("lr", "learning rate", 1e-3, number(0, float("inf"))),
        Flag("batch_size", "images per step, at most", 64, positive, test=True),
        Flag("n_epochs", "total number of epochs, also when resuming", 40, positive, resume=True),
        Flag("patience", "stop after this many epochs without a better validation metric", type=positive, resume=True),
        Flag("seed", "of split, weights, shuffling and augmentation", 42, int),
        Flag("repetitions", "train R networks at once, with this --seed and the following ones; they share the split",
             1, positive, metavar="R"),
        Flag("split_seed", "of the split; default: --seed", type=int),
        Flag("device", "auto, cpu, cuda or cuda:1", "auto", resume=True, test=True),
        Flag("compile", "compile a training step: starting takes half a minute longer, each step is faster",
             kind="switch", resume=True),
    ),
    "sessions": (
        Flag("save_dir", "folder of the runs", Path("weights"), Path, resume=True),
        Flag("load_dir", "resume this run (weights/NAME) or session (weights/NAME/EPOCH)", type=Path, resume=True,
             recorded=False),
        Flag("test_every", "epochs between evaluations on the validation images", 1, positive, resume=True),
        Flag("save_every", "epochs between saved sessions; the last epoch is always saved", 10, positive, resume=True),
        Flag("latents_every", "epochs (or a fraction of one) between latents of all images written to latents/; "
             "default: never", type=number(0, float("inf")), metavar="N", resume=True),
        Flag("keep", "which saved sessions to keep (best/ is always kept)", "last", choices=("last", "all"),
             resume=True),
        Flag("log_every", "epochs between printed lines", 1, positive, resume=True),
    ),
    "tracking": (
        Flag("track", "also log to this tracker; may be repeated", kind="choices", resume=True),
        Flag("comet", "log to Comet with the account in settings.json; the same as --track comet", kind="toggle",
             resume=True),
        Flag("log_images", "log reconstructions too; off by default because stimuli may be private", kind="toggle",
             resume=True),
    ),
}  # fmt: skip
EVERY_FLAG = {flag.name: flag for group in FLAGS.values() for flag in group}


def build_parser(home: Path = Path()) -> Parser:
    """Return the parser with every flag in its group."""
    parser = Parser(
        prog="main.py",
        description="Train a network on a folder of images. `--list` shows every NAME and KEY; `--recipe NAME --help` "
        "shows the defaults of that recipe.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    for title, flags in FLAGS.items():
        group = parser.add_argument_group(title)
        for flag in flags:
            flag.add_to(group, home)
    return parser


# ------------------------------------------------------------------------------------------------ order and refusals


def parse(words: Sequence[str], home: Path) -> argparse.Namespace:
    """Read the flags in the order default < recipe (or the resumed session) < command line; torch is not imported.

    Args:
        words: of the command line.
        home: the folder of the project, in which default folders are.
    """
    early = Parser(add_help=False, allow_abbrev=False)
    early.add_argument("--recipe", default="faces_emotion" if "--rejig_data" in words else "faces_ae")
    early.add_argument("--load_dir", type=Path)
    early.add_argument("--load_encoder", type=Path)
    known, _ = early.parse_known_args(words)
    require(known.recipe in RECIPES, f"unknown recipe '{known.recipe}'; {suggest(known.recipe, RECIPES)}")
    base = base_values(known, home)
    parser = build_parser(home)
    parser.set_defaults(**{key: value for key, value in base.items() if key not in ("augment", "track")})
    flags = parser.parse_args(words)
    flags.base = base
    if not (flags.list or flags.clear_cache):
        refuse_contradictions(flags)
    return flags


def base_values(known: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Return the values of the resumed session, or of the recipe; the architecture is that of --load_encoder."""
    if known.load_dir:
        return {"recipe": known.recipe} | session_flags(known.load_dir)
    values = {"recipe": known.recipe} | RECIPES[known.recipe].flags
    if "data_dir" in values:
        values["data_dir"] = home / str(values["data_dir"])
    if known.load_encoder:
        theirs = session_flags(known.load_encoder)
        values |= {key: theirs[key] for key in ("encoder", "latent_dim")}
    return values


def session_flags(load_dir: Path) -> dict[str, Any]:
    """Return the flags of the run of a session."""
    flags = load_config(find_session(load_dir)[0])["flags"]
    paths = [name for name, flag in EVERY_FLAG.items() if flag.type is Path and flags.get(name)]
    return flags | {name: Path(flags[name]) for name in paths}


def refuse_contradictions(flags: argparse.Namespace) -> None:
    """Raise UserError if flags contradict each other."""
    flags.namestr = flags.namestr or flags.recipe
    trackers = [choice for choice in getattr(flags, "track", []) if choice != ["none"]]
    schedule = flags.schedule if isinstance(flags.schedule, str) else " ".join(flags.schedule)
    require(
        flags.fresh_stages == 1 or flags.load_encoder,
        "--fresh_stages re-initialises stages of --load_encoder, which is not given; without it all stages are new",
    )
    require(
        not flags.trainable_stages or flags.fresh_stages <= flags.trainable_stages,
        f"--fresh_stages {flags.fresh_stages} re-initialises stages of which only {flags.trainable_stages} train; "
        "raise --trainable_stages",
    )
    require(
        not (flags.latents_every and flags.repetitions > 1),
        "--latents_every follows one network, but --repetitions trains several; leave one of them out",
    )
    require(flags.load_dir or not flags.test, "--test judges a run; name it with --load_dir")
    require(
        not (flags.rejig_data and flags.load_dir), "--rejig_data makes data for a new run; leave it out with --load_dir"
    )
    require(
        not flags.log_images or flags.comet or bool(trackers),
        "--log_images sends reconstructions to a tracker; add --comet or --track NAME",
    )
    require(
        not flags.n_blocks or flags.split == "block",
        f"--n_blocks is for --split block, but the split is {flags.split}",
    )
    require(
        not schedule.startswith("plateau") or flags.patience,
        f"--schedule {schedule} reduces the learning rate when --patience runs out; add --patience EPOCHS",
    )
    require(
        Path(flags.namestr).name == flags.namestr,
        f"--namestr {flags.namestr} is a path; it takes a plain name, and --save_dir the folder",
    )


def resolve(flags: argparse.Namespace) -> argparse.Namespace:
    """Complete each choice with all of its options, and refuse changes that a resumed run cannot follow.

    Torch is imported here, because the tables know the options.
    """
    resolved, base = argparse.Namespace(**vars(flags)), flags.base
    del resolved.base
    for kind, table in load_tables().items():
        if EVERY_FLAG[kind].kind == "choices":
            given = getattr(flags, kind, base.get(kind, []))
            setattr(resolved, kind, [str(table.parse(choice)) for choice in given if choice != ["none"]])
        else:
            setattr(resolved, kind, str(table.parse(getattr(flags, kind), base.get(kind))))
    if flags.load_dir:
        refuse_changes(resolved, base)
    return resolved


def refuse_changes(flags: argparse.Namespace, base: dict[str, Any]) -> None:
    """Raise UserError if a flag differs from the run to resume or to test, and may not."""
    may_change = {flag.name for flag in EVERY_FLAG.values() if (flag.test if flags.test else flag.resume)}
    changed = [
        name for name, value in vars(flags).items() if name not in may_change and name in base and value != base[name]
    ]
    if changed and flags.test:
        raise UserError(f"--{changed[0]} is about training, and --test trains nothing; leave it out")
    if changed:
        before, now = base[changed[0]], vars(flags)[changed[0]]
        raise UserError(
            f"--{changed[0]} cannot change when resuming: it was '{before}', now '{now}'; start a new run for that"
        )


def chosen_trackers(flags: argparse.Namespace) -> list[str]:
    """Return the trackers of --track and --comet, each once."""
    return list(dict.fromkeys([*flags.track, *(["comet"] if flags.comet else [])]))


def plain(flags: argparse.Namespace) -> dict[str, Any]:
    """Return the flags that config.json keeps; paths become absolute."""
    kept = {name: value for name, value in vars(flags).items() if name in EVERY_FLAG and EVERY_FLAG[name].recorded}
    return {name: str(value.resolve()) if isinstance(value, Path) else value for name, value in kept.items()}


# ------------------------------------------------------------------------------------------------------- tables


def load_tables() -> dict[str, Table]:
    """Return every table by the flag that chooses from it; imported here, because tables need torch."""
    from neuro_noodle.augment import AUGMENTATIONS
    from neuro_noodle.data.base import DATASETS
    from neuro_noodle.learning.optimizers import OPTIMIZERS
    from neuro_noodle.learning.schedules import SCHEDULES
    from neuro_noodle.networks.base import ENCODERS, HEADS
    from neuro_noodle.objectives.base import OBJECTIVES
    from neuro_noodle.tracking.base import TRACKERS

    return {
        "dataset": DATASETS,
        "encoder": ENCODERS,
        "head": HEADS,
        "objective": OBJECTIVES,
        "optimizer": OPTIMIZERS,
        "schedule": SCHEDULES,
        "augment": AUGMENTATIONS,
        "track": TRACKERS,
    }


def describe_tables() -> str:
    """Return every choice with its options, and every recipe."""
    parts = [f"--{flag}\n{table.describe()}" for flag, table in load_tables().items()]
    recipes = []
    for name, recipe in RECIPES.items():
        lines = [recipe.summary, f"source: {recipe.source}", f"expect: {recipe.expected}"]
        for key, value in recipe.flags.items():
            lines += [f"--{key} {one}" for one in (value if isinstance(value, list) else [value])]
        recipes.append(f"  {name:<22}" + f"\n{'':24}".join(lines))
    return "\n\n".join([*parts, "--recipe\n" + "\n".join(recipes)])


# -------------------------------------------------------------------------------------------------------- guard


def guarded(main: Callable[[list[str] | None], int]) -> Callable[..., int]:
    """Decorate the main function of a command so that it ends with an exit status.

    A user's error is one line and status 2, Ctrl-C gives 130. With --debug, the debugger starts first and again at an
    error.
    """

    @functools.wraps(main)
    def run(words: list[str] | None = None) -> int:
        has_debugger = "--debug" in (sys.argv[1:] if words is None else words)
        try:
            if has_debugger:
                import ipdb

                ipdb.set_trace()
            return main(words)
        except KeyboardInterrupt:
            return 130  # as shells report an interrupted command
        except Exception as error:
            if has_debugger:
                traceback.print_exc()
                ipdb.post_mortem()
            elif not isinstance(error, UserError):
                raise
            print(f"error: {error}", file=sys.stderr)
            return 2 if isinstance(error, UserError) else 1

    return run
