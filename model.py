"""Which model this run trains: an encoder and a head; new or loaded, fitted, frozen; one, or several repetitions.

The parts are in neuro_noodle/networks. To add an encoder or a head: a class under @ENCODERS.add("name") or
@HEADS.add("name") in a file there.
"""

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require
from neuro_noodle.networks.base import Model, build_model, choose_precision
from neuro_noodle.networks.memory import require_memory
from neuro_noodle.networks.repetitions import Repetitions, seed_of, unstack
from neuro_noodle.progress import Stage
from neuro_noodle.runs.config import load_config
from neuro_noodle.runs.latents import FIXED_LATENTS, encode, load_latents
from neuro_noodle.runs.loaders import training_sample
from neuro_noodle.runs.sessions import load_encoder, load_pth, opening
from neuro_noodle.runs.task import Task


def describe(flags: argparse.Namespace, task: Task, session: Path | None) -> dict[str, Any]:
    """Return the arguments of `build_model`, which config.json keeps so that the model can be rebuilt."""
    shapes = {"image_shape": list(task.dataset.image_shape), "output_shape": list(task.objective.output_shape)}
    for flag in ("log_images", "pictures_every"):
        require(
            not getattr(flags, flag) or shapes["image_shape"] == shapes["output_shape"],
            f"--{flag} is about reconstructions, which --objective {flags.objective} does not make",
        )
    choices = {"encoder": flags.encoder, "head": flags.head, "latent_dim": flags.latent_dim} | shapes
    require_memory(choices, flags.repetitions, task.device)
    if session:
        saved = load_config(session.parent)["model"]
        differing = [key for key, value in choices.items() if saved[key] != value]
        require(not differing, f"{session.parent}/config.json: 'model' and 'flags' disagree on {', '.join(differing)}")
    if flags.precision != "auto":
        precision = flags.precision
    elif session:
        precision = load_config(session.parent)["model"]["precision"]
    else:
        n_batch = min(flags.batch_size, len(task.parts["training"]))
        precision = choose_precision(build_model(**choices), shapes["image_shape"], n_batch, task.device)
    return choices | {"precision": precision}


def build(
    flags: argparse.Namespace, task: Task, description: dict[str, Any], session: Path | None
) -> tuple[Model | Repetitions, Tensor | None]:
    """Build the network to train: new, or as a session left it.

    Each repetition has its own seed; they share an encoder that is fixed, since it is fitted, not random.

    Returns:
        The network; and the latents (N, D) of all images if its encoder is fixed, so that only the head runs.
    """
    models: list[Model] = []
    images = None if session else training_sample(task)[0]
    for index in range(flags.repetitions):
        torch.manual_seed(seed_of(flags.seed, index))
        model = build_model(**description).to(task.device)
        if flags.trainable_stages:
            model.freeze(flags.trainable_stages)
        if index == 0:
            print_stages(model, flags)
            require_batches(model, len(task.parts["training"]), flags)
        if models and model.has_fixed_encoder:
            require_shared(model, flags)
            model.encoder = models[0].encoder
        elif images is not None:
            with Stage(f"preparing the encoder ({flags.encoder})"):
                start_encoder(model, flags, images)
        models.append(model)
    if session:
        load(models, session)
    elif models[0].encoder.summary():
        print(models[0].encoder.summary())
    latents = precompute(models[0], flags, task, session)
    for model in models:
        model.precomputed = latents is not None
    if session is None:
        x, y = training_sample(task, latents)
        for model in models:
            model.start_head(x, y, task.objective.link)
    return (Repetitions(models) if len(models) > 1 else models[0]), latents


def start_encoder(model: Model, flags: argparse.Namespace, images: Tensor) -> None:
    """Load the encoder of another run, or fit a new one to training images (PCA, UMAP, scaling)."""
    if flags.load_encoder:
        load_encoder(model, flags.load_encoder, flags.fresh_stages, trust_pickle=flags.trust_pickle)
    else:
        model.encoder.fit(images)


def load(models: list[Model], session: Path) -> None:
    """Load the weights of a session."""
    state = load_pth(session / "model.pth")
    with opening(session):
        for index, model in enumerate(models):
            model.load_state_dict(unstack(state, index) if len(models) > 1 else state)


def precompute(model: Model, flags: argparse.Namespace, task: Task, session: Path | None) -> Tensor | None:
    """Return the latents (N, D) of all images if the encoder and the images are fixed and the latents fit in memory."""
    images_change = flags.augment or task.objective.is_random
    encodes_once = model.encoder.encodes_once
    if encodes_once and images_change:
        raise UserError(
            f"--encoder {flags.encoder} encodes each image only once, so images cannot change between epochs; leave "
            "out --augment and noise="
        )
    too_large = task.dataset.is_mapped and model.encoder.latent_dim >= math.prod(task.dataset.image_shape)
    if not model.has_fixed_encoder or images_change or (too_large and not encodes_once):
        return None
    saved = session.parent / FIXED_LATENTS if session else None
    if saved and saved.exists():
        return load_latents(saved, task.dataset).to(task.device)
    return encode(model, task.dataset)


def require_shared(model: Model, flags: argparse.Namespace) -> None:
    """Raise UserError if the frozen encoder has random weights: repetitions would then need one each."""
    if model.encoder.random_stages and not flags.load_encoder:
        raise UserError(
            "--trainable_stages 1 freezes a randomly initialised encoder, which differs between repetitions; load a "
            "trained one with --load_encoder, or leave out --repetitions"
        )


def require_batches(model: Model, n_training: int, flags: argparse.Namespace) -> None:
    """Raise UserError if the batches do not suit the model or --latents_every."""
    n_steps = -(-n_training // flags.batch_size)
    trained = [stage for name, stage in model.stages().items() if name not in model.frozen]
    has_batch_norm = any(isinstance(module, nn.BatchNorm2d) for stage in trained for module in stage.modules())
    require(
        not has_batch_norm or n_training // n_steps > 1,
        f"--batch_size {flags.batch_size} splits {n_training} images into batches of which one has a single image, and "
        f"batch normalisation cannot train on one; use {flags.batch_size + 1} or more",
    )
    for flag in ("latents_every", "pictures_every"):
        every = getattr(flags, flag)
        require(
            not every or every * n_steps >= 1, f"--{flag} {every} is less than a step; an epoch has {n_steps} steps"
        )


def print_stages(model: Model, flags: argparse.Namespace) -> None:
    """Print which stages train, if flags choose them."""
    if flags.load_encoder or flags.trainable_stages:
        print(format_stages(model))
    random = [name for name in model.frozen if name in model.encoder.random_stages]
    if random and not flags.load_encoder:
        print(f"note: not trained, with random weights: {', '.join(random)}; see --load_encoder", file=sys.stderr)


def format_stages(model: Model) -> str:
    """Return a table of the stages: how many weights each has, and whether it trains."""
    lines = [f"{'stage':<12}{'weights':>12}  trains"]
    for name, stage in model.weighted_stages().items():
        n_weights = sum(parameter.numel() for parameter in stage.parameters())
        lines.append(f"{name:<12}{n_weights:>12,}  {'no' if name in model.frozen else 'yes'}")
    n_trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return "\n".join([*lines, f"{n_trained:,} weights train"])
