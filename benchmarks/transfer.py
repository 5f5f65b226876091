"""Pretrained weights on new people: `transfer.py FOLDER DATA_DIR` compares three starts of a ResNet18 on London faces.

First a ResNet18 learns to tell the built-in people apart. Its weights are written to FOLDER/people.pth, under the names
that torchvision uses, and loaded as ImageNet's would be. Then a classifier of smiling and neutral faces is trained in 5
folds that keep people apart: from scratch, from these weights, and with only its head on them. DATA_DIR is
london_faces. Three seeds each (42, 1, 2), which set folds and weights, so the rows of a seed have the same folds. Runs
that FOLDER already holds are not trained again.
"""

import sys
from pathlib import Path

import torch
from runs import format_mean, read_result, start, train

from neuro_noodle import load_model

SEEDS = (42, 1, 2)
N_PEOPLE, N_STEPS, SIZE = 99, 10, "224x174"  # built-in faces: 10 happy and 10 sad ones of each person
RECIPE = "--recipe faces_emotion_scratch"
BUILT_IN = "pattern={person}_Ne_to_{emotion}_C{step} label=person group=none"
SOURCE = f"{RECIPE} --split random --test_fraction 0.1 --dataset folder {BUILT_IN}"
LONDON = "pattern={expression}/{person}_{} label=expression group=person"
TARGET = f"{RECIPE} --split group --folds 5 --dataset folder {LONDON}"
STARTS = {
    "from scratch": "--encoder resnet18 weights=none",
    "fine-tuned": "--encoder resnet18 weights={weights}",
    "linear probe": "--encoder resnet18 weights={weights} --trainable_stages 1",
}


def main(folder: Path, data_dir: str) -> None:
    """Train everything, and print a row for each start."""
    weights = pretrain(folder)
    print("London faces: accuracy on new people, mean +- sd over seeds; each seed; majority class; n images")
    for name, start_words in STARTS.items():
        encoder = [word.format(weights=weights) for word in start_words.split()]
        words = [*TARGET.split(), "--data_dir", data_dir, *encoder, "--seed"]
        runs = [train(folder, f"{name.replace(' ', '-')}-{seed}", [*words, str(seed)]) for seed in SEEDS]
        tests = [read_result(run)["test"] for run in runs]
        values, majority = [test["value"] for test in tests], tests[0]["baselines"]["majority_class"]
        each = " ".join(f"{value:.3f}" for value in values)
        print(f"  {name:<14}{format_mean(values, digits=3)}   {each}   {majority:.3f}   {tests[0]['n']}", flush=True)


def pretrain(folder: Path) -> Path:
    """Train a network on the built-in people, and return the file of its encoder's weights."""
    faces, weights = folder / "faces", folder / "people.pth"
    if not (faces / "metadata.csv").exists():
        sizes = ["--n_people", str(N_PEOPLE), "--n_steps", str(N_STEPS), "--size", SIZE]
        start("Resources/simulate.py", "faces", "--out", str(faces), "--redraw", *sizes)
    run = train(folder, "people", [*SOURCE.split(), "--data_dir", str(faces)])
    print(f"accuracy of {N_PEOPLE} built-in people: {read_result(run)['test']['value']:.3f}", flush=True)
    state = load_model(run)[0].encoder.state_dict()
    torch.save({torchvision_name(key): v for key, v in state.items() if key.startswith("stages.")}, weights)
    return weights


def torchvision_name(key: str) -> str:
    """Return torchvision's name of a tensor of our ResNet18, whose first stage holds conv1 and bn1."""
    return key.removeprefix("stages.").replace("stem.0.", "conv1.").replace("stem.1.", "bn1.")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), str(Path(sys.argv[2]).resolve()))
