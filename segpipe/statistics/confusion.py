"""The statistic under almost everything: the extended confusion matrix of every image, weighted if asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segpipe.classes import LabelRules
from segpipe.kernels.cells import ConfusionCells
from segpipe.kernels.confusion import count_confusion
from segpipe.kernels.positions import InvalidValue, InvalidValues, find_invalid
from segpipe.kernels.weighted import WrongWeights, weigh_confusion, weight_units

T = TypeVar("T")

SideRules = tuple[LabelRules, LabelRules]
"""Raw value -> code of truth and of the prediction."""

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

    def inside(self, core: tuple[slice, ...]) -> LabelMaps:
        """A box of each image, of which `core` has start and stop along each axis of pixels."""
        if self.values is None:
            return self
        absent = [(image, tuple(map(_clipped, box, core))) for image, box in self.absent]
        return LabelMaps(self.values[(slice(None), *core)], absent)


def _clipped(part: slice, whole: slice) -> slice:
    """What of a part lies within a whole, counted from the beginning of that; empty if nothing does."""
    length = whole.stop - whole.start
    first, last = (min(max(end - whole.start, 0), length) for end in (part.start, part.stop))
    return slice(first, last)


@dataclass(frozen=True)
class ImageCounts:
    """What was counted of some images.

    Attributes:
        cells: one extended matrix per image, absent chunks taken for their fill value.
        absent_truth, absent_pred, absent_both: the part of `cells` that comes from pixels whose chunk is
            absent on one side only or on both, so that every rule for them can be applied afterwards.
        invalid: the first invalid values of each image that has some, with the number of the image.
        weighted: the same matrices with each pixel times its weight, in units of 2^-30
            (`segpipe.kernels.weighted`); None: pixels have no weights.
        wrong_weights: what is wrong with the weights of images, with the number of the image; a pixel of a
            wrong weight is counted as one of weight 0.
    """

    cells: ConfusionCells
    absent_truth: ConfusionCells
    absent_pred: ConfusionCells
    absent_both: ConfusionCells
    invalid: tuple[tuple[int, InvalidValues], ...] = ()
    weighted: ImageCounts | None = None
    wrong_weights: tuple[tuple[int, WrongWeights], ...] = ()

    def __len__(self) -> int:
        return len(self.cells)

    @classmethod
    def of(cls, matrices: Iterable[ConfusionCells]) -> ImageCounts:
        """From the four matrices, in the order of `MATRICES`."""
        cells, absent_truth, absent_pred, absent_both = matrices
        return cls(cells, absent_truth, absent_pred, absent_both)

    def take(self, images: Sequence[int]) -> ImageCounts:
        """The counts of some images, in the order given, each once."""
        place = {image: at for at, image in enumerate(images)}
        return replace(
            ImageCounts.of(getattr(self, name).take(images) for name in MATRICES),
            invalid=_renumbered(self.invalid, place),
            weighted=None if self.weighted is None else self.weighted.take(images),
            wrong_weights=_renumbered(self.wrong_weights, place),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[ImageCounts]) -> ImageCounts:
        """The images of several parts, one after the other; at least one part, weighted all or none."""
        starts = np.cumsum([0, *map(len, parts)])[:-1].tolist()
        weighted = [part.weighted for part in parts if part.weighted is not None]
        return replace(
            cls.of(ConfusionCells.concatenate([getattr(part, name) for part in parts]) for name in MATRICES),
            invalid=_joined(starts, [part.invalid for part in parts]),
            weighted=cls.concatenate(weighted) if weighted else None,
            wrong_weights=_joined(starts, [part.wrong_weights for part in parts]),
        )


MATRICES = ("cells", "absent_truth", "absent_pred", "absent_both")
"""The matrices of `ImageCounts`, in the order of its fields."""


def _renumbered(named: Sequence[tuple[int, T]], place: dict[int, int]) -> tuple[tuple[int, T], ...]:
    """What is said of images, of those that have a place."""
    there = [(place[image], said) for image, said in named if image in place]
    return tuple(sorted(there, key=lambda pair: pair[0]))


def _joined(starts: Sequence[int], parts: Sequence[Sequence[tuple[int, T]]]) -> tuple[tuple[int, T], ...]:
    """What is said of the images of several parts, which begin at these numbers."""
    return tuple(
        (start + image, said) for start, part in zip(starts, parts, strict=True) for image, said in part
    )


def count_images(
    truth: LabelMaps,
    pred: LabelMaps,
    truth_rules: LabelRules,
    pred_rules: LabelRules,
    valid: NDArray[np.bool_] | None = None,
    weights: NDArray[Any] | None = None,
) -> ImageCounts:
    """Count the pixels of some images by the codes of truth and prediction.

    Args:
        truth: label maps (image, y, x).
        pred: label maps of the same shape, or none at all.
        truth_rules, pred_rules: raw value -> code.
        valid: the shape of truth. A pixel that is not valid is *ignored*, whatever the two label maps hold
            there; of pred what is invalid is void there. None: all pixels are valid.
        weights: real numbers, the shape of truth. A pixel is counted as one and, apart, as its weight; one of
            weight 0 is not valid. None: there are none, and nothing is counted apart.

    Returns:
        Counts whose cells sum to the pixels of each image.
    """
    assert truth.values is not None
    if pred.values is None:
        pred = LabelMaps(np.broadcast_to(np.zeros(1, np.uint8), truth.values.shape))
        pred_rules = LabelRules(pred_rules.num_classes, {0: pred_rules.no_class})
    assert pred.values is not None
    rules = truth_rules, pred_rules
    units, wrong = (None, ()) if weights is None else weight_units(weights)
    if units is not None:
        valid = units > 0 if valid is None else valid & (units > 0)
    pixels = _Pixels(truth.values, pred.values, valid, units)
    counts = _counted_by(_count, truth, pred, pixels, rules)
    return replace(
        counts,
        invalid=_invalid(pixels, counts.cells, rules),
        weighted=None if units is None else _counted_by(_weigh, truth, pred, pixels, rules),
        wrong_weights=wrong,
    )


@dataclass(frozen=True)
class _Pixels:
    """Pixels of some images, (image, ...): raw labels, which are valid (None: all), weights (None: none)."""

    truth: NDArray[Any]
    pred: NDArray[Any]
    valid: NDArray[np.bool_] | None
    units: NDArray[np.int64] | None

    def under(self, image: int, mask: NDArray[np.bool_]) -> _Pixels:
        """Those of one image that lie under a mask."""
        valid, units = (None if one is None else one[image][mask][None] for one in (self.valid, self.units))
        return _Pixels(self.truth[image][mask][None], self.pred[image][mask][None], valid, units)


def _count(pixels: _Pixels, rules: SideRules) -> ConfusionCells:
    """Count all pixels, then move those that are not valid: neither label map is changed."""
    truth, pred, valid = pixels.truth, pixels.pred, pixels.valid
    cells = count_confusion(truth, pred, *rules)
    if valid is None or valid.all():
        return cells
    parts = []
    for image, kept in enumerate(valid):
        pair = truth[image][~kept][np.newaxis], pred[image][~kept][np.newaxis]
        parts.append(count_confusion(*pair, *rules))
    out = ConfusionCells.concatenate(parts)
    ignored = np.full_like(out.truth_codes, rules[0].no_class)
    labels = np.where(out.pred_codes == rules[1].invalid, rules[1].no_class, out.pred_codes)
    return cells.moved(out, ignored, labels)


def _weigh(pixels: _Pixels, rules: SideRules) -> ConfusionCells:
    """Sum the weights of all pixels, each in the cell in which `_count` counts it."""
    assert pixels.units is not None
    return weigh_confusion(pixels.truth, pixels.pred, pixels.units, pixels.valid, *rules)


def _counted_by(
    count: Callable[[_Pixels, SideRules], ConfusionCells],
    truth: LabelMaps,
    pred: LabelMaps,
    pixels: _Pixels,
    rules: SideRules,
) -> ImageCounts:
    """All pixels, and apart those of absent chunks."""
    images, shape = len(pixels.truth), pixels.truth.shape[1:]
    none = ConfusionCells.empty(rules[0].num_classes, images)
    if not truth.absent and not pred.absent:
        return ImageCounts(count(pixels, rules), none, none, none)
    parts: list[list[ConfusionCells]] = [[], [], []]
    for image in range(images):
        without_truth, without_pred = (_mask(side.absent, image, shape) for side in (truth, pred))
        masks = (without_truth & ~without_pred, without_pred & ~without_truth, without_truth & without_pred)
        for part, mask in zip(parts, masks, strict=True):
            part.append(count(pixels.under(image, mask), rules))
    return ImageCounts.of([count(pixels, rules), *map(ConfusionCells.concatenate, parts)])


def _mask(regions: Iterable[Region], image: int, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    mask = np.zeros(shape, np.bool_)
    for number, box in regions:
        if number == image:
            mask[box] = True
    return mask


def _invalid(
    pixels: _Pixels, cells: ConfusionCells, rules: SideRules
) -> tuple[tuple[int, InvalidValues], ...]:
    bad = (cells.truth_codes == rules[0].invalid) | (cells.pred_codes == rules[1].invalid)
    truth, pred, valid = pixels.truth, pixels.pred, pixels.valid
    return tuple(
        (image, _invalid_of(truth[image], pred[image], valid if valid is None else valid[image], rules))
        for image in np.unique(cells.image_of_cell[bad]).tolist()
    )


def _invalid_of(
    truth: NDArray[Any],
    pred: NDArray[Any],
    valid: NDArray[np.bool_] | None,
    rules: SideRules,
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
