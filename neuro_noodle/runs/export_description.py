"""What exported files mean, for someone who has only them: the content of export.json."""

from collections.abc import Mapping
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

from torch import Tensor

from neuro_noodle.data.preparation_text import CHANNELS
from neuro_noodle.objectives.base import Meaning
from neuro_noodle.runs.manifest import read_checked, sha256
from neuro_noodle.runs.onnx_parts import IMAGES, LATENT, PREDICTION, RUNTIME, Part, largest_difference, run_onnx
from neuro_noodle.runs.run import Run

FORMAT = 1  # increase when a key changes its meaning
PACKAGES = ("onnx", "onnxscript", "safetensors")
BATCH = "batch"  # the length of an axis that can have any
Outputs = tuple[Tensor, ...]


def describe(run: Run, parts: Mapping[str, Part], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Return the content of export.json.

    Args:
        run: the run that is exported.
        parts: its parts by name.
        contents: of the files by name; PART.onnx for each part.
    """
    flags = run.config["flags"]
    computed = {name: part.compute() for name, part in parts.items()}
    return {
        "format": FORMAT,
        "run": run.folder.name,
        "session": run.session,
        "metric": describe_metric(run),
        "best_of_repetitions": flags["repetitions"],
        "latent_dim": run.model.encoder.latent_dim,
        "latent_shape": list(run.model.encoder.latent_shape),
        "classes": run.config["classes"],
        "neurons": run.config["neurons"],
        "inputs": describe_inputs(run, {part.source for part in parts.values()}),
        "outputs": describe_outputs(run, parts, computed),
        "files": describe_files(parts, contents),
        "verification": verify(run, parts, contents, computed) if find_spec(RUNTIME) else None,
        "precision": describe_precision(run, parts, computed),
        **{name: flags[name] for name in ("recipe", "encoder", "head", "objective", "dataset")},
        "weights_sha256": sha256(read_checked(run.folder / run.session / "model.pth")),
        "versions": {
            "training": run.config.get("versions"),
            "export": {name: version(name) for name in ("torch", *PACKAGES)},
        },
        "commit": run.config.get("commit"),
    }


def describe_metric(run: Run) -> dict[str, Any] | None:
    """Return the main metric of the result; None if there is no result of this session."""
    result = run.result if run.session == "best" else None
    if not result:
        return None
    part = "test" if result["test"] else "validation"
    values = {key: result[part].get(key) for key in ("value", "interval", "interval_method", "n", "n_groups")}
    names = {"name": result["metric"], "best": result["direction"], "part": part, "best_epoch": result["best_epoch"]}
    return names | values


def describe_inputs(run: Run, names: set[str]) -> dict[str, Any]:
    """Return shape, type and meaning of the inputs of these names."""
    shape = run.dataset.image_shape
    images = {
        "shape": [BATCH, *shape],
        "axes": ["images", "channels", "rows", "columns"],
        "channels": CHANNELS.get(shape[0], [f"channel{i + 1}" for i in range(shape[0])]),
        "dtype": "float32",
        "range": [0, 1],
        "meaning": "images, where 0 is black and 1 is white; any further scaling is part of the model",
        **run.preparation.description,
    }
    latent = {"shape": [BATCH, run.model.encoder.latent_dim], "dtype": "float32", "meaning": "latents of images"}
    return {name: text for name, text in {IMAGES: images, LATENT: latent}.items() if name in names}


def describe_outputs(run: Run, parts: Mapping[str, Part], computed: Mapping[str, Outputs]) -> dict[str, Any]:
    """Return shape, type and meaning of each output of the parts."""
    meanings = _meanings(run)
    return {
        output: {
            "shape": [BATCH, *values.shape[1:]],
            "dtype": str(values.dtype).removeprefix("torch."),
            "meaning": meanings[output].text,
            "unit": meanings[output].unit or None,
            "names": list(meanings[output].names),
            "period": meanings[output].period,
        }
        for name, part in parts.items()
        for output, values in zip(part.outputs, computed[name], strict=True)
    }


def _meanings(run: Run) -> dict[str, Meaning]:
    prediction = run.objective.meaning
    return {LATENT: Meaning("latent of the image"), PREDICTION: prediction, IMAGES: prediction}


def describe_files(parts: Mapping[str, Part], contents: Mapping[str, bytes]) -> dict[str, Any]:
    """Return size and sha256 of each file, and the names of the input and outputs of ONNX files."""
    names = {f"{name}.onnx": {"input": part.source, "outputs": list(part.outputs)} for name, part in parts.items()}
    return {
        name: {"n_bytes": len(content), "sha256": sha256(content)} | names.get(name, {})
        for name, content in contents.items()
    }


def describe_precision(run: Run, parts: Mapping[str, Part], computed: Mapping[str, Outputs]) -> dict[str, Any]:
    """Return how much float32, in which files are exported, differs from the precision of the run."""
    trained = run.model.precision
    differences = {name: _differences(run, part, computed[name], part.compute_as_run()) for name, part in parts.items()}
    return {"training": trained, "export": "fp32", "differences": differences if trained != "fp32" else None}


def verify(
    run: Run, parts: Mapping[str, Part], contents: Mapping[str, bytes], computed: Mapping[str, Outputs]
) -> dict[str, Any]:
    """Return how much the results of onnxruntime and PyTorch differ on held-out images."""
    files = {
        f"{name}.onnx": _differences(run, part, computed[name], run_onnx(contents[f"{name}.onnx"], part))
        for name, part in parts.items()
    }
    part = "test" if run.parts["test"] else "validation"
    n_images = max(len(part.x) for part in parts.values())
    return {RUNTIME: version(RUNTIME), "n_images": n_images, "part": part, "files": files}


def _differences(run: Run, part: Part, first: Outputs, second: Outputs) -> dict[str, Any]:
    """Return the largest difference between two results of a part, for each of its outputs."""
    meanings = _meanings(run)
    return {
        output: {
            "largest_difference": largest_difference(one, other, meanings[output].period),
            "largest_number": float(one.abs().max()),
        }
        for output, one, other in zip(part.outputs, first, second, strict=True)
    }
