"""The decoder of the explorer's page computes what PyTorch computes."""

import numpy as np
import pytest
import torch
from torch import nn

from neuro_noodle.networks.activations import ACTIVATIONS
from neuro_noodle.networks.base import build_model
from neuro_noodle.runs.onnx_parts import Answer
from neuro_noodle.views.explorer import decoder, explorer


@pytest.fixture
def decode_in_page(running):
    """Return a function from a graph and latents to what decoder.js decodes, (n, pixels)."""
    page = running.new_page()
    page.add_script_tag(content=explorer.read("decoder.js") + ";globalThis.parts = { OPERATIONS, Decoder };")

    def decode(graph: decoder.Graph, latents: np.ndarray) -> np.ndarray:
        tensors = {key: {"data": w.flatten().tolist(), "shape": list(w.shape)} for key, w in graph.weights.items()}
        plain = {"latent": graph.latent, "output": graph.output, "steps": graph.steps, "weights": tensors}
        script = """([graph, latents]) => {
            for (const weight of Object.values(graph.weights)) weight.data = Float32Array.from(weight.data);
            const decoder = new parts.Decoder(graph);
            return latents.map((latent) => Array.from(decoder.decode(latent).data));
        }"""
        return np.array(page.evaluate(script, [plain, latents.tolist()]))

    yield decode
    page.close()


def test_the_page_knows_the_operations_that_are_listed(decode_in_page, running):
    page = running.new_page()
    page.add_script_tag(content=explorer.read("decoder.js") + ";globalThis.names = Object.keys(OPERATIONS);")
    assert set(page.evaluate("names")) == decoder.OPERATIONS
    page.close()


class Image(nn.Module):
    """The objective of a network whose output is the image."""

    def output(self, prediction):
        return prediction

    def in_units(self, output):
        return output


def both(head: nn.Module, latent_dim: int, decode_in_page) -> tuple[np.ndarray, np.ndarray]:
    """Return what PyTorch and the page decode."""
    latents = torch.randn(3, latent_dim, generator=torch.Generator().manual_seed(1))
    decode = Answer(head, Image()).eval()
    with torch.no_grad():
        expected = decode(latents).flatten(1).numpy()
    return expected, decode_in_page(decoder.export_graph(decode, latent_dim), latents.numpy())


HEADS = [f"fc hidden=7 activation={name}" for name in ACTIVATIONS]
HEADS += [f"conv channels=4,6 activation={name}" for name in ("relu", "prelu", "softmax")]
HEADS += ["conv channels=4,6,8 kernel=5 start=mean", "linear"]


@pytest.mark.parametrize("head", HEADS)
def test_the_page_decodes_what_pytorch_decodes(head, decode_in_page):
    torch.manual_seed(3)
    shape = [3, 27, 22]
    model = build_model("fc hidden=7", head, image_shape=shape, output_shape=shape, latent_dim=5, precision="fp32")
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
    expected, found = both(model.head, 5, decode_in_page)
    assert expected.std() > 0.01 and np.abs(found - expected).max() < 2e-5


def test_operations_of_other_heads_are_those_of_pytorch(decode_in_page):
    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1, dilation=1, groups=2)
            self.up = nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
            self.scale = nn.Parameter(torch.rand(6, 1, 1))

        def forward(self, latent):
            maps = self.up(self.conv(latent.view(-1, 2, 6, 6)))
            cropped = nn.functional.pad(maps, (-1, 2, 1, -1), value=0.5)
            return (cropped * self.scale - cropped.mul(0.5)) / 2 + 0.1

    expected, found = both(Head(), 72, decode_in_page)
    assert np.abs(found - expected).max() < 1e-5


def test_large_numbers_are_kept_with_32_bits(decode_in_page):
    head = nn.Linear(4, 6)
    nn.init.normal_(head.weight, std=500)
    decode = Answer(head, Image())
    assert decoder.rounding_error(decode, np.ones((2, 4), np.float32)) > decoder.TOLERANCE
    assert decoder.rounding_error(Answer(nn.Linear(4, 6), Image()), np.ones((2, 4), np.float32)) < 1e-3
