"""The number at the end: judge the best weights beside their baselines, and write it down.

`training` is a `main.Training`: all the parts of one training, wired.
"""

import csv
from pathlib import Path


def conclude(training, flags, folder: Path, trackers: list) -> None:
    """Judge the best weights beside the baselines, write result.json and a table per part, and say so."""
    import utils
    from train import predict

    objective, loaders = training.objective, training.loaders
    training.model.load_state_dict(training.best["model"])
    baselines = objective.baselines(*loaders["training"].dataset.excerpt(), training.model.encoder.latent_dim)
    result = {"metric": objective.metric, "direction": objective.direction, "test": None}
    for part in ("validation", "test"):
        if part not in loaders:
            continue
        _, evidence = predict(training.model, loaders[part], objective)
        beside = {name: value_of(objective, baseline, loaders[part]) for name, baseline in baselines.items()}
        result[part] = judge(objective, evidence, training.dataset, training.parts[part])
        if part == "test":
            result["test"]["baselines"] = beside
        else:
            result["baselines"] = beside
        write_rows(folder / f"{part}.csv", training, part, objective.rows(evidence, training.dataset.classes))
        if part == "validation":
            show(training, flags, evidence, trackers)
    result |= {
        "leaks": training.leaks,
        "ceiling": None,
        "best_epoch": training.best["epoch"],
        "seconds": round(training.seconds, 2),
    }
    utils.write_json(folder / "result.json", result)
    print(summary(result, folder))


def judge(objective, evidence: dict, dataset, indices: list[int]) -> dict:
    """Return value, 95 % interval over groups (images, where there are none), and n."""
    import numpy as np

    grouped = dataset.unit and len(set(dataset.columns[dataset.unit])) > 1
    groups = np.asarray(dataset.columns[dataset.unit] if grouped else dataset.ids)[indices]
    value = objective.metrics(evidence)[objective.metric]
    counts = {"n": len(indices), "n_groups": len(set(groups)) if grouped else None}
    return {"value": value, "interval": objective.interval(evidence, groups)} | counts


def value_of(objective, baseline, loader) -> float:
    """Return the main metric of a baseline on the images of a loader."""
    from train import join

    evidence = join((objective.evidence(baseline(x), y) for x, y in loader), len(loader))
    return objective.metrics(evidence)[objective.metric]


def write_rows(path: Path, training, part: str, rows: dict[str, list]) -> None:
    """Write a CSV with a row for each image of a part: its id, its metadata, what was predicted."""
    dataset, indices = training.dataset, training.parts[part]
    table = {"id": [dataset.ids[i] for i in indices]}
    table |= {name: [column[i] for i in indices] for name, column in dataset.columns.items() if name not in rows}
    table |= rows
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))


def show(training, flags, evidence: dict, trackers: list) -> None:
    """Send what can be looked at to the trackers: the confusion matrix, and reconstructions where asked for."""
    epoch = training.best["epoch"]
    if "label" in evidence:
        counts = training.objective.confusion(evidence).tolist()
        for tracker in trackers:
            tracker.confusion(counts, training.dataset.classes, epoch)
    if flags.log_images:
        pixels = side_by_side(training)
        for tracker in trackers:
            tracker.image("reconstructions", pixels, epoch)


def side_by_side(training):
    """Return (H, W, C) uint8: up to 8 validation images above their reconstructions."""
    import torch
    from torchvision.utils import make_grid

    x = next(iter(training.loaders["validation"]))[0][:8]
    training.model.eval()
    with torch.no_grad():
        output = training.objective.output(training.model(x))
    grid = make_grid(torch.cat([x, output]).clamp(0, 1), nrow=len(x))
    return (grid * 255).byte().permute(1, 2, 0).cpu().numpy()


def summary(result: dict, folder: Path) -> str:
    """Return the closing lines: the number, its interval and baselines, and where everything lies."""
    lines = []
    for part in ("validation", "test"):
        if result[part] is None:
            continue
        ends = result[part]["interval"]
        told = f"[95 %: {ends[0]:.4g} to {ends[1]:.4g}]" if ends else "[no interval: a single group]"
        groups = f" in {result[part]['n_groups']} groups" if result[part]["n_groups"] else ""
        beside = result["baselines"] if part == "validation" else result["test"]["baselines"]
        lines.append(
            f"{part} {result['metric']} {result[part]['value']:.4g}  {told}  "
            f"n = {result[part]['n']} images{groups}  "
            + "  ".join(f"{name} {value:.4g}" for name, value in beside.items())
        )
    lines.append(f"best epoch {result['best_epoch'] + 1}, {result['seconds']:.0f} s; written to {shown(folder)}")
    lines.append(f"pictures: python Plotting/report.py {shown(folder)}")
    return "\n".join(lines)


def shown(path: Path) -> str:
    """Return a path as short as it can be named from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
