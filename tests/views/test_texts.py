"""Names from files and metadata are shown as they are in every figure."""

import numpy as np
import pytest
from pictures import random_images, texts

from neuro_noodle.plain import readable
from neuro_noodle.views import figures, films, maps
from neuro_noodle.views.comparison import ColumnSummary, Comparison, SourceSummary, plot_comparison
from neuro_noodle.views.comparison_over_training import find_series, plot_over_training
from neuro_noodle.views.table import Score, TableOfRuns, plot_table
from neuro_noodle.views.texts import INVISIBLE

NAMES = ["$5_$10$", "_neutral", "cost$x^{$_a", "caf\udce9", r"a\$b"]
N = len(NAMES)
IMAGES = random_images(N, 1)
POINTS = np.random.default_rng(0).random((N, 2))
SCORE = {"r2": 0.5, "accuracy": 0.5, "majority": 0.1, "mae": 0.1, "low": 0.1, "high": 0.9, "p": 0.01, "level": 0.2}
PAIR = {"value": 0.5, "chance": 0.1, "level": 0.2, "p": 0.01}


def comparison(epochs):
    """Return a comparison whose sources and columns have these names; of one run at three times, if asked."""
    sources = {
        name: SourceSummary(None, 3, None, "$run_$", float(i) if epochs and i < 3 else None)
        for i, name in enumerate(NAMES)
    }
    return Comparison(
        sources=sources,
        n_training=9,
        n_held_out=9,
        n_compared=9,
        every_group=False,
        groups=None,
        columns={name: ColumnSummary("class" if i else "number", None, 9, 9) for i, name in enumerate(NAMES)},
        probes={source: dict.fromkeys(NAMES, SCORE) for source in NAMES},
        similarity={
            key: {source: dict.fromkeys(NAMES, PAIR) for source in NAMES} for key in ("cka", "rsa", "procrustes_deg")
        },
        rsa_ceilings={},
    )


def plot_series():
    over_time = comparison(epochs=True)
    return plot_over_training(over_time, find_series(over_time))


def plot_categories(n=1):
    columns = dict.fromkeys(NAMES, [f"{name}{i // N if n > 1 else ''}" for i, name in enumerate(NAMES * n)])
    return maps.plot_maps({"latents": np.tile(POINTS, (n, 1))}, columns, np.arange(N * n) < 2)


def plot_snapshots():
    columns = dict.fromkeys(NAMES, NAMES)
    return maps.plot_snapshots(
        {"after": POINTS, "$_$": POINTS}, columns, np.arange(N) < 2, {}, np.array([[0, 0], [1, 1]])
    )


def plot_runs():
    scores = [Score(0.5, (0.4, 0.6), "$_$ interval", 9, {})] * N
    return plot_table(TableOfRuns("test r", NAMES, {"encoder": NAMES}, scores, {}, []))


ONE_EACH = dict.fromkeys(NAMES, np.arange(3.0))
DRAWN = {
    "images": lambda: figures.plot_image_rows({"image": IMAGES}, NAMES),
    "confusion": lambda: figures.plot_confusion(np.eye(N), NAMES, "title"),
    "arrows": lambda: figures.plot_arrows(IMAGES, np.zeros(N), np.zeros(N), None, NAMES),
    "predictions": lambda: figures.plot_predictions(ONE_EACH, ONE_EACH),
    "bands": lambda: figures.plot_bands({name: {1: np.ones(3)} for name in NAMES}, "validation/$r_$"),
    "responses": lambda: figures.plot_responses(np.ones((3, N)), np.ones((3, N)), NAMES, "title"),
    "fields": lambda: figures.plot_fields({"field": IMAGES[:, 0]}, NAMES, "title"),
    "map": plot_categories,
    "map of many": lambda: plot_categories(7),
    "snapshots": plot_snapshots,
    "comparison": lambda: plot_comparison(comparison(epochs=False)),
    "over training": plot_series,
    "table of runs": plot_runs,
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_every_name_is_shown_as_it_is(draw):
    shown = "\n".join(texts(draw()))
    hidden = [name for name in NAMES if readable(name) not in shown]
    assert not hidden


def test_a_leading_underscore_does_not_hide_a_label_of_a_legend():
    (legend,) = figures.plot_bands({"_run": {1: np.ones(3)}}, "validation/loss").legends
    assert [text.get_text() for text in legend.texts] == [f"{INVISIBLE}_run, n = 3"]


def test_titles_of_a_film_fit_on_one_line_in_any_alphabet():
    (frame,) = films.film_frames({"image": IMAGES[:1]}, ["caf\udce9\n\t$x_$ \u9854"])
    assert frame.min() < frame.max()
