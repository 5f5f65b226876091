"""The decoder of a run as operations that the page computes: those of its exported PyTorch graph."""

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from neuro_noodle.plain import format_bytes
from neuro_noodle.runs.onnx_parts import Answer
from neuro_noodle.runs.run import Run
from neuro_noodle.views.explorer.arrays import Arrays
from neuro_noodle.views.explorer.sheets import resized, thumbnail_size

OPERATIONS = frozenset({
    "add", "batch_norm", "celu", "conv2d", "conv_transpose2d", "div", "elu", "gelu", "leaky_relu", "linear",
    "log_sigmoid", "mish", "mul", "pad", "prelu", "relu", "selu", "sigmoid", "silu", "softmax", "softplus", "sub",
    "tanh", "unflatten", "view",
})  # fmt: skip
MAX_BYTES = 24 * 2**20  # of weights in a page
TOLERANCE = 0.5 / 255  # in a decoded picture, of rounding weights and latents to 16 bits
N_GRID = 24  # decodings along each side, where the page cannot decode


@dataclass(frozen=True)
class Graph:
    """The operations of a decoder.

    Attributes:
        latent, output: names of its input and of its result.
        steps: name, operation and arguments of each step; {"of": name} is a result of a step or a weight.
        weights: by name.
    """

    latent: str
    output: str
    steps: list[tuple[str, str, list]]
    weights: dict[str, Tensor]

    @property
    def obstacle(self) -> str:
        """Why the page cannot compute it, as the end of a sentence; empty if it can."""
        unknown = {operation for _, operation, _ in self.steps} - OPERATIONS
        if unknown:
            return f"has operations that the page does not know ({', '.join(sorted(unknown))})"
        n_bytes = sum(2 * weight.numel() for weight in self.weights.values())
        return f"has {format_bytes(n_bytes)} of weights, too many for a page" if n_bytes > MAX_BYTES else ""

    def manifest(self, arrays: Arrays, dtype: str) -> dict[str, Any]:
        """Return the graph for the page; its weights are added to the arrays."""
        weights = {name: arrays.add(weight.numpy(), dtype) for name, weight in self.weights.items()}
        return {"latent": self.latent, "output": self.output, "steps": self.steps, "weights": weights}


def export_graph(decode: Answer, latent_dim: int) -> Graph:
    """Return the operations of a decoder in evaluation mode."""
    exported = torch.export.export(decode.eval(), (torch.zeros(1, latent_dim),))
    signature, graph = exported.graph_signature, exported.graph
    named = dict(exported.state_dict) | exported.constants
    sources = signature.inputs_to_parameters | signature.inputs_to_buffers | signature.inputs_to_lifted_tensor_constants
    weights = {name: named[source].detach().float() for name, source in sources.items()}
    steps = [
        (node.name, node.target._schema.name.partition("::")[2], [_plain(value) for value in _arguments(node)])
        for node in graph.nodes
        if node.op == "call_function"
    ]
    return Graph(signature.user_inputs[0], signature.user_outputs[0], steps, weights)


def _arguments(node: torch.fx.Node) -> list[Any]:
    """Return all arguments of a step in the order of its schema."""
    schema: Any = node.target._schema.arguments  # type: ignore[union-attr]
    given = dict(zip([one.name for one in schema], node.args, strict=False)) | node.kwargs
    return [given.get(one.name, one.default_value) for one in schema]


def _plain(value: Any) -> Any:
    """Return an argument as the page reads it; null for a type or a layout, which have no meaning there."""
    if isinstance(value, torch.fx.Node):
        return {"of": value.name}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value if value is None or isinstance(value, bool | int | float | str) else None


@torch.no_grad()
def rounding_error(decode: Answer, latents: np.ndarray) -> float:
    """Return the largest change of a decoded pixel when weights and latents (n, D) are rounded to 16 bits."""
    rounded = copy.deepcopy(decode).half().float()
    values = torch.from_numpy(latents)
    return (rounded(values.half().float()) - decode(values)).abs().max().item()


def decode_grid(run: Run, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the thumbnails of images decoded on a grid over a 2-D latent, (N_GRID, N_GRID, C, h, w) from 0 to 255."""
    across, up = (np.linspace(low[i], high[i], N_GRID) for i in (0, 1))
    points = np.stack([axis.ravel() for axis in np.meshgrid(across, up)], 1).astype(np.float32)  # (N_GRID**2, 2)
    images = torch.from_numpy(run.decode(points))
    small = resized(images, thumbnail_size(tuple(images.shape[1:]), len(points))).clamp(0, 1)
    return (255 * small).round().numpy().reshape(N_GRID, N_GRID, *small.shape[1:])
