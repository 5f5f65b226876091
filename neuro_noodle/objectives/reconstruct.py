"""Objectives: what to predict, how wrong a prediction is, and what we report.

An objective knows samples and predictions; it knows no encoder, optimizer or file.
To add one: a class under @OBJECTIVES.add("name") in this file, or in a new one that is imported here. Nothing else
changes.
"""

import inspect
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from neuro_noodle.augment import Noise
from neuro_noodle.choices import require, suggest
from neuro_noodle.measures.linear import principal_components
from neuro_noodle.objectives.base import OBJECTIVES, Evidence, Objective, Predictor


@OBJECTIVES.add("reconstruct")
class Reconstruct(Objective):
    """Reproduce the image; judged by the mean squared error of pixels in [0, 1].

    Args:
        loss: what training minimises: bce takes the pixel as the probability of white; mse, l1, huber or any other
            loss of torch that is least for the image itself.
        noise: standard deviation of Gaussian noise that is added to the input, where white is 1; the image without it
            is to be reproduced.
        second: a loss that is reported beside, or none.
    """

    metric = "mse"
    direction = "min"
    pictured_as = "reconstructions"

    def __init__(self, *, loss: str = "bce", noise: float = 0.0, second: str | None = None) -> None:
        super().__init__()
        self.loss_name, self.second = loss, second
        self._loss, self._second = named_loss(loss), named_loss(second) if second else None
        self.noise = Noise(sd=noise)
        self.draws = noise > 0

    def output_shape(self, image_shape: tuple[int, int, int], classes: list[str]) -> tuple[int, ...]:
        return image_shape

    def pair(self, sample: dict[str, Tensor], draw: Generator) -> tuple[Tensor, Tensor]:
        image = sample["image"]
        return self.noise.pixels(image, draw) if self.draws else image, image

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        return self._loss(prediction, target)

    def link(self, target: Tensor) -> Tensor:
        return link_of(self.loss_name, target)

    def output(self, prediction: Tensor) -> Tensor:
        return output_of(self.loss_name, prediction)

    def evidence(self, output: Tensor, target: Tensor) -> Evidence:
        evidence = {"mse": (output - target).square().flatten(1).mean(1)}  # (B,)
        if self.second:
            loss = self._second(link_of(self.second, output, eps=1e-6), target, reduction="none")
            evidence[self.second] = loss.flatten(1).mean(1)
        return evidence

    def metrics(self, evidence: Evidence) -> dict[str, float]:
        told = {name: values.double().mean().item() for name, values in evidence.items()}
        if self.draws:
            told["psnr_db"] = -10 * evidence["mse"].double().log10().mean().item()
        return told

    def baselines(self, x: Tensor, target: Tensor, latent_dim: int) -> dict[str, Predictor]:
        pixels = target.flatten(1)  # (N, C*H*W)
        mean, components, _ = principal_components(pixels, latent_dim)

        def project(images: Tensor) -> Tensor:
            flat = images.flatten(1) - mean
            return (flat @ components.T @ components + mean).view_as(images)

        baselines = {"pca": project, "mean_image": lambda images: mean.view(images.shape[1:]).expand_as(images)}
        return baselines | ({"noisy_input": lambda images: images} if self.draws else {})

    def rows(self, evidence: Evidence, classes: list[str]) -> dict[str, list]:
        return {name: values.tolist() for name, values in evidence.items()}


BCE = "bce"


LOSSES = {BCE: F.binary_cross_entropy_with_logits}


def named_loss(name: str) -> Callable[..., Tensor]:
    """Return a loss of torch by name, such as mse, l1, huber or smooth_l1.

    Raises:
        UserError: for one that does not exist, or is not least where an image is reproduced.
    """
    losses = image_losses()
    require(name in losses, f"objective 'reconstruct': '{name}' is no loss of reconstructions; {suggest(name, losses)}")
    return losses[name]


@cache
def image_losses() -> dict[str, Callable[..., Tensor]]:
    """Return the losses of torch that compare pixel by pixel and are least for the image itself."""
    candidates = {
        name.removesuffix("_loss"): function
        for name, function in vars(F).items()
        if name.endswith("_loss") and {"input", "target", "reduction"} <= set(inspect.signature(function).parameters)
    }
    return {name: function for name, function in (LOSSES | candidates).items() if _is_of_images(name, function)}


def _is_of_images(name: str, loss: Callable[..., Tensor]) -> bool:
    image = torch.tensor([[0.1, 0.5, 0.9]])
    right = link_of(name, image)
    try:
        least = loss(right, image, reduction="none")
        return least.shape == image.shape and all(
            (loss(right + wrong, image, reduction="none") > least).all() for wrong in (-0.1, 0.1)
        )
    except (TypeError, ValueError, RuntimeError):  # it takes other things
        return False


def link_of(loss: str, image: Tensor, eps: float = 1e-2) -> Tensor:
    """Return the prediction that means this image, whose pixels are kept so far from black (and from white)."""
    if loss == "poisson_nll":
        return image.clamp(min=eps).log()
    return image.logit(eps=eps) if loss == BCE else image


def output_of(loss: str, prediction: Tensor) -> Tensor:
    """Return the image that a prediction means."""
    if loss == "poisson_nll":
        return prediction.exp()
    return prediction.sigmoid() if loss == BCE else prediction
