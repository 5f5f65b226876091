"""Reconstruct: reproduce the image, or the clean image from a noisy one."""

import inspect
import math
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from neuro_noodle.augment import Noise
from neuro_noodle.choices import require, suggest
from neuro_noodle.measures.linear import principal_components
from neuro_noodle.objectives.base import IMAGES, OBJECTIVES, Evidence, Meaning, Objective, Predictor
from neuro_noodle.objectives.pixels import tensor_like

BCE = "bce"
LOSSES = {BCE: F.binary_cross_entropy_with_logits}
OF_POSITIVES = (BCE, "poisson_nll")  # losses that are undefined for targets below 0


@OBJECTIVES.add("reconstruct")
class Reconstruct(Objective):
    """Reproduce the image; the metric is the mean squared error of pixels in [0, 1].

    Args:
        loss: training loss: bce treats each pixel as the probability of white; mse, l1, huber or any other torch loss
            that is minimal when output equals target.
        noise: standard deviation of Gaussian noise added to the input, where white is 1; the target is the clean image.
        second: another loss to report as a metric, or none.
        mean, sd: of pixels; the loss compares images of which the mean is subtracted and that are divided by sd. The
            error of such images is reported too, as mse_normalised. For MNIST, 0.1307 and 0.3081 are usual.
    """

    predicts = IMAGES
    metric = "mse"
    direction = "min"

    def __init__(
        self, *, loss: str = "bce", noise: float = 0.0, second: str | None = None, mean: float = 0.0, sd: float = 1.0
    ) -> None:
        super().__init__()
        require(0 < sd < math.inf, f"objective 'reconstruct': sd={sd} must be above 0")
        require(math.isfinite(mean), f"objective 'reconstruct': mean={mean} must be finite")
        self.mean, self.sd = mean, sd
        self.is_normalised = (mean, sd) != (0.0, 1.0)
        require(
            not (self.is_normalised and loss in OF_POSITIVES),
            f"objective 'reconstruct': loss={loss} needs pixels from 0 to 1, but mean={mean} sd={sd} makes some of "
            "them negative; use loss=mse, or leave out mean= and sd=",
        )
        self.loss_name = loss
        self._loss = loss_function(loss)
        self._reported = {} if second is None else {second: loss_function(second)}
        self.noise = Noise(sd=noise)
        self.is_random = noise > 0

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.image_shape

    def pair(self, sample: dict[str, Tensor], generator: Generator) -> tuple[Tensor, Tensor]:
        image = sample["image"]
        return self.noise.pixels(image, generator) if self.is_random else image, image

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self._loss(prediction, (target - self.mean) / self.sd if self.is_normalised else target)

    def least_loss(self, target: Tensor) -> float:
        perfect = self.link(target) if self.is_normalised else image_to_prediction(self.loss_name, target, eps=1e-6)
        return self.loss(perfect, target).item()

    def link(self, target: Tensor) -> Tensor:
        return (target - self.mean) / self.sd if self.is_normalised else image_to_prediction(self.loss_name, target)

    def output(self, prediction: Tensor) -> Tensor:
        return (
            prediction * self.sd + self.mean if self.is_normalised else prediction_to_image(self.loss_name, prediction)
        )

    @property
    def meaning(self) -> Meaning:
        return Meaning(
            "reconstruction of the image (channels, rows, columns)",
            "0 is black and 1 is white; with losses other than bce, a few values can be slightly outside",
        )

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        evidence = {"mse": (output - target).square().flatten(1).mean(1)}  # (B,)
        for name, loss in self._reported.items():
            errors = loss(image_to_prediction(name, output, eps=1e-6), target, reduction="none")
            evidence[name] = errors.flatten(1).mean(1)
        return evidence

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        metrics = {name: values.double().mean().item() for name, values in evidence.items()}
        if self.is_normalised:
            metrics["mse_normalised"] = metrics["mse"] / self.sd**2
        if self.is_random:
            metrics["psnr_db"] = -10 * evidence["mse"].double().log10().mean().item()
        return metrics

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        pixels = target.flatten(1)  # (N, C*H*W)
        components = principal_components(pixels.cpu().numpy(), latent_dim)
        mean, directions = tensor_like(components.mean, pixels), tensor_like(components.directions, pixels)

        def project(images: Tensor) -> Tensor:
            flat = images.flatten(1) - mean
            return (flat @ directions.T @ directions + mean).view_as(images)

        baselines = {"pca": project, "mean_image": lambda images: mean.view(images.shape[1:]).expand_as(images)}
        return baselines | ({"noisy_input": lambda images: images} if self.is_random else {})

    def rows(self, evidence: Evidence) -> dict[str, list]:
        return {name: values.tolist() for name, values in evidence.items()}


def loss_function(name: str) -> Callable[..., Tensor]:
    """Return a torch loss by name, for example mse, l1, huber or smooth_l1.

    Raises:
        UserError: if it does not exist, or is not minimal when output equals target.
    """
    losses = image_losses()
    require(
        name in losses,
        f"objective 'reconstruct': '{name}' is not a loss for reconstructions; {suggest(name, losses)}",
    )
    return losses[name]


@cache
def image_losses() -> dict[str, Callable[..., Tensor]]:
    """Return the torch losses that compare images pixel by pixel and are minimal when output equals target."""
    candidates = {
        name.removesuffix("_loss"): function
        for name, function in vars(F).items()
        if name.endswith("_loss") and {"input", "target", "reduction"} <= set(inspect.signature(function).parameters)
    }
    return {name: function for name, function in (LOSSES | candidates).items() if _is_image_loss(name, function)}


def _is_image_loss(name: str, loss: Callable[..., Tensor]) -> bool:
    image = torch.tensor([[0.1, 0.5, 0.9]])
    correct = image_to_prediction(name, image)
    try:
        least = loss(correct, image, reduction="none")
        return least.shape == image.shape and all(
            (loss(correct + error, image, reduction="none") > least).all() for error in (-0.1, 0.1)
        )
    except (TypeError, ValueError, RuntimeError):  # it needs other arguments
        return False


def image_to_prediction(loss: str, image: Tensor, eps: float = 1e-2) -> Tensor:
    """Return the prediction whose output is this image.

    Args:
        loss: name of the loss.
        image: any shape, pixels in [0, 1].
        eps: pixels are clamped to this distance from black (and for bce from white), where predictions are infinite.
    """
    if loss == "poisson_nll":
        return image.clamp(min=eps).log()
    return image.logit(eps=eps) if loss == BCE else image


def prediction_to_image(loss: str, prediction: Tensor) -> Tensor:
    """Return the image that a prediction stands for, the inverse of `image_to_prediction`."""
    if loss == "poisson_nll":
        return prediction.exp()
    return prediction.sigmoid() if loss == BCE else prediction
