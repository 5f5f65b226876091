"""Choices in words: what an encoder, an optimizer or an augmentation is called in the methods of a paper.

A choice that has no words here is named as on the command line, and so is each option that the words leave out.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from neuro_noodle.augment import AUGMENTATIONS
from neuro_noodle.choices import Table, write
from neuro_noodle.learning.optimizers import OPTIMIZERS
from neuro_noodle.learning.schedules import SCHEDULES
from neuro_noodle.networks.base import ENCODERS, HEADS
from neuro_noodle.plain import counted

ACTIVATIONS = {"relu": "ReLU", "silu": "SiLU", "elu": "ELU", "gelu": "GELU", "selu": "SELU", "leakyrelu": "leaky ReLU"}
OF_OPTIMIZERS = {
    "adam": "Adam",
    "adamw": "AdamW",
    "sgd": "stochastic gradient descent",
    "rmsprop": "RMSprop",
    "rprop": "Rprop",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "adamax": "Adamax",
    "nadam": "NAdam",
    "radam": "RAdam",
    "adafactor": "Adafactor",
}
DECOUPLED = ("adam", "adamw", "adafactor")  # their weight decay does not pass through the gradient
BASELINES = {
    "mean_image": "the mean image",
    "majority_class": "the most frequent class",
    "linear_pixels": "a linear model of the pixels",
    "circular_mean": "the circular mean of the training directions",
    "mean": "the mean of the training images' values",
    "mean_rate": "the mean response of each neuron",
}


class Options:
    """The options of a choice; remembers which were put into words.

    Attributes:
        name: of the choice.
        rest: options that were not asked for, and differ from their defaults.
    """

    def __init__(self, table: Table, text: str) -> None:
        choice, defaults = table.parse(text), table.defaults(table.parse(text).name)
        self.name, self._all = choice.name, choice.options
        self.rest = {key: value for key, value in choice.options.items() if value != defaults[key]}

    def __getitem__(self, key: str) -> Any:
        self.rest.pop(key, None)
        return self._all[key]

    def find(self, key: str) -> Any:
        """Return the value of an option, as `[]`; None if there is no such option."""
        return self[key] if key in self._all else None

    def more(self, parts: Sequence[str] = ()) -> str:
        """Return parts of a description and the options that are left, in parentheses; empty without any."""
        return in_parentheses([*parts, *(f"{key}={write(value)}" for key, value in self.rest.items())])


Words = Mapping[str, Callable[[Options], str]]


def join(parts: Sequence[str]) -> str:
    """Return parts as a list in words: a, b and c."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def in_parentheses(parts: Sequence[str]) -> str:
    """Return the parts that are not empty in parentheses, after a space; empty without any."""
    listed = ", ".join(filter(None, parts))
    return f" ({listed})" if listed else ""


def baseline(name: str, latent_dim: int) -> str:
    """Return what a baseline is."""
    if name == "pca":
        return f"PCA with {counted(latent_dim, 'component')}"
    return BASELINES.get(name, name.replace("_", " "))


def _numbers(values: Sequence, unit: str) -> str:
    return f"{join([*map(str, values)])} {unit}"


def _activation(options: Options) -> str:
    name = options["activation"]
    return ACTIVATIONS.get(name, name)


# -------------------------------------------------------------------------------------------------------- encoders


def _common(options: Options) -> list[str]:
    """Return what several encoders can do, in words."""
    scale = options.find("scale")
    beta, noise = options.find("beta"), options.find("noise")
    return [
        {"zscore": "pixels z-scored together", "pixelwise": "each pixel z-scored"}.get(str(scale), ""),
        f"variational, with a weight of {beta:g} for the divergence" if beta else "",
        f"Gaussian noise with a standard deviation of {noise:g} added to its input in training" if noise else "",
    ]


def _dense(options: Options) -> str:
    hidden = options["hidden"]
    layers = f"{'a hidden layer' if len(hidden) == 1 else 'hidden layers'} of {_numbers(hidden, 'units')}"
    start = "initialised with the principal components of the training images" if options["start"] == "pca" else ""
    return "a fully connected encoder" + options.more(
        [layers if hidden else "", _activation(options), start, *_common(options)]
    )


def _conv(options: Options) -> str:
    channels, kernels = options["channels"], options["kernel"]
    layers = f"{counted(len(channels), 'convolution')} with {_numbers(channels, 'channels')}"
    sizes = f"kernels of {join([f'{size} x {size}' for size in kernels])} px"
    latent = {"maps": "the latent is the feature maps", "average": "the latent reads the mean of each feature map"}
    pooling = "pooling" if options["pool"] else "no pooling"
    return "a convolutional encoder" + options.more(
        [layers, sizes, _activation(options), pooling, latent.get(options["latent"], ""), *_common(options)]
    )


def _resnet(options: Options) -> str:
    starts = {"none": "random weights", "imagenet": "the weights trained on ImageNet"}
    return f"a ResNet18 that started from {starts.get(options['weights'], options['weights'])}{options.more()}"


ENCODER_WORDS: Words = {
    "fc": _dense,
    "conv": _conv,
    "resnet18": _resnet,
    "pca": lambda options: f"the principal components of the training images{options.more()}",
    "umap": lambda options: f"a UMAP of the training images{options.more()}",
    "identity": lambda options: f"the pixels themselves{options.more(_common(options))}",
    "dog": lambda options: f"differences of Gaussians, each at its own position{options.more(_common(options))}",
    "conv_dog": lambda options: f"differences of Gaussians, applied at every position{options.more(_common(options))}",
    "energy": lambda options: f"the energies of Gabor filters, of two orders, and coarse pixels{options.more()}",
}


def encoder(text: str) -> str:
    """Return what an encoder is: a choice from ENCODERS, as config.json keeps it."""
    return _in_words(ENCODERS, text, ENCODER_WORDS, "the encoder")


def _dense_head(options: Options) -> str:
    hidden = options["hidden"]
    layers = f"layers of {_numbers(hidden, 'units')}" if hidden else "the encoder's layers in reverse order"
    start = "initialised as a linear map" if options["start"] == "linear" else ""
    return "fully connected layers" + options.more([layers, _activation(options), start])


def _conv_head(options: Options) -> str:
    channels = options["channels"]
    layers = f"{_numbers(channels, 'channels')}" if channels else "the encoder's channels in reverse order"
    kernel = f"kernels of {options['kernel']} x {options['kernel']} px" if options["kernel"] else ""
    start = "initialised to produce the mean image" if options["start"] == "mean" else ""
    return "transposed convolutions" + options.more([layers, kernel, start])


def _linear_head(options: Options) -> str:
    return "a linear layer" + options.more(["initialised as a ridge regression" if options["start"] == "ridge" else ""])


HEAD_WORDS: Words = {
    "fc": _dense_head,
    "conv": _conv_head,
    "linear": _linear_head,
    "mlp": lambda options: f"a hidden layer and a linear output for each neuron{options.more([_activation(options)])}",
    "what_where": lambda options: f"a spatial mask and feature weights for each neuron{options.more()}",
}


def head(text: str) -> str:
    """Return what a head is: a choice from HEADS."""
    return _in_words(HEADS, text, HEAD_WORDS, "the head")


# -------------------------------------------------------------------------------------------------------- training


def optimizer(text: str) -> str:
    """Return what an optimizer is: a choice from OPTIMIZERS."""
    options = Options(OPTIMIZERS, text)
    momentum, decay = options.find("momentum"), options.find("weight_decay")
    how = "decoupled weight decay" if options.name in DECOUPLED else "weight decay"
    parts = [f"momentum {momentum:g}" if momentum else "", f"{how} of {decay:g}, not of biases" if decay else ""]
    return OF_OPTIMIZERS.get(options.name, options.name) + options.more(parts)


def _cosine(options: Options) -> str:
    warmup, final = options["warmup"], options["final"]
    rise = f"rose during the first {counted(warmup, 'epoch') if warmup > 1 else 'epoch'} and then " if warmup else ""
    return f"which {rise}fell along half a cosine to {f'{final:g} times that' if final else '0'}"


SCHEDULE_WORDS: Words = {
    "constant": lambda options: "constant",
    "cosine": _cosine,
    "step": lambda options: f"multiplied by {options['factor']:g} every {counted(options['every'], 'epoch')}",
    "plateau": lambda options: (
        f"multiplied by {options['factor']:g} up to {options['drops']} times, whenever the "
        "validation metric had stopped improving"
    ),
}


def schedule(text: str) -> str:
    """Return how the learning rate changed: a choice from SCHEDULES."""
    return _in_words(SCHEDULES, text, SCHEDULE_WORDS, "schedule")


def _crop(options: Options) -> str:
    low, high = options["area"]
    return f"random crops of {100 * low:g} to {100 * high:g} % of the area, resized to the full size{options.more()}"


AUGMENTATION_WORDS: Words = {
    "crop": _crop,
    "flip": lambda options: f"mirroring with probability {options['p']:g}",
    "shift": lambda options: f"shifts of up to {options['px']:g} px",
    "rotate": lambda options: f"rotations of up to {options['deg']:g}°",
    "background": lambda options: (
        "moving only what differs from the median training image (whole images, if it explains less than half of the "
        "variance)"
    ),
    "zoom": lambda options: f"changes of size of up to {100 * options['by']:g} %",
    "brightness": lambda options: (
        f"changes of brightness of up to {options['add']:g} (white is 1) and of contrast of "
        f"up to {100 * options['contrast']:g} %"
    ),
    "noise": lambda options: f"Gaussian noise with a standard deviation of {options['sd']:g} (white is 1)",
    "salt_pepper": lambda options: f"{100 * options['share']:g} % of the pixels set to black or white",
}


def augmentation(text: str) -> str:
    """Return how training images were changed at random: a choice from AUGMENTATIONS."""
    return _in_words(AUGMENTATIONS, text, AUGMENTATION_WORDS, "")


def _in_words(table: Table, text: str, words: Words, kind: str) -> str:
    options = Options(table, text)
    if options.name in words:
        return words[options.name](options)
    return f"{kind} {options.name}".strip() + options.more()
