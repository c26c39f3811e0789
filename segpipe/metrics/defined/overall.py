"""Metrics of all classes together: every pixel counts once, so big classes weigh most."""

from __future__ import annotations

import numpy as np

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import FloatArray, metric, ratio
from segpipe.metrics.sums import row_sums


@metric(title="Pixel accuracy", formula="sum tp / n", per_class=False)
def pixel_accuracy(areas: ClassAreas) -> FloatArray:
    """The share of the valid truth pixels that is right, sum tp / n, shape (...,). Range 0 to 1, best 1.

    NaN where no pixel counts. `exclude_classes` does not change it: that leaves classes out of means
    over classes, and this is a mean over pixels. Also called overall accuracy.

    >>> pixel_accuracy(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4]))
    array(0.375)
    """
    return ratio(areas.hit.sum(axis=-1), areas.valid)


@metric(title="Micro IoU", formula="sum tp / sum u", per_class=False)
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


@metric(title="Frequency-weighted IoU", formula="sum t iou / sum t", per_class=False)
def fw_iou(areas: ClassAreas) -> FloatArray:
    """IoU weighted by the truth areas, sum t iou / sum t, shape (...,). Range 0 to 1, best 1.

    NaN where no pixel counts; a class that is not in truth has no weight. `exclude_classes` does not
    change it. Long et al. 2015, doi:10.1109/CVPR.2015.7298965.

    >>> fw_iou(ClassAreas(hit=[1, 2], truth=[2, 6], pred=[3, 4]))
    array(0.25)
    >>> fw_iou(ClassAreas(hit=[2, 1], truth=[2, 2], pred=[2, 1]))
    array(0.75)
    """
    missed = np.nan_to_num(ratio(areas.union - areas.hit, areas.union))
    # One minus the weighted losses: a perfect prediction is exactly 1, even where areas pass 2^53.
    loss = ratio(row_sums(areas.truth * missed, empty=areas.valid == 0), areas.valid)
    return np.asarray(np.maximum(1.0 - loss, 0.0))
