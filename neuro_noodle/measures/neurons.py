"""How well a model predicts each neuron: measures that other toolkits report too.

In all shapes T is the number of trials, n of images and N of neurons. NaN means that a neuron was not recorded. Images
that were presented to a neuron fewer than twice are left out.

Source: neuralpredictors (sinzlab), whose `fev` and `oracle_corr_jackknife` give the same numbers.
"""

import numpy as np

from neuro_noodle.measures.ceilings import (
    Repeats,
    corrected_pearson,
    has_signal,
    ignore_missing,
    noise_ceiling,
    only_repeated,
    pearson,
    signal_variance,
)
from neuro_noodle.measures.ceilings import split_half as split_half_r

MIN_EXPLAINABLE = 0.15  # explainable variance below which a neuron's FEVE is too noisy for the mean, as in sensorium
MIN_RATE = 1e-6  # lowest predicted rate in a likelihood
Table = dict[str, np.ndarray]


def measure_neurons(predicted: np.ndarray, trials: np.ndarray, reference: np.ndarray | None) -> Table:
    """Return a table with one row per neuron.

    Args:
        predicted: (n, N) predicted responses.
        trials: (T, n, N) responses to repeated presentations.
        reference: (N,) mean rates for `bits_per_spike`; None if responses are not counts.

    Returns:
        Columns (N,). r_repeated is the correlation with the mean over trials. r_over_ceiling is `ccnorm` corrected for
        the small number of images. Both are NaN for a neuron without significant signal.
    """
    repeats, ceiling = Repeats.of(trials), noise_ceiling(trials)
    is_significant = has_signal(repeats)
    with ignore_missing():
        n_repeats = np.nanmean(np.where(repeats.counts > 0, repeats.counts, np.nan), 0)
        r_over_ceiling = np.where(is_significant, corrected_pearson(predicted, repeats.mean) / ceiling, np.nan)
    table = {
        "r_repeated": pearson(predicted, repeats.mean),
        "ceiling": ceiling,
        "r_over_ceiling": r_over_ceiling,
        "ccnorm": np.where(is_significant, ccnorm(predicted, trials), np.nan),
        "explainable_variance": explainable_variance(trials),
        "feve": feve(predicted, trials),
        "single_trial_r": single_trial_r(predicted, trials),
        "oracle_r": oracle_r(trials),
        "split_half_r": split_half_r(trials),
        "n_repeats": n_repeats,
        "has_signal": np.where(np.isfinite(n_repeats), is_significant, np.nan),
    }
    return table if reference is None else table | {"bits_per_spike": bits_per_spike(predicted, trials, reference)}


def summarise_neurons(table: Table) -> dict[str, float]:
    """Return the mean of each measure over neurons, given the table of `measure_neurons`.

    FEVE is averaged over the `n_feve` neurons whose explainable variance is at least 0.15, CCnorm over the `n_ccnorm`
    neurons with significant signal. `n_repeats` is the fewest of any neuron.
    """
    is_explainable = table["explainable_variance"] >= MIN_EXPLAINABLE
    means = ("explainable_variance", "single_trial_r", "oracle_r", "bits_per_spike")
    with ignore_missing():
        return {
            "feve": np.mean(table["feve"][is_explainable]),
            "n_feve": is_explainable.sum(),
            "ccnorm": np.nanmean(table["ccnorm"]),
            "n_ccnorm": np.isfinite(table["ccnorm"]).sum(),
            **{name: np.nanmean(table[name]) for name in means if name in table},
            "n_repeats": np.nanmin(table["n_repeats"]),
            "n_neurons": np.isfinite(table["has_signal"]).sum(),
            "n_without_signal": (table["has_signal"] == 0).sum(),
        }


def explainable_variance(trials: np.ndarray) -> np.ndarray:
    """Return the share of each neuron's single-trial variance that the images explain, (N,), for trials (T, n, N)."""
    total, noise = _variances(only_repeated(trials))
    return np.divide(total - noise, total, out=total - noise, where=total > 0)


def feve(predicted: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Return the fraction of each neuron's explainable variance that is explained (N,); NaN if there is none.

    Unlike r, it also falls if the predicted mean or gain is wrong.

    Args:
        predicted: (n, N) predicted responses.
        trials: (T, n, N) responses to repeated presentations.

    Source: Cadena et al. 2019, doi:10.1371/journal.pcbi.1006897.
    """
    trials = only_repeated(trials)
    total, noise = _variances(trials)
    with ignore_missing():
        error = np.nanmean(np.square(trials - predicted), (0, 1))
        return np.where(total != noise, 1 - (error - noise) / (total - noise), np.nan)


def _variances(trials: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the variance (N,) over all images and trials (T, n, N), and the mean over images of that over trials."""
    with ignore_missing(), np.errstate(divide="ignore"):
        return np.nanvar(trials, (0, 1), ddof=1), np.nanmean(np.nanvar(trials, 0, ddof=1), 0)


def ccnorm(predicted: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Return the normalised correlation coefficient of each neuron (N,); NaN if its signal variance is not above 0.

    It estimates the correlation of predictions with true rates: their correlation with the mean response, divided by
    the highest that noise allows. It can be above 1 by chance.

    Args:
        predicted: (n, N) predicted responses.
        trials: (T, n, N) responses to repeated presentations.

    Source: Schoppe et al. 2016, doi:10.3389/fncom.2016.00010. The noise is estimated from the variance over trials of
    each image, as for `signal_variance`, so trials may be missing.
    """
    mean, power = Repeats.of(trials).mean, signal_variance(trials)
    with ignore_missing():
        return pearson(predicted, mean) * np.nanstd(mean, 0, ddof=1) / np.sqrt(np.where(power > 0, power, np.nan))


def single_trial_r(predicted: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Return the correlation (N,) of predictions (n, N) with the responses in single trials (T, n, N)."""
    return _over_trials(np.broadcast_to(predicted, trials.shape), only_repeated(trials))


def oracle_r(trials: np.ndarray) -> np.ndarray:
    """Return the correlation (N,) of single trials (T, n, N) with the mean of the other trials of the same image."""
    trials = only_repeated(trials)
    n_others = np.isfinite(trials).sum(0) - 1  # (n, N)
    return _over_trials((np.nansum(trials, 0) - trials) / np.where(n_others > 0, n_others, 1), trials)


def _over_trials(predicted: np.ndarray, trials: np.ndarray) -> np.ndarray:
    return pearson(*(values.reshape(-1, trials.shape[-1]) for values in (predicted, trials)))


def are_counts(trials: np.ndarray) -> bool:
    """Return whether all known responses are whole numbers from 0."""
    known = trials[np.isfinite(trials)]
    return bool((known >= 0).all() and (known == np.round(known)).all())


def bits_per_spike(predicted: np.ndarray, trials: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Return how much likelier the spikes are under the predicted rates than under a constant rate, in bits per spike.

    Args:
        predicted: (n, N) predicted mean counts of Poisson neurons.
        trials: (T, n, N) spike counts.
        reference: (N,) constant mean counts.

    Returns:
        (N,) gains; NaN for a neuron without spikes.
    """
    trials = only_repeated(trials)
    predicted, reference = np.maximum(predicted, MIN_RATE), np.maximum(reference, MIN_RATE)
    gain = trials * np.log(predicted / reference) - (predicted - reference)  # (T, n, N)
    n_spikes = np.nansum(trials, (0, 1))
    return np.divide(
        np.nansum(gain, (0, 1)) / np.log(2), n_spikes, out=np.full(n_spikes.shape, np.nan), where=n_spikes > 0
    )
