"""Count statistics over windows of label maps: as codes, and a bounded number of pixels at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.kernels.codes import codes_of
from segpipe.statistics.base import Counts, Pixels, Statistic, joined
from segpipe.statistics.confusion import LabelMaps

Codes = NDArray[np.uint16]
Box = tuple[slice, ...]

BATCH_PX = 1 << 20
"""Pixels that statistics of labels are given at a time, unless an image has more."""

VOID_PX = 1 << 16
"""Pixels without a prediction that statistics of scores are given at a time."""

CODE_BYTES = 20
"""Of a pixel: the codes of up to three label maps, and what is held while they are made."""


def codes(maps: LabelMaps, rules: LabelRules, shape: tuple[int, ...], *, absent_is_fill: bool) -> Codes:
    """The codes of label maps (image, *space); what was never stored is its fill value, or no class."""
    if maps.values is None:
        return np.full(shape, rules.no_class, np.uint16)
    made = np.empty(shape, np.uint16)
    for image, labels in enumerate(maps.values):
        made[image] = codes_of(labels, rules)
    for image, box in () if absent_is_fill else maps.absent:
        made[image][box] = rules.no_class
    return made


def mask(truth: Codes, pred: Codes, valid: NDArray[np.bool_], num_classes: int) -> None:
    """Take pixels that are not valid for ignored, as the confusion matrix does, in place."""
    truth[~valid] = num_classes
    pred[~valid & (pred > num_classes)] = num_classes


@dataclass(frozen=True)
class Reading:
    """What label values of a bucket mean.

    Attributes:
        truth, pred: rules of the two sides.
        other: rules of a second prediction.
        filled: which of `truth`, `pred` and `other_pred` have absent chunks that are their fill value.
    """

    truth: LabelRules
    pred: LabelRules
    other: LabelRules | None
    filled: frozenset[str]


@dataclass(frozen=True)
class LabelWindow:
    """Label maps of some images in memory, (image, *space).

    `core` are the pixels to be counted; what lies around them is the halo of the images.
    """

    truth: LabelMaps
    pred: LabelMaps
    other: LabelMaps | None
    valid: NDArray[np.bool_] | None
    core: Box

    @property
    def shape(self) -> tuple[int, ...]:
        """(image, *space)."""
        assert self.truth.values is not None
        return self.truth.values.shape

    def take(self, images: slice) -> LabelWindow:
        """Some of the images."""
        other = None if self.other is None else _take(self.other, images)
        valid = None if self.valid is None else self.valid[images]
        return LabelWindow(_take(self.truth, images), _take(self.pred, images), other, valid, self.core)


def _take(maps: LabelMaps, images: slice) -> LabelMaps:
    if maps.values is None:
        return maps
    absent = [(at - images.start, box) for at, box in maps.absent if images.start <= at < images.stop]
    return LabelMaps(maps.values[images], absent)


def count_labels(statistics: Sequence[Statistic], window: LabelWindow, reading: Reading) -> dict[str, Counts]:
    """Count statistics of labels over a window, some whole images at a time: full name -> counts."""
    images, pixels = window.shape[0], int(np.prod(window.shape[1:]))
    length = max(1, BATCH_PX // max(1, pixels))
    parts: dict[str, list[Counts]] = {one.full_name: [] for one in statistics}
    for start in range(0, images, length) if statistics else ():
        halo = _pixels(window.take(slice(start, min(start + length, images))), reading)
        core = _core(halo)
        for one in statistics:
            parts[one.full_name].append(one.count(halo if one.scope == "halo" else core))
    return {name: joined(counts) for name, counts in parts.items()}


def _pixels(window: LabelWindow, reading: Reading) -> Pixels:
    made = {
        name: codes(maps, rules, window.shape, absent_is_fill=name in reading.filled)
        for name, maps, rules in (
            ("truth", window.truth, reading.truth),
            ("pred", window.pred, reading.pred),
            ("other_pred", window.other, reading.other),
        )
        if maps is not None and rules is not None
    }
    classes = reading.truth.num_classes
    if window.valid is not None:
        mask(made["truth"], made["pred"], window.valid, classes)
    return Pixels(classes, made["truth"], made["pred"], other=made.get("other_pred"), core=window.core)


def _core(pixels: Pixels) -> Pixels:
    """The pixels without their halo."""
    inside = (slice(None), *pixels.core)
    truth = pixels.truth[inside]
    return Pixels(
        pixels.num_classes,
        truth,
        pixels.pred[inside],
        other=None if pixels.other is None else pixels.other[inside],
        core=whole(truth.shape[1:]),
    )


def whole(space: tuple[int, ...]) -> Box:
    """All pixels of an image.

    >>> whole((2, 3))
    (slice(0, 2, None), slice(0, 3, None))
    """
    return tuple(slice(0, length) for length in space)


def ignore_around(truth: Codes, core: Box, no_class: int) -> None:
    """Take the halo of images for ignored, in place: what is counted by the pixel has no part in it."""
    inside = truth[(slice(None), *core)].copy()
    truth[...] = no_class
    truth[(slice(None), *core)] = inside


class ScoreCounts:
    """Counts statistics of scores while these are read, part by part, and keeps none of them.

    Args:
        statistics: of scope `pixel`, that need scores.
        truth: codes of the window's images, (image, *space).
        valid: the same shape; None: all pixels are valid.
        reading: what labels mean.
        representation: what the scores are.
    """

    def __init__(
        self,
        statistics: Sequence[Statistic],
        truth: Codes,
        valid: NDArray[np.bool_] | None,
        reading: Reading,
        representation: str,
    ) -> None:
        self._statistics, self._truth, self._valid = statistics, truth, valid
        self._reading, self._representation = reading, representation
        self._channels = _channel_order(reading.pred)
        self.counts: dict[str, Counts] = {}
        for one in statistics:
            self.counts[one.full_name] = {
                field.name: np.zeros((len(truth), *field.shape), np.int64)
                for field in one.fields(reading.truth.num_classes)
            }

    def add(self, images: Sequence[int], box: Box, scores: NDArray[Any], labels: LabelMaps) -> None:
        """Count a part.

        Args:
            images: which images of the window the part lies in.
            box: where in each of them.
            scores: (image, channel, *part of space), as stored.
            labels: the label maps that were made of them.
        """
        rules, filled = self._reading.pred, "pred" in self._reading.filled
        inside = (slice(None), *box)
        truth = self._truth[inside][list(images)]
        pred = codes(labels, rules, truth.shape, absent_is_fill=filled)
        if self._valid is not None:
            mask(truth, pred, self._valid[inside][list(images)], rules.num_classes)
        if self._representation != "binary" and self._channels != list(range(len(self._channels))):
            scores = scores[:, self._channels]
        space = whole(truth.shape[1:])
        pixels = Pixels(rules.num_classes, truth, pred, scores, self._representation, core=space)
        for one in self._statistics:
            for name, values in one.count(pixels).items():
                np.add.at(self.counts[one.full_name][name], list(images), values)

    def nothing_predicted(self) -> None:
        """Count images without a prediction: every pixel is void, and has no scores."""
        classes = self._reading.truth.num_classes
        channels = 1 if self._representation == "binary" else classes
        first, *rest = self._truth.shape[1:]
        rows = max(1, VOID_PX // max(1, int(np.prod(rest))))
        for image in range(len(self._truth)):
            for start in range(0, first, rows):
                box = slice(start, min(start + rows, first)), *whole(tuple(rest))
                shape = (1, channels, box[0].stop - start, *rest)
                self.add([image], box, np.broadcast_to(np.zeros(1, np.float32), shape), LabelMaps(None))


def _channel_order(rules: LabelRules) -> list[int]:
    """The channel of each class."""
    channels = {code: value for value, code in sorted(rules.codes.items(), reverse=True) if value >= 0}
    return [channels[class_id] for class_id in range(rules.num_classes)]
