"""The built-in recording of V1: rates follow from the fields, noise is Poisson, validation patches are separate."""

import functools

import helpers
import numpy as np
import pytest
import simulate
import torch
from helpers import HERE, bytes_by_path
from PIL import Image
from recordings import FEW, Recording, draw_recording

from neuro_noodle.data.base import DATASETS, Source
from neuro_noodle.data.store import Store
from neuro_noodle.simulate import population

draw = functools.partial(helpers.draw_stimuli, kind="v1")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """The recording that the command draws by default."""
    return draw_recording(tmp_path_factory, "v1")


# ------------------------------------------------------------------------------------------ the published format


def test_the_arrays_have_the_published_shapes(recording):
    """The table has a row per neuron."""
    shapes = {name: values.shape for name, values in recording.sets.items()}
    assert shapes == {
        "training_inputs": (1800, 961),
        "training_set": (1800, 100),
        "validation_inputs": (50, 961),
        "validation_set": (50, 100),
        "raw_validation_set": (10, 50, 100),
    }
    assert {values.dtype for values in recording.sets.values()} == {np.dtype(np.float64)}
    assert {name: values.shape for name, values in recording.truth.items()} == {
        "fields": (100, 2, 31, 31),
        "training_rates": (1800, 100),
        "validation_rates": (50, 100),
    }
    assert {values.dtype for values in recording.truth.values()} == {np.dtype(np.float32)}
    assert tuple(recording.table) == population.COLUMNS
    assert np.array_equal(recording.table["neuron"], np.arange(100)) and recording.is_complex.sum() == 50
    assert bytes_by_path(recording.folder).keys() == {*population.FILES, "metadata.csv"}


def test_the_v1_dataset_reads_the_folder_without_notes(recording, tmp_path):
    """White is 1."""
    dataset = DATASETS.build("v1", Source(recording.folder, Store(tmp_path / "cache")))
    assert (len(dataset.ids), len(dataset.neurons), dataset.notes) == (1850, 100, [])
    assert (len(dataset.repeated), tuple(dataset.trials.shape)) == (50, (10, 50, 100))
    assert len(set(dataset.columns["image"])) == 1850
    image = dataset.sample(torch.arange(1850))["image"]
    assert image.min() == 0 and 0.98 < image.max() <= 1
    assert np.array_equal(dataset.responses[1800:], recording.sets["validation_set"].astype(np.float32))


def test_responses_are_counts(recording):
    """The validation set is the mean over its presentations."""
    for name in ("training_set", "raw_validation_set"):
        counts = recording.sets[name]
        assert np.array_equal(counts, counts.round()) and counts.min() == 0
    assert np.allclose(recording.sets["raw_validation_set"].mean(0), recording.sets["validation_set"])


# --------------------------------------------------------------------------------------------------- the patches


def test_images_have_contrast_and_none_is_shown_twice(recording):
    """Grey levels are whole numbers."""
    images = np.concatenate([recording.sets[f"{part}_inputs"] for part in ("training", "validation")]) / 1e-6
    assert np.allclose(images, images.round(), atol=1e-6) and images.min() >= 0 and images.max() <= 255.01
    assert images.std(1).min() > population.MIN_CONTRAST - 1e-6
    assert len(np.unique(images.round(), axis=0)) == len(images)


@pytest.fixture
def ruler(monkeypatch):
    """Replace the photographs by images whose grey level is the column number."""
    columns = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (200, 1)))
    monkeypatch.setattr(population, "load_photographs", lambda: [columns, columns])
    monkeypatch.setattr(population, "MIN_CONTRAST", 1)


def test_no_validation_patch_overlaps_a_training_patch(ruler, tmp_path):
    assert draw(tmp_path / "v1", "--n_neurons 1 --n_images 2000 --n_validation 200 --size 16") == 0
    sets = Recording(tmp_path / "v1").sets
    training, validation = (sets[f"{part}_inputs"].round(6) / 1e-6 for part in ("training", "validation"))
    low, high = validation.min(), validation.max()  # columns
    assert high - low > 32
    assert not ((training > low - 1) & (training < high + 1)).any()
    assert (training.max(1) < low).any() and (training.min(1) > high).any()


def test_patches_are_cut_at_both_scales_equally_often(ruler, tmp_path):
    assert draw(tmp_path / "v1", "--n_neurons 1 --n_images 1000 --size 16") == 0
    images = Recording(tmp_path / "v1").sets["training_inputs"] / 1e-6
    width = np.ptp(images, axis=1).round()
    assert set(width) == {15, 30}
    assert (width == 15).mean() == pytest.approx(0.5, abs=0.06)


# --------------------------------------------------------------------------------------------------- the neurons


@pytest.mark.parametrize("part", ["training", "validation"])
def test_the_true_rates_follow_from_the_fields(recording, part):
    drive = np.einsum(
        "bp,nkp->bnk",
        recording.zscored(recording.sets[f"{part}_inputs"]),
        recording.truth["fields"].reshape(100, 2, -1).astype(float),
    )
    softplus = np.log1p(np.exp(population.SHARPNESS * drive[..., 0])) / population.SHARPNESS
    response = np.where(recording.is_complex, np.sqrt((drive**2).sum(2)), softplus)  # (n, N)
    trained = recording.respond(recording.zscored(recording.sets["training_inputs"])).mean(0)
    rates = response / trained * recording.table["mean_rate"]
    assert np.allclose(recording.truth[f"{part}_rates"], rates, rtol=1e-3, atol=1e-5)  # the table has 4 decimals


def test_the_mean_rates_are_those_of_the_table_and_differ(recording):
    mean = recording.truth["training_rates"].mean(0)
    assert np.allclose(mean, recording.table["mean_rate"], atol=1e-4)
    assert mean.max() > 4 * mean.min()


def test_the_drive_has_an_sd_of_1_over_the_training_images(recording):
    drive = population.drive(recording.truth["fields"], recording.zscored(recording.sets["training_inputs"]))
    variance = drive.var(0)  # (N, 2)
    assert np.allclose(variance[~recording.is_complex], [1, 0], atol=1e-4)
    assert np.allclose(variance[recording.is_complex].mean(1), 1, atol=1e-4)


@pytest.mark.parametrize("light", [-2.0, 0.0, 3.0])
def test_uniform_light_drives_nothing(recording, light):
    drive = population.drive(recording.truth["fields"], np.full((1, 961), light))
    assert np.abs(drive).max() < 1e-5
    resting = recording.respond(np.full((1, 961), light))
    assert np.allclose(resting, np.where(recording.is_complex, 0, np.log(2) / population.SHARPNESS), atol=1e-4)


def test_only_simple_cells_depend_on_the_sign_of_the_contrast(recording):
    images = recording.zscored(recording.sets["validation_inputs"])
    image, negative = recording.respond(images), recording.respond(-images)
    assert np.array_equal(image[:, recording.is_complex], negative[:, recording.is_complex])
    r = [np.corrcoef(image[:, neuron], negative[:, neuron])[0, 1] for neuron in np.flatnonzero(~recording.is_complex)]
    assert max(r) < 0.2


def test_a_neuron_prefers_its_own_orientation_and_frequency(recording):
    columns, pixel = recording.table, np.arange(31) + 0.5

    def power(rotation_deg, frequency_ratio):
        """Return the amplitude of the drive by stripes that differ from the neuron's own, (N,)."""
        angle = np.radians(columns["orientation_deg"] + rotation_deg)[:, None, None]
        across = pixel[:, None] * np.cos(angle) - pixel * np.sin(angle)
        wave = np.exp(2j * np.pi * (columns["cycles_per_px"] * frequency_ratio)[:, None, None] * across)  # (N, 31, 31)
        return np.abs((recording.truth["fields"][:, 0] * wave).sum((1, 2)))

    own = power(0, 1)
    for rotation_deg, frequency_ratio in ((90, 1), (45, 1), (-45, 1), (0, 2.5)):
        assert (own > power(rotation_deg, frequency_ratio)).mean() > 0.95, (rotation_deg, frequency_ratio)


def test_a_field_is_centred_where_the_table_says(recording):
    columns, pixel = recording.table, np.arange(31) + 0.5
    energy = (recording.truth["fields"][recording.is_complex].astype(float) ** 2).sum(1)  # (N, 31, 31)
    total = energy.sum((1, 2))
    for name, axis in (("x", 1), ("y", 2)):
        centre = (energy.sum(axis) * pixel).sum(1) / total
        assert np.abs(centre - columns[name][recording.is_complex]).max() < 0.5, name
        assert np.abs(centre - columns[name][recording.is_complex]).mean() < 0.1, name


# ----------------------------------------------------------------------------------------------------- the noise


def test_the_variance_over_presentations_equals_the_mean(tmp_path):
    """The noise is Poisson noise."""
    assert draw(tmp_path / "v1", FEW.replace("repeats 3", "repeats 1000")) == 0
    drawn = Recording(tmp_path / "v1")
    trials, rates = drawn.sets["raw_validation_set"], drawn.truth["validation_rates"]
    assert trials.var(0, ddof=1).sum() == pytest.approx(trials.mean(0).sum(), rel=0.05)
    assert np.abs(trials.mean(0) - rates).max() < 5 * np.sqrt(rates.max() / 1000)


def test_training_responses_have_poisson_variance(recording):
    counts, rates = recording.sets["training_set"], recording.truth["training_rates"]
    assert counts.mean() == pytest.approx(rates.mean(), rel=0.02)
    assert np.square(counts - rates).mean() == pytest.approx(rates.mean(), rel=0.05)


def test_the_table_holds_the_true_noise_ceiling(recording):
    """It is about as high as in real recordings."""
    rates, ceiling = recording.truth["validation_rates"].astype(float), recording.table["ceiling"]
    signal = rates.var(0, ddof=1)
    assert np.allclose(ceiling, np.sqrt(signal / (signal + rates.mean(0) / 10)), atol=1e-4)
    assert ceiling.mean() == pytest.approx(0.8, abs=0.03) and ceiling.min() > 0.3 and ceiling.max() < 1
    samples = np.random.default_rng(0).poisson(rates, (400, 10, *rates.shape)).mean(1)  # (400, n, N)
    scores = [[np.corrcoef(sample[:, n], rates[:, n])[0, 1] for n in range(0, 100, 10)] for sample in samples[:100]]
    assert np.abs(np.mean(scores, 0) - ceiling[::10]).max() < 0.05


def test_the_ceiling_estimated_from_trials_is_right_on_average(recording):
    trials = recording.sets["raw_validation_set"]
    noise = trials.var(0, ddof=1).mean(0) / len(trials)  # of the mean
    total = trials.mean(0).var(0, ddof=1)
    estimated = np.sqrt(np.maximum(total - noise, 0) / total)
    assert estimated.mean() == pytest.approx(recording.table["ceiling"].mean(), abs=0.03)


# ----------------------------------------------------------------------------------------------- reproducibility


def test_the_same_seed_draws_the_same_bytes(tmp_path):
    """Another seed draws others."""
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert draw(tmp_path / name, f"{FEW} --seed {seed}") == 0
    a, b, c = (bytes_by_path(tmp_path / name) for name in "abc")
    assert a.keys() == c.keys() and a == b
    assert all(a[name] != c[name] for name in a)


def test_more_neurons_do_not_change_images_or_other_neurons(tmp_path):
    assert draw(tmp_path / "few", FEW) == 0
    assert draw(tmp_path / "many", FEW.replace("neurons 6", "neurons 9")) == 0
    few, many = Recording(tmp_path / "few"), Recording(tmp_path / "many")
    assert np.array_equal(few.sets["training_inputs"], many.sets["training_inputs"])
    assert np.allclose(few.truth["fields"], many.truth["fields"][:6], atol=1e-6)
    assert all(np.array_equal(values, many.table[name][:6]) for name, values in few.table.items())


# ---------------------------------------------------------------------------------------------- the user's files


def test_the_default_folder_has_the_name_of_the_kind():
    assert simulate.build_parser().parse_args(["v1"]).out == HERE / "Resources" / "v1"


def test_redraw_replaces_its_own_files_and_no_others(tmp_path, capsys):
    """Without --redraw an earlier recording is kept."""
    out = tmp_path / "v1"
    assert draw(out, FEW) == 0
    assert "drew 6 neurons in" in capsys.readouterr().out
    before = bytes_by_path(out)
    assert draw(out, f"{FEW} --seed 9") == 0
    assert "already there: 6 neurons" in capsys.readouterr().out
    assert bytes_by_path(out) == before
    (out / "region2").mkdir()
    own = {"region1/notes.txt": b"mine", "region2/training_set.npy": b"mine"}
    for name, content in own.items():
        (out / name).write_bytes(content)
    draw(tmp_path / "fresh", f"{FEW} --seed 9")
    assert draw(out, f"{FEW} --seed 9 --redraw") == 0
    assert bytes_by_path(out) == bytes_by_path(tmp_path / "fresh") | own


@pytest.mark.parametrize("words", ["", " --redraw"])
def test_a_published_recording_is_refused_and_unchanged(words, tmp_path, capsys):
    out = tmp_path / "v1"
    (out / "region1").mkdir(parents=True)
    (out / "region1" / "training_set.npy").write_text("precious")
    before = bytes_by_path(tmp_path)
    assert draw(out, FEW + words) == 2
    assert "did not draw" in capsys.readouterr().err
    assert bytes_by_path(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--size 113", "the strip held out for validation has room for 0 patches of 113 px, not 50"),
        ("--size 1000", "the part for training has room for 0 patches of 1000 px, not 1800"),
        ("--n_images 1000000", "the part for training has room for "),
        ("--size 110 --n_validation 9999", "the strip held out for validation has room for "),
        *((f"--size {size}", "whole number from 16 to 1000") for size in ("15", "1001", "31x31")),
        *((f"--n_neurons {n}", "whole number from 1 to 1000") for n in ("0", "1001", "2.5")),
        *((f"--n_images {n}", "whole number from 10 to 1000000") for n in ("9", "1000001")),
        *((f"--n_validation {n}", "whole number from 2 to 10000") for n in ("1", "10001")),
        *((f"--n_repeats {n}", "whole number from 2 to 1000") for n in ("1", "1001")),
    ],
)
def test_an_invalid_option_is_refused_and_nothing_is_written(words, reason, tmp_path, capsys):
    assert draw(tmp_path / "v1", words) == 2
    message = capsys.readouterr().err
    assert "error: " in message and reason in message and words.split()[-1] in message
    assert list(tmp_path.iterdir()) == []
