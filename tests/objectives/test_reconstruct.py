"""Reconstruction: its losses, its noise and its baselines."""

import numpy as np
import pytest
import torch
from helpers import raises_user_error
from objective_cases import SHAPE, build, decaying_images, fitted_pair, sample, score, seeded
from torch.nn import functional as F

from neuro_noodle.choices import UserError
from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.objectives.reconstruct import (
    image_losses,
    image_to_prediction,
    loss_function,
    prediction_to_image,
)

every_loss = pytest.mark.parametrize("name", list(image_losses()))
CLAMPS = {"bce": (0.01, 0.99), "poisson_nll": (0.01, 1.0)}
GREYS = torch.linspace(0, 1, 101)
NOT_OF_IMAGES = (
    *("kl_div", "hinge_embedding", "cross_entropy", "nll", "ctc", "cosine_embedding", "soft_margin", "gaussian_nll"),
    *("margin_ranking", "triplet_margin", "multi_margin", "binary_cross_entropy", "l3", "mse_loss", ""),
)


def truncated_svd(training, images, k):
    centre = training.flatten(1).double().mean(0)
    _, _, components = torch.linalg.svd(training.flatten(1).double() - centre, full_matrices=False)
    flat = images.flatten(1).double() - centre
    return (flat @ components[:k].T @ components[:k] + centre).view_as(images)


# ----------------------------------------------------------------------------------------------------- losses


@every_loss
def test_the_image_of_a_prediction_is_the_clamped_image(name):
    image = GREYS.view(1, 1, 1, 101)
    restored = prediction_to_image(name, image_to_prediction(name, image))
    assert torch.allclose(restored, image.clamp(*CLAMPS.get(name, (0, 1))), atol=1e-6)


@pytest.mark.parametrize(("loss", "clamp"), [("bce", 0.01), ("mse", 0.0), ("l1", 0.0)])
def test_output_inverts_link_within_the_clamp(loss, clamp):
    objective = OBJECTIVES.build(f"reconstruct loss={loss}")
    target = torch.linspace(0, 1, 101).view(1, 1, 1, 101)
    assert torch.allclose(objective.output(objective.link(target)), target.clamp(clamp, 1 - clamp), atol=1e-6)


@every_loss
def test_of_all_greys_the_pixel_itself_has_the_lowest_loss(name):
    low, high = CLAMPS.get(name, (0, 1))
    greys = GREYS[(low <= GREYS) & (high >= GREYS)]
    truth, answer = torch.meshgrid(greys, greys, indexing="ij")
    losses = loss_function(name)(image_to_prediction(name, answer), truth, reduction="none")
    assert losses.shape == truth.shape
    assert torch.equal(losses.argmin(1), torch.arange(len(greys)))


@every_loss
def test_the_image_itself_has_the_lowest_loss(name):
    image = 0.05 + 0.9 * torch.rand(3, 2, 5, 4)
    loss = loss_function(name)
    least = loss(image_to_prediction(name, image), image)
    assert least.shape == ()
    for size in (0.01, 0.1, 1.0):
        assert loss(image_to_prediction(name, image) + size * torch.randn_like(image), image) > least


def test_the_losses_are_those_of_torch():
    losses = image_losses()
    assert losses["bce"] is F.binary_cross_entropy_with_logits
    for name in ("mse", "l1", "huber", "smooth_l1", "poisson_nll"):
        assert losses[name] is getattr(F, f"{name}_loss")


@pytest.mark.parametrize("name", NOT_OF_IMAGES)
@pytest.mark.parametrize("option", ["loss", "second"])
def test_a_loss_of_another_kind_is_refused(name, option):
    """The message lists the losses that are allowed."""
    with raises_user_error(f"'{name}' is not a loss for reconstructions") as error:
        OBJECTIVES.build(f"reconstruct {option}={name}")
    assert f"allowed: {', '.join(image_losses())}" in str(error.value)


def test_a_misspelt_loss_gets_a_suggestion():
    with raises_user_error("did you mean 'huber'?"):
        loss_function("hubr")


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_the_second_loss_is_independent_of_the_first(loss):
    target = torch.rand(5, *SHAPE)
    objective = OBJECTIVES.build(f"reconstruct loss={loss} second=l1")
    prediction = objective.link(torch.rand(5, *SHAPE))
    errors = (objective.output(prediction) - target).abs()
    assert score(objective, prediction, target)["l1"] == pytest.approx(errors.mean().item(), rel=1e-5)
    rows = objective.rows(objective.evidence(objective.output(prediction), target))
    assert rows["l1"] == pytest.approx(errors.flatten(1).mean(1).tolist(), rel=1e-5)
    assert "l1" not in score(OBJECTIVES.build(f"reconstruct loss={loss}"), prediction, target)


def test_a_second_loss_of_bce_judges_the_output():
    objective = OBJECTIVES.build("reconstruct loss=mse second=bce")
    target, answer = torch.rand(2, 5, *SHAPE) * 0.9 + 0.05
    exact = torch.nn.functional.binary_cross_entropy(answer, target).item()
    assert score(objective, answer, target)["bce"] == pytest.approx(exact, rel=1e-4)


# ---------------------------------------------------------------------------------------- metric and baselines


def test_the_metric_is_the_mean_squared_error_per_pixel():
    objective = OBJECTIVES.build("reconstruct loss=l1")
    target = torch.rand(4, *SHAPE)
    assert score(objective, target + 0.1, target)["mse"] == pytest.approx(0.01, rel=1e-4)


@pytest.mark.parametrize(
    ("make", "n", "shape", "k"),
    [
        (decaying_images, 30, (1, 6, 5), 4),
        (decaying_images, 400, (1, 6, 5), 8),
        (decaying_images, 60, (3, 20, 16), 7),
        (torch.rand, 30, (1, 6, 5), 4),
        (torch.rand, 100, (1, 30, 25), 20),
    ],
)
def test_the_pca_baseline_is_the_exact_truncated_svd(make, n, shape, k):
    training, unseen = make(n + 9, *shape).split([n, 9])
    pca = OBJECTIVES.build("reconstruct").baselines(training, training, k)["pca"]
    for images in (training, unseen):
        exact = truncated_svd(training, images, k).float()
        centre = training.mean(0)
        assert (pca(images) - exact).norm() <= 1e-4 * (exact - centre).norm()


@pytest.mark.parametrize("latent_dim", [11, 12, 500])
def test_pca_of_full_rank_reproduces_the_training_images(latent_dim):
    training = torch.rand(12, *SHAPE)
    pca = OBJECTIVES.build("reconstruct").baselines(training, training, latent_dim)["pca"]
    assert torch.allclose(pca(training), training, atol=1e-5)


def test_the_mean_image_is_the_best_constant():
    objective = OBJECTIVES.build("reconstruct")
    training = torch.rand(20, *SHAPE)
    mean = objective.baselines(training, training, 3)["mean_image"](training)
    assert (mean == mean[0]).all()
    least = objective.metrics(objective.evidence(mean, training))["mse"]
    for _ in range(20):
        other = mean + 0.05 * torch.randn(SHAPE)
        assert objective.metrics(objective.evidence(other, training))["mse"] > least


def test_images_that_vary_together_widen_the_interval():
    objective = OBJECTIVES.build("reconstruct")
    evidence = {"mse": torch.repeat_interleave(torch.rand(8), 10)}
    low, high = objective.interval(evidence, np.arange(80) // 10)
    narrow_low, narrow_high = objective.interval(evidence, np.arange(80))
    assert high - low > 2 * (narrow_high - narrow_low)


def test_a_single_group_gives_no_interval():
    assert OBJECTIVES.build("reconstruct").interval({"mse": torch.rand(20)}, np.zeros(20)) is None


# ------------------------------------------------------------------------------------------------------ noise


def test_noise_of_the_given_sd_is_added_to_the_input_only():
    objective = OBJECTIVES.build("reconstruct noise=0.1")
    assert objective.is_random
    image = torch.full((50, 1, 20, 20), 0.5)
    x, target = objective.pair({"image": image}, seeded())
    assert torch.equal(target, image)
    assert (x - image).std().item() == pytest.approx(0.1, rel=0.03)
    assert (x - image).mean().item() == pytest.approx(0, abs=0.005)


def test_noisy_pixels_stay_between_black_and_white():
    image = torch.rand(4, 1, 20, 20).round()
    x, _ = OBJECTIVES.build("reconstruct noise=0.5").pair({"image": image}, seeded())
    assert x.min() == 0
    assert x.max() == 1
    assert (x == image).float().mean().item() == pytest.approx(0.5, abs=0.05)  # half of the noise is clipped


def test_noise_differs_each_time_but_repeats_from_one_state():
    objective = OBJECTIVES.build("reconstruct noise=0.1")
    generator = seeded(3)
    state = generator.get_state()
    first, second = (objective.pair(sample(), generator)[0] - objective.pair(sample(), seeded(9))[0] for _ in range(2))
    assert not torch.equal(first, second)
    image = sample()
    generator.set_state(state)
    once = objective.pair(image, generator)[0]
    assert not torch.equal(objective.pair(image, generator)[0], once)
    generator.set_state(state)
    assert torch.equal(objective.pair(image, generator)[0], once)


def test_without_noise_no_random_number_is_used():
    objective = OBJECTIVES.build("reconstruct")
    generator = seeded(3)
    state = generator.get_state()
    x, target = objective.pair(sample(), generator)
    assert torch.equal(x, target)
    assert torch.equal(generator.get_state(), state)
    assert not objective.is_random
    assert "noisy_input" not in objective.baselines(x, target, 2)
    assert "psnr_db" not in score(objective, objective.link(target), target)


@pytest.mark.parametrize("noise", ["-0.1", "inf", "nan"])
def test_noise_that_is_negative_or_not_finite_is_refused(noise):
    with pytest.raises(UserError, match="must be 0 or more"):
        OBJECTIVES.build(f"reconstruct noise={noise}")


def test_the_noisy_input_is_a_baseline():
    objective = build("reconstruct loss=mse noise=0.1")
    x, target = fitted_pair(objective)
    noisy = objective.baselines(x, target, 2)["noisy_input"](x)
    metrics = objective.metrics(objective.evidence(noisy, target))
    assert metrics["mse"] == pytest.approx((x - target).square().mean().item())


def test_psnr_is_averaged_over_images():
    objective = OBJECTIVES.build("reconstruct loss=mse noise=0.1")
    target = torch.rand(3, *SHAPE)
    prediction = target + torch.tensor([0.1, 0.01, 0.3]).view(3, 1, 1, 1)
    each = [10 * np.log10(1 / (prediction[i] - target[i]).square().mean().item()) for i in range(3)]
    assert each[:2] == pytest.approx([20, 40], abs=1e-3)
    assert score(objective, prediction, target)["psnr_db"] == pytest.approx(np.mean(each))


def test_the_pca_baseline_of_noisy_images_is_fitted_to_clean():
    objective = OBJECTIVES.build("reconstruct noise=0.3")
    clean = decaying_images(40, *SHAPE)
    x, target = objective.pair({"image": clean}, seeded())
    exact = truncated_svd(clean, x, 4).float()
    assert (objective.baselines(x, target, 4)["pca"](x) - exact).norm() <= 1e-4 * exact.norm()


# ------------------------------------------------------------------------------------------------- normalised pixels


def test_a_normalised_loss_is_the_loss_of_normalised_images():
    objective, image = build("reconstruct loss=mse mean=0.25 sd=0.5"), torch.rand(4, *SHAPE)
    prediction = torch.randn(4, *SHAPE)
    assert torch.allclose(objective.loss(prediction, image), F.mse_loss(prediction, (image - 0.25) / 0.5))
    assert torch.allclose(objective.output(objective.link(image)), image, atol=1e-6)


def test_both_scales_of_the_error_are_reported():
    objective, image = build("reconstruct loss=mse mean=0.1307 sd=0.3081"), torch.rand(4, *SHAPE)
    metrics = objective.metrics(objective.evidence(image + 0.1, image))
    assert metrics["mse"] == pytest.approx(0.01, rel=1e-4)
    assert metrics["mse_normalised"] == pytest.approx(0.01 / 0.3081**2, rel=1e-4)
    plain = build("reconstruct loss=mse")
    assert "mse_normalised" not in plain.metrics(plain.evidence(image, image))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("loss=mse sd=0", "sd=0.0 must be above 0"),
        ("loss=mse sd=inf", "sd=inf must be above 0"),
        ("loss=mse mean=nan", "mean=nan must be finite"),
        ("loss=bce mean=0.1", "loss=bce needs pixels from 0 to 1, but mean=0.1 sd=1.0 makes some of them negative"),
        ("loss=poisson_nll sd=0.3", "loss=poisson_nll needs pixels from 0 to 1"),
    ],
)
def test_a_normalisation_that_cannot_work_is_refused(options, message):
    with raises_user_error(message):
        OBJECTIVES.build(f"reconstruct {options}")
