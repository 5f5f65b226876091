"""Repetitions: one stacked model gives the results of separate runs, and each repetition stops on its own."""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import HERE, error_message, raises_user_error, result_of, train_silently

from neuro_noodle import command
from neuro_noodle.networks.base import build_model
from neuro_noodle.networks.repetitions import Repetitions, unstack
from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.runs.manifest import best_session, sessions
from neuro_noodle.runs.sessions import load_model, load_pth
from train import Record

SMALL = "--n_epochs 3 --batch_size 24 --val_fraction 0.25 --test_fraction 0.2 --device cpu --precision fp32"
DIGITS = "--recipe faces_ae --dataset digits --augment none --encoder {encoder} --head {head} --objective {objective}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


# ------------------------------------------------------------------------------------------ the same as separate runs

MODELS = {
    "dog": ("dog", "mlp hidden=7 l2=0.01", "classify", "--optimizer adam"),
    "batch norm": ("conv channels=4,6 scale=zscore smooth=0.1 group=0.1", "linear", "classify", "--optimizer adam"),
    "momentum": (
        "fc hidden=9 start=random",
        "linear l1=0.01",
        "classify",
        "--optimizer sgd momentum=0.9 weight_decay=0.01",
    ),
    "fixed encoder": ("pca", "fc hidden=12", "reconstruct loss=mse", "--latent_dim 5"),
    "linear": ("identity", "linear smooth=0.01", "classify", "--latent_dim none"),
    "averaged maps": ("conv channels=4,6 latent=average", "linear", "classify", "--optimizer adam"),
    "augmented": ("fc hidden=9 start=pca", "fc start=linear", "reconstruct", "--augment noise --latent_dim 4"),
    "noisy input": ("fc hidden=9 start=random", "fc start=random", "reconstruct noise=0.1 second=l1", "--latent_dim 4"),
}


@pytest.mark.parametrize("name", MODELS)
def test_repetitions_equal_separate_runs_with_one_split(name, folder):
    encoder, head, objective, more = MODELS[name]
    words = f"{DIGITS.format(encoder=encoder, head=head, objective=objective)} {SMALL} {more} --save_dir {folder}"
    name = name.replace(" ", "_")
    train_silently(f"{words} --namestr {name} --seed 5 --repetitions 3")
    together = records(folder / name)
    for index, seed in enumerate((5, 10005, 20005)):
        train_silently(f"{words} --namestr {name}-{seed} --seed {seed} --split_seed 5")
        for whole, one in zip(together, records(folder / f"{name}-{seed}"), strict=True):
            for key in one.keys() - {"epoch"}:
                assert whole["repetitions"][key][index] == pytest.approx(one[key], abs=1e-4, rel=1e-4), key
        split = [json.loads((folder / run / "split.json").read_text()) for run in (name, f"{name}-{seed}")]
        assert split[0] == split[1]
        repetitions = result_of(folder / name)["repetitions"]
        alone = result_of(folder / f"{name}-{seed}")
        for part in ("validation", "test"):
            for metric, values in repetitions[part].items():
                if metric != "loss":
                    assert values[index] == pytest.approx(alone[part]["metrics"][metric], abs=1e-4, rel=1e-4)
    assert repetitions["seeds"] == [5, 10005, 20005]


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="compiling needs a C++ compiler")
@pytest.mark.parametrize(("name", "repetitions"), [("dog", 2), ("batch norm", 1)])
def test_compiling_does_not_change_the_losses(name, repetitions, folder):
    encoder, head, objective, more = MODELS[name]
    words = f"{DIGITS.format(encoder=encoder, head=head, objective=objective)} {SMALL} {more} --save_dir {folder}"
    for run, compiled in (("plain", ""), ("compiled", "--compile")):
        train_silently(f"{words} {compiled} --namestr {run}-{repetitions} --repetitions {repetitions} --batch_size 240")
    plain, compiled = (records(folder / f"{run}-{repetitions}") for run in ("plain", "compiled"))
    for one, other in zip(plain[1:], compiled[1:], strict=True):  # without the start
        assert other["train/loss"] == pytest.approx(one["train/loss"], rel=1e-4)
        assert other["validation/loss"] == pytest.approx(one["validation/loss"], rel=1e-4)


def test_compile_without_a_compiler_says_what_to_do(folder, run_main, monkeypatch):
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "no-such-compiler"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(folder / "inductor"))
    network = {"encoder": "fc hidden=9 start=random", "head": "linear", "objective": "classify"}
    words = f"{DIGITS.format(**network)} {SMALL} --save_dir {folder} --namestr uncompiled --compile"
    assert "leave out --compile" in error_message(run_main, words)


def test_a_run_of_repetitions_opens_as_the_best_one(folder):
    network = {"encoder": "fc hidden=9 start=random", "head": "linear", "objective": "classify"}
    words = f"{DIGITS.format(**network)} {SMALL} --save_dir {folder}"
    train_silently(f"{words} --namestr opened --repetitions 3")
    summary = result_of(folder / "opened")
    values = summary["repetitions"]["validation"]
    best = max(range(3), key=lambda index: (values["accuracy"][index], -values["loss"][index]))
    assert summary["validation"]["value"] == pytest.approx(values["accuracy"][best])
    model, _ = load_model(best_session(folder / "opened"))
    state = load_pth(folder / "opened" / "2" / "state.pth")
    assert all(torch.equal(v, state["patience"][best]["weights"][key]) for key, v in model.state_dict().items())
    with raises_user_error("holds 3 repetitions"):
        load_model(folder / "opened" / "2")


def test_resuming_repetitions_is_exact(folder):
    encoder, head = "conv channels=4 scale=zscore", "linear"
    words = f"{DIGITS.format(encoder=encoder, head=head, objective='classify')} {SMALL} --save_dir {folder}"
    words += " --augment noise --schedule plateau --patience 1 --repetitions 2"
    train_silently(f"{words} --n_epochs 6 --namestr whole")
    train_silently(f"{words} --n_epochs 2 --namestr halves")
    train_silently(f"--load_dir {folder / 'halves'} --n_epochs 6")
    assert records(folder / "whole") == records(folder / "halves")
    last = [load_pth(sessions(folder / name)[-1] / "model.pth") for name in ("whole", "halves")]
    assert all(torch.equal(last[0][key], last[1][key]) for key in last[0])
    assert result_of(folder / "whole")["repetitions"] == result_of(folder / "halves")["repetitions"]


def test_a_network_that_cannot_be_stacked_is_refused():
    models = [build_model("fc hidden=4", "linear", (1, 3, 3), (2,), 3, "fp32") for _ in range(2)]
    whole = Repetitions(models)
    whole.penalised.model.head.forward = lambda latent: latent * latent.sum().item()
    with raises_user_error("leave out --repetitions and train one after another: vary --seed and keep --split_seed"):
        whole.eval()(torch.rand(5, 1, 3, 3))


def test_latents_every_is_refused_with_repetitions():
    with raises_user_error("--latents_every follows one network"):
        command.parse(["--repetitions", "2", "--latents_every", "1"], HERE)


# --------------------------------------------------------------------------------------------- one repetition at a time


def models(n=3):
    return [build_model("conv channels=3 scale=zscore", "linear", (1, 6, 5), (4,), 2, "fp32") for _ in range(n)]


def classify():
    """Return an objective with four classes."""
    dataset = SimpleNamespace(
        provides=["image", "label"],
        image_shape=(1, 6, 5),
        classes=list("abcd"),
        neurons=[],
        targets=None,
        responses=None,
    )
    return OBJECTIVES.build("classify").on(dataset)


def test_a_stack_predicts_what_each_model_predicts():
    each = models()
    x = torch.rand(7, 1, 6, 5)
    together = Repetitions(each).eval()(x)
    assert torch.allclose(together, torch.stack([model.eval()(x) for model in each]), atol=1e-6)


def test_weights_are_copied_and_loaded_per_repetition():
    each = models()
    whole = Repetitions(each)
    own = each[1].state_dict()
    assert all(torch.equal(value, whole.copy_weights(1)[name]) for name, value in own.items())
    assert all(torch.equal(value, unstack(whole.state_dict(), 1)[name]) for name, value in own.items())
    whole.load_weights(each[0].state_dict(), 2)
    assert all(torch.equal(value, whole.copy_weights(2)[name]) for name, value in each[0].state_dict().items())
    assert all(torch.equal(value, whole.copy_weights(1)[name]) for name, value in own.items())


def test_one_repetition_can_be_copied_as_a_model():
    each = models()
    whole = Repetitions(each)
    x = torch.rand(7, 1, 6, 5)
    alone = whole.single(1).eval()
    assert torch.allclose(alone(x), each[1].eval()(x), atol=1e-6)
    with torch.no_grad():
        next(alone.parameters()).add_(1)
    assert all(torch.equal(value, whole.copy_weights(1)[name]) for name, value in each[1].state_dict().items())


def test_a_stack_has_the_losses_and_metrics_of_each_model():
    each, objective = models(), classify()
    whole = Repetitions(each).eval()
    x, y = torch.rand(9, 1, 6, 5), torch.arange(9) % 4
    losses, evidence = whole.judge(objective, x, y)
    metrics = whole.metrics(objective, evidence)
    assert torch.equal(whole.losses(objective, x, y), losses)
    for index, model in enumerate(each):
        alone = model.eval()(x)
        assert torch.allclose(losses[index], objective.loss(alone, y), atol=1e-6)
        expected = objective.metrics(objective.evidence(objective.output(alone), y))
        assert metrics["accuracy"][index] == pytest.approx(expected["accuracy"])


def test_one_model_has_the_methods_of_a_stack_with_r_1():
    (model,), objective = models(1), classify()
    model.eval()
    stack = Repetitions([model]).eval()
    x, y = torch.rand(9, 1, 6, 5), torch.arange(9) % 4
    assert model.n_repetitions == stack.n_repetitions == 1
    assert torch.allclose(model.losses(objective, x, y), stack.losses(objective, x, y), atol=1e-6)
    (losses, evidence), (losses_r, evidence_r) = model.judge(objective, x, y), stack.judge(objective, x, y)
    assert torch.allclose(losses, losses_r, atol=1e-6)
    metrics, metrics_r = model.metrics(objective, evidence), stack.metrics(objective, evidence_r)
    assert {name: values.shape for name, values in metrics.items()} == dict.fromkeys(metrics_r, (1,))
    assert metrics["accuracy"] == pytest.approx(metrics_r["accuracy"])
    assert model.copy_weights(0).keys() == stack.copy_weights(0).keys()
    assert list(model.stages()) == list(stack.stages())


def test_in_training_each_repetition_has_its_own_batch():
    each, objective = models(2), classify()
    whole = Repetitions(each).train()
    x, y = torch.rand(2, 9, 1, 6, 5), torch.stack([torch.arange(9) % 4, torch.arange(9) // 3])
    losses = whole.losses(objective, x, y)
    for index, model in enumerate(each):
        assert torch.allclose(losses[index], objective.loss(model.train()(x[index]), y[index]), atol=1e-6)


def test_a_record_gives_the_metrics_of_one_repetition():
    record = Record(4, {"train/loss": np.array([3.0, 1.0, 2.0])})
    assert record.of_repetition(1) == {"train/loss": 1.0}
    assert record.epoch == 3
    assert record.ends_epoch


# ------------------------------------------------------------------------------------------------ stopping and loading


def test_a_stopped_run_continues_only_with_more_patience(folder, run_main):
    network = {"encoder": "fc hidden=9 start=random", "head": "linear", "objective": "classify"}
    words = f"{DIGITS.format(**network)} {SMALL} --save_dir {folder} --namestr waits --n_epochs 40 --patience 1"
    train_silently(words)
    stopped = len(records(folder / "waits")) - 1  # without the start
    assert stopped < 40
    assert "raise --patience" in error_message(run_main, f"--load_dir {folder / 'waits'}")
    train_silently(f"--load_dir {folder / 'waits'} --patience 3 --n_epochs {stopped + 2}")
    assert len(records(folder / "waits")) == stopped + 3


def test_repetitions_cannot_share_a_random_frozen_encoder(folder, run_main):
    network = {"encoder": "fc hidden=9 start=random", "head": "linear", "objective": "classify"}
    words = f"{DIGITS.format(**network)} {SMALL} --save_dir {folder} --repetitions 2 --trainable_stages 1"
    assert "load a trained one with --load_encoder" in error_message(run_main, words)
    train_silently(f"{DIGITS.format(**network)} {SMALL} --save_dir {folder} --namestr trained")
    train_silently(f"{words} --load_encoder {folder / 'trained'} --namestr on_trained")
    assert len(result_of(folder / "on_trained")["repetitions"]["seeds"]) == 2


def test_load_encoder_uses_the_best_repetition(folder, run_main):
    network = {"encoder": "fc hidden=9 start=random", "head": "linear", "objective": "classify"}
    words = f"{DIGITS.format(**network)} {SMALL} --save_dir {folder}"
    train_silently(f"{words} --namestr several --repetitions 2")
    train_silently(f"{words} --load_encoder {folder / 'several'} --namestr from_several")
    assert "holds 2 repetitions" in error_message(run_main, f"{words} --load_encoder {folder / 'several' / '2'}")


def test_a_plateau_needs_patience(folder, run_main):
    words = f"{DIGITS.format(encoder='fc', head='linear', objective='classify')} --schedule plateau --save_dir {folder}"
    assert "add --patience EPOCHS" in error_message(run_main, words)
    assert "factor=2.0 or drops=2 is out of range" in error_message(
        run_main, words.replace("plateau", "plateau factor=2") + " --patience 3"
    )
