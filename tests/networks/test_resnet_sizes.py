"""The ResNet18 on small images."""

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from neuro_noodle.networks.base import ENCODERS

SIDES = pytest.mark.parametrize("side", [3, 4, 8, 9, 16, 17, 32])


@SIDES
def test_small_images_give_the_features_of_torchvision(side, tmp_path):
    torch.manual_seed(0)
    network = resnet18().eval()
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    network.fc = nn.Identity()
    encoder = ENCODERS.build(f"resnet18 weights={tmp_path / 'weights.pth'}", (3, side, side), None).eval()
    encoder.fit(torch.zeros(1, 3, side, side))
    images = torch.rand(4, 3, side, side)
    torch.testing.assert_close(encoder(images), network((images - encoder.mean) / encoder.sd))


@SIDES
def test_no_wide_convolution_strides_over_one_pixel(side):
    """There the bf16 gradient of PyTorch on the CPU holds numbers that were never computed."""
    encoder = ENCODERS.build("resnet18 weights=none", (3, side, side), None)
    wrong = []

    def check(module, inputs, _):
        if max(module.kernel_size) > 1 < max(module.stride) and max(inputs[0].shape[2:]) == 1:
            wrong.append(module)

    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(check)
    encoder(torch.rand(2, 3, side, side))
    assert not wrong
