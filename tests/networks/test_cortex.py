"""Models of visual cortex: filters, penalties and readouts."""

import pytest
import torch
from helpers import raises_user_error
from torch.nn.functional import softplus

from neuro_noodle.networks.base import ENCODERS, HEADS, Encoder, build_model, laplacian
from neuro_noodle.networks.conv import group_sparsity
from neuro_noodle.networks.cortex import difference_of_gaussians

SHAPE = (1, 17, 15)


def filter_parameters(n=4, dtype=torch.float64):
    """Return centre, sigmas and gain of n filters."""
    generator = torch.Generator().manual_seed(0)
    centre = torch.empty(n, 2, dtype=dtype).uniform_(-3, 3, generator=generator)
    sigma, widening = torch.empty(2, n, dtype=dtype).uniform_(1, 2, generator=generator)
    gain = torch.empty(n, 2, dtype=dtype).uniform_(0.5, 1.5, generator=generator)
    return centre, torch.stack([sigma, sigma + widening], 1), gain


# -------------------------------------------------------------------------------------- differences of Gaussians


@pytest.mark.parametrize("sums", ["window", "plane"])
def test_filter_gradients_agree_with_finite_differences(sums):
    inputs = [values.requires_grad_() for values in filter_parameters()]
    assert torch.autograd.gradcheck(lambda *values: difference_of_gaussians((9, 7), *values, sums=sums), inputs)


def test_a_filter_with_equal_gains_sums_to_0():
    centre, sigmas, gain = filter_parameters()
    gain = gain[:, :1].expand(-1, 2)
    filters = difference_of_gaussians((17, 15), centre, sigmas, gain)
    assert torch.allclose(filters.sum((1, 2)), torch.zeros(4, dtype=torch.float64), atol=1e-12)


def test_a_filter_peaks_at_its_centre_and_sums_to_its_gains():
    centre = torch.tensor([[3.0, -5.0]])
    filters = difference_of_gaussians((21, 31), centre, torch.tensor([[1.5, 3.5]]), torch.tensor([[2.0, 0.5]]))
    assert filters.sum().item() == pytest.approx(1.5, abs=1e-5)
    assert divmod(filters.argmax().item(), 31) == (10 + 3, 15 - 5)


@pytest.mark.parametrize("sums", ["window", "plane"])
def test_a_filter_is_the_difference_of_two_normal_densities(sums):
    """Far from the edge, where nothing is cut off."""
    sigmas, gains = torch.tensor([[2.0, 3.5]]), torch.tensor([[1.0, 0.7]])
    filters = difference_of_gaussians((41, 41), torch.zeros(1, 2), sigmas, gains, sums=sums)
    position = torch.arange(41) - 20.0
    squared = position[:, None] ** 2 + position**2
    density = [torch.exp(-squared / (2 * s**2)) / (2 * torch.pi * s**2) for s in (2.0, 3.5)]
    assert torch.allclose(filters[0], density[0] - 0.7 * density[1], atol=1e-6)


def test_a_filter_of_the_plane_fades_outside_the_image():
    centre = torch.tensor([[0.0, 0.0], [0.0, 12.0], [0.0, 17.0]])  # in the middle, outside, further outside
    sigmas, gains = torch.tensor([[2.0, 4.0]]).expand(3, -1), torch.ones(3, 2)
    sizes = {sums: difference_of_gaussians((17, 15), centre, sigmas, gains, sums=sums).norm(dim=(1, 2))
             for sums in ("window", "plane")}  # fmt: skip
    assert sizes["plane"][0] > 5 * sizes["plane"][1] > 10 * sizes["plane"][2]
    assert sizes["window"][2] > sizes["window"][0]


def test_variances_start_at_the_same_filters_as_sds():
    filters = []
    for options in ("", "width=variance", "max_gain=10"):
        torch.manual_seed(0)
        filters.append(ENCODERS.build(f"dog {options}", SHAPE, 4).receptive_fields())
    assert torch.allclose(filters[0], filters[1], atol=1e-5)
    assert torch.allclose(filters[0], filters[2], atol=1e-5)


def test_bounded_filters_stay_inside_with_positive_gains():
    encoder = ENCODERS.build("dog inside=true max_gain=3", SHAPE, 9)
    dog = encoder.stages["dog"]
    with torch.no_grad():
        for weights in (dog.centre, dog.gain):
            weights.normal_(0, 100)
    assert (dog.centres().abs() <= torch.tensor([17, 15]) / 2).all()
    assert dog.gains().min() >= 0
    assert dog.gains().max() <= 3


@pytest.mark.parametrize("options", ["sums=plane", "inside=true width=variance", "scale=pixelwise"])
def test_scaled_filter_outputs_are_those_of_scaled_images(options):
    encoder, images = ENCODERS.build(f"dog {options}", SHAPE, 9), torch.rand(20, *SHAPE)
    encoder.fit(images)
    expected = torch.einsum("bhw,dhw->bd", encoder.scaling(images)[:, 0], encoder.receptive_fields())
    assert torch.allclose(encoder(images), expected, atol=1e-4)


def test_conv_dog_applies_its_filters_at_every_position():
    encoder = ENCODERS.build("conv_dog n_filters=3 kernel=5 scale=none", SHAPE, None)
    image = torch.rand(1, *SHAPE)
    maps = encoder(image).unflatten(1, encoder.latent_shape)
    assert encoder.latent_shape == (3, 13, 11)
    patch = image[0, 0, 4:9, 2:7]
    assert torch.allclose(maps[0, :, 4, 2], (encoder.receptive_fields() * patch).sum((1, 2)), atol=1e-5)


def test_colour_images_are_averaged_over_colours():
    encoder = ENCODERS.build("dog scale=none", (3, 17, 15), 5)
    images = torch.rand(4, 3, 17, 15)
    assert torch.allclose(encoder(images), encoder(images.mean(1, keepdim=True).expand(-1, 3, -1, -1)), atol=1e-6)


@pytest.mark.parametrize("encoder", ["dog", "conv_dog", "identity", "conv latent=maps scale=zscore"])
def test_images_are_scaled_by_training_statistics_only(encoder):
    encoder = ENCODERS.build(encoder, SHAPE, None)
    training = 0.3 + 0.1 * torch.rand(50, *SHAPE)
    encoder.fit(training)
    scaled = encoder.scaling(training)
    assert scaled.mean().item() == pytest.approx(0, abs=1e-4)
    assert scaled.std().item() == pytest.approx(1, abs=1e-4)
    other = torch.rand(3, *SHAPE)
    assert torch.allclose(encoder.scaling(other), (other - training.mean()) / training.std(), atol=1e-4)


@pytest.mark.parametrize("encoder", ["dog", "conv_dog", "identity", "conv latent=maps"])
def test_each_pixel_can_have_its_own_scale(encoder):
    encoder = ENCODERS.build(f"{encoder} scale=pixelwise", SHAPE, None)
    training = 0.3 + (0.1 + torch.rand(SHAPE)) * torch.rand(50, *SHAPE)
    training[:, 0, 0, 0] = 0.5  # never varies
    encoder.fit(training)
    scaled = encoder.scaling(training).flatten(1)  # (50, H*W)
    assert scaled.mean(0).abs().max() < 1e-3
    assert torch.allclose(scaled.std(0)[1:], torch.ones(17 * 15 - 1), atol=1e-3)
    assert scaled[:, 0].std() < 1e-3


# ---------------------------------------------------------------------------------------------------- penalties


def test_roughness_ignores_size_and_is_larger_for_noise():
    blob = difference_of_gaussians((15, 15), torch.zeros(1, 2), torch.tensor([[2.5, 3.5]]), torch.ones(1, 2))
    noise = torch.randn(1, 15, 15)
    assert laplacian(7 * blob).item() == pytest.approx(laplacian(blob).item(), rel=1e-4)
    assert laplacian(noise) > 10 * laplacian(blob)


def test_group_sparsity_is_minimal_for_one_channel():
    one_channel = torch.zeros(1, 6, 3, 3)
    one_channel[:, 2] = torch.randn(3, 3)
    assert group_sparsity(one_channel, relative=True).item() == pytest.approx(1, abs=1e-3)
    assert group_sparsity(torch.ones(1, 6, 3, 3), relative=True).item() == pytest.approx(6**0.5, abs=1e-3)
    assert group_sparsity(torch.ones(2, 6, 3, 3), relative=False).item() == pytest.approx(2 * 6 * 3, abs=1e-3)


@pytest.mark.parametrize(
    ("encoder", "head", "scale"),
    [
        ("conv latent=maps smooth=0.5", "linear", 1),
        ("conv latent=maps group=0.5", "linear", 1),
        ("conv latent=maps group=0.5 group_relative=false", "linear", 3),
        ("identity", "linear smooth=0.5", 1),
        ("identity", "linear l1=0.5", 3),
        ("identity", "linear l2=0.5", 9),
        ("identity", "mlp l1=0.5", 3),
        ("identity", "mlp l2=0.5", 9),
        ("conv_dog", "what_where l1=0.5", 9),
    ],
)
def test_each_penalty_grows_with_the_weights_as_it_should(encoder, head, scale):
    plain = build_model(encoder.split(" smooth")[0].split(" group")[0], head.split()[0] + " l1=0" * ("where" in head),
                        SHAPE, (5,), None, "fp32")  # fmt: skip
    assert not torch.as_tensor(plain.regularizer()).any()
    model = build_model(encoder, head, SHAPE, (5,), None, "fp32")
    before = model.regularizer().item()
    assert before > 0
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3)
    assert model.regularizer().item() == pytest.approx(scale * before, rel=1e-3)


@pytest.mark.parametrize(
    ("table", "choice", "reason"),
    [
        (HEADS, "mlp hidden=-1", "hidden=-1 must be a whole number of units, or a fraction of the neurons"),
        (HEADS, "mlp hidden=2.5", "hidden=2.5 must be a whole number of units"),
        (HEADS, "mlp hidden=inf", "hidden=inf must be a whole number of units"),
        (ENCODERS, "conv channels=4 group=1", "group=1.0 applies from the second convolution on"),
        (ENCODERS, "conv_dog n_filters=0", "n_filters=0 must be 1 or more"),
        (ENCODERS, "conv_dog kernel=2", "differences of Gaussians need at least 3x3 px, not 2x2"),
        (ENCODERS, "dog max_gain=1", "max_gain=1.0 must be above 1.5, with which training may start"),
        (ENCODERS, "conv channels=4,4,4 pad=true,false", "pad=true,false has 2 values for 3 convolutions"),
        (HEADS, "mlp l2=-1", "l2=-1.0 must be 0 or more"),
        (HEADS, "linear smooth=1", "smooth= needs a latent that is an image or feature maps; use --encoder identity"),
        (
            HEADS,
            "what_where",
            "needs feature maps, but this encoder's latent is a vector; use --encoder conv latent=maps",
        ),
        (ENCODERS, "conv_dog kernel=99", "kernel=99 is larger than the images (17x15 px)"),
        (ENCODERS, "conv latent=maps beta=1", "beta= needs latent=linear"),
        (ENCODERS, "conv channels=4,4 kernel=3,3,3", "kernel=3,3,3 has 3 values for 2 convolutions"),
        (ENCODERS, "conv channels=4,4,4,4,4 pad=false pool=false", "5 convolutions need images of at least 11x11 px"),
    ],
)
def test_a_refused_option_says_what_is_allowed(table, choice, reason):
    shape = (1, 9, 9) if "pad=false" in choice else SHAPE
    encoder = ENCODERS.build("dog", SHAPE, None)
    with raises_user_error(reason):
        table.build(choice, *((encoder, (5,)) if table is HEADS else (shape, None)))


@pytest.mark.parametrize("encoder", ["conv_dog", "identity", "conv latent=maps"])
def test_a_latent_dim_that_follows_from_the_image_is_refused(encoder):
    with raises_user_error("--latent_dim none"):
        ENCODERS.build(encoder, SHAPE, 7)


# ----------------------------------------------------------------------------------------------------- readouts


def test_hidden_units_are_a_fraction_of_neurons_or_a_number():
    encoder = ENCODERS.build("dog", SHAPE, None)
    n_units = [HEADS.build(f"mlp hidden={h}", encoder, (50,)).out.in_features for h in (0.2, 0.001, 1, 7)]
    assert n_units == [10, 1, 1, 7]


class Maps(Encoder):
    """An encoder whose images are already feature maps."""

    def __init__(self, latent_shape):
        super().__init__()
        self.latent_shape = latent_shape
        self.stages = torch.nn.ModuleDict()


def test_a_readout_learns_the_position_and_feature_of_a_neuron():
    torch.manual_seed(0)
    head = HEADS.build("what_where l1=0.02", Maps((4, 9, 9)), (2,))
    maps = torch.randn(600, 4, 9, 9)
    responses = torch.stack([maps[:, 1, 2, 6], maps[:, 3, 7, 1]], 1)  # (600, 2)
    optimizer = torch.optim.Adam(head.parameters(), 0.01)
    for step in range(600):
        batch = torch.arange(step % 6 * 100, step % 6 * 100 + 100)
        loss = (head(maps[batch].flatten(1)) - responses[batch]).square().mean() + head.regularizer() / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert [divmod(int(mask.abs().argmax()), 9) for mask in head.where.detach()] == [(2, 6), (7, 1)]
    assert head.what.detach().abs().argmax(1).tolist() == [1, 3]
    assert (head(maps.flatten(1)) - responses).square().mean() < 0.05


@pytest.mark.parametrize("absolute", [False, True])
def test_a_readout_sums_over_positions_and_features(absolute):
    head = HEADS.build(f"what_where absolute={str(absolute).lower()}", Maps((4, 5, 3)), (6,))
    with torch.no_grad():
        head.where.normal_()
    where, what = (head.where.abs(), head.what.abs()) if absolute else (head.where, head.what)
    maps = torch.randn(7, 4, 5, 3)
    expected = torch.einsum("bchw,nhw,nc->bn", maps, where, what) + head.bias
    assert torch.allclose(head(maps.flatten(1)), expected, atol=1e-5)
    assert softplus(expected).min() >= 0
