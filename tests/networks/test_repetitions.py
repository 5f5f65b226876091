"""Repetitions: one stacked model gives the results of separate runs, and each repetition stops on its own."""

import json
import os
import shutil

import pytest
import torch
from helpers import error_message, raises_user_error, train_silently

import utils
from neuro_noodle.learning.best import Progress
from neuro_noodle.learning.optimizers import OPTIMIZERS, Paces
from neuro_noodle.networks.base import build_model
from neuro_noodle.networks.repetitions import OfEach, records_of_each, stack, unstacked
from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.tracking.base import spread, summarised

SMALL = "--n_epochs 3 --batch_size 24 --val_fraction 0.25 --test_fraction 0.2 --device cpu --precision fp32"
DIGITS = "--recipe faces_ae --dataset digits --augment none --encoder {encoder} --head {head} --objective {objective}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("weights")


def records(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def result(run):
    return json.loads((run / "result.json").read_text())


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
    for index, seed in enumerate((5, 6, 7)):
        train_silently(f"{words} --namestr {name}-{seed} --seed {seed} --split_seed 5")
        for whole, one in zip(together, records(folder / f"{name}-{seed}"), strict=True):
            for key in one.keys() - {"epoch"}:
                assert whole["repetitions"][key][index] == pytest.approx(one[key], abs=1e-4, rel=1e-4), key
        split = [json.loads((folder / run / "split.json").read_text()) for run in (name, f"{name}-{seed}")]
        assert split[0] == split[1]
        told = result(folder / name)["repetitions"]
        alone = result(folder / f"{name}-{seed}")
        for part in ("validation", "test"):
            for metric, value in alone[part]["metrics"].items():
                assert told[part][metric][index] == pytest.approx(value, abs=1e-4, rel=1e-4)
    seeds = told["seeds"]
    assert seeds == [5, 6, 7]


@pytest.mark.skipif(not shutil.which(os.environ.get("CXX", "g++")), reason="compiling needs a C++ compiler")
@pytest.mark.parametrize(("name", "repetitions"), [("dog", 2), ("batch norm", 1)])
def test_compiling_does_not_change_the_losses(name, repetitions, folder):
    encoder, head, objective, more = MODELS[name]
    words = f"{DIGITS.format(encoder=encoder, head=head, objective=objective)} {SMALL} {more} --save_dir {folder}"
    for run, compiled in (("plain", ""), ("compiled", "--compile")):
        train_silently(f"{words} {compiled} --namestr {run}-{repetitions} --repetitions {repetitions} --batch_size 240")
    plain, compiled = (records(folder / f"{run}-{repetitions}") for run in ("plain", "compiled"))
    for one, other in zip(plain, compiled, strict=True):
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
    told = result(folder / "opened")
    best = max(range(3), key=lambda i: (told["repetitions"]["validation"]["accuracy"][i],
                                        -told["repetitions"]["validation"]["loss"][i]))  # fmt: skip
    assert told["validation"]["value"] == pytest.approx(told["repetitions"]["validation"]["accuracy"][best])
    model, _ = utils.load_model(utils.best_session(folder / "opened"))
    state = utils.load_pth(folder / "opened" / "2" / "state.pth")
    assert all(torch.equal(v, state["progress"][best]["weights"][key]) for key, v in model.state_dict().items())
    with raises_user_error("holds 3 repetitions"):
        utils.load_model(folder / "opened" / "2")


def test_resuming_repetitions_is_exact(folder):
    encoder, head = "conv channels=4 scale=zscore", "linear"
    words = f"{DIGITS.format(encoder=encoder, head=head, objective='classify')} {SMALL} --save_dir {folder}"
    words += " --augment noise --schedule plateau --patience 1 --repetitions 2"
    train_silently(f"{words} --n_epochs 6 --namestr whole")
    train_silently(f"{words} --n_epochs 2 --namestr halves")
    train_silently(f"--load_dir {folder / 'halves'} --n_epochs 6")
    assert records(folder / "whole") == records(folder / "halves")
    last = [utils.load_pth(utils.sessions(folder / name)[-1] / "model.pth") for name in ("whole", "halves")]
    assert all(torch.equal(last[0][key], last[1][key]) for key in last[0])
    assert result(folder / "whole")["repetitions"] == result(folder / "halves")["repetitions"]


def test_a_network_that_cannot_be_stacked_is_refused():
    models = [build_model("fc hidden=4", "linear", (1, 3, 3), (2,), 3, "fp32") for _ in range(2)]
    whole = stack(models)
    whole.penalised.model.head.forward = lambda latent: latent * latent.sum().item()
    with raises_user_error(
        "leave out --repetitions and train one after another: another --seed each, the same --split_seed"
    ):
        whole.eval()(torch.rand(5, 1, 3, 3))


def test_latents_every_is_refused_with_repetitions(folder):
    from neuro_noodle import command as flags

    with raises_user_error("--latents_every follows one network"):
        flags.parse(["--repetitions", "2", "--latents_every", "1"])


# --------------------------------------------------------------------------------------------------- the parts


def models(n=3):
    return [build_model("conv channels=3 scale=zscore", "linear", (1, 6, 5), (4,), 2, "fp32") for _ in range(n)]


def test_a_stack_predicts_what_each_model_predicts():
    each = models()
    x = torch.rand(7, 1, 6, 5)
    together = stack(each).eval()(x)
    assert torch.allclose(together, torch.stack([model.eval()(x) for model in each]), atol=1e-6)


def test_weights_are_copied_and_loaded_per_repetition():
    each = models()
    whole = stack(each)
    assert all(torch.equal(value, whole.weights(1)[name]) for name, value in each[1].state_dict().items())
    assert all(torch.equal(value, whole.weights(1)[name]) for name, value in unstacked(whole.state_dict(), 1).items())
    whole.put(each[0].state_dict(), 2)
    assert all(torch.equal(value, whole.weights(2)[name]) for name, value in each[0].state_dict().items())
    assert all(torch.equal(value, whole.weights(1)[name]) for name, value in each[1].state_dict().items())


def test_a_stack_has_the_losses_and_metrics_of_each_model():
    each, objective = models(), OBJECTIVES.build("classify")
    objective.check(["image", "label"], list("abcd"))
    whole = stack(each).eval()
    judge = OfEach(objective, whole)
    x, target = torch.rand(9, 1, 6, 5), torch.arange(9) % 4
    prediction = whole(x)
    losses = judge.loss(prediction, target)
    evidence = judge.evidence(judge.output(prediction), target)
    metrics = judge.metrics(evidence)
    for index, model in enumerate(each):
        alone = model.eval()(x)
        assert torch.allclose(losses[index], objective.loss(alone, target), atol=1e-6)
        expected = objective.metrics(objective.evidence(objective.output(alone), target))
        assert metrics["accuracy"][index] == pytest.approx(expected["accuracy"])


def test_a_record_is_summarised_over_repetitions():
    record = {"epoch": 3, "train/loss": [3.0, 1.0, 2.0]}
    assert records_of_each(record, 3)[1] == {"epoch": 3, "train/loss": 1.0}
    told = summarised(record)
    assert told["train/loss"] == 2.0
    assert (told["train/loss_p10"], told["train/loss_p90"]) == pytest.approx((1.2, 2.8))
    assert told["repetitions"] == {"train/loss": [3.0, 1.0, 2.0]}
    assert summarised({"epoch": 3, "train/loss": 1.0}) == {"epoch": 3, "train/loss": 1.0}
    assert spread([1.0]) == (1.0, 1.0, 1.0)


class Tape:
    """A stand-in for a model; its weights are one number."""

    def __init__(self, n):
        self.now = [0] * n

    def weights(self, index):
        return self.now[index]

    def put(self, weights, index):
        self.now[index] = weights


def follow(ranks, patience, most_drops=0):
    """Record ranks by epoch and repetition; return the progress and the epoch after which all stopped, or None."""
    n = len(ranks[0])
    progress, model = Progress(n, patience, most_drops), Tape(n)
    for epoch, of_epoch in enumerate(ranks):
        model.now = [epoch] * n
        progress.take(epoch, [(rank, 0.0) for rank in of_epoch], model)
        if progress.finished:
            return progress, epoch
    return progress, None


def test_each_repetition_has_its_own_best_epoch_and_patience():
    progress, end = follow([(1, 1), (2, 0), (0, 0), (0, 9), (0, 9), (9, 9), (9, 9)], patience=2)
    assert [(best.epoch, best.weights) for best in progress.each] == [(1, 1), (0, 0)]
    assert end == 3
    assert progress.chosen == 0


def test_without_patience_no_repetition_stops():
    progress, end = follow([(3,), (2,), (1,), (0,)], None)
    assert end is None
    assert progress.each[0].epoch == 0


def test_a_plateau_restores_the_best_weights_at_every_drop():
    n, model = [(5,), (1,), (1,), (6,), (1,), (1,), (1,), (1,)], Tape(1)
    progress = Progress(1, 2, 2)
    drops = []
    for epoch, rank in enumerate(n):
        model.now = [epoch]
        progress.take(epoch, [(rank[0], 0.0)], model)
        drops.append((progress.each[0].n_drops, model.now[0], progress.finished))
    assert drops == [
        (0, 0, False), (0, 1, False), (1, 0, False), (1, 3, False), (1, 4, False), (2, 3, False), (2, 6, False),
        (2, 7, True),
    ]  # fmt: skip


def test_a_stopped_repetition_continues_with_more_patience():
    progress, _ = follow([(1, 1), (0, 2), (0, 3)], patience=2)
    assert [best.stopped for best in progress.each] == [True, False]
    assert progress.shares().tolist() == [0.0, 1.0]
    more = Progress(2, 3)
    more.restore(progress.state(), 2)
    assert [best.stopped for best in more.each] == [False, False]
    assert not more.finished
    same = Progress(2, 2)
    same.restore(progress.state(), 2)
    assert [best.stopped for best in same.each] == [True, False]


def test_a_stopped_run_continues_only_with_more_patience(folder, run_main):
    network = {"encoder": "fc hidden=9 start=random", "head": "linear", "objective": "classify"}
    words = f"{DIGITS.format(**network)} {SMALL} --save_dir {folder} --namestr waits --n_epochs 40 --patience 1"
    train_silently(words)
    stopped = len(records(folder / "waits"))
    assert stopped < 40
    assert "give --patience more" in error_message(run_main, f"--load_dir {folder / 'waits'}")
    train_silently(f"--load_dir {folder / 'waits'} --patience 3 --n_epochs {stopped + 2}")
    assert len(records(folder / "waits")) == stopped + 2


def test_repetitions_cannot_share_a_random_frozen_encoder(folder, run_main):
    network = {"encoder": "fc hidden=9 start=random", "head": "linear", "objective": "classify"}
    words = f"{DIGITS.format(**network)} {SMALL} --save_dir {folder} --repetitions 2 --trainable_stages 1"
    assert "name a trained one by --load_encoder" in error_message(run_main, words)
    train_silently(f"{DIGITS.format(**network)} {SMALL} --save_dir {folder} --namestr trained")
    train_silently(f"{words} --load_encoder {folder / 'trained'} --namestr on_trained")
    assert len(result(folder / "on_trained")["repetitions"]["seeds"]) == 2


def test_load_encoder_uses_the_best_repetition(folder, run_main):
    network = {"encoder": "fc hidden=9 start=random", "head": "linear", "objective": "classify"}
    words = f"{DIGITS.format(**network)} {SMALL} --save_dir {folder}"
    train_silently(f"{words} --namestr several --repetitions 2")
    train_silently(f"{words} --load_encoder {folder / 'several'} --namestr from_several")
    said = error_message(run_main, f"{words} --load_encoder {folder / 'several' / '2'}")
    assert "holds 2 repetitions" in said


def test_a_plateau_needs_patience(folder, run_main):
    words = f"{DIGITS.format(encoder='fc', head='linear', objective='classify')} --schedule plateau --save_dir {folder}"
    assert "add --patience EPOCHS" in error_message(run_main, words)
    assert "factor=2.0 or drops=2 is out of range" in error_message(
        run_main, words.replace("plateau", "plateau factor=2") + " --patience 3"
    )


@pytest.mark.parametrize("optimizer", ["adam weight_decay=0.1", "sgd momentum=0.9 weight_decay=0.1"])
def test_slowing_one_repetition_does_not_change_the_others(optimizer):
    def run(lr, shares):
        weights = torch.nn.Parameter(torch.arange(6.0).view(2, 3))
        made = OPTIMIZERS.build(optimizer, [weights], lr)
        Paces(made, torch.tensor(shares))
        for step in range(4):
            made.zero_grad()
            ((weights - step) ** 2).sum().backward()
            made.step()
        return weights.detach()

    slowed, fast, slow = run(0.1, [1.0, 0.25]), run(0.1, [1.0, 1.0]), run(0.025, [1.0, 1.0])
    assert torch.equal(slowed[0], fast[0])
    assert torch.allclose(slowed[1], slow[1], atol=1e-5)
    assert not torch.allclose(slowed[1], fast[1], atol=1e-3)
    assert torch.equal(run(0.1, [1.0, 0.0])[1], torch.tensor([3.0, 4.0, 5.0]))
