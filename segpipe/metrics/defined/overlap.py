"""Metrics of one class: how far its truth and its prediction cover each other."""

from __future__ import annotations

import numpy as np

from segpipe.metrics.areas import ClassAreas
from segpipe.metrics.base import FloatArray, metric, ratio

NEITHER = "NaN where the class is in neither truth nor prediction"


@metric(
    title="IoU",
    formula="tp / (t + p - tp)",
    per_class=True,
    nothing=NEITHER,
    source="Jaccard 1912, doi:10.1111/j.1469-8137.1912.tb05611.x",
    main=True,
    by_image=True,
)
def iou(areas: ClassAreas) -> FloatArray:
    """Intersection over union, tp / u, shape (..., K). Range 0 to 1, best 1.

    NaN where the class is in neither truth nor pred; 0 where it is in one of them only. Also called
    the Jaccard index or critical success index (Jaccard 1912, doi:10.1111/j.1469-8137.1912.tb05611.x).

    >>> iou(ClassAreas(hit=[1, 2, 0], truth=[2, 2, 0], pred=[1, 3, 0]))
    array([0.5       , 0.66666667,        nan])
    """
    return ratio(areas.hit, areas.union)


@metric(
    title="Dice",
    formula="2 tp / (t + p)",
    per_class=True,
    nothing=NEITHER,
    source="Dice 1945, doi:10.2307/1932409",
    main=True,
    by_image=True,
)
def dice(areas: ClassAreas) -> FloatArray:
    """Twice the agreement over both sizes, 2 tp / (t + p), shape (..., K). Range 0 to 1, best 1.

    NaN where the class is in neither truth nor pred. Also called F1 or DSC
    (Dice 1945, doi:10.2307/1932409).

    >>> dice(ClassAreas(hit=[1, 2, 0], truth=[2, 2, 0], pred=[1, 3, 0]))
    array([0.66666667, 0.8       ,        nan])
    """
    # In float64, for two areas in fixed-point weights may add up to more than int64 holds.
    return ratio(2.0 * areas.hit, np.add(areas.truth, areas.pred, dtype=np.float64))


@metric(
    title="Precision",
    formula="tp / p",
    per_class=True,
    nothing="NaN where the class was never predicted; in a mean 0 if it is in truth",
    source="Kent et al. 1955, doi:10.1002/asi.5090060209",
    main=True,
)
def precision(areas: ClassAreas) -> FloatArray:
    """The share of the predicted pixels that is right, tp / p, shape (..., K). Range 0 to 1, best 1.

    NaN where the class was never predicted; a mean counts it as 0 and flags it if it is in truth.
    Also called positive predictive value, user's accuracy.

    >>> precision(ClassAreas(hit=[1, 2, 0], truth=[2, 2, 5], pred=[1, 3, 0]))
    array([1.        , 0.66666667,        nan])
    """
    return ratio(areas.hit, areas.pred)


@metric(
    title="Recall",
    formula="tp / t",
    per_class=True,
    nothing="NaN where the class is not in truth; in a mean 0 if it was predicted",
    source="Kent et al. 1955, doi:10.1002/asi.5090060209",
    main=True,
)
def recall(areas: ClassAreas) -> FloatArray:
    """The share of the true pixels that was found, tp / t, shape (..., K). Range 0 to 1, best 1.

    NaN where the class is not in truth; a mean counts it as 0 and flags it if it was predicted.
    Also called class accuracy, sensitivity, hit rate, producer's accuracy.

    >>> recall(ClassAreas(hit=[1, 2, 0], truth=[2, 2, 0], pred=[1, 2, 1]))
    array([0.5, 1. , nan])
    """
    return ratio(areas.hit, areas.truth)


def fbeta(areas: ClassAreas, beta: float) -> FloatArray:
    """F with recall weighing beta times as much as precision, (1 + b2) tp / ((1 + b2) tp + b2 fn + fp).

    Shape (..., K). Range 0 to 1, best 1; NaN where the class is in neither truth nor pred; beta 1 is Dice.

    >>> fbeta(ClassAreas(hit=[1, 2], truth=[2, 2], pred=[1, 3]), beta=3)
    array([0.52631579, 0.95238095])
    """
    square = beta * beta
    # A sum of three, not of t and p, so that a perfect prediction is exactly 1.
    weighted = (1 + square) * areas.hit
    wrong = square * (areas.truth - areas.hit) + (areas.pred - areas.hit)
    return ratio(weighted, weighted + wrong)


FBETA = "van Rijsbergen 1979, Information Retrieval, ch. 7"


@metric(title="F2", formula="5 tp / (5 tp + 4 fn + fp)", per_class=True, nothing=NEITHER, source=FBETA)
def f2(areas: ClassAreas) -> FloatArray:
    """F-beta that weighs recall twice as much as precision, shape (..., K). Range 0 to 1, best 1.

    NaN where the class is in neither truth nor pred. `fbeta` takes any beta.

    >>> f2(ClassAreas(hit=[1, 2], truth=[2, 2], pred=[1, 3]))
    array([0.55555556, 0.90909091])
    """
    return fbeta(areas, 2.0)


@metric(title="F0.5", formula="5 tp / (5 tp + fn + 4 fp)", per_class=True, nothing=NEITHER, source=FBETA)
def f05(areas: ClassAreas) -> FloatArray:
    """F-beta that weighs precision twice as much as recall, shape (..., K). Range 0 to 1, best 1.

    NaN where the class is in neither truth nor pred. `fbeta` takes any beta.

    >>> f05(ClassAreas(hit=[1, 2], truth=[2, 2], pred=[1, 3]))
    array([0.83333333, 0.71428571])
    """
    return fbeta(areas, 0.5)
