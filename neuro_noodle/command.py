"""The command line: the order default < recipe (or resumed run) < command line, and refusals."""

import argparse
import difflib
import itertools
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from neuro_noodle.caches import has_imagenet_weights
from neuro_noodle.choices import Table, UserError, require, suggest
from neuro_noodle.flags import EVERY_FLAG, FLAGS, file_path
from neuro_noodle.plain import format_bytes, n_processes
from neuro_noodle.recipes import RECIPES, Expected
from neuro_noodle.runs.config import load_config
from neuro_noodle.runs.files import find_session, fold_of, n_folds, short_path

UNKNOWN = "unrecognized arguments: "


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one message that names the nearest flag."""

    def error(self, message: str) -> NoReturn:
        words = message.removeprefix(UNKNOWN).split() if message.startswith(UNKNOWN) else []
        raise UserError("; ".join(filter(None, map(self._explain, words))) or message)

    def _explain(self, word: str) -> str:
        """Return what is wrong with a word that belongs to no flag; empty if it follows one that is unknown."""
        flags = [option for action in self._actions for option in action.option_strings]
        if word.startswith("--"):
            near = difflib.get_close_matches(word, flags, n=1)
            return f"unknown flag '{word}'" + (f", did you mean '{near[0]}'?" if near else " (--help lists all flags)")
        if re.match(r"\w+=", word):
            return f"'{word}' is an option of a choice and belongs right after it, for example: --dataset NAME {word}"
        return ""


class Formatter(argparse.ArgumentDefaultsHelpFormatter):
    """Help that shows a default only if there is one."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default in (None, False) else super()._get_help_string(action)


def build_parser(home: Path = Path()) -> Parser:
    """Return the parser with every flag in its group."""
    parser = Parser(
        prog="main.py",
        description="Train a network on a folder of images. `--list` shows every NAME and KEY; `--recipe NAME --help` "
        "shows the defaults of that recipe.",
        formatter_class=Formatter,
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
    early.add_argument("--recipe", default=default_recipe(words))
    early.add_argument("--load_dir", type=file_path)
    early.add_argument("--load_encoder", type=file_path)
    known, _ = early.parse_known_args(words)
    require(known.recipe in RECIPES, f"unknown recipe '{known.recipe}'; {suggest(known.recipe, RECIPES)}")
    base = base_values(known, home)
    print_repeated(words)
    parser = build_parser(home)
    parser.set_defaults(**{key: value for key, value in base.items() if key not in ("augment", "track")})
    flags = parser.parse_args(words)
    flags.base = base
    if not (flags.list or flags.clear_cache):
        refuse_contradictions(flags)
    return flags


def print_repeated(words: Sequence[str]) -> None:
    """Print a note on each choice that is given twice, since its first options are lost."""
    for flag in EVERY_FLAG.values():
        starts = [i + 1 for i, word in enumerate(words) if word == f"--{flag.name}"]
        if flag.kind == "choice" and len(starts) > 1:
            each = [itertools.takewhile(lambda word: not word.startswith("--"), words[start:]) for start in starts]
            first, *_, last = (shlex.join(choice) for choice in each)
            print(f"note: --{flag.name} {last} replaces --{flag.name} {first}, with all its options", file=sys.stderr)


def default_recipe(words: Sequence[str]) -> str:
    """Return the recipe of a command line that names none."""
    if "--rejig_data" not in words:
        return "faces_ae"
    return "faces_emotion" if has_imagenet_weights() else "faces_emotion_scratch"


def base_values(known: argparse.Namespace, home: Path) -> dict[str, Any]:
    """Return the values of the resumed session, or of the recipe; the architecture is that of --load_encoder."""
    if known.load_dir:
        resumed = flags_of_folds if n_folds(known.load_dir) else session_flags
        return {"recipe": known.recipe} | resumed(known.load_dir)
    values = {"recipe": known.recipe} | RECIPES[known.recipe].flags
    if "data_dir" in values:
        values["data_dir"] = home / str(values["data_dir"])
    if known.load_encoder:
        theirs = session_flags(known.load_encoder)
        values |= {key: theirs[key] for key in ("encoder", "latent_dim")}
    return values


def session_flags(load_dir: Path) -> dict[str, Any]:
    """Return the flags of the run of a session; a fold is a run like any other."""
    return _saved_flags(find_session(load_dir)[0]) | {"folds": None}


def flags_of_folds(folder: Path) -> dict[str, Any]:
    """Return the flags of the folds in a folder."""
    whole = folder.resolve()
    return _saved_flags(fold_of(folder, 1)) | {"fold": None, "namestr": whole.name, "save_dir": whole.parent}


def _saved_flags(run: Path) -> dict[str, Any]:
    flags = load_config(run)["flags"]
    paths = [name for name, flag in EVERY_FLAG.items() if flag.type is file_path and flags.get(name)]
    return flags | {name: Path(flags[name]) for name in paths}


def split_folds(flags: argparse.Namespace, folder: Path) -> list[argparse.Namespace]:
    """Return the flags of the run of each fold in a folder."""
    runs = {fold_of(folder, k): f"{k}/{flags.folds}" for k in range(1, flags.folds + 1)}
    return [
        argparse.Namespace(**vars(flags) | {"fold": fold, "save_dir": run.parent, "namestr": run.name})
        for run, fold in runs.items()
    ]


def refuse_contradictions(flags: argparse.Namespace) -> None:
    """Raise UserError if flags contradict each other."""
    if n_processes() > 1:
        refuse_beside_torchrun(flags)
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
    for flag in ("latents_every", "pictures_every"):
        require(
            not (getattr(flags, flag) and flags.repetitions > 1),
            f"--{flag} follows one network, but --repetitions trains several; leave one of them out",
        )
    require(flags.load_dir or not flags.test, "--test judges a run; name it with --load_dir")
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
    if flags.rejig_data:
        refuse_beside_rejig(flags)
    if flags.folds:
        refuse_beside_folds(flags)


def refuse_beside_rejig(flags: argparse.Namespace) -> None:
    """Raise UserError if a flag contradicts --rejig_data."""
    require(not flags.load_dir, "--rejig_data makes data for a new run; leave it out with --load_dir")
    tests = [f"--{name}" for name in ("test_fraction", "fold", "folds") if vars(flags)[name]]
    require(
        not tests,
        f"--rejig_data makes a training and a validation part only; for {' and '.join(tests)}, replace it by --recipe "
        f"{flags.recipe} --split group",
    )


def refuse_beside_folds(flags: argparse.Namespace) -> None:
    """Raise UserError if a flag contradicts --folds."""
    if flags.load_dir:
        n, here = n_folds(flags.load_dir), (flags.base["namestr"], flags.base["save_dir"])
        require(
            n > 0, f"--folds trains new runs, but --load_dir {flags.load_dir} is a single one; leave one of them out"
        )
        first = fold_of(flags.load_dir, 1)
        require(not flags.test, f"--test judges a single run; name one of the {n} folds, such as --load_dir {first}")
        require(
            (flags.namestr, flags.save_dir.resolve()) == here,
            f"folds are resumed where they are, in {flags.load_dir}; leave out --namestr and --save_dir",
        )
    others = [f"--{name}" for name in ("fold", "test_fraction") if vars(flags)[name]]
    require(not others, f"--folds tests each image once, so it makes the test parts; leave out {' and '.join(others)}")
    require(
        flags.split != "given",
        "--folds makes the test parts, but --split given uses existing ones; leave out --folds, or choose --split "
        "random, group or block",
    )


def refuse_beside_torchrun(flags: argparse.Namespace) -> None:
    """Raise UserError if a flag is for a single process, but torchrun has started several."""
    require(not flags.test, "--test judges in a single process; start it with python, not with torchrun")
    require(not flags.compile, "--compile is for training in a single process; start it with python, not with torchrun")
    require(
        not flags.folds,
        f"--folds trains {flags.folds} networks, but torchrun starts several processes for one; train one fold "
        f"at a time, with --fold 1/{flags.folds} and so on",
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
            if kind in base:  # an earlier version may have had fewer options
                base[kind] = str(table.parse(base[kind]))
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


def clear_cache(flags: argparse.Namespace) -> str:
    """Remove the decoded images that earlier runs have cached; returns what was removed, as text."""
    from neuro_noodle.runs.task import TaskSource  # needs torch

    store = TaskSource.of(vars(flags)).store
    return f"removed {format_bytes(store.clear())} of decoded images from {short_path(store.folder)}"


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
        expect = f"expect: {format_expected(recipe.expected)}; {recipe.note}"
        lines = [recipe.summary, f"source: {recipe.source}", expect]
        for key, value in recipe.flags.items():
            lines += [f"--{key} {one}" for one in (value if isinstance(value, list) else [value])]
        recipes.append(f"  {name:<22}" + f"\n{'':24}".join(lines))
    return "\n\n".join([*parts, "--recipe\n" + "\n".join(recipes)])


def format_expected(expected: Expected | None) -> str:
    """Return what a run of a recipe gives as text, for example `validation mse 0.0027 on built-in faces`."""
    if expected is None:
        return "not measured"
    flags = f" with {expected.flags}" if expected.flags else ""
    return f"{expected.part} {expected.metric} {expected.value:g} on {expected.data}{flags}"
