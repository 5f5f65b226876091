"""The residual network of 18 layers, and the weights it may start from."""

from pathlib import Path

import torch
from torch import Tensor, nn

from neuro_noodle.choices import UserError, require
from neuro_noodle.networks.base import ENCODERS, Encoder

IMAGENET_FILE = "resnet18-f37072fd.pth"


@ENCODERS.add("resnet18")
class ResNet18(Encoder):
    """The residual network of 18 layers; the latent is its 512 averaged features.

    Args:
        image_shape: (C, H, W).
        latent_dim: D; another than 512 adds a linear stage.
        weights: to start from: imagenet (downloaded once), none (from scratch) or a FILE saved from torchvision's.

    Source: He et al. 2016, doi:10.1109/CVPR.2016.90; torchvision's layers and ImageNet weights.
    """

    prefers_bf16 = True

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int | None, *, weights: str = "imagenet") -> None:
        super().__init__()
        from torchvision.models import resnet18

        channels = image_shape[0]
        if weights != "none" and channels != 3:
            raise UserError(
                f"encoder 'resnet18' weights={weights} takes colour images, but these have {channels} channel(s); "
                "add colour=rgb to --dataset, or weights=none to --encoder"
            )
        self.weights = weights
        self.latent_dim = latent_dim or 512
        self.stages = _resnet_stages(resnet18())
        if channels != 3:
            self.stages["stem"][0] = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        if self.latent_dim != 512:
            self.stages["latent"] = nn.Linear(512, self.latent_dim)
        mean, sd = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) if channels == 3 else ([0.449], [0.226])
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("sd", torch.tensor(sd).view(-1, 1, 1))
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        images = (images - self.mean) / self.sd
        return super().forward(images.contiguous(memory_format=torch.channels_last))  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Take over the weights to start from."""
        if self.weights == "none":
            return
        from torchvision.models import resnet18

        network = resnet18(num_classes=1)
        own = {key: value for key, value in network.state_dict().items() if key.startswith("fc.")}
        state = imagenet_weights() if self.weights == "imagenet" else weights_of_file(Path(self.weights))
        try:
            network.load_state_dict({key: value for key, value in state.items() if not key.startswith("fc.")} | own)
        except (RuntimeError, AttributeError) as error:
            raise UserError(f"encoder 'resnet18': {self.weights} holds no weights of a ResNet18: {error}") from error
        for name, stage in _resnet_stages(network).items():
            self.stages[name].load_state_dict(stage.state_dict())


def weights_of_file(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file; nothing in it is ever run."""
    require(path.is_file(), f"encoder 'resnet18': weights={path} is neither imagenet, none nor a file")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in any way
        raise UserError(f"encoder 'resnet18': {path} holds no weights of a ResNet18: {error}") from error


def imagenet_weights() -> dict[str, Tensor]:
    """Return torchvision's ImageNet weights of ResNet18, from its cache or the network.

    Raises:
        UserError: offline and not cached; says where to put the file.
    """
    from torchvision.models import ResNet18_Weights

    cache = Path(torch.hub.get_dir(), "checkpoints", IMAGENET_FILE)
    try:
        return ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no network, a damaged file, ...
        raise UserError(
            f"the ImageNet weights of ResNet18 are not (whole) on this machine and cannot be downloaded: {error}\n"
            f"  put the file {IMAGENET_FILE} (from download.pytorch.org/models) into {cache.parent},\n"
            f"  or name it: --encoder resnet18 weights=/path/to/{IMAGENET_FILE},\n"
            "  or train from scratch: --encoder resnet18 weights=none"
        ) from error


def _resnet_stages(network: nn.Module) -> nn.ModuleDict:
    stages = {"stem": nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)}
    stages |= {name: getattr(network, name) for name in ("layer1", "layer2", "layer3", "layer4")}
    return nn.ModuleDict(stages | {"pool": nn.Sequential(network.avgpool, nn.Flatten())})
