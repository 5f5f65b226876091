"""The arena's tables: `arena.py FOLDER built_in` or `arena.py FOLDER mouse DATA_DIR` trains all and prints them.

Every training is done with the seeds 42, 1 and 2, of split and weights alike; stretches of the film are held out. A
training that FOLDER has already is not done again, so what was stopped goes on with the training that it had begun.
DATA_DIR is that of mouse_openfield: frames of DeepLabCut's open field, with labels computed from the pixels, and 116
labelled by hand.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from neuro_noodle.measures.circular import period
from neuro_noodle.measures.probes import probe
from neuro_noodle.runs import run as latents

HERE = Path(__file__).resolve().parent.parent

SEEDS = (42, 1, 2)
COMMON = "--split block --val_fraction 0.2 --test_fraction 0.2 --log_every 1000"
TABLE = "tail_x,tail_y,neck_x,neck_y,snout_x,snout_y,head_angle,angle,x,y,distance,polar_angle,frame"
MOUSE = f"--dataset arrays file=mouse_arena_ims.npz metadata=mouse_mdata.npy columns={TABLE}"
LABELLED = f"--dataset arrays file=labelled_arena_ims.npz metadata=labelled_mdata.npy columns={TABLE}"
CLEAN = "--dataset arrays file=clean.npz metadata=metadata.csv"
RECONSTRUCTIONS = {
    "ae-16": "--recipe arena_ae",
    "pca-16": "--recipe arena_pca",
    "umap-16": "--recipe arena_umap",
    "pca-2": "--recipe arena_pca --latent_dim 2",
    "umap-2": "--recipe arena_umap --latent_dim 2",
}
AS_IT_IS = "--augment none --n_epochs 12"
LOADED = f"{AS_IT_IS} --load_encoder {{ae}} --trainable_stages"
DIRECTIONS = {
    "scratch": f"{AS_IT_IS} --encoder conv channels=64,64,128",
    "head": f"{LOADED} 1",
    "head, latent": f"{LOADED} 2",
    "head, fresh latent": f"{LOADED} 2 --fresh_stages 2",
    "head, latent, conv3": f"{LOADED} 3",
    "head, latent, conv3, conv2": f"{LOADED} 4",
    "all": f"{LOADED} 5",
    "the recipe": "",
}
OF_BUILT_IN = ("scratch", "all")
PROBED = ("angle", "x", "y", "distance")


def train(folder: Path, name: str, words: str) -> Path:
    """Train unless the folder has it; returns the run."""
    run = folder / name
    if not (run / "result.json").exists():
        shutil.rmtree(run, ignore_errors=True)
        call(*words.split(), "--save_dir", str(folder), "--namestr", name)
        print(f"  trained {name}", flush=True)
    return run


def call(*words: str) -> None:
    """Run main.py, whose output is shown only where it fails."""
    done = subprocess.run([sys.executable, str(HERE / "main.py"), *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")


def result(run: Path, test: str = "") -> dict:
    """Return a run's result, or that of a test of it."""
    return json.loads((run / test / "result.json").read_text())


def spread(values: list[float], scale: float = 1.0, digits: int = 2) -> str:
    """Return mean and standard deviation over the seeds."""
    return f"{np.mean(values) * scale:.{digits}f} +- {np.std(values, ddof=1) * scale:.{digits}f}"


def reconstructions(folder: Path, data: str) -> None:
    """Print validation and test error, and seconds, of each reduction with its decoder and of PCA alone."""
    print("reconstruction: MSE x 0.001 on validation, on test; seconds")
    for name, words in RECONSTRUCTIONS.items():
        runs = [train(folder, f"{name}-{seed}", f"{words} {data} {COMMON} --seed {seed}") for seed in SEEDS]
        told = [result(run) for run in runs]
        parts = [spread([one[part]["value"] for one in told], 1e3) for part in ("validation", "test")]
        print(f"  {name:<16}", *(f"{part:<16}" for part in parts), spread([one["seconds"] for one in told], 1, 0))
        if name.startswith("pca"):
            linear = [[one[part]["baseline_metrics"]["pca"]["mse"] for one in told] for part in ("validation", "test")]
            print(f"  {name + ' linear':<16}", *(f"{spread(values, 1e3):<16}" for values in linear))


def directions(folder: Path, data: str, names: tuple[str, ...], labelled: bool) -> None:
    """Print the median and 90th percentile of the angular error on held-out frames, and on those labelled by hand."""
    where = "validation, on test" + (", on frames labelled by hand" if labelled else "")
    print(f"direction: median and 90th percentile of the error in degrees on {where}; reversed")
    for name in names:
        runs = []
        for seed in SEEDS:
            words = DIRECTIONS[name].format(ae=folder / f"ae-16-{seed}")
            called = f"direction-{name.replace(', ', '-').replace(' ', '-')}-{seed}"
            runs.append(train(folder, called, f"--recipe arena_angle {words} {data} {COMMON} --seed {seed}"))
        parts = [[result(run)[part] for run in runs] for part in ("validation", "test")]
        parts += [[hand_labelled(run) for run in runs]] if labelled else []
        print(f"  {name:<28}", *(f"{errors([one['metrics'] for one in part]):<30}" for part in parts))
        if name == "scratch":
            for baseline in ("linear_pixels", "circular_mean"):
                told = (errors([one["baseline_metrics"][baseline] for one in part]) for part in parts)
                print(f"  {baseline:<28}", *(f"{one:<30}" for one in told))


def hand_labelled(run: Path) -> dict:
    """Test a run on the frames labelled by hand, unless that is done; returns what it tells."""
    test = "test-labelled_arena_ims"
    if not (run / test / "result.json").exists():
        call("--test", "--load_dir", str(run), *LABELLED.split())
    return result(run, test)["test"]


def errors(metrics: list[dict]) -> str:
    """Return median, 90th percentile and reversals over the seeds."""
    parts = [spread([one[name] for one in metrics], 1, 1) for name in ("median_deg", "p90_deg")]
    return "  ".join([*parts, f"{np.mean([one['reversed'] for one in metrics]):.1%}"])


def probes(folder: Path, names: list[str]) -> None:
    """Print R2 of a linear probe from the latents, fitted on training and judged on held-out frames."""
    print("linear probes: R2 of", ", ".join(PROBED))
    for name in names:
        read = []
        for seed in SEEDS:
            run = latents.open_run(folder / f"{name}-{seed}")
            columns, values = run.dataset.columns, latents.latents(run)
            groups, training = np.array(columns["block"]), run.part == "training"
            numbers = {column: np.array(columns[column], float) for column in PROBED}
            held_out = np.isin(run.part, ("validation", "test"))
            read.append(
                [
                    probe(values, number, training, held_out, groups, period(column, number))["r2"]
                    for column, number in numbers.items()
                ]
            )
        print(f"  {name:<28}", *(f"{spread(list(one)):<16}" for one in np.array(read).T))


def denoising(folder: Path) -> None:
    """Print the PSNR beside the clean frames: of noise that was added, and of the camera's own, never seen clean."""
    print("PSNR in dB on test frames: the input, PCA-16, the autoencoder")
    words = f"--recipe arena_ae {CLEAN} --objective reconstruct loss=mse noise=0.1 {COMMON}"
    runs = [train(folder, f"denoise-{seed}", f"{words} --seed {seed}") for seed in SEEDS]
    told = [result(run)["test"] for run in runs]
    added = [[one["baseline_metrics"][name]["psnr_db"] for one in told] for name in ("noisy_input", "pca")]
    added.append([one["metrics"]["psnr_db"] for one in told])
    print("  noise of 0.1 added          ", *(f"{spread(values):<16}" for values in added))
    camera = np.array([of_camera(folder / f"ae-16-{seed}", folder / f"pca-16-{seed}") for seed in SEEDS])
    print("  the camera's noise          ", *(f"{spread(list(values)):<16}" for values in camera.T))


def of_camera(ae: Path, pca: Path) -> list[float]:
    """Return the PSNR of test frames, of their linear PCA and of the autoencoder's, beside the frames without noise."""
    runs = [latents.open_run(path) for path in (ae, pca)]
    test = np.flatnonzero(runs[0].part == "test")
    with np.load(Path(runs[0].config["flags"]["data_dir"]) / "clean.npz") as file:
        clean = file["images"][test][:, None] / 255
    noisy, encoder = runs[0].images(test), runs[1].model.encoder
    directions = encoder.components / encoder.components.norm(dim=1, keepdim=True).clamp(min=1e-12)
    flat = noisy.flatten(1) - encoder.centre
    linear = (flat @ directions.T @ directions + encoder.centre).view_as(noisy)
    made = latents.outputs(runs[0], test)[1]
    shown = (images.numpy() for images in (noisy, linear, made))
    return [float(-10 * np.log10(((images - clean) ** 2).mean((1, 2, 3))).mean()) for images in shown]


def main(folder: Path, kind: str, data_dir: str = "") -> None:
    """Train and print everything of one kind of film."""
    folder = folder / kind
    data = f"--data_dir {data_dir} {MOUSE}" if kind == "mouse" else ""
    reconstructions(folder, data)
    if kind == "built_in":
        denoising(folder)
    names = OF_BUILT_IN if kind == "built_in" else tuple(DIRECTIONS)
    directions(folder, data, names, labelled=kind == "mouse")
    probes(folder, ["ae-16", "pca-16", "umap-16", "direction-scratch", "direction-all"])


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])
