"""The 18-layer residual network and the sources of its initial weights."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from neuro_noodle.caches import IMAGENET_FILE
from neuro_noodle.choices import UserError, require
from neuro_noodle.networks.base import ENCODERS, Encoder
from neuro_noodle.networks.tensors import read_tensors
from neuro_noodle.plain import first_line

# The largest images, px, of which a stage gets maps of one pixel. There a stride changes nothing, but with it PyTorch's
# bf16 gradient on the CPU is not initialised for weights that only meet padding (torch 2.15): it can be NaN.
SIDES_OF_ONE_PIXEL = {"layer2": 4, "layer3": 8, "layer4": 16}


@ENCODERS.add("resnet18")
class ResNet18(Encoder):
    """The 18-layer residual network; the latent is its 512 average-pooled features.

    Args:
        image_shape: (C, H, W).
        latent_dim: D; 512 if None. Any other value adds a linear stage.
        weights: initial weights: imagenet (downloaded once), none (random) or the path of a file of torchvision's
            ResNet18 weights.

    Source: He et al. 2016, doi:10.1109/CVPR.2016.90; layers and ImageNet weights from torchvision.
    """

    def __init__(self, image_shape: tuple[int, int, int], latent_dim: int | None, *, weights: str = "imagenet") -> None:
        super().__init__()
        from torchvision.models import resnet18

        channels = image_shape[0]
        if weights != "none" and channels != 3:
            raise UserError(
                f"encoder 'resnet18': weights={weights} needs colour images, but these have {channels} channel(s), "
                "not 3; add colour=rgb to --dataset, or weights=none to --encoder"
            )
        self.weights = weights
        self.latent_dim = latent_dim or 512
        self.stages = _resnet_stages(resnet18())
        for name, side in SIDES_OF_ONE_PIXEL.items():
            if max(image_shape[1:]) <= side:
                self.stages[name][0].conv1.stride = (1, 1)
        if channels != 3:
            self.stages["stem"][0] = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        if self.latent_dim != 512:
            self.stages["latent"] = nn.Linear(512, self.latent_dim)
        mean, sd = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]) if channels == 3 else ([0.449], [0.226])
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("sd", torch.tensor(sd).view(-1, 1, 1))
        self.to(memory_format=torch.channels_last)

    @property
    def random_stages(self) -> list[str]:
        return [name for name in super().random_stages if self.weights == "none" or name == "latent"]

    def forward(self, images: Tensor) -> Tensor:
        images = (images - self.mean) / self.sd
        return super().forward(images.contiguous(memory_format=torch.channels_last))  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Load the initial weights; the images are ignored.

        Raises:
            UserError: if the weights cannot be found, or are not those of a ResNet18.
        """
        if self.weights == "none":
            return
        from torchvision.models import resnet18

        network = resnet18(num_classes=1)
        wanted = _without_classifier(network.state_dict())
        state = load_imagenet_weights() if self.weights == "imagenet" else load_weights_file(Path(self.weights))
        found = _without_classifier(state)
        wrong = _format_mismatch(found, wanted)
        require(
            not wrong,
            f"encoder 'resnet18': {self.weights} does not hold the weights of a ResNet18 ({wrong}); the names and "
            "shapes must be those of torchvision.models.resnet18().state_dict(), of which fc is not used",
        )
        network.load_state_dict(found, strict=False)
        for name, stage in _resnet_stages(network).items():
            self.stages[name].load_state_dict(stage.state_dict())


def load_weights_file(path: Path) -> dict[str, Tensor]:
    """Return the weights in a file by name; code in the file is never run.

    Raises:
        UserError: if the file does not exist or is not a file of tensors.
    """
    require(path.is_file(), f"encoder 'resnet18': weights={path} is neither imagenet, none nor an existing file")
    return read_tensors(path.read_bytes(), path)


def load_imagenet_weights() -> dict[str, Tensor]:
    """Return torchvision's ImageNet weights of ResNet18 by name, from its cache or the internet.

    Raises:
        UserError: if they are neither cached nor can be downloaded (the message says where to save the file), or if the
            cached file is not torchvision's.
    """
    from torchvision.models import ResNet18_Weights

    cache = Path(torch.hub.get_dir(), "checkpoints", IMAGENET_FILE)
    if cache.is_file():
        return read_tensors(_read_imagenet_file(cache), cache)
    try:
        return ResNet18_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # no internet connection, a folder that cannot be written, ...
        raise UserError(
            "the ImageNet weights of ResNet18 are not on this machine, and cannot be downloaded: "
            f"{first_line(error)}\n"
            f"  save the file {IMAGENET_FILE} (from download.pytorch.org/models) in {cache.parent},\n"
            f"  or give its path: --encoder resnet18 weights=/path/to/{IMAGENET_FILE},\n"
            "  or train from scratch: --recipe faces_emotion_scratch"
        ) from error


def _read_imagenet_file(path: Path) -> bytes:
    """Return the content of a file whose name ends in the first digits of its sha256; torch checks only a download."""
    content, expected = path.read_bytes(), Path(IMAGENET_FILE).stem.rpartition("-")[2]
    found = hashlib.sha256(content).hexdigest()[: len(expected)]
    require(
        found == expected,
        f"{path} is damaged or not torchvision's file: its sha256 starts with {found}, not {expected}; save it again "
        f"(from download.pytorch.org/models), or load it as it is with --encoder resnet18 weights={path}",
    )
    return content


def _without_classifier(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if not str(key).startswith("fc.")}


def _format_mismatch(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """Return how many tensors differ by name or shape from those wanted, with an example; empty if none do."""
    counters = "num_batches_tracked"  # of batch norm: files of old torch versions lack them
    wrong = {
        "missing": [key for key in wanted if key not in found and not key.endswith(counters)],
        "unknown": [key for key in found if key not in wanted],
        "of another shape": [
            key for key, value in wanted.items() if key in found and getattr(found[key], "shape", None) != value.shape
        ],
    }
    return "; ".join(f"{len(keys)} {how}, such as {keys[0]}" for how, keys in wrong.items() if keys)


def _resnet_stages(network: nn.Module) -> nn.ModuleDict:
    """Return the layers of torchvision's network, without its classifier, as named stages."""
    stages = {"stem": nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)}
    stages |= {"layer1": network.layer1, "layer2": network.layer2, "layer3": network.layer3, "layer4": network.layer4}
    return nn.ModuleDict(stages | {"pool": nn.Sequential(network.avgpool, nn.Flatten())})
