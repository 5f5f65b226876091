"""The encoder `energy`: fixed Gabor energies, scaled by training images; and the head that starts as ridge."""

import numpy as np
import pytest
import torch
from helpers import raises_user_error

from neuro_noodle.networks.base import ENCODERS, HEADS, build_model
from neuro_noodle.networks.energy import GaborEnergy, gabor_filters

SIDE = 40


def grating(wavelength, angle, phase=0.0):
    """Return a grating, (1, 1, SIDE, SIDE)."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    turn = 2 * torch.pi * (x * np.cos(angle) + y * np.sin(angle)) / wavelength
    return (0.5 + 0.5 * torch.cos(turn + phase))[None, None]


def test_filters_are_blind_to_brightness_and_of_length_1():
    filters = gabor_filters(5.0, 6)
    assert filters.shape == (12, 15, 15)
    assert np.abs(filters.sum((1, 2))).max() < 1e-5
    assert np.allclose(np.square(filters).sum((1, 2)), 1, atol=1e-5)


@pytest.mark.parametrize("index", range(4))
def test_energy_prefers_its_orientation_and_ignores_the_phase(index):
    energy = GaborEnergy(6.0, 4)
    angle = np.pi * index / 4
    found = torch.stack([energy(grating(6.0, angle, phase))[0, 0, :, 20, 20] for phase in (0, 1, 2, 3)])  # (4, K)
    assert found.mean(0).argmax() == index
    assert found[:, index].std() < 0.03 * found[:, index].mean()


def test_energy_prefers_its_wavelength():
    of = {wavelength: GaborEnergy(wavelength, 1) for wavelength in (4.0, 7.0, 12.0)}
    for shown in of:
        found = {one: energy(grating(shown, 0.0))[0, 0, 0, 20, 20].item() / one for one, energy in of.items()}
        assert max(found, key=found.__getitem__) == shown


def test_features_are_scaled_by_training_images_and_group():
    torch.manual_seed(0)
    encoder = ENCODERS.build("energy", (1, SIDE, SIDE), None)
    images = torch.rand(30, 1, SIDE, SIDE)
    encoder.fit(images)
    latents = encoder(images)
    assert latents.shape == (30, encoder.latent_dim) and encoder.latent_dim == sum(encoder.sizes)
    assert torch.allclose(latents.mean(0), torch.zeros(encoder.latent_dim), atol=1e-4)
    for group in latents.split(encoder.sizes, 1):
        assert group.var(0, correction=0).sum().item() == pytest.approx(1, abs=0.01)


def test_nothing_of_the_encoder_trains():
    encoder = ENCODERS.build("energy", (3, SIDE, SIDE), None)
    assert not encoder.has_weights and encoder(torch.rand(2, 3, SIDE, SIDE)).shape == (2, encoder.latent_dim)


def test_second_filters_see_only_shorter_first_ones():
    encoder = ENCODERS.build("energy wavelengths=4,8 second=6,10", (1, SIDE, SIDE), None)
    assert encoder.pairs == [(0, 0), (0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("wavelengths=3,50", "wavelengths 3, 50, 6, 9.3 must be from 2 to 40 px, the smaller side of the images"),
        ("wavelengths=1", "must be from 2 to 40 px"),
        ("grid=0 orientations=0", "orientations=0, grid=0 must be 1 or more"),
    ],
)
def test_unsuitable_options_are_refused(options, message):
    with raises_user_error(message):
        ENCODERS.build(f"energy {options}", (1, SIDE, SIDE), None)


# ------------------------------------------------------------------------------------------------ the head's start


def test_a_head_starts_as_the_ridge_regression_of_known_targets():
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(200, 12)).astype(np.float32)
    targets = (latents @ rng.normal(size=(12, 3)) + 2).astype(np.float32)
    targets[::3, 1] = np.nan
    targets[:, 2] = rng.normal(size=200)  # noise: the strongest penalty is best
    encoder = ENCODERS.build("fc", (1, 4, 4), 12)
    head = HEADS.build("linear start=ridge", encoder, (3,))
    with torch.no_grad():
        head.fit(torch.from_numpy(latents), torch.from_numpy(targets))
        predicted = head(torch.from_numpy(latents)).numpy()
    known = ~np.isnan(targets)
    for column in (0, 1):
        assert np.abs(predicted - targets)[known[:, column], column].max() < 0.01
    assert predicted[:, 2].std() < 0.3 and predicted[:, 2].mean() == pytest.approx(targets[:, 2].mean(), abs=0.01)


def test_a_model_predicts_by_ridge_before_it_trains():
    torch.manual_seed(0)
    model = build_model(
        "energy", "linear start=ridge", image_shape=[1, SIDE, SIDE], output_shape=[2], latent_dim=None
    ).eval()
    images = torch.cat([grating(6.0, angle, phase) for angle in (0.0, 1.5) for phase in np.linspace(0, 6, 20)])
    target = torch.tensor([[0.0, 1.0]] * 20 + [[1.0, 0.0]] * 20)
    with torch.no_grad():
        model.encoder.fit(images)
        model.start_head(images, target, lambda one: one)
        assert (model(images) - target).abs().max() < 0.1
