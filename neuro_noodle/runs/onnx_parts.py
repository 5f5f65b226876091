"""Parts of a trained model as ONNX: what each computes, its conversion, and how far onnxruntime agrees with PyTorch."""

import contextlib
import copy
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require
from neuro_noodle.networks.base import Encoder, Head
from neuro_noodle.objectives.base import Objective
from neuro_noodle.plain import first_line, format_bytes
from neuro_noodle.runs.run import Run

IMAGES, LATENT, PREDICTION = "images", "latent", "prediction"
RUNTIME = "onnxruntime"
MAX_BYTES = 2**31 - 2**24  # of the weights in an ONNX file, which cannot hold more than 2 GiB

Compute = Callable[[Tensor], tuple[Tensor, ...]]


class Answer(nn.Module):
    """A head whose output is in the units that `Run.predict` returns."""

    def __init__(self, head: Head, objective: Objective) -> None:
        super().__init__()
        self.head, self.objective = head, objective

    def forward(self, latent: Tensor) -> Tensor:
        return self.objective.in_units(self.objective.output(self.head(latent)))


class Whole(nn.Module):
    """An encoder and what follows; returns the latent (B, D) and the prediction (B, ...)."""

    def __init__(self, encoder: Encoder, answer: Answer) -> None:
        super().__init__()
        self.encoder, self.answer = encoder, answer

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        latent = self.encoder(images)
        return latent, self.answer(latent)


@dataclass(frozen=True)
class Part:
    """A part of a model.

    Attributes:
        module: computes it in float32 on the CPU; a copy, in evaluation mode.
        run_itself: computes the same as the run does, in its own precision and on its own device.
        x: (n, ...) held-out inputs.
        source: name of the input.
        outputs: names of the outputs.
    """

    module: nn.Module
    run_itself: Compute
    x: Tensor
    source: str
    outputs: tuple[str, ...]

    @torch.no_grad()
    def compute(self) -> tuple[Tensor, ...]:
        """Return the outputs for x, in float32."""
        return _as_tuple(self.module(self.x))

    @torch.no_grad()
    def compute_as_run(self) -> tuple[Tensor, ...]:
        """Return the outputs for x, in the precision of the run."""
        return _as_tuple(self.run_itself(self.x))


def encoder_part(run: Run, indices: np.ndarray) -> Part:
    """Return the part from images to latents, with the images at these indices."""

    def encode(x: Tensor) -> tuple[Tensor, ...]:
        return (run.model.encode(x.to(_device(run))),)

    return Part(_copied(run.model.encoder), encode, run.images(indices), IMAGES, (LATENT,))


def model_part(run: Run, indices: np.ndarray) -> Part:
    """Return the part from images to latents and predictions, with the images at these indices."""

    def predict(x: Tensor) -> tuple[Tensor, ...]:
        x = x.to(_device(run))
        return run.model.encode(x), run.objective.in_units(run.objective.output(run.model(x)))

    module = Whole(_copied(run.model.encoder), _answer(run))
    return Part(module, predict, run.images(indices), IMAGES, (LATENT, PREDICTION))


def decoder_part(run: Run, indices: np.ndarray) -> Part:
    """Return the part from latents to images, with the latents of the images at these indices."""
    if run.precomputed is None:
        latents = run.model.encode(run.images(indices).to(_device(run))).cpu()
    else:
        latents = run.precomputed[torch.as_tensor(indices)]

    def decode(x: Tensor) -> tuple[Tensor, ...]:
        return (run.objective.output(run.model.decode(x.to(_device(run)))),)

    return Part(_answer(run), decode, latents, LATENT, (IMAGES,))


def _answer(run: Run) -> Answer:
    return Answer(_copied(run.model.head), copy.deepcopy(run.objective))


def _device(run: Run) -> torch.device:
    return next(run.model.parameters()).device


def _copied(module: Any) -> Any:
    return copy.deepcopy(module).cpu().eval()


def _as_tuple(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (outputs,) if isinstance(outputs, Tensor) else outputs


def to_onnx(part: Part) -> bytes:
    """Return a part as the content of an ONNX file, for batches of any size.

    Raises:
        UserError: if ONNX cannot express the part, or a file cannot hold it.
    """
    n_bytes = sum(values.nbytes for values in part.module.state_dict().values())
    require(
        n_bytes <= MAX_BYTES,
        f"an ONNX file holds at most 2 GiB, but these are {format_bytes(n_bytes)} of weights; choose other --parts",
    )
    example = part.x[[0, -1]]  # two inputs; of one, the size of the batch would be taken as fixed
    try:
        with _quiet(), torch.no_grad():
            part.module(example)  # fills caches with numbers; the conversion would fill them with its symbols
            program = torch.onnx.export(
                part.module,
                (example,),
                input_names=[part.source],
                output_names=list(part.outputs),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UserError(f"this network cannot be written as ONNX: {first_line(error.__cause__ or error)}") from error
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # they name the folders of this machine
    file = io.BytesIO()
    program.save(file)
    return file.getvalue()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence warnings and remarks of the conversion; errors are raised as ever."""
    loggers = [logging.getLogger(name) for name in ("onnxscript", "onnx_ir", "torch.onnx", "torch.export")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@torch.no_grad()
def run_onnx(content: bytes, part: Part) -> tuple[Tensor, ...]:
    """Return what onnxruntime computes from the content of an ONNX file for the inputs of a part.

    Raises:
        UserError: if it cannot run the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        outputs = session.run(None, {part.source: part.x.numpy()})
    except Exception as error:  # its errors have no common class
        raise UserError(
            f"{RUNTIME} {onnxruntime.__version__} cannot run the exported network: {first_line(error)}; try a newer "
            f"one, pip install --upgrade {RUNTIME}"
        ) from error
    return tuple(map(torch.from_numpy, outputs))


def largest_difference(first: Tensor, second: Tensor, period: float | None = None) -> float:
    """Return the largest absolute difference between numbers; of periodic ones, the shorter way round."""
    difference = (first.cpu().double() - second.cpu().double()).abs()
    if period:
        difference = torch.minimum(difference, (period - difference).abs())
    return float(difference.max())
