"""Train one network: read the flags, wire the parts, run the loop, decide when to log, save and stop."""

import argparse
import csv
import math
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
from flags import describe_tables, load_tables, parse, plain

HERE = Path(__file__).resolve().parent
# Threads that wait by spinning slow a shared machine down many times; read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


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
        return run(flags, words)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except Exception:
        if "--debug" not in words:
            raise
        import ipdb

        traceback.print_exc()
        ipdb.post_mortem()
        return 1


# ---------------------------------------------------------------------------------------------------- wiring


@dataclass
class Training:
    """Everything one training needs, wired."""

    dataset: object
    objective: object
    parts: dict[str, list[int]]
    loaders: dict
    model: object
    optimizer: object
    schedule: object
    config: dict
    best: dict | None = None
    start_epoch: int = 0
    seconds: float = 0.0


def wire(flags: argparse.Namespace, words: list[str], session: Path | None) -> Training:
    """Build dataset, objective, split, loaders, model, optimizer and schedule."""
    import torch

    import utils
    from model import build_model, choose_precision

    tables = load_tables()
    torch.manual_seed(flags.seed)
    torch.set_flush_denormal(True)
    device = choose_device(flags.device)
    objective = tables["objective"].build(flags.objective)
    dataset = tables["dataset"].build(flags.dataset, flags.data_dir, flags.skip_unreadable)
    objective.check(dataset.provides, dataset.classes)
    parts = utils.load_split(session.parent, dataset) if session else deal(flags, dataset)
    for note in [*dataset.notes, *shared_groups(dataset, parts)]:
        print(f"note: {note}", file=sys.stderr)
    loaders = utils.dataloaders(
        dataset,
        parts,
        objective,
        batch_size=flags.batch_size,
        augmentations=[tables["augmentation"].build(choice) for choice in flags.augment],
        device=device,
        seed=flags.seed,
    )
    made_of = {
        "encoder": flags.encoder,
        "head": flags.head,
        "image_shape": list(dataset.image_shape),
        "output_shape": list(objective.output_shape(dataset.image_shape, dataset.classes)),
        "latent_dim": flags.latent_dim,
        "precision": choose_precision(flags.encoder, flags.precision, device),
    }
    model = build_model(**made_of).to(device)
    if session is None:
        model.start(*loaders["training"].dataset.excerpt(), objective.link)
    optimizer = tables["optimizer"].build(flags.optimizer, model.parameters(), flags.lr)
    factor = tables["schedule"].parse(flags.schedule)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda epoch: tables["schedule"][factor.name](epoch, flags.n_epochs, **factor.options)
    )
    config = {"flags": plain(flags), "model": made_of, "classes": dataset.classes, "skipped": dataset.skipped}
    config |= {"command": shlex.join(["python", "main.py", *words]), **provenance(device)}
    training = Training(dataset, objective, parts, loaders, model, optimizer, schedule, config)
    if session is not None:
        restore(training, session)
    return training


def deal(flags: argparse.Namespace, dataset) -> dict[str, list[int]]:
    """Split a dataset as the flags say."""
    import utils

    folded = tuple(int(n) for n in flags.fold.split("/")) if flags.fold else None
    fractions = {"val_fraction": flags.val_fraction, "test_fraction": flags.test_fraction}
    return utils.split(dataset, flags.split, **fractions, fold=folded, seed=flags.seed)


def shared_groups(dataset, parts: dict[str, list[int]]) -> list[str]:
    """Return a note where a split puts images of one person (animal, recording) into two parts."""
    import utils

    groups = dataset.columns[dataset.group] if dataset.group else []
    shared = utils.shared_groups(parts, groups) if len(set(groups)) > 1 else 0
    if not shared:
        return []
    return [
        f"{shared} of {len(set(groups))} different '{dataset.group}' are both in training and in another part, so the "
        "result tells how well known ones are known; --split group tells of new ones"
    ]


def restore(training: Training, session: Path) -> None:
    """Bring a wired training to where a saved session stood."""
    import torch

    import utils

    training.model.load_state_dict(utils.load_pth(session / "model.pth"))
    training.optimizer.load_state_dict(utils.load_pth(session / "optim.pth"))
    state = utils.load_pth(session / "state.pth")
    training.schedule.load_state_dict(state["schedule"])
    training.best, training.seconds, training.start_epoch = state["best"], state["seconds"], state["epoch"] + 1
    training.loaders["training"].batch_sampler.draw.set_state(state["draw"])
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_rng"])


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
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def choose_device(name: str):
    """Return the torch device of this name, or the best there is for auto."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
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
    from tracking import Comet, Console, JsonLines

    if flags.rejig_data:
        rejig(flags)
    session = utils.find_session(flags.load_dir)[1] if flags.load_dir else None
    if session and session.name == "best":
        raise UserError(f"{session} holds only the best weights; resume the run by --load_dir {session.parent}")
    training = wire(flags, words, session)
    if training.start_epoch >= flags.n_epochs:
        raise UserError(
            f"{session} has trained {training.start_epoch} epochs already; --n_epochs is the total: give more than that"
        )
    folder = prepare_run(flags, training, session)
    console = Console(training.start_epoch, flags.n_epochs, len(training.loaders["training"]), flags.log_every)
    trackers = [console, JsonLines(folder, training.start_epoch)]
    try:
        if flags.comet:
            trackers.append(Comet(folder, folder.name, HERE / "settings.json"))
        for tracker in trackers:
            tracker.parameters(training.config)
        with Interrupt() as interrupt:
            finished = loop(training, flags, folder, trackers, console, interrupt)
        if finished:
            conclude(training, flags, folder, trackers)
    except KeyboardInterrupt:
        finished = False
    finally:
        for tracker in trackers:
            tracker.close()
    if not finished:
        print(f"stopped; go on by: python main.py --load_dir {shown(folder)}", file=sys.stderr)
    return 0 if finished else 130


def rejig(flags: argparse.Namespace) -> None:
    """Build the classification folders and point the flags at them."""
    import utils

    out = flags.data_dir.parent / "classify"
    counts = utils.make_classification_dataset(
        flags.data_dir, out, apart=flags.split == "group", val_fraction=flags.val_fraction, seed=flags.seed
    )
    print(f"{shown(out)}: " + ", ".join(f"{n} {where}" for where, n in sorted(counts.items())) + "; each in rejig.csv")
    flags.data_dir, flags.split = out, "given"


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
                training.best = {"epoch": epoch, metric: record[metric], "rank": list(rank), "model": weights}
        for tracker in trackers:
            tracker.log(record)
        waited = epoch - training.best["epoch"] if training.best else 0
        last = epoch + 1 == flags.n_epochs or (flags.patience and waited >= flags.patience)
        if last or interrupt.asked or (epoch + 1) % flags.save_every == 0:
            state = snapshot(training, epoch)
            utils.save_session(folder, epoch, training.model, training.optimizer, state, keep_all=flags.keep == "all")
        if last:
            break
        if interrupt.asked:
            return False
    training.model.load_state_dict(training.best["model"])
    return True


# ------------------------------------------------------------------------------------------------ conclusion


def conclude(training: Training, flags, folder: Path, trackers: list) -> None:
    """Judge the best weights beside the baselines, write result.json and a table per part, and say so."""
    import utils
    from train import predict

    objective, loaders = training.objective, training.loaders
    baselines = objective.baselines(*loaders["training"].dataset.excerpt(), training.model.encoder.latent_dim)
    result = {"metric": objective.metric, "direction": objective.direction, "test": None}
    for part in ("validation", "test"):
        if part not in loaders:
            continue
        _, evidence = predict(training.model, loaders[part], objective)
        rivals = {name: value_of(objective, baseline, loaders[part]) for name, baseline in baselines.items()}
        result[part] = judge(objective, evidence, training.dataset, training.parts[part])
        if part == "test":
            result["test"]["baselines"] = rivals
        else:
            result["baselines"] = rivals
        write_rows(folder / f"{part}.csv", training, part, objective.rows(evidence, training.dataset.classes))
        if part == "validation":
            show(training, flags, evidence, trackers)
    result |= {"ceiling": None, "best_epoch": training.best["epoch"], "seconds": round(training.seconds, 2)}
    utils.write_json(folder / "result.json", result)
    for path in [
        *sorted(utils.sessions(folder)[-1].glob("*.pth")),
        folder / "best" / "model.pth",
        folder / "result.json",
    ]:
        for tracker in trackers:
            tracker.asset(path)
    print(summary(result, folder))


def judge(objective, evidence: dict, dataset, indices: list[int]) -> dict:
    """Return value, 95 % interval over groups (images, where there are none), and n."""
    import numpy as np

    groups = np.array(dataset.columns[dataset.group] if dataset.group else dataset.ids)[indices]
    value = objective.metrics(evidence)[objective.metric]
    counts = {"n": len(indices), "n_groups": len(set(groups)) if dataset.group else None}
    return {"value": value, "interval": objective.interval(evidence, groups)} | counts


def value_of(objective, baseline, loader) -> float:
    """Return the main metric of a baseline on the images of a loader."""
    import torch

    pieces = [objective.evidence(baseline(x), y) for x, y in loader]
    evidence = {key: torch.cat([piece[key] for piece in pieces]).cpu() for key in pieces[0]}
    return objective.metrics(evidence)[objective.metric]


def write_rows(path: Path, training: Training, part: str, rows: dict[str, list]) -> None:
    """Write a CSV with a row for each image of a part: its id, its metadata, what was predicted."""
    dataset, indices = training.dataset, training.parts[part]
    table = {"id": [dataset.ids[i] for i in indices]}
    table |= {name: [column[i] for i in indices] for name, column in dataset.columns.items() if name not in rows}
    table |= rows
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))


def show(training: Training, flags, evidence: dict, trackers: list) -> None:
    """Send what can be looked at to the trackers: the confusion matrix, and reconstructions where asked for."""
    epoch = training.best["epoch"]
    if "label" in evidence:
        counts = training.objective.confusion(evidence).tolist()
        for tracker in trackers:
            tracker.confusion(counts, training.dataset.classes, epoch)
    if flags.log_images:
        pixels = side_by_side(training)
        for tracker in trackers:
            tracker.image("reconstructions", pixels, epoch)


def side_by_side(training: Training):
    """Return (H, W, C) uint8: up to 8 validation images above their reconstructions."""
    import torch
    from torchvision.utils import make_grid

    x, y = next(iter(training.loaders["validation"]))
    x = x[:8]
    training.model.eval()
    with torch.no_grad():
        output = training.objective.output(training.model(x))
    if output.shape != x.shape:
        raise UserError("--log_images shows reconstructions, which this objective does not make; leave it out")
    grid = make_grid(torch.cat([x, output]).clamp(0, 1), nrow=len(x))
    return (grid * 255).byte().permute(1, 2, 0).cpu().numpy()


def summary(result: dict, folder: Path) -> str:
    """Return the closing lines: the number, its interval and baselines, and where everything lies."""
    lines = []
    for part in ("validation", "test"):
        if result[part] is None:
            continue
        ends = "[95 %: {:.4g} to {:.4g}]".format(*result[part]["interval"] or (math.nan, math.nan))
        groups = f" in {result[part]['n_groups']} groups" if result[part]["n_groups"] else ""
        rivals = result["baselines"] if part == "validation" else result["test"]["baselines"]
        lines.append(
            f"{part} {result['metric']} {result[part]['value']:.4g}  {ends}  "
            f"n = {result[part]['n']} images{groups}  "
            + "  ".join(f"{name} {value:.4g}" for name, value in rivals.items())
        )
    lines.append(f"best epoch {result['best_epoch'] + 1}, {result['seconds']:.0f} s; written to {shown(folder)}")
    lines.append(f"pictures: python Plotting/report.py {shown(folder)}")
    return "\n".join(lines)


def shown(path: Path) -> str:
    """Return a path as short as it can be named from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


if __name__ == "__main__":
    sys.exit(main())
