"""Train one network: read the flags, run the loop, decide when to log, save and stop."""

import argparse
import os
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

from neuro_noodle.choices import UserError
from neuro_noodle.command import describe_tables, load_tables, parse, plain
from neuro_noodle.runs.result import conclude, shown
from wiring import Training, snapshot, wire

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
        if flags.test:
            from neuro_noodle.testing import test

            return test(flags)
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
    from neuro_noodle.tracking.comet import Comet, comet_account
    from neuro_noodle.tracking.console import Console
    from neuro_noodle.tracking.records import JsonLines

    account = comet_account(HERE / "settings.json") if flags.comet else {}
    if flags.log_images and not flags.comet:
        raise UserError("--log_images sends reconstructions to Comet; add --comet")
    if flags.rejig_data:
        rejig(flags)
    session = utils.find_session(flags.load_dir)[1] if flags.load_dir else None
    if session and session.name == "best":
        raise UserError(f"{session} holds only the best weights; resume the run by --load_dir {session.parent}")
    training = wire(flags, words, session)
    trained = training.start_epoch >= flags.n_epochs or training.progress.finished
    if trained and (session.parent / "result.json").exists():
        more = "give --patience more" if training.progress.finished else "--n_epochs is the total: give more than that"
        raise UserError(f"{session} has trained {training.start_epoch} epochs already; {more}")
    folder = prepare_run(flags, training, session)
    console = Console(training.start_epoch, flags.n_epochs, len(training.feeds["training"]), flags.log_every)
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
    from neuro_noodle.data.store import told_bytes
    from neuro_noodle.runs.task import open_store

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
    from neuro_noodle.data.emotions import make_classification_dataset

    out = flags.data_dir.resolve().parent / "classify"
    if out == flags.data_dir.resolve():
        raise UserError(f"{out} is arranged already; train on it by --split given, without --rejig_data")
    counts = make_classification_dataset(
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
    from neuro_noodle.runs import latents as encoded

    if session is not None:
        before = utils.load_config(session.parent)["flags"]
        here = all(plain(flags)[key] == before[key] for key in ("namestr", "save_dir"))
    if session is not None and here and session == utils.sessions(session.parent)[-1]:
        folder = session.parent
        for name in ("result.json", "validation.csv", "test.csv"):  # they tell of the run as it was
            (folder / name).unlink(missing_ok=True)
        for tested in [path for path in (folder / "test", *folder.glob("test-*")) if path.is_dir()]:
            shutil.rmtree(tested)
            print(f"note: {shown(tested)} judged the run as it was, and is removed", file=sys.stderr)
    else:
        folder = utils.new_run(flags.save_dir, flags.namestr)
        if session is not None:
            utils.copy_history(session, folder)
    utils.write_json(folder / "config.json", training.config)
    utils.write_json(folder / "split.json", utils.name_split(training.parts, training.dataset))
    encoded.save_pickled(folder, training.model.encoder)
    if training.model.encoder.encodes_once:
        write_latents(training, folder / encoded.FIXED_LATENTS)
    return folder


def write_latents(training: Training, path: Path) -> None:
    """Write the latents of all images as they are now."""
    from neuro_noodle.runs import latents as encoded

    dataset, latents = training.dataset, training.latents
    latents = encoded.encode(training.model, dataset) if latents is None else latents
    encoded.save_latents(path, latents.cpu(), dataset, encoded.part_of_each(training.parts, len(dataset)))


def loop(training: Training, flags, folder: Path, trackers: list, console, interrupt: Interrupt) -> bool:
    """Train, log, save and keep the best weights; returns False where it was interrupted."""
    import utils
    from neuro_noodle.networks.repetitions import records_of_each
    from neuro_noodle.tracking.console import Punctuated
    from train import fit

    metric = f"validation/{training.objective.metric}"
    started, before = time.monotonic(), training.seconds
    batches = console.watch(training.feeds["training"])
    if flags.latents_every:

        def write(epochs: float) -> None:
            write_latents(training, folder / "latents" / f"{epochs:.10g}.npz")

        batches = Punctuated(batches, flags.latents_every, training.start_epoch, write)
    records = fit(
        training.learner,
        batches,
        training.feeds["validation"],
        training.judge,
        training.optimizer,
        start_epoch=training.start_epoch,
        n_epochs=flags.n_epochs,
        test_every=flags.test_every,
        compiled=flags.compile,
    )
    for record in records:
        epoch = record["epoch"]
        training.schedule.step()
        training.seconds = before + time.monotonic() - started
        if metric in record:
            ranks = [training.objective.rank(one) for one in records_of_each(record, flags.repetitions)]
            training.progress.take(epoch, ranks, training.model)
            training.paces.shares = training.progress.shares()
        for tracker in trackers:
            tracker.log(record)
        last = epoch + 1 == flags.n_epochs or training.progress.finished
        if last or interrupt.asked or (epoch + 1) % flags.save_every == 0:
            state, best = snapshot(training, epoch), training.progress.best_weights
            keep_all = flags.keep == "all"
            utils.save_session(folder, epoch, training.model, training.optimizer, state, best, keep_all=keep_all)
        if last:
            break
        if interrupt.asked:
            return False
    return True


if __name__ == "__main__":
    sys.exit(main())
