"""Encoders, heads and models: a promise of every pair, exact starts, and weights that are what they claim."""

from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18

from neuro_noodle.choices import UserError
from neuro_noodle.networks.base import ENCODERS, HEADS, build_model, choose_precision
from neuro_noodle.objectives.base import OBJECTIVES

FROM_SCRATCH = {"resnet18": "resnet18 weights=none"}
OF_THE_IMAGE = ("conv_dog", "identity")  # whose latent has the numbers that the image gives it
WITH_MAPS = ("conv_dog", "identity")  # what head what_where can read
PAIRS = [(e, h) for e in ENCODERS for h in HEADS if h != "what_where" or e in WITH_MAPS]


def of_pairs(chosen):
    return pytest.mark.parametrize(
        ("encoder", "head"), [pytest.param(FROM_SCRATCH.get(e, e), h, id=f"{e}-{h}") for e, h in chosen]
    )


pairs = of_pairs(PAIRS)
encoders = pytest.mark.parametrize("encoder", [pytest.param(FROM_SCRATCH.get(e, e), id=e) for e in ENCODERS])
shapes = pytest.mark.parametrize("shape", [(1, 16, 12), (3, 32, 32)], ids=["grey", "colour"])
CPU = torch.device("cpu")


def build(encoder, head, shape, output_shape=None, latent_dim=6):
    """A model of five classes, or of images where its head makes nothing else."""
    output_shape = output_shape or (shape if head == "conv" else (5,))
    latent_dim = None if encoder in OF_THE_IMAGE else latent_dim
    return build_model(encoder, head, shape, output_shape, latent_dim, "fp32")


def fitted(encoder, head, shape, output_shape=None):
    """A model of which the encoder has learned what it learns before the loop."""
    model = build(encoder, head, shape, output_shape)
    model.encoder.fit(torch.rand(12, *shape))
    return model


def faces(n, shape=(1, 12, 9), rank=20):
    """Images in [0, 1] whose principal components are well apart, so that PCA is one thing."""
    d = int(np.prod(shape))
    draw = torch.Generator().manual_seed(1)
    patterns = torch.linalg.qr(torch.randn(d, rank, generator=draw))[0] * 0.75 ** torch.arange(rank)
    images = torch.randn(n, rank) @ patterns.T + 0.002 * torch.randn(n, d)
    return (0.5 + 0.12 * images / images.std()).clamp(0, 1).view(n, *shape)


def pca(training, images, k):
    """Scores of unit variance on the training images, and the reconstruction; by SVD in double precision."""
    centre = training.flatten(1).double().mean(0)
    _, sizes, components = torch.linalg.svd(training.flatten(1).double() - centre, full_matrices=False)
    scores = (images.flatten(1).double() - centre) @ components[:k].T
    sd = sizes[:k] / (len(training) - 1) ** 0.5
    return scores / sd, (scores @ components[:k] + centre).view_as(images)


def assert_equal_up_to_sign(latents, scores, tolerance=2e-3):
    sign = (latents * scores).sum(0).sign()
    assert (latents * sign - scores).norm() <= tolerance * scores.norm()


# -------------------------------------------------------------------------- promises of every encoder and head


@pairs
@shapes
@pytest.mark.parametrize("output", ["classes", "image"])
def test_every_pair_predicts_the_shape_asked_for_or_refuses_it_and_trains_in_every_stage(encoder, head, shape, output):
    output_shape = shape if output == "image" else (5,)
    cannot = {("conv", "classes"): "head 'conv' makes images, .*; take --head linear or fc"}
    cannot |= {(name, "image"): f"head '{name}' makes a number per neuron, .*" for name in ("mlp", "what_where")}
    if (head, output) in cannot:
        with pytest.raises(UserError, match=cannot[head, output]):
            build(encoder, head, shape, output_shape)
        return
    model = fitted(encoder, head, shape, output_shape)
    images = torch.rand(4, *shape)
    assert model.encoder(images).shape == (4, model.encoder.latent_dim if encoder in OF_THE_IMAGE else 6)
    prediction = model(images)
    assert prediction.shape == (4, *output_shape)
    assert prediction.dtype == torch.float32
    (prediction.square().sum() + model.regularizer()).backward()
    for name, stage in model.stages().items():
        weights = list(stage.parameters())
        assert not weights or any(w.grad is not None and w.grad.any() for w in weights), name


@pairs
@shapes
def test_saved_weights_open_safely_and_rebuild_bit_equal_predictions(encoder, head, shape, tmp_path):
    model = build(encoder, head, shape)
    images = torch.rand(12, *shape)
    model.encoder.fit(images)
    model.start_head(images, torch.rand(12, 5), lambda target: target)  # what is learned from images must be saved too
    model(images)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    rebuilt = build(encoder, head, shape)
    rebuilt.load_state_dict(torch.load(tmp_path / "model.pth", weights_only=True))
    if model.encoder.pickled is not None:
        with pytest.raises(UserError, match="--trust_pickle"):
            rebuilt(images)
        rebuilt.encoder.pickled = model.encoder.pickled
    assert torch.equal(rebuilt.eval()(images), model.eval()(images))


@pairs
def test_the_stages_hold_every_parameter_exactly_once(encoder, head):
    model = build(encoder, head, (3, 32, 32))
    assert bool(model.encoder.stages) == any(True for _ in model.encoder.parameters())  # none of pca and umap
    staged = [id(p) for stage in model.stages().values() for p in stage.parameters()]
    assert sorted(staged) == sorted(id(p) for p in model.parameters())
    assert list(model.stages())[-1] == "head"


@of_pairs([(e, h) for e, h in PAIRS if e != "umap"])  # which places images beside each other
@shapes
def test_in_evaluation_an_image_has_the_same_prediction_alone_as_in_a_batch(encoder, head, shape):
    model = fitted(encoder, head, shape).eval()
    images = torch.rand(4, *shape)
    alone = torch.cat([model(image[None]) for image in images])
    assert torch.allclose(model(images), alone, atol=1e-4, rtol=1e-4)


@encoders
@shapes
@pytest.mark.parametrize("latent_dim", [None, 3])
def test_an_encoder_keeps_to_the_latent_it_announces(encoder, shape, latent_dim):
    latent_dim = None if encoder in OF_THE_IMAGE else latent_dim
    encoder = ENCODERS.build(encoder, shape, latent_dim)
    encoder.fit(torch.rand(12, *shape))
    assert encoder.latent_dim == (latent_dim or encoder.latent_dim)
    assert encoder(torch.rand(4, *shape)).shape == (4, encoder.latent_dim)


@pairs
def test_half_precision_leaves_predictions_in_float32_and_near_those_of_full(encoder, head):
    images = torch.rand(2, 3, 32, 32)
    model = fitted(encoder, head, (3, 32, 32)).eval()
    full = model(images)
    model.precision = "bf16"
    half = model(images)
    assert half.dtype == torch.float32
    assert torch.allclose(half, full, atol=0.05 * full.abs().max().item())


# --------------------------------------------------------------------------------------------- fc, start=pca


@pytest.mark.parametrize("hidden", ["none", "64", "96,80"])
@pytest.mark.parametrize("activation", ["relu", "leakyrelu", "gelu", "silu", "softplus"])
def test_starts_of_pca_and_linear_are_pca_on_images_seen_and_unseen(activation, hidden):
    k = 8
    training, unseen = faces(110).split([80, 30])
    option = f"activation={activation}"
    wide = hidden if hidden != "none" else "64"
    model = build(
        f"fc hidden={hidden} {option} start=pca", f"fc hidden={wide} {option} start=linear", (1, 12, 9), (1, 12, 9), k
    )
    objective = OBJECTIVES.build("reconstruct loss=mse")
    model.encoder.fit(training)
    model.start_head(training, training, objective.link)
    for images in (training, unseen):
        scores, reconstruction = pca(training, images, k)
        assert_equal_up_to_sign(model.encoder(images).double(), scores)
        assert (objective.output(model(images)) - reconstruction).norm() <= 1e-3 * reconstruction.norm()


def test_with_bce_the_start_is_the_best_linear_map_from_latent_to_logits():
    training = faces(80)
    model = build("fc hidden=64 start=pca", "fc start=linear", (1, 12, 9), (1, 12, 9), 8)
    objective = OBJECTIVES.build("reconstruct loss=bce")
    model.encoder.fit(training)
    model.start_head(training, training, objective.link)
    inputs = torch.cat([model.encoder(training), torch.ones(80, 1)], 1)  # (N, D + 1)
    logits = objective.link(training).flatten(1)
    best = inputs @ torch.linalg.lstsq(inputs, logits).solution
    assert (model(training).flatten(1) - best).norm() <= 2e-3 * best.norm()


def test_the_start_is_pca_where_components_lie_close_together():
    training = torch.rand(100, 1, 30, 25)
    encoder = ENCODERS.build("fc hidden=64 start=pca", (1, 30, 25), 8)
    encoder.fit(training)
    assert_equal_up_to_sign(encoder(training).double(), pca(training, training, 8)[0])


def test_after_an_exact_start_every_layer_still_learns():
    training = faces(80)
    model = build("fc hidden=64,96 start=pca", "fc start=linear", (1, 12, 9), (1, 12, 9), 8)
    objective = OBJECTIVES.build("reconstruct loss=mse")
    model.encoder.fit(training)
    model.start_head(training, training, objective.link)
    objective.loss(model(training + 0.05 * torch.randn_like(training)), training).backward()
    assert all(p.grad.any() for p in model.parameters())


def test_fewer_images_than_latent_dimensions_start_as_all_their_components():
    training = faces(6)
    encoder = ENCODERS.build("fc hidden=64 start=pca", (1, 12, 9), 20)
    encoder.fit(training)
    latents = encoder(training)
    assert_equal_up_to_sign(latents[:, :5].double(), pca(training, training, 5)[0])
    assert torch.allclose(latents[:, 5:], torch.zeros(6, 15), atol=1e-5)


def test_images_that_repeat_do_not_blow_up_the_latents_of_others():
    training = faces(4).repeat(4, 1, 1, 1)
    encoder = ENCODERS.build("fc start=pca", (1, 12, 9), 8)
    encoder.fit(training)
    assert encoder(faces(20)).abs().max() < 1000


def test_a_random_start_only_centres_on_the_mean_image():
    training = faces(30)
    encoder = ENCODERS.build("fc", (1, 12, 9), 8)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.fit(training)
    assert torch.allclose(encoder.centre, training.flatten(1).mean(0))
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items() if key != "centre")


@pytest.mark.parametrize("hidden", ["15", "64,15"])
def test_hidden_layers_too_narrow_for_an_exact_start_are_named_with_the_width_needed(hidden):
    training = faces(30)
    with pytest.raises(UserError, match=r"at least 16 units \(2 x latent_dim\), not 15"):
        ENCODERS.build(f"fc hidden={hidden} start=pca", (1, 12, 9), 8).fit(training)
    model = build("fc", f"fc hidden={hidden} start=linear", (1, 12, 9), (1, 12, 9), 8)
    with pytest.raises(UserError, match=r"at least 16 units \(2 x latent_dim\), not 15"):
        model.encoder.fit(training)
        model.start_head(training, training, lambda target: target)


@pytest.mark.parametrize("activation", ["tanh", "sigmoid"])
def test_an_activation_without_an_exact_start_is_named_with_those_that_have_one(activation):
    with pytest.raises(UserError, match=f"(?i)cannot go through {activation}; take activation relu.*or start=random"):
        ENCODERS.build(f"fc activation={activation} start=pca", (1, 12, 9), 8).fit(faces(30))


# -------------------------------------------------------------------------------------------------- resnet18


def weights_file(path, with_fc=True):
    state = {key: value for key, value in resnet18().state_dict().items() if with_fc or not key.startswith("fc.")}
    torch.save(state, path)
    return state


@pytest.mark.parametrize("with_fc", [True, False])
def test_weights_from_a_file_are_the_very_tensors_and_give_torchvisions_features(tmp_path, with_fc):
    state = weights_file(tmp_path / "net.pth", with_fc)
    encoder = ENCODERS.build(f"resnet18 weights={tmp_path / 'net.pth'}", (3, 32, 32), None)
    encoder.fit(torch.rand(2, 3, 32, 32))
    ours = {key: value for key, value in encoder.state_dict().items() if key not in ("mean", "sd")}
    theirs = [value for key, value in state.items() if not key.startswith("fc.")]
    assert all(torch.equal(a, b) for a, b in zip(ours.values(), theirs, strict=True))
    network = resnet18()
    network.load_state_dict(state, strict=False)
    network.fc = torch.nn.Identity()
    images = torch.rand(2, 3, 32, 32)
    normalised = ResNet18_Weights.IMAGENET1K_V1.transforms()
    normalised = (images - torch.tensor(normalised.mean).view(3, 1, 1)) / torch.tensor(normalised.std).view(3, 1, 1)
    assert torch.allclose(encoder.eval()(images), network.eval()(normalised), atol=1e-4, rtol=1e-4)


def test_weights_from_scratch_stay_as_they_are():
    encoder = ENCODERS.build("resnet18 weights=none", (3, 32, 32), 6)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    encoder.fit(torch.rand(2, 3, 32, 32))
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def wrong_network(path):
    torch.save({key: value[..., :1] for key, value in resnet18().state_dict().items() if value.ndim}, path)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda path: path.write_text("these are words"), id="text"),
        pytest.param(lambda path: path.write_bytes(b""), id="empty"),
        pytest.param(lambda path: torch.save([1, 2], path), id="list"),
        pytest.param(lambda path: torch.save(resnet18(), path), id="whole network, which only a pickle opens"),
        pytest.param(wrong_network, id="other shapes"),
        pytest.param(lambda path: torch.save(torch.nn.Linear(3, 3).state_dict(), path), id="another network"),
        pytest.param(
            lambda path: torch.save({k: v for k, v in resnet18().state_dict().items() if "layer4" not in k}, path),
            id="without layer4",
        ),
    ],
)
def test_a_file_without_the_weights_of_a_resnet18_is_named(tmp_path, write):
    path = tmp_path / "net.pth"
    write(path)
    encoder = ENCODERS.build(f"resnet18 weights={path}", (3, 32, 32), None)
    with pytest.raises(UserError, match="encoder 'resnet18': .*net.pth holds no weights of a ResNet18: "):
        encoder.fit(torch.rand(2, 3, 32, 32))


def test_weights_that_are_no_file_name_what_they_may_be():
    with pytest.raises(UserError, match="weights=imagnet is neither imagenet, none nor a file"):
        ENCODERS.build("resnet18 weights=imagnet", (3, 32, 32), None).fit(torch.rand(2, 3, 32, 32))


def test_imagenet_weights_offline_say_where_to_put_the_file(tmp_path, monkeypatch):
    def offline(*given, **settings):
        raise URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    encoder = ENCODERS.build("resnet18 weights=imagenet", (3, 32, 32), None)
    with pytest.raises(UserError) as told:
        encoder.fit(torch.rand(2, 3, 32, 32))
    for word in ("no network", "resnet18-f37072fd.pth", str(tmp_path / "checkpoints"), "weights=/path", "weights=none"):
        assert word in str(told.value)


def test_pretrained_weights_on_grey_images_fail_at_once_naming_colour():
    with pytest.raises(UserError) as told:
        ENCODERS.build("resnet18 weights=imagenet", (1, 32, 32), None)
    for word in ("weights=imagenet", "1 channel", "colour=rgb", "weights=none"):
        assert word in str(told.value)


def test_starting_a_head_that_learns_nothing_leaves_a_resnet_as_it_is():
    model = build("resnet18 weights=none", "fc start=random", (3, 32, 32))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.encoder.fit(torch.rand(4, 3, 32, 32))
    model.start_head(torch.rand(4, 3, 32, 32), torch.zeros(4, 5), lambda target: target)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


# ------------------------------------------------------------------------------------------------- precision


@pytest.mark.parametrize("wanted", ["fp32", "bf16"])
@pytest.mark.parametrize("encoder", list(ENCODERS))
def test_a_precision_asked_for_is_taken(encoder, wanted):
    assert choose_precision(encoder, "linear", wanted, CPU) == wanted


@pytest.mark.parametrize(
    ("features", "chosen"), [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({}, "fp32")]
)
def test_auto_takes_half_precision_where_the_device_has_it_but_never_for_fc(features, chosen, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: features, raising=False)
    assert choose_precision("resnet18 weights=none", "linear", "auto", CPU) == chosen
    assert choose_precision("fc hidden=8", "conv", "auto", CPU) == "fp32"
    assert choose_precision("pca", "conv", "auto", CPU) == choose_precision("umap", "conv", "auto", CPU) == chosen
    assert choose_precision("pca", "linear", "auto", CPU) == "fp32"


@pytest.mark.parametrize("capable", [True, False])
def test_auto_asks_a_gpu_what_it_can(capable, monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation: capable and not including_emulation
    )
    assert choose_precision("resnet18", "linear", "auto", torch.device("cuda")) == ("bf16" if capable else "fp32")
    assert choose_precision("fc", "linear", "auto", torch.device("cuda")) == "fp32"
