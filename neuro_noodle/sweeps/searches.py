"""Searches: which configurations a sweep trains. To add one: a function under @SEARCHES.add("name")."""

import itertools
from collections.abc import Sequence

import numpy as np

from neuro_noodle.choices import Table, UserError, require
from neuro_noodle.sweeps.variations import Configuration, Setting, Variation

SEARCHES = Table("search")
Scores = Sequence[float | None]


@SEARCHES.add("grid")
def grid(variations: Sequence[Variation], scores: Scores) -> list[Configuration]:
    """Train every combination of all values."""
    for one in variations:
        require(bool(one.settings), f"--vary {one.name} is a range; list its values, or add --search random")
    return [Configuration.of(settings) for settings in itertools.product(*(one.settings for one in variations))]


@SEARCHES.add("random")
def random(variations: Sequence[Variation], scores: Scores, *, n: int = 20, seed: int = 0) -> list[Configuration]:
    """Train n combinations that are drawn at random."""
    require(n >= 1, f"search 'random': n={n} must be 1 or more")
    shares = np.random.default_rng(seed).random((n, len(variations)))
    return [Configuration.of([one.at(share) for one, share in zip(variations, row, strict=True)]) for row in shares]


@SEARCHES.add("optuna")
def guided(
    variations: Sequence[Variation], scores: Scores, *, n: int = 20, batch: int = 4, seed: int = 0
) -> list[Configuration]:
    """Train n combinations in batches, each chosen by optuna from the validation scores of those before."""
    require(n >= 1 and batch >= 1, f"search 'optuna': n={n} and batch={batch} must be 1 or more")
    try:
        import optuna
    except ImportError:
        raise UserError("--search optuna needs the package optuna: pip install optuna") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    configurations: list[Configuration] = []
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True))
    for start in range(0, min(n, len(scores) + batch), batch):
        trials = [study.ask() for _ in range(min(batch, n - start))]
        configurations += [Configuration.of([_suggest(trial, one) for one in variations]) for trial in trials]
        for trial, score in zip(trials, scores[start:], strict=False):
            if score is None:
                study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                study.tell(trial, score)
    return configurations


def _suggest(trial, variation: Variation) -> Setting:
    if variation.settings:
        return variation.settings[trial.suggest_categorical(variation.name, range(len(variation.settings)))]
    return variation.at(trial.suggest_float(variation.name, 0, 1))
