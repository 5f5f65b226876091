"""Encoders (image to latent), heads (latent to prediction) and the model that joins one of each.

To add one: a class under @ENCODERS.add("name") or @HEADS.add("name") in this file. Nothing else changes.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from choices import Table, UserError, require
from components import principal_components

ENCODERS = Table("encoder")
HEADS = Table("head")
Activation = Literal["relu", "leakyrelu", "gelu", "silu", "softplus", "tanh", "sigmoid"]
ACTIVATIONS = {
    "relu": nn.ReLU,
    "leakyrelu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
IMAGENET_FILE = "resnet18-f37072fd.pth"
FIT_BATCH = 256  # images at a time, so that their features fit in memory
RIDGE = 1e-3  # keeps the linear start of a decoder stable where latents nearly repeat each other


class Encoder(nn.Module):
    """Maps images (B, C, H, W) in [0, 1] to a latent (B, D).

    Attributes:
        stages: the parts in the order they run.
        latent_dim: D.
        prefers_bf16: whether half precision makes it faster.
    """

    stages: nn.ModuleDict
    latent_dim: int
    prefers_bf16 = False

    def forward(self, images: Tensor) -> Tensor:
        latent = images
        for stage in self.stages.values():
            latent = stage(latent)
        return latent  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Learn from training images (N, C, H, W) what is learned before the loop; nothing, unless it does."""

    def regularizer(self) -> Tensor | float:
        """Return the penalty on the weights that is added to the loss."""
        return 0.0


class Head(nn.Module):
    """Maps a latent (B, D) to a prediction (B, ...)."""

    needs_fit = False

    def fit(self, latent: Tensor, prediction: Tensor) -> None:
        """Learn from wanted predictions (N, ...) what is learned before the loop; called where needs_fit is true."""

    def regularizer(self) -> Tensor | float:
        """Return the penalty on the weights that is added to the loss."""
        return 0.0


class Model(nn.Module):
    """An encoder and a head, run in one precision; predictions are always float32."""

    def __init__(self, encoder: Encoder, head: Head, precision: Literal["fp32", "bf16"] = "fp32") -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head
        self.precision = precision

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            prediction = self.head(self.encoder(images))
        return prediction.float()

    def stages(self) -> dict[str, nn.Module]:
        """Return the parts in the order they run."""
        return dict(self.encoder.stages) | {"head": self.head}

    def regularizer(self) -> Tensor | float:
        """Return the penalty on the weights of all parts."""
        return self.encoder.regularizer() + self.head.regularizer()

    @torch.no_grad()
    def start(self, images: Tensor, target: Tensor, link: Callable[[Tensor], Tensor]) -> None:
        """Let encoder and head learn what they learn before the loop.

        Args:
            images: (N, C, H, W) training images.
            target: what they should lead to.
            link: from a target to the prediction that means it.
        """
        self.encoder.fit(images)
        if self.head.needs_fit:
            self.eval()
            self.head.fit(torch.cat([self.encoder(batch) for batch in images.split(FIT_BATCH)]), link(target))
            self.train()


def build_model(
    encoder: str,
    head: str,
    image_shape: Sequence[int],
    output_shape: Sequence[int],
    latent_dim: int | None,
    precision: Literal["fp32", "bf16"],
) -> Model:
    """Build a model from its choices; a session keeps these arguments in order to rebuild it.

    Args:
        encoder, head: choices.
        image_shape: (C, H, W).
        output_shape: shape of one prediction.
        latent_dim: D, or None for the encoder's own.
    """
    built = ENCODERS.build(encoder, tuple(image_shape), latent_dim)
    return Model(built, HEADS.build(head, built, tuple(output_shape)), precision)


def choose_precision(encoder: str, wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> str:
    """Return the precision to use: for auto, bf16 where the encoder gains by it and the device has it."""
    if wanted != "auto":
        return wanted
    capable = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        features = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        capable = bool(features.get("avx512_bf16") or features.get("amx_bf16"))
    return "bf16" if capable and ENCODERS[ENCODERS.parse(encoder).name].prefers_bf16 else "fp32"


# -------------------------------------------------------------------------------------------------- encoders


@ENCODERS.add("fc")
class FullyConnected(Encoder):
    """Fully connected layers; the latent is linear.

    Args:
        image_shape: (C, H, W).
        latent_dim: D; 40 if None.
        hidden: widths of the hidden layers.
        activation: after each hidden layer.
        start: pca starts as the projection onto the principal components of the training images, exactly, and
            goes on learning from there; random is the textbook start.
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        latent_dim: int | None,
        *,
        hidden: tuple[int, ...] = (256,),
        activation: Activation = "relu",
        start: Literal["random", "pca"] = "random",
    ) -> None:
        super().__init__()
        require(all(width >= 1 for width in hidden), f"encoder 'fc': hidden={hidden} needs widths of at least 1")
        self.latent_dim = latent_dim or 40
        self.hidden, self.activation, self.start = hidden, activation, start
        layers = stack((math.prod(image_shape), *hidden, self.latent_dim), activation)
        names = [f"hidden{i + 1}" for i in range(len(hidden))] + ["latent"]
        self.stages = nn.ModuleDict(zip(names, layers, strict=True))
        self.register_buffer("centre", torch.zeros(math.prod(image_shape)))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flatten(1) - self.centre)  # (B, D)

    def fit(self, images: Tensor) -> None:
        """Centre on the mean image; with start=pca, also become the PCA whose latents have unit variance."""
        pixels = images.flatten(1)  # (N, C*H*W)
        self.centre.copy_(pixels.mean(0))
        if self.start == "pca":
            _, components, variances = principal_components(pixels, self.latent_dim)
            whitening = components * variances.rsqrt()[:, None]  # (K, C*H*W)
            identity = torch.eye(self.latent_dim)[:, : len(components)]
            carry_linear_map(self.stages.values(), whitening, identity, torch.zeros(self.latent_dim))


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


# ----------------------------------------------------------------------------------------------------- heads


@HEADS.add("fc")
class FullyConnectedHead(Head):
    """Fully connected layers, the mirror image of the encoder's unless told otherwise.

    Args:
        encoder: whose latent it takes.
        output_shape: shape of one prediction.
        hidden: widths of the hidden layers; none mirrors the encoder's.
        activation: after each hidden layer.
        start: linear starts as the best linear map from latent to prediction, exactly; random is the textbook start.
    """

    def __init__(
        self,
        encoder: Encoder,
        output_shape: tuple[int, ...],
        *,
        hidden: tuple[int, ...] | None = None,
        activation: Activation = "relu",
        start: Literal["random", "linear"] = "random",
    ) -> None:
        super().__init__()
        self.output_shape = output_shape
        self.needs_fit = start == "linear"
        hidden = tuple(reversed(getattr(encoder, "hidden", (256,)))) if hidden is None else hidden
        require(all(width >= 1 for width in hidden), f"head 'fc': hidden={hidden} needs widths of at least 1")
        self.layers = nn.Sequential(*stack((encoder.latent_dim, *hidden, math.prod(output_shape)), activation))

    def forward(self, latent: Tensor) -> Tensor:
        return self.layers(latent).unflatten(1, self.output_shape)  # (B, ...)

    def fit(self, latent: Tensor, prediction: Tensor) -> None:
        """Become the ridge regression from latent to prediction."""
        wanted = prediction.flatten(1)  # (N, outputs)
        mean = wanted.mean(0)
        ridge = RIDGE * len(latent) * torch.eye(latent.shape[1], device=latent.device)
        weights = torch.linalg.solve(latent.T @ latent + ridge, latent.T @ (wanted - mean))  # (D, outputs)
        carry_linear_map(self.layers, torch.eye(latent.shape[1]), weights.T, mean)


@HEADS.add("linear")
class Linear(Head):
    """One linear layer."""

    def __init__(self, encoder: Encoder, output_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.output_shape = output_shape
        self.layer = nn.Linear(encoder.latent_dim, math.prod(output_shape))

    def forward(self, latent: Tensor) -> Tensor:
        return self.layer(latent).unflatten(1, self.output_shape)  # (B, ...)


# ---------------------------------------------------------------------------------------------------- layers


def stack(widths: Sequence[int], activation: Activation) -> list[nn.Module]:
    """Return linear layers between these widths, all but the last with their activation."""
    linear = [nn.Linear(n_in, n_out) for n_in, n_out in zip(widths[:-1], widths[1:], strict=True)]
    return [nn.Sequential(layer, ACTIVATIONS[activation]()) for layer in linear[:-1]] + linear[-1:]


@torch.no_grad()
def carry_linear_map(layers: Sequence[nn.Module], first: Tensor, last: Tensor, bias: Tensor) -> None:
    """Set a stack of layers so that it computes x -> last @ first @ x + bias, and can still learn all else.

    A rectifier passes u on as the pair (max(u, 0), max(-u, 0)), whose difference is u; the same holds of every
    activation a for which a(u) - a(-u) is proportional to u. The units beyond the pairs keep their random input
    weights and start without any effect.

    Args:
        layers: as `stack` makes them.
        first: (K, inputs).
        last: (outputs, K).
        bias: (outputs,).

    Raises:
        UserError: where a hidden layer has fewer than 2 K units or an unsuitable activation.
    """
    *hidden, output = layers
    n = 2 * len(first)
    narrow = [layer[0].out_features for layer in hidden if layer[0].out_features < n]
    if narrow:
        raise UserError(
            f"start=pca and start=linear need hidden layers of at least {n} units (2 x latent_dim), not {narrow[0]}; "
            f"take --encoder fc hidden={n}, or start=random for both --encoder fc and --head fc"
        )
    pair = torch.cat([torch.eye(len(first)), -torch.eye(len(first))])  # (2K, K)
    carried = first.cpu()
    gain = 1.0
    for layer in hidden:
        linear, activation = layer
        linear.weight[:n] = 0
        linear.weight[:n, : carried.shape[1]] = pair @ carried / gain
        linear.bias[:n] = 0
        gain = _odd_gain(activation)
        carried = pair.T
    output.weight.zero_()
    output.weight[:, : carried.shape[1]] = (last.cpu() @ carried / gain).to(output.weight)
    output.bias.copy_(bias)


def _odd_gain(activation: nn.Module) -> float:
    """Return c where a(u) - a(-u) = c u, for every u."""
    u = torch.tensor([0.5, 1.0, 2.0])
    ratio = (activation(u) - activation(-u)) / u
    if not torch.allclose(ratio, ratio[0]):
        raise UserError(
            f"start=pca and start=linear cannot go through {type(activation).__name__}; "
            "take activation relu, leakyrelu, gelu, silu or softplus, or start=random"
        )
    return ratio[0].item()
