"""config.json: every value that made a run. It is checked when it is read, because a run may come from someone else."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from neuro_noodle.choices import require
from neuro_noodle.flags import EVERY_FLAG
from neuro_noodle.runs.files import CONFIG, parse_json
from neuro_noodle.runs.manifest import read_checked

RECORDED = {name: flag for name, flag in EVERY_FLAG.items() if flag.recorded}
DEFAULTS = {name: flag.as_json for name, flag in RECORDED.items()}  # of flags that a run of an earlier version lacks
MAX_SIDE = 10**6  # px, or any other length of a shape


def load_config(run: Path) -> dict[str, Any]:
    """Read the config.json of a run.

    Its --save_dir is the folder that the run is in now, and its --cache_dir counts only if decoded images are there, so
    that no file of a run can choose where the program writes.

    Raises:
        UserError: if it is damaged, or if a value is missing or not allowed; names the key.
    """
    path = run / CONFIG
    config = parse_json(read_checked(path), path)
    for key, is_allowed in SECTIONS.items():
        _require_allowed(path, config, key, is_allowed)
    for key, is_allowed in MODEL.items():
        _require_allowed(path, config["model"], key, is_allowed)
    require(config["model"].keys() == MODEL.keys(), f"{path}: 'model' may only have the keys {', '.join(MODEL)}")
    for name in config["flags"]:
        require(name in RECORDED, f"{path}: this version of the program has no flag '{name}'")
        _require_allowed(path, config["flags"], name, RECORDED[name].allows)
    flags = DEFAULTS | config["flags"]
    cache_dir = flags["cache_dir"]
    is_cache = bool(cache_dir) and any(Path(cache_dir).glob("*/about.json"))
    here = {"save_dir": str(run.resolve().parent), "cache_dir": cache_dir if is_cache else None}
    return config | {"flags": flags | here}


def _require_allowed(path: Path, values: dict[str, Any], key: str, is_allowed: Callable[[Any], bool]) -> None:
    require(key in values, f"{path} lacks '{key}'")
    require(is_allowed(values[key]), f"{path}: '{key}' cannot be {str(values[key])[:80]!r}")


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _is_shape(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(type(one) is int and 0 < one <= MAX_SIDE for one in value)


def _are_numbers(value: object) -> bool:
    return isinstance(value, list) and all(type(one) in (int, float) and math.isfinite(one) for one in value)


SECTIONS: dict[str, Callable[[Any], bool]] = {
    "flags": _is_dict,
    "model": _is_dict,
    "learned": lambda value: _is_dict(value) and all(map(_are_numbers, value.values())),
    "classes": _are_texts,
    "neurons": _are_texts,
}
MODEL: dict[str, Callable[[Any], bool]] = {
    "encoder": _is_text,
    "head": _is_text,
    "latent_dim": EVERY_FLAG["latent_dim"].allows,
    "image_shape": lambda value: _is_shape(value) and len(value) == 3,
    "output_shape": _is_shape,
    "precision": lambda value: value in ("fp32", "bf16"),
}
