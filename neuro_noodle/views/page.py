"""report.html: one page about a run that needs no other file, to read, to print or to send."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neuro_noodle.plain import command_line, counted, readable
from neuro_noodle.runs.files import PAGE, RESULT, fold_of, read_json, short_path, write_bytes
from neuro_noodle.runs.pooled import PooledFolds
from neuro_noodle.runs.run import Run
from neuro_noodle.runs.undefined import format_score
from neuro_noodle.views import markup
from neuro_noodle.views.extremes import find_extremes
from neuro_noodle.views.facts import (
    METRICS,
    Facts,
    amount,
    facts_of,
    format_baseline,
    format_ends,
    format_groups,
    headline,
    leaks,
)
from neuro_noodle.views.methods import methods

LEFT_OUT = (
    "Pictures that show an image, or anything decoded from the network, were left out of this page, and so were the "
    "names of images."
)
CAPTIONS = {
    "curves": "Learning curves: losses on the left, the validation metric and its baselines (dashed) on the right.",
    "reconstructions": "Held-out images, their reconstructions and the differences.",
    "traversals": "Images decoded along each number of the latent, from its 2nd to its 98th percentile, the others at "
    "their median.",
    "decodings": "Images decoded from a grid of points of the latent.",
    "augmented": "Training images, each with four examples of its random changes.",
    "latent_map": "Maps of the pixels (above) and of the latents (below), coloured by metadata; held-out images have "
    "rings.",
    "confusion": "Confusion matrix of the held-out images.",
    "mistakes": "The most certain mistakes among held-out images.",
    "arrows": "True and predicted directions of held-out images.",
    "predictions": "Predicted against true numbers of the held-out images.",
    "paths": "True and predicted paths in the plane.",
    "explained_variance": "Share of the variance that each number of the latent explains.",
    "neurons": "How well each neuron is predicted, next to its noise ceiling where that is known.",
    "responses": "Predicted and recorded responses of the best, the median and the worst predicted neurons.",
    "receptive_fields": "Receptive fields of the best, the median and the worst predicted neurons.",
    "filters": "Filters of the encoder.",
}


def write_page(folder: Path, run: Run | PooledFolds, drawn: Sequence[Path], *, with_images: bool = True) -> Path:
    """Write report.html; returns its path.

    Args:
        folder: of the run, or of all folds.
        run: the run, or all folds.
        drawn: files of figures, in order; with images, others in the folder `figures` follow.
        with_images: whether to show images and what was decoded from the network, and the names of images.
    """
    if isinstance(run, PooledFolds):
        first = run.runs[0]
        facts = Facts.of(first, read_json(folder / RESULT), n_trained=0)
    else:
        first, facts = run, facts_of(run)
    hidden = [] if with_images else [name for name in first.dataset.ids if not name.isdecimal()]
    content = [
        _top(facts, folder, with_images),
        _result(facts),
        markup.section("What could make the result too good", markup.bullets(_doubts(facts))),
        _data(facts, hidden),
        markup.section(
            "Figures", *_figures(folder, drawn, with_images), markup.paragraph(_more_figures(facts, folder))
        ),
        _extremes(run, with_images),
        markup.section(
            "Methods, as a start for a paper",
            markup.paragraph("Written from the files of the run. Add where the images come from, and cite it.", "soft"),
            markup.paragraph(methods(facts), "methods"),
        ),
        _origin(facts),
    ]
    path = folder / PAGE
    write_bytes(path, markup.page(f"{folder.resolve().name}: {headline(facts)}", content))
    return path


# ---------------------------------------------------------------------------------------------------------- result


def _top(facts: Facts, folder: Path, with_images: bool) -> str:
    summary = f"Based on the recipe {facts.flags['recipe']}; the settings of this run are at the end."
    return "\n".join(
        [
            f"<h1>{markup.text(folder.resolve().name)}</h1>",
            markup.paragraph(summary, "soft"),
            markup.paragraph(headline(facts), "headline"),
            *([] if with_images else [markup.paragraph(LEFT_OUT)]),
        ]
    )


def _result(facts: Facts) -> str:
    name, each = facts.result["metric"], facts.judged
    better = {"min": "lower is better", "max": "higher is better"}[facts.result["direction"]]
    rows = [["the network", *(_with_interval(facts, one) for one in each.values())]]
    for baseline in next(iter(each.values()))["baselines"]:
        values = [facts.score(one["baselines"].get(baseline)) for one in each.values()]
        rows.append([f"{format_baseline(facts, baseline)} (baseline)", *values])
    if facts.result.get("ceiling"):
        rows.append(["noise ceiling", *(_ceiling_of(one, name) for one in each.values())])
    rows.append(["images", *(f"{one['n']:,}" for one in each.values())])
    if facts.group:
        rows.append([format_groups(facts.group, 2).partition(" ")[2], *(str(one["n_groups"]) for one in each.values())])
    main = METRICS.get(name, name)
    return markup.section(
        "Result",
        markup.table(f"{main[:1].upper()}{main[1:]}; {better}", ["", *each], rows, kind="network"),
        *(markup.paragraph(f"No {part} interval: {one['undefined']['interval']}.")
          for part, one in each.items() if one["interval"] is None and "interval" in one["undefined"]),
        _details(facts),
    )  # fmt: skip


def _with_interval(facts: Facts, record: Mapping[str, Any]) -> str:
    ends = record["interval"]
    return facts.score(record["value"]) + (f" (95 %: {format_ends(facts, ends)})" if ends else "")


def _ceiling_of(record: Mapping[str, Any], name: str) -> str:
    return format_score(record["ceiling"][name]) if record.get("ceiling") else "–"


def _details(facts: Facts) -> str:
    """Return tables of further numbers: other metrics, classes, few groups, folds, repetitions."""
    part, record = next(iter(facts.judged.items()))
    name, each, folds = facts.result["metric"], facts.result.get("repetitions"), facts.result.get("folds")
    others = {one: value for one, value in record["metrics"].items() if one != name}
    spread = {}
    for one in ("validation", "test"):
        if each and one in each:
            ends = each[f"{one}_spread"][name]
            spread[one] = [facts.score(ends[key]) for key in ("median", "p10", "p90")]
    numbers = {
        f"Other metrics on {part} images": others,
        f"{part.capitalize()} {facts.metric} of each class": record["by_class"] or {},
        f"{part.capitalize()} {facts.metric} of each group": record["by_group"] or {},
        f"Test {facts.metric} of each fold": dict(enumerate(folds["values"], 1)) if folds else {},
    }
    forms = (format_score, facts.score, facts.score, facts.score)
    tables = [
        markup.table(caption, ["", "value"], [[str(one), form(value)] for one, value in values.items()])
        for (caption, values), form in zip(numbers.items(), forms, strict=True)
    ]
    rows = [[one, *values] for one, values in spread.items()]
    columns = ["part", "median", "10th percentile", "90th percentile"]
    n_seeds = len(each["seeds"]) if each else 0
    return "\n".join([*tables, markup.table(f"{name} over {n_seeds} repetitions", columns, rows)])


def _doubts(facts: Facts) -> list[str]:
    """Return what makes the result better than it would be on new images, or that nothing was found."""
    test, found = facts.result.get("test"), leaks(facts)
    if not test:
        found.append("There are no test images. The validation images chose the epoch, so new images will do worse.")
    elif test["n_judged"] > 1:
        found.append(f"The test images were used for {test['n_judged']} different best epochs.")
    for part, record in facts.judged.items():
        if n_known := record["n_known_groups"]:
            n = "All" if n_known == record["n_groups"] else f"{n_known} of"
            found.append(
                f"{n} {format_groups(facts.group, record['n_groups'])} of the {part} images are in training too."
            )
    return found or ["Nothing was found: no near-duplicate in training, and no group in training and in another part."]


# ------------------------------------------------------------------------------------------------------------ data


def _data(facts: Facts, hidden: Sequence[str]) -> str:
    data, flags = facts.result["data"], facts.flags
    pixels, reading = data["pixels"], data["reading"]
    rows = [
        [part.replace("_", " "), f"{n:,}", *([str(facts.n_groups.get(part, 0))] if facts.group else [])]
        for part, n in facts.n_images.items()
        if n
    ]
    groups = [format_groups(facts.group, 2).partition(" ")[2]] if facts.group else []
    which = "Split of the first fold" if facts.n_folds else "Split"
    skipped = [*reading["unreadable"]]
    notes = [f"Not read: {what} ({n})." for what, n in reading["passed_over"].items()]
    notes += [f"Changed: {what} ({n})." for what, n in reading["changed"].items()]
    notes += [f"{amount(len(skipped), 'file')} could not be read and {'was' if len(skipped) == 1 else 'were'} skipped"
              + (f": {', '.join(skipped)}." if not hidden else ".")] if skipped else []  # fmt: skip
    copies = {"n_copies": "exact copies of another image", "n_constant": "of one value", "n_dark": "nearly black"}
    notes += [
        f"{pixels[key]} of {amount(pixels['n_checked'], 'image')}: {what}."
        for key, what in copies.items()
        if pixels[key]
    ]
    shown = [format_note(note) for note in data["notes"] if not any(name in note for name in hidden)]
    if n_hidden := len(data["notes"]) - len(shown):
        shown.append(f"{counted(n_hidden, 'note')} that name images, in result.json.")
    return markup.section(
        "Data and split",
        markup.facts(
            "Images",
            {
                "folder": flags["data_dir"],
                "format": flags["dataset"],
                "images": f"{data['n_images']:,} of {' x '.join(map(str, data['shape']))} (channels x height x width)",
                "values": f"{pixels['low']:g} to {pixels['high']:g}, white is {data['white']:g}",
            },
        ),
        markup.table(which, ["part", "images", *groups], rows),
        "<h3>Notes on the data</h3>" if notes + shown else "",
        markup.bullets(notes + shown),
    )


def format_note(note: str) -> str:
    """Return a note with a full stop, and a capital unless it starts with the name of a file."""
    is_word = note.split(maxsplit=1)[0].isalpha()
    return f"{note[:1].upper() if is_word else note[:1]}{note[1:]}."


# --------------------------------------------------------------------------------------------------------- figures


def _figures(folder: Path, drawn: Sequence[Path], with_images: bool) -> list[str]:
    others = sorted({*folder.glob("figures/*.png")} - {*drawn}) if with_images else []
    shown = [path for path in (*drawn, *others) if path.suffix == ".png" and path.is_file()]
    return [markup.figure(path, _caption(folder, path)) for path in shown]


def _more_figures(facts: Facts, folder: Path) -> str:
    if not facts.n_folds:
        return ""
    return f"Curves and maps of a fold: {command_line(f'Plotting/report.py {short_path(fold_of(folder, 1))}')}"


def _caption(folder: Path, path: Path) -> str:
    fold = path.parent.parent
    where = "" if fold == folder else f" ({fold.name})"
    return CAPTIONS.get(path.stem, f"{path.stem.replace('_', ' ')}.".capitalize()).removesuffix(".") + f"{where}."


def _extremes(run: Run | PooledFolds, with_images: bool) -> str:
    found = find_extremes(run)
    part = run.part[run.held_out[0]]
    blocks = []
    for which, each in found.items():
        if with_images:
            shown = [(one.images, f"{one.id}: {one.text}") for one in each]
            blocks += [f"<h3>The {which} {len(each)}</h3>", markup.images(shown)]
        else:
            rows = [[str(rank), one.text] for rank, one in enumerate(each, 1)]
            blocks.append(markup.table(f"The {which} {len(each)}", ["rank", "output and error"], rows))
    return markup.section(f"Worst and best {part} images", *blocks)


def _origin(facts: Facts) -> str:
    config, flags = facts.config, facts.flags
    versions = ", ".join(f"{name} {version}" for name, version in config.get("versions", {}).items())
    names = ("encoder", "head", "objective", "optimizer", "schedule", "lr", "batch_size", "n_epochs", "split", "seed")
    settings = {name: str(flags[name]) for name in names} | {"augment": "; ".join(flags["augment"])}
    return markup.section(
        "How it was made",
        f"<pre>{html.escape(readable(config.get('command', '')))}</pre>",
        markup.facts(
            "Environment",
            {
                "versions": versions,
                "commit": config.get("commit") or "",
                "device": config.get("device", ""),
                "training": f"{facts.result['seconds']:.0f} s",
            },
        ),
        markup.facts("Settings", settings),
    )
