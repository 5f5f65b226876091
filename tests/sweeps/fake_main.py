"""A stand-in for main.py that takes no time: it saves sessions and a result as a training does."""

import json
import os
import signal
import sys
import time
from pathlib import Path

from neuro_noodle.runs.manifest import Manifest

words = sys.argv[1:]


def value_of(flag: str) -> str | None:
    return words[words.index(flag) + 1] if flag in words else None


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def save(epoch: int) -> None:
    (folder / str(epoch)).mkdir()
    (folder / str(epoch) / "manifest.json").write_bytes(Manifest(epoch).seal())


load_dir = value_of("--load_dir")
folder = Path(load_dir or Path(value_of("--save_dir") or "", value_of("--namestr") or ""))
config = folder / "config.json"
if load_dir:
    words = json.loads(config.read_text())["words"]
else:
    folder.mkdir(parents=True)
    write(config, {"words": words})
(folder / "gpu.txt").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", ""))
latent_dim, seed = int(value_of("--latent_dim") or 4), int(value_of("--seed") or 42)
n_done = len([*folder.glob("[0-9]*")])
signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))
for epoch in range(n_done, 3):
    with (folder / "epochs.txt").open("a") as log:
        log.write(f"{epoch} {os.environ['OMP_NUM_THREADS']} {sorted(os.sched_getaffinity(0))}\n")
    time.sleep(float(value_of("--lr") or 0))
    save(epoch)
    if value_of("--batch_size") == str(epoch) and not load_dir:
        os.kill(os.getpid(), signal.SIGKILL)
    if value_of("--batch_size") == "8":
        os.kill(os.getpid(), signal.SIGKILL)
if latent_dim == 13:
    print("error: 13 is unlucky", file=sys.stderr)
    sys.exit(2)
score = {"mse": None if latent_dim == 99 else latent_dim + seed / 1000}
part = {"value": score["mse"], "metrics": score, "baselines": {"pca": 5.0}, "ceiling": {"mse": 0.9}}
values = {"mse": [(score["mse"] or 0) + r / 10 for r in range(int(value_of("--repetitions") or 0))]}
repetitions = {"best_epochs": [2 for _ in values["mse"]], "validation": values, "test": values}
write(
    folder / "result.json",
    {"metric": "mse", "direction": "min", "validation": part, "test": part, "baselines": {"pca": 5.0}}
    | {"best_epoch": 2, "seconds": 1.0}
    | ({"repetitions": repetitions} if values["mse"] else {}),
)
lines = [json.dumps({"epoch": epoch, "validation/mse": score["mse"] + 2 - epoch}) for epoch in range(3)]
(folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
