"""What networks represent: `representations.py FOLDER KIND [DATA_DIR]` trains two networks and compares them.

KIND is mouse (DATA_DIR is mouse_openfield), london (london_faces), faces (the built-in ones) or v4 (v4_natural).
Networks are trained once, with seed 42. Runs that FOLDER already holds are not trained again. The tables are printed;
the picture of each is FOLDER/KIND/comparison.png.
"""

import sys
from pathlib import Path

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
CELLS = "--dataset recordings --split random --test_fraction 0.2"
V4 = {"autoencoder": f"--recipe faces_ae {CELLS} --augment none", "neurons": f"--recipe v1_conv {CELLS}"}


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
        runs = train_all(folder, V4, str(Path(data_dir) / "session_210325.npz"))
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


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])
