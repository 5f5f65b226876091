"""The order of frames, and the blocks that are cut from it."""

import re

import numpy as np
import pytest
from helpers import film_frames, indexed_images, open_at, split_images

from neuro_noodle.choices import UserError
from neuro_noodle.data.blocks import describe_order, frame_blocks, natural_order
from neuro_noodle.data.columns import as_texts
from neuro_noodle.data.leaks import shared_groups


def indices_in_time(dataset):
    """Return the index of frame0, frame1, frame2 ..."""
    return [dataset.ids.index(f"frame{i}") for i in range(len(dataset))]


def test_frames_are_ordered_by_the_numbers_in_their_names():
    names = ["frame10.png", "frame9.png", "b/2_1.png", "b/2_0.png", "b/10_0.png", "frame.png", "007.png", "6.png"]
    ordered = ["6.png", "007.png", "b/2_0.png", "b/2_1.png", "b/10_0.png", "frame9.png", "frame10.png", "frame.png"]
    assert [names[i] for i in natural_order(names)] == ordered


@pytest.mark.parametrize(("n_frames", "n_blocks"), [(100, 20), (101, 20), (13, 5), (7, 1), (3, 20), (1, 1)])
def test_blocks_are_contiguous_and_nearly_equally_long(n_frames, n_blocks):
    dataset = film_frames(n_frames)
    one = frame_blocks(dataset.ids, n_blocks, None)
    ordered = [one[i] for i in indices_in_time(dataset)]
    assert ordered == sorted(ordered)
    lengths = [ordered.count(block) for block in set(ordered)]
    assert len(lengths) == min(n_frames, n_blocks)
    assert max(lengths) - min(lengths) <= 1


@pytest.mark.parametrize("n_blocks", [1, 2, 7, 1000])
def test_no_block_spans_two_recordings(n_blocks):
    """Every recording has at least one block."""
    lengths = (50, 20, 1, 4)
    recordings = list("a" * 50 + "b" * 20 + "c" + "d" * 4)
    ids = [f"{recording}/{i}" for recording, n in enumerate(lengths) for i in range(n)]
    made = frame_blocks(ids, n_blocks, recordings)
    belongs = {block: set() for block in made}
    for block, recording in zip(made, recordings, strict=True):
        belongs[block].add(recording)
    assert all(len(of) == 1 for of in belongs.values())
    assert len(set().union(*belongs.values())) == 4
    assert n_blocks - 4 <= len(belongs) <= n_blocks + 4 or n_blocks == 1000 and len(belongs) == 75


@pytest.mark.parametrize("group", [None, "session"])
def test_blocks_are_a_column_and_are_kept_apart(tmp_path, group):
    images = np.zeros((40, 4, 4), np.uint8)
    np.savez(tmp_path / "x.npz", images=images, session=np.repeat([1, 2], 20))
    dataset = open_at(tmp_path / "x.npz", f"arrays group={group or 'none'}")
    assert not dataset.has_blocks and dataset.split_unit == group
    dataset.add_blocks(5)
    assert dataset.has_blocks
    assert (dataset.split_unit, dataset.group) == ("block", group)
    assert list(dataset.columns) == ["session", "block"]
    assert dataset.columns["block"] == frame_blocks(
        dataset.ids, 5, as_texts(dataset.columns["session"]) if group else None
    )
    parts = split_images(dataset, "block", val_fraction=0.25)
    assert shared_groups(parts, dataset.columns["block"]) == 0
    assert sorted(parts["training"] + parts["validation"]) == list(range(40))


@pytest.mark.parametrize("gap", [0, 1, 3])
def test_the_folds_of_blocks_test_every_frame_once(gap):
    dataset = film_frames(50)
    dataset.columns["block"], dataset.group = frame_blocks(dataset.ids, 10, None), "block"
    tested = [i for k in range(1, 6) for i in split_images(dataset, "block", fold=(k, 5), gap=gap)["test"]]
    assert sorted(tested) == list(range(50))


@pytest.mark.parametrize("gap", [0, 1, 2, 5])
@pytest.mark.parametrize("sizes", [{}, {"test_fraction": 0.2}, {"fold": (1, 5)}])
def test_no_frame_of_another_part_is_within_the_gap(gap, sizes):
    """Of training from a held-out one, and of validation from a test one; all test frames are kept."""
    dataset = film_frames(200)
    dataset.columns["block"], dataset.group = frame_blocks(dataset.ids, 10, None), "block"
    parts = split_images(dataset, "block", **sizes, gap=gap)
    time = np.empty(200, int)
    time[indices_in_time(dataset)] = np.arange(200)
    whole = split_images(dataset, "block", **sizes)
    assert parts["test"] == whole["test"] and set(parts["validation"]) <= set(whole["validation"])

    def distances(part, *others):
        frames = sum((parts[other] for other in others), [])
        return np.abs(time[parts[part]][:, None] - time[frames]).min(1, initial=200)

    assert (distances("training", "validation", "test") > gap).all() and (distances("validation", "test") > gap).all()
    assert gap == 0 or (distances("left_out", "validation", "test") <= gap).all()
    assert sorted(i for part in parts.values() for i in part) == list(range(200))
    assert ("left_out" in parts) == (gap > 0)


@pytest.mark.parametrize("how", ["random", "group", "given"])
def test_a_gap_needs_a_split_by_blocks(how):
    with pytest.raises(UserError, match=f"--gap leaves out frames .* --split {how} has no blocks"):
        split_images(indexed_images(), how, gap=2)


@pytest.mark.parametrize("gap", [7, 11, 1000])
def test_a_gap_that_leaves_nothing_for_training_is_refused(gap):
    dataset = film_frames(21)
    dataset.columns["block"], dataset.group = frame_blocks(dataset.ids, 3, None), "block"
    with pytest.raises(UserError, match="nothing is left for (training|validation)"):
        split_images(dataset, "block", test_fraction=0.34, gap=gap)


# ------------------------------------------------------------------------------------------- numbers in the names


def in_order(names):
    """Return the names in their order, given in a random one."""
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    return [shuffled[i] for i in natural_order(shuffled)]


@pytest.mark.parametrize(
    "names",
    [
        [f"t{i / 4}.png" for i in range(-29, 31)],
        [f"t{i / 4}.png" for i in range(60)],
        [f"rec{k}/z{i}.png" for k in (1, 2, 10) for i in range(-12, 12)],
        [f"frame_{i}.png" for i in range(1, 12)],
        [f"frame-{i}.png" for i in range(1, 12)],
        [f"2026-{month:02}-{day:02}.png" for month in (1, 2, 11) for day in (1, 9, 10)],
        [f"{major}.{minor}.png" for major in (1, 2) for minor in range(1, 12)],
        [f"{major}.{minor}.{part}.png" for major in (1, 2) for minor in (1, 9, 10) for part in (2, 12)],
        [f"x{i / 100:.2f}_y{k}.png" for i in (-250, -5, 0, 5, 1000) for k in (-3, 2)],
        [f"sub-0{i}_t{t}.png" for i in (1, 2) for t in (-1.5, -1.25, 0.5, 10.0)],
        [str(i) for i in range(11)],
        ["t-10.png", "t-2.png", "t-1.png", "t+0.png", "t+1.png", "t+10.png"],
        ["t\u22122.png", "t\u22121.png", "t0.png"],
        ["1e-10.png", "5e-4.png", "1e-3.png", "1.5e-3.png", "0.25.png", "2e+1.png"],
        ["a0.10", "a0.25", "a0.5", "a1.0"],
        ["s1e9", "s1e10", "s2e1"],
        [f"n{10**30 + i}" for i in range(3)],
    ],
)
def test_numbers_with_sign_and_point_are_in_order(names):
    """A minus sign is one only if other names lack it; 1.10 follows 1.9 where the second number is counted."""
    assert in_order(names) == names


def test_blocks_note_the_first_names_and_the_last():
    dataset = film_frames(30)
    dataset.add_blocks(5)
    assert dataset.notes == [
        "the numbers in the names give the order of the frames: frame0, frame1, frame2, ..., frame29"
    ]


@pytest.mark.parametrize(
    ("names", "note"),
    [
        (["a.jp2", "b.jp2"], "the alphabetical order of the names gives the order of the frames: a.jp2, b.jp2"),
        (["anna1", "bert2"], "the alphabetical order of the names gives the order of the frames: anna1, bert2"),
        (["t+1", "t-1"], "the numbers .* t-1, t\\+1 \\(a - before a number is its sign\\)"),
        (["t-1", "t-2"], "the numbers .* t-1, t-2 \\(a - that all names have is a separator, not a sign\\)"),
        (["1.9", "1.10"], "the numbers .* 1.9, 1.10 \\(1.9 is before 1.10, as in counting\\)"),
        (
            ["9.01.2024", "1.02.2024"],
            "the numbers .* 1.02.2024, 9.01.2024 \\(dates .* not in order of time\\)",
        ),
        (["2026-1-2", "2026-1-1"], "the numbers .* 2026-1-1, 2026-1-2"),
    ],
)
def test_the_note_says_what_gives_the_order(names, note):
    assert re.fullmatch(note, describe_order(names))


def test_a_frame_without_a_recording_is_in_no_block():
    blocks = frame_blocks([str(i) for i in range(6)], 2, ["a", "a", "", "b", "b", ""])
    assert blocks == ["000", "000", "", "001", "001", ""]
    dataset = film_frames(60, columns={"session": ["a"] * 30 + ["", "n/a"] + ["b"] * 28}, group="session")
    dataset.add_blocks(10)
    assert split_images(dataset, "block", gap=1)["left_out"][-1] >= 31
    assert {30, 31} <= set(split_images(dataset, "block", gap=1)["left_out"])
