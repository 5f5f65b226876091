"""The fully connected encoder and head: exact initialisations, scaled and noisy pixels."""

import numpy as np
import pytest
import torch

from neuro_noodle.choices import UserError
from neuro_noodle.networks.base import ENCODERS, build_model
from neuro_noodle.objectives.base import OBJECTIVES


def faces(n, shape=(1, 12, 9), rank=20):
    """Return images in [0, 1] whose principal components have distinct variances, so that the PCA is unique."""
    d = int(np.prod(shape))
    generator = torch.Generator().manual_seed(1)
    patterns = torch.linalg.qr(torch.randn(d, rank, generator=generator))[0] * 0.75 ** torch.arange(rank)
    images = torch.randn(n, rank) @ patterns.T + 0.002 * torch.randn(n, d)
    return (0.5 + 0.12 * images / images.std()).clamp(0, 1).view(n, *shape)


def pca(training, images, k):
    """Return PCA scores (unit variance on the training images) and reconstructions, by SVD in double precision."""
    centre = training.flatten(1).double().mean(0)
    _, sizes, components = torch.linalg.svd(training.flatten(1).double() - centre, full_matrices=False)
    scores = (images.flatten(1).double() - centre) @ components[:k].T
    sd = sizes[:k] / (len(training) - 1) ** 0.5
    return scores / sd, (scores @ components[:k] + centre).view_as(images)


def assert_equal_up_to_sign(latents, scores, tolerance=2e-3):
    sign = (latents * scores).sum(0).sign()
    assert (latents * sign - scores).norm() <= tolerance * scores.norm()


# -------------------------------------------------------------------------- contract of every encoder and head


def initialised(encoder, head, training, loss="mse"):
    """Return an autoencoder with 8 latents that starts as PCA and linear regression, and its objective."""
    model = build_model(f"fc {encoder} start=pca", f"fc {head} start=linear", (1, 12, 9), (1, 12, 9), 8)
    objective = OBJECTIVES.build(f"reconstruct loss={loss}")
    model.encoder.fit(training)
    model.start_head(training, training, objective.link)
    return model, objective


@pytest.mark.parametrize("hidden", ["none", "64", "96,80"])
@pytest.mark.parametrize("activation", ["relu", "leakyrelu", "prelu", "gelu", "silu", "softplus", "logsigmoid"])
def test_start_pca_and_start_linear_compute_the_pca(activation, hidden):
    k = 8
    training, unseen = faces(110).split([80, 30])
    option = f"activation={activation}"
    wide = hidden if hidden != "none" else "64"
    model, objective = initialised(f"hidden={hidden} {option}", f"hidden={wide} {option}", training)
    for images in (training, unseen):
        scores, reconstruction = pca(training, images, k)
        assert_equal_up_to_sign(model.encoder(images).double(), scores)
        assert (objective.output(model(images)) - reconstruction).norm() <= 1e-3 * reconstruction.norm()


def test_start_pca_is_the_same_for_scaled_pixels():
    training, unseen = faces(110).split([80, 30])
    plain, scaled = (ENCODERS.build(f"fc hidden=64 start=pca scale={s}", (1, 12, 9), 8) for s in ("none", "zscore"))
    for encoder in (plain, scaled):
        encoder.fit(training)
    assert_equal_up_to_sign(scaled(unseen).double(), plain(unseen).double())


def test_a_scaled_encoder_sees_pixels_of_unit_variance():
    training = faces(80)
    encoder = ENCODERS.build("fc hidden=none scale=zscore", (1, 12, 9), 4)
    encoder.fit(training)
    seen = []
    encoder.stages["latent"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(training)
    assert torch.allclose(seen[0].mean(0), torch.zeros(108), atol=1e-4)
    assert seen[0].std().item() == pytest.approx(1, abs=1e-3)


def test_start_linear_with_bce_is_least_squares_to_the_logits():
    training = faces(80)
    model, objective = initialised("hidden=64", "", training, loss="bce")
    inputs = torch.cat([model.encoder(training), torch.ones(80, 1)], 1)  # (N, D + 1)
    logits = objective.link(training).flatten(1)
    best = inputs @ torch.linalg.lstsq(inputs, logits).solution
    assert (model(training).flatten(1) - best).norm() <= 2e-3 * best.norm()


def test_start_pca_is_exact_for_similar_variances():
    training = torch.rand(100, 1, 30, 25)
    encoder = ENCODERS.build("fc hidden=64 start=pca", (1, 30, 25), 8)
    encoder.fit(training)
    assert_equal_up_to_sign(encoder(training).double(), pca(training, training, 8)[0])


def test_after_start_pca_and_linear_every_weight_can_learn():
    training = faces(80)
    model, objective = initialised("hidden=64,96", "", training)
    objective.loss(model(training + 0.05 * torch.randn_like(training)), training).backward()
    assert all(p.grad.any() for p in model.parameters())


def test_start_pca_with_few_images_uses_all_components():
    training = faces(6)
    encoder = ENCODERS.build("fc hidden=64 start=pca", (1, 12, 9), 20)
    encoder.fit(training)
    latents = encoder(training)
    assert_equal_up_to_sign(latents[:, :5].double(), pca(training, training, 5)[0])
    assert torch.allclose(latents[:, 5:], torch.zeros(6, 15), atol=1e-5)


def test_repeated_training_images_keep_other_latents_finite():
    training = faces(4).repeat(4, 1, 1, 1)
    encoder = ENCODERS.build("fc start=pca", (1, 12, 9), 8)
    encoder.fit(training)
    assert encoder(faces(20)).abs().max() < 1000


def test_a_random_start_fits_only_the_mean_image():
    training = faces(30)
    encoder = ENCODERS.build("fc", (1, 12, 9), 8)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.fit(training)
    assert torch.allclose(encoder.centre, training.flatten(1).mean(0))
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items() if key != "centre")


@pytest.mark.parametrize("hidden", ["15", "64,15"])
def test_start_pca_with_a_narrow_layer_names_the_width_needed(hidden):
    training = faces(30)
    with pytest.raises(UserError, match=r"at least 16 units \(2 x latent_dim\), not 15"):
        ENCODERS.build(f"fc hidden={hidden} start=pca", (1, 12, 9), 8).fit(training)
    model = build_model("fc", f"fc hidden={hidden} start=linear", (1, 12, 9), (1, 12, 9), 8)
    with pytest.raises(UserError, match=r"at least 16 units \(2 x latent_dim\), not 15"):
        model.encoder.fit(training)
        model.start_head(training, training, lambda target: target)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid", "softmax"])
def test_start_pca_with_tanh_names_the_activations_that_work(activation):
    with pytest.raises(
        UserError, match=f"(?i)do not work with the activation {activation}; use activation=relu.*or start=random"
    ):
        ENCODERS.build(f"fc activation={activation} start=pca", (1, 12, 9), 8).fit(faces(30))


def test_noise_is_added_to_the_pixels_in_training_only():
    torch.manual_seed(0)
    images = torch.rand(1, 1, 12, 9).expand(4000, -1, -1, -1)
    encoder = ENCODERS.build("fc hidden=none noise=0.2", (1, 12, 9), 1)
    latents = encoder(images)  # linear in the pixels
    expected = 0.2 * encoder.stages["latent"].weight.norm()
    assert torch.allclose(latents.std(), expected, rtol=0.05)
    clean = encoder.eval()(images)
    assert (clean == clean[0]).all() and torch.allclose(latents.mean(), clean[0], atol=0.02)


@pytest.mark.parametrize("noise", ["-1", "inf", "nan"])
def test_a_noise_that_is_no_deviation_is_refused(noise):
    with pytest.raises(UserError, match=f"noise={noise}"):
        ENCODERS.build(f"fc noise={noise}", (1, 12, 9), 4)
