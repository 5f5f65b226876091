"""Weights of a trained ResNet18 of torchvision: they load completely, and only the stages that should train change."""

import hashlib
import shutil

import pytest
import torch
import torch.nn.functional as F
from helpers import error_message, raises_user_error, same, weights_of
from PIL import Image
from torchvision.models import ResNet18_Weights, resnet18
from torchvision.transforms.functional import to_tensor

from neuro_noodle.caches import IMAGENET_FILE
from neuro_noodle.networks import resnet
from neuro_noodle.networks.base import ENCODERS, build_model
from neuro_noodle.runs.config import load_config

SHAPE = (3, 64, 64)
STAGES = ["stem", "layer1", "layer2", "layer3", "layer4", "head"]
RECIPE = "--recipe faces_emotion --dataset folder size=64x64 --batch_size 8 --n_epochs 1"


def normalise(images):
    transforms = ResNet18_Weights.IMAGENET1K_V1.transforms()
    return (images - torch.tensor(transforms.mean).view(3, 1, 1)) / torch.tensor(transforms.std).view(3, 1, 1)


@pytest.fixture(scope="module")
def faces(stimuli):
    """The built-in faces (N, 3, 64, 64), and the index of each person (N,)."""
    paths = sorted(stimuli.rglob("*.JPG"))
    images = torch.stack([to_tensor(Image.open(path).convert("RGB").resize((64, 64))) for path in paths])
    return images, torch.tensor([int(path.parent.name) - 1 for path in paths])


@pytest.fixture(scope="module")
def trained(faces):
    """torchvision's network after three steps of learning to name the people."""
    torch.manual_seed(0)
    network, (images, people) = resnet18(num_classes=4), faces
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(network(normalise(images)), people).backward()
        optimizer.step()
    return network.eval()


@pytest.fixture(scope="module")
def file(trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "people.pth"
    torch.save(trained.state_dict(), path)
    return path


@pytest.fixture
def train(run_main, stimuli, tmp_path):
    """Return a function that trains on the faces: (weights by stage before, after, stderr)."""

    def run(words):
        status, _, err = run_main("", f"{RECIPE} --data_dir {stimuli} --save_dir {tmp_path} --namestr run {words}")
        assert status == 0, err
        config = load_config(tmp_path / "run")
        torch.manual_seed(config["flags"]["seed"])
        before = build_model(**config["model"])
        before.encoder.fit(torch.empty(0))
        return by_stage(before.state_dict()), by_stage(weights_of(tmp_path / "run" / "0")), err

    return run


def by_stage(weights):
    """Return the weights and batch-norm statistics of each stage."""
    parts = {name: "head." if name == "head" else f"encoder.stages.{name}." for name in STAGES}
    return {name: {key: v for key, v in weights.items() if key.startswith(part)} for name, part in parts.items()}


def features(network, images):
    layers = [layer for name, layer in network.named_children() if name != "fc"]
    return torch.nn.Sequential(*layers, torch.nn.Flatten())(normalise(images)).detach()


# ------------------------------------------------------------------------------------------------------- loading


@pytest.mark.parametrize("left_out", ["nothing", "num_batches_tracked"])
def test_a_trained_network_gives_torchvisions_features(left_out, trained, faces, tmp_path):
    """Files of old torch versions lack the counters of batch norm."""
    state = {key: value for key, value in trained.state_dict().items() if left_out not in key}
    torch.save(state, tmp_path / "net.pth")
    encoder = ENCODERS.build(f"resnet18 weights={tmp_path / 'net.pth'}", SHAPE, None).eval()
    encoder.fit(faces[0])
    assert torch.allclose(encoder(faces[0]), features(trained, faces[0]), rtol=0, atol=1e-5)
    assert not torch.allclose(encoder(faces[0]), features(resnet18().eval(), faces[0]), atol=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: {f"module.{key}": v for key, v in state.items()}, "100 missing, such as conv1.weight; 122 unkn"),
        (lambda state: {f"module.{key}": v for key, v in state.items()}, "122 unknown, such as module.conv1.weight"),
        (
            lambda state: {"epoch": 3, "state_dict": state},
            "100 missing, such as conv1.weight; 2 unknown, such as epoch",
        ),
        (lambda state: {k: v for k, v in state.items() if "layer4.1.bn2" not in k}, "4 missing, such as layer4.1.bn2"),
        (lambda state: state | {"bn1.bias": torch.ones(32)}, "(1 of another shape, such as bn1.bias)"),
        (lambda state: state | {"bn1.bias": 1.0}, "(1 of another shape, such as bn1.bias)"),
        (lambda state: state | {"layer1.2.bn1.bias": torch.ones(64)}, "(1 unknown, such as layer1.2.bn1.bias)"),
        (lambda state: state | {3: torch.ones(64)}, "(1 unknown, such as 3)"),
    ],
    ids=["parallel", "parallel names", "nested", "missing", "shape", "number", "deeper", "index"],
)
def test_a_file_of_other_names_says_which(change, message, trained, tmp_path):
    torch.save(change(dict(trained.state_dict())), tmp_path / "net.pth")
    with raises_user_error(message):
        ENCODERS.build(f"resnet18 weights={tmp_path / 'net.pth'}", SHAPE, None).fit(torch.empty(0))


# ---------------------------------------------------------------------------------------------------- the cache


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_a_saved_imagenet_file_is_used(cache, file, monkeypatch, train, trained):
    """Its name ends in the first digits of its sha256, as that of torchvision's file does."""
    name = f"resnet18-{hashlib.sha256(file.read_bytes()).hexdigest()[:8]}.pth"
    monkeypatch.setattr(resnet, "IMAGENET_FILE", name)
    shutil.copy(file, cache / name)
    _, after, _ = train("--trainable_stages 1")
    assert torch.equal(after["stem"]["encoder.stages.stem.0.weight"], trained.conv1.weight)


@pytest.mark.parametrize("n_bytes", [None, 1000])
def test_another_file_is_not_taken_for_imagenets(n_bytes, cache, file, run_main, stimuli, tmp_path):
    content = file.read_bytes()[:n_bytes]
    (cache / IMAGENET_FILE).write_bytes(content)
    message = error_message(run_main, f"{RECIPE} --data_dir {stimuli} --save_dir {tmp_path / 'weights'}")
    assert f"{cache / IMAGENET_FILE} is damaged or not torchvision's file" in message
    assert f"sha256 starts with {hashlib.sha256(content).hexdigest()[:8]}, not f37072fd" in message
    assert f"--encoder resnet18 weights={cache / IMAGENET_FILE}" in message


# ------------------------------------------------------------------------------------------------------ freezing


@pytest.mark.parametrize(
    ("words", "n_trained"),
    [
        ("--trainable_stages 1", 1),
        ("--trainable_stages 1 --augment none", 1),  # on stored latents
        ("--trainable_stages 2", 2),
        ("--trainable_stages 6", 6),
        ("", 6),
    ],
)
def test_only_the_stages_that_train_leave_loaded_weights(words, n_trained, file, trained, train):
    """Frozen stages keep their batch-norm statistics, too."""
    before, after, err = train(f"--encoder resnet18 weights={file} {words}")
    assert torch.equal(before["layer4"]["encoder.stages.layer4.1.bn2.running_var"], trained.layer4[1].bn2.running_var)
    assert [name for name in STAGES if not same(before[name], after[name])] == STAGES[-n_trained:]
    assert "random weights" not in err


def test_a_new_latent_stage_that_is_frozen_is_random(file, train):
    _, _, err = train(f"--encoder resnet18 weights={file} --latent_dim 8 --trainable_stages 1")
    assert "note: not trained, with random weights: latent;" in err


def test_frozen_stages_of_a_new_network_are_random(train):
    _, _, err = train("--encoder resnet18 weights=none --trainable_stages 2")
    assert "note: not trained, with random weights: stem, layer1, layer2, layer3;" in err


def test_repetitions_share_a_loaded_encoder(file, run_main, stimuli, tmp_path):
    """Each trains a head on the same stored latents."""
    words = f"{RECIPE} --augment none --trainable_stages 1 --repetitions 2 --encoder resnet18 weights={file}"
    status, _, err = run_main("", f"{words} --data_dir {stimuli} --save_dir {tmp_path} --namestr run")
    assert status == 0, err
    heads = [value for key, value in weights_of(tmp_path / "run" / "0").items() if "head" in key]
    assert all(value.shape[0] == 2 and not torch.equal(value[0], value[1]) for value in heads)
