"""How the reconstructions of a few images changed during training: a picture with time going down, and a film."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from neuro_noodle.choices import require
from neuro_noodle.progress import Stage
from neuro_noodle.runs.pictures import Reconstructions, read_pictures, saved_pictures
from neuro_noodle.views import films
from neuro_noodle.views.figures import plot_image_rows
from neuro_noodle.views.saving import PNG


def write_pictures_over_training(run: Path, *, n_snapshots: int = 6) -> list[Path]:
    """Write figures/reconstructions_over_training.png and .gif; returns their paths, none without --pictures_every.

    Args:
        run: the folder of a run.
        n_snapshots: number of rows of reconstructions in the picture; the film has all.

    Raises:
        UserError: if a file is damaged, or the images differ between files.
    """
    files = saved_pictures(run)
    if not files:
        return []
    pictures = {epochs: read_pictures(path) for epochs, path in files.items()}
    first = next(iter(pictures.values()))
    for epochs, one in pictures.items():
        require(one.ids == first.ids, f"{files[epochs]} holds other images than {next(iter(files.values()))}")
    folder = run / "figures"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"reconstructions_over_training.{kind}" for kind in ("png", "gif")]
    times = list(pictures)
    chosen = np.unique(np.linspace(0, len(times) - 1, n_snapshots).round().astype(int))
    PNG.save(paths[0].with_suffix(""), plot_pictures({times[i]: pictures[times[i]] for i in chosen}))
    with Stage("drawing the film of reconstructions") as stage:
        each = stage.over(pictures.items())
        frames = [films.figure_to_array(plot_pictures({epochs: one})) for epochs, one in each]
    films.save_gif(paths[1], frames, frame_ms=films.SNAPSHOT_MS, last_ms=films.LAST_MS, shared_palette=True)
    return paths


def plot_pictures(pictures: Mapping[float, Reconstructions]) -> Figure:
    """Plot images above their reconstructions after so many epochs, the first epochs at the top.

    Args:
        pictures: by number of epochs trained, all of the same images.
    """
    last = list(pictures.values())[-1]
    rows = {"image": last.targets}
    if not np.array_equal(last.inputs, last.targets):
        rows["input"] = last.inputs
    rows |= {f"{epochs:g} epoch{'' if epochs == 1 else 's'}": one.outputs for epochs, one in pictures.items()}
    return plot_image_rows(rows, [f"{part}\n{name}" for name, part in zip(last.ids, last.part, strict=True)])
