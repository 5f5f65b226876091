"""Transfer: frozen stages do not change, encoders load exactly, and latents replace the images of a frozen encoder."""

import copy
from types import SimpleNamespace

import pytest
import torch
from helpers import indexed_images, raises_user_error, write_config

from model import format_stages
from neuro_noodle.networks.base import ENCODERS, build_model
from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.runs import latents as runs_latents
from neuro_noodle.runs.commits import commit_files
from neuro_noodle.runs.files import new_run
from neuro_noodle.runs.latents import encode
from neuro_noodle.runs.loaders import make_loaders
from neuro_noodle.runs.sessions import load_encoder, pth_bytes, save_session
from neuro_noodle.runs.task import Task

SHAPE = (1, 12, 9)
CONV = "conv channels=4,4,8 activation=leakyrelu"
STAGES = ["conv1", "conv2", "conv3", "latent", "head"]
each_number = pytest.mark.parametrize("k", range(1, 6))


def build(encoder=CONV, head="linear", shape=SHAPE, latent_dim=6):
    return build_model(encoder, head, shape, (3,), latent_dim, "fp32")


def stage_of(key):
    return "head" if key.startswith("head.") else key.removeprefix("encoder.stages.").partition(".")[0]


def snapshot(model):
    return copy.deepcopy(model.state_dict())


def train(model, n_steps=1):
    """Train for some steps of SGD on random images and targets."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    model.train()
    for _ in range(n_steps):
        (model(torch.rand(8, *SHAPE)) - torch.randn(8, 3)).square().mean().backward()
        optimizer.step()
    return model


# ------------------------------------------------------------------------------------------------------ freezing


@each_number
def test_only_the_last_k_stages_change_in_training(k):
    model = build()
    model.freeze(k)
    before = snapshot(model)
    train(model)
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {key for key in before if stage_of(key) in STAGES[-k:]}


@each_number
def test_frozen_stages_stay_in_evaluation_mode(k):
    model = build()
    model.freeze(k)
    assert model.frozen == STAGES[:-k]
    for mode in (True, False, True):
        model.train(mode)
        for name, stage in model.stages().items():
            expected = mode and name in STAGES[-k:]
            assert {module.training for module in stage.modules()} == {expected}, name
    model.encode(torch.rand(2, *SHAPE))  # sets evaluation mode temporarily
    assert not any(model.stages()[name].training for name in model.frozen)


def test_too_many_trainable_stages_are_refused_by_name():
    with raises_user_error("--trainable_stages 6: this model has 5 stages: conv1, conv2, conv3, latent, head"):
        build().freeze(6)
    with raises_user_error("--trainable_stages 2: this model has 1 stages: head"):
        build("pca").freeze(2)


def test_a_frozen_variational_latent_is_not_random():
    model = build(f"{CONV} beta=1")
    model.freeze(1)
    model.train()
    images = torch.rand(4, *SHAPE)
    assert torch.equal(model(images), model(images))
    assert model.regularizer() == 0


# ------------------------------------------------------------------------------------------------- table of stages


def counted(table):
    """Return the columns of the table (stage, weights, trains), and the number in its last line."""
    _, *rows, total = table.splitlines()
    names, weights, trains = zip(*(row.split() for row in rows), strict=True)
    return list(names), [int(n.replace(",", "")) for n in weights], list(trains), int(total.split()[0].replace(",", ""))


@pytest.mark.parametrize("encoder", [CONV, "fc hidden=300,20 beta=1", "resnet18 weights=none", "pca"])
@pytest.mark.parametrize("k", [None, 1])
def test_the_table_of_stages_counts_every_weight_once(encoder, k):
    model = build(encoder)
    if k:
        model.freeze(k)
    names, weights, trains, n_trained = counted(format_stages(model))
    assert names == list(model.weighted_stages())
    assert sum(weights) == sum(p.numel() for p in model.parameters())
    assert trains == ["no" if k and name != "head" else "yes" for name in names]
    assert n_trained == sum(n for n, trained in zip(weights, trains, strict=True) if trained == "yes")


# -------------------------------------------------------------------------------------------- latents for images


@each_number
def test_the_encoder_is_fixed_if_only_the_head_trains(k):
    model = build()
    assert not model.has_fixed_encoder
    model.freeze(k)
    assert model.has_fixed_encoder == (k == 1)


@pytest.mark.parametrize("encoder", ["pca", "umap"])
def test_an_encoder_without_weights_is_always_fixed(encoder):
    assert build(encoder).has_fixed_encoder


@pytest.mark.parametrize("head", ["linear", "fc hidden=8"])
@pytest.mark.parametrize("encoder", [CONV, "pca"])
def test_the_head_predicts_the_same_from_latents_as_from_images(encoder, head):
    model = build(encoder, head)
    images = torch.rand(8, *SHAPE)
    model.encoder.fit(images)
    model.freeze(1)
    train(model, 2)
    latents, expected = model.encode(images), model(images)
    model.precomputed = True
    assert torch.equal(model(latents), expected)


def test_training_on_latents_gives_the_same_gradients():
    first = build()
    first.freeze(1)
    second = copy.deepcopy(first)
    images, target = torch.rand(8, *SHAPE), torch.randn(8, 3)
    latents = second.encode(images)
    second.precomputed = True
    for model, x in ((first, images), (second, latents)):
        model.train()
        (model(x) - target).square().mean().backward()
    ours, theirs = (list(model.head.parameters()) for model in (first, second))
    assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours, theirs, strict=True))


def test_a_loader_can_yield_latents_with_the_targets_of_images():
    dataset = indexed_images()
    latents = torch.arange(len(dataset)).float()[:, None].expand(-1, 2)
    indices = [5, 3, 40, 17, 8]
    task = Task(dataset, OBJECTIVES.build("classify").on(dataset), {"training": indices}, {}, torch.device("cpu"))
    loaders = make_loaders(task, batch_size=2, seed=1, latents=latents)
    batches = [(x[:, 0].long(), y) for x, y in loaders["training"]]
    seen = torch.cat([x for x, _ in batches])
    assert sorted(seen.tolist()) == sorted(indices)
    assert torch.equal(torch.cat([y for _, y in batches]), dataset.labels[seen])


def test_images_are_encoded_in_evaluation_mode_and_in_id_order(monkeypatch):
    dataset = indexed_images()
    model = build("conv channels=4", shape=(1, 4, 3))
    monkeypatch.setattr(runs_latents, "BATCH", 7)
    model.train()
    latents = encode(model, dataset)
    assert model.training
    whole = model.eval().encoder(dataset.sample(torch.arange(len(dataset)))["image"])
    assert torch.allclose(latents, whole, atol=1e-5)


@pytest.mark.parametrize("encoder", ["fc hidden=16 start=pca", "pca"])
def test_fitting_the_head_does_not_change_the_encoder(encoder):
    images = torch.rand(20, *SHAPE)
    model = build(encoder, "fc hidden=16 start=linear")
    model.encoder.fit(images)
    before = snapshot(model)
    model.start_head(torch.rand(20, *SHAPE), torch.randn(20, 3), lambda target: target)
    changed = {stage_of(key) for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {"head"}


# ------------------------------------------------------------------------------------------------- load_encoder


def leave_run(folder, encoder=CONV, shape=SHAPE, latent_dim=6):
    """Write a run whose best weights are not its last; return its folder, the best and the last weights."""
    arguments = {"encoder": encoder, "head": "linear", "image_shape": list(shape), "output_shape": [3]}
    arguments |= {"latent_dim": latent_dim, "precision": "fp32"}
    run = new_run(folder, "run")
    write_config(run, arguments)
    best, last = build(encoder, "linear", shape, latent_dim), build(encoder, "linear", shape, latent_dim)
    learning = SimpleNamespace(optimizer=torch.optim.SGD(last.parameters()), best_weights=best.state_dict())
    save_session(run, 9, last, learning, {}, {}, keep_all=False)
    return run, best.state_dict(), last.state_dict()


@each_number
def test_all_but_the_fresh_stages_load_the_best_weights(k, tmp_path):
    run, best, _ = leave_run(tmp_path)
    model = build()
    initial = snapshot(model)
    load_encoder(model, run, k, trust_pickle=False)
    for key, value in model.state_dict().items():
        wanted = initial if stage_of(key) in STAGES[-k:] else best
        assert torch.equal(value, wanted[key]), key


def test_naming_a_session_loads_that_session(tmp_path):
    run, best, last = leave_run(tmp_path)
    for path, wanted in ((run / "9", last), (run / "best", best)):
        model = build()
        load_encoder(model, path, 1, trust_pickle=False)
        assert all(torch.equal(v, wanted[f"encoder.{key}"]) for key, v in model.encoder.state_dict().items())


def test_an_encoder_loads_whatever_the_head(tmp_path):
    run, best, _ = leave_run(tmp_path)
    model = build_model(CONV, "conv", SHAPE, SHAPE, 6, "fp32")
    load_encoder(model, run, 1, trust_pickle=False)
    assert torch.equal(model.encoder.stages["conv2"][1].weight, best["encoder.stages.conv2.1.weight"])


def test_fitted_buffers_of_an_encoder_are_loaded(tmp_path):
    run, best, _ = leave_run(tmp_path, "pca")
    weights = best | {"encoder.components": torch.randn(6, 108), "encoder.centre": torch.rand(108)}
    commit_files(run, {"best/model.pth": pth_bytes(weights)})
    model = build("pca")
    load_encoder(model, run, 1, trust_pickle=False)
    assert torch.equal(model.encoder.components, weights["encoder.components"])


WHAT_TO_DO = "the images must have the same size, and --encoder and --latent_dim must be the same"


@pytest.mark.parametrize(
    ("theirs", "ours", "culprit"),
    [
        ((CONV, SHAPE, 6), (CONV, (1, 20, 9), 6), "stages.latent"),
        ((CONV, SHAPE, 6), (CONV, SHAPE, 4), "stages.latent"),
        ((CONV, SHAPE, 6), (CONV, (3, 12, 9), 6), "stages.conv1"),
        ((CONV, SHAPE, 6), ("conv channels=4,8,8", SHAPE, 6), "stages.conv2"),
        (("fc hidden=8", SHAPE, 6), ("fc hidden=9", SHAPE, 6), "stages.hidden1"),
        (("fc hidden=8", SHAPE, 6), ("fc hidden=8", (1, 12, 8), 6), "stages.hidden1"),
        (("fc hidden=8", SHAPE, 6), ("fc hidden=8,8", SHAPE, 6), "stages.hidden2"),
        (("fc hidden=8", SHAPE, 6), (CONV, SHAPE, 6), "stages.conv1"),
        (("pca", SHAPE, 6), ("fc hidden=8", SHAPE, 6), "stages.hidden1"),
        (("pca", SHAPE, 6), ("pca", SHAPE, 4), "components"),
        (("pca", SHAPE, 6), ("umap", SHAPE, 6), "mean"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value[0]} {value[1]} {value[2]}",
)
def test_an_encoder_that_does_not_match_changes_nothing(theirs, ours, culprit, tmp_path):
    run, _, _ = leave_run(tmp_path, *theirs)
    model = build(ours[0], "linear", *ours[1:])
    before = snapshot(model)
    with raises_user_error(WHAT_TO_DO) as error:
        load_encoder(model, run, 1, trust_pickle=False)
    assert culprit in str(error.value)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("fc hidden=8,8", "fc hidden=8"), ("conv channels=4 beta=1", "conv channels=4"), (CONV, "conv channels=4,4,8,8")],
)
def test_an_encoder_with_more_or_fewer_layers_is_refused(theirs, ours, tmp_path):
    shape = (1, 16, 16)
    run, _, _ = leave_run(tmp_path, theirs, shape)
    with raises_user_error(WHAT_TO_DO):
        load_encoder(build(ours, "linear", shape), run, 1, trust_pickle=False)


@pytest.mark.parametrize(("latent_dim", "k"), [(4, 2), (3, 5)])
def test_fresh_stages_may_have_other_shapes(latent_dim, k, tmp_path):
    run, best, _ = leave_run(tmp_path)
    model = build(latent_dim=latent_dim)
    load_encoder(model, run, k, trust_pickle=False)
    loaded = torch.equal(model.encoder.stages["conv1"][0].weight, best["encoder.stages.conv1.0.weight"])
    assert loaded == (k == 2)


def test_too_many_fresh_stages_are_refused_by_name(tmp_path):
    run, _, _ = leave_run(tmp_path)
    with raises_user_error("--fresh_stages 6: there are 5 stages: conv1, conv2, conv3, latent, head"):
        load_encoder(build(), run, 6, trust_pickle=False)


def test_every_encoder_can_be_loaded_from_its_own_run(tmp_path):
    for name in ENCODERS:
        encoder = "resnet18 weights=none" if name == "resnet18" else name
        latent_dim = None if name in ("conv_dog", "energy", "identity") else 6
        run, best, _ = leave_run(tmp_path / name, encoder, latent_dim=latent_dim)
        model = build(encoder, latent_dim=latent_dim)
        load_encoder(model, run, 1, trust_pickle=False)
        assert all(torch.equal(v, best[f"encoder.{key}"]) for key, v in model.encoder.state_dict().items())
