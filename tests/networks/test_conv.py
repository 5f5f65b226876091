"""Convolutional encoder and decoder: image sizes, mirrored options, step sizes, variational latents."""

import copy

import pytest
import torch
from helpers import raises_user_error
from torch import nn
from torch.distributions import Normal, kl_divergence

from neuro_noodle.networks.base import ENCODERS, HEADS, Variational, build_model
from neuro_noodle.networks.conv import ScaledLinear
from neuro_noodle.objectives.base import OBJECTIVES


def autoencoder(shape, encoder="conv channels=4,4,8", head="conv", latent_dim=5):
    return build_model(encoder, head, shape, shape, latent_dim, "fp32")


def smooth_images(n, shape):
    """Return images that are dark on the left and bright on the right, each with its own pattern."""
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
def test_an_image_of_any_size_is_reconstructed_in_that_size(shape, channels, kernel):
    model = autoencoder(shape, f"conv channels={channels} kernel={kernel}")
    assert model(torch.rand(2, *shape)).shape == (2, *shape)


def test_pooling_halves_50_px_to_25_and_12():
    encoder = ENCODERS.build("conv channels=64,64,128", (1, 50, 50), None)
    maps = [torch.rand(2, 1, 50, 50)]
    for name in ("conv1", "conv2", "conv3"):
        maps.append(encoder.stages[name](maps[-1]))
    assert [tuple(output.shape[1:]) for output in maps[1:]] == [(64, 50, 50), (64, 25, 25), (128, 12, 12)]
    assert encoder.stages["latent"](maps[-1]).shape == (2, 16)
    assert list(encoder.stages) == ["conv1", "conv2", "conv3", "latent"]


@pytest.mark.parametrize("table", [ENCODERS, HEADS], ids=["encoder", "head"])
@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("channels=4,4,4", "3 convolutions need images of at least 4x4 px, not 3x9"),
        ("channels=4,4,4,4,4", "5 convolutions need images of at least 16x16 px, not 3x9"),
        ("channels=4,0", "needs values of at least 1"),
        ("channels=4,-2", "needs values of at least 1"),
        ("channels=4 kernel=4", "kernel=4 must be odd and at least 3"),
        ("channels=4 kernel=1", "kernel=1 must be odd and at least 3"),
        ("channels=4 kernel=0", "kernel=0 must be odd and at least 3"),
        ("channels=4 kernel=-3", "kernel=-3 must be odd and at least 3"),
    ],
)
def test_a_refused_option_says_what_is_allowed(table, option, reason):
    shape = (1, 3, 9)
    arguments = (shape, 4) if table is ENCODERS else (ENCODERS.build("fc", shape, 4), shape)
    with raises_user_error(f"{table.kind} 'conv': ") as error:
        table.build(f"conv {option}", *arguments)
    assert reason in str(error.value)


def test_an_encoder_without_channels_is_refused():
    with raises_user_error("needs values of at least 1"):
        ENCODERS.build("conv channels=none", (1, 8, 8), 4)


@pytest.mark.parametrize("shape", [(1, 1, 9), (1, 3, 3)], ids=str)
def test_the_channels_that_the_message_suggests_do_work(shape):
    with raises_user_error("use fewer, for example channels=") as error:
        ENCODERS.build("conv", shape, 4)
    recommended = str(error.value).partition("channels=")[2]
    assert ENCODERS.build(f"conv channels={recommended}", shape, 4)(torch.rand(2, *shape)).shape == (2, 4)


# ------------------------------------------------------------------------------------------------- mirrored options


def test_the_head_mirrors_the_options_of_its_encoder():
    head = autoencoder((3, 20, 17), "conv channels=4,6,8 kernel=5 activation=gelu").head
    transposed = layers_of(head, nn.ConvTranspose2d)
    assert {(layer.in_channels, layer.out_channels) for layer in transposed} == {(8, 6), (6, 4), (4, 3)}
    assert {layer.kernel_size for layer in transposed} == {(5, 5)}
    assert len(layers_of(head, nn.GELU)) == 3
    assert not layers_of(head, nn.ReLU)


def test_options_of_the_head_override_those_of_its_encoder():
    choice = "conv channels=3,5 kernel=7 activation=tanh"
    head = autoencoder((1, 20, 17), "conv channels=4,6,8 kernel=5 activation=gelu", choice).head
    transposed = layers_of(head, nn.ConvTranspose2d)
    assert {layer.kernel_size for layer in transposed} == {(7, 7)}
    assert {layer.out_channels for layer in transposed} == {3, 1}
    assert len(layers_of(head, nn.Tanh)) == 2
    assert not layers_of(head, nn.GELU)


def test_after_another_encoder_the_head_uses_its_own_defaults():
    head = autoencoder((1, 20, 17), "fc hidden=8 activation=silu").head
    transposed = layers_of(head, nn.ConvTranspose2d)
    assert {layer.in_channels for layer in transposed} == {128, 64}
    assert {layer.kernel_size for layer in transposed} == {(3, 3)}


# --------------------------------------------------------------------------------------------------------- start


@pytest.mark.parametrize("loss", ["mse", "bce"])
def test_start_mean_predicts_the_mean_and_all_weights_can_learn(loss):
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


def test_a_random_start_is_unfitted_and_far_from_the_mean():
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


def relative_change_of_one_step(module, x):
    """Return the mean absolute change of the output by one step of Adam, relative to its mean absolute value."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
    before = module(x)
    before.sum().backward()
    optimizer.step()
    with torch.no_grad():
        return ((module(x) - before).abs().mean() / before.abs().mean()).item()


def test_scaling_a_layer_does_not_change_its_output():
    layer = nn.Linear(1000, 4)
    x = torch.rand(8, 1000)
    expected = layer(x)
    assert torch.allclose(ScaledLinear(layer)(x), expected, atol=1e-5)


@pytest.mark.parametrize("n", [50, 20000])
def test_steps_of_adam_are_proportional_to_scaled_weights(n):
    layer = ScaledLinear(nn.Linear(n, 16))
    before = layer.layer.weight.detach().clone()
    relative_change_of_one_step(layer, torch.rand(8, n))
    assert ((layer.layer.weight - before).abs().mean() / before.abs().mean()).item() == pytest.approx(0.002, rel=0.1)


def test_the_average_latent_does_not_depend_on_the_place():
    torch.manual_seed(4)
    images = torch.zeros(2, 1, 64, 64)
    images[0, 0, 20:28, 20:28] = images[1, 0, 36:44, 28:36] = torch.rand(8, 8)  # moved by whole cells of the last map
    average, linear = (
        ENCODERS.build(f"conv channels=4,8 latent={latent}", (1, 64, 64), 3).eval() for latent in ("average", "linear")
    )
    moved = average(images)
    assert moved.shape == (2, 3)
    assert torch.allclose(moved[0], moved[1], atol=1e-5)
    moved = linear(images)
    assert (moved[0] - moved[1]).abs().max() > 1e-3


def test_without_scaling_one_step_changes_a_large_layer_wholly():
    layer, x = nn.Linear(20000, 16), torch.rand(8, 20000)
    plain = relative_change_of_one_step(copy.deepcopy(layer), x)
    assert plain > 10
    assert relative_change_of_one_step(ScaledLinear(layer), x) < 0.02 * plain


def test_one_step_hardly_changes_the_latent_of_a_large_image():
    torch.manual_seed(2)
    encoder = ENCODERS.build("conv channels=4,8", (1, 160, 120), 16)
    x = torch.rand(8, 1, 160, 120)
    assert relative_change_of_one_step(encoder, x) < 0.3
    plain = ENCODERS.build("conv channels=4,8", (1, 160, 120), 16)
    scaled = plain.stages["latent"][1]
    with torch.no_grad():
        scaled.layer.weight.mul_(scaled.scale)
    plain.stages["latent"][1] = scaled.layer
    assert relative_change_of_one_step(plain, x) > 1


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
def test_a_variational_latent_is_random_only_in_training(encoder):
    encoder = ENCODERS.build(f"{encoder} beta=1", SHAPE, 6)
    images = torch.rand(4, *SHAPE)
    assert not torch.equal(encoder(images), encoder(images))
    encoder.eval()
    calls = []
    latent_layer(encoder).register_forward_hook(lambda layer, inputs, out: calls.append((layer, inputs[0], out)))
    latent = encoder(images)
    assert torch.equal(latent, encoder(images))
    layer, features, out = calls[0]
    assert torch.equal(out, nn.functional.linear(features, layer.weight, layer.bias))
    assert encoder.regularizer() == 0


def test_variational_samples_have_the_right_mean_and_sd():
    layer = Variational(3, 2)
    x = torch.rand(1, 3).expand(20000, 3)
    samples = layer(x)
    sd = (layer.log_variance(x[:1]) / 2).exp()
    assert torch.allclose(samples.mean(0), layer.eval()(x[:1])[0], atol=0.05)
    assert torch.allclose(samples.std(0), sd[0], rtol=0.03)


def test_the_divergence_of_the_standard_normal_is_0():
    layer = Variational(3, 2)
    with torch.no_grad():
        for weights in layer.parameters():
            weights.zero_()
    layer(torch.rand(5, 3))
    assert layer.divergence == 0


def test_the_divergence_agrees_with_torch_distributions():
    layer = Variational(7, 3)
    x = 3 * torch.randn(11, 7)
    layer(x)
    exact = divergence_of(nn.functional.linear(x, layer.weight, layer.bias), layer.log_variance(x))
    assert layer.divergence.item() == pytest.approx(exact.item(), rel=1e-5)


@variational
@pytest.mark.parametrize("beta", [0.5, 4])
def test_the_penalty_is_beta_times_divergence_per_pixel(encoder, beta):
    """It has gradients for the latent layer and none for the head."""
    model = autoencoder(SHAPE, f"{encoder} beta={beta}", "fc hidden=8")
    model(torch.rand(4, *SHAPE))
    layer = latent_layer(model)
    penalty = model.regularizer()
    assert penalty.item() == pytest.approx(beta / 108 * layer.divergence.item())
    penalty.backward()
    assert all(p.grad is not None and p.grad.any() for p in layer.parameters())
    assert not any(p.grad is not None and p.grad.any() for p in model.head.parameters())


def test_the_penalty_depends_on_the_last_batch_only():
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
def test_beta_0_adds_no_variational_layer_and_no_keys(encoder):
    plain = ENCODERS.build(f"{encoder} beta=0", SHAPE, 6)
    assert set(plain.state_dict()) == KEYS[encoder]
    assert not layers_of(plain, Variational)
    assert plain(torch.rand(4, *SHAPE)).isfinite().all()
    assert plain.regularizer() == 0
    more = set(ENCODERS.build(f"{encoder} beta=1", SHAPE, 6).state_dict()) - KEYS[encoder]
    assert {key.rpartition("log_variance.")[2] for key in more} == {"weight", "bias"}


@variational
@pytest.mark.parametrize("beta", ["-1", "inf", "nan"])
def test_a_negative_or_infinite_beta_is_refused(encoder, beta):
    with raises_user_error(f"beta={beta.replace('-1', '-1.0')} must be 0 or more"):
        ENCODERS.build(f"{encoder} beta={beta}", SHAPE, 6)


def test_a_variational_encoder_can_start_as_a_pca():
    images = smooth_images(40, SHAPE)
    plain, random = (ENCODERS.build(f"fc hidden=16 start=pca beta={beta}", SHAPE, 4) for beta in (0, 1))
    for encoder in (plain, random):
        encoder.fit(images)
        encoder.eval()
    assert torch.allclose(random(images), plain(images), atol=1e-4)
