"""The inventory: what was read, printed by every run and recorded in result.json."""

import json

import numpy as np
import pytest
import torch
from helpers import indexed_images, open_at, raises_user_error, result_of
from test_arrays import GENERATOR, save_npy
from test_folder import open_folder, save_image

from neuro_noodle.data import inventory
from neuro_noodle.data.inventory import Reading, inspect, take_inventory

IMAGES = torch.from_numpy(GENERATOR.integers(1, 255, (12, 1, 4, 5), dtype=np.uint8))


def take(images=IMAGES, classes=(), groups=(), reading=None):
    return take_inventory(images, 255, classes, groups, reading or Reading())


def test_an_inventory_has_the_range_and_mean_of_all_values(monkeypatch):
    for chunk in (1, 25, 10**6):
        monkeypatch.setattr(inventory, "CHUNK", chunk)
        pixels = inspect(IMAGES)
        assert (pixels.low, pixels.high, pixels.n_checked) == (IMAGES.min(), IMAGES.max(), 12)
        assert pixels.mean == pytest.approx(IMAGES.double().mean().item())
        assert (pixels.n_constant, pixels.n_copies) == (0, 0)


def test_constant_images_and_copies_are_counted():
    images = IMAGES.clone()
    images[3] = 7
    images[5] = images[9] = images[0]
    found = take(images)
    assert (found.pixels.n_constant, found.pixels.n_copies) == (1, 2)
    assert "1 of 12 images have the same value everywhere\n2 of 12 images are exact copies" in found.text


def test_nearly_black_images_next_to_others_are_counted():
    images = torch.from_numpy(GENERATOR.integers(0, 256, (20, 1, 6, 6)).astype(np.uint8))
    images[:7] //= 255  # masks of 0 and 1
    images[3, 0, 0, 0] = 1
    text = take_inventory(images, 255, [], [], Reading()).text
    assert f"{inspect(images).n_dark} of 20 images are nearly black next to others: none of their values" in text
    assert 1 <= inspect(images).n_dark <= 7


def test_constant_borders_are_no_constant_images():
    images = torch.zeros(12, 1, 16, 16, dtype=torch.uint8)
    images[:, :, 5:9, 5:10] = IMAGES
    assert take(images).text.count("\n") == 0


@pytest.mark.parametrize(("value", "detail"), [(0, " (every value is 0)"), (99, " (every value is 99)"), (None, "")])
def test_images_that_are_all_the_same_are_refused(tmp_path, value, detail):
    images = np.full((6, 4, 5), value, np.uint8) if value is not None else np.repeat(IMAGES[0].numpy(), 6, 0)
    with raises_user_error(f"all 6 images are the same{detail}, so there is nothing to learn; look at the files"):
        _ = open_at(save_npy(tmp_path, images), "arrays max_value=255").inventory


def test_a_large_set_is_inspected_at_evenly_spaced_images(monkeypatch):
    monkeypatch.setattr(inventory, "MAX_VALUES", 100)
    found = take()
    assert found.pixels.n_checked == 4
    assert found.pixels.high == IMAGES[::3].max()
    assert "in 4 of them" in found.text


def test_a_few_classes_are_listed_and_many_summarised():
    few = take(classes=["sad"] * 5 + ["happy"] * 7, groups=["p1"] * 12)
    assert few.text.splitlines()[1:] == ["classes: happy 7, sad 5"]
    many = take(classes=[str(i) for i in range(12)], groups=[str(i // 2 if i < 6 else i) for i in range(12)])
    assert many.text.splitlines()[1:] == ["12 classes of 1 image; 9 groups of 1 to 2 images"]
    assert many.record["groups"] == {"n": 9, "smallest": 1, "largest": 2}
    assert many.record["classes"]["7"] == 1
    assert take().record["groups"] is None


def test_images_without_a_group_are_no_group():
    found = take(groups=[""] * 4 + [str(i) for i in range(8)])
    assert found.text.splitlines()[1:] == ["8 groups of 1 image, 4 images in none"]
    assert found.record["groups"] == {"n": 8, "smallest": 1, "largest": 1}


def test_tables_and_texts_alone_are_passed_over_in_silence():
    assert take(reading=Reading({inventory.ORDINARY: 3})).text.count("\n") == 0
    found = take(reading=Reading({inventory.ORDINARY: 3, ".heic files": 18}, {"images resized": 2}))
    assert found.text.splitlines()[1:] == ["passed over: .heic files (18)", "changed: images resized (2)"]
    recorded = json.loads(json.dumps(found.record))["reading"]
    assert recorded["passed_over"] == {inventory.ORDINARY: 3, ".heic files": 18}
    assert recorded["changed"] == {"images resized": 2}


def test_resized_images_are_counted_with_their_sizes(tmp_path):
    for name, shape in (("a", (6, 9)), ("b", (12, 9)), ("c", (5, 20))):
        save_image(tmp_path / f"{name}.png", np.ones(shape, np.uint8))
    changed = open_folder(tmp_path, "size=6x9").reading.changed
    assert changed == {"images resized to 6x9 from 5x20 to 12x9 (of another shape: 2, fit=crop)": 2}


def test_a_run_prints_its_inventory_and_records_it(run_main, stimuli, tmp_path):
    status, _, printed = run_main("faces_ae", "--n_epochs 1 --namestr run")
    assert status == 0
    assert printed.splitlines()[0].startswith("read 24 images of 1 x 26 x 20: values ")
    assert "changed: images resized to 26x20 from 65x51 (24)" in printed
    record = result_of(tmp_path / "weights" / "run")["data"]
    assert (record["n_images"], record["shape"], record["white"]) == (24, [1, 26, 20], 255)


def test_notes_are_recorded_too(tmp_path):
    dataset = indexed_images()
    dataset.notes.append("2 of 60 images have a row")
    assert dataset.record["notes"] == dataset.notes and dataset.record["n_images"] == 60


def test_a_run_on_equal_images_is_refused_before_training(run_main, tmp_path):
    np.save(tmp_path / "a.npy", np.full((60, 16, 16), 99, np.uint8))
    status, _, message = run_main("", f"--data_dir {tmp_path / 'a.npy'} --dataset arrays --save_dir {tmp_path}/w")
    assert status == 2
    assert "all 60 images are the same (every value is 99)" in message
