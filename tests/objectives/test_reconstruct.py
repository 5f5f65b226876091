"""Losses of reconstructions: each has a link that means the image, and is least for the image itself."""

import pytest
import torch
from helpers import raises_user_error
from torch.nn import functional as F

from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.objectives.reconstruct import image_losses, link_of, named_loss, output_of

every = pytest.mark.parametrize("name", list(image_losses()))
CLAMPS = {"bce": (0.01, 0.99), "poisson_nll": (0.01, 1.0)}
GREYS = torch.linspace(0, 1, 101)


@every
def test_what_the_link_of_an_image_means_is_the_image_within_its_clamp(name):
    image = GREYS.view(1, 1, 1, 101)
    assert torch.allclose(output_of(name, link_of(name, image)), image.clamp(*CLAMPS.get(name, (0, 1))), atol=1e-6)


@every
def test_of_all_greys_the_pixel_itself_is_the_best_prediction(name):
    low, high = CLAMPS.get(name, (0, 1))
    greys = GREYS[(low <= GREYS) & (high >= GREYS)]
    truth, answer = torch.meshgrid(greys, greys, indexing="ij")
    losses = named_loss(name)(link_of(name, answer), truth, reduction="none")
    assert losses.shape == truth.shape
    assert torch.equal(losses.argmin(1), torch.arange(len(greys)))


@every
def test_of_all_images_the_image_itself_is_the_best_prediction(name):
    image = 0.05 + 0.9 * torch.rand(3, 2, 5, 4)
    loss = named_loss(name)
    least = loss(link_of(name, image), image)
    assert least.shape == ()
    for size in (0.01, 0.1, 1.0):
        assert loss(link_of(name, image) + size * torch.randn_like(image), image) > least


def test_the_losses_are_torchs_own_and_those_that_people_ask_for_are_among_them():
    ours = image_losses()
    assert ours["bce"] is F.binary_cross_entropy_with_logits
    for name in ("mse", "l1", "huber", "smooth_l1", "poisson_nll"):
        assert ours[name] is getattr(F, f"{name}_loss")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "kl_div",
            "hinge_embedding",
            "cross_entropy",
            "nll",
            "ctc",
            "cosine_embedding",
            "soft_margin",
            "gaussian_nll",
        ),
        *("margin_ranking", "triplet_margin", "multi_margin", "binary_cross_entropy", "l3", "mse_loss", ""),
    ],
)
@pytest.mark.parametrize("option", ["loss", "second"])
def test_a_loss_that_is_none_of_reconstructions_is_refused_with_those_that_are(name, option):
    if (name, option) == ("", "second"):
        assert OBJECTIVES.build("reconstruct").second is None
        return
    with raises_user_error(f"'{name}' is no loss of reconstructions") as error:
        OBJECTIVES.build(f"reconstruct {option}={name}")
    assert f"allowed: {', '.join(image_losses())}" in str(error.value)


def test_a_loss_that_is_nearly_right_names_the_one_that_is_meant():
    with raises_user_error("did you mean 'huber'?"):
        named_loss("hubr")
