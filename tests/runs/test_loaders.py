"""Loaders: no image is lost, and resuming continues the same batches."""

import numpy as np
import pytest
import torch
from helpers import film_frames, indexed_images, split_images
from PIL import Image

from neuro_noodle.augment import build_augmentations
from neuro_noodle.data import arrays, store
from neuro_noodle.objectives.base import OBJECTIVES
from neuro_noodle.runs.loaders import EvenBatches, fit_augmentations, make_loaders
from neuro_noodle.runs.task import Task, TaskSource


def loaders(dataset, parts, batch_size=8, objective="classify", augmentations=()):
    bound, built = OBJECTIVES.build(objective).on(dataset), build_augmentations(augmentations)
    task = Task(dataset, bound, parts, {}, torch.device("cpu"), augmentations=built)
    return make_loaders(task, batch_size=batch_size, seed=3)


@pytest.mark.parametrize("batch_size", [1, 7, 8, 53, 54, 1000])
def test_an_epoch_has_every_image_once_in_even_batches(batch_size):
    dataset = indexed_images()
    parts = split_images(dataset)
    batches = list(loaders(dataset, parts, batch_size)["training"])
    sizes = [len(x) for x, _ in batches]
    assert max(sizes) <= batch_size and max(sizes) - min(sizes) <= 1
    seen = sorted(int(value) for x, _ in batches for value in (x[:, 0, 0, 0] * 255).round())
    assert seen == parts["training"]


def test_training_is_shuffled_and_validation_is_not():
    dataset = indexed_images()
    both = loaders(dataset, split_images(dataset))
    first, second = (torch.cat([x for x, _ in both["training"]]) for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (torch.cat([x for x, _ in both["validation"]]) for _ in range(2))
    assert torch.equal(first, second)


def test_a_label_stays_with_its_image():
    dataset = indexed_images()
    for x, y in loaders(dataset, split_images(dataset))["training"]:
        indices = (x[:, 0, 0, 0] * 255).round().long()
        assert torch.equal(y, dataset.labels[indices])


def fit_background(images):
    """Return the background of images (N, 1, 4, 4), of which the first ten are not for training, and the notes."""
    dataset = film_frames(len(images), images=images)
    parts = {"training": list(range(10, len(images))), "validation": list(range(10))}
    objective, (flip, background) = (
        OBJECTIVES.build("reconstruct noise=0.5"),
        build_augmentations(["flip", "background"]),
    )
    task = Task(dataset, objective.on(dataset), parts, {}, torch.device("cpu"), augmentations=[flip, background])
    notes = fit_augmentations(task)
    return background.background, notes


def test_the_background_is_the_median_of_training_images():
    frame = (10 * torch.arange(16, dtype=torch.uint8)).view(1, 4, 4)
    images = frame.repeat(31, 1, 1, 1)
    images[:10] = 0
    images.flatten(1)[torch.arange(10, 31), torch.arange(21) % 16] += 40
    background, notes = fit_background(images)
    assert torch.allclose(background, frame / 255)
    assert notes == []


def test_an_animal_that_rests_is_reported_as_background():
    images = torch.zeros(110, 1, 4, 4, dtype=torch.uint8)
    images[..., 2:, :] = 200
    images[10:70, 0, 0, 0] = 100  # rests in 60 of 100 frames
    images.flatten(1)[torch.arange(70, 110), torch.arange(40) % 16] = 100
    background, notes = fit_background(images)
    assert background[0, 0, 0] == pytest.approx(100 / 255)
    assert len(notes) == 1 and notes[0].startswith("63% of training images hardly differ from their median")


def test_without_a_common_background_whole_images_move():
    generator = torch.Generator().manual_seed(0)
    background, notes = fit_background(torch.randint(256, (60, 1, 4, 4), generator=generator).to(torch.uint8))
    assert background is None
    assert len(notes) == 1 and "the median image explains only 0% of the variance" in notes[0]


@pytest.mark.parametrize(("n", "batch_size"), [(1, 8), (8, 8), (9, 8), (100, 7)])
@pytest.mark.parametrize("shuffled", [True, False])
def test_every_batch_is_announced_once_before_it_comes(n, batch_size, shuffled):
    def generators():
        return [torch.Generator().manual_seed(1)] if shuffled else []

    announced = []
    for _ in range(2):
        silent, announcing = generators(), generators()
        announced.clear()
        plain = [batch.tolist() for batch in EvenBatches(n, batch_size, silent)]
        given = []
        for batch in EvenBatches(n, batch_size, announcing, lambda batch: announced.append(batch.tolist())):
            given.append(batch.tolist())
            assert given[-1] in announced
        assert given == plain == [batch for batch in announced if batch]
        assert not shuffled or torch.equal(silent[0].get_state(), announcing[0].get_state())
    assert sorted(sum(plain, [])) == list(range(n))


AUGMENTED = ["flip", "crop area=0.5,1", "noise"]


@pytest.fixture
def opened(tmp_path):
    """Return a function that opens 30 colour images as a run does: pictures, or an array in a file."""
    images = np.random.default_rng(0).integers(0, 256, (30, 12, 10, 3), dtype=np.uint8)

    def open_as(kind):
        folder = tmp_path / kind
        if not folder.exists():
            folder.mkdir()
            if kind == "folder":
                for i, image in enumerate(images):
                    Image.fromarray(image).save(folder / f"{i:02}.png")
            elif kind == "npy":
                np.save(folder / "x.npy", images)
            else:
                {"npz": np.savez, "npz_compressed": np.savez_compressed}[kind](folder / "x.npz", x=images)
        source = TaskSource(folder, "folder" if kind == "folder" else "arrays", "reconstruct", tmp_path)
        return source.open_images()

    return open_as


@pytest.mark.parametrize("kind", ["folder", "npy", "npz", "npz_compressed"])
def test_mapped_images_make_the_same_batches_as_in_memory(kind, opened, monkeypatch):
    def epochs():
        dataset = opened(kind)
        made = loaders(dataset, split_images(dataset), objective="reconstruct", augmentations=AUGMENTED)
        return dataset.is_mapped, [x for _ in range(2) for part in ("training", "validation") for x, _ in made[part]]

    here, in_memory = epochs()
    for module in (store, arrays):
        monkeypatch.setattr(module, "IN_MEMORY", 0)
    there, mapped = epochs()
    assert (here, there) == (False, True)
    assert len(in_memory) == len(mapped) == 10
    assert all(torch.equal(a, b) for a, b in zip(in_memory, mapped, strict=True))


def test_a_restored_loader_continues_exactly(opened):
    def training():
        dataset = opened("folder")
        return loaders(dataset, split_images(dataset), objective="reconstruct", augmentations=AUGMENTED)["training"]

    whole = training()
    first = torch.cat([x for x, _ in whole])
    state = whole.generator_states()
    expected = [x for _ in range(2) for x, _ in whole]
    resumed = training()
    resumed.restore_generators(state)
    after = [x for _ in range(2) for x, _ in resumed]
    assert all(torch.equal(a, b) for a, b in zip(expected, after, strict=True))
    assert not torch.equal(first, torch.cat(expected)[: len(first)])
