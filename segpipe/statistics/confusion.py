"""The statistic under almost everything: the extended confusion matrix of every image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.confusion import count_confusion
from segpipe.kernels.positions import InvalidValue, InvalidValues, find_invalid

INVALID_SHOWN = 8
"""Distinct invalid values that are kept of each image and side, each with its first position."""

Region = tuple[int, tuple[slice, ...]]
"""A box of pixels that no stored chunk covers: image, and one slice along each axis of pixels."""


@dataclass(frozen=True)
class LabelMaps:
    """The label maps of some images of one side, as they lie in the store.

    Attributes:
        values: (image, y, x) or (image, z, y, x), any integer dtype; absent chunks hold the fill value. None:
            there are no label maps, every pixel is void.
        absent: the boxes that no stored chunk covers.
    """

    values: NDArray[Any] | None
    absent: Sequence[Region] = ()


@dataclass(frozen=True)
class ImageCounts:
    """What was counted of some images.

    Attributes:
        cells: one extended matrix per image, absent chunks taken for their fill value.
        absent_truth, absent_pred, absent_both: the part of `cells` that comes from pixels whose chunk is
            absent on one side only or on both, so that every rule for them can be applied afterwards.
        invalid: the first invalid values of each image that has some, with the number of the image.
    """

    cells: ConfusionCells
    absent_truth: ConfusionCells
    absent_pred: ConfusionCells
    absent_both: ConfusionCells
    invalid: tuple[tuple[int, InvalidValues], ...] = ()

    def __len__(self) -> int:
        return len(self.cells)

    def take(self, images: Sequence[int]) -> ImageCounts:
        """The counts of some images, in the order given, each once."""
        place = {image: at for at, image in enumerate(images)}
        named = {place[image]: values for image, values in self.invalid if image in place}
        return ImageCounts(
            cells=self.cells.take(images),
            absent_truth=self.absent_truth.take(images),
            absent_pred=self.absent_pred.take(images),
            absent_both=self.absent_both.take(images),
            invalid=tuple(sorted(named.items(), key=lambda pair: pair[0])),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[ImageCounts]) -> ImageCounts:
        """The images of several parts, one after the other; at least one part."""
        starts = np.cumsum([0, *map(len, parts)])
        return cls(
            cells=ConfusionCells.concatenate([part.cells for part in parts]),
            absent_truth=ConfusionCells.concatenate([part.absent_truth for part in parts]),
            absent_pred=ConfusionCells.concatenate([part.absent_pred for part in parts]),
            absent_both=ConfusionCells.concatenate([part.absent_both for part in parts]),
            invalid=tuple(
                (int(start) + image, values)
                for start, part in zip(starts, parts, strict=False)
                for image, values in part.invalid
            ),
        )


def count_images(
    truth: LabelMaps,
    pred: LabelMaps,
    truth_rules: LabelRules,
    pred_rules: LabelRules,
    valid: NDArray[np.bool_] | None = None,
) -> ImageCounts:
    """Count the pixels of some images by the codes of truth and prediction.

    Args:
        truth: label maps (image, y, x).
        pred: label maps of the same shape, or none at all.
        truth_rules, pred_rules: raw value -> code.
        valid: the shape of truth. A pixel that is not valid is *ignored*, whatever the two label maps hold
            there; of pred what is invalid is void there. None: all pixels are valid.

    Returns:
        Counts whose cells sum to the pixels of each image.
    """
    assert truth.values is not None
    values = truth.values
    if pred.values is None:
        pred = LabelMaps(np.broadcast_to(np.zeros(1, np.uint8), values.shape))
        pred_rules = LabelRules(pred_rules.num_classes, {0: pred_rules.no_class})
    assert pred.values is not None
    rules = truth_rules, pred_rules
    cells = _count(values, pred.values, valid, *rules)
    counts = _absent_parts(truth, pred, valid, *rules)
    return replace(counts, cells=cells, invalid=_invalid(values, pred.values, valid, cells, *rules))


def _count(
    truth: NDArray[Any],
    pred: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    truth_rules: LabelRules,
    pred_rules: LabelRules,
) -> ConfusionCells:
    """Count all pixels, then move those that are not valid: neither label map is changed."""
    cells = count_confusion(truth, pred, truth_rules, pred_rules)
    if valid is None or valid.all():
        return cells
    parts = []
    for image, kept in enumerate(valid):
        pair = truth[image][~kept][np.newaxis], pred[image][~kept][np.newaxis]
        parts.append(count_confusion(*pair, truth_rules, pred_rules))
    out = ConfusionCells.concatenate(parts)
    ignored = np.full_like(out.truth_codes, truth_rules.no_class)
    labels = np.where(out.pred_codes == pred_rules.invalid, pred_rules.no_class, out.pred_codes)
    return cells.moved(out, ignored, labels)


def _absent_parts(
    truth: LabelMaps,
    pred: LabelMaps,
    valid: NDArray[np.bool_] | None,
    truth_rules: LabelRules,
    pred_rules: LabelRules,
) -> ImageCounts:
    assert truth.values is not None
    assert pred.values is not None
    images = len(truth.values)
    none = ConfusionCells.empty(truth_rules.num_classes, images)
    if not truth.absent and not pred.absent:
        return ImageCounts(none, none, none, none)
    parts: list[list[ConfusionCells]] = [[], [], []]
    for image in range(images):
        without_truth = _mask(truth.absent, image, truth.values.shape[1:])
        without_pred = _mask(pred.absent, image, truth.values.shape[1:])
        masks = (without_truth & ~without_pred, without_pred & ~without_truth, without_truth & without_pred)
        for part, mask in zip(parts, masks, strict=True):
            pair = truth.values[image][mask][np.newaxis], pred.values[image][mask][np.newaxis]
            of_these = None if valid is None else valid[image][mask][np.newaxis]
            part.append(_count(*pair, of_these, truth_rules, pred_rules))
    only_truth, only_pred, both = (ConfusionCells.concatenate(part) for part in parts)
    return ImageCounts(none, only_truth, only_pred, both)


def _mask(regions: Iterable[Region], image: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.bool_)
    for number, box in regions:
        if number == image:
            mask[box] = True
    return mask


def _invalid(
    truth: NDArray[Any],
    pred: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    cells: ConfusionCells,
    truth_rules: LabelRules,
    pred_rules: LabelRules,
) -> tuple[tuple[int, InvalidValues], ...]:
    rules = truth_rules, pred_rules
    bad = (cells.truth_codes == truth_rules.invalid) | (cells.pred_codes == pred_rules.invalid)
    return tuple(
        (image, _invalid_of(truth[image], pred[image], valid if valid is None else valid[image], rules))
        for image in np.unique(cells.image_of_cell[bad]).tolist()
    )


def _invalid_of(
    truth: NDArray[Any],
    pred: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    rules: tuple[LabelRules, LabelRules],
) -> InvalidValues:
    """The invalid values of one image among its valid pixels."""
    if valid is None:
        return find_invalid(truth, pred, *rules, INVALID_SHOWN)
    found = find_invalid(truth[valid], pred[valid], *rules, INVALID_SHOWN)
    places = np.flatnonzero(valid)

    def placed(value: InvalidValue) -> InvalidValue:
        position = np.unravel_index(places[value.position[0]], valid.shape)
        return replace(value, position=tuple(map(int, position)))

    return InvalidValues(tuple(map(placed, found.truth)), tuple(map(placed, found.pred)))
