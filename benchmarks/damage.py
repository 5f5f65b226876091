"""Damage the files of a run and see whether that is noticed: single bits, and changes of texts.

Run it from the folder of the project: `python -m benchmarks.damage [N_BITS] [N_TEXTS]` (100 and 2000).

A run is trained on the digits of scikit-learn. Each damaged copy of it is opened, resumed for an epoch, and judged. The
damage is noticed if an error or a note says so. Else the weights, the split and the result must be those of a copy that
was not damaged: then it was in bytes that do not matter. Half of the changed texts are listed in the manifest, as in
a run made by hand: they may then describe another run, but must not end in a traceback.
"""

import contextlib
import io
import json
import os
import random
import runpy
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from neuro_noodle.choices import UserError
from neuro_noodle.runs.commits import commit_files
from neuro_noodle.runs.manifest import best_session
from neuro_noodle.runs.metrics import read_metrics
from neuro_noodle.runs.result import read_result
from neuro_noodle.runs.run import open_run
from neuro_noodle.runs.sessions import load_pth

HERE = Path(__file__).resolve().parent.parent
TRAIN = (
    "--dataset digits --objective classify --encoder fc hidden=8 start=random --latent_dim 4 --head linear "
    "--augment none --test_fraction 0.2 --device cpu --batch_size 256 --n_epochs 3 --namestr run --no-plot"
)
TEXTS = ("config.json", "split.json", "result.json", "metrics.jsonl")
VALUES = ["null", "-1", "1e400", "true", "[]", "{}", '""', '"../.."', "99999999999999999999", "NaN", "0.5"]


def main(n_bits: int, n_texts: int) -> None:
    """Damage copies of a run and print what became of them."""
    command = runpy.run_path(str(HERE / "main.py"))["main"]
    generator = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        outcome(command, [*TRAIN.split(), "--save_dir", folder])
        wanted = use(command, shutil.copytree(run, Path(folder, "alone", "run")))
        files = sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file() and path.stat().st_size)
        found: dict[str, Counter[str]] = {}
        for index in range(n_bits):
            name = files[index % len(files)]
            copy = shutil.copytree(run, Path(folder, "bits", "run"))
            flip_bit(copy / name, generator)
            found.setdefault(f"a bit of {name}", Counter())[compare(use(command, copy), wanted)] += 1
            shutil.rmtree(copy)
        for index in range(n_texts):
            name = TEXTS[index % len(TEXTS)]
            copy = shutil.copytree(run, Path(folder, "texts", "run"))
            content = change_text((copy / name).read_bytes(), generator)
            is_listed = index // len(TEXTS) % 2 == 1
            if is_listed and name != "metrics.jsonl":
                commit_files(copy, {name: content})
            (copy / name).write_bytes(content)
            what = compare(use(command, copy), wanted)
            what = "another run" if is_listed and what == "not noticed" else what
            found.setdefault(f"{name}{', listed' if is_listed else ''}", Counter())[what] += 1
            shutil.rmtree(copy)
    for name, counts in found.items():
        print(f"{name:<28}" + ", ".join(f"{what} {n}" for what, n in counts.most_common()))


def outcome(command, words: list[str]) -> tuple[int, str]:
    """Return the exit status and the standard error of a command; 1 and the error for a traceback."""
    text = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(text):
        try:
            return command(words), text.getvalue()
        except Exception as error:  # what a user would see as a traceback
            return 1, f"{type(error).__name__}: {error}"


def use(command, run: Path) -> dict:
    """Open a run, judge it and resume it; returns what is then known of it, with any error or note under `said`."""
    text = io.StringIO()
    known: dict = {}
    try:
        with contextlib.redirect_stderr(text):
            opened = open_run(run)
            known = {"split": opened.parts, "result": read_result(run)["validation"], "metrics": read_metrics(run)}
            known["best"] = flat(opened.model.state_dict())
            tables = [(run / name).read_bytes() for name in ("validation.csv", "test.csv")]
    except UserError as error:
        return {"said": str(error)}
    except Exception as error:  # what a user would see as a traceback
        return {"traceback": f"{type(error).__name__}: {error}"}
    status, said = outcome(command, ["--load_dir", str(run), "--n_epochs", "4"])
    if status == 1:
        return {"traceback": said}
    notes = [line for line in (text.getvalue() + said).splitlines() if "damaged" in line or line.startswith("error")]
    if notes or status:
        return {"said": "; ".join(notes)}
    known["after"] = flat(load_pth(best_session(run) / "model.pth"))
    return known | {"tables": tables}


def flat(weights: dict) -> list[float]:
    """Return all weights as one list."""
    return [value for tensor in weights.values() for value in tensor.flatten().tolist()]


def compare(known: dict, wanted: dict) -> str:
    """Return in a few words what became of damage."""
    if "traceback" in known:
        print(known["traceback"], file=sys.stderr)
        return "TRACEBACK"
    if "said" in known:
        return "noticed"
    return "does not matter" if known == wanted else "not noticed"


def flip_bit(path: Path, generator: random.Random) -> None:
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    path.write_bytes(content)


def change_text(content: bytes, generator: random.Random) -> bytes:
    """Return a text with a byte changed, a piece removed, repeated or replaced, or a value replaced by another."""
    start = generator.randrange(len(content))
    end = min(len(content), start + generator.randrange(1, 40))
    kind = generator.choice(("byte", "remove", "repeat", "cut", "value", "value", "value"))
    if kind == "byte":
        return content[:start] + bytes([generator.randrange(256)]) + content[start + 1 :]
    if kind == "value":
        return change_value(content, generator)
    return {
        "remove": content[:start] + content[end:],
        "repeat": content[:end] + content[start:],
        "cut": content[:start],
    }[kind]


def change_value(content: bytes, generator: random.Random) -> bytes:
    """Return JSON in which one value, at any depth, is another."""
    head, line, tail = b"", content, b""
    if content.count(b"\n{") and content.startswith(b'{"epoch'):  # metrics.jsonl: one line of it
        lines = content.splitlines(keepends=True)
        index = generator.randrange(len(lines))
        head, line, tail = b"".join(lines[:index]), lines[index], b"".join(lines[index + 1 :])
    value = json.loads(line)
    parent = value
    while True:
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        key = generator.choice(keys)
        if isinstance(parent[key], dict | list) and parent[key] and generator.random() < 0.7:
            parent = parent[key]
            continue
        parent[key] = "REPLACED"
        break
    text = json.dumps(value, indent=None if head or tail else 2).replace('"REPLACED"', generator.choice(VALUES))
    return head + text.encode() + b"\n" + tail


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3] or (100, 2000)))
