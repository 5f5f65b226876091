"""Train one network: read the flags, wire the parts, run the loop, decide when to log, save and stop."""

import argparse
import os
import platform
import shlex
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from choices import UserError
from conclusion import conclude, shown
from flags import describe_tables, load_tables, parse, plain

HERE = Path(__file__).resolve().parent
# How long threads wait by spinning, read when torch is imported; its default slows a shared machine down many times.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")


def main(words: list[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 2 for a user's mistake, 130 when interrupted."""
    words = sys.argv[1:] if words is None else words
    try:
        flags = parse(words)
        if flags.debug:
            import ipdb

            ipdb.set_trace()
        if flags.list:
            print(describe_tables())
            return 0
        if flags.clear_cache:
            return clear_cache(flags)
        return run(flags, words)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if "--debug" in words:
            import ipdb

            traceback.print_exc()
            ipdb.post_mortem()
        elif not isinstance(error, UserError):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 1


# ---------------------------------------------------------------------------------------------------- wiring


@dataclass
class Training:
    """Everything one training needs, wired."""

    dataset: object
    objective: object
    parts: dict[str, list[int]]
    leaks: dict
    loaders: dict
    model: object
    optimizer: object
    schedule: object
    device: object
    config: dict
    best: dict | None = None
    start_epoch: int = 0
    seconds: float = 0.0


def wire(flags: argparse.Namespace, words: list[str], session: Path | None) -> Training:
    """Build all parts of a training, as new or as a saved session left them.

    Args:
        flags: the values of all flags.
        words: the command line, for the record.
        session: to resume, or None.
    """
    import torch

    torch.manual_seed(flags.seed)
    torch.set_flush_denormal(True)
    device = choose_device(flags.device)
    dataset, objective, parts, leaked, loaders = wire_data(flags, session, device)
    model, made_of = wire_model(flags, dataset, objective, device)
    if session is None:
        model.start(*loaders["training"].dataset.excerpt(), objective.link)
    tables = load_tables()
    optimizer = tables["optimizer"].build(flags.optimizer, model.parameters(), flags.lr)
    factor = tables["schedule"].parse(flags.schedule)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda epoch: tables["schedule"][factor.name](epoch, flags.n_epochs, **factor.options)
    )
    config = {"flags": plain(flags), "model": made_of, "classes": dataset.classes, "skipped": dataset.skipped}
    config |= {"command": shlex.join(["python", "main.py", *words]), **provenance(device)}
    training = Training(dataset, objective, parts, leaked, loaders, model, optimizer, schedule, device, config)
    if session is not None:
        restore(training, session)
    return training


def wire_data(flags: argparse.Namespace, session: Path | None, device) -> tuple:
    """Build dataset, objective, split and loaders; prints what the user should know of them."""
    import splits
    import utils

    tables = load_tables()
    objective = tables["objective"].build(flags.objective)
    augmentations = [tables["augmentation"].build(choice) for choice in flags.augment]
    dataset = utils.open_dataset(vars(flags))
    objective.check(dataset.provides, dataset.classes)
    parts = utils.load_split(session.parent, dataset) if session else deal(flags, dataset)
    leaked, notes = splits.leaks(dataset, parts)
    notes = dataset.notes + notes
    if device.type == "cuda":
        notes.append("on a GPU the same seed gives the same numbers only nearly: sums are added in any order")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    settings = {"batch_size": flags.batch_size, "augmentations": augmentations, "device": device, "seed": flags.seed}
    return dataset, objective, parts, leaked, utils.dataloaders(dataset, parts, objective, **settings)


def wire_model(flags: argparse.Namespace, dataset, objective, device) -> tuple:
    """Build the model; returns it and the arguments that rebuild it."""
    import torch

    from model import build_model, choose_precision

    output_shape = objective.output_shape(dataset.image_shape, dataset.classes)
    if flags.log_images and output_shape != dataset.image_shape:
        raise UserError(f"--log_images sends reconstructions, which --objective {flags.objective} does not make")
    made_of = {
        "encoder": flags.encoder,
        "head": flags.head,
        "image_shape": list(dataset.image_shape),
        "output_shape": list(output_shape),
        "latent_dim": flags.latent_dim,
        "precision": choose_precision(flags.encoder, flags.precision, device),
    }
    model = build_model(**made_of).to(device)
    if flags.batch_size == 1 and any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules()):
        raise UserError("--batch_size 1 cannot train batch normalisation, which this encoder has; take 2 or more")
    return model, made_of


def deal(flags: argparse.Namespace, dataset) -> dict[str, list[int]]:
    """Split a dataset as the flags say."""
    import splits

    if flags.n_blocks and flags.split != "block":
        raise UserError(f"--n_blocks cuts frames for --split block; --split {flags.split} cuts none")
    folded = tuple(int(n) for n in flags.fold.split("/")) if flags.fold else None
    sizes = {"val_fraction": flags.val_fraction, "test_fraction": flags.test_fraction, "fold": folded}
    return splits.split(dataset, flags.split, **sizes, gap=flags.gap, seed=flags.seed)


def restore(training: Training, session: Path) -> None:
    """Bring a wired training to where a saved session stood."""
    import torch

    import utils

    training.model.load_state_dict(utils.load_pth(session / "model.pth"))
    training.optimizer.load_state_dict(utils.load_pth(session / "optim.pth"))
    state = utils.load_pth(session / "state.pth")
    training.schedule.load_state_dict(state["schedule"])
    training.best, training.seconds, training.start_epoch = state["best"], state["seconds"], state["epoch"] + 1
    rates = zip(training.optimizer.param_groups, training.schedule.base_lrs, training.schedule.lr_lambdas, strict=True)
    for group, base, factor in rates:  # the saved rate is that of the old --n_epochs
        group["lr"] = base * factor(training.start_epoch)
    training.loaders["training"].batch_sampler.draw.set_state(state["draw"])
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] is not None and training.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"], training.device)


def snapshot(training: Training, epoch: int) -> dict:
    """Return what `restore` needs beside the weights of model and optimizer."""
    import torch

    return {
        "epoch": epoch,
        "best": training.best,
        "seconds": training.seconds,
        "schedule": training.schedule.state_dict(),
        "draw": training.loaders["training"].batch_sampler.draw.get_state(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(training.device) if training.device.type == "cuda" else None,
    }


def choose_device(name: str):
    """Return the torch device of this name, or the best there is for auto."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        if name.partition(":")[0] not in ("cpu", "cuda"):
            raise RuntimeError("only cpu and cuda can")
        device = torch.empty(1, device=torch.device(name)).device  # with its index, as tensors on it tell it
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {name} cannot be used: {str(error).splitlines()[0]}; try --device cpu") from error
    return device


def provenance(device) -> dict:
    """Return versions, commit and machine, for config.json."""
    from importlib.metadata import version

    import torch

    git = ["git", "-C", str(HERE), "rev-parse", "--verify", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    packages = ("torch", "torchvision", "numpy", "scikit-learn")
    return {
        "versions": {"python": platform.python_version()} | {package: version(package) for package in packages},
        "commit": commit or None,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
    }


# ------------------------------------------------------------------------------------------------------- run


class Interrupt:
    """Turns the first Ctrl-C (or SIGTERM) into a wish to stop after this epoch; the second stops at once."""

    def __enter__(self) -> "Interrupt":
        self.asked = False
        self.before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("\nfinishing this epoch, then saving; once more to stop at once", file=sys.stderr)


def run(flags: argparse.Namespace, words: list[str]) -> int:
    """Train as the flags say and leave a run on disk; returns the exit status."""
    import utils
    from tracking import Comet, Console, JsonLines, comet_account

    account = comet_account(HERE / "settings.json") if flags.comet else {}
    if flags.log_images and not flags.comet:
        raise UserError("--log_images sends reconstructions to Comet; add --comet")
    if flags.rejig_data and flags.load_dir:
        raise UserError("--rejig_data makes data for a new run; leave it out when resuming by --load_dir")
    if flags.rejig_data:
        rejig(flags)
    session = utils.find_session(flags.load_dir)[1] if flags.load_dir else None
    if session and session.name == "best":
        raise UserError(f"{session} holds only the best weights; resume the run by --load_dir {session.parent}")
    training = wire(flags, words, session)
    trained = training.start_epoch >= flags.n_epochs
    if trained and (session.parent / "result.json").exists():
        raise UserError(
            f"{session} has trained {training.start_epoch} epochs already; --n_epochs is the total: give more than that"
        )
    folder = prepare_run(flags, training, session)
    console = Console(training.start_epoch, flags.n_epochs, len(training.loaders["training"]), flags.log_every)
    trackers = [console, JsonLines(folder, training.start_epoch)]
    try:
        if flags.comet:
            trackers.append(Comet(folder, folder.name, account))
        for tracker in trackers:
            tracker.parameters(training.config)
        with Interrupt() as interrupt:
            finished = trained or loop(training, flags, folder, trackers, console, interrupt)
        if finished:
            conclude(training, flags, folder, trackers)
        send_files(folder, trackers)
    except KeyboardInterrupt:
        finished = False
    finally:
        for tracker in trackers:
            tracker.close()
    if not finished:
        way = (
            f"go on by: python main.py --load_dir {shown(folder)}"
            if utils.sessions(folder)
            else "nothing was saved yet"
        )
        print(f"stopped; {way}", file=sys.stderr)
    return 0 if finished else 130


def clear_cache(flags: argparse.Namespace) -> int:
    """Remove the decoded images that earlier runs have stored; returns the exit status."""
    from store import told_bytes
    from utils import open_store

    store = open_store(vars(flags))
    print(f"{told_bytes(store.clear())} of decoded images removed from {shown(store.folder)}")
    return 0


def send_files(folder: Path, trackers: list) -> None:
    """Send the latest session, the best weights and the result to the trackers."""
    import utils

    paths = [path for session in utils.sessions(folder)[-1:] for path in sorted(session.glob("*.pth"))]
    for path in [*paths, folder / "best" / "model.pth", folder / "result.json"]:
        for tracker in trackers if path.exists() else []:
            tracker.asset(path)


def rejig(flags: argparse.Namespace) -> None:
    """Build the classification folders and point the flags at them."""
    import utils

    out = flags.data_dir.resolve().parent / "classify"
    if out == flags.data_dir.resolve():
        raise UserError(f"{out} is arranged already; train on it by --split given, without --rejig_data")
    counts = utils.make_classification_dataset(
        flags.data_dir, out, apart=flags.split == "group", val_fraction=flags.val_fraction, seed=flags.seed
    )
    print(f"{shown(out)}: " + ", ".join(f"{n} {where}" for where, n in sorted(counts.items())) + "; each in rejig.csv")
    flags.data_dir, flags.split = out, "given"
    words = ["folder", "label=folder", "group=person", "pattern={person}_{}"]
    flags.dataset = str(load_tables()["dataset"].parse(words, flags.dataset))


def prepare_run(flags: argparse.Namespace, training: Training, session: Path | None) -> Path:
    """Make the folder of a new run, or return that of the run to resume.

    A session that is not its run's latest is resumed as a new run, so that nothing later is lost; so is one that
    is given another name or place.
    """
    import utils

    if session is not None:
        before = utils.load_config(session.parent)["flags"]
        here = all(plain(flags)[key] == before[key] for key in ("namestr", "save_dir"))
    if session is not None and here and session == utils.sessions(session.parent)[-1]:
        folder = session.parent
        for name in ("result.json", "validation.csv", "test.csv"):  # they tell of the run as it was
            (folder / name).unlink(missing_ok=True)
    else:
        folder = utils.new_run(flags.save_dir, flags.namestr)
        if session is not None:
            utils.copy_history(session, folder)
    utils.write_json(folder / "config.json", training.config)
    utils.write_json(folder / "split.json", utils.name_split(training.parts, training.dataset))
    return folder


def loop(training: Training, flags, folder: Path, trackers: list, console, interrupt: Interrupt) -> bool:
    """Train, log, save and keep the best weights; returns False where it was interrupted."""
    import utils
    from train import fit

    metric = f"validation/{training.objective.metric}"
    loaders = training.loaders
    started, before = time.monotonic(), training.seconds
    records = fit(
        training.model,
        console.watch(loaders["training"]),
        loaders["validation"],
        training.objective,
        training.optimizer,
        start_epoch=training.start_epoch,
        n_epochs=flags.n_epochs,
        test_every=flags.test_every,
    )
    for record in records:
        epoch = record["epoch"]
        training.schedule.step()
        training.seconds = before + time.monotonic() - started
        if metric in record:
            rank = training.objective.rank(record)
            if training.best is None or rank > tuple(training.best["rank"]):
                weights = {key: value.detach().cpu().clone() for key, value in training.model.state_dict().items()}
                training.best = {"epoch": epoch, "rank": list(rank), "model": weights}
        for tracker in trackers:
            tracker.log(record)
        waited = epoch - training.best["epoch"] if training.best else 0
        last = epoch + 1 == flags.n_epochs or (flags.patience and metric in record and waited >= flags.patience)
        if last or interrupt.asked or (epoch + 1) % flags.save_every == 0:
            state = snapshot(training, epoch)
            utils.save_session(folder, epoch, training.model, training.optimizer, state, keep_all=flags.keep == "all")
        if last:
            break
        if interrupt.asked:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
