"""Export: the encoder, the decoder or the whole model of a run as ONNX and safetensors, described in a JSON file."""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from neuro_noodle.choices import require, suggest
from neuro_noodle.objectives.base import IMAGES
from neuro_noodle.progress import Stage
from neuro_noodle.runs.export_description import PACKAGES, describe
from neuro_noodle.runs.files import json_bytes, write_folder
from neuro_noodle.runs.onnx_parts import RUNTIME, Part, decoder_part, encoder_part, model_part, to_onnx
from neuro_noodle.runs.run import Run

PARTS: dict[str, Callable[[Run, np.ndarray], Part]] = {
    "encoder": encoder_part,
    "model": model_part,
    "decoder": decoder_part,
}
WEIGHTS, ABOUT = "model.safetensors", "export.json"
N_VERIFIED = 64  # held-out images
TOLERANCE = 1e-4  # of the difference between onnxruntime and PyTorch, relative to the largest number, at least 1


def export_run(run: Run, folder: Path | str | None = None, parts: Sequence[str] = ()) -> list[Path]:
    """Write parts of the model of a run as ONNX files, all its weights as safetensors, and what they mean as JSON.

    Args:
        run: opened with `open_run`.
        folder: of the files; an earlier export there is replaced. None means export/ in the folder of the run, or
            export-EPOCH/ for a session other than the best.
        parts: encoder, model or decoder; by default the first two, and the decoder if the run predicts images.

    Returns:
        The paths of the files: PART.onnx, model.safetensors and export.json.

    Raises:
        UserError: if a package is missing, a part cannot be written as ONNX, or the folder holds other files.
    """
    require_packages()
    names = choose_parts(run, parts)
    folder = Path(folder or run.folder / ("export" if run.session == "best" else f"export-{run.session}"))
    require_replaceable(folder)
    chosen = run.held_out[:: -(-len(run.held_out) // N_VERIFIED)]
    described = {name: PARTS[name](run, chosen) for name in names}
    contents = {}
    for name, part in described.items():
        with Stage(f"writing {name} as ONNX"):
            contents[f"{name}.onnx"] = to_onnx(part)
    contents[WEIGHTS] = safetensors_bytes(run.model.state_dict())
    about = describe(run, described, contents)
    print(format_agreement(about["verification"]), file=sys.stderr)
    if run.model.precision != "fp32":
        print(f"note: the files compute in float32, the run in {run.model.precision}; export.json has the difference",
              file=sys.stderr)  # fmt: skip
    folder.parent.mkdir(parents=True, exist_ok=True)
    write_folder(folder.resolve(), contents | {ABOUT: json_bytes(about)})
    return [folder / name for name in (*contents, ABOUT)]


def require_packages() -> None:
    """Raise UserError if a package that the export needs is not installed."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    require(
        not missing,
        f"the export needs packages: pip install {' '.join(missing)} (or, in a clone of this project, pip install -e "
        "'.[export]')",
    )


def choose_parts(run: Run, parts: Sequence[str]) -> list[str]:
    """Return the names of the parts to export, each once.

    Raises:
        UserError: if there is no such part, or the run lacks it.
    """
    has_decoder = run.objective.predicts == IMAGES
    names = list(dict.fromkeys(parts or ["encoder", "model", *(["decoder"] if has_decoder else [])]))
    for name in names:
        require(name in PARTS, f"unknown part '{name}'; {suggest(name, PARTS)}")
    if "decoder" in names:
        run.require_decoder("leave decoder out of --parts")
    possible = "--parts decoder exports what follows it" if has_decoder else "nothing of this run can be exported"
    require(
        names == ["decoder"] or not run.model.encoder.encodes_once,
        f"{run.name} has a UMAP, which places an image by searching the training images and cannot be written as ONNX; "
        + possible,
    )
    return names


def require_replaceable(folder: Path) -> None:
    """Raise UserError if a folder exists and holds anything that no export has written."""
    require(not folder.exists() or folder.is_dir(), f"{folder} is a file; name a folder for the export")
    own = {WEIGHTS, ABOUT, *(f"{name}.onnx" for name in PARTS)}
    others = sorted(path.name for path in folder.glob("*") if path.name not in own)
    require(not others, f"{folder} holds other files ({', '.join(others[:3])}); name a new folder for the export")


def safetensors_bytes(weights: Mapping[str, Tensor]) -> bytes:
    """Return weights by name as the content of a safetensors file."""
    from safetensors.torch import save

    return save({name: values.detach().cpu().contiguous().clone() for name, values in weights.items()})


def format_agreement(verification: Mapping[str, Any] | None) -> str:
    """Return how well onnxruntime and PyTorch agree, as text; a warning if they do not."""
    if verification is None:
        return f"note: the files were not verified, since {RUNTIME} is not installed: pip install {RUNTIME}"
    n, part = verification["n_images"], verification["part"]
    each = {
        f"{file} {output}": found
        for file, outputs in verification["files"].items()
        for output, found in outputs.items()
    }
    wrong = [
        f"{name} by {found['largest_difference']:.3g} (its largest number is {found['largest_number']:.3g})"
        for name, found in each.items()
        if not found["largest_difference"] <= TOLERANCE * max(1, found["largest_number"])
    ]
    if wrong:
        return (
            f"WARNING: on {n} {part} images, {RUNTIME} and PyTorch differ: {'; '.join(wrong)}; do not use these files"
        )
    largest = max(found["largest_difference"] for found in each.values())
    return f"on {n} {part} images, {RUNTIME} and PyTorch differ by at most {largest:.2g}"
