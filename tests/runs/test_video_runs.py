"""Runs on a film: blocks of frames, what a split leaks, exact resuming; and decoded images in a cache."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from helpers import same, weights_of
from PIL import Image

from neuro_noodle.data import folder as folders
from neuro_noodle.runs.metrics import read_metrics
from neuro_noodle.runs.run import open_run


@pytest.fixture
def video(tmp_path):
    """A film of 60 frames whose neighbours are nearly the same, and a table with the clip of each frame."""
    place = np.linspace(0, 40, 60)[:, None, None]
    y, x = np.mgrid[:16, :14]
    frames = 0.5 + 0.5 * np.sin(x / 3 + place) * np.cos(y / 4 - place / 2)
    folder = tmp_path / "video"
    folder.mkdir()
    np.save(folder / "frames.npy", (255 * frames).astype(np.uint8))
    (folder / "clips.csv").write_text("clip\n" + "".join(f"{i // 30}\n" for i in range(60)))
    return folder


BLOCKS = "--dataset arrays metadata=clips.csv group=clip --split block --n_blocks 12 --val_fraction 0.2 --gap 2"


def test_a_split_by_blocks_has_a_gap_and_records_leaks(video, run_main, tmp_path):
    status, out, err = run_main("faces_ae", f"--data_dir {video} --namestr run --n_epochs 2 {BLOCKS}")
    assert status == 0, err
    run = tmp_path / "weights" / "run"
    split = json.loads((run / "split.json").read_text())
    assert split["left_out"] and sorted(name for part in split.values() for name in part) == [
        f"{i:02}" for i in range(60)
    ]
    held_out = {int(name) for name in [*split["validation"], *split["test"]]}
    assert min(abs(int(name) - frame) for name in split["training"] for frame in held_out) == 3
    result = json.loads((run / "result.json").read_text())
    leaks = result["leaks"]
    assert leaks["groups"] == {"what": "groups ('clip')", "n": 2, "in_two_parts": 2}
    assert leaks["near_duplicates"]["validation"]["checked"] == len(split["validation"])
    assert "2 of 2 groups ('clip') are both in training and in another part" in err
    with (run / "validation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["id"] for row in rows} == set(split["validation"])
    assert all(int(row["clip"]) == int(row["id"]) // 30 and row["block"] for row in rows)


def test_examples_of_augmented_images_keep_the_background(video, run_main, tmp_path):
    frames = np.tile(np.linspace(100, 200, 14).astype(np.uint8), (60, 16, 1))
    frames[np.arange(60), np.arange(60) % 12, 4:8] = 0  # a black bar that moves down
    np.save(video / "frames.npy", frames)
    words = f"--data_dir {video} --namestr run --n_epochs 1 {BLOCKS} --augment background --augment shift px=5"
    status, _, err = run_main("faces_ae", words)
    assert status == 0, err
    run = open_run(tmp_path / "weights" / "run")
    indices = np.array(run.parts["training"])
    background = run.images(indices).median(0).values
    difference = (run.augmented(indices) - background).abs()
    assert (difference < 1e-5).flatten(1).float().mean(1).min() > 0.8  # all but the bar
    assert difference.amax() > 0.3


def test_a_film_split_at_random_is_reported_to_leak(run_main, video, tmp_path):
    frames = np.repeat(np.load(video / "frames.npy"), 2, axis=0)
    np.save(video / "frames.npy", frames)
    words = f"--data_dir {video} --dataset arrays --namestr run --n_epochs 1 --val_fraction 0.2"
    status, _, err = run_main("faces_ae", words)
    assert status == 0 and "validation images have a near-duplicate in training" in err
    found = json.loads((tmp_path / "weights" / "run" / "result.json").read_text())["leaks"]["near_duplicates"]
    assert found["validation"]["n"] > found["validation"]["checked"] / 2


def test_a_run_split_by_blocks_resumes_exactly(video, run_main, tmp_path):
    runs = tmp_path / "weights"
    words = f"--data_dir {video} {BLOCKS} --schedule constant"
    run_main("faces_ae", f"{words} --namestr whole --n_epochs 4")
    run_main("faces_ae", f"{words} --namestr halves --n_epochs 2")
    status, _, err = run_main("", f"--load_dir {runs / 'halves'} --n_epochs 4")
    assert status == 0, err
    assert same(weights_of(runs / "whole" / "3"), weights_of(runs / "halves" / "3"))
    assert read_metrics(runs / "whole") == read_metrics(runs / "halves")
    for name in ("split.json", "validation.csv"):
        assert (runs / "whole" / name).read_text() == (runs / "halves" / name).read_text()
    results = [json.loads((runs / name / "result.json").read_text()) for name in ("whole", "halves")]
    assert [result.pop("seconds") >= 0 for result in results] and results[0] == results[1]


# ------------------------------------------------------------------------------------------------------- the cache


def cached_files(cache):
    """Return the time of the last change of each cached array."""
    return {path: path.stat().st_mtime_ns for path in cache.glob("*/array.npy")}


@pytest.fixture
def decoded(monkeypatch):
    """A list of the files that are decoded."""
    paths, read = [], folders.read_image
    monkeypatch.setattr(folders, "read_image", lambda path, *rest: (paths.append(path), read(path, *rest))[1])
    return paths


def test_decoded_images_are_read_from_the_cache(run_main, stimuli, tmp_path, decoded):
    """The weights are the same with the cache and without it."""
    cache = tmp_path / "cache"
    words = f"--data_dir {stimuli} --n_epochs 1"
    assert run_main("faces_ae", f"{words} --cache_dir {cache} --namestr a")[0] == 0
    before = cached_files(cache)
    assert len(before) == 1 and len(decoded) == 24
    assert run_main("faces_ae", f"{words} --cache_dir {cache} --namestr b")[0] == 0
    assert cached_files(cache) == before and len(decoded) == 24
    assert run_main("faces_ae", f"{words} --namestr uncached")[0] == 0
    a, b, uncached = (weights_of(tmp_path / "weights" / name / "0") for name in ("a", "b", "uncached"))
    assert same(a, b) and same(a, uncached)


def test_a_changed_file_is_decoded_again(run_main, stimuli, tmp_path, decoded):
    """The change is found by content: the time of the file stays the same."""
    folder, cache = shutil.copytree(stimuli, tmp_path / "stimuli"), tmp_path / "cache"
    words = f"--data_dir {folder} --cache_dir {cache} --n_epochs 1"
    run_main("faces_ae", f"{words} --namestr a")
    before = cached_files(cache)
    decoded.clear()
    changed = folders.find_images(folder)[0]
    times = changed.stat()
    Image.open(changed).rotate(180).save(changed)
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run_main("faces_ae", f"{words} --namestr b")[0] == 0
    assert len(cached_files(cache)) == 2 and before.items() <= cached_files(cache).items() and len(decoded) == 24
    a, b = (weights_of(tmp_path / "weights" / name / "0") for name in "ab")
    assert not same(a, b)


def test_clear_cache_removes_cached_images_only(run_main, stimuli, tmp_path):
    cache = tmp_path / "cache"
    words = f"--data_dir {stimuli} --cache_dir {cache}"
    run_main("faces_ae", f"{words} --n_epochs 1")
    (cache / "mine.txt").write_text("notes")
    status, out, _ = run_main("faces_ae", f"{words} --clear_cache")
    assert status == 0 and "MiB of decoded images from" in out and str(cache) in out
    assert [path.name for path in cache.iterdir()] == ["mine.txt"]
    status, out, _ = run_main("faces_ae", f"{words} --clear_cache")
    assert status == 0 and out.startswith("removed 0.0 MiB")
