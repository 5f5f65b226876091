"""Balance: groups of images exchange places until every part has its share of the images and of each class."""

import numpy as np

N_ROUNDS = 3  # in which each group moves or changes places if that balances the parts
MAX_TRIED = 3000  # groups in all rounds
MAX_PARTNERS = 100  # groups with which one may change places
MIN_GAIN = 0.01  # of an exchange; 1 is the imbalance of one group too many


def balance(slices: list[np.ndarray], counts: np.ndarray | None, seed: int) -> list[np.ndarray]:
    """Move and exchange units between slices until each slice has its share of the images and of each class.

    The share of a slice is its share of the units at first. What is minimised is the sum over slices of (images above
    the share)^2 / share, for each class relative to its chance; all images together weigh as much as all classes.

    Args:
        slices: the indices of the units in each slice; each keeps two of them, or the only one.
        counts: (n_units, n_classes) images of each class in each unit; None if each unit is one image.
        seed: of the order in which units are tried.
    """
    if counts is None or not all(map(len, slices)):
        return slices
    units, sizes = np.concatenate(slices), np.array([*map(len, slices)])
    slice_of = np.repeat(np.arange(len(slices)), sizes)
    counts = np.column_stack([counts, counts.sum(1)])[units]  # (n_units, n_classes + 1)
    weight = np.append(np.ones(counts.shape[1] - 1), counts.shape[1] - 1) / np.square(counts).sum(0).clip(1)
    shares = sizes[:, None] / len(units)
    above = np.stack([counts[slice_of == one].sum(0) for one in range(len(slices))]) - shares * counts.sum(0)

    counts = np.pad(counts, ((0, len(slices)), (0, 0)))  # a unit without images in each slice, which stays there
    slice_of = np.append(slice_of, np.arange(len(slices)))
    generator = np.random.default_rng(seed)
    for unit in np.tile(generator.permutation(len(units)), N_ROUNDS)[:MAX_TRIED]:
        own = slice_of[unit]
        may_move = (slice_of == own).sum() - 1 > min(2, sizes[own])
        n_partners = len(counts) if may_move else len(units)
        partners = generator.choice(n_partners, min(n_partners, MAX_PARTNERS), replace=False)
        gained = counts[partners] - counts[unit]  # (n_partners, n_classes + 1)
        change = _change(gained, above, shares, own, slice_of[partners]) @ weight
        best = change.argmin()
        if change[best] < -MIN_GAIN / len(units):
            other = slice_of[partners[best]]
            above[own] += gained[best]
            above[other] -= gained[best]
            slice_of[unit] = other
            if partners[best] < len(units):
                slice_of[partners[best]] = own
    return [units[slice_of[: len(units)] == one] for one in range(len(slices))]


def _change(gained: np.ndarray, above: np.ndarray, shares: np.ndarray, own: int, others: np.ndarray) -> np.ndarray:
    """Return the change (n_partners, n_classes + 1) of the imbalance if slice `own` gains images from `others`."""
    change = (gained + 2 * above[own]) * gained / shares[own] + (gained - 2 * above[others]) * gained / shares[others]
    return np.where((others == own)[:, None], 0, change)
