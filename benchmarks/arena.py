"""The tables of the arena: `arena.py FOLDER built_in` or `arena.py FOLDER mouse DATA_DIR` trains and prints everything.

Every run is trained with the seeds 42, 1 and 2, which set both split and weights; blocks of the film are held out. Runs
that FOLDER already holds are not trained again, so the command can be interrupted and repeated. DATA_DIR is the folder
mouse_openfield: frames of DeepLabCut's open field with labels computed from the pixels, and 116 labelled by hand.
"""

import sys
from pathlib import Path

import numpy as np
from runs import format_mean, read_result, start, train

from neuro_noodle.measures.circular import period
from neuro_noodle.measures.probes import ProbeSplit, probe
from neuro_noodle.runs.run import open_run

SEEDS = (42, 1, 2)
COMMON = "--split block --val_fraction 0.2 --test_fraction 0.2"
COLUMNS = "tail_x,tail_y,neck_x,neck_y,snout_x,snout_y,head_angle,angle,x,y,distance,polar_angle,frame"
MOUSE = f"--dataset arrays file=mouse_arena_ims.npz metadata=mouse_mdata.npy columns={COLUMNS}"
LABELLED = f"--dataset arrays file=labelled_arena_ims.npz metadata=labelled_mdata.npy columns={COLUMNS}"
CLEAN = "--dataset arrays file=clean.npz metadata=metadata.csv"
RECONSTRUCTIONS = {
    "ae-16": "--recipe arena_ae",
    "ae-16-plain": "--recipe arena_ae --augment none",
    "pca-16": "--recipe arena_pca",
    "umap-16": "--recipe arena_umap",
    "pca-2": "--recipe arena_pca --latent_dim 2",
    "umap-2": "--recipe arena_umap --latent_dim 2",
}
NOT_AUGMENTED = "--augment none --n_epochs 12"
LOADED = f"{NOT_AUGMENTED} --load_encoder {{ae}} --trainable_stages"
DIRECTIONS = {
    "scratch": f"{NOT_AUGMENTED} --encoder conv channels=64,64,128 latent=linear",
    "head": f"{LOADED} 1",
    "head, latent": f"{LOADED} 2",
    "head, fresh latent": f"{LOADED} 2 --fresh_stages 2",
    "head, latent, conv3": f"{LOADED} 3",
    "head, latent, conv3, conv2": f"{LOADED} 4",
    "all": f"{LOADED} 5",
    "the recipe": "",
}
BUILT_IN_DIRECTIONS = ("scratch", "all")
PROBED = ("angle", "x", "y", "distance")


def main(folder: Path, kind: str, data_dir: str = "") -> None:
    """Train and print everything for one kind of film."""
    folder = folder / kind
    data = f"--data_dir {data_dir} {MOUSE}" if kind == "mouse" else ""
    compare_reconstructions(folder, data)
    if kind == "built_in":
        compare_denoising(folder)
    names = BUILT_IN_DIRECTIONS if kind == "built_in" else tuple(DIRECTIONS)
    compare_directions(folder, data, names, has_labelled=kind == "mouse")
    compare_probes(folder, ["ae-16", "pca-16", "umap-16", "direction-scratch", "direction-all"])


def train_seed(folder: Path, name: str, words: str, seed: int) -> Path:
    """Train one seed of a model and return its run."""
    return train(folder, f"{name}-{seed}", f"{words} {COMMON} --seed {seed}".split())


def compare_reconstructions(folder: Path, data: str) -> None:
    """Print the reconstruction error of each encoder with its decoder, of PCA alone, and the training time."""
    print("reconstruction: MSE x 0.001 on validation, on test; seconds")
    for name, words in RECONSTRUCTIONS.items():
        results = [read_result(train_seed(folder, name, f"{words} {data}", seed)) for seed in SEEDS]
        errors = [[result[part]["value"] for result in results] for part in ("validation", "test")]
        seconds = format_mean([result["seconds"] for result in results], digits=0)
        print(f"  {name:<16}", *(f"{format_mean(values, scale=1e3):<16}" for values in errors), seconds)
        if name.startswith("pca"):
            errors = [
                [result[part]["baseline_metrics"]["pca"]["mse"] for result in results]
                for part in ("validation", "test")
            ]
            print(f"  {name + ' linear':<16}", *(f"{format_mean(values, scale=1e3):<16}" for values in errors))


def compare_directions(folder: Path, data: str, names: tuple[str, ...], *, has_labelled: bool) -> None:
    """Print the angular error of each way to start and to freeze the encoder."""
    where = "validation, on test" + (", on frames labelled by hand" if has_labelled else "")
    print(f"direction: median and 90th percentile of the error in degrees on {where}; reversed")
    for name in names:
        run_name = f"direction-{name.replace(', ', '-').replace(' ', '-')}"
        runs = []
        for seed in SEEDS:
            words = DIRECTIONS[name].format(ae=folder / f"ae-16-{seed}")
            runs.append(train_seed(folder, run_name, f"--recipe arena_angle {words} {data}", seed))
        parts = [[read_result(run)[part] for run in runs] for part in ("validation", "test")]
        parts += [[test_on_labelled(run) for run in runs]] if has_labelled else []
        print(f"  {name:<28}", *(f"{format_errors([result['metrics'] for result in part]):<30}" for part in parts))
        if name == "scratch":
            for baseline in ("linear_pixels", "circular_mean"):
                errors = (format_errors([result["baseline_metrics"][baseline] for result in part]) for part in parts)
                print(f"  {baseline:<28}", *(f"{text:<30}" for text in errors))


def test_on_labelled(run: Path) -> dict:
    """Test a run on the frames labelled by hand, unless that was done before, and return the result."""
    folder = run / "test-labelled_arena_ims"
    if not (folder / "result.json").exists():
        start("main.py", "--test", "--load_dir", str(run), *LABELLED.split())
    return read_result(folder)["test"]


def format_errors(metrics: list[dict[str, float]]) -> str:
    """Return median, 90th percentile and share of reversals over the seeds as text."""
    errors = [format_mean([one[name] for one in metrics], digits=1) for name in ("median_deg", "p90_deg")]
    return "  ".join([*errors, f"{np.mean([one['reversed'] for one in metrics]):.1%}"])


def compare_probes(folder: Path, names: list[str]) -> None:
    """Print the R2 of linear probes of the latents, fitted on training frames and evaluated on held-out frames."""
    print("linear probes: R2 of", ", ".join(PROBED))
    for name in names:
        scores = np.array([probe_latents(folder / f"{name}-{seed}") for seed in SEEDS])  # (seeds, columns)
        print(f"  {name:<28}", *(f"{format_mean(values):<16}" for values in scores.T))


def probe_latents(folder: Path) -> list[float]:
    """Return the R2 of a linear probe of a run's latents for each probed column."""
    run = open_run(folder)
    latents, groups = run.latents(), np.array(run.dataset.columns["block"])
    fold = ProbeSplit(run.part == "training", np.isin(run.part, ("validation", "test")))
    scores = []
    for column in PROBED:
        values = np.array(run.dataset.columns[column], float)
        score = probe(latents, values, [fold], groups, period(column, values))
        scores.append(score["r2"])
    return scores


def compare_denoising(folder: Path) -> None:
    """Print the PSNR relative to the clean frames, for added noise and for the camera's noise.

    With added noise the autoencoder is trained on clean targets; with the camera's noise it never sees clean frames.
    """
    print("PSNR in dB on test frames: the input, PCA-16, the autoencoder")
    words = f"--recipe arena_ae {CLEAN} --objective reconstruct loss=mse noise=0.1"
    results = [read_result(train_seed(folder, "denoise", words, seed))["test"] for seed in SEEDS]
    added = [[result["baseline_metrics"][name]["psnr_db"] for result in results] for name in ("noisy_input", "pca")]
    added.append([result["metrics"]["psnr_db"] for result in results])
    print("  noise of 0.1 added          ", *(f"{format_mean(values):<16}" for values in added))
    camera = np.array([camera_psnr_db(folder / f"ae-16-{seed}", folder / f"pca-16-{seed}") for seed in SEEDS])
    print("  the camera's noise          ", *(f"{format_mean(values):<16}" for values in camera.T))


def camera_psnr_db(autoencoder: Path, pca: Path) -> list[float]:
    """Return the PSNR of test frames, of their reconstruction by PCA and of that by the autoencoder, in dB."""
    run, encoder = open_run(autoencoder), open_run(pca).model.encoder
    test_indices = np.flatnonzero(run.part == "test")
    with np.load(Path(run.config["flags"]["data_dir"]) / "clean.npz") as file:
        clean = file["images"][test_indices][:, None] / 255  # (n, 1, H, W)
    noisy = run.images(test_indices)
    directions = encoder.components / encoder.components.norm(dim=1, keepdim=True).clamp(min=1e-12)
    centred = noisy.flatten(1) - encoder.centre  # (n, H * W)
    linear = (centred @ directions.T @ directions + encoder.centre).view_as(noisy)
    reconstructed = run.outputs(test_indices)[1]
    errors = [((images.numpy() - clean) ** 2).mean((1, 2, 3)) for images in (noisy, linear, reconstructed)]
    return [float(-10 * np.log10(error).mean()) for error in errors]


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), *sys.argv[2:])
