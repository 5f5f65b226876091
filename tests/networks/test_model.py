"""Encoders, heads and models: contracts of every pair, pretrained weights, precision."""

from urllib.error import URLError

import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18

from neuro_noodle.choices import UserError
from neuro_noodle.networks.activations import ACTIVATIONS
from neuro_noodle.networks.base import ENCODERS, HEADS, build_model, choose_precision

FROM_SCRATCH = {"resnet18": "resnet18 weights=none"}
LATENT_FOLLOWS_IMAGE = ("conv_dog", "energy", "identity")  # encoders without --latent_dim
WITH_MAPS = ("conv_dog", "identity")  # encoders that work with head what_where
PAIRS = [(e, h) for e in ENCODERS for h in HEADS if h != "what_where" or e in WITH_MAPS]


def parametrize_pairs(chosen):
    return pytest.mark.parametrize(
        ("encoder", "head"), [pytest.param(FROM_SCRATCH.get(e, e), h, id=f"{e}-{h}") for e, h in chosen]
    )


pairs = parametrize_pairs(PAIRS)
encoders = pytest.mark.parametrize("encoder", [pytest.param(FROM_SCRATCH.get(e, e), id=e) for e in ENCODERS])
shapes = pytest.mark.parametrize("shape", [(1, 16, 12), (3, 32, 32)], ids=["grey", "colour"])
CPU = torch.device("cpu")


def build(encoder, head, shape, output_shape=None, latent_dim=6):
    """Build a model for five classes, or for images if the head predicts nothing else."""
    output_shape = output_shape or (shape if head == "conv" else (5,))
    latent_dim = None if encoder in LATENT_FOLLOWS_IMAGE else latent_dim
    return build_model(encoder, head, shape, output_shape, latent_dim, "fp32")


def build_fitted(encoder, head, shape, output_shape=None):
    """Build a model and fit its encoder."""
    model = build(encoder, head, shape, output_shape)
    model.encoder.fit(torch.rand(12, *shape))
    return model


@pairs
@shapes
@pytest.mark.parametrize("output", ["classes", "image"])
def test_every_pair_has_the_right_shape_and_trains(encoder, head, shape, output):
    """Every stage with weights gets a gradient; a pair that cannot work says which head to use instead."""
    output_shape = shape if output == "image" else (5,)
    refused = {("conv", "classes"): "head 'conv' predicts images, .*; use --head linear or fc"}
    neurons_only = "head '{}' predicts one number per neuron, .*; use --head conv or fc"
    refused |= {(name, "image"): neurons_only.format(name) for name in ("mlp", "what_where")}
    if (head, output) in refused:
        with pytest.raises(UserError, match=refused[head, output]):
            build(encoder, head, shape, output_shape)
        return
    model = build_fitted(encoder, head, shape, output_shape)
    images = torch.rand(4, *shape)
    assert model.encoder(images).shape == (4, model.encoder.latent_dim if encoder in LATENT_FOLLOWS_IMAGE else 6)
    prediction = model(images)
    assert prediction.shape == (4, *output_shape)
    assert prediction.dtype == torch.float32
    (prediction.square().sum() + model.regularizer()).backward()
    for name, stage in model.stages().items():
        weights = list(stage.parameters())
        assert not weights or any(w.grad is not None and w.grad.any() for w in weights), name


@parametrize_pairs((e, h) for e, h in PAIRS if not ENCODERS[e].encodes_once)
def test_every_pair_can_be_traced_for_export(encoder, head):
    """With batches of any size; see tests/runs/test_export.py for the files."""
    model, images = build_fitted(encoder, head, (1, 16, 12)).eval(), torch.rand(3, 1, 16, 12)
    expected = model(images)
    program = torch.export.export(model, (images[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
    assert torch.allclose(program.module()(images), expected, atol=1e-5)


@pairs
@shapes
def test_saved_weights_load_safely_and_predict_the_same(encoder, head, shape, tmp_path):
    model = build(encoder, head, shape)
    images = torch.rand(12, *shape)
    model.encoder.fit(images)
    model.start_head(images, torch.rand(12, 5), lambda target: target)  # what is fitted must be saved too
    model(images)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    rebuilt = build(encoder, head, shape)
    rebuilt.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    if model.encoder.fitted_state is not None:
        with pytest.raises(UserError, match="--trust_pickle"):
            rebuilt(images)
        rebuilt.encoder.fitted_state = model.encoder.fitted_state
    assert torch.equal(rebuilt.eval()(images), model.eval()(images))


@pairs
def test_the_stages_hold_every_parameter_exactly_once(encoder, head):
    model = build(encoder, head, (3, 32, 32))
    assert bool(model.encoder.stages) == any(True for _ in model.encoder.parameters())  # pca and umap have none
    staged = [id(p) for stage in model.stages().values() for p in stage.parameters()]
    assert sorted(staged) == sorted(id(p) for p in model.parameters())
    assert list(model.stages())[-1] == "head"


@parametrize_pairs([(e, h) for e, h in PAIRS if e != "umap"])  # whose embedding depends on the whole batch
@shapes
def test_in_evaluation_a_prediction_ignores_its_batch(encoder, head, shape):
    model = build_fitted(encoder, head, shape).eval()
    images = torch.rand(4, *shape)
    alone = torch.cat([model(image[None]) for image in images])
    assert torch.allclose(model(images), alone, atol=1e-4, rtol=1e-4)


@encoders
@shapes
@pytest.mark.parametrize("latent_dim", [None, 3])
def test_the_latent_has_the_declared_size(encoder, shape, latent_dim):
    latent_dim = None if encoder in LATENT_FOLLOWS_IMAGE else latent_dim
    encoder = ENCODERS.build(encoder, shape, latent_dim)
    encoder.fit(torch.rand(12, *shape))
    assert encoder.latent_dim == (latent_dim or encoder.latent_dim)
    assert encoder(torch.rand(4, *shape)).shape == (4, encoder.latent_dim)


@pairs
def test_half_precision_predictions_are_float32_and_close(encoder, head):
    images = torch.rand(2, 3, 32, 32)
    model = build_fitted(encoder, head, (3, 32, 32)).eval()
    full = model(images)
    model.precision = "bf16"
    half = model(images)
    assert half.dtype == torch.float32
    assert torch.allclose(half, full, atol=0.05 * full.abs().max().item())


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
@pytest.mark.parametrize("network", ["fc hidden=8", "conv channels=4,8"])
def test_every_activation_trains_in_every_network(activation, network):
    model = build_model(f"{network} activation={activation}", network.split()[0], (1, 8, 8), (1, 8, 8), 3, "fp32")
    model(torch.rand(5, 1, 8, 8)).square().sum().backward()
    assert all(weights.grad is not None and weights.grad.isfinite().all() for weights in model.parameters())


# -------------------------------------------------------------------------------------------------- resnet18


def weights_file(path, with_fc=True):
    state = {key: value for key, value in resnet18().state_dict().items() if with_fc or not key.startswith("fc.")}
    torch.save(state, path)
    return state


@pytest.mark.parametrize("with_fc", [True, False])
def test_weights_from_a_file_give_torchvisions_features(tmp_path, with_fc):
    state = weights_file(tmp_path / "net.pth", with_fc)
    encoder = ENCODERS.build(f"resnet18 weights={tmp_path / 'net.pth'}", (3, 32, 32), None)
    encoder.fit(torch.rand(2, 3, 32, 32))
    loaded = {key: value for key, value in encoder.state_dict().items() if key not in ("mean", "sd")}
    expected = [value for key, value in state.items() if not key.startswith("fc.")]
    assert all(torch.equal(a, b) for a, b in zip(loaded.values(), expected, strict=True))
    network = resnet18()
    network.load_state_dict(state, strict=False)
    network.fc = torch.nn.Identity()
    images = torch.rand(2, 3, 32, 32)
    normalised = ResNet18_Weights.IMAGENET1K_V1.transforms()
    normalised = (images - torch.tensor(normalised.mean).view(3, 1, 1)) / torch.tensor(normalised.std).view(3, 1, 1)
    assert torch.allclose(encoder.eval()(images), network.eval()(normalised), atol=1e-4, rtol=1e-4)


def test_fitting_does_not_change_weights_none():
    encoder = ENCODERS.build("resnet18 weights=none", (3, 32, 32), 6)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.fit(torch.rand(2, 3, 32, 32))
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def wrong_network(path):
    torch.save({key: value[..., :1] for key, value in resnet18().state_dict().items() if value.ndim}, path)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda path: path.write_text("some text"), id="text"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: torch.save([1, 2], path), id="list"),
        pytest.param(lambda path: torch.save(resnet18(), path), id="whole network, which needs a pickle"),
        pytest.param(wrong_network, id="other shapes"),
        pytest.param(lambda path: torch.save(torch.nn.Linear(3, 3).state_dict(), path), id="another network"),
        pytest.param(
            lambda path: torch.save({k: v for k, v in resnet18().state_dict().items() if "layer4" not in k}, path),
            id="without layer4",
        ),
    ],
)
def test_a_file_without_resnet18_weights_is_refused_by_name(tmp_path, write):
    path = tmp_path / "net.pth"
    write(path)
    encoder = ENCODERS.build(f"resnet18 weights={path}", (3, 32, 32), None)
    with pytest.raises(UserError, match=r"net.pth (does not hold|is damaged|holds more)"):
        encoder.fit(torch.rand(2, 3, 32, 32))


def test_an_unknown_value_of_weights_names_the_allowed_ones():
    with pytest.raises(UserError, match="weights=imagnet is neither imagenet, none nor an existing file"):
        ENCODERS.build("resnet18 weights=imagnet", (3, 32, 32), None).fit(torch.rand(2, 3, 32, 32))


def test_offline_imagenet_weights_say_where_to_save_the_file(tmp_path, monkeypatch):
    def offline(*arguments, **options):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    encoder = ENCODERS.build("resnet18 weights=imagenet", (3, 32, 32), None)
    with pytest.raises(UserError) as caught:
        encoder.fit(torch.rand(2, 3, 32, 32))
    for word in (
        "no network",
        "resnet18-f37072fd.pth",
        str(tmp_path / "checkpoints"),
        "weights=/path",
        "faces_emotion_scratch",
    ):
        assert word in str(caught.value)


def test_pretrained_weights_refuse_grey_images():
    with pytest.raises(UserError) as caught:
        ENCODERS.build("resnet18 weights=imagenet", (1, 32, 32), None)
    for word in ("weights=imagenet", "1 channel", "colour=rgb", "weights=none"):
        assert word in str(caught.value)


def test_a_head_without_fit_leaves_a_resnet_unchanged():
    model = build("resnet18 weights=none", "fc start=random", (3, 32, 32))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.encoder.fit(torch.rand(4, 3, 32, 32))
    model.start_head(torch.rand(4, 3, 32, 32), torch.zeros(4, 5), lambda target: target)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


# ------------------------------------------------------------------------------------------------- precision


LARGE, SMALL = "fc hidden=1000,500,250", "fc hidden=32"


@pytest.mark.parametrize(
    ("features", "chosen"), [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({}, "fp32")]
)
def test_large_networks_use_bf16_if_the_cpu_has_it(features, chosen, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    assert choose_precision(build(LARGE, "fc", (1, 28, 28)), (1, 28, 28), 128, CPU) == chosen
    assert choose_precision(build("pca", "conv", (1, 50, 50), (1, 50, 50)), (1, 50, 50), 64, CPU) == chosen
    assert choose_precision(build("umap", "conv", (1, 50, 50), (1, 50, 50)), (1, 50, 50), 64, CPU) == chosen


def test_small_networks_and_small_batches_use_fp32(monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert choose_precision(build(SMALL, "fc", (1, 28, 28)), (1, 28, 28), 128, CPU) == "fp32"
    assert choose_precision(build(LARGE, "fc", (1, 28, 28)), (1, 28, 28), 16, CPU) == "fp32"


@pytest.mark.parametrize("capable", [True, False])
def test_large_networks_use_bf16_if_the_gpu_has_it(capable, monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: capable and not including_emulation
    )
    model = build("resnet18 weights=none", "linear", (3, 64, 64))
    assert choose_precision(model, (3, 64, 64), 16, torch.device("cuda")) == ("bf16" if capable else "fp32")


def test_products_are_counted_per_position_of_a_convolution():
    model = build("conv channels=2,3 kernel=3", "linear", (1, 8, 8), (5,), 4)
    convolutions = 64 * 2 * 9 + 16 * 3 * 2 * 9
    assert model.n_products(torch.zeros(1, 1, 8, 8)) == convolutions + 3 * 16 * 4 + 4 * 5


def test_products_of_a_transposed_convolution_count_its_input():
    model = build("pca", "conv channels=2,3 kernel=3", (1, 8, 8), (1, 8, 8), 4)
    model.train()
    assert model.n_products(torch.zeros(1, 1, 8, 8)) == 4 * 3 * 16 + 16 * 3 * 2 * 9 + 64 * 2 * 9
    assert model.training


def test_bf16_models_store_convolutions_channels_last():
    for precision, expected in (("bf16", True), ("fp32", False)):
        model = build_model("conv channels=4,8", "conv", (1, 16, 16), (1, 16, 16), 3, precision)
        weight = dict(model.named_parameters())["encoder.stages.conv2.1.weight"]
        assert weight.is_contiguous(memory_format=torch.channels_last) == expected
