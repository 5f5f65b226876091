"""What networks represent: `representations.py FOLDER KIND [DATA_DIR]` trains two networks and compares them.

KIND is mouse (DATA_DIR is mouse_openfield), london (london_faces), faces (the built-in ones) or v4 (v4_natural).
Networks are trained once, with seed 42. Runs that FOLDER already holds are not trained again. The tables are printed;
the picture of each is FOLDER/KIND/comparison.png.
"""

import sys
from pathlib import Path

import numpy as np
from arena import COMMON, MOUSE
from runs import start_and_print, train

FACES = "--test_fraction 0.3 --dataset folder size=112x112 colour=rgb"
FILMED = {
    "autoencoder": f"--recipe arena_ae {MOUSE} {COMMON}",
    "direction": f"--recipe arena_angle {MOUSE} {COMMON}",
}
AUTOENCODER, CLASSIFIER = "--recipe faces_ae", "--recipe faces_emotion_scratch"
BUILT_IN = f"--split random {FACES} pattern={{person}}_Ne_to_{{emotion}}_C{{step}} label=emotion group=person"
LONDON = f"--split group {FACES} pattern={{emotion}}/{{person}}_{{}} label=emotion group=person"
CELLS = "--dataset v1 max_value=255 --split given"
V4 = {"autoencoder": f"--recipe faces_ae {CELLS} --augment none", "neurons": f"--recipe v1_conv {CELLS}"}
N_TEST = 128  # of the 640 photographs shown to V4


def main(folder: Path, kind: str, data_dir: str = "") -> None:
    """Train the networks of one kind of images, and print their comparison."""
    if bool(data_dir) == (kind == "faces"):
        raise SystemExit("name the folder of the data, except for the built-in faces")
    folder = folder / kind
    if kind == "mouse":
        runs = train_all(folder, FILMED, data_dir)
        compare(folder, runs, ["--columns", "angle,x,y,distance"], ["direction@0"])
    elif kind in ("faces", "london"):
        data = BUILT_IN if kind == "faces" else LONDON
        runs = train_all(folder, {"autoencoder": f"{AUTOENCODER} {data}", "emotion": f"{CLASSIFIER} {data}"}, data_dir)
        compare(folder, runs, ["--columns", "emotion"], ["emotion@0", "column:person", "column:emotion"])
    elif kind == "v4":
        runs = train_all(folder, V4, str(as_recording(Path(data_dir) / "session_210325.npz", folder)))
        compare(folder, runs, ["--parts", "test"], ["neurons@0", "torchvision/resnet18@0:layer3", "responses"])
    else:
        raise SystemExit(f"KIND is mouse, london, faces or v4, not {kind}")


def train_all(folder: Path, networks: dict[str, str], data_dir: str) -> list[str]:
    """Train networks by name; returns their runs."""
    data = ["--data_dir", data_dir] if data_dir else []
    return [str(train(folder, name, [*words.split(), *data])) for name, words in networks.items()]


def compare(folder: Path, runs: list[str], options: list[str], others: list[str]) -> None:
    """Print the comparison of runs with other sources, of which NAME@0 is the run of that name before training."""
    sources = [str(folder / other) if other.endswith("@0") else other for other in others]
    start_and_print("Plotting/compare.py", *runs, *sources, *options, "--figure", str(folder / "comparison.png"))


def as_recording(session: Path, folder: Path) -> Path:
    """Write a session of macaque V4 as --dataset v1 reads it, every fifth photograph as test; returns the folder."""
    region = folder / "recording" / "region1"
    if region.exists():
        return region.parent
    with np.load(session) as file:
        images, responses, trials = (file[name] for name in ("images", "responses", "trials"))
    flat = images.reshape(len(images), -1)
    is_test = np.arange(len(images)) % (len(images) // N_TEST) == 0
    arrays = {
        "training_inputs": flat[~is_test],
        "training_set": responses[~is_test],
        "validation_inputs": flat[is_test],
        "validation_set": responses[is_test],
        "raw_validation_set": trials[:, is_test],
    }
    scratch = region.with_name("scratch")
    scratch.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        np.save(scratch / f"{name}.npy", values)
    scratch.rename(region)
    return region.parent


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])
