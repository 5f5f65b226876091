"""Order frames by the numbers in their names, and cut recordings into contiguous blocks."""

import re
from collections.abc import Sequence

import numpy as np

from neuro_noodle.data.columns import as_texts


def frame_blocks(ids: list[str], n_blocks: int, recordings: Sequence | None) -> list[str]:
    """Cut frames into contiguous blocks of nearly equal length, none of which spans two recordings.

    Args:
        ids: N names; the numbers in them give the order of the frames.
        n_blocks: approximate total number of blocks; every recording has at least one.
        recordings: (N,) the recording of each frame, or None for a single recording.

    Returns:
        The block number of each frame as text, N in all.
    """
    order = natural_order(ids)
    recording = (
        np.unique(as_texts(recordings), return_inverse=True)[1] if recordings is not None else np.zeros(len(ids))
    )
    block_of = [""] * len(ids)
    block_index = 0
    for one in np.unique(recording):
        frames = order[recording[order] == one]
        n_here = min(len(frames), max(1, round(n_blocks * len(frames) / len(ids))))
        for block in np.array_split(frames, n_here):
            for frame in block:
                block_of[frame] = f"{block_index:03}"
            block_index += 1
    return block_of


def natural_order(ids: list[str]) -> np.ndarray:
    """Return the (N,) indices that sort names by the numbers in them: frame9 before frame10."""

    def sort_key(index: int) -> list[tuple[int, str]]:
        pieces = re.split(r"(\d+)", ids[index])
        return [(int(text), "") if text.isdecimal() else (-1, text) for text in pieces]

    return np.array(sorted(range(len(ids)), key=sort_key))
