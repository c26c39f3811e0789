"""Metrics of all classes together: every pixel counts once, so big classes weigh most."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import FloatArray, metric, ratio
from segpipe.metrics.sums import row_sums

NO_PIXEL = "NaN where no pixel counts"
LONG = "Long et al. 2015, doi:10.1109/CVPR.2015.7298965"
MICRO = "Manning et al. 2008, Introduction to Information Retrieval, 13.6"


@metric(
    title="Pixel accuracy",
    formula="sum tp / n",
    per_class=False,
    nothing=NO_PIXEL,
    source=LONG,
    main=True,
    by_image=True,
)
def pixel_accuracy(areas: ClassAreas) -> FloatArray:
    """The share of the valid truth pixels that is right, sum tp / n, shape (...,). Range 0 to 1, best 1.

    NaN where no pixel counts. `exclude_classes` does not change it: that leaves classes out of means
    over classes, and this is a mean over pixels. Also called overall accuracy, micro recall and
    frequency-weighted recall.

    >>> pixel_accuracy(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4]))
    array(0.375)
    """
    return ratio(areas.hit.sum(axis=-1), areas.valid)


@metric(
    title="Micro IoU",
    formula="sum tp / sum u",
    per_class=False,
    nothing="NaN where no class occurs",
    source=MICRO,
    main=True,
)
def micro_iou(areas: ClassAreas) -> FloatArray:
    """All intersections over all unions, sum tp / sum u, shape (...,). Range 0 to 1, best 1.

    NaN where no class occurs. `exclude_classes` does not change it. A wrong pixel is in two unions,
    so it is never above pixel accuracy.

    >>> micro_iou(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4]))
    array(0.25)
    """
    hits = areas.hit.sum(axis=-1)
    # In float64, for a wrong pixel is in two unions, and fixed-point weights may fill int64 already.
    return ratio(hits, np.add(areas.valid, areas.pred.sum(axis=-1) - hits, dtype=np.float64))


@metric(
    title="Micro Dice",
    formula="2 sum tp / sum (t + p)",
    per_class=False,
    nothing="NaN where no class occurs",
    source=MICRO,
)
def micro_dice(areas: ClassAreas) -> FloatArray:
    """All agreement over all sizes, 2 sum tp / sum (t + p), shape (...,). Range 0 to 1, best 1.

    NaN where no class occurs. `exclude_classes` does not change it. Without void and invalid predictions
    it is pixel accuracy.

    >>> micro_dice(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4]))
    array(0.4)
    """
    sizes = np.add(areas.valid, areas.pred.sum(axis=-1), dtype=np.float64)
    return ratio(2.0 * areas.hit.sum(axis=-1), sizes)


@metric(
    title="Micro precision",
    formula="sum tp / sum p",
    per_class=False,
    nothing="NaN where no class was predicted",
    source=MICRO,
)
def micro_precision(areas: ClassAreas) -> FloatArray:
    """The share of predicted pixels that is right, sum tp / sum p, shape (...,). Range 0 to 1, best 1.

    NaN where no class was predicted. `exclude_classes` does not change it. Without
    void and invalid predictions it is pixel accuracy.

    >>> micro_precision(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 2]))
    array(0.6)
    """
    return ratio(areas.hit.sum(axis=-1), areas.pred.sum(axis=-1))


@metric(
    title="Frequency-weighted IoU",
    formula="sum t iou / sum t",
    per_class=False,
    nothing=NO_PIXEL,
    source=LONG,
    main=True,
)
def fw_iou(areas: ClassAreas) -> FloatArray:
    """IoU weighted by the truth areas, sum t iou / sum t, shape (...,). Range 0 to 1, best 1.

    NaN where no pixel counts; a class that is not in truth has no weight. `exclude_classes` does not
    change it. Long et al. 2015, doi:10.1109/CVPR.2015.7298965.

    >>> fw_iou(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4]))
    array(0.25)
    >>> fw_iou(ClassAreas(hit=[2, 1], truth=[2, 2], pred=[2, 1]))
    array(0.75)
    """
    return _weighted(areas, areas.union - areas.hit, areas.union)


@metric(
    title="Frequency-weighted Dice",
    formula="sum t dice / sum t",
    per_class=False,
    nothing=NO_PIXEL,
    source="scikit-learn, f1_score(average='weighted')",
)
def fw_dice(areas: ClassAreas) -> FloatArray:
    """Dice weighted by the truth areas, sum t dice / sum t, shape (...,). Range 0 to 1, best 1.

    NaN where no pixel counts; a class that is not in truth has no weight. `exclude_classes` does not
    change it.

    >>> fw_dice(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4]))
    array(0.4)
    """
    wrong = np.add(areas.truth - areas.hit, areas.pred - areas.hit, dtype=np.float64)
    return _weighted(areas, wrong, np.add(areas.truth, areas.pred, dtype=np.float64))


@metric(
    title="Frequency-weighted precision",
    formula="sum t precision / sum t",
    per_class=False,
    nothing=NO_PIXEL,
    source="scikit-learn, precision_score(average='weighted')",
)
def fw_precision(areas: ClassAreas) -> FloatArray:
    """Precision weighted by the truth areas, sum t precision / sum t, shape (...,). Range 0 to 1, best 1.

    NaN where no pixel counts; a class that is in truth and was never predicted has precision 0, one that
    is not in truth has no weight. `exclude_classes` does not change it.

    >>> fw_precision(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4]))
    array(0.45833333)
    """
    never = areas.pred == 0
    return _weighted(areas, np.where(never, 1, areas.pred - areas.hit), np.where(never, 1, areas.pred))


def _weighted(areas: ClassAreas, lost: ArrayLike, whole: ArrayLike) -> FloatArray:
    """One minus the mean of lost / whole over pixels: perfect is exactly 1, even where areas pass 2^53."""
    losses = row_sums(areas.truth.astype(np.float64) * np.nan_to_num(ratio(lost, whole)))
    return np.asarray(np.maximum(1.0 - ratio(losses, areas.valid), 0.0))
