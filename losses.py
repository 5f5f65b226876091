"""Losses of reconstructions, torch's own by name, and what a prediction means under each."""

import inspect
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from choices import require, suggest

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
