"""Wire the parts of one training: dataset, split, loaders, model, optimizer, as new or as a session left them."""

import argparse
import math
import platform
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from neuro_noodle.choices import UserError
from neuro_noodle.command import load_tables, plain
from neuro_noodle.learning.devices import choose_device

HERE = Path(__file__).resolve().parent


@dataclass
class Training:
    """Everything one training needs, wired.

    Attributes:
        loaders: of the images in each part.
        learner, feeds: what trains and on what: the model and the loaders, or its head and the latents of all images
            where these need to be computed only once.
        latents: those, (N, D), or None.
        judge: the objective as the learner needs it: for repetitions, of each.
        progress: what has been reached.
        paces: by which share of the learning rate each repetition steps.

    With repetitions, model and learner are `Repetitions`.
    """

    dataset: object
    objective: object
    parts: dict[str, list[int]]
    leaks: dict
    loaders: dict
    model: object
    learner: object
    feeds: dict
    latents: object
    judge: object
    optimizer: object
    schedule: object
    paces: object
    progress: object
    device: object
    config: dict
    start_epoch: int = 0
    seconds: float = 0.0

    def single(self, weights: dict):
        """Return the model with these weights, for repetitions a single one, ready to judge what the feeds give."""
        from neuro_noodle.networks.base import build_model

        if self.model.n_repetitions == 1:
            self.model.put(weights)
            return self.learner.eval()
        model = build_model(**self.config["model"])
        model.load_state_dict(weights)
        model.encoder.fitted_state = self.model.encoder.fitted_state
        return (model if self.latents is None else model.after_encoding()).to(self.device).eval()


def wire(flags: argparse.Namespace, words: list[str], session: Path | None) -> Training:
    """Build all parts of a training, as new or as a saved session left them.

    Args:
        flags: the values of all flags.
        words: the command line, for the record.
        session: to resume, or None.
    """
    import torch

    import utils
    from neuro_noodle.networks.repetitions import OfEach, stack

    torch.set_flush_denormal(True)
    device = choose_device(flags.device)
    dataset, objective, parts, leaks, settings = wire_data(flags, session, device)
    loaders = utils.dataloaders(dataset, parts, objective, **settings)
    made_of = describe_model(flags, dataset, objective, device)
    started = time.monotonic()
    x, target = (None, None) if session else loaders["training"].dataset.excerpt()
    if session:
        objective.learned = utils.load_config(session.parent).get("learned", {})
    else:
        objective.learn(target)
    models = wire_models(flags, made_of, x, session, device)
    require_batches(models[0], len(parts["training"]), flags)
    latents = fixed_latents(models[0], dataset, objective, flags, session)
    feeds = utils.dataloaders(dataset, parts, objective, **settings, latents=latents, repetitions=flags.repetitions)
    if session is None:
        start = feeds["training"].dataset.excerpt()
        for model in models:
            (model if latents is None else model.after_encoding()).start_head(*start, objective.link)
    model = stack(models) if len(models) > 1 else models[0]
    learner = model if latents is None else model.after_encoding()
    judge = OfEach(objective, learner) if len(models) > 1 else objective
    optimizer, schedule, paces, progress = wire_steps(flags, learner)
    training = Training(
        dataset=dataset,
        objective=objective,
        parts=parts,
        leaks=leaks,
        loaders=loaders,
        model=model,
        learner=learner,
        feeds=feeds,
        latents=latents,
        judge=judge,
        optimizer=optimizer,
        schedule=schedule,
        paces=paces,
        progress=progress,
        device=device,
        config=describe(flags, words, dataset, objective, made_of, device),
        seconds=time.monotonic() - started,
    )
    if session is not None:
        restore(training, session)
    return training


def wire_data(flags: argparse.Namespace, session: Path | None, device) -> tuple:
    """Build dataset, objective, split and the settings of loaders; prints what the user should know of them."""
    import utils
    from neuro_noodle.data import leaks as leaking

    augmentations = [load_tables()["augmentation"].build(choice) for choice in flags.augment]
    dataset, objective = utils.open_task(vars(flags))
    parts = utils.load_split(session.parent, dataset) if session else deal(flags, dataset)
    parts, unknown = utils.leave_unknown_out(dataset, objective, parts)
    leaks, notes = leaking.leaks(dataset, parts)
    if flags.load_encoder:
        leaks["encoder"], seen = leaking.seen_before(dataset, parts, utils.trained_on(flags.load_encoder, dataset))
        notes += seen
    notes = dataset.notes + objective.notes(augmentations) + unknown + notes
    if device.type == "cuda":
        notes.append("on a GPU the same seed gives the same numbers only nearly: sums are added in any order")
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    settings = {"batch_size": flags.batch_size, "augmentations": augmentations, "device": device, "seed": flags.seed}
    return dataset, objective, parts, leaks, settings


def wire_steps(flags: argparse.Namespace, learner) -> tuple:
    """Build optimizer, schedule, and what follows the progress of each repetition and slows it down."""
    import torch

    from neuro_noodle.learning.best import Progress
    from neuro_noodle.learning.optimizers import Paces

    tables = load_tables()
    weights = [parameter for parameter in learner.parameters() if parameter.requires_grad]
    optimizer = tables["optimizer"].build(flags.optimizer, weights, flags.lr)
    chosen = tables["schedule"].parse(flags.schedule)
    progress = Progress(flags.repetitions, flags.patience)
    if chosen.name == "plateau":
        if not flags.patience:
            raise UserError(f"--schedule {flags.schedule} waits until --patience runs out; add --patience EPOCHS")
        progress = Progress(flags.repetitions, flags.patience, chosen.options["drops"], chosen.options["factor"])

    def rate(epoch: int) -> float:
        return tables["schedule"][chosen.name](epoch, flags.n_epochs, **chosen.options)

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    return optimizer, schedule, Paces(optimizer, progress.shares()), progress


def require_batches(model, n_training: int, flags: argparse.Namespace) -> None:
    """Raise UserError where the batches do not go with the model, or with --latents_every."""
    import torch

    n_steps = -(-n_training // flags.batch_size)
    trained = [stage for name, stage in model.stages().items() if name not in model.frozen]
    normed = any(isinstance(module, torch.nn.BatchNorm2d) for stage in trained for module in stage.modules())
    if normed and n_training // n_steps == 1:
        raise UserError(
            f"--batch_size {flags.batch_size} leaves a batch of 1 of {n_training} images, which cannot train batch "
            f"normalisation, and this model has it; take {flags.batch_size + 1} or more"
        )
    if flags.latents_every and flags.latents_every * n_steps < 1:
        raise UserError(f"--latents_every {flags.latents_every:g} is less than a step; an epoch has {n_steps}")


def describe_model(flags: argparse.Namespace, dataset, objective, device) -> dict:
    """Return the arguments that build the model, and rebuild it."""
    from neuro_noodle.networks.base import choose_precision

    output_shape = objective.output_shape(dataset.image_shape, dataset.classes)
    if flags.log_images and output_shape != dataset.image_shape:
        raise UserError(f"--log_images sends reconstructions, which --objective {flags.objective} does not make")
    return {
        "encoder": flags.encoder,
        "head": flags.head,
        "image_shape": list(dataset.image_shape),
        "output_shape": list(output_shape),
        "latent_dim": flags.latent_dim,
        "precision": choose_precision(flags.encoder, flags.head, flags.precision, device),
    }


def wire_models(flags: argparse.Namespace, made_of: dict, x, session: Path | None, device) -> list:
    """Build a model for each repetition, its encoder started from training images x, or all of it as a session left it.

    What is fixed of an encoder is the same for all repetitions, as it is not drawn but fitted.
    """
    import torch

    import utils
    from neuro_noodle.networks.base import build_model
    from neuro_noodle.networks.repetitions import unstacked

    models = []
    for repetition in range(flags.repetitions):
        torch.manual_seed(flags.seed + repetition)
        model = build_model(**made_of).to(device)
        models.append(model)
        if flags.trainable_stages:
            model.freeze(flags.trainable_stages)
        if repetition == 0:
            tell_stages(model, flags)
        if len(models) > 1 and model.has_fixed_encoder:
            require_shared(model, flags)
            model.encoder = models[0].encoder
        elif session is None:
            start_encoder(model, x, flags)
    if session is None and models[0].encoder.summary():
        print(models[0].encoder.summary())
    if session:
        state = utils.load_pth(session / "model.pth")
        for repetition, model in enumerate(models):
            model.load_state_dict(unstacked(state, repetition) if len(models) > 1 else state)
    return models


def require_shared(model, flags: argparse.Namespace) -> None:
    """Raise UserError where what is fixed of an encoder was drawn, so that repetitions cannot share it."""
    if any(True for _ in model.encoder.parameters()) and not flags.load_encoder:
        raise UserError(
            "--trainable_stages 1 leaves the encoder as it is drawn, other weights for each repetition; name a trained "
            "one by --load_encoder, or leave out --repetitions"
        )


def tell_stages(model, flags: argparse.Namespace) -> None:
    """Print which stages train, where the flags choose them."""
    if flags.load_encoder or flags.trainable_stages:
        print(describe_stages(model))
    if model.frozen and not flags.load_encoder:
        print(
            f"note: {', '.join(model.frozen)} keep random weights; --load_encoder gives those of a run", file=sys.stderr
        )


def describe_stages(model) -> str:
    """Return a table of the stages: how many weights each has, and whether it trains."""
    lines = [f"{'stage':<12}{'weights':>12}  trains"]
    for name, stage in model.stages().items():
        n_weights = sum(parameter.numel() for parameter in stage.parameters())
        lines.append(f"{name:<12}{n_weights:>12,}  {'no' if name in model.frozen else 'yes'}")
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return "\n".join([*lines, f"{trained:,} weights train"])


def start_encoder(model, x, flags: argparse.Namespace) -> None:
    """Give a new model the encoder of another run, or let its own learn from training images x before the loop."""
    import utils

    if flags.load_encoder:
        utils.load_encoder(model, flags.load_encoder, flags.fresh_stages, trust_pickle=flags.trust_pickle)
    else:
        model.encoder.fit(x)


def fixed_latents(model, dataset, objective, flags: argparse.Namespace, session: Path | None):
    """Return the latents (N, D) of all images where the encoder and all images are fixed, and they fit in memory."""
    from neuro_noodle.runs import latents as encoded

    changes = flags.augment or objective.draws
    if model.encoder.encodes_once and changes:
        raise UserError(
            f"--encoder {flags.encoder} places every image once, so images cannot change from epoch to epoch; leave "
            "out --augment and noise="
        )
    too_large = dataset.is_mapped and model.encoder.latent_dim >= math.prod(dataset.image_shape)
    if not model.has_fixed_encoder or changes or (too_large and not model.encoder.encodes_once):
        return None
    kept = session.parent / encoded.FIXED_LATENTS if session else None
    if kept and kept.exists():
        return encoded.load_latents(kept, dataset).to(next(model.parameters()).device)
    return encoded.encode(model, dataset)


def deal(flags: argparse.Namespace, dataset) -> dict[str, list[int]]:
    """Split a dataset as the flags say."""
    from neuro_noodle.data import splits

    if flags.n_blocks and flags.split != "block":
        raise UserError(f"--n_blocks cuts frames for --split block; --split {flags.split} cuts none")
    folded = tuple(int(n) for n in flags.fold.split("/")) if flags.fold else None
    sizes = {"val_fraction": flags.val_fraction, "test_fraction": flags.test_fraction, "fold": folded}
    seed = flags.seed if flags.split_seed is None else flags.split_seed
    return splits.split(dataset, flags.split, **sizes, gap=flags.gap, seed=seed)


def restore(training: Training, session: Path) -> None:
    """Bring a wired training to where a saved session stood."""
    import torch

    import utils

    training.optimizer.load_state_dict(utils.load_pth(session / "optim.pth"))
    state = utils.load_pth(session / "state.pth")
    training.schedule.load_state_dict(state["schedule"])
    if "progress" not in state:
        raise UserError(f"{session} was left by an earlier version, and cannot be resumed; its weights can be used")
    training.progress.restore(state["progress"], state["epoch"])
    training.paces.shares = training.progress.shares()
    training.start_epoch = state["epoch"] + 1
    training.seconds += state["seconds"]
    rates = zip(training.optimizer.param_groups, training.schedule.base_lrs, training.schedule.lr_lambdas, strict=True)
    for group, base, factor in rates:  # the saved rate is that of the old --n_epochs
        group["lr"] = base * factor(training.start_epoch)
    for draw, saved in zip(training.feeds["training"].batch_sampler.draws, state["draws"], strict=True):
        draw.set_state(saved)
    torch.set_rng_state(state["rng"])
    if state["cuda_rng"] is not None and training.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda_rng"], training.device)


def snapshot(training: Training, epoch: int) -> dict:
    """Return what `restore` needs beside the weights of model and optimizer."""
    import torch

    return {
        "epoch": epoch,
        "progress": training.progress.state(),
        "seconds": training.seconds,
        "schedule": training.schedule.state_dict(),
        "draws": [draw.get_state() for draw in training.feeds["training"].batch_sampler.draws],
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(training.device) if training.device.type == "cuda" else None,
    }


def describe(flags: argparse.Namespace, words: list[str], dataset, objective, made_of: dict, device) -> dict:
    """Return what config.json keeps: all that is needed to train, rebuild and understand this model again."""
    return {
        "flags": plain(flags),
        "model": made_of,
        "learned": objective.learned,
        "classes": dataset.classes,
        "neurons": dataset.neurons,
        "digest": dataset.digest,
        "skipped": dataset.skipped,
        "command": shlex.join(["python", "main.py", *words]),
        **provenance(device),
    }


def provenance(device) -> dict:
    """Return versions, commit and machine."""
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
