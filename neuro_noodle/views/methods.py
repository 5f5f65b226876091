"""The methods of a run as a paragraph of a paper: plain sentences in the past tense, from config.json and result.json.

Nothing here reads a file. A number that is not in the facts is not in the text.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from neuro_noodle.plain import readable
from neuro_noodle.runs.undefined import format_score
from neuro_noodle.views import wording
from neuro_noodle.views.facts import (
    METRICS,
    Facts,
    amount,
    format_baseline,
    format_count,
    format_ends,
    format_groups,
    format_units,
    leaks,
    noun,
)

EITHER = "over groups, or over images without groups"
MAX_CLASSES = 6  # that are named
LOSSES = {"bce": "the binary cross-entropy", "mse": "the mean squared error", "l1": "the mean absolute error"}


def methods(facts: Facts) -> str:
    """Return the paragraph."""
    parts = (_images, _split, _model, _loss, _loaded, _training, _choice, _results, _repetitions, _leaks, _software)
    return " ".join(filter(None, (part(facts) for part in parts)))


# ------------------------------------------------------------------------------------------------------------ data


def _images(facts: Facts) -> str:
    channels, height, width = facts.result["data"]["shape"]
    kind = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
    size = f"{height} x {width} pixels (height x width), with values from 0 (black) to 1 (white)"
    text = f"We used {facts.result['data']['n_images']:,} {kind} images of {size}"
    classes, neurons = facts.config["classes"], facts.config["neurons"]
    changed = facts.result["data"]["reading"]["changed"]
    listed = [f"{n:,} {readable(what)}" for what, n in changed.items()]
    changes = f" Among them were {wording.join(listed)}." if listed else ""
    if facts.objective.name == "classify":
        named = f" ({', '.join(map(readable, classes))})" if len(classes) <= MAX_CLASSES else ""
        return f"{text}, in {amount(len(classes), 'class')}{named}.{changes}"
    if facts.objective.name == "response":
        return f"{text}, and the responses of {amount(len(neurons), 'neuron')} to them.{changes}"
    return f"{text}.{changes}"


def _split(facts: Facts) -> str:
    flags, how = facts.flags, facts.flags["split"]
    kept = {
        "group": f"such that no {noun(facts.group)} was in two parts",
        "block": f"such that no block of consecutive frames was in two parts{_gap(flags['gap'])}",
        "given": "as in the data set itself",
    }.get(how, "at random")
    seed = f" (seed {flags['seed'] if flags['split_seed'] is None else flags['split_seed']})"
    if facts.n_folds:
        return (
            f"They were split {kept} into {facts.n_folds} folds{seed}, so that each image was a test image once; in "
            f"each fold, {100 * flags['val_fraction']:g} % of the others were used for validation.{_meaning(facts)}"
        )
    parts = [f"{amount(n, f'{part} image')}{_of_groups(facts, part)}" for part, n in facts.n_images.items()
             if n and part != "left_out"]  # fmt: skip
    fold = f" (fold {flags['fold']})" if flags["fold"] else ""
    drawn = f"; validation images were drawn from its training images{seed}" if facts.draws_validation else ""
    seed = "" if how == "given" else seed
    n_out = facts.n_images.get("left_out", 0)
    out = f" {amount(n_out, 'image')} {'was' if n_out == 1 else 'were'} in no part." if n_out else ""
    return f"They were split {kept} into {wording.join(parts)}{fold}{seed}{drawn}.{_meaning(facts)}{out}"


def _meaning(facts: Facts) -> str:
    """Return what groups are, unless their noun says it."""
    is_unclear = bool(facts.group) and noun(facts.group) == "group"
    return f" Groups were the values of the column {readable(facts.group)}." if is_unclear else ""


def _gap(n: int) -> str:
    return f", with gaps of {amount(n, 'frame')} between parts" if n else ""


def _of_groups(facts: Facts, part: str) -> str:
    n = facts.n_groups.get(part)
    return f" of {format_groups(facts.group, n)}" if n else ""


# ----------------------------------------------------------------------------------------------------------- model


def _model(facts: Facts) -> str:
    flags, model = facts.flags, facts.config["model"]
    encoder, head = wording.encoder(model["encoder"]), wording.head(model["head"])
    task = TASKS.get(facts.objective.name, lambda one: f"for the objective {one.flags['objective']}")(facts)
    subject = f"{flags['repetitions']} networks with different seeds" if flags["repetitions"] > 1 else "a network"
    which = "Each" if flags["repetitions"] > 1 else "It"
    each = " in each fold" if facts.n_folds else ""
    return (
        f"We trained {subject}{each} {task}. {which} consisted of {encoder}, a latent of "
        f"{amount(facts.latent_dim, 'number')}, and {head}."
    )


def _reconstruct(facts: Facts) -> str:
    noise = facts.objective.options["noise"]
    noisy = f" from images to which Gaussian noise with a standard deviation of {noise:g} was added (white is 1)"
    return f"to reproduce the images{noisy if noise else ''} (an autoencoder)"


def _direction(facts: Facts) -> str:
    columns, is_axis = facts.objective.options["columns"], facts.objective.options["axis"]
    kind = "an orientation (opposite directions are the same)" if is_axis else "a direction"
    return f"to predict {kind} from each image ({_columns(columns)})"


def _columns(names: Sequence[str]) -> str:
    return f"column{'s' if len(names) > 1 else ''} {', '.join(map(readable, names))}"


TASKS: dict[str, Callable[[Facts], str]] = {
    "reconstruct": _reconstruct,
    "classify": lambda facts: "to predict the class of each image",
    "direction": _direction,
    "regress": lambda facts: f"to predict numbers from each image ({_columns(facts.objective.options['columns'])})",
    "response": lambda facts: "to predict the responses of all neurons to each image",
}


def _loss(facts: Facts) -> str:
    options = facts.objective.options
    if facts.objective.name == "reconstruct":
        loss = LOSSES.get(options["loss"], f"the {options['loss']} loss")
        scaled = f", after subtraction of {options['mean']:g} and division by {options['sd']:g}"
        return f"The loss was {loss} of pixels{'' if (options['mean'], options['sd']) == (0, 1) else scaled}."
    if facts.objective.name == "response":
        is_poisson = options["loss"] == "poisson"
        loss = "the Poisson negative log-likelihood of the responses" if is_poisson else "the squared error"
        rates = ", and a softplus kept predictions above 0" if options["output"] == "softplus" else ""
        return f"The loss was {loss}{rates}."
    losses = {
        "classify": "the cross-entropy",
        "direction": "the squared error of a vector of length 1 in that direction"
        + (", with the angle doubled" if options.get("axis") else ""),
        "regress": "the squared error of values scaled to mean 0 and standard deviation 1 in training",
    }
    return f"The loss was {losses[facts.objective.name]}." if facts.objective.name in losses else ""


def _loaded(facts: Facts) -> str:
    flags = facts.flags
    source, n_trainable = flags["load_encoder"], flags["trainable_stages"]
    texts = []
    if source:
        fresh = (
            "the last stage (the head)" if flags["fresh_stages"] == 1 else f"the last {flags['fresh_stages']} stages"
        )
        path = Path(source)
        is_session = path.name.isdecimal() or path.name == "best"
        name = f"{path.parent.name} (session {path.name})" if is_session else path.name
        texts.append(f"The encoder started from that of the run {name}; {fresh} had new weights.")
    if n_trainable:
        which = (
            "Only the head was" if n_trainable == 1 else f"Only the last {n_trainable} stages, the head included, were"
        )
        texts.append(f"{which} trained.")
    elif facts.config["model"]["encoder"].split()[0] in ("pca", "umap"):
        texts.append("Only the head was trained.")
    return " ".join(texts)


# -------------------------------------------------------------------------------------------------------- training


def _training(facts: Facts) -> str:
    flags = facts.flags
    rate = wording.schedule(flags["schedule"])
    rate = (
        f"a constant learning rate of {flags['lr']:g}"
        if rate == "constant"
        else f"a learning rate of {flags['lr']:g}, {rate}"
    )
    n, patience = facts.n_trained, facts.flags["patience"]
    at_most = "at most " if patience and not n else ""
    epochs = f"for {at_most}{amount(n or flags['n_epochs'], 'epoch')}"
    if patience and n != flags["n_epochs"]:
        epochs += f"; it stopped when the validation metric had not improved for {amount(patience, 'epoch')}"
    changes = [*map(wording.augmentation, flags["augment"])]
    augmented = f"Training images were changed at random by {wording.join(changes)}." if changes else ""
    text = f"Training used {wording.optimizer(flags['optimizer'])} with {rate}, and batches of at most "
    return f"{text}{amount(flags['batch_size'], 'image')}, {epochs}. {augmented}".strip()


def _choice(facts: Facts) -> str:
    best = {"min": "lowest", "max": "highest"}[facts.result["direction"]]
    name = METRICS.get(facts.result["metric"], facts.result["metric"])
    if facts.flags["test_every"] >= facts.flags["n_epochs"] and (facts.n_folds or facts.result["best_epoch"] >= 0):
        return "Weights were those after the last epoch."
    if facts.n_folds:
        return f"In each fold, weights were those of the epoch with the {best} validation {name}."
    epoch = facts.result["best_epoch"] + 1
    which = f"epoch {epoch}" if epoch else "the start, before training"
    return f"Weights were those of the epoch with the {best} validation {name} ({which})."


# --------------------------------------------------------------------------------------------------------- results


def _results(facts: Facts) -> str:
    return " ".join(_of_part(facts, part, record) for part, record in reversed(facts.judged.items()))


def _of_part(facts: Facts, part: str, record: Mapping[str, Any]) -> str:
    name = facts.result["metric"]
    baselines = [f"{format_baseline(facts, one)}: {facts.score(value)}" for one, value in record["baselines"].items()]
    where = f"On {format_count(facts, part, record)}, the {facts.metric}"
    if record["value"] is None:
        return f"{where} was undefined ({record['undefined'].get(name, '')})."
    ends, why = record["interval"], record["undefined"].get("interval", "")
    how = (record["interval_method"] or "").replace(EITHER, f"over {format_units(facts, record)}")
    method = f"95 % confidence interval {format_ends(facts, ends)}, {how}" if ends else f"no interval: {why}"
    return f"{where} was {facts.score(record['value'])} ({'; '.join([method, *baselines])}).{_ceiling(record)}"


def _ceiling(record: Mapping[str, Any]) -> str:
    ceiling = record.get("ceiling")
    if not ceiling or ceiling["share"] is None:
        return ""
    ends = ceiling["share_interval"]
    interval = f"95 % confidence interval {100 * ends[0]:.1f} to {100 * ends[1]:.1f} %" if ends else ""
    repeats = f"estimated from {ceiling['n_repeats']:.3g} presentations of each image" if ceiling["n_repeats"] else ""
    share = f"{100 * ceiling['share']:.1f} % of the noise ceiling of {format_score(ceiling['r'])}"
    return f" This was {share}{wording.in_parentheses([interval, repeats])}."


def _repetitions(facts: Facts) -> str:
    each, name = facts.result.get("repetitions"), facts.result["metric"]
    if not each:
        n = facts.result.get("n_repetitions", 1)
        return f"Of {n} repetitions in each fold, the best on validation was tested." if n > 1 else ""
    part = "test" if "test" in each else "validation"
    spread = {key: facts.score(value) for key, value in each[f"{part}_spread"][name].items()}
    return (
        f"Over the {len(each['seeds'])} networks, the {part} {facts.metric} had a median of {spread['median']} (10th "
        f"to 90th percentile {spread['p10']} to {spread['p90']}); the numbers above are of the best on validation."
    )


def _leaks(facts: Facts) -> str:
    return " ".join(leaks(facts))


def _software(facts: Facts) -> str:
    config = facts.config
    versions, commit = config.get("versions", {}), config.get("commit")
    python, torch = (versions.get(name, "of unknown version") for name in ("python", "torch"))
    at = f", commit {commit[:10]}" if commit else ""
    precision = {"fp32": "32-bit", "bf16": "bfloat16"}[config["model"]["precision"]]
    device = config.get("device", "cpu")
    where = "a CPU" if device == "cpu" else device
    return (
        f"We used Neuro Noodle{at}, with Python {python} and PyTorch {torch}, in {precision} arithmetic on {where}; "
        f"the seed was {facts.flags['seed']}."
    )
