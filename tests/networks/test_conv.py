"""Convolutional encoder and decoder: any size comes back, steps suit the size, and a variational latent is exact."""

import copy

import pytest
import torch
from helpers import raises_user_error
from torch import nn
from torch.distributions import Normal, kl_divergence

from neuro_noodle.networks.base import ENCODERS, HEADS, Variational, build_model
from neuro_noodle.networks.conv import Evened
from neuro_noodle.objectives.base import OBJECTIVES


def autoencoder(shape, encoder="conv channels=4,4,8", head="conv", latent_dim=5):
    return build_model(encoder, head, shape, shape, latent_dim, "fp32")


def smooth_images(n, shape):
    """Images that are dark on the left and bright on the right, each with a pattern of its own."""
    patterns = nn.functional.interpolate(torch.rand(n, shape[0], 4, 4), shape[1:], mode="bilinear")
    return (0.1 + 0.7 * (torch.arange(shape[2]) > shape[2] / 2) + 0.3 * (patterns - 0.5)).clamp(0, 1)


def layers_of(module, kind):
    return [layer for layer in module.modules() if isinstance(layer, kind)]


# --------------------------------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((1, 1, 1), "1"),
        ((1, 1, 9), "3"),
        ((1, 7, 9), "2,1,2"),
        ((1, 25, 13), "2,3,4"),
        ((1, 50, 50), "2,3,4"),
        ((3, 64, 48), "2,3,4,5"),
        ((3, 31, 33), "1,1"),
        ((1, 16, 16), "2,2,2,2,2"),
    ],
    ids=str,
)
def test_an_image_of_any_size_comes_back_in_its_own_size(shape, channels, kernel):
    model = autoencoder(shape, f"conv channels={channels} kernel={kernel}")
    assert model(torch.rand(2, *shape)).shape == (2, *shape)


def test_fifty_px_are_halved_to_25_and_12_and_end_in_a_latent_of_16():
    encoder = ENCODERS.build("conv channels=64,64,128", (1, 50, 50), None)
    maps = [torch.rand(2, 1, 50, 50)]
    for name in ("conv1", "conv2", "conv3"):
        maps.append(encoder.stages[name](maps[-1]))
    assert [tuple(one.shape[1:]) for one in maps[1:]] == [(64, 50, 50), (64, 25, 25), (128, 12, 12)]
    assert encoder.stages["latent"](maps[-1]).shape == (2, 16)
    assert list(encoder.stages) == ["conv1", "conv2", "conv3", "latent"]


@pytest.mark.parametrize("table", [ENCODERS, HEADS], ids=["encoder", "head"])
@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("channels=4,4,4", "3 channels need images of 4x4 at least, not 3x9"),
        ("channels=4,4,4,4,4", "5 channels need images of 16x16 at least, not 3x9"),
        ("channels=4,0", "needs numbers of at least 1"),
        ("channels=4,-2", "needs numbers of at least 1"),
        ("channels=4 kernel=4", "kernel=4 must be odd, and 3 at least"),
        ("channels=4 kernel=1", "kernel=1 must be odd, and 3 at least"),
        ("channels=4 kernel=0", "kernel=0 must be odd, and 3 at least"),
        ("channels=4 kernel=-3", "kernel=-3 must be odd, and 3 at least"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(table, option, told):
    shape = (1, 3, 9)
    given = (shape, 4) if table is ENCODERS else (ENCODERS.build("fc", shape, 4), shape)
    with raises_user_error(f"{table.kind} 'conv': ") as error:
        table.build(f"conv {option}", *given)
    assert told in str(error.value)


def test_an_encoder_without_channels_is_refused():
    with raises_user_error("needs numbers of at least 1"):
        ENCODERS.build("conv channels=none", (1, 8, 8), 4)


@pytest.mark.parametrize("shape", [(1, 1, 9), (1, 3, 3)], ids=str)
def test_the_channels_that_a_refusal_recommends_fit_the_image(shape):
    with raises_user_error("name fewer: channels=") as error:
        ENCODERS.build("conv", shape, 4)
    recommended = str(error.value).partition("channels=")[2]
    assert ENCODERS.build(f"conv channels={recommended}", shape, 4)(torch.rand(2, *shape)).shape == (2, 4)


# -------------------------------------------------------------------------------------------------- mirror image


def test_the_head_mirrors_channels_kernel_and_activation_of_its_encoder():
    head = autoencoder((3, 20, 17), "conv channels=4,6,8 kernel=5 activation=gelu").head
    transposed = layers_of(head, nn.ConvTranspose2d)
    assert {(layer.in_channels, layer.out_channels) for layer in transposed} == {(8, 6), (6, 4), (4, 3)}
    assert {layer.kernel_size for layer in transposed} == {(5, 5)}
    assert len(layers_of(head, nn.GELU)) == 3
    assert not layers_of(head, nn.ReLU)


def test_the_head_has_what_it_is_told_in_place_of_what_its_encoder_has():
    told = "conv channels=3,5 kernel=7 activation=tanh"
    head = autoencoder((1, 20, 17), "conv channels=4,6,8 kernel=5 activation=gelu", told).head
    transposed = layers_of(head, nn.ConvTranspose2d)
    assert {layer.kernel_size for layer in transposed} == {(7, 7)}
    assert {layer.out_channels for layer in transposed} == {3, 1}
    assert len(layers_of(head, nn.Tanh)) == 2
    assert not layers_of(head, nn.GELU)


def test_after_another_encoder_the_head_has_channels_and_kernel_of_its_own():
    head = autoencoder((1, 20, 17), "fc hidden=8 activation=silu").head
    transposed = layers_of(head, nn.ConvTranspose2d)
    assert {layer.in_channels for layer in transposed} == {128, 64}
    assert {layer.kernel_size for layer in transposed} == {(3, 3)}


# --------------------------------------------------------------------------------------------------------- start


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_start_mean_begins_near_the_mean_image_and_every_weight_learns(loss):
    shape = (1, 24, 19)
    images = smooth_images(40, shape)
    objective = OBJECTIVES.build(f"reconstruct loss={loss}")
    model = autoencoder(shape, head="conv start=mean")
    model.encoder.fit(images)
    model.start_head(images, images, objective.link)
    prediction = model(images)
    mean = objective.output(objective.link(images).mean(0))
    assert (objective.output(prediction) - mean).abs().mean() < 0.25 * mean.std()
    objective.loss(prediction, images).backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())


def test_a_random_start_is_far_from_the_mean_image_and_learns_none():
    shape = (1, 24, 19)
    images = smooth_images(40, shape)
    model = autoencoder(shape)
    before = copy.deepcopy(model.head.state_dict())
    model.encoder.fit(images)
    model.start_head(images, images, lambda target: target)
    assert all(torch.equal(value, before[key]) for key, value in model.head.state_dict().items())
    assert (model(images) - images.mean(0)).abs().mean() > images.mean(0).std()
    assert "background" not in dict(model.head.named_parameters())


# --------------------------------------------------------------------------------------------------------- steps


def change_of_one_step(module, x):
    """The mean absolute change of an output by one step of Adam, relative to its mean absolute size."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    before = module(x)
    before.sum().backward()
    optimizer.step()
    with torch.no_grad():
        return ((module(x) - before).abs().mean() / before.abs().mean()).item()


def test_an_evened_layer_computes_what_the_layer_did():
    layer = nn.Linear(1000, 4)
    x = torch.rand(8, 1000)
    wanted = layer(x)
    assert torch.allclose(Evened(layer)(x), wanted, atol=1e-5)


@pytest.mark.parametrize("n", [50, 20000])
def test_a_step_of_adam_is_in_proportion_to_the_weights_of_an_evened_layer_whatever_their_number(n):
    layer = Evened(nn.Linear(n, 16))
    before = layer.layer.weight.detach().clone()
    change_of_one_step(layer, torch.rand(8, n))
    assert ((layer.layer.weight - before).abs().mean() / before.abs().mean()).item() == pytest.approx(0.002, rel=0.1)


def test_without_being_evened_a_large_layer_makes_another_latent_altogether_in_one_step():
    layer, x = nn.Linear(20000, 16), torch.rand(8, 20000)
    plain = change_of_one_step(copy.deepcopy(layer), x)
    assert plain > 10
    assert change_of_one_step(Evened(layer), x) < 0.02 * plain


def test_a_step_of_adam_at_1e_3_changes_the_latent_of_a_large_image_by_little():
    torch.manual_seed(2)
    encoder = ENCODERS.build("conv channels=4,8", (1, 160, 120), 16)
    x = torch.rand(8, 1, 160, 120)
    assert change_of_one_step(encoder, x) < 0.3
    plain = ENCODERS.build("conv channels=4,8", (1, 160, 120), 16)
    evened = plain.stages["latent"][1]
    with torch.no_grad():
        evened.layer.weight.mul_(evened.scale)
    plain.stages["latent"][1] = evened.layer
    assert change_of_one_step(plain, x) > 1


# --------------------------------------------------------------------------------------------- variational latent

SHAPE = (1, 12, 9)
variational = pytest.mark.parametrize("encoder", ["conv channels=4,8", "fc hidden=16"])


def divergence_of(mean, log_variance):
    standard = Normal(torch.zeros_like(mean), torch.ones_like(mean))
    return kl_divergence(Normal(mean, (log_variance / 2).exp()), standard).sum(1).mean()


def latent_layer(encoder):
    (layer,) = layers_of(encoder, Variational)
    return layer


@variational
def test_a_variational_latent_is_drawn_in_training_and_is_its_mean_in_evaluation(encoder):
    encoder = ENCODERS.build(f"{encoder} beta=1", SHAPE, 6)
    images = torch.rand(4, *SHAPE)
    assert not torch.equal(encoder(images), encoder(images))
    encoder.eval()
    seen = []
    latent_layer(encoder).register_forward_hook(lambda layer, given, out: seen.append((layer, given[0], out)))
    latent = encoder(images)
    assert torch.equal(latent, encoder(images))
    layer, features, out = seen[0]
    assert torch.equal(out, nn.functional.linear(features, layer.weight, layer.bias))
    assert encoder.regularizer() == 0


def test_what_is_drawn_has_the_mean_and_the_spread_of_its_distribution():
    layer = Variational(3, 2)
    x = torch.rand(1, 3).expand(20000, 3)
    drawn = layer(x)
    sd = (layer.log_variance(x[:1]) / 2).exp()
    assert torch.allclose(drawn.mean(0), layer.eval()(x[:1])[0], atol=0.05)
    assert torch.allclose(drawn.std(0), sd[0], rtol=0.03)


def test_the_divergence_from_itself_is_zero():
    layer = Variational(3, 2)
    with torch.no_grad():
        for weights in layer.parameters():
            weights.zero_()
    layer(torch.rand(5, 3))
    assert layer.divergence == 0


def test_the_divergence_is_that_of_torch_distributions():
    layer = Variational(7, 3)
    x = 3 * torch.randn(11, 7)
    layer(x)
    exact = divergence_of(nn.functional.linear(x, layer.weight, layer.bias), layer.log_variance(x))
    assert layer.divergence.item() == pytest.approx(exact.item(), rel=1e-5)


@variational
@pytest.mark.parametrize("beta", [0.5, 4])
def test_the_penalty_is_beta_over_the_pixels_times_the_divergence_and_teaches_the_latent(encoder, beta):
    model = autoencoder(SHAPE, f"{encoder} beta={beta}", "fc hidden=8")
    model(torch.rand(4, *SHAPE))
    layer = latent_layer(model)
    penalty = model.regularizer()
    assert penalty.item() == pytest.approx(beta / 108 * layer.divergence.item())
    penalty.backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())
    assert not any(p.grad is not None and p.grad.any() for p in model.head.parameters())


def test_a_penalty_is_of_the_last_batch_alone():
    encoder = ENCODERS.build("fc hidden=16 beta=1", SHAPE, 6)
    encoder(10 * torch.rand(4, *SHAPE))
    larger = encoder.regularizer().item()
    encoder(torch.zeros(4, *SHAPE))
    assert encoder.regularizer().item() < larger


KEYS = {
    "fc hidden=16": {"centre", "stages.hidden1.0.weight", "stages.hidden1.0.bias", "stages.latent.weight"}
    | {"stages.latent.bias"},
    "conv channels=4": {f"stages.conv1.1.{name}" for name in ("weight", "bias", "running_mean", "running_var")}
    | {"stages.conv1.1.num_batches_tracked", "stages.conv1.0.weight"}
    | {"stages.latent.1.layer.weight", "stages.latent.1.layer.bias"},
}


@pytest.mark.parametrize("encoder", list(KEYS))
def test_beta_0_has_no_variational_layer_and_the_keys_it_always_had(encoder):
    plain = ENCODERS.build(f"{encoder} beta=0", SHAPE, 6)
    assert set(plain.state_dict()) == KEYS[encoder]
    assert not layers_of(plain, Variational)
    assert plain(torch.rand(4, *SHAPE)).isfinite().all()
    assert plain.regularizer() == 0
    more = set(ENCODERS.build(f"{encoder} beta=1", SHAPE, 6).state_dict()) - KEYS[encoder]
    assert {key.rpartition("log_variance.")[2] for key in more} == {"weight", "bias"}


@variational
@pytest.mark.parametrize("beta", ["-1", "inf", "nan"])
def test_a_beta_that_weighs_nothing_sensible_is_refused(encoder, beta):
    with raises_user_error(f"beta={beta.replace('-1', '-1.0')} must be 0 or more"):
        ENCODERS.build(f"{encoder} beta={beta}", SHAPE, 6)


def test_the_means_of_a_variational_encoder_may_start_as_a_pca():
    images = smooth_images(40, SHAPE)
    plain, drawn = (ENCODERS.build(f"fc hidden=16 start=pca beta={beta}", SHAPE, 4) for beta in (0, 1))
    for encoder in (plain, drawn):
        encoder.fit(images)
        encoder.eval()
    assert torch.allclose(drawn(images), plain(images), atol=1e-4)
