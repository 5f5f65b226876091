"""The built-in recording with surround suppression: neurons, noise and images are as its description says."""

import functools
import itertools

import helpers
import numpy as np
import pytest
from helpers import bytes_by_path
from recordings import FEW, Recording, draw_recording

from neuro_noodle.data.base import DATASETS, Source
from neuro_noodle.data.leaks import near_duplicates
from neuro_noodle.data.store import Store
from neuro_noodle.measures.ceilings import noise_ceiling, pearson
from neuro_noodle.simulate import population, scenes, surround
from neuro_noodle.views.neurons import field_overlap

draw = functools.partial(helpers.draw_stimuli, kind="v1_surround")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """The recording that the command draws by default."""
    return draw_recording(tmp_path_factory, "v1_surround")


@pytest.fixture
def one_scene(monkeypatch):
    monkeypatch.setattr(surround, "N_SCENES", 1)


@pytest.fixture(scope="module")
def neurons(recording):
    """The first 20 neurons of the recording."""
    return Neurons(recording)


class Neurons:
    """The first 20 neurons of a recording, by their parameters in the table."""

    def __init__(self, recording):
        columns = {name: values[:20] for name, values in recording.table.items()}
        self.cells, self.normalization = (
            kind(*(columns[name] for name in kind._fields)) for kind in (population.Cells, surround.Normalization)
        )
        self.is_complex, self.fields = recording.is_complex[:20], recording.truth["fields"][:20]
        self.trained = recording.zscored(recording.sets["training_inputs"])

    def respond(self, images):
        """Return the responses to z-scored images before they are scaled, (n, 20)."""
        pool = surround.pool_energies(self.cells, 31, (self.trained, images))[1]
        return surround.respond(population.drive(self.fields, images), pool, self.is_complex, self.normalization)


# ----------------------------------------------------------------------------------------------------- the files


def test_the_v1_dataset_reads_the_folder_without_notes(recording, tmp_path):
    """No test image has a near-duplicate in training."""
    dataset = DATASETS.build("v1", Source(recording.folder, Store(tmp_path / "cache")))
    assert (len(dataset.ids), len(dataset.neurons), dataset.notes) == (1850, 100, [])
    assert tuple(dataset.trials.shape) == (10, 50, 100)
    assert near_duplicates(dataset, list(range(1800)), list(range(1800, 1850))).n == 0


def test_table_and_truth_have_a_row_per_neuron(recording):
    assert tuple(recording.table) == surround.COLUMNS
    assert {name: values.shape for name, values in recording.truth.items()} == {
        "fields": (100, 2, 31, 31),
        "training_rates": (1800, 100),
        "validation_rates": (50, 100),
        "training_drift": (1800, 100),
        "validation_drift": (10, 50, 100),
    }
    assert bytes_by_path(recording.folder).keys() == {*population.FILES, "metadata.csv"}


def test_the_same_seed_draws_the_same_bytes(one_scene, tmp_path):
    """Another seed draws others."""
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert draw(tmp_path / name, f"{FEW} --seed {seed}") == 0
    a, b, c = (bytes_by_path(tmp_path / name) for name in "abc")
    assert a.keys() == c.keys() and a == b
    assert all(a[name] != c[name] for name in a)


def test_more_neurons_do_not_change_images_or_other_neurons(one_scene, tmp_path):
    assert draw(tmp_path / "few", FEW) == 0
    assert draw(tmp_path / "many", FEW.replace("neurons 6", "neurons 9")) == 0
    few, many = Recording(tmp_path / "few"), Recording(tmp_path / "many")
    assert np.array_equal(few.sets["training_inputs"], many.sets["training_inputs"])
    for name in ("training_rates", "validation_rates", "training_drift", "validation_drift"):
        assert np.allclose(few.truth[name], many.truth[name][..., :6], rtol=1e-5), name
    assert all(np.array_equal(values, many.table[name][:6]) for name, values in few.table.items())


@pytest.mark.parametrize(("first", "second"), [("v1", "v1_surround"), ("v1_surround", "v1")])
def test_one_population_does_not_replace_another(first, second, one_scene, tmp_path, capsys):
    out = tmp_path / "v1"
    assert helpers.draw_stimuli(out, FEW, first) == 0
    assert helpers.draw_stimuli(out, f"{FEW} --redraw", second) == 2
    assert "was not written by this command" in capsys.readouterr().err


# ---------------------------------------------------------------------------------------------------- the images


def test_half_of_the_patches_are_mirrored_and_all_ways_occur():
    patch = np.arange(9, dtype=np.uint8).reshape(3, 3)
    turned = surround.turn(np.stack([patch] * 4000), np.random.default_rng(0))
    ways, counts = np.unique(turned.reshape(-1, 9), axis=0, return_counts=True)
    expected = [np.rot90(way, k).ravel() for way in (patch, patch[:, ::-1]) for k in range(4)]
    assert sorted(ways.tolist()) == sorted(np.stack(expected).tolist())
    assert np.abs(counts - 500).max() < 100


def test_pictures_are_photographs_in_two_sizes_and_scenes(monkeypatch):
    monkeypatch.setattr(surround, "N_SCENES", 2)
    pictures = surround.pictures(42)
    assert [picture.size for picture in pictures] == [(640, 427)] * 2 + [(427, 285)] * 2 + [(640, 427)] * 2
    assert len({picture.tobytes() for picture in pictures}) == 6


def test_scenes_have_the_power_spectrum_of_photographs():
    """It falls with the square of the frequency, or a little faster."""

    def slope(picture):
        values = np.asarray(picture, float)
        window = np.hanning(values.shape[0])[:, None] * np.hanning(values.shape[1])
        power = np.abs(np.fft.fft2((values - values.mean()) * window)) ** 2
        frequency = np.hypot(np.fft.fftfreq(values.shape[0])[:, None], np.fft.fftfreq(values.shape[1]))
        edges = np.geomspace(0.01, 0.4, 12)
        means = [power[(low <= frequency) & (frequency < high)].mean() for low, high in itertools.pairwise(edges)]
        return np.polyfit(np.log(edges[:-1]), np.log(means), 1)[0]

    photographs = [slope(photograph) for photograph in population.load_photographs()]
    assert photographs == pytest.approx([-1.92, -2.23], abs=0.01)
    for seed in range(2):
        assert slope(scenes.draw_scene(np.random.default_rng(seed))) == pytest.approx(-2.2, abs=0.15)


# --------------------------------------------------------------------------------------------------- the neurons


def test_half_of_the_responses_are_zero(recording):
    for name in ("training_set", "raw_validation_set"):
        assert 0.45 < (recording.sets[name] == 0).mean() < 0.55, name


def test_the_true_rates_follow_from_fields_and_pools(recording, neurons):
    mean, scale = recording.table["mean_rate"][:20], neurons.respond(neurons.trained).mean(0)
    for part in ("training", "validation"):
        responses = neurons.respond(recording.zscored(recording.sets[f"{part}_inputs"])) / scale
        rates = mean * (0.3 + 0.7 * responses)
        assert np.allclose(recording.truth[f"{part}_rates"][:, :20], rates, rtol=0.01, atol=1e-3)  # rounded parameters


def test_normalization_divides_a_power_of_the_drive():
    drives = np.array([[[9.0, 5.0], [3.0, 4.0]], [[-9.0, 5.0], [-3.0, 4.0]]])  # two images, a simple and a complex cell
    normalization = surround.Normalization(np.array([2.0, 1.0]), np.array([3.0, 0.0]))
    responses = surround.respond(drives, np.full((2, 2), 0.5), np.array([False, True]), normalization)
    assert np.allclose(responses, [[81 / 2.5, 5], [0, 5]])


def test_pools_have_a_mean_of_1_and_are_wider_than_the_centre(neurons):
    assert np.allclose(surround.pool_energies(neurons.cells, 31, (neurons.trained,))[0].mean(0), 1)
    pairs, weights = surround.pool_of(neurons.cells, 0, 31)
    assert pairs.shape == (36, 2, 31, 31) and weights.sum() == pytest.approx(9 * 2)
    pixel, energy = np.arange(31) + 0.5, np.einsum("k,kcyx->yx", weights, pairs**2)
    distance = np.hypot(pixel - neurons.cells.x[0], pixel[:, None] - neurons.cells.y[0])
    own = np.square(neurons.fields[0].astype(float)).sum(0)
    assert (energy * distance).sum() / energy.sum() > 1.5 * (own * distance).sum() / own.sum()


def test_larger_gratings_suppress_only_neurons_with_a_surround(neurons):
    """Each neuron sees its own grating, in the best of eight phases."""
    x, y, orientation, cycles, *_ = (values[:, None, None] for values in neurons.cells)
    pixel, angle = np.arange(31) + 0.5, np.radians(orientation)
    dx, dy = pixel - x, pixel[:, None] - y
    across = dy * np.cos(angle) - dx * np.sin(angle)  # (20, 31, 31)
    phases = np.radians(np.arange(0, 360, 45))[:, None, None, None]
    gratings = np.cos(2 * np.pi * cycles * across + phases)  # (8, 20, 31, 31)
    images = np.stack([gratings * (np.hypot(dx, dy) < radius) for radius in (5, 31)])
    responses = neurons.respond(images.reshape(-1, 961)).reshape(2, 8, 20, 20)
    small, large = np.diagonal(responses, axis1=2, axis2=3).max(1)  # (20,) each
    has_surround = neurons.normalization.suppression > 0
    assert 12 <= has_surround.sum() <= 19
    assert (large < small)[has_surround].all() and (large > small)[~has_surround].all()
    assert np.median((large / small)[has_surround]) == pytest.approx(0.4, abs=0.1)


def test_the_spike_triggered_average_is_a_simple_cells_field(neurons):
    """In white noise, the fields are the true ones in spite of the suppression."""
    images = np.random.default_rng(0).standard_normal((8000, 961))
    responses = neurons.respond(images)
    average = (responses - responses.mean(0)).T @ images  # (20, 961)
    overlap = field_overlap(average.reshape(20, 1, 31, 31), neurons.fields)
    assert overlap[~neurons.is_complex].min() > 0.75 and overlap[neurons.is_complex].max() < 0.2


def test_some_neurons_have_no_suppression(recording):
    suppression = recording.table["suppression"]
    assert 0.1 < (suppression == 0).mean() < 0.3
    assert 1 <= suppression[suppression > 0].min() < suppression.max() <= 5


# ----------------------------------------------------------------------------------------------------- the noise


@pytest.mark.parametrize(("rate", "fano"), [(0.5, 1.16), (1.0, 1.32), (2.0, 1.645)])
def test_spikes_are_overdispersed_and_correlated(rate, fano):
    """The covariance of two neurons is the variance of the gain that they share, times their rates."""
    counts = surround.spikes(np.full((200_000, 2), rate), np.random.default_rng(0))
    assert counts.mean() == pytest.approx(rate, rel=0.01)
    assert counts.var(0) / rate == pytest.approx([fano, fano], rel=0.02)
    assert surround.spike_variance(np.array(rate)) / rate == pytest.approx(fano, abs=0.005)
    assert np.cov(counts.T)[0, 1] == pytest.approx(0.15 * rate**2, rel=0.06)


def test_noise_of_the_recording_is_as_in_recordings(recording):
    """The Fano factor is the variance divided by the mean."""
    trials = recording.sets["raw_validation_set"]
    mean, variance = trials.mean(0), trials.var(0, ddof=1)  # (50, 100)
    assert 1.2 < np.median(variance.mean(0) / mean.mean(0)) < 2
    residuals = (trials - mean) / np.sqrt(np.where(variance > 0, variance, np.inf))
    correlation = np.corrcoef(residuals.reshape(500, 100).T)[np.triu_indices(100, 1)]
    assert 0.05 < correlation.mean() < 0.2


def test_the_drift_is_slow_and_has_a_mean_of_1():
    drift = surround.random_drift(2300, 1000, 0)
    assert drift.mean() == pytest.approx(1, abs=0.02)
    assert np.log(drift).std() == pytest.approx(0.25, abs=0.01)
    log = np.log(drift) - np.log(drift).mean()
    lagged = [(log[lag:] * log[: len(log) - lag]).mean() / log.var() for lag in (10, 300)]
    assert lagged[0] > 0.99 and lagged[1] < 0.7


@pytest.mark.parametrize(("part", "name"), [("training", "training_set"), ("validation", "raw_validation_set")])
def test_responses_follow_rates_and_drift(part, name, recording):
    counts, rates = recording.sets[name], recording.truth[f"{part}_rates"]
    drift = np.broadcast_to(recording.truth[f"{part}_drift"], counts.shape)
    assert counts.mean() == pytest.approx((rates * drift).mean(), rel=0.03)
    assert (counts * (drift > 1.2)).sum() == pytest.approx((rates * drift * (drift > 1.2)).sum(), rel=0.03)


def test_the_true_ceiling_is_that_of_simulated_recordings(recording):
    """The estimate from the repeats takes them for independent, and so is lowered by the drift; here hardly."""
    rates, drift = (recording.truth[f"validation_{name}"].astype(float) for name in ("rates", "drift"))
    ceiling, generator = recording.table["ceiling"], np.random.default_rng(0)
    trials = [surround.spikes(rates * drift, generator) for _ in range(200)]
    simulated = np.mean([pearson(rates, sample.mean(0)) for sample in trials], 0)
    assert np.abs(simulated - ceiling).max() < 0.025 and simulated.mean() == pytest.approx(ceiling.mean(), abs=0.005)
    estimated = np.mean([noise_ceiling(sample).mean() for sample in trials])
    assert estimated == pytest.approx(ceiling.mean(), abs=0.01)
    assert ceiling.mean() == pytest.approx(0.84, abs=0.02)
