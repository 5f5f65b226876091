"""Images that were shown to neurons: one or more recordings, with responses and single trials, as one dataset.

In shapes n is the number of images of a recording, K of its neurons and T of presentations of each image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import torch

from neuro_noodle.choices import require
from neuro_noodle.data.base import StimulusSet
from neuro_noodle.data.columns import Columns, as_texts, merge
from neuro_noodle.data.inventory import Reading
from neuro_noodle.data.store import format_shape
from neuro_noodle.measures.ceilings import ignore_missing
from neuro_noodle.plain import counted

IMAGE = "image"  # the column that is the same for identical images
MIN_REPEATED = 3  # images of which several trials are known, for a noise ceiling
AGREEMENT = 1e-3  # difference between a response and the mean of its trials, in standard deviations of the neuron
N_LISTED = 5  # neurons in a note


@dataclass(frozen=True)
class Values:
    """Responses as they are in a file.

    Attributes:
        values: (n, K), (n,) of a single neuron, or (T, n, K); NaN where an image was not shown.
        where: their file and array, for messages.
        neurons: names of the K neurons; without names they are numbered.
        notes: what the user should know.
    """

    values: np.ndarray
    where: str
    neurons: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Recording:
    """Images that were shown to some neurons.

    Attributes:
        name: of the recording.
        images: n images.
        neurons: K names; neurons of the same name in several recordings are the same.
        responses: (n, K) float32, NaN where a neuron was not recorded.
        trials: (T, n, K) float32 responses to each presentation, NaN where there was none; or None.
        notes: what the user should know.
    """

    name: str
    images: StimulusSet
    neurons: list[str]
    responses: np.ndarray
    trials: np.ndarray | None
    notes: list[str]

    @property
    def text(self) -> str:
        """The number of neurons, and how often an image was presented."""
        names = [name.rpartition("/")[2] for name in self.neurons[:N_LISTED]]
        more = ", ..." * (len(self.neurons) > N_LISTED)
        listed = "" if all(map(str.isdigit, names)) else f" ({', '.join(names)}{more})"
        neurons = counted(len(self.neurons), "neuron") + listed
        if self.trials is None:
            return f"{neurons}, no single trials"
        counts = np.isfinite(self.trials).any(2).sum(0)  # (n,)
        few, many = counts[counts > 0].min(), counts.max()
        times = f"{few}" if few == many else f"{few} to {many}"
        return f"{neurons}, each image presented {times} times"

    @property
    def is_repeated(self) -> np.ndarray:
        """Whether a neuron's response to two or more presentations of an image is known, (n,)."""
        return (np.isfinite(self.repeats).sum(0) > 1).any(1)

    @property
    def repeats(self) -> np.ndarray:
        """The trials (T, n, K); T is 0 if there are none."""
        return np.empty((0, *self.responses.shape), np.float32) if self.trials is None else self.trials


class RecordedImages(StimulusSet):
    """The images of one or more recordings, with the responses of all their neurons.

    Args:
        recordings: those to concatenate.
        group: the column whose images --split group keeps in one part; by default `image` if some are identical.

    Attributes:
        trials: (T, n, n_neurons) responses to each presentation of the n `repeated` images, NaN where there was none.

    Raises:
        UserError: if the images of the recordings differ in shape or white.
    """

    def __init__(self, recordings: Sequence[Recording], group: str | None = None) -> None:
        shown = [one.images for one in recordings]
        columns = _concatenate_columns(shown)
        contents = [content for one in shown for content in one.contents]
        copies = _number_contents(contents)
        if group is None and IMAGE not in columns and len(set(copies)) < len(copies):
            group = IMAGE
        merge(columns, {IMAGE: copies} if group == IMAGE and IMAGE not in columns else {})
        neurons = list(dict.fromkeys(name for one in recordings for name in one.neurons))
        is_repeated = [one.is_repeated for one in recordings]
        super().__init__(
            _concatenate_images(recordings),
            [name for one in shown for name in one.ids],
            max_value=max(one.max_value for one in shown),
            columns=columns,
            group=group,
            responses=torch.from_numpy(_concatenate([one.responses[None] for one in recordings], recordings)[0]),
            neurons=neurons,
            repeated=np.flatnonzero(np.concatenate(is_repeated)).tolist(),
            contents=contents,
            notes=list(dict.fromkeys(note for one in recordings for note in (*one.images.notes, *one.notes))),
            reading=Reading.of_all([one.reading for one in shown]),
            stretch=_concatenate_stretch(shown),
        )
        trials = [one.repeats[:, chosen] for one, chosen in zip(recordings, is_repeated, strict=True)]
        self.trials = torch.from_numpy(_concatenate(trials, recordings))

    def trials_of(self, indices: Sequence[int]) -> np.ndarray | None:
        row = {index: i for i, index in enumerate(self.repeated.tolist())}
        known = [i for i, index in enumerate(indices) if index in row]
        if len(known) < MIN_REPEATED:
            return None
        trials = np.full((len(self.trials), len(indices), len(self.neurons)), np.nan, np.float32)
        trials[:, known] = self.trials[:, [row[indices[i]] for i in known]].numpy()
        return trials


def record(
    name: str, images: StimulusSet, responses: Values | None, trials: Values | None, prefix: str = ""
) -> Recording:
    """Return a recording after checking that its parts belong together.

    Args:
        name: of the recording.
        images: n images.
        responses: one of each neuron to each image; None uses the means of the trials.
        trials: responses to each presentation; at least one of both is given.
        prefix: precedes the name of each neuron.

    Raises:
        UserError: if shapes do not fit, or if values are infinite or all missing.
    """
    given = [one for one in (responses, trials) if one is not None]
    notes = [note for one in given for note in one.notes]
    rates: Any = None if responses is None else _checked_responses(responses, len(images))  # (n, K)
    single = None if trials is None else _checked_trials(trials, len(images), None if rates is None else rates.shape[1])
    if single is not None:
        with ignore_missing():
            mean = np.nanmean(single, 0)  # (n, K)
        notes += [] if rates is None else _disagreement(rates, mean, [one.where for one in given])
        rates = mean if rates is None else rates
    notes += _doubtful_orders(responses, trials, len(images))
    names = next((one.neurons for one in given if one.neurons), list(map(str, range(rates.shape[1]))))
    notes += _missing(name, rates, names)
    return Recording(name, images, [prefix + one for one in names], rates, single, notes)


def _doubtful_orders(responses: Values | None, trials: Values | None, n_images: int) -> list[str]:
    """Return notes on arrays whose shape fits another order of their axes as well."""
    notes = []
    if responses is not None and responses.values.shape == (n_images, n_images):
        notes.append(f"{responses.where} is square; its rows are taken as images, its columns as neurons")
    if responses is None and trials is not None and len(trials.values) > trials.values.shape[2]:
        n_trials, _, n_neurons = trials.values.shape
        notes.append(
            f"{trials.where} is taken as {counted(n_trials, 'trial')} x images x {counted(n_neurons, 'neuron')}; if it "
            "is neurons x images x trials, save its transpose (.T)"
        )
    return notes


def _checked_responses(given: Values, n_images: int) -> np.ndarray:
    """Return responses as (n, K) float32."""
    values, shape = given.values, format_shape(given.values.shape)
    values = values[:, None] if values.ndim == 1 else values
    require(values.ndim == 2, f"{given.where} is {shape}, but responses are images x neurons")
    hint = "; it seems to be neurons x images, so save its transpose (.T)" if values.shape[1] == n_images else ""
    require(
        len(values) == n_images,
        f"{given.where} is {shape}, but there {_are(n_images)}: it needs a row per image, images x neurons{hint}",
    )
    return _as_numbers(values, given.where)


def _checked_trials(given: Values, n_images: int, n_neurons: int | None) -> np.ndarray:
    """Return trials as (T, n, K) float32."""
    shape = given.values.shape

    def fits(shape: tuple[int, ...]) -> bool:
        return shape[1] == n_images and n_neurons in (None, shape[2])

    orders = [axes for axes in permutations(range(3)) if len(shape) == 3 and fits(tuple(shape[i] for i in axes))]
    hint = f"; numpy.transpose(array, {orders[0]}) has this order" if orders else ""
    neurons = "" if n_neurons is None else f" and {counted(n_neurons, 'neuron')}"
    require(
        len(shape) == 3 and fits(shape),
        f"{given.where} is {format_shape(shape)}, but there {_are(n_images)}{neurons}: it must be trials x images x "
        f"neurons{hint}",
    )
    return _as_numbers(given.values, given.where)


def _are(n_images: int) -> str:
    return f"{'is' if n_images == 1 else 'are'} {counted(n_images, 'image')}"


def _as_numbers(values: np.ndarray, where: str) -> np.ndarray:
    """Return values as float32; raises UserError if they are no numbers, infinite, or all missing."""
    require(values.dtype.kind in "biuf", f"{where} holds {values.dtype}, but responses are plain numbers")
    with np.errstate(over="ignore"):
        numbers = np.asarray(values, np.float32)
    n_infinite = int(np.isinf(numbers).sum())
    require(
        not n_infinite,
        f"{where}: {n_infinite} of {numbers.size} responses are infinite; where an image was not shown, write NaN",
    )
    require(numbers.size > 0 and not bool(np.isnan(numbers).all()), f"{where} holds no responses: all values are NaN")
    return numbers


def _disagreement(rates: np.ndarray, mean: np.ndarray, where: list[str]) -> list[str]:
    """Return a note if responses (n, K) are not the means of the trials (n, K)."""
    with ignore_missing():
        tolerance = AGREEMENT * (np.nanstd(rates, 0) + np.abs(np.nanmean(rates, 0)))
        difference = np.abs(rates - mean)  # NaN where either is missing
    n_different = int((difference > tolerance).sum())
    if not n_different:
        return []
    return [
        f"{n_different} of {int(np.isfinite(difference).sum())} values of {where[0]} are not the means of {where[1]} "
        f"(the largest difference is {np.nanmax(difference):.3g}); networks learn the former, the noise ceiling is "
        "computed from the latter; --dataset recordings trials=NAME without responses= uses the means"
    ]


def _missing(name: str, rates: np.ndarray, neurons: Sequence[str]) -> list[str]:
    """Return notes on images and neurons without responses (n, K)."""
    is_known = np.isfinite(rates)  # (n, K)
    n_not_shown = int((~is_known.any(1)).sum())
    silent = [one for one, known in zip(neurons, is_known.any(0), strict=True) if not known]
    which = ", ".join(silent[:N_LISTED]) + ", ..." * (len(silent) > N_LISTED)
    notes = {
        f"{name}: {n_not_shown} of {len(rates)} images have no response": n_not_shown,
        f"{name}: {len(silent)} of {len(neurons)} neurons have no response: {which}": silent,
    }
    return [note for note, is_true in notes.items() if is_true]


def _concatenate(values: Sequence[np.ndarray], recordings: Sequence[Recording]) -> np.ndarray:
    """Concatenate (T, n, K) values of recordings along images and neurons, NaN where an image was not shown."""
    names = dict.fromkeys(name for one in recordings for name in one.neurons)
    column = {name: i for i, name in enumerate(names)}
    whole = np.full((max(map(len, values)), sum(one.shape[1] for one in values), len(column)), np.nan, np.float32)
    start = 0
    for part, one in zip(values, recordings, strict=True):
        end = start + part.shape[1]
        whole[: len(part), start:end, [column[name] for name in one.neurons]] = part
        start = end
    return whole


def _concatenate_images(recordings: Sequence[Recording]) -> np.ndarray:
    """Return (N, C, H, W); raises UserError if recordings differ in the shape or the white of their images."""
    shapes = {format_shape(one.images.image_shape): one.name for one in recordings}
    whites = {f"{one.images.max_value:.6g}": one.name for one in recordings}
    for what, found, remedy in (
        ("shapes", shapes, "read fewer recordings, or give image files the same size= and colour="),
        ("values of white", whites, "max_value= sets the same for all"),
    ):
        listed = ", ".join(f"{value} ({name})" for value, name in found.items())
        require(len(found) == 1, f"the images of the recordings have different {what}: {listed}; {remedy}")
    pixels = [one.images.pixels for one in recordings]
    return pixels[0] if len(pixels) == 1 else np.concatenate([np.asarray(one) for one in pixels])


def _concatenate_columns(shown: Sequence[StimulusSet]) -> Columns:
    """Concatenate columns; those that some images lack, or that are texts for some, become texts."""
    columns: dict[str, Any] = {}
    for name in dict.fromkeys(name for one in shown for name in one.columns):
        parts: list[Any] = [one.columns.get(name, [""] * len(one)) for one in shown]
        has_texts = any(isinstance(part, list) for part in parts)
        columns[name] = [text for part in parts for text in as_texts(part)] if has_texts else np.concatenate(parts)
    return columns


def _concatenate_stretch(shown: Sequence[StimulusSet]) -> np.ndarray | None:
    """Return (N, 2); None if no image was stretched."""
    if all(one.stretch is None for one in shown):
        return None
    return np.concatenate([np.ones((len(one), 2)) if one.stretch is None else one.stretch.numpy() for one in shown])


def _number_contents(contents: Sequence[str]) -> list[str]:
    """Return a number for each image, the same for identical ones; an image that was not hashed has the content ''."""
    numbers: dict[str, int] = {}
    return [str(numbers.setdefault(content or f"#{i}", len(numbers))) for i, content in enumerate(contents)]
