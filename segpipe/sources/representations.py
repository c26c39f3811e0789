"""How label maps are stored where they are not stored as labels: logits, one-hot channels, scores, masks.

Whatever the representation, the rest of the product sees label maps of channel numbers. The rules of a side
say which class a channel is; `NO_CHANNEL` is no class, and what is below is no label at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.errors import Problem
from segpipe.kernels.argmax import NO_PROBABILITY, NOT_A_NUMBER, argmax_labels
from segpipe.registry import Registry
from segpipe.sources.boxes import Box, relative, shape_of
from segpipe.sources.metadata import ArrayMeta
from segpipe.sources.reader import DamagedChunkError, LabelReader, open_reader
from segpipe.sources.storage import ObjectInfo, Storage

NO_CHANNEL = -1
"""The label of a pixel of which no channel is hot: ignored in truth, void in a prediction."""

TWO_HOT = -2
"""The label of a pixel of which two channels or more are hot."""

PART_BYTES = 16 << 20
"""Of stored values and what is made of them, held at a time, unless a chunk is larger."""

MADE_BYTES = 8
"""Of a pixel: its label, and what is known of it while the label is made."""


@dataclass(frozen=True)
class Representation:
    """One way to store label maps.

    Attributes:
        labels: `labels(values, class_axis, threshold)`: the label map of stored values, without the class
            axis; int32, but of labels themselves their own dtype. Memory for a few such label maps at most.
        dtypes: the kinds of dtype that it may have (see `numpy.dtype.kind`).
        expected: these in words.
        of_pixel: what the values of one pixel must be, in words.
        channels: whether there is an axis of classes; where not, there may be one of size 1.
        meanings: what its labels that stand for no channel mean.
    """

    labels: Callable[[NDArray[Any], int | None, float | None], NDArray[Any]]
    dtypes: str
    expected: str
    of_pixel: str
    channels: bool
    meanings: Mapping[int, str]


REPRESENTATIONS: Registry[Representation] = Registry("representation", (__name__,))


def stored_labels(
    values: NDArray[Any], class_axis: int | None, threshold: float | None = None
) -> NDArray[Any]:
    """Labels as they are, without a class axis of size 1.

    >>> stored_labels(np.array([[[3], [1]]]), class_axis=2)
    array([[3, 1]])
    """
    return values if class_axis is None else np.squeeze(values, class_axis)


def of_logits(
    values: NDArray[Any], class_axis: int | None, threshold: float | None = None
) -> NDArray[np.int32]:
    """The channel of the largest value, the lowest of equal ones; NaN in any channel is no label.

    >>> of_logits(np.array([[0.5, -np.inf], [0.5, np.nan]]), class_axis=0)
    array([ 0, -2], dtype=int32)
    """
    assert class_axis is not None
    return argmax_labels(values, class_axis)


def of_probabilities(
    values: NDArray[Any], class_axis: int | None, threshold: float | None = None
) -> NDArray[np.int32]:
    """As `of_logits`; a largest value that is no probability is no label.

    So logits that were declared to be probabilities are found out, at no cost. Sums over the classes are not
    looked at: float16, quantisation and sigmoids leave them off 1, and no label depends on them.

    >>> of_probabilities(np.array([[0.25, 3.5], [0.75, -1.0]]), class_axis=0)
    array([ 1, -3], dtype=int32)
    """
    assert class_axis is not None
    return argmax_labels(values, class_axis, probabilities=True)


def of_one_hot(
    values: NDArray[Any], class_axis: int | None, threshold: float | None = None
) -> NDArray[np.int32]:
    """The channel that is hot, which is any value but 0; none is no class, two are no label.

    >>> of_one_hot(np.array([[1, 0, 1], [0, 0, 1]]), class_axis=0)
    array([ 0, -1, -2], dtype=int32)
    """
    assert class_axis is not None
    channels = np.moveaxis(values, class_axis, 0)
    labels = np.full(channels.shape[1:], NO_CHANNEL, np.int32)
    several = np.zeros(labels.shape, np.bool_)
    for number, channel in enumerate(channels):
        hot = channel != 0
        several |= hot & (labels != NO_CHANNEL)
        np.copyto(labels, number, where=hot)
    labels[several] = TWO_HOT
    return labels


def of_scores(
    values: NDArray[Any], class_axis: int | None, threshold: float | None = None
) -> NDArray[np.int32]:
    """1 where a score reaches the threshold, else 0; NaN is no label.

    Scores are compared in their own dtype, to which the threshold is rounded: a float32 0.7 reaches 0.7.

    >>> of_scores(np.array([0.7, 0.6, np.nan], np.float32), None, 0.7)
    array([ 1,  0, -2], dtype=int32)
    """
    assert threshold is not None
    scores = stored_labels(values, class_axis)
    reached = scores >= (values.dtype.type(threshold) if values.dtype.kind == "f" else threshold)
    labels = reached.astype(np.int32)
    if scores.dtype.kind == "f":
        labels[np.isnan(scores)] = NOT_A_NUMBER
    return labels


FLOAT, WHOLE = "float16, float32 or float64", "an integer dtype or bool"
NAN = {NOT_A_NUMBER: "NaN in a channel"}

REPRESENTATIONS.register("labels")(
    Representation(stored_labels, "iub", WHOLE, "a label", channels=False, meanings={})
)
REPRESENTATIONS.register("logits")(
    Representation(of_logits, "f", FLOAT, "a number in every channel", channels=True, meanings=NAN)
)
REPRESENTATIONS.register("probabilities")(
    Representation(
        of_probabilities,
        "f",
        FLOAT,
        "a number in every channel, the largest of them from 0 to 1",
        channels=True,
        meanings={**NAN, NO_PROBABILITY: "a largest value outside of [0, 1]"},
    )
)
REPRESENTATIONS.register("one_hot")(
    Representation(
        of_one_hot,
        "iub",
        WHOLE,
        "one channel that is not 0, or none",
        channels=True,
        meanings={NO_CHANNEL: "no hot channel", TWO_HOT: "two or more hot channels"},
    )
)
REPRESENTATIONS.register("binary")(
    Representation(
        of_scores,
        "fiu",
        f"{FLOAT}, or integers",
        "a number",
        channels=False,
        meanings={NOT_A_NUMBER: "NaN for a score"},
    )
)


PartSeen = Callable[[Box, NDArray[Any], NDArray[Any], list[Box]], None]
"""Is told: where in the box that is read, stored values, the labels made of them, and where none were stored,
counted from the corner of the part."""


def open_labels(meta: ArrayMeta, storage: Storage, expected: Mapping[str, ObjectInfo | None]) -> LabelReader:
    """A reader of the label maps of an array, whatever they are stored as (see `open_reader`)."""
    reader = open_reader(meta, storage, expected)
    if meta.laid is not None:
        return LaidReader(reader, meta)
    plain = meta.representation == "labels" and meta.class_axis is None
    return reader if plain else RepresentedReader(reader, meta)


class RepresentedReader:
    """Label maps made of what another reader reads, in boxes without the axis of classes.

    It holds the label maps, and of the stored values `PART_BYTES`, or one chunk with all of its classes.
    """

    def __init__(self, reader: LabelReader, meta: ArrayMeta) -> None:
        self._reader, self._meta = reader, meta

    def read(self, box: Box, seen: PartSeen | None = None) -> NDArray[Any]:
        """The label map of a box; int32, or the dtype of stored labels.

        `seen` is told each part while its stored values are in memory, so that nothing is read twice.

        Raises:
            DamagedChunkError: stored chunks of the box cannot be read; all of them are named.
            InputChangedError: an object is not what the inventory saw.
        """
        labels: NDArray[Any] | None = None
        problems: list[Problem] = []
        regions: list[Box] = []
        for part in parts_of(box, self._meta.label_units, part_pixels(self._meta)):
            try:
                made = self._made(part, relative(part, box), seen)
            except DamagedChunkError as error:
                problems += error.problems
                regions += [relative(_shifted(self._projected(each), part), box) for each in error.regions]
                continue
            if labels is None:
                labels = np.empty(shape_of(box), made.dtype)
            labels[relative(part, box)] = made
        if problems:
            raise DamagedChunkError(problems, regions)
        return self._made(box, relative(box, box), seen) if labels is None else labels

    def absent(self, box: Box) -> list[Box]:
        """The parts of a box of which the chunk of some class was never stored."""
        boxes = map(self._projected, self._reader.absent(self._meta.stored_box(box)))
        return [tuple(slice(*span) for span in spans) for spans in dict.fromkeys(map(_spans, boxes))]

    def _made(self, part: Box, place: Box, seen: PartSeen | None) -> NDArray[Any]:
        stored = self._reader.read(self._meta.stored_box(part))
        labels = labels_of(stored, self._meta)
        if seen is not None and labels.size:
            seen(place, stored, labels, self.absent(part))
        return labels

    def _projected(self, box: Box) -> Box:
        """A box without its axis of classes."""
        return tuple(part for axis, part in enumerate(box) if axis != self._meta.class_axis)


class LaidReader:
    """What another reader reads, laid over label maps by the names of its dimensions, in boxes of these.

    What it gives is as large as the box asked for, but takes memory for what is stored only.
    """

    def __init__(self, reader: LabelReader, meta: ArrayMeta) -> None:
        assert meta.laid is not None
        self._reader, self._meta, self._laid = reader, meta, meta.laid

    def read(self, box: Box) -> NDArray[Any]:
        """The values over a box; a view that repeats them along the dimensions that the array does not have.

        Raises:
            DamagedChunkError: stored chunks of the box cannot be read; all of them are named.
            InputChangedError: an object is not what the inventory saw.
        """
        try:
            values = self._reader.read(self._meta.stored_box(box))
        except DamagedChunkError as error:
            raise DamagedChunkError(error.problems, [self._over(one, box) for one in error.regions]) from None
        values = values.transpose([axis for axis in self._laid if axis >= 0])
        missing = [dim for dim, axis in enumerate(self._laid) if axis < 0]
        return np.broadcast_to(np.expand_dims(values, missing), shape_of(box))

    def absent(self, box: Box) -> list[Box]:
        """The parts of a box over which nothing was ever stored."""
        return [self._over(part, box) for part in self._reader.absent(self._meta.stored_box(box))]

    def _over(self, part: Box, box: Box) -> Box:
        """What part of a box a part of what is stored lies over, from the corner of the box."""
        whole = relative(box, box)
        return tuple(whole[dim] if axis < 0 else part[axis] for dim, axis in enumerate(self._laid))


def labels_of(values: NDArray[Any], meta: ArrayMeta) -> NDArray[Any]:
    """The label map that some values of an array stand for, without the axis of classes."""
    return REPRESENTATIONS[meta.representation].labels(values, meta.class_axis, meta.threshold)


def _spans(box: Box) -> tuple[tuple[int, int], ...]:
    return tuple((part.start, part.stop) for part in box)


def _shifted(region: Box, part: Box) -> Box:
    """A region that is counted from the corner of a part, counted from the corner of the array."""
    return tuple(
        slice(inside.start + whole.start, inside.stop + whole.start)
        for inside, whole in zip(region, part, strict=True)
    )


def stored_bytes(meta: ArrayMeta) -> int:
    """Bytes of all stored values of one pixel, decoded."""
    return meta.dtype.itemsize * (1 if meta.class_axis is None else meta.shape[meta.class_axis])


def label_bytes(meta: ArrayMeta) -> int:
    """Bytes of one pixel of the label maps that are made of an array."""
    return meta.dtype.itemsize if meta.representation == "labels" else np.dtype(np.int32).itemsize


def part_pixels(meta: ArrayMeta) -> int:
    """Pixels of which label maps are made at a time, unless a chunk has more."""
    return PART_BYTES // (stored_bytes(meta) + MADE_BYTES) + 1


def part_bytes(meta: ArrayMeta) -> int:
    """Bytes that are held while label maps are made: nothing where labels are stored as they are."""
    if meta.representation == "labels" and meta.class_axis is None:
        return 0
    pixels = max(part_pixels(meta), prod(meta.label_units))
    return pixels * (stored_bytes(meta) + MADE_BYTES)


def parts_of(box: Box, units: tuple[int, ...], most_pixels: int) -> Iterator[Box]:
    """A box, cut where chunks of these sizes begin into parts of so many pixels, or of one chunk.

    >>> list(parts_of((slice(1, 4), slice(0, 6)), (2, 3), 6))[-1]
    (slice(2, 4, None), slice(3, 6, None))
    """
    yield from _cut(box, units, most_pixels, 0)


def _cut(box: Box, units: tuple[int, ...], most_pixels: int, axis: int) -> Iterator[Box]:
    if axis == len(box) or 0 < prod(shape_of(box)) <= most_pixels:
        yield box
        return
    beside = prod(shape_of(box)) // max(1, shape_of(box)[axis])
    length = units[axis] * max(1, most_pixels // max(1, units[axis] * beside))
    start = box[axis].start
    while start < box[axis].stop:
        stop = min(box[axis].stop, (start // length + 1) * length)
        yield from _cut((*box[:axis], slice(start, stop), *box[axis + 1 :]), units, most_pixels, axis + 1)
        start = stop


def fill_label(meta: ArrayMeta) -> int:
    """The label of a pixel that was never stored."""
    shape = [size if axis == meta.class_axis else 1 for axis, size in enumerate(meta.shape)]
    return int(labels_of(np.full(shape, meta.fill_value or 0, meta.dtype), meta).flat[0])


def meaning(label: int, representation: str) -> str:
    """What a label says: what is wrong with the pixel, or which label it has.

    >>> meaning(-2, "one_hot"), meaning(7, "one_hot"), meaning(7, "labels")
    ('two or more hot channels', 'channel 7', 'label 7')
    """
    kind = REPRESENTATIONS[representation]
    return kind.meanings.get(label) or f"{'channel' if kind.channels else 'label'} {label}"


def expected_channels(meta: ArrayMeta, rules: LabelRules) -> str:
    """The channels that the rules name, in words; empty if they are those of the array.

    >>> shape, stored_as = (4, 9, 9), (0, "logits")
    >>> meta = ArrayMeta("a", 3, shape, np.dtype("f4"), shape, None, 0, None, {}, {}, True, *stored_as)
    >>> expected_channels(meta, LabelRules.of(3))
    '3, one for each class'
    """
    if not REPRESENTATIONS[meta.representation].channels or meta.class_axis is None:
        return ""
    count = meta.shape[meta.class_axis]
    classes = {value for value, code in rules.codes.items() if code < rules.num_classes}
    # What metadata claim may be any number: it is not enumerated before it was compared.
    if count <= len(rules.codes) and classes <= set(range(count)) <= rules.codes.keys():
        return ""
    if classes == set(range(rules.num_classes)):
        return f"{rules.num_classes}, one for each class"
    return f"those of the remap, {', '.join(map(str, sorted(classes)[:20]))}"
