"""Metrics of one class: how far its truth and its prediction cover each other."""

from __future__ import annotations

import numpy as np

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import FloatArray, metric, ratio


@metric(title="IoU", formula="tp / (t + p - tp)", per_class=True)
def iou(areas: ClassAreas) -> FloatArray:
    """Intersection over union, tp / u, shape (..., K). Range 0 to 1, best 1.

    NaN where the class is in neither truth nor pred; 0 where it is in one of them only. Also called
    the Jaccard index or critical success index (Jaccard 1912, doi:10.1111/j.1469-8137.1912.tb05611.x).

    >>> iou(ClassAreas(hit=[1, 2, 0], truth=[2, 2, 0], pred=[1, 3, 0]))
    array([0.5       , 0.66666667,        nan])
    """
    return ratio(areas.hit, areas.union)


@metric(title="Dice", formula="2 tp / (t + p)", per_class=True)
def dice(areas: ClassAreas) -> FloatArray:
    """Twice the agreement over both sizes, 2 tp / (t + p), shape (..., K). Range 0 to 1, best 1.

    NaN where the class is in neither truth nor pred. Also called F1 or DSC
    (Dice 1945, doi:10.2307/1932409).

    >>> dice(ClassAreas(hit=[1, 2, 0], truth=[2, 2, 0], pred=[1, 3, 0]))
    array([0.66666667, 0.8       ,        nan])
    """
    # In float64, for two areas in fixed-point weights may add up to more than int64 holds.
    return ratio(2.0 * areas.hit, np.add(areas.truth, areas.pred, dtype=np.float64))


@metric(title="Precision", formula="tp / p", per_class=True)
def precision(areas: ClassAreas) -> FloatArray:
    """The share of the predicted pixels that is right, tp / p, shape (..., K). Range 0 to 1, best 1.

    NaN where the class was never predicted; a mean counts it as 0 and flags it if it is in truth.
    Also called positive predictive value, user's accuracy.

    >>> precision(ClassAreas(hit=[1, 2, 0], truth=[2, 2, 5], pred=[1, 3, 0]))
    array([1.        , 0.66666667,        nan])
    """
    return ratio(areas.hit, areas.pred)


@metric(title="Recall", formula="tp / t", per_class=True)
def recall(areas: ClassAreas) -> FloatArray:
    """The share of the true pixels that was found, tp / t, shape (..., K). Range 0 to 1, best 1.

    NaN where the class is not in truth; a mean counts it as 0 and flags it if it was predicted.
    Also called class accuracy, sensitivity, hit rate, producer's accuracy.

    >>> recall(ClassAreas(hit=[1, 2, 0], truth=[2, 2, 0], pred=[1, 3, 5]))
    array([0.5, 1. , nan])
    """
    return ratio(areas.hit, areas.truth)
