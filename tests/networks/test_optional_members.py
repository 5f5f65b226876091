"""What encoders and heads may leave out or override: every entry of the tables keeps the contract of the base class."""

import math

import pytest
import torch

from neuro_noodle.networks.base import ENCODERS, HEADS, Encoder, Head, build_model
from neuro_noodle.networks.repetitions import Repetitions

SHAPE = (1, 16, 12)
FROM_SCRATCH = {"resnet18": "resnet18 weights=none"}
LATENT_FOLLOWS_IMAGE = ("conv_dog", "energy", "identity")  # encoders without --latent_dim

every_encoder = pytest.mark.parametrize("name", list(ENCODERS))
every_head = pytest.mark.parametrize("name", list(HEADS))


def images(n=24):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1))


def build_fitted(name, head="linear"):
    latent_dim = None if name in LATENT_FOLLOWS_IMAGE else 3
    model = build_model(FROM_SCRATCH.get(name, name), head, SHAPE, (5,), latent_dim, "fp32")
    model.encoder.fit(images())
    return model


class Plain(Encoder):
    """An encoder that overrides nothing but its stages."""

    def __init__(self):
        super().__init__()
        self.latent_dim = math.prod(SHAPE)
        self.stages = torch.nn.ModuleDict({"flat": torch.nn.Flatten()})


class Doubled(Head):
    """A head that overrides nothing."""

    def forward(self, latent):
        return 2 * latent


# ------------------------------------------------------------------------------------------------------- encoders


def test_an_encoder_needs_nothing_but_stages():
    encoder = Plain()
    encoder.fit(images())
    assert encoder(images()).shape == (24, encoder.latent_dim)
    assert encoder.summary() == ""
    assert encoder.explained_by(images()) is None
    assert encoder.receptive_fields() is None
    assert encoder.regularizer() == 0
    assert encoder.fitted_state is None
    assert not encoder.encodes_once
    assert encoder.hidden is encoder.channels is encoder.kernel is encoder.activation is None


@every_encoder
def test_the_summary_of_an_encoder_is_one_line(name):
    assert len(build_fitted(name).encoder.summary().splitlines()) <= 1


@every_encoder
def test_explained_variance_is_a_share_per_latent(name):
    encoder = build_fitted(name).encoder
    explained = encoder.explained_by(images())
    if explained is not None:
        assert explained.shape == (encoder.latent_dim,)
        assert ((explained >= 0) & (explained <= 1)).all()
        assert explained.sum() <= 1 + 1e-4


@every_encoder
def test_receptive_fields_are_filters_within_the_image(name):
    fields = build_fitted(name).encoder.receptive_fields()
    if fields is not None:
        assert fields.ndim == 3
        assert fields.isfinite().all()
        assert all(size <= side for size, side in zip(fields.shape[1:], SHAPE[1:], strict=True))


@every_encoder
def test_a_penalty_is_one_number_of_at_least_0(name):
    model = build_fitted(name)
    model.train()
    model(images(4))
    assert float(model.encoder.regularizer()) >= 0
    assert math.isfinite(model.regularizer())


@every_encoder
def test_an_encoder_that_encodes_once_has_no_weights(name):
    """Otherwise training would change the latents, which are computed only once."""
    encoder = build_fitted(name).encoder
    assert not (encoder.encodes_once and list(encoder.parameters()))
    assert encoder.fitted_state is None or encoder.encodes_once


@every_encoder
def test_the_shape_and_size_of_a_latent_agree(name):
    model = build_fitted(name)
    assert model.encoder.latent_dim == math.prod(model.encoder.latent_shape)
    assert model.encode(images()).shape == (24, model.encoder.latent_dim)


@every_encoder
def test_what_a_mirrored_head_copies_has_the_right_type(name):
    encoder = build_fitted(name).encoder
    for sizes in (encoder.hidden, encoder.channels):
        assert sizes is None or (sizes and all(isinstance(n, int) for n in sizes))
    assert encoder.kernel is None or isinstance(encoder.kernel, int)
    assert encoder.activation is None or isinstance(encoder.activation, str)


@every_encoder
def test_repetitions_of_an_encoder_keep_its_members(name):
    models = [build_fitted(name) for _ in range(2)]
    whole = Repetitions(models)
    assert list(whole.stages()) == list(models[0].stages())
    assert whole.encoder.latent_dim == models[0].encoder.latent_dim
    assert whole.encoder.encodes_once == models[0].encoder.encodes_once
    assert whole.single(1).encoder.summary() == models[1].encoder.summary()


# ---------------------------------------------------------------------------------------------------------- heads


def test_a_head_needs_nothing_but_forward():
    head = Doubled()
    assert not head.needs_fit
    assert head.regularizer() == 0
    assert head.fit(torch.rand(3, 2), torch.rand(3, 2)) is None
    assert torch.equal(head(torch.ones(1, 2)), torch.full((1, 2), 2.0))


@every_head
def test_a_head_is_fitted_if_and_only_if_it_needs_it(name, monkeypatch):
    shape = SHAPE if name == "conv" else (5,)
    model = build_model("identity", name, SHAPE, shape, None, "fp32")
    calls = []
    monkeypatch.setattr(model.head, "fit", lambda latent, prediction: calls.append((latent.shape, prediction.shape)))
    model.start_head(images(), torch.rand(24, *shape), lambda target: target)
    assert calls == ([((24, model.encoder.latent_dim), (24, *shape))] if model.head.needs_fit else [])
    model.precomputed = True
    model.start_head(torch.rand(9, 4), torch.rand(9, *shape), lambda target: target)
    assert calls[1:] == ([((9, 4), (9, *shape))] if model.head.needs_fit else [])


@every_head
def test_the_penalty_of_a_head_is_finite_and_at_least_0(name):
    shape = SHAPE if name == "conv" else (5,)
    model = build_model("identity", name, SHAPE, shape, None, "fp32")
    penalty = torch.as_tensor(model.head.regularizer())
    assert penalty.ndim == 0
    assert penalty.isfinite()
    assert penalty >= 0
