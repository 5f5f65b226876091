"""What is printed of a noise ceiling: the share with its interval, FEVE, CCnorm, and notes why it is uncertain."""

import numpy as np
import pytest
import torch

from neuro_noodle.objectives.response import Response
from neuro_noodle.runs.result_text import format_ceiling, format_repetitions

CEILING = {"r": 0.8, "share": 0.9, "share_interval": (0.85, 0.95), "feve": 0.7, "n_feve": 9.0}
CEILING |= {"ccnorm": 0.75, "n_ccnorm": 8.0}
CEILING |= {"n_repeats": 10.0, "n_neurons": 10.0, "n_without_signal": 0.0, "n_images": 50.0}


def test_a_ceiling_is_one_line_if_nothing_is_uncertain():
    averages = "FEVE 0.7 (9 of 10 neurons)  CCnorm 0.75 (8 of 10 neurons)"
    assert format_ceiling(CEILING, 50) == [f"90.0% of the noise ceiling 0.8 [95 %: 85.0% to 95.0%]  {averages}"]


def test_a_ceiling_of_some_of_the_images_says_of_which():
    assert "on the 50 of 80 images that were presented repeatedly" in format_ceiling(CEILING, 80)[0]


def test_few_repeats_and_neurons_without_signal_are_noted():
    lines = format_ceiling(CEILING | {"n_repeats": 4.0, "n_without_signal": 3.0}, 50)
    assert lines[1] == "note: 3 of 10 neurons have no significant signal"
    assert "only 4 presentations of each image; with fewer than 8" in lines[2]


def test_a_share_that_cannot_be_estimated_is_undefined():
    unknown = dict.fromkeys(("share", "share_interval", "feve", "ccnorm", "n_repeats"))
    line = format_ceiling(CEILING | unknown | {"n_feve": 0.0, "n_ccnorm": 0.0}, 50)[0]
    averages = "FEVE undefined (0 of 10 neurons)  CCnorm undefined (0 of 10 neurons)"
    assert line == f"share of the noise ceiling undefined: too little signal  {averages}"


def test_repetitions_are_compared_with_the_corrected_ceiling():
    spread = {"r": {"median": 0.6, "p10": 0.5, "p90": 0.7}}
    record = {"metric": "r", "test": {"value": 0.75, "ceiling": CEILING}}
    record["repetitions"] = {"seeds": [1, 2], "test": {}, "test_spread": spread}
    assert "72.0% of the ceiling" in format_repetitions(record, 0)[0]


@pytest.mark.parametrize(("scale", "loss"), [(1, "gaussian"), (0.5, "poisson")])
def test_only_counts_with_poisson_loss_have_bits_per_spike(scale, loss):
    generator = np.random.default_rng(0)
    trials = generator.poisson(2.0, (8, 20, 3))
    objective = Response(loss=loss)
    objective.neurons, recorded = list("abc"), torch.from_numpy(trials.mean(0))
    objective.fit(recorded)
    evidence = objective.evidence(recorded, recorded)
    assert "bits_per_spike" not in objective.per_neuron(evidence, trials * scale)
    counts = Response()
    counts.neurons, counts.learned = objective.neurons, objective.learned
    assert (counts.per_neuron(evidence, trials)["bits_per_spike"] > 0).all()


def test_the_reference_of_bits_per_spike_is_the_training_mean():
    objective = Response()
    objective.neurons = ["a"]
    objective.fit(torch.full((4, 1), 2.0))
    trials = np.random.default_rng(0).poisson(2.0, (8, 20, 1))
    constant = torch.full((20, 1), 2.0)
    table = objective.per_neuron(objective.evidence(constant, constant), trials)
    assert table["bits_per_spike"] == pytest.approx(0, abs=1e-6)
